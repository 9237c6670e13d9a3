"""The keypoint budget and the input conversions shared by all backends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import FeatureError
from bench.core.types import Features, FloatArray, Size

_GREY_TOLERANCE = np.float32(1e-3)
"""Whole grey levels survive the division by 255 and the multiplication by it."""


def order(keypoints: FloatArray, scores: FloatArray) -> NDArray[np.intp]:
    """Indices that sort keypoints by (-score, y, x), the tie rule of the whole package.

    Parameters
    ----------
    keypoints : (N, 2) float
        xy in pixels.
    scores : (N,) float

    Returns
    -------
    (N,) intp
    """
    return np.lexsort((keypoints[:, 0], keypoints[:, 1], -scores))


def best(keypoints: FloatArray, scores: FloatArray, max_keypoints: int) -> NDArray[np.intp]:
    """Indices of the `max_keypoints` best keypoints (0: all), sorted by (-score, y, x).

    Raises
    ------
    FeatureError
        If a score is not finite, because it has no place in the order.
    """
    if not np.isfinite(scores).all():
        raise FeatureError("scores contain NaN or infinity")
    if max_keypoints <= 0 or len(scores) <= max_keypoints:
        return order(keypoints, scores)
    lowest = np.partition(scores, -max_keypoints)[-max_keypoints]
    candidates = np.flatnonzero(scores >= lowest)
    return candidates[order(keypoints[candidates], scores[candidates])[:max_keypoints]]


def budget(
    keypoints: FloatArray,
    scores: FloatArray,
    descriptors: NDArray[np.float32] | NDArray[np.uint8] | None,
    max_keypoints: int,
    size: Size,
) -> Features:
    """Keep the best keypoints: order (-score, y, x), at most `max_keypoints`.

    Parameters
    ----------
    keypoints : (N, 2) float
        xy in pixels of the evaluated image.
    scores : (N,) float
    descriptors : (N, D) float32, (N, B) uint8 or None
    max_keypoints : int
        0 keeps all.
    size : Size
        Size of the evaluated image.

    Returns
    -------
    Features

    Raises
    ------
    FeatureError
        If the arrays break the contract of :class:`bench.core.types.Features`.
    """
    if len(keypoints) != len(scores) or (descriptors is not None and len(descriptors) != len(scores)):
        lengths = (len(keypoints), len(scores), None if descriptors is None else len(descriptors))
        raise FeatureError(f"keypoints, scores and descriptors differ in length: {lengths}")
    keypoints = keypoints.reshape(-1, 2).astype(np.float32, copy=False)
    scores = scores.astype(np.float32, copy=False)
    kept = best(keypoints, scores, max_keypoints)
    return Features(keypoints[kept], scores[kept], None if descriptors is None else descriptors[kept], size)


def to_uint8(grey: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey levels as OpenCV's detectors take them; fractions are cut off, as rpautrat/SuperPoint does for SIFT and ORB.

    Parameters
    ----------
    grey : (H, W) uint8 in [0, 255] or float32 in [0, 1]

    Returns
    -------
    (H, W) uint8, C-contiguous
    """
    if grey.dtype == np.uint8:
        return np.ascontiguousarray(grey, dtype=np.uint8)
    levels = np.floor(grey.astype(np.float32) * np.float32(255) + _GREY_TOLERANCE)
    return np.ascontiguousarray(np.clip(levels, 0, 255).astype(np.uint8))


def to_float32(grey: NDArray[np.uint8] | NDArray[np.float32], scale: float = 1.0) -> NDArray[np.float32]:
    """Grey levels as a network takes them.

    Parameters
    ----------
    grey : (H, W) uint8 in [0, 255] or float32 in [0, 1]
    scale : float
        Value of white: 1 for SuperPoint, 255 for the MagicPoint of 2018.

    Returns
    -------
    (H, W) float32 in [0, `scale`], C-contiguous
    """
    if grey.dtype == np.uint8:
        if scale == 255.0:
            return np.ascontiguousarray(grey, dtype=np.float32)
        return np.divide(grey, np.float32(255) / np.float32(scale), dtype=np.float32, order="C")
    return np.multiply(grey, np.float32(scale), dtype=np.float32, order="C")
