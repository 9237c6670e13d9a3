"""SuperPoint under TensorFlow: the SavedModel as published, on the CPU."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.doors import importable
from bench.core.errors import ModelError
from bench.core.types import Context, Size
from bench.models.fingerprint import Fingerprint
from bench.runtimes.base import Form, Outputs
from bench.schema import SuperPointConfig

TITLE = "TensorFlow"
FORM = Form.saved_model
READS: tuple[str, ...] = ()


def missing(config: SuperPointConfig) -> str | None:
    """See :func:`bench.runtimes.base.missing`."""
    return None if importable("tensorflow") else "TensorFlow is not installed (pip install tensorflow)"


def load(config: SuperPointConfig, directory: Path, fingerprint: Fingerprint, context: Context) -> TensorFlowNetwork:
    """Load the SavedModel in `directory`.

    Raises
    ------
    ModelError
        If TensorFlow refuses it.
    """
    outputs = fingerprint.outputs(config.graph, config.descriptors)
    return TensorFlowNetwork(str(directory), fingerprint, outputs, context.threads)


def library() -> Any:
    """Import TensorFlow, without what its libraries print before their log level can be set."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_stderr():
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")
    return tf


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what TensorFlow's libraries print before their log level can be set; errors are raised all the same."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


class TensorFlowNetwork:
    """The signature of a SavedModel, pruned to the outputs that are asked for."""

    def __init__(self, directory: str, fingerprint: Fingerprint, outputs: tuple[str, ...], threads: int) -> None:
        tf = library()
        # Refused once TensorFlow has started its threads; `info` reports the values in force.
        with contextlib.suppress(RuntimeError):
            tf.config.set_visible_devices([], "GPU")
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        self._tf: Any = tf
        start = time.perf_counter()
        try:
            with _silent_stderr():
                self._loaded = tf.saved_model.load(directory)
            signature = self._loaded.signatures["serving_default"]
            names = {key: fingerprint.output_tensors[key] for key in outputs}
            # Exports of TensorFlow 2 are compiled functions: they cannot be pruned and give all outputs.
            self._run = signature.prune(fingerprint.input_tensor, names) if hasattr(signature, "prune") else signature
            self._outputs = outputs
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise ModelError(f"{directory}: TensorFlow cannot load it: {error}") from error
        self._load_ms = 1e3 * (time.perf_counter() - start)

    def prepare(self, size: Size, batch: int = 1) -> None:
        """Nothing to do: TensorFlow takes any size."""

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run [N, H, W, 1] images and fetch the outputs."""
        outputs = self._run(self._tf.constant(images))
        return {key: outputs[key].numpy() for key in self._outputs}

    def info(self) -> dict[str, dict[str, object]]:
        """Facts for MethodInfo."""
        threading = self._tf.config.threading
        return {
            "precision": {
                "requested": "weights f32",
                "resolved": "f32",
                "executed": {"f32": 1.0},
                "label": "FP32",
                "layers": [],
            },
            "versions": {"tensorflow": self._tf.__version__, "numpy": np.__version__},
            "threads": {
                "intra_op": threading.get_intra_op_parallelism_threads(),
                "inter_op": threading.get_inter_op_parallelism_threads(),
                "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
            },
            "costs": {"load_ms": self._load_ms},
        }
