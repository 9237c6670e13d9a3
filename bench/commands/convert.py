"""`bench convert`: write a model as one deploys it, OpenVINO IR and ONNX, with a ``model.json`` that says how to use it
and an example that does, and compare each file with TensorFlow.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import MISSING

from bench.core.errors import ConfigError, ModelError
from bench.core.types import Context, Size
from bench.features.decode import Decoding, decode
from bench.features.deploy import CARD, EXAMPLE, card, example
from bench.features.select import to_float32
from bench.models.fingerprint import Fingerprint, read_fingerprint
from bench.models.recipe import Recipe, require_nncf
from bench.report.console import TextColumn, TextSection, print_table
from bench.runtimes import precision
from bench.schema import ModelConfig, NmsConfig
from bench.schema.options import Graph, ModelFile, NmsKind, Weights
from bench.schema.protocol import Border
from bench.schema.values import (
    Batch,
    Folder,
    Items,
    Keypoints,
    Probability,
    Range,
    Seed,
    Share,
    Side,
    Threads,
    check_area,
)
from bench.timing.host import resolve_threads

log = logging.getLogger(__name__)

Outputs = Mapping[str, NDArray[Any]]


@dataclass
class ConvertConfig:
    """`bench convert`: one OpenVINO IR for each entry of `weights`, one ONNX file, or both."""

    model: ModelConfig = MISSING
    height: Side = 480
    width: Side = 640
    batch: Batch = 1
    dynamic: bool = False
    """Leave batch, height and width free; the files are then checked at `height` x `width`."""
    channels: Annotated[int, Range(1, 1024)] = 1
    """Only 1 is possible; the key exists so that 3 is answered with the reason."""
    formats: Annotated[list[ModelFile], Items(1)] = field(default_factory=lambda: [ModelFile.ir])
    """ir (one for each entry of `weights`) | onnx (FP32, the sparse graph)."""
    weights: Annotated[list[Weights], Items(1)] = field(default_factory=lambda: [Weights.f32, Weights.f16])
    """Of an IR: f32 | f16 (compressed) | int8 (NNCF; needs the extra int8)."""
    graph: Graph = Graph.sparse
    """sparse (prob and descriptors_raw) | full (all outputs, as `ovc` leaves it)."""
    nms: NmsConfig = field(default_factory=lambda: NmsConfig(NmsKind.box, 8, 0.1))
    """For model.json and the comparison, like the three keys below; the defaults are those of the protocol strict."""
    min_probability: Probability = 0.001
    border_px: Border = 0
    max_keypoints: Keypoints = 1000
    accuracy_control: bool = False
    """int8 only."""
    max_drop: Share = 0.01
    output: Folder = "openvino_models"
    """Folder; a sub-folder for each file (f32, f16, int8, onnx): the model, model.json and example.py."""
    threads: Threads = 0
    seed: Seed = 0
    data_root: Folder = "datasets"
    cache: Folder = MISSING

    def __post_init__(self) -> None:
        if self.accuracy_control and "int8" not in self.weights:
            raise ConfigError(f"accuracy_control=true needs int8 in weights, got {list(self.weights)}")
        if self.graph == Graph.full and ModelFile.onnx in self.formats:
            raise ConfigError("formats=[onnx] writes the sparse graph; use graph=sparse, or formats=[ir]")
        if self.nms.kind == NmsKind.maxpool:
            raise ConfigError("nms.kind=maxpool is not possible here; allowed: none, box, square (model.json)")
        check_area(f"an input of batch {self.batch},", self.height * self.batch, self.width)


@dataclass(frozen=True)
class Converted:
    """One written model and how it compares with TensorFlow on a photograph.

    Attributes
    ----------
    weights : str
        Of the IR; ``onnx`` for the ONNX file.
    size_mb : float
        Of its files, in 10^6 bytes.
    compile_ms, compile_cached_ms : float
        Without OpenVINO's model cache, and from it.
    infer_ms : float
        Median of five.
    max_difference : dict
        Largest absolute difference of each floating-point output.
    keypoints, common_keypoints : int
        Keypoints of TensorFlow, and how many of them this model finds at the same pixel.
    min_cosine : float or None
        Of the descriptors of the common keypoints.
    """

    weights: str
    path: str
    size_mb: float
    precision: str
    compile_ms: float
    compile_cached_ms: float
    infer_ms: float
    max_difference: dict[str, float]
    keypoints: int
    common_keypoints: int
    min_cosine: float | None


def main(config: ConvertConfig) -> int:
    """Write the models, print the table; returns the exit status 0.

    Raises
    ------
    ModelError
        If the shape does not fit the network, NNCF is missing, or a conversion fails.
    """
    from bench.core.files import write_json

    rows, facts = convert(config)
    _print(rows)
    report = Path(config.output) / "convert.json"
    write_json(report, facts | {"models": [asdict(row) for row in rows]})
    print(f"models and {report.name}: {report.parent}")
    return 0


def convert(config: ConvertConfig) -> tuple[list[Converted], dict[str, object]]:
    """Write and compare; see :func:`main`. Returns the rows and the facts for ``convert.json``."""
    from bench.models.shape import input_shape
    from bench.models.store import saved_model

    weights = list(config.weights) if ModelFile.ir in config.formats else []
    if "int8" in weights:
        require_nncf()
    threads = resolve_threads(config.threads)
    context = Context(threads, Path(config.cache), Path(config.data_root), config.seed)
    directory = saved_model(config.model, context)
    fingerprint = read_fingerprint(directory, config.model.input_scale)
    shape = input_shape(Size(config.height, config.width), fingerprint, config.batch, config.channels)
    outputs = fingerprint.outputs(config.graph)
    image = _photograph(shape, fingerprint.input_scale)
    log.info("TensorFlow: reference outputs for [%s]", ",".join(map(str, shape)))
    reference = _tensorflow_outputs(directory, fingerprint.input_tensor, fingerprint.output_tensors, outputs, image)
    rows = []
    for kind in weights:
        log.info("OpenVINO IR: %s", kind)
        recipe = Recipe(
            str(directory),
            fingerprint.key,
            outputs,
            kind,
            fingerprint.input_scale,
            config.accuracy_control,
            config.max_drop,
            config.seed,
        )
        path = _write(config, Path(config.output) / kind, fingerprint, recipe, shape)
        rows.append(_compare(path, kind, image, reference, threads, _decoding(config)))
    if ModelFile.onnx in config.formats:
        log.info("ONNX")
        path = _write(config, Path(config.output) / ModelFile.onnx, fingerprint, directory, shape)
        rows.append(_compare(path, "onnx", image, reference, threads, _decoding(config)))
    facts: dict[str, object] = {"shape": shape, "dynamic": config.dynamic, "graph": config.graph}
    return rows, facts | {"fingerprint": fingerprint.as_dict()}


def _decoding(config: ConvertConfig) -> Decoding:
    return Decoding(config.nms, config.min_probability, config.border_px, config.max_keypoints)


def _print(rows: list[Converted]) -> None:
    keys = list(rows[0].max_difference) if rows else []
    heads = ["weights", "compute", "MB", "compile ms", "cached ms", "infer ms"]
    heads += [*(f"max|d {key}|" for key in keys), "keypoints", "min cosine"]
    cells = [
        [
            row.weights,
            row.precision,
            f"{row.size_mb:.2f}",
            f"{row.compile_ms:.0f}",
            f"{row.compile_cached_ms:.0f}",
            f"{row.infer_ms:.1f}",
            *(f"{row.max_difference[key]:.1e}" for key in keys),
            f"{row.common_keypoints}/{row.keypoints}",
            "" if row.min_cosine is None else f"{row.min_cosine:.6f}",
        ]
        for row in rows
    ]
    print_table([TextColumn(head, i > 1) for i, head in enumerate(heads)], [TextSection(cells)])


def _photograph(shape: list[int], scale: float) -> NDArray[np.float32]:
    """A photograph of scikit-image stretched to [N, H, W, 1]."""
    import cv2

    from bench.data.photos import photograph

    grey = cv2.resize(photograph("camera.png"), (shape[2], shape[1]), interpolation=cv2.INTER_AREA)
    image = to_float32(np.asarray(grey, dtype=np.uint8), scale)[None, :, :, None]
    return np.repeat(image, shape[0], axis=0)


def _tensorflow_outputs(
    directory: Path, input_tensor: str, names: Mapping[str, str], outputs: tuple[str, ...], image: NDArray[np.float32]
) -> Outputs:
    from bench.models.cache import run_python

    with tempfile.TemporaryDirectory() as scratch:
        np.save(Path(scratch) / "image.npy", image)
        request = {"directory": str(directory), "input": input_tensor, "outputs": {key: names[key] for key in outputs}}
        run_python("bench.commands.convert:write_tensorflow_outputs", json.dumps(request), scratch)
        with np.load(Path(scratch) / "outputs.npz", allow_pickle=False) as found:
            return {key: found[key] for key in found.files}


def write_tensorflow_outputs(request: str, scratch: str) -> None:
    """Entry point of the TensorFlow process: ``image.npy`` in, ``outputs.npz`` out."""
    import tensorflow as tf

    wanted = json.loads(request)
    loaded = tf.saved_model.load(wanted["directory"])
    run = loaded.signatures["serving_default"].prune(wanted["input"], wanted["outputs"])
    found = run(tf.constant(np.load(Path(scratch) / "image.npy", allow_pickle=False)))
    np.savez(Path(scratch) / "outputs.npz", **{key: tensor.numpy() for key, tensor in found.items()})


def _write(
    config: ConvertConfig, folder: Path, fingerprint: Fingerprint, source: Recipe | Path, shape: list[int]
) -> Path:
    """Write a model with its ``model.json`` and example; a folder never holds one half of a model.

    `source` is a recipe for an IR, or the folder of the SavedModel for an ONNX file.
    """
    from bench.core.files import write_atomic, write_json
    from bench.features.convert import write_ir
    from bench.models.onnxfile import write_onnx
    from bench.models.sources import weights_of

    file = ModelFile.onnx if isinstance(source, Path) else ModelFile.ir
    batch, height, width = (None, None, None) if config.dynamic else shape[:3]
    decoding = _decoding(config)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if isinstance(source, Path):
                size = None if height is None or width is None else Size(height, width)
                outputs = fingerprint.outputs(config.graph)
                path = Path(scratch) / "model.onnx"
                write_onnx(path, weights_of(source), outputs=outputs, batch=batch, size=size)
                files = [path]
            else:
                path = write_ir(source, Path(scratch), None if config.dynamic else shape)
                files = [path, path.with_suffix(".bin")]
            facts = card(
                files,
                file,
                fingerprint,
                _output_shapes(path),
                (batch, height, width),
                "f32" if isinstance(source, Path) else source.weights,
                config.graph,
                decoding,
            )
            # The card last: one that is there names the files that are there.
            (folder / CARD).unlink(missing_ok=True)
            (folder / path.name).unlink(missing_ok=True)
            for each in reversed(files):
                write_atomic(folder / each.name, each.read_bytes())
            write_atomic(folder / EXAMPLE, example(file).encode())
            write_json(folder / CARD, facts)
    except OSError as error:
        raise ModelError(f"cannot write {folder}: {error}; free space or choose another output=FOLDER") from error
    return folder / path.name


def _output_shapes(path: Path) -> dict[str, list[int]]:
    """Output -> sides, -1 is free."""
    import openvino

    found = {}
    for output in openvino.Core().read_model(str(path)).outputs:
        shape = output.get_partial_shape()
        sides = [side.get_length() if side.is_static else -1 for side in shape] if shape.rank.is_static else []
        found[output.get_any_name()] = sides
    return found


def _compare(
    path: Path, weights: str, image: NDArray[np.float32], reference: Outputs, threads: int, decoding: Decoding
) -> Converted:
    import openvino

    core = openvino.Core()
    properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    if path.suffix == ".onnx":
        image = image.reshape(len(image), 1, *image.shape[1:3])

    def compile_ms(extra: Mapping[str, str]) -> tuple[Any, float]:
        start = time.perf_counter()
        model = core.read_model(str(path))
        model.reshape(list(image.shape))
        compiled = core.compile_model(model, "CPU", {**properties, **extra})
        return compiled, 1e3 * (time.perf_counter() - start)

    compiled, cold_ms = compile_ms({})
    with tempfile.TemporaryDirectory() as folder:
        compile_ms({"CACHE_DIR": folder})
        _, cached_ms = compile_ms({"CACHE_DIR": folder})
    times = []
    for _ in range(6):
        start = time.perf_counter()
        results = compiled(image)
        times.append(1e3 * (time.perf_counter() - start))
    found = {key: results[key] for key in reference}
    keypoints, common, cosine = _keypoint_parity(reference, found, decoding)
    kind = Weights.f32 if path.suffix == ".onnx" else weights
    files = [path] if path.suffix == ".onnx" else [path, path.with_suffix(".bin")]
    return Converted(
        weights=weights,
        path=str(path),
        size_mb=sum(each.stat().st_size for each in files) / 1e6,
        precision=str(precision.describe(kind, "f32", "f32", precision.layers(compiled))["label"]),
        compile_ms=cold_ms,
        compile_cached_ms=cached_ms,
        infer_ms=float(np.median(times[1:])),
        max_difference={
            key: float(np.abs(found[key] - value).max()) for key, value in reference.items() if value.dtype.kind == "f"
        },
        keypoints=keypoints,
        common_keypoints=common,
        min_cosine=cosine,
    )


def _keypoint_parity(reference: Outputs, found: Outputs, decoding: Decoding) -> tuple[int, int, float | None]:
    """Keypoints of the reference, how many the other has at the same pixel, smallest cosine of their descriptors."""
    size = Size(*reference["prob"].shape[1:])
    a, b = (
        decode(each["prob"][0], each["descriptors_raw"][0] if "descriptors_raw" in each else None, decoding, size)
        for each in (reference, found)
    )
    rows = {tuple(point): row for row, point in enumerate(b.keypoints.tolist())}
    pairs = [(row, rows[tuple(point)]) for row, point in enumerate(a.keypoints.tolist()) if tuple(point) in rows]
    if not pairs or a.descriptors is None or b.descriptors is None:
        return len(a), len(pairs), None
    left, right = np.array(pairs).T
    return len(a), len(pairs), float(np.einsum("nd,nd->n", a.descriptors[left], b.descriptors[right]).min())
