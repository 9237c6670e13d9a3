"""SavedModels of the package, of the user, and the cache they land in."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest

from bench.core.errors import ConfigError, ModelError
from bench.core.types import Context
from bench.models.cache import cached, run_python
from bench.models.fingerprint import read_fingerprint
from bench.models.store import saved_model
from bench.models.weights import BUILTIN_SUPERPOINT
from bench.schema import ModelConfig


def context(root: Path) -> Context:
    return Context(threads=1, cache=root / "cache", data_root=root / "data")


@pytest.mark.slow
def test_builtin_is_exported_once(tmp_path: Path) -> None:
    first = saved_model(ModelConfig("builtin"), context(tmp_path))
    stamp = (first / "saved_model.pb").stat().st_mtime_ns
    assert saved_model(ModelConfig("builtin"), context(tmp_path)) == first
    assert (first / "saved_model.pb").stat().st_mtime_ns == stamp
    found = read_fingerprint(first)
    assert found.descriptors and found.input_scale == 1.0 and found.batch is None


def test_path_needs_a_saved_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs model\.path"):
        ModelConfig("path")
    with pytest.raises(ModelError, match=r"no saved_model\.pb there"):
        saved_model(ModelConfig("path", str(tmp_path)), context(tmp_path))
    (tmp_path / "saved_model.pb").touch()
    assert saved_model(ModelConfig("path", str(tmp_path)), context(tmp_path)) == tmp_path


@pytest.mark.slow
def test_path_takes_trained_weights(tmp_path: Path) -> None:
    weights = tmp_path / "weights.npz"
    shutil.copy(BUILTIN_SUPERPOINT, weights)
    assert read_fingerprint(saved_model(ModelConfig("path", str(weights)), context(tmp_path))).descriptors
    weights.write_bytes(b"no archive")
    with pytest.raises(ModelError, match=r"weights\.npz: cannot be read as \.npz"):
        saved_model(ModelConfig("path", str(weights)), context(tmp_path))
    with pytest.raises(ModelError, match="no such weight file"):
        saved_model(ModelConfig("path", str(tmp_path / "absent.npz")), context(tmp_path))


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(directory: Path) -> None:
        (directory / "half").touch()
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        cached(tmp_path / "cache/entry", build)
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def _build(entry: str) -> None:
    def build(directory: Path) -> None:
        with Path(entry).with_name("built").open("a") as log:
            log.write("x")
        (directory / "content").touch()

    cached(Path(entry), build)


def test_two_processes_build_once(tmp_path: Path) -> None:
    entry = tmp_path / "entry"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_build, [str(entry)] * 4)
    assert (entry / "content").is_file()
    assert (tmp_path / "built").read_text() == "x"


def test_an_unwritable_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot write the model cache"):
        cached(tmp_path / "file/entry", lambda directory: None)


def test_errors_of_the_other_process_are_reported() -> None:
    with pytest.raises(ModelError, match="TypeError"):
        run_python("bench.features.convert:convert_from_json", '{"outputs": []}', "/nowhere")
