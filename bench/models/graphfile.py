"""Models as files that OpenVINO reads, IR (``.xml`` beside ``.bin``) and ONNX, taken as they are: nothing is converted.

What a file is (inputs, outputs, layout, precision of its weights) is read here without OpenVINO, so that a file that
does not fit, or that wants more than to be computed, is refused before a process is started.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ModelError
from bench.models.fingerprint import Fingerprint
from bench.models.network import DESCRIPTOR_CHANNELS, DETECTOR_CHANNELS
from bench.models.wire import fields, integer, message, messages, text
from bench.schema import ModelConfig
from bench.schema.methods import GRAPH_SUFFIXES
from bench.schema.options import Layout

SUFFIXES = GRAPH_SUFFIXES
"""Of files that :func:`read_graph_file` reads."""
CARD = "model.json"
"""Beside a model that `bench convert` wrote: what it is, and the hashes of its files."""

Shape = tuple[int, ...]
"""-1 is free."""

_SIGNATURE = {"prob": 3, "descriptors_raw": 4, "descriptors": 4, "logits": 4}
"""Outputs of sp_v6 that decoding can use -> axes."""
_CHANNELS = {"prob": 1, "logits": DETECTOR_CHANNELS, "descriptors_raw": DESCRIPTOR_CHANNELS}
_CHANNELS["descriptors"] = DESCRIPTOR_CHANNELS
_ONNX_TYPES = {1: "f32", 2: "u8", 3: "i8", 6: "i32", 7: "i64", 10: "f16", 11: "f64", 16: "bf16"}
_WEIGHTS = {"i8": "int8", "u8": "int8", "i4": "int8", "u4": "int8"}
_COUNTED = ("f32", "f16", "bf16", "f64", *_WEIGHTS)
_INPUTS = {"f32": np.float32, "f16": np.float16}
_MAX_BYTES = 1 << 30
_MAX_XML_BYTES = 1 << 26
_OPSET = re.compile(r"opset\d+")
_MICROSOFT = frozenset(
    ("com.microsoft", name)
    for name in (
        "DequantizeLinear",
        "FusedConv",
        "NhwcMaxPool",
        "QLinearAdd",
        "QLinearConcat",
        "QLinearMul",
        "QLinearSoftmax",
        "QuantizeLinear",
    )
)
"""Operations of ONNX Runtime's optimiser that only compute; others of its domain load further files (EPContext)."""


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
    input_type : {"f32", "f16"}
        Numbers of the image.
    """

    weights: str = "f32"
    channels_first: tuple[str, ...] = ()
    height: int | None = None
    width: int | None = None
    input_type: str = "f32"

    def arranged(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Images [N, H, W, 1] in the layout and type of the file; with one channel both layouts have the same bytes."""
        if "image" in self.channels_first:
            images = images.reshape(len(images), 1, *images.shape[1:3])
        return images if self.input_type == "f32" else images.astype(_INPUTS[self.input_type])

    def signature(self, outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Outputs by their names in the file as float32 by signature key: maps [N, H, W], the others [N, h, w, C]."""
        found = {}
        for key, name in self.output_tensors.items():
            array = np.asarray(outputs[name])
            if key in self.channels_first:
                array = np.moveaxis(array, 1, 3)
            if key == "prob" and array.ndim == 4:
                array = array[..., 0]
            found[key] = array.astype(np.float32, copy=False)
        return found


@dataclass(slots=True)
class _File:
    """What a file says of its graph."""

    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    nodes: int
    constants: Counter[str] = field(default_factory=Counter)
    """Type -> bytes."""
    types: dict[str, str] = field(default_factory=dict)
    """Input -> type of its numbers."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Every name of an output -> its name in `outputs`."""


def is_graph_file(path: str | Path | None) -> bool:
    """Whether a model's path names an IR or ONNX file."""
    return path is not None and Path(path).suffix in SUFFIXES


def graph_file_of(config: ModelConfig) -> GraphFingerprint:
    """Fingerprint of the IR or ONNX file that a configuration names; see :func:`read_graph_file`."""
    return read_graph_file(
        Path(str(config.path)).expanduser(), config.input_scale, config.outputs.named(), str(config.layout)
    )


def read_graph_file(
    path: Path, input_scale: float | None = None, named: Mapping[str, str] | None = None, layout: str = Layout.auto
) -> GraphFingerprint:
    """Fingerprint of an IR or ONNX file, without loading it.

    Parameters
    ----------
    path : Path
        An ``.xml`` with its ``.bin`` beside it, or an ``.onnx``.
    input_scale : float or None
        Value of white; None: 1, which a detector alone has to confirm (the MagicPoint of 2018 takes 255).
    named : mapping of str to str
        Signature key -> name of the output in the file; the others are found by name or shape.
    layout : {"auto", "NCHW", "NHWC"}
        Where the shapes do not say which axis holds the channels.

    Returns
    -------
    GraphFingerprint

    Raises
    ------
    ModelError
        If the file is absent, damaged, needs another file or a library of operations, is another than the
        ``model.json`` beside it says, or has neither the outputs of sp_v6 nor the semi-dense pair [N, 65, h, w] and
        [N, 256, h, w] (channels first or last).
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file{_where_to(path)}")
    found = _read_ir(path) if path.suffix == ".xml" else _read_onnx(path)
    if len(found.inputs) != 1:
        raise ModelError(
            f"{path}: has the inputs {sorted(found.inputs)}, SuperPoint has one, the image; export the network alone"
        )
    ((name, image),) = found.inputs.items()
    kind = found.types.get(name, "f32")
    if kind not in _INPUTS:
        raise ModelError(
            f"{path}: input {name!r} takes {kind}, expected f32 or f16 with white at 1 or 255; export the network "
            "without its preprocessing"
        )
    image_first = _image_first(name, image, layout, path)
    outputs, channels_first = _outputs(found, dict(named or {}), layout, path)
    height, width = image[2:] if image_first else image[1:3]
    descriptors = "descriptors_raw" in outputs or "descriptors" in outputs
    if input_scale is None and not descriptors:
        raise ModelError(f"{path}: a detector does not say whether white is 1 or 255; set model.input_scale=1 or 255")
    weights = found.constants.most_common(1)[0][0] if found.constants else "f32"
    digests = {each.name: _sha256(each) for each in _files(path)}
    _check_card(path, digests)
    return GraphFingerprint(
        graph_sha256=digests[path.name],
        variables_sha256=digests.get(path.with_suffix(".bin").name, "") if path.suffix == ".xml" else "",
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
        input_type=kind,
    )


def _files(path: Path) -> tuple[Path, ...]:
    """The files a model consists of."""
    return (path, path.with_suffix(".bin")) if path.suffix == ".xml" else (path,)


def _where_to(path: Path) -> str:
    """Why a path that leads somewhere is no file: a link into nothing, or something that is not read."""
    if path.is_symlink():
        return f" (a link to {path.readlink()}, which is none)"
    return " (something else has this name)" if path.exists() else ""


def _image_first(name: str, image: Shape, layout: str, path: Path) -> bool:
    """Whether the image is [N, 1, H, W]."""
    wanted = "expected [N, H, W, 1] or [N, 1, H, W], grey"
    if len(image) != 4:
        raise ModelError(f"{path}: input {name!r} is {_words(image)}, {wanted}")
    if image[1] < 0 and image[3] < 0 and layout != Layout.auto:
        return layout == Layout.NCHW
    if image[3] != 1 and image[1] != 1:
        if image[1] < 0 and image[3] < 0:
            raise ModelError(
                f"{path}: input {name!r} is {_words(image)}, which does not say where its channel is; set "
                "model.layout=NCHW or model.layout=NHWC"
            )
        raise ModelError(f"{path}: input {name!r} is {_words(image)}, {wanted}")
    first = image[3] != 1
    if layout not in (Layout.auto, Layout.NCHW if first else Layout.NHWC):
        raise ModelError(
            f"{path}: model.layout={layout}, but input {name!r} is {_words(image)}; leave model.layout out"
        )
    return first


def _outputs(found: _File, named: Mapping[str, str], layout: str, path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Key -> name of what decoding can use, and the keys that are channels first."""
    outputs, chosen = found.outputs, dict[str, str]()
    for key, given in named.items():
        if given not in found.aliases:
            close = difflib.get_close_matches(given, found.aliases, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ModelError(f"{path}: model.outputs.{key}={given}: no such output; {hint}It has {_listed(outputs)}")
        chosen[key] = found.aliases[given]
    for name, shape in outputs.items():
        if name in chosen.values():
            continue
        if name in _SIGNATURE and len(shape) == _SIGNATURE[name]:
            chosen.setdefault(name, name)
        elif name not in _SIGNATURE and len(shape) == 4:
            for key in ("logits", "descriptors_raw"):
                if _CHANNELS[key] in (shape[1], shape[3]):
                    chosen.setdefault(key, name)
    if "prob" not in chosen and "logits" not in chosen:
        raise ModelError(
            f"{path}: its outputs are {_listed(outputs)}; expected those of sp_v6 (prob [N, H, W], descriptors_raw "
            "[N, h, w, 256]) or the semi-dense [N, 65, h, w] and [N, 256, h, w]; export the network without its "
            "keypoint selection, or say which is which with model.outputs.prob=NAME (also logits, descriptors_raw, "
            "descriptors)"
        )
    first = [key for key, name in chosen.items() if _channels_first(key, name, outputs[name], layout, path)]
    return chosen, tuple(first)


def _channels_first(key: str, name: str, shape: Shape, layout: str, path: Path) -> bool:
    """Whether an output is [N, C, H, W]."""
    if key == "prob" and len(shape) == 3:
        return False
    channels, asked = _CHANNELS[key], f"{path}: output {name!r} (model.outputs.{key})"
    if len(shape) != 4:
        axes = "[N, H, W]" if key == "prob" else f"[N, h, w, {channels}]"
        raise ModelError(f"{asked} is {_words(shape)}, expected {axes}; name another output")
    known = [axis for axis in (1, 3) if shape[axis] == channels]
    if len(known) == 1:
        return known == [1]
    fixed = shape[1] > 0 and shape[3] > 0
    if key in ("prob", "logits") and fixed and not known:
        raise ModelError(f"{asked} is {_words(shape)}: {channels} channels are expected; name another output")
    if layout == Layout.auto:
        raise ModelError(
            f"{asked} is {_words(shape)}, which does not say where its channels are; set model.layout=NCHW or "
            "model.layout=NHWC"
        )
    return layout == Layout.NCHW


def _listed(outputs: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {_words(shape)}" for name, shape in outputs.items()) or "none"


def _check_card(path: Path, digests: Mapping[str, str]) -> None:
    """Refuse a file that is another than the ``model.json`` beside it says."""
    card = path.with_name(CARD)
    if not card.is_file() or card.stat().st_size > _MAX_XML_BYTES:
        return
    try:
        stated = json.loads(card.read_bytes())["sha256"]
        differing = [name for name, digest in digests.items() if stated.get(name, digest) != digest]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # another tool's file of that name
    if differing:
        raise ModelError(
            f"{path}: {differing[0]} is not the file that {CARD} beside it names (SHA-256 {stated[differing[0]][:12]}, "
            f"found {digests[differing[0]][:12]}); fetch or convert the model again, or move {CARD} away"
        )


def _read_ir(path: Path) -> _File:
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ModelError(
            f"{path}: its weights {weights.name} are not beside it{_where_to(weights)}; put both files into one folder"
        )
    size = weights.stat().st_size
    for each, most in ((path, _MAX_XML_BYTES), (weights, _MAX_BYTES)):
        if each.stat().st_size > most:
            raise ModelError(f"{each}: has {each.stat().st_size >> 20} MB; SuperPoint has 5")
    found = _File({}, {}, 0)
    try:
        content = path.read_bytes()
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ModelError(f"{path}: no readable OpenVINO IR: it defines entities; write it again with ovc")
        root = ET.fromstring(content)
        # Of the layers of loops and branches as well.
        for layer in root.iter("layer"):
            _check_layer(layer, size, found, path)
        _ir_ports(root, found)
    except (ET.ParseError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: no readable OpenVINO IR: {error}; write it again with ovc") from error
    if not found.nodes:
        raise ModelError(f"{path}: no readable OpenVINO IR: it has no layers; write it again with ovc")
    return found


def _check_layer(layer: ET.Element, size: int, found: _File, path: Path) -> None:
    """Count a layer; one of an extension, or whose constant lies outside the ``.bin``, is refused."""
    found.nodes += 1
    version = layer.get("version", "opset1")
    if not _OPSET.fullmatch(version):
        raise ModelError(
            f"{path}: layer {layer.get('name')!r} is {layer.get('type')} of {version!r}, an operation of an extension "
            "library, which is not loaded; convert the model to OpenVINO's own operations (opset1 and later)"
        )
    data = layer.find("data")
    if layer.get("type") != "Const" or data is None:
        return
    offset, count = int(data.attrib["offset"]), int(data.attrib["size"])
    if offset < 0 or count < 0 or offset + count > size:
        raise ModelError(
            f"{path}: {path.with_suffix('.bin').name} has {size} bytes, constant {layer.get('name')} ends at "
            f"{offset + count}; it belongs to another model or is cut"
        )
    if data.attrib["element_type"] in _COUNTED:
        found.constants[data.attrib["element_type"]] += count


def _ir_ports(root: ET.Element, found: _File) -> None:
    """Inputs and outputs of the main graph; an output has the names of the tensor that it takes."""
    names: dict[tuple[str, str], list[str]] = {}
    shapes: dict[tuple[str, str], Shape] = {}
    sources = {
        (edge.attrib["to-layer"], edge.attrib["to-port"]): (edge.attrib["from-layer"], edge.attrib["from-port"])
        for edge in root.iterfind("edges/edge")
    }
    for layer in root.iterfind("layers/layer"):
        for port in layer.iterfind("output/port"):
            place = (layer.attrib["id"], port.attrib["id"])
            shapes[place] = tuple(int(dim.text or "0") for dim in port.iter("dim"))
            names[place] = [name for name in port.get("names", "").split(",") if name]
        if layer.get("type") == "Parameter":
            place, data = (layer.attrib["id"], "0"), layer.find("data")
            name = (names.get(place) or [layer.attrib["name"]])[0]
            found.inputs[name] = shapes[place]
            found.types[name] = "f32" if data is None else data.get("element_type", "f32")
    for layer in root.iterfind("layers/layer"):
        sink = layer.find("input/port")
        if layer.get("type") != "Result" or sink is None:
            continue
        own = [name for name in layer.get("output_names", "").split(",") if name]
        taken = names.get(sources.get((layer.attrib["id"], sink.attrib["id"]), ("", "")), [])
        known = [*own, *sorted(taken, key=len)] or [layer.attrib["name"]]
        key = next((name for name in known if name in _SIGNATURE), known[0])
        found.outputs[key] = tuple(int(dim.text or "0") for dim in sink.iterfind("dim"))
        found.aliases |= dict.fromkeys(known, key)


def _read_onnx(path: Path) -> _File:
    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(f"{path}: has {path.stat().st_size >> 20} MB; SuperPoint has 5")
    found = _File({}, {}, 0)
    try:
        model = memoryview(path.read_bytes())
        (graph,) = messages(model, 7)
        functions = list(messages(model, 25))
        own = {(_text_of(function, 10), _text_of(function, 1)) for function in functions}
        if next(messages(model, 20), None) is not None:
            raise ModelError(f"{path}: holds instructions for training; export it for inference")
        initial = set()
        for tensor in _onnx_tensors(graph, 1, own, found, path):
            initial.add(_onnx_tensor(tensor, found, path))
        for function in functions:
            for tensor in _onnx_tensors(function, 7, own, found, path):
                _onnx_tensor(tensor, found, path)
        for entry in messages(graph, 11):
            name, shape, kind = _value(entry)
            if name not in initial:
                found.inputs[name], found.types[name] = shape, kind
        found.outputs = {name: shape for name, shape, _ in map(_value, messages(graph, 12))}
        found.aliases = {name: name for name in found.outputs}
    except (ValueError, IndexError, RecursionError) as error:
        raise ModelError(f"{path}: no readable ONNX model: {error}; export it again") from error
    return found


def _text_of(data: memoryview, wanted: int) -> str:
    """Text in field `wanted`; the last counts, empty if there is none."""
    found = [text(value) for number, value in fields(data) if number == wanted]
    return found[-1] if found else ""


def _onnx_tensors(
    graph: memoryview, nodes: int, own: set[tuple[str, str]], found: _File, path: Path
) -> Iterator[memoryview]:
    """Tensors of a GraphProto (its nodes in field 1) or FunctionProto (7), graphs within included: initialisers, dense
    (5) and sparse (15), and those in attributes of nodes. A node that needs a library is refused.
    """
    if nodes == 1:
        yield from messages(graph, 5)
        for sparse in messages(graph, 15):
            yield from _sparse(sparse)
    for node in messages(graph, nodes):
        found.nodes += 1
        _check_node(node, own, path)
        for attribute in messages(node, 5):
            for number, value in fields(attribute):
                if number in (5, 10):
                    yield message(value)
                elif number in (22, 23):
                    yield from _sparse(message(value))
                elif number in (6, 11):
                    yield from _onnx_tensors(message(value), 1, own, found, path)


def _sparse(tensor: memoryview) -> Iterator[memoryview]:
    """Values and indices of a SparseTensorProto."""
    yield from messages(tensor, 1)
    yield from messages(tensor, 2)


def _check_node(node: memoryview, own: set[tuple[str, str]], path: Path) -> None:
    domain, operation = _text_of(node, 7), _text_of(node, 4)
    if domain in ("", "ai.onnx") or (domain, operation) in own | _MICROSOFT:
        return
    raise ModelError(
        f"{path}: node {_text_of(node, 3)!r} is {operation} of the domain {domain!r}, an operation of a library, which "
        "is not loaded; export the network with ONNX's own operations"
    )


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
    if _ONNX_TYPES.get(kind) in _COUNTED:
        found.constants[_ONNX_TYPES[kind]] += size
    return name


def _value(entry: memoryview) -> tuple[str, Shape, str]:
    """Name, shape and type of a ValueInfoProto."""
    name, shape, kind = "", [], ""
    for number, value in fields(entry):
        if number == 1:
            name = text(value)
        elif number == 2:
            for tensor in messages(message(value), 1):
                kinds = [integer(each) for field_number, each in fields(tensor) if field_number == 1]
                kind = _ONNX_TYPES.get(kinds[-1], f"type {kinds[-1]}") if kinds else ""
                for dims in messages(tensor, 2):
                    for dim in messages(dims, 1):
                        sizes = [integer(size) for part, size in fields(dim) if part == 1]
                        shape.append(sizes[0] if sizes and sizes[0] > 0 else -1)
    return name, tuple(shape), kind or "f32"


def _words(shape: Shape) -> str:
    return "[" + ", ".join("?" if side < 0 else str(side) for side in shape) + "]"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
