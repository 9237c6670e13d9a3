"""Kills at random moments over all phases; ``BENCH_KILLS=500`` makes it a campaign."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("BENCH_KILLS", "10"))


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_no_kill_loses_what_was_measured(jobs: int, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.run.kill_campaign", str(tmp_path), str(-(-KILLS // 2)), str(jobs), str(jobs)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["faults"] == []
    assert found["kills"] >= KILLS // 2 and found["runs_ended"] >= 1
