"""The network as an ONNX file: one graph from the weights, for every runtime that reads ONNX.

The file is written without the ``onnx`` package (field numbers are those of ``onnx.proto``), so that an install without
any extra, or without TensorFlow, has it, too. It computes what the sparse graph of the exported SavedModel computes,
with the same names: convolution, ReLU and batch normalisation as :data:`bench.models.network.ENCODER` lists them,
softmax and the move of cells to pixels included, so that runtimes do equal work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ModelError
from bench.core.files import staged_file
from bench.core.types import Size
from bench.models.network import (
    BATCH_NORM_EPSILON,
    CELL_PX,
    DESCRIPTOR_CHANNELS,
    DESCRIPTOR_HEAD,
    DETECTOR_CHANNELS,
    DETECTOR_HEAD,
    ENCODER,
    LayerSpec,
)
from bench.models.weights import Weights, has_descriptors
from bench.models.wire import content, fields, integer, messages, number, single, text

OPSET = 13
"""Version of the operators: every runtime that is used here reads it."""
_IR_VERSION = 7
_TYPES = {"float32": 1, "int64": 7}
_NAMES = {1: "f32", 2: "u8", 3: "i8", 10: "f16", 16: "bf16"}
_OUTPUTS = ("prob", "logits", "descriptors_raw")

Attribute = int | float | str | Sequence[int]
Dims = Sequence[int | str]
"""Sides of a tensor; a name is free."""


def onnx_bytes(
    weights: Weights,
    outputs: Sequence[str] = ("prob", "descriptors_raw"),
    batch: int | None = None,
    size: Size | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The network as the bytes of an ONNX file; the same arguments give the same bytes.

    Parameters
    ----------
    weights : dict of str to float32
        Of a SuperPoint or a MagicPoint, see :mod:`bench.models.weights`.
    outputs : sequence of {"prob", "logits", "descriptors_raw"}
        What is computed. Of a MagicPoint ``descriptors_raw`` is left out.
    batch : int or None
        None: any.
    size : Size or None
        Size of the image, sides divisible by 8; None: any.
    metadata : mapping of str to str
        Goes into the file as ``metadata_props``.

    Returns
    -------
    bytes
        Input ``image``, float32 [N, 1, H, W]; outputs ``prob``, float32 [N, H, W], ``logits``, float32
        [N, H/8, W/8, 65], and ``descriptors_raw``, float32 [N, H/8, W/8, 256], as in the signature of sp_v6.

    Raises
    ------
    ModelError
        If an output is unknown, or a side is not divisible by 8.
    """
    unknown = sorted(set(outputs) - set(_OUTPUTS))
    if unknown or not outputs:
        raise ModelError(f"an ONNX file has no output {', '.join(unknown)}; possible: {', '.join(_OUTPUTS)}")
    if size is not None and (size.height % CELL_PX or size.width % CELL_PX):
        raise ModelError(f"size {size} (HxW) is not divisible by {CELL_PX}, the cell of SuperPoint's output")
    wanted = [name for name in outputs if name != "descriptors_raw" or has_descriptors(weights)]
    graph = _Graph()
    encoded = graph.blocks("image", ENCODER, weights)
    if {"prob", "logits"} & set(wanted):
        cells = graph.blocks(encoded, DETECTOR_HEAD, weights)
        if "logits" in wanted:
            graph.node("Transpose", [cells], "logits", perm=(0, 2, 3, 1))
        if "prob" in wanted:
            shares = graph.node("Softmax", [cells], "detector/softmax", axis=1)
            bounds = [
                graph.integers(f"detector/{name}", value) for name, value in (("from", 0), ("to", 64), ("axis", 1))
            ]
            pixels = graph.node("Slice", [shares, *bounds], "detector/pixels")
            spread = graph.node("DepthToSpace", [pixels], "detector/spread", blocksize=CELL_PX, mode="DCR")
            graph.node("Squeeze", [spread, bounds[2]], "prob")
    if "descriptors_raw" in wanted:
        raw = graph.blocks(encoded, DESCRIPTOR_HEAD, weights)
        graph.node("Transpose", [raw], "descriptors_raw", perm=(0, 2, 3, 1))
    n: int | str = batch or "N"
    height: int | str = size.height if size else "H"
    width: int | str = size.width if size else "W"
    cell_rows: int | str = size.height // CELL_PX if size else "H/8"
    cell_columns: int | str = size.width // CELL_PX if size else "W/8"
    shapes: dict[str, Dims] = {
        "prob": (n, height, width),
        "logits": (n, cell_rows, cell_columns, DETECTOR_CHANNELS),
        "descriptors_raw": (n, cell_rows, cell_columns, DESCRIPTOR_CHANNELS),
    }
    body = b"".join(
        [
            *(content(1, node) for node in graph.nodes),
            content(2, "superpoint" if has_descriptors(weights) else "magicpoint"),
            *(content(5, tensor) for tensor in graph.initial),
            content(11, _value("image", (n, 1, height, width))),
            *(content(12, _value(name, shapes[name])) for name in wanted),
        ]
    )
    properties = (content(14, content(1, key) + content(2, value)) for key, value in (metadata or {}).items())
    operators = content(1, "") + number(2, OPSET)
    head = number(1, _IR_VERSION) + content(2, "superpoint-bench")
    return head + content(7, body) + content(8, operators) + b"".join(properties)


def write_onnx(path: Path, weights: Weights, **settings: Any) -> Path:
    """Write :func:`onnx_bytes` to a file, which appears complete or not at all; returns `path`."""
    with staged_file(path) as part:
        part.write_bytes(onnx_bytes(weights, **settings))
    return path


@dataclass(slots=True)
class _Graph:
    """Nodes and initial values, as bytes of their messages."""

    nodes: list[bytes] = field(default_factory=list)
    initial: list[bytes] = field(default_factory=list)

    def blocks(self, features: str, specs: Sequence[LayerSpec], weights: Weights) -> str:
        """Add the blocks of a part of the network; returns the name of its result."""
        for spec in specs:
            scope = f"{spec.part}/{spec.name}"
            arrays = {name: weights[f"{spec.scope}/{name}"] for name in ("conv/kernel", "conv/bias")}
            kernel = self.array(f"{scope}/kernel", arrays["conv/kernel"].transpose(3, 2, 0, 1))
            bias = self.array(f"{scope}/bias", arrays["conv/bias"])
            side, pad = spec.kernel_px, spec.kernel_px // 2
            features = self.node(
                "Conv",
                [features, kernel, bias],
                f"{scope}/conv",
                kernel_shape=(side, side),
                pads=(pad, pad, pad, pad),
                strides=(1, 1),
            )
            if spec.relu:
                features = self.node("Relu", [features], f"{scope}/relu")
            moments = [
                self.array(f"{scope}/{name}", weights[f"{spec.scope}/bn/{name}"])
                for name in ("gamma", "beta", "moving_mean", "moving_variance")
            ]
            features = self.node("BatchNormalization", [features, *moments], f"{scope}/bn", epsilon=BATCH_NORM_EPSILON)
            if spec.pool:
                features = self.node("MaxPool", [features], f"{scope}/pool", kernel_shape=(2, 2), strides=(2, 2))
        return features

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Attribute) -> str:
        """Add a node with one output, which is its name, too."""
        self.nodes.append(
            b"".join(
                [
                    *(content(1, name) for name in inputs),
                    content(2, output),
                    content(3, output),
                    content(4, kind),
                    *(content(5, _attribute(name, value)) for name, value in attributes.items()),
                ]
            )
        )
        return output

    def array(self, name: str, values: NDArray[Any]) -> str:
        """Add an initial value."""
        dims = b"".join(number(1, side) for side in values.shape)
        data = np.ascontiguousarray(values)
        raw = data.astype(data.dtype.newbyteorder("<")).tobytes()
        self.initial.append(dims + number(2, _TYPES[data.dtype.name]) + content(8, name) + content(9, raw))
        return name

    def integers(self, name: str, *values: int) -> str:
        """Add a vector of integers."""
        return self.array(name, np.array(values, np.int64))


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return content(1, name) + single(2, value) + number(20, 1)
    if isinstance(value, int):
        return content(1, name) + number(3, value) + number(20, 2)
    if isinstance(value, str):
        return content(1, name) + content(4, value) + number(20, 3)
    return content(1, name) + b"".join(number(8, part) for part in value) + number(20, 7)


def _value(name: str, dims: Dims) -> bytes:
    """A ValueInfoProto of floats."""
    sides = b"".join(content(1, number(1, side) if isinstance(side, int) else content(2, side)) for side in dims)
    tensor = number(1, _TYPES["float32"]) + content(2, sides)
    return content(1, name) + content(2, content(1, tensor))


def convolutions(path: Path) -> list[dict[str, str]]:
    """Convolutions of an ONNX file, such as a runtime writes it after its optimisations: name, type, precision, kernel.

    The precision is that of the kernel's numbers as they are stored; the name of the operator with its domain stands
    for the kernel.
    """
    (graph,) = messages(memoryview(path.read_bytes()), 7)
    stored: dict[str, str] = {}
    for tensor in messages(graph, 5):
        facts = dict(fields(tensor))
        stored[text(facts[8])] = _NAMES.get(integer(facts[2]), f"type {facts[2]}")
    found = []
    for node in messages(graph, 1):
        parts = [(key, text(value)) for key, value in fields(node) if key in (1, 3, 4, 7)]
        inputs = [value for key, value in parts if key == 1]
        facts_of = {key: value for key, value in parts if key != 1}
        kind = facts_of.get(4, "")
        if not kind.endswith("Conv") and kind not in ("ConvInteger", "QLinearConv"):
            continue
        kernel = inputs[3] if kind == "QLinearConv" else inputs[1]
        found.append(
            {
                "name": facts_of.get(3, ""),
                "type": "Convolution",
                "precision": stored.get(kernel, "unknown"),
                "kernel": ".".join(filter(None, (facts_of.get(7), kind))),
            }
        )
    return found
