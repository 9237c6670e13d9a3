"""``bench parity`` as a user calls it, with the real methods on two small images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.models.weights import BUILTIN_SUPERPOINT

ROOT = Path(__file__).parents[2]
SMALL = [
    "dataset.viewpoint_sequences=1",
    "dataset.illumination_sequences=0",
    "dataset.height=240",
    "dataset.width=320",
    "protocol.image.short_side=240",
    "protocol.keypoints.max=300",
    "max_pairs=1",
    "repeats=3",
    "threads=1",
]


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BENCH_CACHE": str(place / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "bench", "parity", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


OPTIONAL = "methods.superpoint_ov_bf16.optional=true"
"""Left out, with its reason, on a processor that does not compute in bf16."""


@pytest.mark.slow
@pytest.mark.skipif(not BUILTIN_SUPERPOINT.is_file(), reason="the weights are not in the checkout")
def test_bench_parity_reports_two_precisions(tmp_path: Path) -> None:
    result = run(tmp_path, *SMALL, "+method@methods.superpoint_ov_bf16=superpoint_ov_bf16", OPTIONAL)
    assert result.returncode == 0, result.stderr
    last = result.stdout.strip().splitlines()[-1]
    page = Path(last.removeprefix("page: "))
    assert last.startswith("page: ") and page.is_file() and page.parent.name.startswith("parity_")
    content = json.loads((page.parent / "parity.json").read_text())
    rows = {row["method"]: row for row in content["summary"]}
    # The same arithmetic in another runtime: nothing a user could see.
    assert rows["superpoint_ov_fp32"]["lost_2px"] <= 0.01
    assert rows["superpoint_ov_fp32"]["cosine_p50"] > 1 - 1e-6
    assert rows["superpoint_ov_fp32"]["match_jaccard"] > 0.95
    # Half-precision weights change every tensor, and little of what is built on it.
    tensors = {(row["method"], row["tensor"]): row for row in content["tensors"]}
    exact, compressed = (tensors[name, "prob"]["mean_abs"] for name in ("superpoint_ov_fp32", "superpoint_ov_fp16"))
    assert 0 < exact < compressed < 0.01
    assert rows["superpoint_ov_fp16"]["lost_2px"] <= 0.1
    layers = [row for row in content["layers"] if row["method"] == "superpoint_ov_fp16"]
    assert len(layers) == 16 and {row["joined_by"] for row in layers} == {"name"}
    assert all(0 < row["l2_relative"] < 0.01 for row in layers)
    # Where the processor computes in bf16, bf16 drifts more than f16 weights do; elsewhere it is left out and says why.
    if "superpoint_ov_bf16" in rows:
        assert tensors["superpoint_ov_bf16", "prob"]["mean_abs"] > compressed
    else:
        assert "bf16" in content["refused"]["superpoint_ov_bf16"]


@pytest.mark.slow
def test_a_run_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    result = run(tmp_path, *SMALL, "run_dir=nowhere")
    assert result.returncode == 4
    assert result.stderr.strip().splitlines()[-1].startswith("bench: run_dir: no folder nowhere")
    assert not (tmp_path / "results").exists()
