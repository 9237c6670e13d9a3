"""Decoding of SuperPoint: keypoints from the probability map, descriptors at the keypoints.

One implementation serves TensorFlow and OpenVINO, whatever the exported graph does in its own ``prob_nms``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import FeatureError
from bench.core.types import Features, Size
from bench.features.nms import suppress
from bench.schema import NmsConfig, SuperPointConfig

CELL_PX = 8
"""Side of the square of pixels one cell of the network's output stands for."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How maps become features; see :class:`bench.schema.KeypointsConfig` for the meaning of each value."""

    nms: NmsConfig
    min_probability: float
    border_px: int
    max_keypoints: int

    @classmethod
    def of(cls, config: SuperPointConfig) -> Decoding:
        """The decoding part of a method's configuration."""
        return cls(config.nms, config.min_probability, config.border_px, config.max_keypoints)


def decode(
    prob: NDArray[np.float32], descriptors: NDArray[np.float32] | None, decoding: Decoding, size: Size
) -> Features:
    """Features from the outputs of the network.

    Parameters
    ----------
    prob : (H, W) float32
        Keypoint probability of each pixel, before any suppression.
    descriptors : (H/8, W/8, D) float32, (H, W, D) float32 or None
        ``descriptors_raw``, the dense ``descriptors``, or nothing for a detector.
    decoding : Decoding
    size : Size
        Size of the evaluated image.

    Returns
    -------
    Features
        xy at integers, descriptors of unit length, sorted by (-score, y, x).

    Raises
    ------
    FeatureError
        If a shape does not fit `size`, or a value is not finite.
    """
    if prob.shape != (size.height, size.width):
        raise FeatureError(f"prob is {prob.shape}, the image is {size} (HxW)")
    xy, scores = suppress(prob, decoding.nms, decoding.min_probability, decoding.max_keypoints, decoding.border_px)
    sampled = None
    if descriptors is not None:
        if descriptors.shape[:2] == prob.shape:
            sampled = descriptors[xy[:, 1], xy[:, 0]]
        elif descriptors.shape[:2] == (size.height // CELL_PX, size.width // CELL_PX):
            sampled = sample(descriptors, xy)
        else:
            raise FeatureError(f"descriptors are {descriptors.shape}, the image is {size} (HxW)")
    return Features(xy.astype(np.float32), scores, sampled, size)


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keypoint probability of each pixel from the detector's logits: softmax over a cell's pixels and "no keypoint".

    Parameters
    ----------
    logits : (h, w, 65) float32

    Returns
    -------
    (8h, 8w) float32
    """
    height, width, _ = logits.shape
    shares = np.exp(logits - logits.max(axis=2, keepdims=True))
    shares /= shares.sum(axis=2, keepdims=True)
    cells: NDArray[np.float32] = shares[:, :, :-1].reshape(height, width, CELL_PX, CELL_PX)
    return cells.transpose(0, 2, 1, 3).reshape(height * CELL_PX, width * CELL_PX)


def sample(raw: NDArray[np.float32], xy: NDArray[np.int32]) -> NDArray[np.float32]:
    """Descriptors at pixels, from the map with one descriptor per cell.

    Bilinear interpolation at (y/8, x/8) without a half-pixel shift, clamped at the lower and right edge, then L2
    normalisation: what ``resize_bilinear(align_corners=False)`` of TensorFlow 1 and ``l2_normalize`` compute for every
    pixel in the exported graph.

    Parameters
    ----------
    raw : (h, w, D) float32
    xy : (N, 2) int
        Pixels of the (8h, 8w) image.

    Returns
    -------
    (N, D) float32
        Rows of unit length; a zero vector stays zero.
    """
    height, width, channels = raw.shape
    cells = raw.reshape(height * width, channels)
    x0, fx = np.divmod(xy[:, 0], CELL_PX)
    y0, fy = np.divmod(xy[:, 1], CELL_PX)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    wx = (fx.astype(np.float32) / np.float32(CELL_PX))[:, None]
    wy = (fy.astype(np.float32) / np.float32(CELL_PX))[:, None]
    top = _lerp(cells, y0 * width + x0, y0 * width + x1, wx)
    bottom = _lerp(cells, y1 * width + x0, y1 * width + x1, wx)
    bottom -= top
    bottom *= wy
    top += bottom
    squares = np.einsum("nd,nd->n", top, top)
    top /= np.sqrt(np.maximum(squares, np.float32(1e-12)))[:, None]
    return top


def _lerp(
    cells: NDArray[np.float32], left: NDArray[np.int32], right: NDArray[np.int32], weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    value = cells.take(left, axis=0)
    step = cells.take(right, axis=0)
    step -= value
    step *= weight
    value += step
    return value
