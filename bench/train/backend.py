"""The few places where Keras backends differ: compiled forward passes and threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import keras


def compiled(network: keras.Model) -> Any:
    """The network as a function that PyTorch compiles; on other backends, which compile by themselves, the network."""
    import keras

    if keras.backend.backend() != "torch":
        return network
    import torch

    return torch.compile(lambda images, training: network(images, training=training), dynamic=False)


def inference(network: keras.Model, compile_network: bool) -> Callable[[npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
    """Forward pass from NumPy to NumPy, in inference mode and without gradients.

    Parameters
    ----------
    network : keras.Model
        As built by :func:`bench.models.network.build_network`.
    compile_network : bool
        Whether PyTorch compiles it; only worthwhile for many batches of one shape.
    """
    import keras

    if keras.backend.backend() != "torch":
        return lambda images: {key: np.asarray(value) for key, value in network.predict_on_batch(images).items()}
    import torch

    forward = compiled(network) if compile_network else network

    def run(images: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        with torch.no_grad():
            outputs = forward(keras.ops.convert_to_tensor(images), training=False)
        return {key: value.float().cpu().numpy() for key, value in outputs.items()}

    return run


def start(threads: int, log: Path) -> None:
    """Import Keras, limit its threads and start its backend.

    What TensorFlow's and absl's libraries print about the machine on the way is appended to `log`; errors are raised.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            import keras

            limit_threads(threads)
            keras.ops.zeros(1)
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)


def limit_threads(threads: int) -> None:
    """Limit the threads of OpenCV and of the Keras backend; 0 leaves their defaults."""
    if not threads:
        return
    import cv2
    import keras

    cv2.setNumThreads(threads)
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        torch.set_num_threads(threads)
    elif backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    else:
        # XLA reads its thread count once, when the first computation starts.
        os.environ.setdefault("XLA_FLAGS", f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}")
