"""Models as files that OpenVINO reads, IR (``.xml`` beside ``.bin``) and ONNX, taken as they are: nothing is converted.

What a file is (inputs, outputs, layout, precision of its weights) is read here without OpenVINO, so that a file that
does not fit is refused before a process is started.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import ModelError
from bench.models.fingerprint import Fingerprint
from bench.models.network import DESCRIPTOR_CHANNELS, DETECTOR_CHANNELS
from bench.models.wire import fields, integer, message, messages, text

SUFFIXES = (".xml", ".onnx")
"""Of files that :func:`read_graph_file` reads."""

Shape = tuple[int, ...]
"""-1 is free."""

_SIGNATURE = {"prob": 3, "descriptors_raw": 4, "descriptors": 4, "logits": 4}
"""Outputs of sp_v6 that decoding can use -> axes."""
_ONNX_TYPES = {1: "f32", 10: "f16", 16: "bf16", 3: "i8", 2: "u8", 11: "f64"}
_WEIGHTS = {"i8": "int8", "u8": "int8", "i4": "int8", "u4": "int8"}
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class GraphFingerprint(Fingerprint):
    """Identity and contract of an IR or ONNX file.

    Attributes
    ----------
    graph_sha256, variables_sha256 : str
        Of the ``.xml`` and the ``.bin``; of the ONNX file and of nothing.
    output_tensors : dict
        Key as in the signature of sp_v6 -> name in the file.
    weights : {"f32", "f16", "int8", ...}
        What most bytes of the constants are.
    channels_first : tuple of str
        ``image`` and the outputs that are [N, C, H, W].
    height, width : int or None
        Size that is built in; None: any.
    """

    weights: str = "f32"
    channels_first: tuple[str, ...] = ()
    height: int | None = None
    width: int | None = None


@dataclass(slots=True)
class _File:
    """What a file says of its graph."""

    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    nodes: int
    constants: Counter[str] = field(default_factory=Counter)
    """Type -> bytes."""


def is_graph_file(path: str | Path | None) -> bool:
    """Whether a model's path names an IR or ONNX file."""
    return path is not None and Path(path).suffix in SUFFIXES


def read_graph_file(path: Path, input_scale: float | None = None) -> GraphFingerprint:
    """Fingerprint of an IR or ONNX file, without loading it.

    Parameters
    ----------
    path : Path
        An ``.xml`` with its ``.bin`` beside it, or an ``.onnx``.
    input_scale : float or None
        Value of white; None: 1, which a detector alone has to confirm (the MagicPoint of 2018 takes 255).

    Returns
    -------
    GraphFingerprint

    Raises
    ------
    ModelError
        If the file is absent, damaged, needs another file, or has neither the outputs of sp_v6 nor the semi-dense pair
        [N, 65, h, w] and [N, 256, h, w] (channels first or last).
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    found = _read_ir(path) if path.suffix == ".xml" else _read_onnx(path)
    if len(found.inputs) != 1:
        raise ModelError(f"{path}: has the inputs {sorted(found.inputs)}, SuperPoint has one, the image")
    ((name, image),) = found.inputs.items()
    if len(image) != 4 or (image[3] != 1 and image[1] != 1):
        raise ModelError(f"{path}: input {name!r} is {_words(image)}, expected [N, H, W, 1] or [N, 1, H, W], grey")
    image_first = image[3] != 1
    outputs, channels_first = _outputs(found.outputs, path)
    height, width = image[2:] if image_first else image[1:3]
    descriptors = "descriptors_raw" in outputs or "descriptors" in outputs
    if input_scale is None and not descriptors:
        raise ModelError(f"{path}: a detector does not say whether white is 1 or 255; set model.input_scale=1 or 255")
    weights = found.constants.most_common(1)[0][0] if found.constants else "f32"
    second = path.with_suffix(".bin")
    return GraphFingerprint(
        graph_sha256=_sha256(path),
        variables_sha256=_sha256(second) if path.suffix == ".xml" else "",
        tensorflow_version="",
        nodes=found.nodes,
        input_tensor=name,
        output_tensors=outputs,
        descriptors=descriptors,
        input_scale=1.0 if input_scale is None else input_scale,
        channels=1,
        batch=image[0] if image[0] > 0 else None,
        weights=_WEIGHTS.get(weights, weights),
        channels_first=(*(("image",) if image_first else ()), *channels_first),
        height=height if height > 0 else None,
        width=width if width > 0 else None,
    )


def _outputs(outputs: dict[str, Shape], path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Key -> name of what decoding can use, and the keys that are channels first."""
    found: dict[str, str] = {}
    first: list[str] = []
    for name, shape in outputs.items():
        if name in _SIGNATURE and len(shape) == _SIGNATURE[name] and name != "logits":
            found[name] = name
            continue
        for key, channels in (("logits", DETECTOR_CHANNELS), ("descriptors_raw", DESCRIPTOR_CHANNELS)):
            if len(shape) == 4 and channels in (shape[1], shape[3]) and name not in _SIGNATURE.keys() - {key}:
                found.setdefault(key, name)
                if found[key] == name and shape[1] == channels:
                    first.append(key)
    if "prob" not in found and "logits" not in found:
        listed = ", ".join(f"{name} {_words(shape)}" for name, shape in outputs.items())
        raise ModelError(
            f"{path}: its outputs are {listed}; expected those of sp_v6 (prob [N, H, W], descriptors_raw "
            "[N, h, w, 256]) or the semi-dense [N, 65, h, w] and [N, 256, h, w]; export the network without its "
            "keypoint selection"
        )
    return found, tuple(first)


def _read_ir(path: Path) -> _File:
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ModelError(f"{path}: its weights {weights.name} are not beside it; put both files into one folder")
    size = weights.stat().st_size
    shapes: dict[tuple[str, str], Shape] = {}
    found = _File({}, {}, 0)
    try:
        root = ET.fromstring(path.read_bytes())
        for layer in root.iterfind("layers/layer"):
            found.nodes += 1
            kind, data = layer.get("type"), layer.find("data")
            for port in layer.iterfind("output/port"):
                shapes[layer.attrib["id"], port.attrib["id"]] = tuple(int(dim.text or "0") for dim in port.iter("dim"))
            if kind == "Parameter":
                found.inputs[layer.attrib["name"]] = shapes[layer.attrib["id"], "0"]
            elif kind == "Result" and layer.find("input/port") is not None:
                names = (layer.get("output_names") or layer.attrib["name"]).split(",")
                key = next((name for name in names if name in _SIGNATURE), names[0])
                dims = layer.iterfind("input/port/dim")
                found.outputs[key] = tuple(int(dim.text or "0") for dim in dims)
            elif kind == "Const" and data is not None:
                offset, count = int(data.attrib["offset"]), int(data.attrib["size"])
                if offset < 0 or count < 0 or offset + count > size:
                    raise ModelError(
                        f"{path}: {weights.name} has {size} bytes, constant {layer.get('name')} ends at "
                        f"{offset + count}; it belongs to another model or is cut"
                    )
                if data.attrib["element_type"] in ("f32", "f16", "bf16", *_WEIGHTS):
                    found.constants[data.attrib["element_type"]] += count
    except (ET.ParseError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: no readable OpenVINO IR: {error}; write it again with ovc") from error
    if not found.nodes:
        raise ModelError(f"{path}: no readable OpenVINO IR: it has no layers; write it again with ovc")
    return found


def _read_onnx(path: Path) -> _File:
    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(f"{path}: has {path.stat().st_size >> 20} MB; SuperPoint has 5")
    found = _File({}, {}, 0)
    try:
        (graph,) = messages(memoryview(path.read_bytes()), 7)
        initial = set()
        for tensor in _onnx_tensors(graph, found):
            initial.add(_onnx_tensor(tensor, found, path))
        inputs = dict(_value(entry) for entry in messages(graph, 11))
        found.inputs = {name: shape for name, shape in inputs.items() if name not in initial}
        found.outputs = dict(_value(entry) for entry in messages(graph, 12))
    except (ValueError, IndexError) as error:
        raise ModelError(f"{path}: no readable ONNX model: {error}; export it again") from error
    return found


def _onnx_tensors(graph: memoryview, found: _File) -> Iterator[memoryview]:
    """Tensors of a GraphProto: initialisers (5) and those in attributes (5) of nodes (1), graphs within included."""
    yield from messages(graph, 5)
    for node in messages(graph, 1):
        found.nodes += 1
        for attribute in messages(node, 5):
            for number, value in fields(attribute):
                if number in (5, 10):
                    yield message(value)
                elif number in (6, 11):
                    yield from _onnx_tensors(message(value), found)


def _onnx_tensor(tensor: memoryview, found: _File, path: Path) -> str:
    """Count the bytes of a TensorProto and return its name; data outside the file is refused."""
    name, kind, size = "", 0, 0
    for number, value in fields(tensor):
        if number == 8:
            name = text(value)
        elif number == 2:
            kind = integer(value)
        elif number in (4, 5, 9):
            size += 4 if isinstance(value, int) else len(value)
        elif number == 13 or (number == 14 and integer(value) == 1):
            raise ModelError(
                f"{path}: the data of tensor {name or '(unnamed)'} lie in another file, which is not read; export the "
                "model as one file (SuperPoint has 5 MB)"
            )
    if kind in _ONNX_TYPES:
        found.constants[_ONNX_TYPES[kind]] += size
    return name


def _value(entry: memoryview) -> tuple[str, Shape]:
    """Name and shape of a ValueInfoProto."""
    name, shape = "", []
    for number, value in fields(entry):
        if number == 1:
            name = text(value)
        elif number == 2:
            for tensor in messages(message(value), 1):
                for dims in messages(tensor, 2):
                    for dim in messages(dims, 1):
                        sizes = [integer(size) for part, size in fields(dim) if part == 1]
                        shape.append(sizes[0] if sizes and sizes[0] > 0 else -1)
    return name, tuple(shape)


def _words(shape: Shape) -> str:
    return "[" + ", ".join("?" if side < 0 else str(side) for side in shape) + "]"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
