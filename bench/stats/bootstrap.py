"""Cluster bootstrap: whole clusters (sequences, timing blocks) are drawn with replacement.

Pairs of one sequence share a reference image and are not independent; drawing pairs would give intervals that are too
narrow. All draws are one integer matrix ``weights[draw, cluster]`` (how often a cluster was drawn), so that means need
only cluster sums, and two methods that use the same matrix are compared pair by pair.

References
----------
Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (drawing whole clusters).
Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69(4), 2015, section 3.2
(expanded percentile interval for few clusters).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PERCENTILE_FROM = 4
"""Clusters from which on percentiles of draws are used."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its confidence interval; ``low`` and ``high`` are NaN where it cannot be estimated."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference with its confidence interval and the standard deviation of its bootstrap draws."""

    value: float
    low: float
    high: float
    standard_error: float
    n_clusters: int


def cluster_codes(labels: Sequence[Any] | NDArray[Any]) -> tuple[Ints, int]:
    """Number the clusters in the sorted order of their labels.

    Parameters
    ----------
    labels : (N,) sequence
        Cluster of each observation.

    Returns
    -------
    codes : (N,) int64
    n_clusters : int
    """
    unique, codes = np.unique(np.asarray(labels), return_inverse=True)
    return codes.reshape(-1).astype(np.int64), len(unique)


@functools.lru_cache(maxsize=8)
def cluster_weights(n_clusters: int, draws: int, seed: int) -> Floats:
    """Draw `n_clusters` clusters with replacement, `draws` times.

    Returns
    -------
    (draws, n_clusters) float64
        How often each cluster was drawn; rows sum to `n_clusters`. Read-only: the same arguments give the same matrix.
    """
    rng = np.random.default_rng((seed, n_clusters))
    weights = rng.multinomial(n_clusters, np.full(n_clusters, 1.0 / n_clusters), size=draws).astype(np.float64)
    weights.setflags(write=False)
    return weights


def _sums(values: Floats, codes: Ints, n_clusters: int) -> Floats:
    return np.asarray(np.bincount(codes, weights=values, minlength=n_clusters), dtype=np.float64)


def mean_draws(values: ArrayLike, codes: Ints, weights: Floats) -> Floats:
    """Mean of each draw.

    Parameters
    ----------
    values : (N,) float
        NaN marks an observation for which the metric is undefined; it has weight 0.
    codes : (N,) int
    weights : (draws, n_clusters) float64

    Returns
    -------
    (draws,) float64
        NaN for a draw without a defined observation.
    """
    x = np.asarray(values, dtype=np.float64)
    defined = ~np.isnan(x)
    n = weights.shape[1]
    infinite = defined & np.isinf(x)
    totals = weights @ _sums(np.where(defined & ~infinite, x, 0.0), codes, n)
    counts = weights @ _sums(defined.astype(np.float64), codes, n)
    if infinite.any():  # 0 * inf would be NaN in the product
        totals[weights @ _sums(infinite.astype(np.float64), codes, n) > 0] = math.inf
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals / counts, dtype=np.float64)


def quantile(values: ArrayLike, q: float) -> float:
    """Quantile by linear interpolation between order statistics (NumPy's default), also with infinite values.

    NaN is left out; NaN is returned if nothing is left.
    """
    x = np.sort(np.asarray(values, dtype=np.float64).reshape(-1))
    x = x[: len(x) - int(np.isnan(x).sum())]
    if not len(x):
        return math.nan
    position = (len(x) - 1) * q
    low, high = x[math.floor(position)], x[math.ceil(position)]
    fraction = position - math.floor(position)
    return float(low) if low == high or fraction == 0 else float(low + fraction * (high - low))


def quantile_draws(values: ArrayLike, codes: Ints, weights: Floats, q: float) -> Floats:
    """Quantile of each draw: exactly :func:`quantile` of the observations of the drawn clusters.

    Parameters and result as :func:`mean_draws`.
    """
    x = np.asarray(values, dtype=np.float64)
    keep = ~np.isnan(x)
    order = np.argsort(x[keep], kind="stable")
    x, codes = x[keep][order], codes[keep][order]
    if not len(x):
        return np.full(len(weights), math.nan)
    # Sorted observations in about sqrt(N) buckets: a draw's cumulative count at the bucket ends finds the bucket of an
    # order statistic, a running count inside it finds the observation.
    step = math.isqrt(len(x) - 1) + 1
    buckets = np.zeros((-(-len(x) // step), weights.shape[1]))
    np.add.at(buckets, (np.arange(len(x)) // step, codes), 1.0)
    ends = weights @ np.cumsum(buckets, axis=0).T
    total = ends[:, -1]
    position = np.maximum(total - 1, 0) * q
    floor = np.floor(position)
    low = x[_order_statistic(floor, ends, codes, weights, step)]
    high = x[_order_statistic(np.ceil(position), ends, codes, weights, step)]
    fraction = position - floor
    with np.errstate(invalid="ignore"):
        between = low + fraction * (high - low)
    result = np.where((low == high) | (fraction == 0), low, between)
    return np.asarray(np.where(total > 0, result, math.nan), dtype=np.float64)


def _order_statistic(k: Floats, ends: Floats, codes: Ints, weights: Floats, step: int) -> Ints:
    """Index of each draw's order statistic k (from 0): the first observation whose cumulative count exceeds k."""
    rows = np.arange(len(weights))
    bucket = np.minimum((ends <= k[:, None]).sum(axis=1), ends.shape[1] - 1)
    before = np.where(bucket > 0, ends[rows, bucket - 1], 0.0)
    index = bucket[:, None] * step + np.arange(step)
    counts = weights[rows[:, None], codes[np.minimum(index, len(codes) - 1)]]
    inside = (before[:, None] + np.cumsum(counts, axis=1) <= k[:, None]).sum(axis=1)
    return np.asarray(np.minimum(bucket * step + inside, len(codes) - 1), dtype=np.int64)


def percentile_interval(draws: Floats, n_clusters: int, level: float = 0.95) -> tuple[float, float]:
    """Expanded percentile interval of bootstrap draws.

    The plain percentile interval is too narrow with few clusters, by the factor sqrt((n-1)/n) and the difference
    between normal and t quantiles. The tail probability is therefore Phi(-sqrt(n/(n-1)) t(n-1)) (Hesterberg 2015); for
    many clusters it becomes (1 - level)/2. Even the extreme draws of n clusters cover at most 1 - 2^(1-n): with two or
    three clusters the interval is mean +- t(n-1) standard errors instead.

    Parameters
    ----------
    draws : (B,) float64
        NaN draws (nothing defined in the draw) are left out.
    n_clusters : int
        Below 2 nothing can be said: (NaN, NaN).
    level : float

    Returns
    -------
    low, high : float
    """
    from scipy.special import ndtr, stdtrit

    x = np.sort(draws[~np.isnan(draws)])
    if n_clusters < 2 or not len(x):
        return math.nan, math.nan
    t = float(stdtrit(n_clusters - 1, 0.5 + level / 2))
    if n_clusters < _PERCENTILE_FROM and np.isfinite(x).all():
        half = t * float(x.std()) * math.sqrt(n_clusters / (n_clusters - 1))
        return float(x.mean()) - half, float(x.mean()) + half
    tail = float(ndtr(-math.sqrt(n_clusters / (n_clusters - 1)) * t))
    # Order statistics without interpolation: draws may be infinite.
    low = math.floor(tail * (len(x) - 1))
    return float(x[low]), float(x[len(x) - 1 - low])


def bootstrap_mean(
    values: ArrayLike, labels: Sequence[Any] | NDArray[Any], draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean with its cluster bootstrap interval.

    Parameters
    ----------
    values : (N,) float
        NaN: undefined, left out.
    labels : (N,) sequence
        Cluster of each value.

    Examples
    --------
    >>> bootstrap_mean([1.0, 1.0, 1.0], ["a", "b", "c"])
    Interval(value=1.0, low=1.0, high=1.0)
    """
    x = np.asarray(values, dtype=np.float64)
    keep = ~np.isnan(x)
    if not keep.any():
        return Interval(math.nan, math.nan, math.nan)
    codes, n = cluster_codes(np.asarray(labels)[keep])
    x = x[keep]
    low, high = percentile_interval(mean_draws(x, codes, cluster_weights(n, draws, seed)), n, level)
    return Interval(float(x.mean()), low, high)


def bootstrap_quantile(
    values: ArrayLike,
    labels: Sequence[Any] | NDArray[Any],
    q: float,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Quantile (0.5: median) with its cluster bootstrap interval; arguments as :func:`bootstrap_mean`."""
    x = np.asarray(values, dtype=np.float64)
    keep = ~np.isnan(x)
    if not keep.any():
        return Interval(math.nan, math.nan, math.nan)
    codes, n = cluster_codes(np.asarray(labels)[keep])
    x = x[keep]
    low, high = percentile_interval(quantile_draws(x, codes, cluster_weights(n, draws, seed), q), n, level)
    return Interval(quantile(x, q), low, high)


def paired_difference(
    candidate: ArrayLike,
    reference: ArrayLike,
    labels: Sequence[Any] | NDArray[Any],
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Mean of candidate minus reference over the same observations, with its paired cluster bootstrap interval.

    Parameters
    ----------
    candidate, reference : (N,) float
        Row i of both is the same pair. An observation undefined (NaN) in either is left out of both.
    labels : (N,) sequence
    """
    a, b = np.asarray(candidate, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired values differ in shape: {a.shape} and {b.shape}")
    with np.errstate(invalid="ignore"):
        d = np.where(a == b, 0.0, a - b)  # two infinite errors do not differ
    d = np.where(np.isnan(a) | np.isnan(b), math.nan, d)
    keep = ~np.isnan(d)
    if not keep.any():
        return Difference(math.nan, math.nan, math.nan, math.nan, 0)
    codes, n = cluster_codes(np.asarray(labels)[keep])
    drawn = mean_draws(d[keep], codes, cluster_weights(n, draws, seed))
    low, high = percentile_interval(drawn, n, level)
    return Difference(float(d[keep].mean()), low, high, _spread(drawn, n), n)


def paired_quantile_difference(
    candidate: ArrayLike,
    reference: ArrayLike,
    labels: Sequence[Any] | NDArray[Any],
    q: float = 0.5,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Quantile of candidate minus quantile of reference; both use the same drawn clusters."""
    a, b = np.asarray(candidate, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    keep = ~(np.isnan(a) | np.isnan(b))
    if not keep.any():
        return Difference(math.nan, math.nan, math.nan, math.nan, 0)
    codes, n = cluster_codes(np.asarray(labels)[keep])
    weights = cluster_weights(n, draws, seed)
    qa, qb = quantile_draws(a[keep], codes, weights, q), quantile_draws(b[keep], codes, weights, q)
    with np.errstate(invalid="ignore"):
        drawn = np.where(qa == qb, 0.0, qa - qb)
    value_a, value_b = quantile(a[keep], q), quantile(b[keep], q)
    low, high = percentile_interval(drawn, n, level)
    return Difference(0.0 if value_a == value_b else value_a - value_b, low, high, _spread(drawn, n), n)


def quantile_ratio(
    numerator: ArrayLike,
    numerator_blocks: Sequence[Any] | NDArray[Any],
    denominator: ArrayLike,
    denominator_blocks: Sequence[Any] | NDArray[Any],
    q: float = 0.5,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Ratio of two quantiles with a block bootstrap interval, for latencies.

    Both are measured in interleaved blocks; a drawn block is drawn for both, so that what slows the whole machine for a
    while cancels. Blocks of either side that the other lacks are used, too.

    Parameters
    ----------
    numerator, denominator : (N,), (M,) float
        Times in any common unit.
    numerator_blocks, denominator_blocks : (N,), (M,) sequence
    q : float
        0.5 for the ratio of medians.
    """
    a, b = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if not len(a) or not len(b):
        return Interval(math.nan, math.nan, math.nan)
    codes, n = cluster_codes(np.concatenate([np.asarray(numerator_blocks), np.asarray(denominator_blocks)]))
    weights = cluster_weights(n, draws, seed)
    drawn = quantile_draws(a, codes[: len(a)], weights, q) / quantile_draws(b, codes[len(a) :], weights, q)
    low, high = percentile_interval(drawn, n, level)
    return Interval(quantile(a, q) / quantile(b, q), low, high)


def _spread(drawn: Floats, n_clusters: int) -> float:
    """Standard error from draws, corrected by n/(n-1) for the number of clusters; NaN where it cannot be had."""
    x = drawn[~np.isnan(drawn)]
    if n_clusters < 2 or len(x) < 2 or np.isinf(x).any():
        return math.nan
    return float(x.std(ddof=1) * math.sqrt(n_clusters / (n_clusters - 1)))
