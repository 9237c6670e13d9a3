"""The run directory: round trips, atomicity, refusal of foreign or damaged content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import StoreError
from bench.core.files import read_parquet
from bench.core.types import Features, Size, StageTimes
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
    with pytest.raises(StoreError, match="allow_pickle"):
        RunStore(tmp_path).read_extraction("m", "1")


def test_a_results_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(StoreError, match="choose another folder"):
        RunStore(tmp_path / "results" / "run").open({"seed": "0"})


def test_open_starts_continues_and_refuses(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "run")
    assert store.open({"seed": "0", "protocol": "a"}) is False
    assert store.open({"seed": "0", "protocol": "a"}) is True
    with pytest.raises(StoreError, match="differs in protocol"):
        store.open({"seed": "0", "protocol": "b"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("x")
    with pytest.raises(StoreError, match="holds no run"):
        RunStore(tmp_path / "other").open({})


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
