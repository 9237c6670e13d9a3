"""The contract of a runtime: a model comes in, a loaded network that computes its outputs goes out."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.core.types import Context, Size
from bench.models.fingerprint import Fingerprint
from bench.schema import SuperPointConfig

Outputs = Mapping[str, NDArray[np.float32]]

RUNTIMES = {"tensorflow": "bench.runtimes.tensorflow", "openvino": "bench.runtimes.openvino"}
"""Runtime -> module with `load(config, directory, fingerprint, context)`, `missing(config)` and `library()`."""


class Network(Protocol):
    """A loaded network of one runtime."""

    def prepare(self, size: Size, batch: int = 1) -> None:
        """Compile for an image size, if the runtime compiles."""

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run [N, H, W, 1] images; outputs by signature key. They are valid until the next call."""

    def info(self) -> dict[str, dict[str, object]]:
        """``precision``, ``versions``, ``threads`` and ``costs``, as in MethodInfo."""


def missing(config: SuperPointConfig) -> str | None:
    """What this host lacks to run a method, such as ``this CPU has no f16 units``; None: nothing.

    Asked before a worker starts: the runtime is not loaded into this process for it.
    """
    found: str | None = importlib.import_module(RUNTIMES[config.backend]).missing(config)
    return found


def preload(backend: str) -> None:
    """Import the library of a runtime, which takes seconds and depends on no model; a missing one is said by `load`."""
    with contextlib.suppress(ImportError):
        importlib.import_module(RUNTIMES[backend]).library()


def load(config: SuperPointConfig, directory: Path, fingerprint: Fingerprint, context: Context) -> Network:
    """Load a model on the runtime ``config.backend``, whose module is imported here only.

    Parameters
    ----------
    config : SuperPointConfig
    directory : Path
        The model in the form that the runtime reads: a SavedModel, or for OpenVINO an IR.
    fingerprint : Fingerprint
        Of the SavedModel.
    context : Context

    Raises
    ------
    ModelError
        If the runtime cannot run the model as asked.
    """
    module = importlib.import_module(RUNTIMES[config.backend])
    network: Network = module.load(config, directory, fingerprint, context)
    return network
