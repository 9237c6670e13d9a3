"""How pure the matches are: corner error of the least-squares homography on all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.core.types import Transform
from bench.geometry.dlt import dlt_homography
from bench.geometry.estimation import collinear
from bench.geometry.solve import Estimates, Solved
from bench.geometry.transforms import is_valid_homography
from bench.metrics.record import Column, Metric


def dlt_estimate(xy_ref: ArrayLike, xy_target: ArrayLike, solver: str = "svd") -> Transform | None:
    """Least-squares homography on all matches (normalised DLT); a test of how pure the matches are.

    Parameters
    ----------
    xy_ref, xy_target : (M, 2) float
    solver : {"svd", "lu"}
        See :func:`bench.geometry.dlt.dlt_homography`.

    Returns
    -------
    (3, 3) float64 or None
        None with fewer than four matches, points on a line, or a singular result.
    """
    a, b = np.asarray(xy_ref, dtype=np.float64), np.asarray(xy_target, dtype=np.float64)
    if len(a) < 4 or collinear(a) or collinear(b):
        return None
    H = dlt_homography(a, b, solver)
    return H if is_valid_homography(H) else None


def measure(solved: Solved, _: Estimates | None) -> dict[str, object]:
    """``dlt_corner_error_px`` of one pair."""
    H = dlt_estimate(solved.xy_ref, solved.xy_target, solved.protocol.dlt_solver)
    return {"dlt_corner_error_px": solved.corner_errors_px([H])[0]}


METRIC = Metric(
    "dlt",
    (
        Column(
            "dlt_accuracy_{t}px",
            "DLT acc@{t}",
            "share",
            "higher",
            "Accuracy at {t} px of the least-squares homography on all matches (normalised DLT, no robust estimator).",
            rows=("dlt_corner_error_px",),
            reduction="at_most",
            thresholds="homography.thresholds_px",
            table="homography",
        ),
        Column(
            "dlt_auc_{t}px",
            "DLT AUC@{t}",
            "share",
            "higher",
            "AUC at {t} px of the least-squares homography on all matches.",
            rows=("dlt_corner_error_px",),
            reduction="auc",
            thresholds="homography.thresholds_px",
            table="homography",
        ),
        Column(
            "dlt_corner_error_median_px",
            "DLT median error",
            "px",
            "lower",
            "Median over pairs of the corner error of the least-squares homography on all matches.",
            rows=("dlt_corner_error_px",),
            reduction="median",
            interval="median",
            table="homography",
        ),
    ),
    measure,
)
