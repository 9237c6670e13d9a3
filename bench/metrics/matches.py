"""Quality of putative matches under the ground-truth homography: errors, precision, recall, inlier ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.geometry.ground_truth import reprojection_error_px
from bench.geometry.transforms import transform_points
from bench.metrics.repeatability import pairs_within

Floats = NDArray[np.float64]


def correct(errors_px: Floats, threshold_px: float, strict: bool = False) -> NDArray[np.bool_]:
    """Which errors are correct: ``e <= t``, or ``e < t`` where `strict` (glue-factory)."""
    return np.asarray(errors_px < threshold_px if strict else errors_px <= threshold_px)


def precision(errors_px: Floats, threshold_px: float, strict: bool = False) -> float:
    """Share of correct matches; 0 without matches. Higher is better.

    Examples
    --------
    >>> precision(np.array([0.0, 1.0, 2.0, np.inf]), 1.0), precision(np.array([0.0, 1.0]), 1.0, strict=True)
    (0.5, 0.5)
    """
    return float(correct(errors_px, threshold_px, strict).mean()) if len(errors_px) else 0.0


def n_correspondences(
    xy_ref: ArrayLike,
    xy_target: ArrayLike,
    H_ref_to_target: ArrayLike,
    thresholds_px: Sequence[float],
    kind: str = "one_way",
    strict: bool = False,
) -> list[int]:
    """Reference keypoints for which some target keypoint would be a correct match, at each threshold.

    Parameters
    ----------
    xy_ref, xy_target : (N, 2), (M, 2) float
        All keypoints of the two images.
    H_ref_to_target, kind, strict
        As in :func:`bench.geometry.ground_truth.reprojection_error_px` and :func:`correct`.
    thresholds_px : (T,) sequence of float
    """
    x, y = np.asarray(xy_ref, np.float64).reshape(-1, 2), np.asarray(xy_target, np.float64).reshape(-1, 2)
    # The forward error of a symmetric mean below t is below 2 t.
    radius = max(thresholds_px, default=0.0) * (2.0 if kind == "symmetric" else 1.0)
    i, j = pairs_within(transform_points(H_ref_to_target, x), y, radius)
    errors = reprojection_error_px(x[i], y[j], H_ref_to_target, kind)
    return [len(np.unique(i[correct(errors, t, strict)])) for t in thresholds_px]


def recall(n_correct: int, n_possible: int) -> float:
    """Correct matches divided by reference keypoints with a correct partner. Higher is better.

    Returns
    -------
    float
        NaN where no correct match is possible.
    """
    return n_correct / n_possible if n_possible else math.nan


def inlier_ratio(n_inliers: int, n_matches: int) -> float:
    """Inliers of the estimated homography divided by putative matches; 0 without matches. Higher is better."""
    return n_inliers / n_matches if n_matches else 0.0
