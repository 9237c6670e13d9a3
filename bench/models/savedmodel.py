"""Reading of ``saved_model.pb`` without TensorFlow: nodes, constants and the signature.

A SavedModel is a protocol buffer.  Only its wire format and the few fields below are needed, so the OpenVINO process
never loads TensorFlow.  Field numbers are those of TensorFlow's public ``.proto`` files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import ModelError

_DT_FLOAT, _DT_INT32, _DT_INT64 = 1, 3, 9
_FORMATS = {_DT_FLOAT: "f", _DT_INT32: "i", _DT_INT64: "q"}
DTYPES = {_DT_FLOAT: "float32", _DT_INT32: "int32", _DT_INT64: "int64"}

Value = int | memoryview
Shape = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of the signature; -1 is a free dimension, a shape of None is unknown."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the graph. `constant` holds the values of a small numeric ``Const``."""

    name: str
    op: str
    inputs: tuple[str, ...]
    constant: tuple[float, ...] | None = None
    shape: Shape = None
    """Shape attribute, for example of a variable."""


@dataclass(frozen=True)
class SavedModelGraph:
    """The graph tagged ``serve`` and its signature ``serving_default``."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    nodes: dict[str, Node]
    tensorflow_version: str = ""
    _ops: dict[str, list[Node]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for node in self.nodes.values():
            self._ops.setdefault(node.op, []).append(node)

    def by_op(self, prefix: str) -> list[Node]:
        """Nodes whose operation starts with `prefix`, in graph order."""
        return [node for op, nodes in self._ops.items() if op.startswith(prefix) for node in nodes]

    def input_nodes(self, node: Node) -> list[Node]:
        """Nodes whose outputs `node` reads, in order; control inputs are left out."""
        names = [name.partition(":")[0] for name in node.inputs if not name.startswith("^")]
        return [self.nodes[name] for name in names if name in self.nodes]


def read_saved_model(directory: Path) -> SavedModelGraph:
    """Parse ``saved_model.pb`` of a SavedModel directory.

    Raises
    ------
    ModelError
        If the folder is no SavedModel, the file is damaged, or it has no ``serve`` graph with a ``serving_default``
        signature.
    """
    path = directory / "saved_model.pb"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{directory}: no readable saved_model.pb; give the folder of a SavedModel") from error
    try:
        for number, meta_graph in _fields(memoryview(data)):
            if number == 2 and (graph := _meta_graph(_bytes(meta_graph))) is not None:
                return graph
    except (ValueError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: damaged or no SavedModel ({error}); fetch the model again") from error
    raise ModelError(f"{path}: no graph tagged 'serve' with a signature 'serving_default'; export the model again")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Field numbers and values of one message: integers for varints, bytes for everything else."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        length = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            length, position = _varint(data, position)
        if length is None:
            raise ValueError(f"wire type {wire}")
        if position + length > end:
            raise ValueError("truncated")
        yield tag >> 3, data[position : position + length]
        position += length


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("number instead of a message")
    return value


def _text(value: Value) -> str:
    return bytes(_bytes(value)).decode()


def _int(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("message instead of a number")
    return value - (1 << 64) if value >> 63 else value


def _map(entry: Value) -> tuple[str, memoryview]:
    key, value = "", memoryview(b"")
    for number, content in _fields(_bytes(entry)):
        if number == 1:
            key = _text(content)
        elif number == 2:
            value = _bytes(content)
    return key, value


def _meta_graph(data: memoryview) -> SavedModelGraph | None:
    tags: list[str] = []
    version = ""
    nodes: dict[str, Node] = {}
    signature: memoryview | None = None
    for number, value in _fields(data):
        if number == 1:
            for info, content in _fields(_bytes(value)):
                if info == 4:
                    tags.append(_text(content))
                elif info == 5:
                    version = _text(content)
        elif number == 2:
            for part, content in _fields(_bytes(value)):
                if part == 1:
                    node = _node(_bytes(content))
                    nodes[node.name] = node
        elif number == 5:
            key, content = _map(value)
            if key == "serving_default":
                signature = content
    if "serve" not in tags or signature is None:
        return None
    tensors: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for number, value in _fields(signature):
        if number in (1, 2):
            key, content = _map(value)
            tensors[number - 1][key] = _tensor_info(content)
    return SavedModelGraph(*tensors, nodes, version)


def _tensor_info(data: memoryview) -> Tensor:
    name, dtype, shape = "", "", None
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            dtype = DTYPES.get(_int(value), f"type {value}")
        elif number == 3:
            shape = _shape(_bytes(value))
    return Tensor(name, dtype, shape)


def _shape(data: memoryview) -> Shape:
    sizes = []
    for number, dim in _fields(data):
        if number == 3:
            return None  # unknown rank
        if number == 2:
            sizes.append(next((_int(value) for part, value in _fields(_bytes(dim)) if part == 1), 0))
    return tuple(sizes)


def _node(data: memoryview) -> Node:
    name = op = ""
    inputs: list[str] = []
    constant: tuple[float, ...] | None = None
    shape: Shape = None
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            op = _text(value)
        elif number == 3:
            inputs.append(_text(value))
        elif number == 5:
            key, content = _map(value)
            for kind, attribute in _fields(content):
                if key == "value" and kind == 8:
                    constant = _constant(_bytes(attribute))
                elif key == "shape" and kind == 7:
                    shape = _shape(_bytes(attribute))
    return Node(name, op, tuple(inputs), constant, shape)


def _constant(data: memoryview) -> tuple[float, ...] | None:
    """Values of a TensorProto of float32, int32 or int64; None for other types and for more than 64 bytes."""
    dtype = 0
    content = b""
    numbers: list[float] = []
    for number, value in _fields(data):
        if number == 1:
            dtype = _int(value)
        elif number == 4:
            content = bytes(_bytes(value)[:65])
        elif number == 5:
            numbers.extend(x for (x,) in struct.iter_unpack("<f", _bytes(value)))
        elif number in (7, 10):
            numbers.extend([_int(value)] if isinstance(value, int) else _varints(value))
    if dtype not in _FORMATS or len(content) > 64 or len(numbers) > 16:
        return None
    if content:
        return tuple(x for (x,) in struct.iter_unpack("<" + _FORMATS[dtype], content))
    return tuple(numbers)


def _varints(data: memoryview) -> list[int]:
    position, values = 0, []
    while position < len(data):
        value, position = _varint(data, position)
        values.append(_int(value))
    return values
