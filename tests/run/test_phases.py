"""Where the time of a run goes."""

from __future__ import annotations

import time

import pytest

from bench.run.phases import Phases, account


def test_phases_cover_the_whole_time_and_add_up() -> None:
    start = time.perf_counter()
    phases = Phases()
    for name in ("load", "extract", "load"):
        time.sleep(0.02)
        phases.end(name)
    whole = time.perf_counter() - start
    assert list(phases.seconds) == ["load", "extract"]
    assert phases.seconds["load"] > 0.04 and phases.seconds["extract"] > 0.02
    assert sum(phases.seconds.values()) == pytest.approx(whole, abs=0.01)


def test_without_all_stage_times_no_share_is_claimed() -> None:
    assert account({"load": 1.0, "extract": 3.0}, None) == "4.0 s: load 1.0, extract 3.0"
