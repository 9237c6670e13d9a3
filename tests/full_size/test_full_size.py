"""A complete data set (116 sequences, 580 pairs) goes through every command to its page.

The images are small and the protocols cheap, so that it fits into CI; nothing else is reduced. What a command does on a
few pairs is tested beside its code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.models.weights import BUILTIN_SUPERPOINT
from bench.summary.published import load
from tests.full_size.make_hpatches import NAMES, make

ROOT = Path(__file__).parents[2]
SEQUENCES = {"all": 116, "i": 57, "v": 59}
COMPLETE = "116 of 116 sequences, 580 of 580 pairs"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hpatches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("hpatches"))


def bench(place: Path, *arguments: str) -> str:
    """Run a command, expect success, return what it printed."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "BENCH_CACHE": str(place / "cache"),
        "COLUMNS": "160",
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def report_in(said: str) -> Path:
    """The page that the last line of a command names."""
    return Path(said.strip().splitlines()[-1].removeprefix("report: "))


def test_the_data_set_has_the_shape_of_hpatches(hpatches: Path, tmp_path: Path) -> None:
    assert len(NAMES) == len(set(NAMES)) == 116
    assert [sum(name.startswith(split) for name in NAMES) for split in ("i_", "v_")] == [57, 59]
    assert len(list(hpatches.glob("*/[1-6].ppm"))) == 6 * 116
    assert len(list(hpatches.glob("*/H_1_[2-6]"))) == 580
    again = make(tmp_path / "again")
    for file in ("i_ajuntament/1.ppm", "v_yuri/6.ppm", "v_yuri/H_1_6"):
        assert (again / file).read_bytes() == (hpatches / file).read_bytes()


def test_run_report_baseline_and_check(hpatches: Path, tmp_path: Path) -> None:
    said = bench(
        tmp_path,
        "dataset=hpatches",
        f"dataset.root={hpatches}",
        "methods=classical",
        "protocol.image.short_side=96",
        "protocol.keypoints.max=100",
        "protocol.estimator.repeats=2",
        "threads=1",
        "jobs=2",
        "run_dir=results/r",
    )
    run = tmp_path / "results/r"
    assert report_in(said) == run / "report.html"
    assert COMPLETE in said
    manifest = json.loads((run / "manifest.json").read_text())
    methods = list(manifest["methods"])
    assert manifest["status"] == "complete"
    assert len(methods) == 6
    pairs = pd.read_parquet(run / "pairs.parquet")
    assert len(pairs) == manifest["rows_written"] == manifest["rows_expected"] == 6 * 580
    assert pairs.groupby("method")["pair"].nunique().eq(580).all()
    table = pd.read_csv(run / "summary.csv")
    assert len(table) == 6 * 3
    assert (table["n_pairs"] == table["split"].map(SEQUENCES) * 5).all()
    assert (table["n_sequences"] == table["split"].map(SEQUENCES)).all()
    accuracy = table[table["split"] == "all"].set_index("method")["accuracy_5px"]
    assert accuracy["sift"] > 0.4, accuracy
    page = (run / "report.html").read_text(encoding="utf-8")
    assert COMPLETE in page
    assert all(name in page for name in NAMES)
    # The protocol is no unchanged preset.
    assert "Published numbers" not in page + said

    files = {file: (run / file).read_bytes() for file in ("summary.csv", "pairs.parquet", "report.html")}
    assert bench(tmp_path, "report", "run_dir=results/r") == said
    assert {file: (run / file).read_bytes() for file in files} == files

    bench(tmp_path, "baseline", "run=results/r", "name=self", "baselines=baselines")
    verdict = bench(tmp_path, "check", "candidate=results/r", "baseline=baselines/self", "latency.enabled=false")
    assert "PASS: no regression" in verdict


def test_published_numbers_stand_beside_ours_for_every_protocol_of_a_multirun(hpatches: Path, tmp_path: Path) -> None:
    protocols = ("paper_repeatability", "rpautrat_repeatability")
    said = bench(
        tmp_path,
        "-m",
        "dataset=hpatches",
        f"dataset.root={hpatches}",
        f"protocol={','.join(protocols)}",
        "methods=detectors",
        "~methods.superpoint_tf",
        "~methods.superpoint_ov_fp32",
        "~methods.superpoint_ov_fp16",
        "~methods.magicpoint",
        "~methods.harris",
        "threads=1",
        "jobs=2",
    )
    pages = [Path(line.removeprefix("report: ")) for line in said.splitlines() if line.startswith("report: ")]
    assert len(set(pages)) == 2
    assert said.count("Published numbers") == 2
    known = load()
    for protocol, page in zip(protocols, pages, strict=True):
        manifest = json.loads((page.parent / "manifest.json").read_text())
        assert manifest["protocol"]["name"] == protocol
        frame = known[(known["protocol"] == protocol) & known["method"].isin(["fast", "shi_tomasi", "random"])]
        assert len(frame) >= 4
        text = page.read_text(encoding="utf-8")
        assert "Published numbers" in text
        again = bench(tmp_path, "report", f"run_dir={page.parent}")
        for row in frame.to_dict("records"):
            assert f"{row['value']:.3f}" in text
            assert f"{row['value']:.3f}" in again.partition("Published numbers")[2]


@pytest.mark.skipif(not BUILTIN_SUPERPOINT.is_file(), reason="the weights are not in the checkout")
def test_parity_of_every_pair(hpatches: Path, tmp_path: Path) -> None:
    said = bench(
        tmp_path,
        "parity",
        "dataset=hpatches",
        f"dataset.root={hpatches}",
        "max_sequences=null",
        "repeats=2",
        "protocol.image.short_side=64",
        "protocol.keypoints.max=64",
        "protocol.estimator.repeats=2",
        "layer_images=0",
        "~methods.superpoint_ov_fp16",
        "~methods.superpoint_mnn_fp32",
        "threads=1",
    )
    page = Path(said.strip().splitlines()[-1].removeprefix("page: "))
    assert COMPLETE in page.read_text(encoding="utf-8")
    content = json.loads((page.parent / "parity.json").read_text())
    (row,) = content["summary"]
    assert (row["method"], row["n_images"], row["n_pairs"]) == ("superpoint_ov_fp32", 696, 580)
    assert row["lost_2px"] <= 0.01
    assert row["match_jaccard"] > 0.95
