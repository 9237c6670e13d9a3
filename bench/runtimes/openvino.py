"""SuperPoint under OpenVINO: the same SavedModel, converted, or a file that it reads, on one of its devices."""

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
"""Where a method runs unless its `device` says otherwise."""
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
    if device_of(config) == DEVICE and config.inference_precision not in precision.NEEDS:
        return None  # without asking OpenVINO
    able = host_capabilities()
    wanted = physical(device_of(config), tuple(able))
    if absent := [name for name in wanted if name not in able]:
        return f"OpenVINO has no device {', '.join(absent)} here, it has {', '.join(able)} (bench list devices)"
    lacking = (precision.missing_units(config.inference_precision, able[name], name) for name in wanted)
    return next((reason for reason in lacking if reason is not None), None)


def device_of(config: SuperPointConfig) -> str:
    """The device of a method; one that was made outside a command's configuration has no device to follow."""
    return DEVICE if config.device.startswith("${") else config.device


def physical(device: str, available: Sequence[str]) -> list[str]:
    """The devices that one of OpenVINO's names stands for.

    >>> physical("HETERO:GPU,CPU", ["CPU", "GPU"]), physical("AUTO", ["CPU"]), physical("GPU", ["GPU.0", "GPU.1"])
    (['GPU', 'CPU'], ['CPU'], ['GPU.0'])
    """
    policy, _, listed = device.partition(":")
    names = listed.split(",") if listed else list(available) if policy == "AUTO" else [device]
    # With two of a kind OpenVINO numbers them, and the bare name is the first.
    return [f"{name}.0" if name not in available and f"{name}.0" in available else name for name in names]


@functools.cache
def host_capabilities() -> dict[str, list[str]]:
    """Of this host, read in a process of its own: OpenVINO stays out of this one."""
    found: dict[str, list[str]] = call_in_child(
        f"{__name__}:capabilities", title="the process that reads OpenVINO's capabilities"
    )
    return found


def capabilities() -> dict[str, list[str]]:
    """``OPTIMIZATION_CAPABILITIES`` of every device."""
    import openvino

    core = openvino.Core()
    return {name: list(core.get_property(name, "OPTIMIZATION_CAPABILITIES")) for name in core.available_devices}


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
        hints = tuple(hint for hint in ("f32", *precision.NEEDS) if precision.missing_units(hint, able, name) is None)
        preferred = core.get_property(name, "INFERENCE_PRECISION_HINT")
        full = str(core.get_property(name, "FULL_DEVICE_NAME")).strip()
        found.append(Device(name, full, hints, _short(preferred), tuple(able)))
    return found


def _short(element: Any) -> str:
    """``f32`` of OpenVINO's type of elements."""
    return str(element.get_type_name() if hasattr(element, "get_type_name") else element)


@functools.cache
def _host_names() -> dict[str, str]:
    found: list[Device] = call_in_child(f"{__name__}:devices", title="the process that lists OpenVINO's devices")
    return {device.name: device.full_name for device in found}


def beside_cpu(config: SuperPointConfig) -> dict[str, str]:
    """Devices that a method may use, with their full names, unless it is the CPU alone: a condition of its times."""
    if device_of(config) == DEVICE:
        return {}
    names = _host_names()
    return {name: names.get(name, "absent") for name in physical(device_of(config), tuple(names))}


def library() -> Any:
    """Import OpenVINO."""
    import openvino

    return openvino


def load(config: SuperPointConfig, model: Path, fingerprint: Fingerprint, context: Context) -> OpenVINONetwork:
    """Load the IR or ONNX file `model`.

    Raises
    ------
    ModelError
        If the host lacks the device or the device the precision asked for.
    """
    import openvino

    core = openvino.Core()
    for name in physical(device_of(config), core.available_devices):
        if name not in core.available_devices:
            raise ModelError(
                f"device={device_of(config)} is not possible: OpenVINO has no {name} here, it has "
                f"{', '.join(core.available_devices)}"
            )
        able = list(core.get_property(name, "OPTIMIZATION_CAPABILITIES"))
        precision.check_hint(config.inference_precision, able, name)
    return OpenVINONetwork(core, model, fingerprint, config, context.threads)


def properties_of(config: SuperPointConfig, threads: int, available: Sequence[str] = (DEVICE,)) -> dict[str, object]:
    """Properties a method is compiled with; those of the devices behind AUTO and HETERO stand under each device.

    Parameters
    ----------
    config : SuperPointConfig
    threads : int
        On the CPU; other devices have none.
    available : sequence of str
        Devices of the host, for AUTO without a list.
    """

    def of(name: str) -> dict[str, object]:
        found: dict[str, object] = {"INFERENCE_NUM_THREADS": threads} if name == DEVICE else {}
        # Left alone, the plugin computes f32 models in bf16 where the CPU has it.
        if config.inference_precision != PrecisionHint.auto:
            found["INFERENCE_PRECISION_HINT"] = str(config.inference_precision)
        if config.num_streams is not None and not name.startswith("NPU"):
            found["NUM_STREAMS"] = config.num_streams
        return found

    device = device_of(config)
    hint: dict[str, object] = {"PERFORMANCE_HINT": config.performance_hint.upper()}
    names = physical(device, available)
    if not device.startswith(("AUTO", "HETERO")):
        return hint | of(names[0])
    # AUTO starts on the CPU while it compiles for another device: what is timed would be a mixture.
    start: dict[str, object] = {"ENABLE_STARTUP_FALLBACK": False} if device.startswith("AUTO") else {}
    return hint | start | {"DEVICE_PROPERTIES": {name: of(name) for name in names}}


class OpenVINONetwork:
    """An IR, compiled for each image size that comes along."""

    def __init__(self, core: Any, path: Path, fingerprint: Fingerprint, config: SuperPointConfig, threads: int) -> None:
        self._core = core
        self._fingerprint = fingerprint
        self._config = config
        self._device = device_of(config)
        self._threads = threads
        self._properties = properties_of(config, threads, core.available_devices)
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
        """Images per second with the throughput hint and an asynchronous queue as long as the plugin advises; with
        `num_streams`, as many streams.

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
            "streams": float(_read(compiled, "NUM_STREAMS") or 1),
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
            return self._core.compile_model(model, self._device, dict(properties))
        except RuntimeError as error:
            raise ModelError(
                f"{self._path}: OpenVINO cannot compile it for input {list(shape)} ([N, H, W, 1]) on {self._device}: "
                f"{error}"
            ) from error

    def info(self) -> dict[str, dict[str, object]]:
        """Facts for MethodInfo; precision and threads are those of the model compiled last."""
        import openvino

        config = self._config
        facts: dict[str, dict[str, object]] = {
            "precision": {"requested": f"weights {config.weights}, hint {config.inference_precision}"},
            "versions": {"openvino": openvino.__version__, "numpy": np.__version__},
            "threads": {"requested": self._threads},
            "costs": self._costs,
            "device": {"requested": self._device},
        }
        compiled = self._compiled
        if compiled is not None:
            resolved = _short(_read(compiled, "INFERENCE_PRECISION_HINT"))
            rows = precision.layers(compiled)
            described = precision.describe(config.weights, config.inference_precision, resolved, rows)
            executed = _executing(compiled)
            if self._device != DEVICE:
                behind = f" ({', '.join(executed)})" if executed != [self._device] else ""
                described["label"] = f"{described['label']}, on {self._device}{behind}"
            facts["precision"] = described
            facts["device"] |= {
                "executed": executed,
                "names": {name: str(self._core.get_property(name, "FULL_DEVICE_NAME")).strip() for name in executed},
            }
            keys = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "ENABLE_CPU_PINNING", "PERFORMANCE_HINT")
            facts["threads"] |= {key.lower(): str(_read(compiled, key)) for key in keys}
            facts["threads"]["requests"] = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        return facts


def _executing(compiled: Any) -> list[str]:
    """Devices that a compiled model runs on."""
    return [str(name).strip("()") for name in compiled.get_property("EXECUTION_DEVICES")]


def _read(compiled: Any, key: str) -> Any:
    """A property of a compiled model; of AUTO and HETERO that of the first device behind them. None: it has none."""
    if key in compiled.get_property("SUPPORTED_PROPERTIES"):
        return compiled.get_property(key)
    if "DEVICE_PROPERTIES" not in compiled.get_property("SUPPORTED_PROPERTIES"):
        return None
    behind = compiled.get_property("DEVICE_PROPERTIES")
    return behind.get(_executing(compiled)[0], {}).get(key)
