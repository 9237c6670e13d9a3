"""What an IR is made from, and the SavedModel as OpenVINO reads it: what conversion and quantisation share."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import ModelError
from bench.models.onnxfile import onnx_bytes
from bench.models.weights import load_weights

_LAYOUT = 1
"""Raised when the content of a cache entry changes."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an IR is made from; its digest names the cache entry.

    Attributes
    ----------
    outputs : tuple of str
        Signature keys that are kept.
    weights : str
        ``f32``, ``f16`` (compressed) or ``int8`` (post-training quantisation).
    input_scale : float
        Value of white; matters only to the calibration.
    """

    saved_model: str
    model_key: str
    outputs: tuple[str, ...]
    weights: str
    input_scale: float
    accuracy_control: bool = False
    max_drop: float = 0.01
    seed: int = 0

    def digest(self) -> str:
        """Key of the cache entry: everything but the place of the SavedModel, and the version of OpenVINO."""
        from importlib.metadata import version

        facts: dict[str, object] = asdict(self) | {"openvino": version("openvino"), "layout": _LAYOUT}
        del facts["saved_model"]
        if self.weights == "int8":
            facts["nncf"] = version("nncf")
        else:
            for key in ("input_scale", "accuracy_control", "max_drop", "seed"):
                del facts[key]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def require_nncf() -> None:
    """Raise ModelError unless NNCF is installed."""
    import importlib.util

    if importlib.util.find_spec("nncf") is None:
        raise ModelError("weights=int8 needs NNCF: pip install 'superpoint-bench[int8]'")


def converted(saved_model: str | Path, outputs: Sequence[str], shape: Sequence[int] | None = None) -> Any:
    """The SavedModel, or the network with the weights of an ``.npz``, as an ``openvino.Model`` with only the named
    outputs; its input is [N, H, W, 1].

    Raises
    ------
    ModelError
        If OpenVINO cannot convert the graph, or the converted graph lost an output.
    """
    import openvino

    if Path(saved_model).suffix == ".npz":
        return _built(openvino, Path(saved_model), outputs, shape)
    try:
        model = openvino.convert_model(str(saved_model), input=None if shape is None else [("image", list(shape))])
    except Exception as error:  # OpenVINO raises bare RuntimeError and its own types
        reason = str(error).strip().splitlines()
        raise ModelError(f"{saved_model}: OpenVINO cannot convert it: {reason[-1] if reason else error!r}") from error
    names = {name for output in model.outputs for name in output.get_names()}
    lost = sorted(set(outputs) - names)
    if lost:
        raise ModelError(f"{saved_model}: the converted graph has no output {', '.join(lost)}; it has {sorted(names)}")
    for output in list(model.outputs):
        if not output.get_names() & set(outputs):
            model.remove_result(output.get_node())
    return model


def _built(openvino: Any, weights: Path, outputs: Sequence[str], shape: Sequence[int] | None) -> Any:
    """The network by its ONNX form, with the input of the SavedModel."""
    model = openvino.Core().read_model(io.BytesIO(onnx_bytes(load_weights(weights), outputs)))
    steps = openvino.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    model = steps.build()
    if shape is not None:
        model.reshape(list(shape))
    return model
