"""Non-maximum suppression of a response map, exact and fast.

Greedy suppression visits pixels from the best to the worst, in the order (-score, y, x), and keeps a pixel unless a
kept one lies in its footprint.  A pixel that is the best of its footprint is kept whatever happens elsewhere, so greedy
suppression equals repeated local-maximum suppression: keep the local maxima, remove what they suppress, repeat.  The
first rounds run on the whole map, the following ones on the few candidates that are still undecided.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import FeatureError
from bench.schema import NmsConfig
from bench.schema.options import NmsKind

_WORTHWHILE = 0.25
"""A round that decides a smaller part of the undecided pixels is not repeated: long monotone ramps and plateaus go to
the sequential loop."""
_BLOCK = 16384
"""Pixels whose footprints are gathered at once."""

Points = tuple[NDArray[np.int32], NDArray[np.float32]]


def box_footprint(size: int, iou: float) -> NDArray[np.uint8]:
    """Pixels whose box of side `size` overlaps the centre's box by more than `iou` (intersection over union).

    The arithmetic is that of ``tf.image.non_max_suppression`` (float32, strictly more), as in the exported graphs.

    Parameters
    ----------
    size : int
        Side of the boxes in pixels.
    iou : float

    Returns
    -------
    (2r+1, 2r+1) uint8
        1 where suppressed, and at the centre; r is the largest offset that is suppressed.

    >>> int(box_footprint(4, 0.1).sum()) - 1, int(box_footprint(8, 0.1).sum()) - 1
    (36, 136)
    """
    offsets = np.abs(np.arange(1 - size, size))
    overlap = (size - offsets).astype(np.float32)
    intersection = overlap[:, None] * overlap[None, :]
    footprint = intersection / (np.float32(2 * size * size) - intersection) > np.float32(iou)
    footprint[size - 1, size - 1] = True
    radius = int(offsets[footprint.any(axis=0)].max())
    return footprint[size - 1 - radius : size + radius, size - 1 - radius : size + radius].astype(np.uint8)


def square_footprint(radius: int) -> NDArray[np.uint8]:
    """Pixels within L-infinity distance `radius` (Magic Leap's ``nms_fast``)."""
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def suppress(
    response: NDArray[np.float32], nms: NmsConfig, min_response: float, max_keypoints: int = 0, border_px: int = 0
) -> Points:
    """Keypoints of a response map: threshold, suppression, border, budget, in this order.

    Parameters
    ----------
    response : (H, W) float32
    nms : NmsConfig
    min_response : float
        Smallest response of a candidate; compared in float32.
    max_keypoints : int
        Best keypoints kept; 0 keeps all.
    border_px : int
        Keypoints closer than this to the border are removed after the suppression; they still suppress others.

    Returns
    -------
    xy : (N, 2) int32
    scores : (N,) float32
        Sorted by (-score, y, x).

    Raises
    ------
    FeatureError
        If the response contains NaN or infinity.
    """
    if not math.isfinite(float(response.sum(dtype=np.float64))):
        raise FeatureError("the response map contains NaN or infinity")
    response = np.ascontiguousarray(response, dtype=np.float32)
    lowest = np.float32(min_response)
    footprint = box_footprint(nms.size, nms.iou) if nms.kind == NmsKind.box else square_footprint(nms.size)
    if nms.kind == NmsKind.none or footprint.size == 1:
        kept = np.flatnonzero(response >= lowest)
    elif nms.kind == NmsKind.maxpool:
        kept = np.flatnonzero(_maxpool(response, nms.size) & (response >= lowest))
    else:
        kept = _greedy(response, footprint, lowest, max_keypoints, border_px)
    return _best(response, kept, max_keypoints, border_px)


def _best(response: NDArray[np.float32], kept: NDArray[np.intp], max_keypoints: int, border_px: int) -> Points:
    kept = kept[_inside(kept, response.shape, border_px)]
    scores = response.ravel()[kept]
    if 0 < max_keypoints < len(kept):
        lowest = np.partition(scores, -max_keypoints)[-max_keypoints]
        chosen = np.flatnonzero(scores >= lowest)
        kept, scores = kept[chosen], scores[chosen]
    # The row-major index orders by (y, x).
    sequence = np.lexsort((kept, -scores))[: max_keypoints or None]
    kept, scores = kept[sequence], scores[sequence]
    y, x = np.divmod(kept, response.shape[1])
    return np.stack([x, y], axis=1).astype(np.int32), scores


def _inside(flat: NDArray[np.intp], shape: tuple[int, ...], border_px: int) -> NDArray[np.bool_]:
    if border_px <= 0:
        return np.ones(len(flat), np.bool_)
    y, x = np.divmod(flat, shape[1])
    inside: NDArray[np.bool_] = (
        (np.minimum(x, y) >= border_px) & (x < shape[1] - border_px) & (y < shape[0] - border_px)
    )
    return inside


def _dilate(image: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Maximum over the square of half-width `radius`; nothing outside the image counts."""
    import cv2

    result: NDArray[np.float32] = cv2.dilate(image, square_footprint(radius))
    return result


def _greedy(
    response: NDArray[np.float32],
    footprint: NDArray[np.uint8],
    min_response: np.float32,
    max_keypoints: int,
    border_px: int,
) -> NDArray[np.intp]:
    """Row-major indices of the kept pixels; with a budget, at least the best `max_keypoints` inside the border."""
    height, width = response.shape
    radius = len(footprint) // 2
    stride = width + 2 * radius
    padded = np.full((height + 2 * radius, stride), -np.inf, np.float32)
    padded[radius : radius + height, radius : radius + width] = response
    flat = padded.ravel()
    dy, dx = np.nonzero(footprint)
    offsets = (dy - radius) * stride + (dx - radius)
    before, after = offsets[offsets < 0], offsets[offsets > 0]
    # Maxima of a square inside the footprint are cheap to find and few.
    inner = radius - int(np.argmax(np.diagonal(footprint)))

    def best_of_footprint(index: NDArray[np.intp]) -> NDArray[np.bool_]:
        # Of equal responses the first in row-major order is the better one.
        own = flat[index]
        best: NDArray[np.bool_] = own > _footprint_max(flat, index, before)
        best &= own >= _footprint_max(flat, index, after)
        return best

    def unpadded(index: NDArray[np.intp]) -> NDArray[np.intp]:
        y, x = np.divmod(index, stride)
        result: NDArray[np.intp] = (y - radius) * width + (x - radius)
        return result

    found: list[NDArray[np.intp]] = []
    inside: list[NDArray[np.float32]] = []
    lowest = min_response
    undecided: NDArray[np.intp] | None = None
    n_undecided = response.size
    while n_undecided:
        if undecided is None:
            candidates = np.flatnonzero((padded == _dilate(padded, inner)) & (padded >= lowest))
        else:
            candidates = undecided
        wins = candidates[best_of_footprint(candidates)]
        found.append(unpadded(wins))
        if max_keypoints:
            # The budget's worst keypoint is at least as good as this; what is worse needs no decision.
            inside.append(flat[wins][_inside(found[-1], response.shape, border_px)])
            scores = np.concatenate(inside)
            if len(scores) >= max_keypoints:
                lowest = np.partition(scores, -max_keypoints)[-max_keypoints]
        # The footprint holds the winner itself, so what is left above -inf is undecided.
        flat[wins[:, None] + offsets] = -np.inf
        rest = np.flatnonzero(flat >= lowest) if undecided is None else undecided[flat[undecided] >= lowest]
        if n_undecided - len(rest) < _WORTHWHILE * n_undecided:
            found.append(unpadded(_sequential(flat, rest, offsets)))
            break
        n_undecided = len(rest)
        if n_undecided <= _BLOCK:
            undecided = rest
    return np.sort(np.concatenate(found))


def _footprint_max(
    flat: NDArray[np.float32], index: NDArray[np.intp], offsets: NDArray[np.intp]
) -> NDArray[np.float32]:
    blocks = [flat[index[start : start + _BLOCK, None] + offsets].max(axis=1) for start in range(0, len(index), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def _sequential(flat: NDArray[np.float32], undecided: NDArray[np.intp], offsets: NDArray[np.intp]) -> NDArray[np.intp]:
    """Greedy suppression one by one: the general case, for maps with long chains of undecided pixels."""
    free = np.zeros(len(flat), np.bool_)
    free[undecided] = True
    kept = []
    for index in undecided[np.lexsort((undecided, -flat[undecided]))].tolist():
        if free[index]:
            free[index + offsets] = False
            kept.append(index)
    return np.array(kept, np.intp)


def _maxpool(response: NDArray[np.float32], radius: int) -> NDArray[np.bool_]:
    """Local maxima, then twice the maxima of what they do not cover (``simple_nms`` of SuperGlue and glue-factory)."""
    maxima: NDArray[np.bool_] = response == _dilate(response, radius)
    for _ in range(2):
        covered = _dilate(maxima.astype(np.float32), radius) > 0
        rest = np.where(covered, np.float32(0), response)
        maxima |= (rest == _dilate(rest, radius)) & ~covered
    return maxima
