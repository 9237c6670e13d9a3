"""Tests and power: McNemar, Holm, detectable differences, required sample sizes."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.intervals import Floats


class Decision(StrEnum):
    """Outcome of a non-inferiority test."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


def mcnemar_exact(candidate: ArrayLike, reference: ArrayLike) -> float:
    """Two-sided exact p-value of McNemar's test on paired verdicts.

    Under the null hypothesis each discordant pair favours either method with probability 1/2, so
    p = min(1, 2 P(X <= min(b, c))), X ~ Binomial(b + c, 1/2). It treats pairs as independent; sequences make it
    optimistic, which is why the decision uses the cluster bootstrap and this value is information.

    Parameters
    ----------
    candidate, reference : (N,) bool
        Verdicts of the same pairs.

    Examples
    --------
    >>> mcnemar_exact([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])
    0.0625
    """
    from scipy.special import bdtr

    a, b = np.asarray(candidate, dtype=bool), np.asarray(reference, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"paired verdicts differ in shape: {a.shape} and {b.shape}")
    wins, losses = int((a & ~b).sum()), int((~a & b).sum())
    if wins + losses == 0:
        return 1.0
    return min(1.0, 2.0 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def t_p_value(value: float, standard_error: float, n_clusters: int) -> float:
    """One-sided p-value of "the true value is at least 0" for an estimate `value`.

    ``P(T <= value / standard_error)`` with n_clusters - 1 degrees of freedom. Unlike the share of bootstrap draws
    below 0 it is not bounded by the number of draws, which matters after Holm's adjustment of many tests.

    Returns
    -------
    float
        NaN where there is no standard error; without any spread 0 for a negative value and 1 otherwise.

    Examples
    --------
    >>> round(t_p_value(-2.0, 1.0, 16), 3)
    0.032
    """
    from scipy.special import stdtr

    if n_clusters < 2 or math.isnan(standard_error):
        return math.nan
    if standard_error == 0:
        return 0.0 if value < 0 else 1.0
    return float(stdtr(n_clusters - 1, value / standard_error))


def holm(p_values: Sequence[float] | NDArray[Any], comparisons: int | None = None) -> Floats:
    """Holm's step-down adjustment: p-values that can be compared with the family-wise error rate.

    Parameters
    ----------
    p_values : (K,) float
        NaN: no test, stays NaN and is not counted.
    comparisons : int, optional
        Size of the family where it is more than what is given, as when the best of a column is picked by its value and
        compared with the others: then every pair might have been compared.

    Returns
    -------
    (K,) float64
        In the order given; ``max over j <= rank of min(1, (K - j) p_(j))`` with j counted from 0.

    Examples
    --------
    >>> [round(float(p), 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # NaN sorts last
    family = len(order) if comparisons is None else comparisons
    adjusted = np.full_like(p, math.nan)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, (family - np.arange(len(order))) * p[order]))
    return adjusted


def _z_sum(level: float, power: float, n_clusters: int | None = None) -> float:
    from scipy.special import ndtri, stdtrit

    if n_clusters is None:
        return float(ndtri(0.5 + level / 2) + ndtri(power))
    return float(stdtrit(n_clusters - 1, 0.5 + level / 2) + stdtrit(n_clusters - 1, power))


def minimum_detectable_difference(
    standard_error: float, level: float = 0.95, power: float = 0.8, n_clusters: int | None = None
) -> float:
    """True difference that a two-sided interval of this level excludes 0 for with this power.

    ``(z_{(1+level)/2} + z_power) * standard_error``: 2.80 standard errors at 95 % and 80 %. The same number is the
    margin that a candidate without any loss passes with this power.

    Parameters
    ----------
    standard_error : float
        Of the paired difference, as in :class:`bench.stats.Difference`.
    n_clusters : int, optional
        With few clusters, quantiles of the t distribution with n_clusters - 1 degrees of freedom are used.
    """
    return _z_sum(level, power, n_clusters) * standard_error


def required_clusters(
    standard_error: float,
    n_clusters: int,
    difference: float,
    order_sd: float = 0.0,
    repeats: int = 1,
    new_repeats: int | None = None,
    level: float = 0.95,
    power: float = 0.8,
) -> int:
    """Sequences needed to detect `difference` with this power, at `new_repeats` estimations per pair.

    The variance of the paired difference is modelled as (structure + order noise / repeats) / clusters: the measured
    squared standard error, minus the measured order variance, scales with the number of clusters only; the order
    variance scales with clusters and repeats.

    Parameters
    ----------
    standard_error : float
        Measured with `n_clusters` clusters and `repeats` repeats.
    n_clusters : int
    difference : float
        Above 0.
    order_sd : float
        Order noise of the measured difference: ``hypot`` of both methods' :attr:`OrderNoise.sd_mean`.
    repeats, new_repeats : int
        Measured and planned number of repeats; None: the same.

    Returns
    -------
    int
        At least 2.

    Raises
    ------
    ValueError
        If the difference is not above 0.
    """
    if not difference > 0:
        raise ValueError(f"difference={difference} is not possible; allowed: above 0")
    order = min(order_sd**2, standard_error**2)
    structure = standard_error**2 - order
    per_cluster = n_clusters * (structure + order * repeats / (new_repeats or repeats))
    needed = per_cluster * (_z_sum(level, power) / difference) ** 2
    return max(2, math.ceil(needed - 1e-9))


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """MLPerf's early-stopping estimate of a latency percentile.

    Attributes
    ----------
    value : float
        Upper confidence bound of the percentile; NaN with too few samples.
    rank_percentile : float
        Percentile of the sample that was reported.
    n_samples, min_samples : int
    """

    value: float
    rank_percentile: float
    n_samples: int
    min_samples: int


def _allowed_overlatency(n: int, percentile: float, confidence: float) -> int:
    """Largest t with BinomCDF(t; n, 1 - percentile) <= 1 - confidence; -1 if there is none."""
    from scipy.special import bdtr

    cumulative = bdtr(np.arange(n), n, 1.0 - percentile)
    return int(np.searchsorted(cumulative, 1.0 - confidence, side="right")) - 1


@functools.cache
def early_stopping_min_samples(percentile: float, confidence: float = 0.99) -> int:
    """Smallest number of samples for which :func:`early_stopping_percentile` gives a value.

    Examples
    --------
    >>> [early_stopping_min_samples(p) for p in (0.5, 0.9, 0.95, 0.99)]
    [11, 64, 130, 662]
    """
    n = 2
    while _allowed_overlatency(n, percentile, confidence) < 1:
        n += 1
    return n


def early_stopping_percentile(samples: ArrayLike, percentile: float, confidence: float = 0.99) -> EarlyStopping:
    """Upper bound of a percentile that holds with the given confidence, as MLPerf Inference reports it.

    With t the largest count for which BinomCDF(t; n, 1 - percentile) <= 1 - confidence, the t - 1 highest samples are
    discarded and the next is reported (tolerance 0; MLPerf Inference rules, "early stopping").

    Parameters
    ----------
    samples : (N,) float
    percentile : float
        Between 0 and 1.
    confidence : float
    """
    x = np.sort(np.asarray(samples, dtype=np.float64).reshape(-1))
    n, needed = len(x), early_stopping_min_samples(percentile, confidence)
    t = _allowed_overlatency(n, percentile, confidence) if n else -1
    if t < 1:
        return EarlyStopping(math.nan, math.nan, n, needed)
    rank = n - (t - 1)
    return EarlyStopping(float(x[rank - 1]), 100.0 * rank / n, n, needed)
