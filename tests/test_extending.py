"""The examples of docs/extending.md, run from outside the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import bench
from bench.core.doors import Door
from bench.core.errors import ConfigError
from bench.schema import DATASETS, ESTIMATORS, EXTRACTORS, MATCHERS, METRICS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
DOORS = (EXTRACTORS, MATCHERS, ESTIMATORS, DATASETS, METRICS)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_every_example_is_under_25_lines() -> None:
    for code in (*blocks("python"), *blocks("yaml")):
        assert len([line for line in code.splitlines() if line.strip() and not line.startswith("#")]) < 25


def test_the_page_names_every_group_and_attribute() -> None:
    for door in DOORS:
        assert f"`{door.group}`" in TEXT and door.attribute in TEXT


@pytest.mark.parametrize("door", DOORS, ids=[door.kind for door in DOORS])
def test_a_wrong_name_is_answered_with_the_closest(door: Door) -> None:
    name = next(iter(door))
    with pytest.raises(ConfigError, match=f"did you mean {name}"):
        door.check("key", f"{name}x")
    with pytest.raises(ConfigError, match=f"{door.group}"):
        door.load("key", "no.such.module")
    with pytest.raises(ConfigError, match=f"offers '{door.attribute}'"):
        door.load("key", "colorsys")


def test_an_entry_point_of_an_installed_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench.matchers]\nmine = my_package_module:make\n")
    (tmp_path / "my_package_module.py").write_text("def make(config): return config\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    MATCHERS.check("key", "mine")
    assert MATCHERS.load("key", "mine")(3) == 3
    with pytest.raises(ConfigError, match="mine"):
        MATCHERS.check("key", "minee")


@pytest.mark.slow
def test_parts_from_outside_get_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for code in blocks("python"):
        name = re.match(r"# (\w+\.py)", code)
        assert name is not None
        (tmp_path / name[1]).write_text(code)
    names = re.findall(r"`my_conf/([\w/]+\.yaml)`", TEXT)
    assert len(names) == len(blocks("yaml"))
    for name, text in zip(names, blocks("yaml"), strict=True):
        path = tmp_path / "my_conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("/data/mine", str(tmp_path)))
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 255, (480, 640, 3)).astype(np.uint8), (0, 0), 3)
    cv2.imwrite(str(tmp_path / "photo.png"), cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX))
    command = re.search(r"```\nPYTHONPATH=.(.*?)```", TEXT, re.DOTALL)
    assert command is not None
    overrides = command[1].replace("\\\n", " ").split("bench ", 1)[1]
    script = (
        "import shlex, bench\n"
        f"overrides = shlex.split({overrides!r}.replace('file://my_conf', 'file://{tmp_path}/my_conf'))\n"
        "less = ['~methods.kaze', '~methods.akaze', '~methods.brisk', '~methods.rootsift', 'run_dir=run']\n"
        "print(bench.benchmark([*overrides, *less]).report)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    rows = pd.read_parquet(tmp_path / "run/pairs.parquet").set_index(["method", "pair"])
    assert set(rows.index.get_level_values("method")) == {"sift", "orb", "orb_checked", "flow"}
    # Cross-checked brute force is what the built-in mutual matcher computes, up to ties of binary descriptors.
    own, builtin = rows.loc["orb_checked", "n_matches"], rows.loc["orb", "n_matches"]
    assert np.abs(own / builtin - 1).max() < 0.1
    assert (rows.loc["sift", "accuracy_3px"] == 1).all()
    assert (rows.loc["sift", "match_coverage"] > 0.9).all()
    flow = rows.loc["flow"]
    assert (flow["n_matches"] > 100).all() and (flow["corner_error_px"] < 1).all()
    assert flow[["n_keypoints_ref", "repeatability", "match_recall_3px"]].isna().all(axis=None)
    assert flow[["match_precision_3px", "match_coverage", "corner_error_px"]].notna().all(axis=None)
    times = pd.read_parquet(tmp_path / "run/times.parquet")
    timed = times[(times["method"] == "flow") & (times["stage"] == "infer")]
    assert sorted(timed["item"]) == ["windows/0-10", "windows/0-20"] and (timed["ms"] > 0).all()
    (tmp_path / "my_estimator.py").unlink()  # a finished run is read without it; its metric says what its columns mean
    monkeypatch.syspath_prepend(str(tmp_path))
    table = bench.load(tmp_path / "run").summary.table
    assert {"match_coverage", "latency_median_ms"} <= set(table.loc[table["method"] == "flow", "metric"])
    page = (tmp_path / "run/report.html").read_text()
    assert "coverage" in page and "ORB, cross-checked" in page
