"""Reading of ``saved_model.pb`` without TensorFlow: signature and nodes, and no operation that could touch a file.

A SavedModel is a protocol buffer and a program. Only its wire format and the few fields below are needed, so a graph is
judged before TensorFlow sees it, and the OpenVINO process never loads TensorFlow. Field numbers are those of
TensorFlow's public ``.proto`` files. Where a field may occur more than once, everything found counts, as it does when
protocol buffers merge.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.core.errors import ModelError
from bench.models.operations import Function, MetaGraph, Node, refused
from bench.models.variables import BFLOAT16, FLOATS, floats
from bench.models.wire import Value, fields, integer, message, messages, text, varint

_DTYPES = {1: "float32", 3: "int32", 9: "int64"}

Shape = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of the signature; -1 is a free dimension, a shape of None is unknown."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class SavedModelGraph:
    """The graph tagged ``serve`` and its signature ``serving_default``; `nan` are the nodes of the graph and of the
    functions whose constants hold NaN."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    nodes: tuple[Node, ...]
    tensorflow_version: str
    nan: tuple[str, ...] = ()


def read_saved_model(directory: Path) -> SavedModelGraph:
    """Parse ``saved_model.pb`` of a SavedModel directory, and refuse what must not run.

    Every node of every graph and function in the file is checked, whether the signature needs it or not
    (:mod:`bench.models.operations`).

    Raises
    ------
    ModelError
        If the folder is no SavedModel, the file is damaged, a node is refused, or there is no ``serve`` graph with a
        ``serving_default`` signature.
    """
    path = directory / "saved_model.pb"
    try:
        data = path.read_bytes()
        others = sorted(other.name for other in directory.glob("saved_model.*") if other != path)
    except OSError as error:
        raise ModelError(f"{directory}: no readable saved_model.pb; give the folder of a SavedModel") from error
    if others:
        raise ModelError(
            f"{directory}: holds {others[0]} beside saved_model.pb; which of them runs is unclear, delete one"
        )
    served: SavedModelGraph | None = None
    try:
        for number, value in fields(memoryview(data)):
            if number != 2:
                continue
            program = _program(message(value))
            if (reason := refused(program)) is not None:
                raise ModelError(
                    f"{path}: refused, {reason}; a SavedModel is a program, and this one could do more than compute "
                    "(docs/safety.md)"
                )
            served = served or _meta_graph(message(value), program)
    except (ValueError, IndexError, struct.error) as error:
        raise ModelError(f"{path}: damaged or no SavedModel ({error}); fetch the model again") from error
    if served is None:
        raise ModelError(f"{path}: no graph tagged 'serve' with a signature 'serving_default'; export the model again")
    return served


def check_constants(directory: Path, graph: SavedModelGraph) -> None:
    """Refuse a graph with a constant that holds NaN, as `check_variables` does for variables.

    Raises
    ------
    ModelError
        With the node.
    """
    if graph.nan:
        raise ModelError(
            f"{directory / 'saved_model.pb'}: node {graph.nan[0]!r} holds NaN; training diverged or the file is damaged"
        )


def _map(entry: Value) -> tuple[str, memoryview]:
    key, value = "", memoryview(b"")
    for number, content in fields(message(entry)):
        if number == 1:
            key = text(content)
        elif number == 2:
            value = message(content)
    return key, value


def _meta_graph(data: memoryview, program: MetaGraph) -> SavedModelGraph | None:
    tags: list[str] = []
    version = ""
    for info in messages(data, 1):
        for number, value in fields(info):
            if number == 4:
                tags.append(text(value))
            elif number == 5:
                version = text(value)
    signature = dict(_map(entry) for entry in messages(data, 5)).get("serving_default")
    if "serve" not in tags or signature is None:
        return None
    tensors: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for number, value in fields(signature):
        if number in (1, 2):
            key, content = _map(value)
            tensors[number - 1][key] = _tensor_info(content)
    every = [*program.nodes, *(node for function in program.functions for node in function.nodes)]
    return SavedModelGraph(*tensors, program.nodes, version, tuple(node.name for node in every if node.nan))


def _tensor_info(data: memoryview) -> Tensor:
    name, dtype, shape = "", "", None
    for number, value in fields(data):
        if number == 1:
            name = text(value)
        elif number == 2:
            dtype = _DTYPES.get(integer(value), f"type {value}")
        elif number == 3:
            shape = _shape(message(value))
    return Tensor(name, dtype, shape)


def _shape(data: memoryview) -> Shape:
    sizes = []
    for number, dim in fields(data):
        if number == 3:
            return None  # unknown rank
        if number == 2:
            sizes.append(next((integer(value) for part, value in fields(message(dim)) if part == 1), 0))
    return tuple(sizes)


def _nodes(meta_graph: memoryview) -> tuple[Node, ...]:
    return tuple(_node(node) for graph in messages(meta_graph, 2) for node in messages(graph, 1))


def _program(meta_graph: memoryview) -> MetaGraph:
    """Everything of a MetaGraphDef that may run, and how it is reached."""
    libraries = [library for graph in messages(meta_graph, 2) for library in messages(graph, 2)]
    functions = tuple(_function(function) for library in libraries for function in messages(library, 1))
    saver = {number: text(value) for part in messages(meta_graph, 3) for number, value in fields(part) if number <= 3}
    named: set[str] = set()
    for signature in messages(meta_graph, 5):
        named |= _strings(signature)
    for collection in messages(meta_graph, 4):
        if _map(collection)[0] != "savers":  # descriptions of savers; making one of them runs nothing
            named |= _strings(collection)
    return MetaGraph(
        nodes=_nodes(meta_graph),
        functions=functions,
        named=frozenset(named),
        objects=b"\0".join(bytes(part) for part in messages(meta_graph, 7)),
        filename=saver.get(1, ""),
        restore=saver.get(3, ""),
    )


def _strings(data: memoryview) -> set[str]:
    """All that could be a node's name in a message of unknown type, at any depth."""
    found: set[str] = set()
    queue = [data]
    while queue:
        try:
            for _, value in fields(queue.pop()):
                if not isinstance(value, int):
                    queue.append(value)
                    found.add(bytes(value).decode(errors="replace"))
        except (ValueError, IndexError):
            continue  # text, not a message
    return found


def _function(data: memoryview) -> Function:
    name = ""
    arguments: list[str] = []
    for signature in messages(data, 1):
        for number, value in fields(signature):
            if number == 1:
                name = text(value)
            elif number == 2:
                arguments += [text(part) for key, part in fields(message(value)) if key == 1]
    return Function(name, tuple(arguments), tuple(_node(node) for node in messages(data, 3)))


def _node(data: memoryview) -> Node:
    name = op = ""
    inputs: list[str] = []
    functions: list[str] = []
    nan = False
    for number, value in fields(data):
        if number == 1:
            name = text(value)
        elif number == 2:
            op = text(value)
        elif number == 3:
            inputs.append(text(value))
        elif number == 5:
            for attribute in messages(message(value), 2):
                functions += _called(attribute)
                nan = nan or any(_holds_nan(tensor) for tensor in messages(attribute, 8))
    return Node(name, op, tuple(inputs), tuple(functions), nan)


def _holds_nan(tensor: memoryview) -> bool:
    """Whether a TensorProto of floats has a NaN, in ``tensor_content`` (4), ``float_val`` (5), ``double_val`` (6) or
    ``half_val`` (13). Infinities are constants of padding and masks, too."""
    parts = list(fields(tensor))
    dtype = next((integer(value) for number, value in parts if number == 1), 0)
    if dtype not in FLOATS and dtype != BFLOAT16:
        return False
    for number, value in parts:
        if number == 13:
            packed = message(value) if not isinstance(value, int) else None
            halves = [value] if packed is None else _varints(packed)
            found = floats(np.array(halves, "<u2").tobytes(), dtype)
        elif number in (4, 5, 6):
            found = floats(bytes(message(value)), {4: dtype, 5: 1, 6: 2}[number])
        else:
            continue
        if np.isnan(found).any():
            return True
    return False


def _varints(data: memoryview) -> list[int]:
    position, found = 0, []
    while position < len(data):
        value, position = varint(data, position)
        found.append(value)
    return found


def _called(attribute: memoryview) -> Iterator[str]:
    """Names of the functions in an AttrValue: ``func`` (10), alone or in a ``list`` (1, there 9), and in their own
    attributes."""
    functions = [
        *messages(attribute, 10),
        *(function for part in messages(attribute, 1) for function in messages(part, 9)),
    ]
    for function in functions:
        yield from (text(value) for number, value in fields(function) if number == 1)
        for entry in messages(function, 2):
            for inner in messages(entry, 2):
                yield from _called(inner)
