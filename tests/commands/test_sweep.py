"""`bench sweep` through the command line on small sizes, and its refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.config import compose
from bench.core.errors import ConfigError


@pytest.mark.slow
def test_a_sweep_has_a_row_for_every_combination_it_can_run(tmp_path: Path) -> None:
    arguments = [
        "sizes=[64x96,100x100]",
        "thread_counts=[1]",
        "batches=[1,2]",
        "images=2",
        "repeats=2",
        "dataset=photos_small",
        "dataset.viewpoint_sequences=1",
        "dataset.illumination_sequences=0",
        "~methods.superpoint_ov_fp16",
        "~methods.orb",
        "run_dir=sweep",
    ]
    result = subprocess.run(
        [sys.executable, "-m", "bench", "sweep", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "BENCH_CACHE": str(tmp_path / "cache")},
    )
    assert result.returncode == 0, result.stderr
    assert "protocol.image.multiple_of=8" in result.stderr
    rows = pd.read_parquet(tmp_path / "sweep/sweep.parquet")
    refused = rows[rows["stage"] == "refused"]
    assert set(refused.loc[refused["batch"] == 1, "method"]) == {"superpoint_tf", "superpoint_ov_fp32"}
    table = pd.read_csv(tmp_path / "sweep/sweep.csv")
    assert sorted(table.loc[table["method"] == "sift", "height"]) == [64, 100]
    network = table[(table["method"] == "superpoint_ov_fp32") & (table["batch"] == 1)]
    assert list(network["height"]) == [64]
    assert network["gflops"].iloc[0] == pytest.approx(
        2 * network["gmac"].iloc[0] / network["infer_ms"].iloc[0] * 1e3, rel=1e-3
    )
    # Two images with two repeats are too few for an interval of the median.
    assert table["low"].isna().all()
    assert (table["median_ms"] > 0).all()
    assert (tmp_path / "sweep/plots/latency_by_resolution.svg").is_file()


@pytest.mark.parametrize(("override", "words"), [("sizes=[480]", "480x640"), ("batches=[0]", "allowed: 1 to 1024")])
def test_impossible_values_are_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compose([override], "sweep")
