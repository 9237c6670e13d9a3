"""Weights of PyTorch SuperPoints, written here in every layout of torch.save without PyTorch, and files that lie."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.core.errors import ModelError
from bench.core.types import Context
from bench.models.checkpoint import _LAYOUTS, load_checkpoint
from bench.models.network import layer_specs
from bench.models.store import saved_model
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights
from bench.schema import ModelConfig

Arrays = dict[str, NDArray[Any]]


def torch_arrays(title: str) -> Arrays:
    """The weights of the package under the names of a layout; batch normalisation is left out where it has none."""
    weights, found = load_weights(BUILTIN_SUPERPOINT), {}
    for spec in layer_specs():
        convolution, normalisation = _LAYOUTS[title](spec)
        part = {name.removeprefix(f"{spec.scope}/"): array for name, array in weights.items() if spec.scope in name}
        found[f"{convolution}.weight"] = np.ascontiguousarray(part["conv/kernel"].transpose(3, 2, 0, 1))
        found[f"{convolution}.bias"] = part["conv/bias"]
        if normalisation is not None:
            found[f"{normalisation}.weight"] = part["bn/gamma"]
            found[f"{normalisation}.bias"] = part["bn/beta"]
            found[f"{normalisation}.running_mean"] = part["bn/moving_mean"]
            found[f"{normalisation}.running_var"] = part["bn/moving_variance"]
            found[f"{normalisation}.num_batches_tracked"] = np.array(7)
    return found


class Storage:
    """A storage in a pickle: written as a persistent id."""

    def __init__(self, key: str, kind: str, elements: int) -> None:
        self.id = (key, kind, elements)


class Writer(pickle.Pickler):
    """Pickles tensors as torch.save does; the names of torch come from a stand-in for the module."""

    def persistent_id(self, item: Any) -> Any:
        if not isinstance(item, Storage):
            return None
        key, kind, elements = item.id
        return ("storage", getattr(sys.modules["torch"], kind), key, "cpu", elements)

    def reducer_override(self, item: Any) -> Any:
        if not isinstance(item, Tensor):
            return NotImplemented
        strides = tuple(np.cumprod((1, *item.shape[:0:-1]))[::-1].tolist()) if item.shape else ()
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (item.storage, 0, item.shape, strides, False, collections.OrderedDict())


class Tensor:
    def __init__(self, storage: Storage, shape: tuple[int, ...]) -> None:
        self.storage, self.shape = storage, shape


KINDS = {"float32": "FloatStorage", "float16": "HalfStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module with the names that pickles of PyTorch refer to; reading must not need it."""
    module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in KINDS.values():
        setattr(module, kind, type(kind, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_: Any) -> None:
        raise AssertionError("the reader called PyTorch")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    yield


def described(arrays: Arrays) -> Any:
    found = collections.OrderedDict()
    for key, (name, array) in enumerate(arrays.items()):
        found[name] = Tensor(Storage(str(key), KINDS[array.dtype.name], array.size), array.shape)
    return found


def pickled(item: Any) -> bytes:
    buffer = io.BytesIO()
    Writer(buffer, 2).dump(item)
    return buffer.getvalue()


def write_archive(path: Path, arrays: Arrays) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", pickled(described(arrays)))
        archive.writestr("weights/byteorder", "little")
        for key, array in enumerate(arrays.values()):
            archive.writestr(f"weights/data/{key}", array.tobytes())


def write_stream(path: Path, arrays: Arrays) -> None:
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickled(item) for item in (0x1950A86A20F9469CFC6C, 1001, facts, described(arrays))]
    parts.append(pickled([str(key) for key in range(len(arrays))]))
    parts += [struct.pack("<q", array.size) + array.tobytes() for array in arrays.values()]
    path.write_bytes(b"".join(parts))


def write_safetensors(path: Path, arrays: Arrays) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, path)


WRITERS = {"archive.pth": write_archive, "stream.pth": write_stream, "weights.safetensors": write_safetensors}


@pytest.mark.parametrize("title", list(_LAYOUTS))
@pytest.mark.parametrize("name", list(WRITERS))
def test_every_layout_in_every_file_gives_the_weights(title: str, name: str, tmp_path: Path, torch: None) -> None:
    WRITERS[name](tmp_path / name, torch_arrays(title))
    found, expected = load_checkpoint(tmp_path / name), load_weights(BUILTIN_SUPERPOINT)
    assert list(found) == list(expected)
    for key, array in found.items():
        if "rpautrat" in title or "/conv/" in key:
            np.testing.assert_array_equal(array, expected[key])
    if "rpautrat" not in title:
        scale = found["superpoint/vgg/conv1_1/bn/gamma"] / np.sqrt(
            found["superpoint/vgg/conv1_1/bn/moving_variance"] + np.float32(1e-3)
        )
        np.testing.assert_allclose(scale, 1, rtol=1e-7)


def test_half_precision_weights_are_widened(tmp_path: Path, torch: None) -> None:
    arrays = {
        name: array.astype(np.float16) if array.dtype == np.float32 else array
        for name, array in torch_arrays("superpoint_v1.pth (Magic Leap)").items()
    }
    write_archive(tmp_path / "half.pth", arrays)
    found = load_checkpoint(tmp_path / "half.pth")["superpoint/vgg/conv1_1/conv/bias"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, arrays["conv1a.bias"].astype(np.float32))


def test_real_pytorch_writes_what_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; the layouts are written here without it")
    arrays = torch_arrays("superpoint_v6_from_tf.pth (rpautrat)")
    state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    for name, archive in (("archive.pth", True), ("stream.pth", False)):
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=archive)
        found = load_checkpoint(tmp_path / name)
        for key, expected in load_weights(BUILTIN_SUPERPOINT).items():
            np.testing.assert_array_equal(found[key], expected)


class Evil:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


@pytest.mark.parametrize("name", ["evil.pth", "evil.pt"])
@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(name: str, archive: bool, tmp_path: Path) -> None:
    path, trace = tmp_path / name, tmp_path / "trace"
    evil = pickle.dumps({"conv1a.weight": Evil(os.mkdir, str(trace))}, 2)
    if archive:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("weights/data.pkl", evil)
    else:
        path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + evil)
    with pytest.raises(ModelError, match=r"it wants to call (posix|nt)\.mkdir"):
        load_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("call", [eval, exec, print, getattr, pickle.loads])
def test_no_callable_outside_the_list_is_reached(call: Any, tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Evil(call, "1"), 2))
    with pytest.raises(ModelError, match="it wants to call"):
        load_checkpoint(path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path, torch: None) -> None:
    arrays = torch_arrays("superpoint_v1.pth (Magic Leap)")
    liar = described(arrays)
    liar["conv1a.bias"].shape = (6400,)
    with zipfile.ZipFile(tmp_path / "liar.pth", "w") as archive:
        archive.writestr("w/data.pkl", pickled(liar))
        for key, array in enumerate(arrays.values()):
            archive.writestr(f"w/data/{key}", array.tobytes())
    with pytest.raises(ModelError, match=r"tensor conv1a\.bias reaches beyond its storage"):
        load_checkpoint(tmp_path / "liar.pth")


@pytest.mark.parametrize("name", ["archive.pth", "stream.pth", "weights.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_cut_file_is_refused(name: str, share: float, tmp_path: Path, torch: None) -> None:
    path = tmp_path / name
    WRITERS[name](path, torch_arrays("superpoint_v1.pth (Magic Leap)"))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError, match=r"not read as a state dict|no readable \.safetensors"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "header",
    [
        {"conv1a.weight": {"dtype": "F32", "shape": [64, 1, 3, 3], "data_offsets": [0, 1 << 40]}},
        {"conv1a.weight": {"dtype": "F32", "shape": [1 << 30, 1 << 30], "data_offsets": [0, 16]}},
        {"conv1a.weight": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
    ],
)
def test_a_lying_safetensors_header_is_refused(header: Any, tmp_path: Path) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "liar.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    with pytest.raises(ModelError, match=r"no readable \.safetensors"):
        load_checkpoint(tmp_path / "liar.safetensors")


def test_another_network_is_named(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "other.safetensors", {"fc.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(ModelError, match=r"holds \['fc\.weight'\].*expected the layers of superpoint_v6_from_tf"):
        load_checkpoint(tmp_path / "other.safetensors")
    arrays = torch_arrays("superpoint_v1.pth (Magic Leap)")
    del arrays["convDb.bias"]
    write_safetensors(tmp_path / "part.safetensors", arrays)
    with pytest.raises(ModelError, match=r"looks like superpoint_v1\.pth \(Magic Leap\), but has no convDb\.bias"):
        load_checkpoint(tmp_path / "part.safetensors")


@pytest.mark.slow
def test_a_checkpoint_is_the_same_model_as_its_weights(tmp_path: Path, torch: None) -> None:
    from bench.models.fingerprint import read_fingerprint

    context = Context(threads=1, cache=tmp_path / "cache", data_root=tmp_path)
    write_stream(tmp_path / "superpoint_v6_from_tf.pth", torch_arrays("superpoint_v6_from_tf.pth (rpautrat)"))
    ours = saved_model(ModelConfig("builtin"), context)
    theirs = saved_model(ModelConfig("path", str(tmp_path / "superpoint_v6_from_tf.pth")), context)
    assert read_fingerprint(theirs).key == read_fingerprint(ours).key
