"""Quality of putative matches under the ground-truth homography: errors, precision, recall, inlier ratio."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.geometry.transforms import transform_points
from bench.metrics.repeatability import pairs_within

Floats = NDArray[np.float64]


def reprojection_error_px(
    xy_ref: ArrayLike, xy_target: ArrayLike, H_ref_to_target: ArrayLike, kind: str = "one_way"
) -> Floats:
    """Ground-truth error of matches. Lower is better.

    Parameters
    ----------
    xy_ref, xy_target : (M, 2) float
        Row k of both is one match.
    H_ref_to_target : (3, 3) float
    kind : {"one_way", "symmetric"}
        ``|H x - y|`` in the target image (D2-Net, SiLK), or the mean of it and ``|x - H^-1 y|`` (glue-factory).

    Returns
    -------
    (M,) float64
        Pixels; +inf where a point is mapped to or behind the horizon.
    """
    if kind not in ("one_way", "symmetric"):
        raise ValueError(f"match error {kind!r} is not one_way or symmetric")
    H = np.asarray(H_ref_to_target, dtype=np.float64)
    x, y = np.asarray(xy_ref, np.float64).reshape(-1, 2), np.asarray(xy_target, np.float64).reshape(-1, 2)
    forward = np.hypot(*(transform_points(H, x) - y).T)
    if kind == "one_way":
        return np.asarray(forward)
    return np.asarray((forward + np.hypot(*(transform_points(np.linalg.inv(H), y) - x).T)) / 2)


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
    threshold_px: float,
    kind: str = "one_way",
    strict: bool = False,
) -> int:
    """Reference keypoints for which some target keypoint would be a correct match.

    Parameters
    ----------
    xy_ref, xy_target : (N, 2), (M, 2) float
        All keypoints of the two images.
    H_ref_to_target, threshold_px, kind, strict
        As in :func:`reprojection_error_px` and :func:`correct`.
    """
    x, y = np.asarray(xy_ref, np.float64).reshape(-1, 2), np.asarray(xy_target, np.float64).reshape(-1, 2)
    # The forward error of a symmetric mean below t is below 2 t.
    radius = threshold_px * (2.0 if kind == "symmetric" else 1.0)
    i, j = pairs_within(transform_points(H_ref_to_target, x), y, radius)
    errors = reprojection_error_px(x[i], y[j], H_ref_to_target, kind)
    return len(np.unique(i[correct(errors, threshold_px, strict)]))


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
