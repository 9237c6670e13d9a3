"""The command line from an installed wheel, outside the checkout, with the real methods."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
METHODS = {"superpoint_tf", "superpoint_ov_fp32", "superpoint_ov_fp16", "sift", "orb"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as pip installs it, without the checkout on the path."""
    scratch = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(scratch / "dist"), str(ROOT)], check=True
    )
    (wheel,) = (scratch / "dist").glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(scratch / "site"), str(wheel)], check=True)
    return scratch / "site"


def run(site: Path, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site), "BENCH_CACHE": str(place / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
def test_bench_compares_the_five_methods_and_reports(site: Path, tmp_path: Path) -> None:
    result = run(
        site,
        tmp_path,
        "~methods.superpoint_mnn_fp32",  # there where the extra mnn is installed
        "dataset.viewpoint_sequences=2",
        "dataset.illumination_sequences=1",
        "run_dir=results/r",
    )
    assert result.returncode == 0, result.stderr
    report = tmp_path / "results/r/report.html"
    assert result.stdout.strip().splitlines()[-1] == f"report: {report}"
    page = report.read_text()
    assert "<html" in page
    assert not any(f'{attribute}="http' in page for attribute in ("src", "rel=stylesheet href"))
    manifest = json.loads((report.parent / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    pairs = pd.read_parquet(report.parent / "pairs.parquet")
    assert set(pairs["method"]) == METHODS
    assert len(pairs) == 5 * 15
    accuracy = pairs.groupby("method")["accuracy_5px"].mean()
    assert accuracy.min() > 0.3, accuracy
    superpoint = accuracy[[name for name in METHODS if name.startswith("superpoint")]]
    assert superpoint.max() - superpoint.min() <= 0.05
    for method in METHODS:
        assert manifest["methods"][method]["info"]["costs"]["peak_memory_mb"] > 10
    assert manifest["methods"]["superpoint_ov_fp16"]["info"]["precision"]["label"] == "FP16 weights, f32 compute"


@pytest.mark.slow
def test_help_names_commands_presets_and_options(site: Path, tmp_path: Path) -> None:
    words = {
        "--help": ("check", "parity", "convert", "list"),
        "run --help": ("dataset", "hpatches", "strict", "threads"),
    }
    for arguments, expected in words.items():
        result = run(site, tmp_path, *arguments.split())
        assert result.returncode == 0
        for word in expected:
            assert word in result.stdout, word
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_command_and_a_wrong_key_are_usage_errors(tmp_path: Path) -> None:
    for argument, words in (("comapre", "Allowed: run"), ("thredas=2", "did you mean threads")):
        result = run(ROOT, tmp_path, argument)
        assert result.returncode == 4
        assert words in result.stderr
        assert "Traceback" not in result.stderr


def test_importing_the_package_is_light() -> None:
    code = "import sys, bench; print(sorted({'tensorflow','openvino','cv2','pandas','matplotlib'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"
