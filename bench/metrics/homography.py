"""Homography accuracy and AUC from corner errors, and the least-squares homography on all matches.

Corner errors are in pixels; a failure is +inf and NaN counts as +inf, so that no pair ever leaves the mean.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.types import Transform
from bench.geometry.dlt import dlt_homography
from bench.geometry.estimation import collinear
from bench.geometry.transforms import is_valid_homography

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


def dlt_estimate(xy_ref: ArrayLike, xy_target: ArrayLike) -> Transform | None:
    """Least-squares homography on all matches (normalised DLT); a test of how pure the matches are.

    Parameters
    ----------
    xy_ref, xy_target : (M, 2) float

    Returns
    -------
    (3, 3) float64 or None
        None with fewer than four matches, points on a line, or a singular result.
    """
    a, b = np.asarray(xy_ref, dtype=np.float64), np.asarray(xy_target, dtype=np.float64)
    if len(a) < 4 or collinear(a) or collinear(b):
        return None
    H = dlt_homography(a, b)
    return H if is_valid_homography(H) else None
