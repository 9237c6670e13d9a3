"""SuperPoint under MNN: the ONNX file, converted by MNN's own converter, on the CPU.

MNN computes 3x3 convolutions by Winograd's algorithm with output tiles of up to 6x6, which needs 5 times fewer
multiplications and rounds them about 100 times as coarsely; ``winograd=small`` and ``winograd=off`` are its hint
``WINOGRAD_MEMORY_LEVEL``. What a session executes is not said by MNN; it is found out by comparing bits, see
:func:`executed`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.doors import importable
from bench.core.errors import ModelError
from bench.core.processes import call_in_child
from bench.core.types import Context, Size
from bench.models.cache import cached, run_python
from bench.models.fingerprint import Fingerprint
from bench.models.graphfile import GraphFingerprint
from bench.models.onnxfile import write_onnx
from bench.models.shape import input_shape
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights
from bench.runtimes import precision
from bench.runtimes.base import Form, Outputs, Tensors
from bench.schema import SuperPointConfig
from bench.schema.options import Weights, Winograd

TITLE = "MNN"
FORM = Form.onnx
READS = (".onnx",)

_SESSIONS = 4
"""Sessions kept, one for each image size; each holds its own weights and buffers."""
_PRECISIONS = {"f32": "normal", "f16": "low", "bf16": "Low_BF16"}
"""``inference_precision`` -> MNN's ``PrecisionMode``."""
_WINOGRAD_HINT = 3
_LEVELS = {"auto": 3, "small": 1, "off": 0}
"""``winograd`` -> MNN's ``WINOGRAD_MEMORY_LEVEL``: any tile, tiles of 2x2, none."""
_STORAGE: dict[str, list[str]] = {"f32": [], "f16": ["--fp16"], "int8": ["--weightQuantBits", "8"]}
"""``weights`` -> options of the converter."""
_MEMORY_MB, _THREADS = 0, 4
"""Codes of ``getSessionInfo``."""
_PROBE = Size(64, 96)
"""Size of the image by which is found out what a session executes."""


def missing(config: SuperPointConfig) -> str | None:
    """See :func:`bench.runtimes.base.missing`."""
    if not importable("MNN"):
        return "MNN is not installed (pip install 'superpoint-bench[mnn]')"
    hint = str(config.inference_precision)
    if hint in precision.NEEDS and hint not in _half_precisions():
        return f"MNN computes in f32 on this CPU when asked for {hint}"
    return None


@functools.cache
def _half_precisions() -> tuple[str, ...]:
    """Of this host, found out in a process of its own: MNN stays out of this one."""
    found: tuple[str, ...] = call_in_child(
        f"{__name__}:half_precisions", title="the process that tries MNN's precisions"
    )
    return found


def half_precisions() -> tuple[str, ...]:
    """Values of ``inference_precision`` other than f32 that MNN's sessions follow on this host."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(path, load_weights(BUILTIN_SUPERPOINT))
        convert(str(path), str(path.with_suffix(".mnn")), Weights.f32)
        model = path.with_suffix(".mnn")
        return tuple(hint for hint in precision.NEEDS if executed(model, "image", hint, Winograd.auto)[0] == hint)


def library() -> Any:
    """Import MNN; it prints what the CPU has."""
    return importlib.import_module("MNN")


def load(config: SuperPointConfig, model: Path, fingerprint: Fingerprint, context: Context) -> MnnNetwork:
    """Convert the ONNX file `model` on first use and load it.

    Raises
    ------
    ModelError
        If MNN cannot convert it, or this CPU lacks the precision asked for.
    """
    start = time.perf_counter()
    path, converted = converted_file(model, config.weights, context.cache)
    costs: dict[str, object] = {"convert_ms": 1e3 * (time.perf_counter() - start)} if converted else {}
    return MnnNetwork(config, path, fingerprint, context.threads, costs)


def converted_file(model: Path, weights: str, cache: Path) -> tuple[Path, bool]:
    """The ``.mnn`` of an ONNX file in the cache, and whether it was made by this call.

    Raises
    ------
    ModelError
        If MNN cannot convert it.
    """
    from importlib.metadata import version

    digest = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    made = []

    def build(directory: Path) -> None:
        made.append(True)
        run_python(f"{__name__}:convert", str(model), str(directory / "model.mnn"), str(weights))

    entry = cached(cache / "mnn" / f"{digest}-{weights}-{version('MNN')}", build)
    return entry / "model.mnn", bool(made)


def convert(onnx: str, path: str, weights: str) -> None:
    """Convert an ONNX file by MNN's converter, whose extension module is called directly.

    The package's script ``mnnconvert`` (``MNN.tools``) is not: on import it installs another package with pip and
    contacts a server.

    Parameters
    ----------
    onnx, path : str
        Source, and the ``.mnn`` that is written.
    weights : {"f32", "f16", "int8"}
        How the weights are stored. int8 are 8 bits with a factor for each output channel.

    Raises
    ------
    ModelError
        If the converter writes nothing.
    """
    tools = importlib.import_module("_tools")
    options = ["--framework", "ONNX", "--modelFile", onnx, "--MNNModel", path, "--bizCode", "bench", *_STORAGE[weights]]
    tools.mnnconvert(["mnnconvert", *options])
    if not Path(path).is_file():
        raise ModelError(f"{onnx}: MNN's converter cannot read it; backend=openvino and backend=onnxruntime can")


class _Session:
    """A loaded file, ready for one input shape.

    A session that is resized keeps the tiles that it chose for its first size, and so computes other bits than one
    made for the size. Each shape therefore has its own.
    """

    def __init__(
        self, path: Path, image: str, shape: tuple[int, ...], hint: str, winograd: str, threads: int, mode: str = ""
    ) -> None:
        mnn = library()
        self._network = mnn.Interpreter(str(path))
        self._network.setSessionHint(_WINOGRAD_HINT, _LEVELS[winograd])
        settings = {"backend": "CPU", "numThread": threads, "precision": mode or _PRECISIONS[hint]}
        self._session = self._network.createSession(settings)
        self._input = self._network.getSessionInput(self._session, image)
        self._network.resizeTensor(self._input, shape)
        self._network.resizeSession(self._session)
        outputs = self._network.getSessionOutputAll(self._session)
        self._outputs = {name: (tensor, _Host(mnn, tensor)) for name, tensor in outputs.items()}
        self._image = _Host(mnn, self._input)

    def run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Outputs by name, valid until the next call."""
        np.asarray(self._image)[...] = images
        self._input.copyFrom(self._image.tensor)
        self._network.runSession(self._session)
        for tensor, host in self._outputs.values():
            tensor.copyToHostTensor(host.tensor)
        return {name: np.asarray(host) for name, (_, host) in self._outputs.items()}

    def memory_mb(self) -> float:
        """Memory of weights and buffers, as MNN counts it."""
        return float(self._network.getSessionInfo(self._session, _MEMORY_MB))

    def threads(self) -> int:
        """Threads of the session, as MNN says; the integer comes as the bits of a float."""
        found = np.float32(self._network.getSessionInfo(self._session, _THREADS))
        return int(found.view(np.int32))


class _Host:
    """A tensor of this process with the shape of one of a session, channels first as the ONNX file has them.

    ``np.asarray`` gives its memory and keeps it alive; the array that MNN itself gives does not.
    """

    def __init__(self, mnn: Any, tensor: Any) -> None:
        shape = tensor.getShape()
        blank = np.zeros(shape, np.float32)
        self.tensor = mnn.Tensor(shape, mnn.Halide_Type_Float, blank, mnn.Tensor_DimensionType_Caffe)
        self.__array_interface__ = self.tensor.getNumpyData().__array_interface__


def executed(path: Path, image: str, hint: str, winograd: str, size: Size = _PROBE) -> tuple[str, str]:
    """What sessions of a file compute in, and how: ``("f32", "Winograd")``.

    MNN falls back to f32 without a word where the CPU lacks a precision, and says nowhere what it chose. Two sessions
    that compute the same operations in the same order give the same bits. So direct convolutions under the precision
    asked for are compared with direct convolutions under MNN's ``high`` (f32 without approximations), and the
    convolutions asked for with direct ones. One thread, one image of noise.

    Parameters
    ----------
    path : Path
        A ``.mnn``.
    image : str
        Name of its input, [1, 1, H, W].
    hint : {"f32", "f16", "bf16"}
    winograd : {"auto", "small", "off"}
    size : Size
        Of the image.
    """
    shape = (1, 1, size.height, size.width)
    noise = np.random.default_rng(0).random(shape, np.float32)

    def bits(hint: str, winograd: str, mode: str = "") -> dict[str, bytes]:
        found = _Session(path, image, shape, hint, winograd, 1, mode).run(noise)
        return {name: array.tobytes() for name, array in found.items()}

    direct = bits(hint, Winograd.off)
    computed = "f32" if direct == bits(hint, Winograd.off, "high") else hint
    return computed, "direct" if bits(hint, winograd) == direct else "Winograd"


class MnnNetwork:
    """A file of MNN, with a session for each of the last input shapes."""

    def __init__(
        self, config: SuperPointConfig, path: Path, fingerprint: Fingerprint, threads: int, costs: dict[str, object]
    ) -> None:
        self._config = config
        self._path = path
        self._fingerprint = fingerprint
        self._threads = threads
        self._tensors = Tensors.of(config, fingerprint)
        self._sessions: OrderedDict[tuple[int, ...], _Session] = OrderedDict()
        self._costs = costs
        size = _PROBE
        if isinstance(fingerprint, GraphFingerprint):
            size = Size(fingerprint.height or size.height, fingerprint.width or size.width)
        mnn = library()
        with _understood(path):
            start = time.perf_counter()
            mnn.Interpreter(str(path))
            self._costs["load_ms"] = 1e3 * (time.perf_counter() - start)
            self._executed = executed(path, self._tensors.image, config.inference_precision, config.winograd, size)
        if self._executed[0] != config.inference_precision:
            raise ModelError(
                f"inference_precision={config.inference_precision} is not possible: MNN computes in f32 on this CPU; "
                "use inference_precision=f32"
            )

    def prepare(self, size: Size, batch: int = 1) -> None:
        """Make a session for an input shape, unless one of the last shapes."""
        n, height, width, _ = input_shape(size, self._fingerprint, batch)
        shape = (n, 1, height, width)
        if shape in self._sessions:
            self._sessions.move_to_end(shape)
            return
        config = self._config
        start = time.perf_counter()
        with _understood(self._path):
            self._sessions[shape] = _Session(
                self._path,
                self._tensors.image,
                shape if "image" in self._tensors.channels_first else (n, height, width, 1),
                config.inference_precision,
                config.winograd,
                self._threads,
            )
        # Of the first shape: later ones find the library loaded.
        self._costs.setdefault("compile_ms", 1e3 * (time.perf_counter() - start))
        if len(self._sessions) > _SESSIONS:
            self._sessions.popitem(last=False)

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run [N, H, W, 1] images."""
        session = self._sessions[len(images), 1, *images.shape[1:3]]
        found = session.run(self._tensors.arranged(images))
        return self._tensors.keyed([found[name] for name in self._tensors.outputs.values()])

    def info(self) -> dict[str, dict[str, object]]:
        """Facts for MethodInfo; threads and memory are those of the session used last."""
        config, (computed, algorithm) = self._config, self._executed
        shares = {computed: 1.0}
        facts: dict[str, dict[str, object]] = {
            "precision": {
                "requested": f"weights {config.weights}, hint {config.inference_precision}, winograd {config.winograd}",
                "resolved": computed,
                "executed": shares,
                "kernels": [f"{algorithm} {computed}"],
                "label": precision.label(config.weights, shares),
            },
            "versions": {"MNN": library().version(), "numpy": np.__version__},
            "threads": {"requested": self._threads},
            "costs": self._costs,
        }
        if self._sessions:
            last = next(reversed(self._sessions.values()))
            facts["threads"]["session"] = last.threads()
            facts["costs"]["session_memory_mb"] = last.memory_mb()
        return facts


@contextlib.contextmanager
def _understood(path: Path) -> Iterator[None]:
    """Turn what MNN raises into one sentence."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # bare Exception, RuntimeError and ValueError by case
        reason = str(error).strip().splitlines()
        raise ModelError(f"{os.fspath(path)}: MNN cannot run it: {reason[-1] if reason else error!r}") from error
