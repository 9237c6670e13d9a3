"""Conversion of a model to what its runtime reads: an OpenVINO IR, an ONNX file, or its weights, kept in a cache by
fingerprint.

The graph is converted once with free height and width and made static for each image size when it is compiled: the
network is then the same as the one converted with that size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.core.types import Context
from bench.models.cache import cached, run_python
from bench.models.fingerprint import Fingerprint
from bench.models.graphfile import is_graph_file
from bench.models.onnxfile import OPSET, write_onnx
from bench.models.recipe import Recipe, converted, require_nncf
from bench.models.sources import weights_of
from bench.models.weights import save_weights
from bench.runtimes.base import Form, module_of
from bench.schema import SuperPointConfig


def model_files(config: SuperPointConfig, model: Path, fingerprint: Fingerprint, context: Context) -> Path:
    """What the runtime of a method loads (:class:`bench.runtimes.base.Form`), or the user's own IR or ONNX file.

    Raises
    ------
    ModelError
        As :func:`ir` and :func:`bench.models.sources.weights_of`.
    """
    form = module_of(config.backend).FORM
    if form == Form.saved_model or is_graph_file(model):
        return model
    if form == Form.ir:
        return ir(recipe_of(config, fingerprint, model, context.seed), context.cache) / "model.xml"
    if form == Form.onnx:
        return onnx(model, fingerprint, config.descriptors, context.cache)
    return weights(model, fingerprint, context.cache)


def onnx(model: Path, fingerprint: Fingerprint, descriptors: bool, cache: Path) -> Path:
    """ONNX file with the sparse outputs of a model and free sides; written on first use.

    Raises
    ------
    ModelError
        As :func:`bench.models.sources.weights_of`.
    """
    outputs = fingerprint.outputs("sparse", descriptors)
    named = "-".join((fingerprint.key, *outputs, f"opset{OPSET}"))
    # Every file keeps what it was made from.
    facts = {"graph_sha256": fingerprint.graph_sha256, "variables_sha256": fingerprint.variables_sha256}

    def build(directory: Path) -> None:
        write_onnx(directory / "model.onnx", weights_of(model), outputs=outputs, metadata=facts)

    return cached(cache / "onnx" / named, build) / "model.onnx"


def weights(model: Path, fingerprint: Fingerprint, cache: Path) -> Path:
    """Weight file of a model; read from a SavedModel on first use.

    Raises
    ------
    ModelError
        As :func:`bench.models.sources.weights_of`.
    """
    if model.suffix == ".npz":
        return model

    def build(directory: Path) -> None:
        save_weights(directory / "weights.npz", weights_of(model))

    return cached(cache / "weights" / f"savedmodel-{fingerprint.key}", build) / "weights.npz"


def recipe_of(config: SuperPointConfig, fingerprint: Fingerprint, directory: Path, seed: int) -> Recipe:
    """What the IR of a method is made from."""
    return Recipe(
        saved_model=str(directory),
        model_key=fingerprint.key,
        outputs=fingerprint.outputs(config.graph, config.descriptors),
        weights=config.weights,
        input_scale=fingerprint.input_scale,
        accuracy_control=config.accuracy_control,
        max_drop=config.max_drop,
        seed=seed,
    )


def ir(recipe: Recipe, cache: Path) -> Path:
    """Folder with ``model.xml`` and ``model.bin`` of a recipe; converted in a process of its own on first use.

    Raises
    ------
    ModelError
        If the conversion fails or INT8 is asked for without the extra ``int8``.
    """
    if recipe.weights == "int8":
        require_nncf()

    def build(directory: Path) -> None:
        run_python("bench.features.convert:convert_from_json", json.dumps(asdict(recipe)), str(directory))

    return cached(cache / "ir" / f"{recipe.model_key}-{recipe.weights}-{recipe.digest()}", build)


def convert_from_json(recipe: str, directory: str) -> None:
    """Entry point of the conversion process; see :func:`write_ir`."""
    fields: dict[str, Any] = json.loads(recipe)
    fields["outputs"] = tuple(fields["outputs"])
    write_ir(Recipe(**fields), Path(directory))


def write_ir(recipe: Recipe, directory: Path, shape: Sequence[int] | None = None) -> Path:
    """Convert and save an IR; returns the path of ``model.xml``.

    Parameters
    ----------
    recipe : Recipe
    directory : Path
        Existing folder.
    shape : sequence of 4 int or None
        Static input shape [N, H, W, 1]; None leaves height and width free.
    """
    import openvino

    path = directory / "model.xml"
    if recipe.weights == "int8":
        from bench.features.quantize import quantize

        model = quantize(recipe)
        if shape is not None:
            model.reshape(list(shape))
    else:
        model = converted(recipe.saved_model, recipe.outputs, shape)
    openvino.save_model(model, str(path), compress_to_fp16=recipe.weights == "f16")
    return path
