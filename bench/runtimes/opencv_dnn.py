"""SuperPoint under OpenCV's own inference, `cv2.dnn`: the network as an ONNX file, on the CPU."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.doors import importable
from bench.core.errors import ModelError
from bench.core.types import Context, Size
from bench.models.fingerprint import Fingerprint
from bench.models.shape import input_shape
from bench.runtimes.base import Form, Outputs, Tensors
from bench.schema import SuperPointConfig

TITLE = "OpenCV DNN"
FORM = Form.onnx
READS = (".onnx",)


def missing(config: SuperPointConfig) -> str | None:
    """See :func:`bench.runtimes.base.missing`."""
    return None if importable("cv2") else "OpenCV is not installed (pip install opencv-contrib-python)"


def library() -> Any:
    """Import OpenCV."""
    import cv2

    return cv2


def load(config: SuperPointConfig, model: Path, fingerprint: Fingerprint, context: Context) -> OpenCVNetwork:
    """Load the ONNX file `model`.

    Raises
    ------
    ModelError
        If OpenCV cannot read it.
    """
    return OpenCVNetwork(config, model, fingerprint, context.threads)


class OpenCVNetwork:
    """A network of `cv2.dnn`; it takes any size that the file allows and plans its memory for each new one."""

    def __init__(self, config: SuperPointConfig, path: Path, fingerprint: Fingerprint, threads: int) -> None:
        self._cv2 = library()
        self._cv2.setNumThreads(threads)
        self._path = path
        self._fingerprint = fingerprint
        self._tensors = Tensors.of(config, fingerprint)
        self._threads = threads
        start = time.perf_counter()
        try:
            self._network = self._cv2.dnn.readNetFromONNX(str(path))
        except self._cv2.error as error:
            raise ModelError(f"{path}: OpenCV cannot read it: {_reason(error)}") from error
        self._costs: dict[str, object] = {"load_ms": 1e3 * (time.perf_counter() - start)}

    def prepare(self, size: Size, batch: int = 1) -> None:
        """Nothing to compile; refuses a size or batch that the file does not take."""
        input_shape(size, self._fingerprint, batch)

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run [N, H, W, 1] images.

        Raises
        ------
        ModelError
            If OpenCV cannot compute a layer.
        """
        try:
            self._network.setInput(self._tensors.arranged(images))
            return self._tensors.keyed(self._network.forward(list(self._tensors.outputs.values())))
        except self._cv2.error as error:
            raise ModelError(f"{self._path}: OpenCV cannot run it: {_reason(error)}") from error

    def info(self) -> dict[str, dict[str, object]]:
        """Facts for MethodInfo; OpenCV names no precision of a layer: on the CPU, its default target, it is f32."""
        return {
            "precision": {
                "requested": "weights f32",
                "resolved": "f32",
                "executed": {"f32": 1.0},
                "source": "the default target",
                "label": "FP32",
                "layers": [],
            },
            "versions": {"opencv": self._cv2.__version__, "numpy": np.__version__},
            "threads": {"requested": self._threads, "opencv": self._cv2.getNumThreads()},
            "costs": self._costs,
        }


def _reason(error: Exception) -> str:
    """What went wrong, without the place in OpenCV's sources."""
    return str(error).strip().splitlines()[-1].rpartition(") ")[2]
