"""Weights of the PyTorch SuperPoints, read without PyTorch and without executing anything: ``.pth`` and
``.safetensors``.

A ``.pth`` is a pickle, and a pickle can call any function. Here it may name what a state dict consists of (tensors,
storages, an ordered dict) and nothing else; these names stand for functions of this file, so no code of the file or of
PyTorch runs. Both layouts of ``torch.save`` are read: the archive (since 1.6) and the stream before it, in which Magic
Leap's ``superpoint_v1.pth`` is written.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ModelError
from bench.models.network import BATCH_NORM_EPSILON, LayerSpec, layer_specs
from bench.models.weights import Weights, check_weights

SUFFIXES = (".pth", ".pt", ".safetensors")
"""Of files that :func:`load_checkpoint` reads."""

Tensors = dict[str, NDArray[Any]]

_MAX_BYTES = 1 << 30
"""SuperPoint has 5 MB; a file that claims more than this is not one."""
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype("<u2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


@dataclass(frozen=True, slots=True)
class _Storage:
    """Name of a storage type in a pickle."""

    name: str


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor that a pickle describes: a view of a storage."""

    storage: tuple[str, str]
    """Key of the storage and its type."""
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _View:
    """Stands for ``torch._utils._rebuild_tensor_v2``. Without attributes: a pickle can set those of what it names."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
        numbers = (offset, *shape, *stride)
        if not all(isinstance(number, int) and number >= 0 for number in numbers) or len(shape) != len(stride):
            raise pickle.UnpicklingError(f"a tensor of offset {offset}, shape {shape}, stride {stride}")
        return _Tensor(storage, offset, tuple(shape), tuple(stride))


class _Same:
    """Stands for ``torch._utils._rebuild_parameter``."""

    __slots__ = ()

    def __call__(self, tensor: Any, *_: Any) -> Any:
        return tensor


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _View(),
    ("torch._utils", "_rebuild_parameter"): _Same(),
    **{("torch", name): _Storage(name) for name in _STORAGES},
}
"""What a pickle may name, and what it gets."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], sizes: dict[str, int]) -> None:
        super().__init__(file, encoding="latin1")
        self._sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it wants to call {module}.{name}, which no state dict needs; the file is not opened further"
            ) from None

    def persistent_load(self, reference: Any) -> tuple[str, str]:
        kind, storage, key, _, elements = reference[:5]
        if kind != "storage" or not isinstance(storage, _Storage) or not isinstance(elements, int):
            raise pickle.UnpicklingError(f"a reference to {kind}")
        if not 0 <= elements * _STORAGES[storage.name].itemsize <= _MAX_BYTES:
            raise pickle.UnpicklingError(f"a storage of {elements} numbers")
        self._sizes[str(key)] = elements
        return str(key), storage.name


def load_checkpoint(path: Path) -> Weights:
    """Weights of a PyTorch SuperPoint under the names of the sp_v6 graph.

    Parameters
    ----------
    path : Path
        ``superpoint_v6_from_tf.pth`` of rpautrat/SuperPoint, ``superpoint_v1.pth`` of Magic Leap, or the
        ``.safetensors`` of either in these layouts or in that of Hugging Face's ``magic-leap-community/superpoint``.

    Returns
    -------
    dict of str to float32
        As :func:`bench.models.weights.load_weights`. A network without batch normalisation gets one that changes
        nothing: mean 0, and a scale that undoes the epsilon to the last bit but one.

    Raises
    ------
    ModelError
        If the file is absent or damaged, wants to execute something, or holds no SuperPoint.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such weight file")
    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(f"{path}: has {path.stat().st_size >> 20} MB; SuperPoint has 5")
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    return check_weights(_renamed(tensors, path), str(path))


def _read_safetensors(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(path.read_bytes()))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: no readable .safetensors: {error}; fetch or write it again") from error


def _read_pickle(path: Path) -> Tensors:
    try:
        if zipfile.is_zipfile(path):
            described, storages = _read_archive(path)
        else:
            with path.open("rb") as file:
                described, storages = _read_stream(file)
        return _materialised(described, storages)
    except ModelError:
        raise
    # A damaged pickle raises whatever its opcodes run into.
    except Exception as error:
        raise ModelError(
            f"{path}: not read as a state dict of PyTorch: {error}; save the weights alone, "
            "torch.save(model.state_dict(), path), or give the .safetensors"
        ) from error


def _read_archive(path: Path) -> tuple[Any, Callable[[str, str], NDArray[Any]]]:
    archive = zipfile.ZipFile(path)
    if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
        raise ValueError("its parts are larger than a SuperPoint when unpacked")
    (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl")
    folder = name.removesuffix("data.pkl")
    order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in archive.namelist() else b"little"
    if order != b"little":
        raise ValueError(f"byte order {order!r}")
    sizes: dict[str, int] = {}
    described = _Unpickler(io.BytesIO(archive.read(name)), sizes).load()

    def storage(key: str, kind: str) -> NDArray[Any]:
        with archive.open(f"{folder}data/{key}") as file:
            return _numbers(file, kind, sizes[key])

    return described, storage


def _read_stream(file: IO[bytes]) -> tuple[Any, Callable[[str, str], NDArray[Any]]]:
    """Magic number, version, host facts, the state dict, the keys of the storages, then their numbers."""
    sizes: dict[str, int] = {}
    if _Unpickler(file, sizes).load() != _STREAM_MAGIC:
        raise ValueError("it has no magic number of torch.save")
    _Unpickler(file, sizes).load()
    facts = _Unpickler(file, sizes).load()
    if not facts.get("little_endian", True):
        raise ValueError("byte order big")
    described = _Unpickler(file, sizes).load()
    keys = [str(key) for key in _Unpickler(file, sizes).load()]
    kinds = {tensor.storage[0]: tensor.storage[1] for tensor in _tensors(described).values()}
    arrays = {}
    for key in keys:
        (elements,) = struct.unpack("<q", file.read(8))
        if elements != sizes[key]:
            raise ValueError(f"storage {key} has {elements} numbers, its tensor says {sizes[key]}")
        arrays[key] = _numbers(file, kinds[key], elements)
    return described, lambda key, _: arrays[key]


def _numbers(file: IO[bytes], kind: str, elements: int) -> NDArray[Any]:
    dtype = _STORAGES[kind]
    data = file.read(elements * dtype.itemsize)
    if len(data) != elements * dtype.itemsize:
        raise EOFError(f"{len(data)} of {elements * dtype.itemsize} bytes of a storage are there")
    return np.frombuffer(data, dtype)


def _tensors(described: Any) -> dict[str, _Tensor]:
    """The tensors of a state dict, also of one under ``state_dict`` or ``model_state_dict`` in a checkpoint."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(described, Mapping) and isinstance(described.get(key), Mapping):
            described = described[key]
    if not isinstance(described, Mapping):
        raise TypeError(f"it holds a {type(described).__name__}, not a state dict")
    return {str(name): value for name, value in described.items() if isinstance(value, _Tensor)}


def _materialised(described: Any, storage: Callable[[str, str], NDArray[Any]]) -> Tensors:
    found = {}
    for name, tensor in _tensors(described).items():
        numbers = storage(*tensor.storage)
        last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
        if math.prod(tensor.shape) > numbers.size or (0 not in tensor.shape and last >= numbers.size):
            raise ValueError(f"tensor {name} reaches beyond its storage")
        steps = [step * numbers.itemsize for step in tensor.stride]
        view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps, writeable=False)
        if tensor.storage[1] == "BFloat16Storage":
            view = (view.astype(np.uint32) << 16).view(np.float32)
        found[name] = np.array(view)
    return found


def _renamed(tensors: Tensors, path: Path) -> Weights:
    tensors = {name.removeprefix("module."): array for name, array in tensors.items()}
    for title, names in _LAYOUTS.items():
        if f"{names(layer_specs()[0])[0]}.weight" in tensors:
            return _arrays(tensors, names, title, path)
    raise ModelError(
        f"{path}: holds {sorted(tensors)[:4]} and {max(0, len(tensors) - 4)} more arrays; expected the layers of "
        f"{', '.join(_LAYOUTS)}"
    )


def _arrays(tensors: Tensors, names: Callable[[LayerSpec], tuple[str, str | None]], title: str, path: Path) -> Weights:
    found: Weights = {}
    for spec in layer_specs():
        convolution, normalisation = names(spec)
        wanted = [f"{convolution}.weight", f"{convolution}.bias"]
        parts = ("weight", "bias", "running_mean", "running_var")
        wanted += [] if normalisation is None else [f"{normalisation}.{part}" for part in parts]
        missing = [name for name in wanted if name not in tensors]
        if missing:
            raise ModelError(f"{path}: looks like {title}, but has no {missing[0]}; it has {len(tensors)} arrays")
        kernel, bias, *rest = (tensors[name].astype(np.float32) for name in wanted)
        if kernel.ndim != 4:
            raise ModelError(f"{path}: {wanted[0]} has {kernel.ndim} axes, expected 4 (out, in, height, width)")
        if not rest:
            ones, zeros = np.ones_like(bias), np.zeros_like(bias)
            rest = [ones, zeros, zeros, ones - np.float32(BATCH_NORM_EPSILON)]
        arrays = (kernel.transpose(2, 3, 1, 0), bias, *rest)
        variables = ("conv/kernel", "conv/bias", "bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance")
        found |= {f"{spec.scope}/{name}": array for name, array in zip(variables, arrays, strict=True)}
    return found


def _block(spec: LayerSpec) -> tuple[int, int]:
    """Index of an encoder's layer: the block of two, and which of the two."""
    return int(spec.name[4]) - 1, int(spec.name[6]) - 1


def _rpautrat(spec: LayerSpec) -> tuple[str, str | None]:
    if spec.part == "vgg":
        first, second = _block(spec)
        prefix = f"backbone.{first}.{second}"
    else:
        prefix = f"{spec.part}.{int(spec.name[4]) - 1}"
    return f"{prefix}.conv", f"{prefix}.bn"


def _magic_leap(spec: LayerSpec) -> tuple[str, str | None]:
    if spec.part == "vgg":
        first, second = _block(spec)
        return f"conv{first + 1}{'ab'[second]}", None
    return f"conv{'P' if spec.part == 'detector' else 'D'}{'ab'[int(spec.name[4]) - 1]}", None


def _hugging_face(spec: LayerSpec) -> tuple[str, str | None]:
    if spec.part == "vgg":
        first, second = _block(spec)
        return f"encoder.conv_blocks.{first}.conv_{'ab'[second]}", None
    letter = "ab"[int(spec.name[4]) - 1]
    if spec.part == "detector":
        return f"keypoint_decoder.conv_score_{letter}", None
    return f"descriptor_decoder.conv_descriptor_{letter}", None


_LAYOUTS: dict[str, Callable[[LayerSpec], tuple[str, str | None]]] = {
    "superpoint_v6_from_tf.pth (rpautrat)": _rpautrat,
    "superpoint_v1.pth (Magic Leap)": _magic_leap,
    "magic-leap-community/superpoint (Hugging Face)": _hugging_face,
}
"""Who names the layers so -> names of convolution and batch normalisation (None: there is none) of a layer."""
