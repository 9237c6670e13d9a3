"""Homography accuracy and AUC from corner errors.

Corner errors are in pixels; a failure is +inf and NaN counts as +inf, so that no pair ever leaves the mean.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.geometry.solve import Estimates, Solved
from bench.metrics.record import Column, Margin, Metric, threshold_name

Floats = NDArray[np.float64]


def as_errors(errors_px: ArrayLike) -> Floats:
    """Return errors as float64 with NaN replaced by +inf.

    Raises
    ------
    ValueError
        If an error is negative.
    """
    errors = np.array(errors_px, dtype=np.float64)
    errors[np.isnan(errors)] = math.inf
    if (errors < 0).any():
        raise ValueError(f"corner errors must not be negative, got {errors.min()}")
    return errors


def accuracy(errors_px: ArrayLike, threshold_px: float) -> float:
    """Share of errors at most `threshold_px`. Higher is better.

    ``mean([e <= t])``, the threshold included (SuperPoint paper, eq. 15).

    Parameters
    ----------
    errors_px : (N,) float
    threshold_px : float

    Returns
    -------
    float
        NaN without errors.

    Examples
    --------
    >>> accuracy([0.5, 3.0, float("inf"), 3.0000001], 3.0)
    0.5
    """
    errors = as_errors(errors_px)
    return float((errors <= threshold_px).mean()) if errors.size else math.nan


def auc_terms(errors_px: ArrayLike, threshold_px: float) -> Floats:
    """Return each error's share of the exact AUC, ``max(0, 1 - e/t)``; their mean is :func:`auc_exact`."""
    return np.asarray(np.maximum(0.0, 1.0 - as_errors(errors_px) / threshold_px), dtype=np.float64)


def auc_exact(errors_px: ArrayLike, threshold_px: float) -> float:
    """Area under the cumulative error curve up to the threshold, divided by the threshold. Higher is better.

    The curve R(x) = mean([e <= x]) is a step function, so the area is exactly ``mean(max(0, 1 - e/t))``.

    Parameters
    ----------
    errors_px : (N,) float
    threshold_px : float

    Returns
    -------
    float
        NaN without errors.

    Examples
    --------
    >>> auc_exact([0.0, 1.5, 3.0, float("inf")], 3.0)
    0.375
    """
    terms = auc_terms(errors_px, threshold_px)
    return float(terms.mean()) if terms.size else math.nan


def auc_trapezoid(errors_px: ArrayLike, threshold_px: float) -> float:
    """AUC with linear interpolation between sorted errors, as SuperGlue, glue-factory and SiLK. Higher is better.

    Points (0, 0), (e_1, 1/N), (e_2, 2/N), ... of the errors below t, extended flat to t; trapezoid area divided by t.
    It is the exact area plus e_last / (2 N t), at most 1/(2N) more, where e_last is the largest error below t.

    Parameters
    ----------
    errors_px : (N,) float
    threshold_px : float

    Returns
    -------
    float
        NaN without errors.
    """
    errors = np.sort(as_errors(errors_px).reshape(-1))
    if not errors.size:
        return math.nan
    kept = errors[: np.searchsorted(errors, threshold_px)]
    x = np.concatenate([[0.0], kept, [threshold_px]])
    recall = np.concatenate([[0.0], np.arange(1, len(kept) + 1) / len(errors), [len(kept) / len(errors)]])
    return float((np.diff(x) * (recall[1:] + recall[:-1]) / 2).sum() / threshold_px)


def inlier_ratio(n_inliers: int, n_matches: int) -> float:
    """Inliers of the estimated homography divided by putative matches; 0 without matches. Higher is better."""
    return n_inliers / n_matches if n_matches else 0.0


def measure(solved: Solved, estimates: Estimates | None) -> dict[str, object]:
    """Errors of the repeated estimates of one pair."""
    assert estimates is not None
    errors = estimates.errors_px
    return {
        "n_inliers": estimates.n_inliers,
        "inlier_ratio": inlier_ratio(estimates.n_inliers, len(solved.xy_ref)),
        "corner_error_px": errors[0],
        "corner_errors_px": errors,
        "n_failed_repeats": int(np.isinf(errors).sum()),
        **{threshold_name("accuracy", t): accuracy(errors, t) for t in solved.protocol.homography.thresholds_px},
        "estimate_ms": estimates.first_ms,
    }


METRIC = Metric(
    "homography",
    (
        Column(
            "accuracy_{t}px",
            "acc@{t}",
            "share",
            "higher",
            "Share of pairs whose mean corner error is at most {t} px; with repeated estimation the mean "
            "over pairs of the share of repeats. A failed pair counts as wrong.",
            rows=("corner_errors_px",),
            reduction="at_most",
            thresholds="homography.thresholds_px",
            margins=(Margin(0.05, 1.0), Margin(0.03, 3.0), Margin(0.03, 5.0)),
        ),
        Column(
            "order_noise_{t}px",
            "±order@{t}",
            "share",
            "lower",
            "Order noise of accuracy_{t}px: 1.96 standard deviations that re-ordering the same matches "
            "alone gives the reported accuracy (square root of the mean within-pair variance over "
            "repeats, over pairs times repeats).",
            rows=("corner_errors_px",),
            reduction="other",
            thresholds="homography.thresholds_px",
            table="noise",
            interval="none",
        ),
        Column(
            "flip_share_{t}px",
            "flips@{t}",
            "share",
            "lower",
            "Share of pairs whose verdict at {t} px is not the same in all repeats.",
            rows=("corner_errors_px",),
            reduction="other",
            thresholds="homography.thresholds_px",
            table="noise",
            interval="none",
        ),
        Column(
            "failed_repeat_share",
            "failed repeats",
            "share",
            "lower",
            "Share of all estimations, over pairs and repeats, that gave no homography.",
            rows=("n_failed_repeats",),
            reduction="other",
            table="noise",
            interval="none",
        ),
        Column(
            "auc_{t}px",
            "AUC@{t}",
            "share",
            "higher",
            "Area under the cumulative curve of corner errors up to {t} px, divided by {t}: exact "
            "mean(max(0, 1 - e/{t})), or by the trapezoid rule where the protocol says so.",
            rows=("corner_errors_px",),
            reduction="auc",
            thresholds="homography.thresholds_px",
            table="homography",
            margins=(Margin(0.02, 5.0),),
        ),
        Column(
            "corner_error_median_px",
            "median error",
            "px",
            "lower",
            "Median over pairs and repeats of the mean corner error; failures are infinite.",
            rows=("corner_errors_px",),
            reduction="median",
            interval="median",
            table="homography",
        ),
        Column(
            "geometric_corner_error_px",
            "geometric error",
            "px",
            "lower",
            "Geometric mean over pairs and repeats of the mean corner error, clipped to 0.1 to 50 px, so that failures "
            "are finite and differences far below a pixel do not count.",
            rows=("corner_errors_px",),
            reduction="geometric",
            table="homography",
            margins=(Margin(0.15, kind="ratio"),),
        ),
        Column(
            "n_inliers",
            "inliers",
            "count",
            "neither",
            "Inliers of the estimated homography per pair.",
            table="homography",
        ),
        Column(
            "inlier_ratio",
            "inlier ratio",
            "share",
            "higher",
            "Inliers of the estimated homography divided by putative matches; 0 without matches.",
        ),
        Column(
            "estimate_ms",
            "estimate",
            "ms",
            "lower",
            "Median time of one homography estimation (first repeat).",
            reduction="other",
            table="costs",
        ),
    ),
    measure,
    needs=("matches", "estimates"),
    more_rows=("corner_error_px", "accuracy_{t}px"),
)
