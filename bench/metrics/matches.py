"""Quality of putative matches under the ground-truth homography: errors, precision, recall."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.geometry.ground_truth import reprojection_error_px
from bench.geometry.solve import Estimates, Solved
from bench.geometry.transforms import transform_points
from bench.metrics.record import Column, Margin, Metric, threshold_name
from bench.metrics.repeatability import within

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
    found = within(transform_points(H_ref_to_target, x), y, radius)
    errors = found.distance
    if kind != "one_way":
        errors = reprojection_error_px(x[found.i], y[found.j], H_ref_to_target, kind)
    return [int((np.bincount(found.i[correct(errors, t, strict)]) > 0).sum()) for t in thresholds_px]


def recall(n_correct: int, n_possible: int) -> float:
    """Correct matches divided by reference keypoints with a correct partner. Higher is better.

    Returns
    -------
    float
        NaN where no correct match is possible.
    """
    return n_correct / n_possible if n_possible else math.nan


def measure(solved: Solved, _: Estimates | None) -> dict[str, object]:
    """Precision and, where the keypoints of the images are known, recall of one pair at each threshold."""
    protocol = solved.protocol
    thresholds, kind, strict = protocol.precision_px, protocol.precision_error, protocol.precision_strict
    errors = solved.errors_px if kind == "one_way" else solved.symmetric_errors_px
    row: dict[str, object] = {threshold_name("match_precision", t): precision(errors, t, strict) for t in thresholds}
    if solved.f_ref is not None and solved.f_target is not None:
        H = solved.prepared.H_ref_to_target
        possible = n_correspondences(solved.f_ref.keypoints, solved.f_target.keypoints, H, thresholds, kind, strict)
        for t, n in zip(thresholds, possible, strict=True):
            row[threshold_name("match_recall", t)] = recall(int(correct(errors, t, strict).sum()), n)
    return row


METRIC = Metric(
    "matches",
    (
        Column(
            "match_precision_{t}px",
            "precision@{t}",
            "share",
            "higher",
            "Share of a pair's matches with an error of at most {t} px (below {t} px, or the symmetric "
            "error, where the protocol says so); 0 without matches.",
            thresholds="precision_px",
            table="descriptors",
            margins=(Margin(0.02, 1.0), Margin(0.02, 3.0)),
        ),
        Column(
            "match_recall_{t}px",
            "recall@{t}",
            "share",
            "higher",
            "Correct matches divided by reference keypoints that have a correct partner at {t} px; "
            "undefined where there is none.",
            thresholds="precision_px",
            table="descriptors",
        ),
    ),
    measure,
)
