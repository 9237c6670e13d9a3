"""Baselines: what is written is what is compared."""

from __future__ import annotations

import errno
import functools
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.check.baseline import write_baseline
from bench.check.config import BaselineConfig
from bench.check.evidence import load, rounded
from bench.check.gate import ExitCode, check_evidence
from bench.config import compose
from bench.core.errors import ConfigError, DiskFullError, StoreError
from tests.check.simulate import Change, World, check_config, features, write_run

WORLD = World(sequences=4, methods=("superpoint", "sift"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("results") / "run", WORLD, arrays=features(WORLD, 100))


@functools.cache
def composed(*overrides: str) -> BaselineConfig:
    config: BaselineConfig = compose(["run=unused", "name=b", *overrides], "baseline")
    return config


def baseline_config(run: Path, folder: Path, *overrides: str) -> BaselineConfig:
    return replace(composed(*overrides), run=str(run), baselines=str(folder))


def test_a_run_passes_against_its_own_baseline(run: Path, tmp_path: Path) -> None:
    path = write_baseline(baseline_config(run, tmp_path))
    report = check_evidence(load(run), load(path), check_config("draws=300"))
    assert report.code is ExitCode.PASS
    accuracy = [one for one in report.comparisons if one.metric != "descriptor_change"]
    assert {round(one.change, 6) for one in accuracy} == {0.0}
    names = {one.metric for one in report.comparisons}
    assert {
        "accuracy_3px",
        "auc_5px",
        "geometric_corner_error_px",
        "keypoints_found",
        "descriptor_change",
        "latency_median_ms",
        "latency_p90_ms",
    } <= names


def test_the_json_shows_a_reviewer_what_changed(run: Path, tmp_path: Path) -> None:
    path = write_baseline(baseline_config(run, tmp_path))
    content = json.loads((path / "baseline.json").read_text())
    assert content["schema_version"] == 2
    assert content["header"]["protocol"]["hash"] == "0"
    rows = pd.read_parquet(run / "pairs.parquet")
    expected = rows.loc[rows["method"] == "sift", "accuracy_3px"].mean()
    assert content["summary"]["sift"]["accuracy_3px"] == pytest.approx(expected, rel=1e-4)
    assert content["summary"]["sift"]["latency_median_ms"] > 0
    assert str(tmp_path) not in (path / "baseline.json").read_text()


def test_only_chosen_methods(run: Path, tmp_path: Path) -> None:
    path = write_baseline(baseline_config(run, tmp_path, "only=[sift]"))
    assert load(path).methods == ["sift"]
    assert set(load(path).pairs["method"]) == {"sift"}
    with pytest.raises(ConfigError, match="the run has superpoint, sift"):
        write_baseline(baseline_config(run, tmp_path, "only=[orb]", "name=c"))


def test_an_existing_baseline_is_replaced_only_on_request(run: Path, tmp_path: Path) -> None:
    first = write_baseline(baseline_config(run, tmp_path))
    with pytest.raises(ConfigError, match="replace=true"):
        write_baseline(baseline_config(run, tmp_path))
    assert write_baseline(baseline_config(run, tmp_path, "replace=true", "only=[sift]")) == first
    assert load(first).methods == ["sift"]
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    with pytest.raises(StoreError, match="not a baseline"):
        write_baseline(baseline_config(run, tmp_path, "replace=true", "name=precious"))
    assert (tmp_path / "precious" / "file").exists()


def test_without_features_outputs_are_not_compared(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", WORLD)
    path = write_baseline(baseline_config(run, tmp_path / "baselines"))
    assert not (path / "keypoints.parquet").exists()
    report = check_evidence(load(run), load(path), check_config("draws=300"))
    assert "outputs not compared: the candidate has no features (keep_features=false)" in report.remarks
    assert report.code is ExitCode.PASS


def test_two_runs_are_compared_without_a_baseline(run: Path, tmp_path: Path) -> None:
    other = write_run(
        tmp_path / "other", WORLD, Change(metrics={"repeatability": -0.1}), seed=2, arrays=features(WORLD, 100, seed=1)
    )
    report = check_evidence(load(other), load(run), check_config("draws=300"))
    failed = {one.metric for one in report.comparisons if one.verdict == "fail"}
    assert {"repeatability", "keypoints_found"} <= failed
    assert ("changed_outputs", "sift") in [(finding.kind, finding.method) for finding in report.findings]
    quiet = check_evidence(load(other), load(run), check_config("draws=300", "outputs.enabled=false"))
    assert not quiet.findings
    assert quiet.code is ExitCode.REGRESSION


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("baseline.json", {"kind": "superpoint-bench baseline", "schema_version": 99}, "schema version 99"),
        ("baseline.json", {"kind": "else", "schema_version": 1}, "kind 'else'"),
        ("baseline.json", [], r"baseline\.json: the content is \[\], an object was expected"),
        ("baseline.json", {"kind": "superpoint-bench baseline", "schema_version": 1}, "lacks the key header"),
        (
            "manifest.json",
            {"schema_version": 1, "protocol": {"name": "p", "hash": "0"}, "dataset": {"name": "d"}},
            "not finished",
        ),
        ("manifest.json", None, "the content is null"),
        ("manifest.json", {"schema_version": 99}, "schema version 99"),
        ("other.json", {}, "neither a run directory"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, content: object, message: str) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(StoreError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a\\b"])
def test_impossible_names(name: str) -> None:
    with pytest.raises(ConfigError, match="folder name"):
        BaselineConfig(run="r", name=name)


def test_rounding_keeps_fourteen_bits_and_special_values() -> None:
    x = np.concatenate([np.random.default_rng(0).lognormal(0, 3, 1000), [0.0, 0.1, 1.0]])
    np.testing.assert_allclose(rounded(x), x, rtol=2**-15)
    np.testing.assert_array_equal(rounded(rounded(x)), rounded(x))
    np.testing.assert_array_equal(rounded(np.array([np.inf, -np.inf, np.nan])), [np.inf, -np.inf, np.nan])


@pytest.mark.slow
def test_a_baseline_of_580_pairs_and_8_methods_is_below_one_megabyte(tmp_path: Path) -> None:
    world = World(methods=tuple(f"m{i}" for i in range(8)))
    arrays = {key: value for key, value in features(world, 64).items() if key[1].endswith(("/1", "/6"))}
    path = write_baseline(baseline_config(write_run(tmp_path / "run", world, arrays=arrays), tmp_path / "baselines"))
    assert len(load(path).pairs) == 8 * 580
    assert sum(file.stat().st_size for file in path.iterdir()) < 1_000_000


def test_match_precision_comes_from_the_mma_curve_where_it_is_not_measured(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", WORLD)
    rows = pd.read_parquet(run / "pairs.parquet")
    rows.drop(columns=["match_precision_1px"]).to_parquet(run / "pairs.parquet", index=False)
    found = load(run).pairs
    np.testing.assert_allclose(found["match_precision_1px"], 0.3, rtol=1e-4)
    np.testing.assert_allclose(found["match_precision_3px"].mean(), rows["match_precision_3px"].mean(), rtol=1e-4)


@pytest.mark.parametrize("after", range(1, 30, 4))
def test_a_full_disk_leaves_the_old_baseline(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    path = write_baseline(baseline_config(run, tmp_path))
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    left, real = after, os.fsync

    def full(handle: int) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    try:
        write_baseline(baseline_config(run, tmp_path, "replace=true", "only=[sift]"))
    except DiskFullError as error:
        assert "free some space and repeat the command" in str(error) and "run_dir" not in str(error)
        assert {file.name: file.read_bytes() for file in path.iterdir()} == before
        assert [item.name for item in tmp_path.iterdir()] == ["b"]
    else:
        assert load(path).methods == ["sift"]


@pytest.mark.parametrize("name", ["baseline.json", "pairs.parquet", "times.parquet", "keypoints.parquet"])
def test_a_changed_file_of_a_baseline_is_named(run: Path, tmp_path: Path, name: str) -> None:
    path = write_baseline(baseline_config(run, tmp_path))
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(StoreError, match=f"{name} is damaged or was changed"):
        load(path)
    (path / "bench.sha256").unlink()
    (path / name).write_bytes(data[:-20])
    with pytest.raises(StoreError):
        load(path)
