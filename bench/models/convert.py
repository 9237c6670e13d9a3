"""Conversion of a SavedModel to OpenVINO IR, kept in a cache by fingerprint.

The graph is converted once with free height and width and made static for each image size when it is compiled: the
network is then the same as the one converted with that size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.core.errors import ModelError
from bench.core.types import Size
from bench.models.cache import cached, run_python
from bench.models.fingerprint import Fingerprint
from bench.models.recipe import Recipe, converted, require_nncf

CELL_PX = 8


def check_size(size: Size) -> None:
    """Raise ModelError unless both sides are multiples of 8, the side of the network's cells."""
    if size.height % CELL_PX or size.width % CELL_PX:
        raise ModelError(
            f"image size {size} (HxW) is not divisible by {CELL_PX}, the cell of SuperPoint's output; set "
            f"protocol.image.multiple_of={CELL_PX}"
        )


def input_shape(size: Size, fingerprint: Fingerprint, batch: int = 1, channels: int = 1) -> list[int]:
    """Static input shape [N, H, W, C] of a graph.

    Raises
    ------
    ModelError
        If the sides are not divisible by 8, the graph is built for another batch size, or it has another number of
        channels.
    """
    if channels != fingerprint.channels:
        raise ModelError(
            f"input shape [{batch},{size.height},{size.width},{channels}]: the network takes {fingerprint.channels} "
            f"channel, not {channels} (its first kernel is 3x3x1x64); colour images are converted to grey"
        )
    if fingerprint.batch is not None and batch != fingerprint.batch:
        raise ModelError(
            f"batch {batch} is not possible: the graph {fingerprint.graph_sha256[:8]} is exported for batch "
            f"{fingerprint.batch}; use batch={fingerprint.batch} or model=builtin"
        )
    check_size(size)
    return [batch, size.height, size.width, channels]


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
        run_python("bench.models.convert:convert_from_json", json.dumps(asdict(recipe)), str(directory))

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
        from bench.models.quantize import quantize

        model = quantize(recipe)
        if shape is not None:
            model.reshape(list(shape))
    else:
        model = converted(recipe.saved_model, recipe.outputs, shape)
    openvino.save_model(model, str(path), compress_to_fp16=recipe.weights == "f16")
    return path
