"""SuperPoint under ONNX Runtime: the network as an ONNX file, on the CPU."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.doors import importable
from bench.core.errors import ModelError
from bench.core.types import Context, Size
from bench.models.fingerprint import Fingerprint
from bench.models.graphfile import GraphFingerprint
from bench.models.onnxfile import convolutions
from bench.models.shape import input_shape
from bench.runtimes import precision
from bench.runtimes.base import Form, Outputs, Tensors
from bench.schema import SuperPointConfig

TITLE = "ONNX Runtime"
FORM = Form.onnx
READS = (".onnx",)
_PROVIDER = "CPUExecutionProvider"
_ERRORS_ONLY = 3


def missing(config: SuperPointConfig) -> str | None:
    """See :func:`bench.runtimes.base.missing`."""
    return None if importable("onnxruntime") else "ONNX Runtime is not installed (pip install 'superpoint-bench[onnx]')"


def library() -> Any:
    """Import ONNX Runtime, without its warnings and without telemetry."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def load(config: SuperPointConfig, model: Path, fingerprint: Fingerprint, context: Context) -> OnnxRuntimeNetwork:
    """Load the ONNX file `model`.

    Raises
    ------
    ModelError
        If ONNX Runtime refuses it.
    """
    return OnnxRuntimeNetwork(config, model, fingerprint, context.threads)


class OnnxRuntimeNetwork:
    """An inference session; it takes any size that the file allows."""

    def __init__(self, config: SuperPointConfig, path: Path, fingerprint: Fingerprint, threads: int) -> None:
        self._library = library()
        self._path = path
        self._fingerprint = fingerprint
        self._tensors = Tensors.of(config, fingerprint)
        self._threads = threads
        start = time.perf_counter()
        self._session = self._started()
        self._costs: dict[str, object] = {"load_ms": 1e3 * (time.perf_counter() - start)}
        # Here, before an inference has taken its memory, so that it is no part of the peak.
        self._layers = self._optimised()

    def _options(self) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = self._library.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self._library.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _ERRORS_ONLY
        return options

    def _started(self, optimised: Path | None = None) -> Any:
        options = self._options()
        if optimised is not None:
            options.optimized_model_filepath = str(optimised)
        try:
            return self._library.InferenceSession(str(self._path), options, providers=[_PROVIDER])
        except Exception as error:  # its own classes, which have no common one
            reason = str(error).strip().splitlines()[-1]
            raise ModelError(f"{self._path}: ONNX Runtime cannot load it: {reason}") from error

    def _optimised(self) -> list[dict[str, str]]:
        """Convolutions of the graph that the session runs, as it writes it after its optimisations."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimised.onnx"
            self._started(path)
            return convolutions(path)

    def prepare(self, size: Size, batch: int = 1) -> None:
        """Nothing to compile; refuses a size or batch that the file does not take."""
        input_shape(size, self._fingerprint, batch)

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run [N, H, W, 1] images; the input is not copied."""
        names = list(self._tensors.outputs.values())
        return self._tensors.keyed(self._session.run(names, {self._tensors.image: self._tensors.arranged(images)}))

    def info(self) -> dict[str, dict[str, object]]:
        """Facts for MethodInfo; the precision is that of the convolutions of the optimised graph."""
        options = self._session.get_session_options()
        weights = self._fingerprint.weights if isinstance(self._fingerprint, GraphFingerprint) else "f32"
        counts = Counter(layer["precision"] for layer in self._layers)
        shares = {name: count / len(self._layers) for name, count in counts.most_common()}
        return {
            "precision": {
                "requested": f"weights {weights}",
                "resolved": ", ".join(shares) or "unknown",
                "executed": shares,
                "kernels": sorted({layer["kernel"] for layer in self._layers}),
                "label": precision.label(weights, shares),
                "layers": self._layers,
            },
            "versions": {"onnxruntime": self._library.__version__, "numpy": np.__version__},
            "threads": {
                "requested": self._threads,
                "intra_op": options.intra_op_num_threads,
                "inter_op": options.inter_op_num_threads,
                "providers": ", ".join(self._session.get_providers()),
            },
            "costs": self._costs,
        }
