"""Bootstrap draws of the trapezoid AUC; the exact AUC is a mean and needs only :func:`bench.stats.mean_draws`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.bootstrap import mean_draws
from bench.stats.intervals import Floats, Ints


def trapezoid_auc_draws(errors_px: ArrayLike, codes: Ints, weights: Floats, threshold_px: float) -> Floats:
    """Trapezoid AUC of each draw.

    With N errors the trapezoid rule adds the same triangle share 1/(2N) over every segment, so that its value is the
    exact area plus e_last / (2 N t), e_last being the largest error below t (0 if there is none). That closed form
    makes the draws as cheap as those of a mean.

    Parameters
    ----------
    errors_px : (N,) float
        Corner errors; +inf for failures.
    codes : (N,) int64
    weights : (draws, n_clusters) float64
    threshold_px : float

    Returns
    -------
    (draws,) float64
    """
    errors = np.asarray(errors_px, dtype=np.float64)
    n_clusters = weights.shape[1]
    last = np.zeros(n_clusters)
    below = errors < threshold_px
    np.maximum.at(last, codes[below], errors[below])
    count = weights @ np.bincount(codes, minlength=n_clusters).astype(np.float64)
    largest = np.where(weights > 0, last, 0.0).max(axis=1)
    exact = mean_draws(np.maximum(0.0, 1.0 - errors / threshold_px), codes, weights)
    return np.asarray(exact + largest / (2.0 * count * threshold_px), dtype=np.float64)
