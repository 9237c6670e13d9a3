"""SuperPoint under OpenVINO: the same SavedModel, converted, on the CPU."""

from __future__ import annotations

import functools
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.doors import importable
from bench.core.errors import ModelError
from bench.core.processes import call_in_child
from bench.core.types import Context, Size
from bench.models.fingerprint import Fingerprint
from bench.models.graphfile import SUFFIXES, GraphFingerprint, graph_file_of, is_graph_file
from bench.models.shape import input_shape
from bench.models.store import is_weights
from bench.runtimes import precision
from bench.runtimes.base import Form, Outputs
from bench.schema import SuperPointConfig
from bench.schema.options import Graph, PrecisionHint, Weights

TITLE = "OpenVINO"
FORM = Form.ir
READS = SUFFIXES
DEVICE = "CPU"
_COMPILED_SHAPES = 4
"""Compiled models kept, one for each image size; each holds its own weights and buffers."""


def missing(config: SuperPointConfig) -> str | None:
    """See :func:`bench.runtimes.base.missing`."""
    if not importable("openvino"):
        return "OpenVINO is not installed (pip install openvino)"
    if config.model.path is not None and is_graph_file(config.model.path):
        held = graph_file_of(config.model).weights
        if held != config.weights:
            return f"{Path(config.model.path).name} holds {held} weights and runs as it is, not as {config.weights}"
    elif config.weights == Weights.int8 and not importable("nncf"):
        return "NNCF is not installed (pip install 'superpoint-bench[int8]')"
    elif config.graph == Graph.full and is_weights(config.model) and not importable("tensorflow"):
        return "graph=full needs TensorFlow, which exports it from the weights (pip install tensorflow)"
    if config.inference_precision in precision.NEEDS:
        return precision.missing_units(config.inference_precision, _capabilities())
    return None


@functools.cache
def _capabilities() -> list[str]:
    """Of this host, read in a process of its own: OpenVINO stays out of this one."""
    found: list[str] = call_in_child(f"{__name__}:capabilities", title="the process that reads OpenVINO's capabilities")
    return found


def capabilities() -> list[str]:
    """``OPTIMIZATION_CAPABILITIES`` of the CPU."""
    import openvino

    return list(openvino.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"))


@dataclass(frozen=True, slots=True)
class Device:
    """A device OpenVINO can use.

    Attributes
    ----------
    name, full_name : str
        ``CPU``, and the processor's own.
    hints : tuple of str
        Values of ``inference_precision`` it can compute in.
    preferred : str
        What ``auto`` comes to.
    capabilities : tuple of str
        ``OPTIMIZATION_CAPABILITIES``.
    """

    name: str
    full_name: str
    hints: tuple[str, ...]
    preferred: str
    capabilities: tuple[str, ...]


def devices() -> list[Device]:
    """Devices of this host."""
    import openvino

    core = openvino.Core()
    found = []
    for name in core.available_devices:
        able = list(core.get_property(name, "OPTIMIZATION_CAPABILITIES"))
        hints = ("f32", *(hint for hint in precision.NEEDS if precision.missing_units(hint, able) is None))
        preferred = core.get_property(name, "INFERENCE_PRECISION_HINT")
        full = str(core.get_property(name, "FULL_DEVICE_NAME")).strip()
        found.append(Device(name, full, hints, _short(preferred), tuple(able)))
    return found


def _short(element: Any) -> str:
    """``f32`` of OpenVINO's type of elements."""
    return str(element.get_type_name() if hasattr(element, "get_type_name") else element)


def library() -> Any:
    """Import OpenVINO."""
    import openvino

    return openvino


def load(config: SuperPointConfig, model: Path, fingerprint: Fingerprint, context: Context) -> OpenVINONetwork:
    """Load the IR or ONNX file `model`.

    Raises
    ------
    ModelError
        If the CPU lacks the precision asked for.
    """
    import openvino

    core = openvino.Core()
    precision.check_hint(config.inference_precision, core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"))
    return OpenVINONetwork(core, model, fingerprint, config, context.threads)


def properties_of(config: SuperPointConfig, threads: int) -> dict[str, object]:
    """Properties of the CPU plugin a method is compiled with."""
    properties: dict[str, object] = {
        "PERFORMANCE_HINT": config.performance_hint.upper(),
        "INFERENCE_NUM_THREADS": threads,
    }
    # Left alone, the plugin computes f32 models in bf16 where the CPU has it.
    if config.inference_precision != PrecisionHint.auto:
        properties["INFERENCE_PRECISION_HINT"] = config.inference_precision
    return properties


class OpenVINONetwork:
    """An IR, compiled for each image size that comes along."""

    def __init__(self, core: Any, path: Path, fingerprint: Fingerprint, config: SuperPointConfig, threads: int) -> None:
        self._core = core
        self._fingerprint = fingerprint
        self._config = config
        self._properties = properties_of(config, threads)
        self._path = path
        # A user's own file names and orders its tensors as it likes; an IR made here has the names of the signature.
        self._file = fingerprint if isinstance(fingerprint, GraphFingerprint) else None
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._compiled: Any = None
        self._costs: dict[str, object] = {}
        start = time.perf_counter()
        try:
            self._model = core.read_model(str(self._path))
        except RuntimeError as error:
            raise ModelError(f"{self._path}: OpenVINO cannot read it: {str(error).strip().splitlines()[-1]}") from error
        self._costs["load_ms"] = 1e3 * (time.perf_counter() - start)

    def prepare(self, size: Size, batch: int = 1) -> None:
        """Compile for a static shape, unless one of the last shapes."""
        shape = tuple(input_shape(size, self._fingerprint, batch))
        if shape in self._requests:
            self._requests.move_to_end(shape)
            return
        start = time.perf_counter()
        compiled = self._compile(shape, self._properties)
        # Of the first shape: later ones find the libraries and the kernels loaded.
        self._costs.setdefault("compile_ms", 1e3 * (time.perf_counter() - start))
        self._compiled = compiled
        self._requests[shape] = compiled.create_infer_request()
        if len(self._requests) > _COMPILED_SHAPES:
            self._requests.popitem(last=False)

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run [N, H, W, 1] images; neither inputs nor outputs are copied."""
        request = self._requests[images.shape]
        results = request.infer([self._arranged(images)], share_inputs=True, share_outputs=True)
        # A tensor also carries the names of the nodes behind it.
        named = {name: array for output, array in results.items() for name in output.get_names()}
        if self._file is None:
            return {key: named[key] for key in self._fingerprint.output_tensors if key in named}
        return self._file.signature(named)

    def _arranged(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """[N, H, W, 1] images in the layout and type of the model."""
        return images if self._file is None else self._file.arranged(images)

    def throughput(self, images: Sequence[NDArray[np.float32]], seconds: float) -> dict[str, float]:
        """Images per second with the throughput hint and an asynchronous queue as long as the plugin advises.

        Parameters
        ----------
        images : sequence of [1, H, W, 1] float32
            All of one shape; taken in turn.
        seconds : float
            Duration; requests under way at its end are waited for and counted.
        """
        import openvino

        compiled = self._compile(images[0].shape, self._properties | {"PERFORMANCE_HINT": "THROUGHPUT"})
        queue = openvino.AsyncInferQueue(compiled)
        arranged = [self._arranged(image) for image in images]
        for _ in range(2 * len(queue)):
            queue.start_async([arranged[0]])
        queue.wait_all()
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            queue.start_async([arranged[count % len(images)]])
            count += 1
        queue.wait_all()
        elapsed_s = time.perf_counter() - start
        self._costs["throughput_per_s"] = count / elapsed_s
        return {
            "images_per_s": count / elapsed_s,
            "streams": float(compiled.get_property("NUM_STREAMS")),
            "requests": float(len(queue)),
        }

    def compile_costs(self, size: Size) -> dict[str, float]:
        """Time to compile with an empty model cache and again with the filled one, in milliseconds."""
        shape = tuple(input_shape(size, self._fingerprint, 1))
        with tempfile.TemporaryDirectory() as cache:
            costs = {}
            for name in ("compile_cold_ms", "compile_cached_ms"):
                start = time.perf_counter()
                self._compile(shape, self._properties | {"CACHE_DIR": cache})
                costs[name] = 1e3 * (time.perf_counter() - start)
        self._costs |= costs
        return costs

    def _compile(self, shape: Sequence[int], properties: Mapping[str, object]) -> Any:
        try:
            model = self._model.clone()
            if self._file is not None and "image" in self._file.channels_first:
                shape = (shape[0], 1, *shape[1:3])
            if self._file is None or self._file.height is None or self._file.width is None:
                model.reshape(list(shape))
            return self._core.compile_model(model, DEVICE, dict(properties))
        except RuntimeError as error:
            raise ModelError(
                f"{self._path}: OpenVINO cannot compile it for input {list(shape)} ([N, H, W, 1]): {error}"
            ) from error

    def info(self) -> dict[str, dict[str, object]]:
        """Facts for MethodInfo; precision and threads are those of the model compiled last."""
        import openvino

        config = self._config
        facts: dict[str, dict[str, object]] = {
            "precision": {"requested": f"weights {config.weights}, hint {config.inference_precision}"},
            "versions": {"openvino": openvino.__version__, "numpy": np.__version__},
            "threads": {"requested": self._properties["INFERENCE_NUM_THREADS"]},
            "costs": self._costs,
        }
        compiled = self._compiled
        if compiled is not None:
            resolved = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            rows = precision.layers(compiled)
            facts["precision"] = precision.describe(config.weights, config.inference_precision, resolved, rows)
            facts["threads"] |= {
                key.lower(): str(compiled.get_property(key))
                for key in ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "ENABLE_CPU_PINNING", "PERFORMANCE_HINT")
            }
        return facts
