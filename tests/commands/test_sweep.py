"""`bench sweep` through the command line on small sizes, and its refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.commands.sweep import peak_note, summarise
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
        "~methods.superpoint_mnn_fp32",
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
    share = network["gflops"].iloc[0] / network["peak_gflops"].iloc[0]
    assert network["share_of_peak"].iloc[0] == pytest.approx(share, rel=1e-3)
    assert f"{network['peak_gflops'].iloc[0]:.0f} on 1 thread" in " ".join(result.stdout.split())
    # Two images with two repeats are too few for an interval of the median.
    assert table["low"].isna().all()
    assert (table["median_ms"] > 0).all()
    assert (tmp_path / "sweep/plots/latency_by_resolution.svg").is_file()


def test_the_peak_of_each_number_of_threads_is_named_with_the_algorithm_that_is_counted() -> None:
    rows = pd.DataFrame(
        {
            "method": ["superpoint_tf", "superpoint_tf", "sift", "sift"] * 2,
            "height": 480,
            "width": 640,
            "threads": [1] * 4 + [2] * 4,
            "batch": 1,
            "item": ["a", "b"] * 4,
            "repeat": 0,
            "stage": "infer",
            "ms": [500.0] * 4 + [250.0] * 4,
        }
    )
    methods = compose(["methods=default"]).methods
    summary = summarise(rows, methods, {1: 200.4, 2: 400.0})
    # 26.1 GMAC by direct convolution in half a second.
    network = summary[summary["method"] == "superpoint_tf"]
    assert network["gflops"].tolist() == pytest.approx([104.4, 208.8], rel=5e-3)
    assert network["share_of_peak"].tolist() == pytest.approx([104.4 / 200.4, 208.8 / 400], rel=5e-3)
    note = peak_note(summary)
    assert "direct convolution" in note
    assert "200 on 1 thread, 400 on 2 threads GFLOP/s" in note


@pytest.mark.parametrize(("override", "words"), [("sizes=[480]", "480x640"), ("batches=[0]", "allowed: 1 to 1024")])
def test_impossible_values_are_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compose([override], "sweep")
