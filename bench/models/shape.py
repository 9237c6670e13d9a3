"""Shapes a graph can be given."""

from __future__ import annotations

from bench.core.errors import ModelError
from bench.core.types import Size
from bench.models.fingerprint import Fingerprint
from bench.models.graphfile import GraphFingerprint

CELL_PX = 8


def check_size(size: Size) -> None:
    """Raise ModelError unless both sides are multiples of 8, the side of the network's cells."""
    if size.height % CELL_PX or size.width % CELL_PX:
        raise ModelError(
            f"image size {size} (HxW) is not divisible by {CELL_PX}, the cell of SuperPoint's output; set "
            f"protocol.image.multiple_of={CELL_PX}"
        )


def check_built_in(size: Size, fingerprint: GraphFingerprint) -> None:
    """Raise ModelError unless the model takes images of `size`."""
    height, width = fingerprint.height or size.height, fingerprint.width or size.width
    if (height, width) != (size.height, size.width):
        raise ModelError(
            f"the model is built for {height}x{width} (HxW), the evaluated image is {size}; set "
            f"protocol.image.policy=cover_crop protocol.image.height={height} protocol.image.width={width}"
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
    if isinstance(fingerprint, GraphFingerprint):
        check_built_in(size, fingerprint)
    return [batch, size.height, size.width, channels]
