"""The contract of a runtime: a model comes in, a loaded network that computes its outputs goes out.

A runtime is a word of :class:`bench.schema.options.Runtime` and the module of this room with its name, which offers

- ``TITLE``, its name in sentences, ``FORM``, what it loads, ``READS``, the suffixes of the user's files that it runs as
  they are,
- ``library()``, which imports it, ``missing(config)`` and ``load(config, model, fingerprint, context)``, as below.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.core.types import Context, Size
from bench.models.fingerprint import Fingerprint
from bench.models.graphfile import GraphFingerprint, is_graph_file
from bench.schema import SuperPointConfig
from bench.schema.options import Runtime

Outputs = Mapping[str, NDArray[np.float32]]


class Form(StrEnum):
    """What a runtime loads; :func:`bench.features.convert.model_files` makes it."""

    saved_model = "saved_model"
    """Folder of a SavedModel of TensorFlow."""
    ir = "ir"
    """``.xml`` of an OpenVINO IR."""
    onnx = "onnx"
    """ONNX file of :func:`bench.models.onnxfile.write_onnx`."""
    weights = "weights"
    """``.npz`` of the arrays, for a runtime whose file builds the network."""


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
    module = module_of(config.backend)
    path = config.model.path
    if path is not None and is_graph_file(path) and Path(path).suffix not in module.READS:
        able = [module_of(word).TITLE for word in Runtime if Path(path).suffix in module_of(word).READS]
        return f"{module.TITLE} does not read {Path(path).name}; {' and '.join(able)} {'do' if able[1:] else 'does'}"
    found: str | None = module.missing(config)
    return found


def module_of(backend: str) -> Any:
    """The module of a runtime; the library is not imported."""
    return importlib.import_module(f"bench.runtimes.{backend}")


def preload(backend: str) -> None:
    """Import the library of a runtime, which takes seconds and depends on no model; a missing one is said by `load`."""
    with contextlib.suppress(ImportError):
        module_of(backend).library()


def load(config: SuperPointConfig, model: Path, fingerprint: Fingerprint, context: Context) -> Network:
    """Load a model on the runtime ``config.backend``, whose module is imported here only.

    Parameters
    ----------
    config : SuperPointConfig
    model : Path
        In the form that the runtime loads, or the user's own file.
    fingerprint : Fingerprint
        Of the model as the user named it.
    context : Context

    Raises
    ------
    ModelError
        If the runtime cannot run the model as asked.
    """
    network: Network = module_of(config.backend).load(config, model, fingerprint, context)
    return network


@dataclass(frozen=True, slots=True)
class Tensors:
    """Names and layout of an ONNX file's tensors: those of the package's own files, or of the user's."""

    image: str
    outputs: dict[str, str]
    """Key as in the signature of sp_v6 -> name in the file."""
    channels_first: frozenset[str]
    file: GraphFingerprint | None = None
    """Of the user's own file, which may take and give other types."""

    @classmethod
    def of(cls, config: SuperPointConfig, fingerprint: Fingerprint) -> Tensors:
        if isinstance(fingerprint, GraphFingerprint):
            first = frozenset(fingerprint.channels_first)
            return cls(fingerprint.input_tensor, fingerprint.output_tensors, first, fingerprint)
        outputs = {key: key for key in fingerprint.outputs(config.graph, config.descriptors)}
        return cls("image", outputs, frozenset({"image"}))

    def arranged(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """[N, H, W, 1] images in the layout of the file: with one channel both have the same bytes."""
        if self.file is not None:
            return self.file.arranged(images)
        return images.reshape(len(images), 1, *images.shape[1:3]) if "image" in self.channels_first else images

    def keyed(self, arrays: Sequence[NDArray[np.float32]]) -> Outputs:
        """Arrays in the order of `outputs`, by key, channels last."""
        if self.file is not None:
            return self.file.signature(dict(zip(self.outputs.values(), arrays, strict=True)))
        found = zip(self.outputs, arrays, strict=True)
        return {key: np.moveaxis(array, 1, 3) if key in self.channels_first else array for key, array in found}
