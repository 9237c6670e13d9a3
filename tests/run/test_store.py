"""The run directory: round trips, atomicity, refusal of foreign or damaged content."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import StoreError
from bench.core.files import read_parquet, verify_files
from bench.core.types import Features, Size, StageTimes
from bench.run.manifest import DatasetRecord, Manifest, ProtocolRecord, read_manifest
from bench.run.store import Extraction, RunStore


def features(n: int = 5, binary: bool = False) -> Features:
    rng = np.random.default_rng(n)
    descriptors = rng.integers(0, 255, (n, 32)).astype(np.uint8) if binary else rng.random((n, 8), np.float32)
    return Features(rng.random((n, 2), np.float32) * 50, rng.random(n, np.float32), descriptors, Size(60, 80))


@pytest.mark.parametrize("binary", [False, True])
def test_an_extraction_is_read_back_bit_by_bit(tmp_path: Path, binary: bool) -> None:
    store = RunStore(tmp_path)
    written = features(binary=binary)
    store.write_extraction("m", "seq/1", Extraction(written, StageTimes(1.0, 2.0, 0.1), 3, 4))
    read = store.read_extraction("m", "seq/1")
    assert read.features is not None
    assert written.descriptors is not None
    assert read.features.descriptors is not None
    np.testing.assert_array_equal(read.features.keypoints, written.keypoints)
    np.testing.assert_array_equal(read.features.descriptors, written.descriptors)
    assert read.features.descriptors.dtype == written.descriptors.dtype
    assert read.features.size == Size(60, 80)
    assert read.times == StageTimes(1.0, 2.0, 0.1)
    assert (read.block, read.order) == (3, 4)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("odd", [None, -0.0, 256.0, -1.0, 0.5])
def test_whole_numbers_take_a_byte_and_come_back_bit_by_bit(tmp_path: Path, whole: bool, odd: float | None) -> None:
    """As SIFT's; a single value that a byte cannot hold leaves them as they are."""
    rng = np.random.default_rng(0)
    vectors = rng.integers(0, 256, (40, 128)).astype(np.float32) if whole else rng.random((40, 128), np.float32)
    if odd is not None:
        vectors[7, 5] = odd
    written = Features(np.zeros((40, 2), np.float32), np.zeros(40, np.float32), vectors, Size(60, 80))
    RunStore(tmp_path).write_extraction("m", "a", Extraction(written, StageTimes(0, 0, 0), 0, 0))
    read = RunStore(tmp_path).read_extraction("m", "a").features
    assert read is not None and read.descriptors is not None
    assert read.descriptors.dtype == np.float32
    assert read.descriptors.tobytes() == vectors.tobytes()
    size = (tmp_path / "features/m/a.npz").stat().st_size
    assert (size < vectors.nbytes / 2) == (whole and odd is None)


def test_features_of_older_runs_are_read(tmp_path: Path) -> None:
    written = features()
    store = RunStore(tmp_path)
    path = tmp_path / "features/m/a.npz"
    path.parent.mkdir(parents=True)
    np.savez(
        path,
        keypoints=written.keypoints,
        scores=written.scores,
        descriptors=np.ones((5, 8), np.float32),
        size=np.array([60, 80]),
        times_ms=np.ones(3),
        position=np.array([1, 2]),
    )
    read = store.read_extraction("m", "a").features
    assert read is not None and read.descriptors is not None
    assert read.descriptors.tolist() == np.ones((5, 8)).tolist()


def test_a_failed_extraction_keeps_its_reason(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    assert not store.has_extraction("m", "seq/1")
    store.write_extraction("m", "seq/1", Extraction(None, None, 0, 0, "descriptors contain NaN"))
    assert store.has_extraction("m", "seq/1")
    assert store.read_extraction("m", "seq/1").failure == "descriptors contain NaN"


def test_a_damaged_feature_file_is_named(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.write_extraction("m", "seq/1", Extraction(features(), StageTimes(0, 0, 0), 0, 0))
    path = tmp_path / "features/m/seq/1.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"1\.npz.*delete it"):
        store.read_extraction("m", "seq/1")


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "features/m/1.npz"
    path.parent.mkdir(parents=True)
    names = ("keypoints", "scores", "size", "times_ms", "position")
    np.savez(path, **{name: np.array([{"a": 1}], dtype=object) for name in names})
    with pytest.raises(StoreError, match="allow_pickle|cannot read"):
        RunStore(tmp_path).read_extraction("m", "1")


def manifest(**changes: Any) -> Manifest:
    wanted = Manifest(
        ProtocolRecord("strict", "0"),
        DatasetRecord("d"),
        identity={"seed": "0"},
        sessions=[{"schema_version": "2", "host": "a", "versions.numpy": "2.1"}],
    )
    return replace(wanted, **changes)


def opened(directory: Path, allow_mixed: bool = False, **changes: Any) -> Manifest:
    directory.mkdir(exist_ok=True)
    return RunStore(directory).open(manifest(**changes), allow_mixed)


def test_open_starts_continues_and_refuses(tmp_path: Path) -> None:
    run = tmp_path / "run"
    wanted = manifest()
    run.mkdir()
    assert RunStore(run).open(wanted) is wanted
    assert opened(run).status == "running"
    with pytest.raises(StoreError, match="differs in seed; leave run_dir out"):
        opened(run, identity={"seed": "1"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("x")
    with pytest.raises(StoreError, match="holds no run"):
        opened(tmp_path / "other")


def test_a_folder_with_what_a_killed_first_write_left_is_used(tmp_path: Path) -> None:
    for name in (".manifest.json.tmp-abc", ".manifest.json.abc123", "bench.sha256"):
        (tmp_path / name).touch()
    opened(tmp_path)
    assert read_manifest(tmp_path).identity == {"seed": "0"}
    assert not (tmp_path / ".manifest.json.tmp-abc").exists()


OTHER = {"schema_version": "2", "host": "b", "versions.numpy": "2.2"}


def test_other_conditions_are_refused_by_key_or_marked_per_row(tmp_path: Path) -> None:
    opened(tmp_path)
    first = RunStore(tmp_path)
    first.write_part("rows", "00000", [{"pair": "a"}])
    first.write_extraction("m", "a", Extraction(None, None, 0, 0, "no"))
    with pytest.raises(
        StoreError, match=r"conditions: host \(a, here b\), versions.numpy \(2.1, here 2.2\).*allow_mixed"
    ):
        opened(tmp_path, sessions=[OTHER])
    second = RunStore(tmp_path)
    assert second.open(manifest(sessions=[OTHER]), allow_mixed=True).sessions == [manifest().sessions[0], OTHER]
    second.write_part("rows", "00001", [{"pair": "b"}])
    second.write_extraction("m", "b", Extraction(features(), StageTimes(0, 0, 0), 0, 0))
    assert second.read_parts("rows")["session"].fillna(0).tolist() == [0, 1]
    assert [second.read_extraction("m", key).session for key in "ab"] == [0, 1]
    third = RunStore(tmp_path)  # back where it was begun: no new session, and no need to allow it again
    assert len(third.open(manifest()).sessions) == 2
    assert third.session == 0


def test_a_run_of_schema_version_1_is_another_condition(tmp_path: Path) -> None:
    old = {
        "schema_version": 1,
        "status": "running",
        "identity": {"seed": "0"},
        "protocol": {"name": "strict", "hash": "0"},
        "dataset": {"name": "d"},
        "host": {"hash": "a", "python": "3.11"},
        "versions": {"numpy": "2.1"},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    session = {"schema_version": "2", "host": "a", "versions.python": "3.11", "versions.numpy": "2.1"}
    with pytest.raises(StoreError, match=r"schema_version \(1, here 2\)"):
        opened(tmp_path, sessions=[session])
    assert len(opened(tmp_path, allow_mixed=True, sessions=[session]).sessions) == 2
    assert verify_files(tmp_path) == ([], [])


def test_a_directory_that_lost_its_checksums_is_not_read(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "bench.sha256").unlink()
    with pytest.raises(StoreError, match="lost its list of checksums"):
        read_manifest(tmp_path)


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    pd.DataFrame({"a": [1, 2]}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StoreError, match=r"pairs\.parquet"):
        read_parquet(path)


def test_features_can_be_dropped(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.write_extraction("m", "seq/1", Extraction(features(), StageTimes(0, 0, 0), 0, 0))
    store.drop_features()
    assert not store.has_extraction("m", "seq/1")
    assert tmp_path.is_dir()
