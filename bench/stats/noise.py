"""Order noise of a robust estimator: how much a result depends on the order in which the matches are given.

RANSAC's internal random numbers are fixed, so the same matches in another order are another draw of its samples. A
change of one unit in the last place of a descriptor re-orders matches and re-rolls the dice. The repeats of a pair (the
same matches, seeded permutations) estimate this part of the variance, and only this part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

Z_95 = 1.959963984540054
"""97.5 % quantile of the normal distribution: half-width of a 95 % interval in standard deviations."""


@dataclass(frozen=True, slots=True)
class OrderNoise:
    """Order noise of the mean over pairs of a per-pair value.

    Attributes
    ----------
    sd_single : float
        Standard deviation, over orders, of the mean over pairs when each pair is estimated once:
        sqrt(sum_i s_i^2) / N with s_i^2 the unbiased variance of pair i over its repeats. For verdicts
        s_i^2 = p_i (1 - p_i) R/(R-1). Orders of different pairs are independent, so the variances add.
    sd_mean : float
        The same for the reported mean over R repeats: ``sd_single / sqrt(R)``.
    flip_share : float
        Share of pairs whose value is not the same in all repeats.
    disagreement : float
        Mean over pairs of the probability that two different repeats disagree.
    repeats : int
    """

    sd_single: float
    sd_mean: float
    flip_share: float
    disagreement: float
    repeats: int

    @property
    def half_width(self) -> float:
        """95 % half-width of the reported mean from re-ordering alone; NaN with a single repeat."""
        return Z_95 * self.sd_mean


def order_noise(values: ArrayLike) -> OrderNoise:
    """Measure the order noise of a mean over pairs.

    Parameters
    ----------
    values : (N, R) float or bool
        Value of pair i in repeat r, for example ``corner_errors <= 3``. Finite.

    Returns
    -------
    OrderNoise
        All NaN with fewer than two repeats or without pairs: one order says nothing about the others.

    Raises
    ------
    ValueError
        If the array is not two-dimensional.

    Examples
    --------
    >>> order_noise([[1, 1], [1, 0]]).flip_share
    0.5
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2:
        raise ValueError(f"order_noise needs (pairs, repeats), got an array of shape {x.shape}")
    n, repeats = x.shape
    if repeats < 2 or n == 0:
        return OrderNoise(math.nan, math.nan, math.nan, math.nan, repeats)
    variances = x.var(axis=1, ddof=1)
    single = math.sqrt(variances.sum()) / n
    ordered = np.sort(x, axis=1)
    # Unequal pairs of repeats: all minus the pairs within runs of equal values.
    starts = np.concatenate([np.ones((n, 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    run = np.cumsum(starts, axis=1) - 1
    sizes = np.zeros((n, repeats))
    np.add.at(sizes, (np.repeat(np.arange(n), repeats), run.reshape(-1)), 1.0)
    equal = (sizes * (sizes - 1)).sum(axis=1) / (repeats * (repeats - 1))
    flips = float((ordered[:, 0] != ordered[:, -1]).mean())
    return OrderNoise(single, single / math.sqrt(repeats), flips, float((1.0 - equal).mean()), repeats)


def difference_noise(candidate: OrderNoise, reference: OrderNoise) -> float:
    """Noise floor of a difference of two reported means: 95 % half-width from re-ordering alone, in both methods.

    A difference at or below it can come from the order of the matches alone. Orders of two methods are independent
    because their match lists differ. For two runs on identical matches it overstates the noise: the difference is 0.
    """
    return Z_95 * math.hypot(candidate.sd_mean, reference.sd_mean)
