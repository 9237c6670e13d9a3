"""SuperPoint under ncnn: the network from its weights, on the CPU.

ncnn computes 3x3 convolutions by Winograd's algorithm, on x86 with output tiles of up to 4x4; ``winograd=small`` leaves
tiles of 2x2, ``winograd=off`` direct sums.
"""

from __future__ import annotations

import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.doors import importable
from bench.core.errors import ModelError
from bench.core.processes import call_in_child
from bench.core.types import Context, Size
from bench.models.cache import cached
from bench.models.fingerprint import Fingerprint
from bench.models.ncnnfile import write_ncnn
from bench.models.shape import input_shape
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights
from bench.runtimes import precision
from bench.runtimes.base import Form, Outputs
from bench.schema import SuperPointConfig
from bench.schema.options import PrecisionHint, Winograd

TITLE = "ncnn"
FORM = Form.weights
READS: tuple[str, ...] = ()

_LAYOUT = 1
"""Raised when the files in the cache change."""
_PROBE = Size(64, 96)
"""Size of the image by which is found out what a network executes."""


def missing(config: SuperPointConfig) -> str | None:
    """See :func:`bench.runtimes.base.missing`."""
    if not importable("ncnn"):
        return "ncnn is not installed (pip install 'superpoint-bench[ncnn]')"
    hint = str(config.inference_precision)
    if hint in precision.NEEDS and hint not in _half_precisions():
        return f"ncnn computes in f32 on this CPU when asked for {hint}"
    return None


@functools.cache
def _half_precisions() -> tuple[str, ...]:
    """Of this host, found out in a process of its own: ncnn stays out of this one."""
    found: tuple[str, ...] = call_in_child(
        f"{__name__}:half_precisions", title="the process that tries ncnn's precisions"
    )
    return found


def half_precisions() -> tuple[str, ...]:
    """Values of ``inference_precision`` other than f32 that ncnn follows on this host."""
    with tempfile.TemporaryDirectory() as folder:
        param = write_ncnn(Path(folder), load_weights(BUILTIN_SUPERPOINT), ("prob",))
        return tuple(hint for hint in precision.NEEDS if executed(param, ("prob",), hint, Winograd.auto)[0] == hint)


def library() -> Any:
    """Import ncnn."""
    import ncnn

    return ncnn


def load(config: SuperPointConfig, model: Path, fingerprint: Fingerprint, context: Context) -> NcnnNetwork:
    """Write the network of the weight file `model` for ncnn on first use and load it.

    Raises
    ------
    ModelError
        If ncnn cannot load it, or this CPU lacks the precision asked for.
    """
    outputs = fingerprint.outputs(config.graph, config.descriptors)
    entry = context.cache / "ncnn" / "-".join((fingerprint.key, *outputs, str(_LAYOUT)))

    def build(directory: Path) -> None:
        write_ncnn(directory, load_weights(model), outputs)

    return NcnnNetwork(config, cached(entry, build) / "model.param", outputs, fingerprint, context.threads)


def _network(param: Path, hint: str, winograd: str, threads: int) -> Any:
    """A loaded network of ncnn."""
    ncnn = library()
    network = ncnn.Net()
    options = network.opt
    options.num_threads = threads
    options.use_vulkan_compute = False
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(options, name, hint == PrecisionHint.f16)
    for name in ("use_bf16_packed", "use_bf16_storage"):
        setattr(options, name, hint == PrecisionHint.bf16)
    options.use_winograd_convolution = winograd != Winograd.off
    options.use_winograd43_convolution = options.use_winograd63_convolution = winograd == Winograd.auto
    weights = param.with_suffix(".bin")
    if network.load_param(str(param)) or network.load_model(str(weights)):
        raise ModelError(f"{param}: ncnn cannot load it; delete the folder, it is written again")
    return network


def _run(network: Any, images: NDArray[np.float32], outputs: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
    """Outputs by name of [N, H, W, 1] images, which ncnn takes one by one."""
    ncnn = library()
    n, height, width, _ = images.shape
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in outputs}
    for index in range(n):
        # Memory of its own: ncnn reads a NumPy array by its strides, and those of an axis of length 1 may be 0.
        blob = ncnn.Mat(width, height, 1)
        np.asarray(blob)[0] = images[index, :, :, 0]
        extractor = network.create_extractor()
        extractor.input("image", blob)
        for name in outputs:
            status, computed = extractor.extract(name)
            if status:
                raise ModelError(f"ncnn failed on {height}x{width} (HxW) with status {status}; is there enough memory?")
            array = np.array(computed)
            found[name].append(array[0] if name == "prob" else array)
    return {name: np.stack(arrays) if n > 1 else arrays[0][None] for name, arrays in found.items()}


def executed(param: Path, outputs: tuple[str, ...], hint: str, winograd: str) -> tuple[str, str]:
    """What a network computes in, and how: ``("f32", "Winograd")``.

    ncnn uses f32 without a word where the CPU lacks a precision. The same operations in the same order give the same
    bits, so direct convolutions under the precision asked for are compared with direct convolutions in f32, and the
    convolutions asked for with direct ones. One thread, one image of noise.
    """
    noise = np.random.default_rng(0).random((1, _PROBE.height, _PROBE.width, 1), np.float32)

    def bits(hint: str, winograd: str) -> dict[str, bytes]:
        found = _run(_network(param, hint, winograd, 1), noise, outputs)
        return {name: array.tobytes() for name, array in found.items()}

    direct = bits(hint, Winograd.off)
    computed = hint if hint == PrecisionHint.f32 or direct != bits(PrecisionHint.f32, Winograd.off) else "f32"
    return computed, "direct" if bits(hint, winograd) == direct else "Winograd"


class NcnnNetwork:
    """A network of ncnn; it takes any size, and keeps nothing of the last one."""

    def __init__(
        self, config: SuperPointConfig, param: Path, outputs: tuple[str, ...], fingerprint: Fingerprint, threads: int
    ) -> None:
        self._config = config
        self._outputs = outputs
        self._fingerprint = fingerprint
        self._threads = threads
        library()
        start = time.perf_counter()
        self._network = _network(param, config.inference_precision, config.winograd, threads)
        self._costs: dict[str, object] = {"load_ms": 1e3 * (time.perf_counter() - start)}
        self._executed = executed(param, outputs, config.inference_precision, config.winograd)
        if self._executed[0] != config.inference_precision:
            raise ModelError(
                f"inference_precision={config.inference_precision} is not possible: ncnn computes in f32 on this CPU; "
                "use inference_precision=f32"
            )

    def prepare(self, size: Size, batch: int = 1) -> None:
        """Nothing to compile; refuses a size that the network does not take."""
        input_shape(size, self._fingerprint, batch)

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run [N, H, W, 1] images, one after the other."""
        return _run(self._network, images, self._outputs)

    def info(self) -> dict[str, dict[str, object]]:
        """Facts for MethodInfo."""
        config, (computed, algorithm) = self._config, self._executed
        # 16-bit numbers lie in memory; whether they are multiplied as such is the CPU's matter. Sums are f32.
        label = "FP32" if computed == PrecisionHint.f32 else f"FP32 weights, {computed} storage"
        return {
            "precision": {
                "requested": f"weights {config.weights}, hint {config.inference_precision}, winograd {config.winograd}",
                "resolved": computed,
                "executed": {computed: 1.0},
                "kernels": [f"{algorithm} {computed}"],
                "label": label,
            },
            "versions": {"ncnn": library().__version__, "numpy": np.__version__},
            "threads": {"requested": self._threads, "num_threads": self._network.opt.num_threads},
            "costs": self._costs,
        }
