"""SuperPoint under LiteRT (TensorFlow Lite) with XNNPACK, on the CPU.

TensorFlow converts the network to a ``.tflite`` in a process of its own; LiteRT then runs without it.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.doors import importable
from bench.core.errors import ModelError
from bench.core.types import Context, Size
from bench.models.cache import cached, run_python
from bench.models.export import sparse_outputs
from bench.models.fingerprint import Fingerprint
from bench.models.shape import input_shape
from bench.models.weights import load_weights
from bench.runtimes import precision
from bench.runtimes.base import Form, Outputs
from bench.schema import SuperPointConfig

TITLE = "LiteRT"
FORM = Form.weights
READS: tuple[str, ...] = ()
_AXES = {"prob": 3, "descriptors_raw": 4}
_TYPES = {np.dtype(np.float32): "f32", np.dtype(np.float16): "f16", np.dtype(np.int8): "i8"}


def missing(config: SuperPointConfig) -> str | None:
    """See :func:`bench.runtimes.base.missing`."""
    if not importable("tensorflow"):
        return "LiteRT gets its model from TensorFlow, which is not installed (pip install tensorflow)"
    return None


def library() -> Any:
    """The class of LiteRT's interpreter: of the package ai-edge-litert, or the one inside TensorFlow."""
    if importable("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter
    from bench.runtimes.tensorflow import library as tensorflow

    return tensorflow().lite.Interpreter


def load(config: SuperPointConfig, model: Path, fingerprint: Fingerprint, context: Context) -> LiteRTNetwork:
    """Convert the weight file `model` on first use and load it.

    Raises
    ------
    ModelError
        If the conversion fails or LiteRT refuses its result.
    """
    keys = fingerprint.outputs("sparse", config.descriptors)
    named = "-".join((fingerprint.key, *keys, config.weights, importlib.metadata.version("tensorflow")))

    def build(directory: Path) -> None:
        run_python("bench.runtimes.litert:convert", str(model), str(directory), config.weights, *keys)

    path = cached(context.cache / "tflite" / named, build) / "model.tflite"
    return LiteRTNetwork(path, fingerprint, config.weights, keys, context.threads)


def convert(weights: str, directory: str, kind: str, *keys: str) -> None:
    """Write ``model.tflite``: [N, H, W, 1] with free sides to the outputs `keys`; `kind` is ``f32`` or ``f16``."""
    from bench.runtimes.tensorflow import library as tensorflow

    tf = tensorflow()
    arrays = load_weights(weights)
    images = tf.TensorSpec([None, None, None, 1], tf.float32, name="image")

    @tf.function(input_signature=[images])  # type: ignore[untyped-decorator]
    def network(image: Any) -> Any:
        found = sparse_outputs(image, {name: tf.constant(array) for name, array in arrays.items()})
        return {key: found[key] for key in keys}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    if kind == "f16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    (Path(directory) / "model.tflite").write_bytes(converter.convert())


class LiteRTNetwork:
    """An interpreter with the XNNPACK delegate, planned for one shape at a time."""

    def __init__(self, path: Path, fingerprint: Fingerprint, weights: str, keys: tuple[str, ...], threads: int) -> None:
        make = library()
        self._fingerprint = fingerprint
        self._weights = weights
        self._threads = threads
        self._shape: tuple[int, ...] | None = None
        start = time.perf_counter()
        try:
            self._interpreter = make(str(path), num_threads=threads)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{path}: LiteRT cannot load it: {error}") from error
        self._costs: dict[str, object] = {"load_ms": 1e3 * (time.perf_counter() - start)}
        self._image = self._interpreter.get_input_details()[0]["index"]
        by_axes = {len(found["shape_signature"]): found["index"] for found in self._interpreter.get_output_details()}
        self._outputs = {key: by_axes[_AXES[key]] for key in keys}

    def prepare(self, size: Size, batch: int = 1) -> None:
        """Plan memory and kernels for a shape, unless it is the last one."""
        shape = tuple(input_shape(size, self._fingerprint, batch))
        if shape == self._shape:
            return
        start = time.perf_counter()
        self._interpreter.resize_tensor_input(self._image, shape)
        self._interpreter.allocate_tensors()
        self._costs.setdefault("compile_ms", 1e3 * (time.perf_counter() - start))
        self._shape = shape

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run [N, H, W, 1] images; LiteRT copies inputs and outputs."""
        self._interpreter.set_tensor(self._image, images)
        self._interpreter.invoke()
        return {key: self._interpreter.get_tensor(index) for key, index in self._outputs.items()}

    def _layers(self) -> list[dict[str, str]]:
        """Convolutions of the plan, with the type of the numbers that they sum up."""
        operations = self._interpreter._get_ops_details()
        types = {
            tensor["index"]: _TYPES.get(np.dtype(tensor["dtype"]), str(tensor["dtype"]))
            for tensor in self._interpreter.get_tensor_details()
        }
        delegated = {int(index) for one in operations if one["op_name"] == "DELEGATE" for index in one["outputs"]}
        makers = {int(index): one for one in operations if one["op_name"] != "DELEGATE" for index in one["outputs"]}
        # The plan lists all operations; those that no output needs besides the delegate's do not run.
        running: set[int] = set()
        queue = list(self._outputs.values())
        while queue:
            index = int(queue.pop())
            if index in makers and index not in delegated and makers[index]["index"] not in running:
                running.add(makers[index]["index"])
                queue += list(makers[index]["inputs"])
        found = [one for one in operations if one["op_name"] == "CONV_2D"]
        return [
            {
                "name": f"conv_{number}",
                "type": "Convolution",
                "precision": types.get(int(one["inputs"][0]), "unknown"),
                "kernel": "LiteRT" if one["index"] in running else "XNNPACK",
            }
            for number, one in enumerate(found)
        ]

    def info(self) -> dict[str, dict[str, object]]:
        """Facts for MethodInfo; the precision is that of the tensors between the convolutions."""
        layers = self._layers() if self._shape is not None else []
        counts = Counter(layer["precision"] for layer in layers)
        shares = {name: count / len(layers) for name, count in counts.most_common()}
        package = "ai-edge-litert" if importable("ai_edge_litert") else "tensorflow"
        return {
            "precision": {
                "requested": f"weights {self._weights}",
                "resolved": ", ".join(shares) or "unknown",
                "executed": shares,
                "kernels": sorted({layer["kernel"] for layer in layers}),
                "label": precision.label(self._weights, shares),
                "layers": layers,
            },
            "versions": {package: importlib.metadata.version(package), "numpy": np.__version__},
            "threads": {"requested": self._threads},
            "costs": self._costs,
        }
