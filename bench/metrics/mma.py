"""Mean matching accuracy (D2-Net): the cumulative curve of a pair's match errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.geometry.solve import Estimates, Solved
from bench.metrics.record import Column, Metric

Floats = NDArray[np.float64]


def matching_accuracy(errors_px: Floats, thresholds_px: Sequence[float]) -> Floats:
    """Share of a pair's matches with an error of at most each threshold. Higher is better.

    The mean over pairs is MMA (Dusmanu et al., D2-Net, CVPR 2019, section 5.1; one-way reprojection error). It is
    precision without recall: a method that returns few matches can score high.

    Parameters
    ----------
    errors_px : (M,) float64
    thresholds_px : (T,) sequence of float

    Returns
    -------
    (T,) float64
        Zeros without matches.

    Examples
    --------
    >>> matching_accuracy(np.array([0.5, 1.0, 4.0, 9.0]), [1.0, 4.0, 10.0]).tolist()
    [0.5, 0.75, 1.0]
    """
    if not len(errors_px):
        return np.zeros(len(thresholds_px))
    at_most = np.searchsorted(np.sort(errors_px), np.asarray(thresholds_px, dtype=np.float64), side="right")
    return np.asarray(at_most / len(errors_px), dtype=np.float64)


def measure(solved: Solved, _: Estimates | None) -> dict[str, object]:
    """The curve of one pair."""
    return {"mma": matching_accuracy(solved.errors_px, solved.protocol.mma_px).tolist()}


METRIC = Metric(
    "mma",
    (
        Column(
            "mma_{t}px",
            "MMA@{t}",
            "share",
            "higher",
            "Share of a pair's matches with a reprojection error of at most {t} px, mean over pairs; 0 "
            "without matches. Read it beside the number of matches: few matches can score high.",
            rows=("mma",),
            reduction="curve",
            thresholds="mma_px",
            table="descriptors",
        ),
    ),
    measure,
)
