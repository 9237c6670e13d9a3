"""A simulated run, made once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from bench.summary.table import Summary
from tests.report.simulation import simulated_manifest, simulated_pairs, simulated_summary, simulated_times


@dataclass(frozen=True)
class SimulatedRun:
    pairs: pd.DataFrame
    times: pd.DataFrame
    summary: Summary
    manifest: dict[str, Any]


@pytest.fixture(scope="session")
def run() -> SimulatedRun:
    pairs = simulated_pairs()
    times = simulated_times(pairs)
    return SimulatedRun(pairs, times, simulated_summary(pairs, times), simulated_manifest())
