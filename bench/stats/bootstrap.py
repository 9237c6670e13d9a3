"""Cluster bootstrap: whole clusters (sequences, timing blocks) are drawn with replacement.

Pairs of one sequence share a reference image and are not independent; drawing pairs would give intervals that are too
narrow. All draws are one matrix of counts ``weights[draw, cluster]`` (how often a cluster was drawn), and two methods
that use the same matrix are compared pair by pair. It serves differences and ratios of quantiles; means, shares and
single quantiles have closed forms in :mod:`bench.stats.intervals`.

References
----------
Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (drawing whole clusters).
Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69(4), 2015, section 3.2
(expanded percentile interval for few clusters).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.intervals import (
    NO_DIFFERENCE,
    Comparison,
    Difference,
    Floats,
    Interval,
    Ints,
    constant,
    quantile,
    student_t,
)

Counts = NDArray[np.unsignedinteger[Any]]
_CHUNK_BYTES = 1 << 25
_PERCENTILE_FROM = 8
"""Clusters from which on percentiles of draws are used; with four they hold the truth in 85 % instead of 95 %."""


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
def cluster_weights(n_clusters: int, draws: int, seed: int) -> Counts:
    """Draw `n_clusters` clusters with replacement, `draws` times.

    Returns
    -------
    (draws, n_clusters) unsigned
        How often each cluster was drawn; rows sum to `n_clusters`. Read-only: the same arguments give the same matrix.
        Of the smallest type that holds the counts: a byte each, since one of float64 for 20 000 clusters and 5000 draws
        would take 800 MB.
    """
    rng = np.random.default_rng((seed, n_clusters))
    shares = np.full(n_clusters, 1.0 / n_clusters)
    parts = []
    for rows in _chunks(draws, n_clusters):
        drawn = rng.multinomial(n_clusters, shares, size=rows.stop - rows.start)
        parts.append(drawn.astype(np.min_scalar_type(drawn.max(initial=0))))
    weights: Counts = np.concatenate(parts)
    weights.setflags(write=False)
    return weights


def _chunks(draws: int, width: int) -> Iterator[slice]:
    """Draws of a (draws, width) matrix a few at a time, so that those of float64 take at most 32 MB."""
    step = max(1, _CHUNK_BYTES // (8 * max(width, 1)))
    return (slice(start, min(start + step, draws)) for start in range(0, draws, step))


def _sums(values: Floats, codes: Ints, n_clusters: int) -> Floats:
    return np.asarray(np.bincount(codes, weights=values, minlength=n_clusters), dtype=np.float64)


def mean_draws(values: ArrayLike, codes: Ints, weights: Floats | Counts) -> Floats:
    """Mean of each draw.

    Parameters
    ----------
    values : (N,) float
        NaN marks an observation for which the metric is undefined; it has weight 0.
    codes : (N,) int
    weights : (draws, n_clusters)
        As :func:`cluster_weights` gives it.

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


def quantile_draws(values: ArrayLike, codes: Ints, weights: Floats | Counts, q: float) -> Floats:
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
    np.cumsum(buckets, axis=0, out=buckets)
    result = np.empty(len(weights))
    # Sums of counts are exact, so that the size of the chunks changes no number.
    for rows in _chunks(len(weights), max(weights.shape[1], len(x) // step, step)):
        result[rows] = _quantiles(x, codes, np.asarray(weights[rows], dtype=np.float64), buckets, step, q)
    return result


def _quantiles(x: Floats, codes: Ints, weights: Floats, buckets: Floats, step: int, q: float) -> Floats:
    """Quantile of some draws; `x` ascends, `buckets` counts a cluster's observations up to the end of each bucket."""
    ends = weights @ buckets.T
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
    many clusters it becomes (1 - level)/2. The extreme draws of n clusters cover at most 1 - 2^(1-n): below eight
    clusters the interval is mean +- t(n-1) standard errors instead. A tail that is finer than the draws (less than one
    of them) is not narrower than that, either, and open where draws are infinite.

    Parameters
    ----------
    draws : (B,) float64
        NaN draws (nothing defined in the draw) are left out.
    n_clusters : int
        Below 2 nothing can be said: (NaN, NaN); below 8 neither where draws are infinite.
    level : float

    Returns
    -------
    low, high : float
    """
    from scipy.special import ndtr

    x = np.sort(draws[~np.isnan(draws)])
    if n_clusters < 2 or not len(x):
        return math.nan, math.nan
    t = student_t(level, n_clusters - 1)
    if n_clusters < _PERCENTILE_FROM:
        if not np.isfinite(x).all():
            return math.nan, math.nan
        half = t * float(x.std()) * math.sqrt(n_clusters / (n_clusters - 1))
        return float(x.mean()) - half, float(x.mean()) + half
    tail = float(ndtr(-math.sqrt(n_clusters / (n_clusters - 1)) * t))
    # Order statistics without interpolation: draws may be infinite.
    place = math.floor(tail * (len(x) - 1))
    low, high = float(x[place]), float(x[len(x) - 1 - place])
    if tail * len(x) >= 1:
        return low, high
    if not np.isfinite(x).all():
        return -math.inf, math.inf
    half = t * spread_of(x, n_clusters)
    return min(low, float(x.mean()) - half), max(high, float(x.mean()) + half)


def quantile_comparison(
    candidate: ArrayLike, reference: ArrayLike, codes: Ints, q: float, draws: int = 2000, seed: int = 0
) -> Comparison:
    """Quantile of candidate minus quantile of reference; both use the same drawn clusters.

    Parameters
    ----------
    candidate, reference : (N,) or (N, R) float
        Row i of both is the same pair. A row undefined (NaN) in either is left out of both.
    codes : (N,) int
        Cluster of each row.
    q : float
        Two infinite quantiles do not differ.
    """
    a, b = (np.asarray(side, dtype=np.float64).reshape(len(np.asarray(side)), -1) for side in (candidate, reference))
    keep = ~(np.isnan(a).any(axis=1) | np.isnan(b).any(axis=1))
    if not keep.any():
        return constant(NO_DIFFERENCE)
    codes, n = cluster_codes(codes[keep])
    weights = cluster_weights(n, draws, seed)
    a, b = a[keep], b[keep]
    qa, qb = (quantile_draws(side.reshape(-1), np.repeat(codes, side.shape[1]), weights, q) for side in (a, b))
    with np.errstate(invalid="ignore"):
        drawn = np.where(qa == qb, 0.0, qa - qb)
    value_a, value_b = quantile(a, q), quantile(b, q)
    value = 0.0 if value_a == value_b else value_a - value_b
    return Comparison(value, spread_of(drawn, n), n, functools.partial(percentile_interval, drawn, n))


def quantile_difference(
    candidate: ArrayLike,
    reference: ArrayLike,
    codes: Ints,
    q: float,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """:func:`quantile_comparison` at one level."""
    return quantile_comparison(candidate, reference, codes, q, draws, seed).at(level)


def median_comparison(
    candidate: ArrayLike, reference: ArrayLike, codes: Ints, draws: int = 2000, seed: int = 0
) -> Comparison:
    """:func:`quantile_comparison` of medians, with the arguments of every comparison."""
    return quantile_comparison(candidate, reference, codes, 0.5, draws, seed)


def median_difference(
    candidate: ArrayLike, reference: ArrayLike, codes: Ints, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Difference:
    """:func:`quantile_difference` of medians, with the arguments of every difference."""
    return quantile_difference(candidate, reference, codes, 0.5, draws, seed, level)


def ratio_comparison(
    numerator: ArrayLike,
    numerator_blocks: Sequence[Any] | NDArray[Any],
    denominator: ArrayLike,
    denominator_blocks: Sequence[Any] | NDArray[Any],
    q: float = 0.5,
    draws: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Ratio of two quantiles with a block bootstrap interval of its logarithm, for latencies.

    Both are measured in interleaved blocks; a drawn block is drawn for both, so that what slows the whole machine for a
    while cancels. Blocks of either side that the other lacks are used, too. Equal sides have the ratio 1, which is what
    a p-value is asked for.

    Parameters
    ----------
    numerator, denominator : (N,), (M,) float
        Times in any common unit, above 0.
    numerator_blocks, denominator_blocks : (N,), (M,) sequence
    q : float
        0.5 for the ratio of medians.
    """
    a, b = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if not len(a) or not len(b):
        return constant(NO_DIFFERENCE)
    codes, n = cluster_codes(np.concatenate([np.asarray(numerator_blocks), np.asarray(denominator_blocks)]))
    weights = cluster_weights(n, draws, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.log(quantile_draws(a, codes[: len(a)], weights, q) / quantile_draws(b, codes[len(a) :], weights, q))

    def limits(level: float) -> tuple[float, float]:
        # With few blocks and a level close to 1 the logarithm has no bound worth the name: infinity.
        with np.errstate(over="ignore"):
            low, high = np.exp(percentile_interval(drawn, n, level))
        return float(low), float(high)

    return Comparison(quantile(a, q) / quantile(b, q), spread_of(drawn, n), n, limits)


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
    """:func:`ratio_comparison` at one level."""
    found = ratio_comparison(numerator, numerator_blocks, denominator, denominator_blocks, q, draws, seed)
    return Interval(found.value, *found.limits(level))


def spread_of(drawn: Floats, n_clusters: int) -> float:
    """Standard error from draws, corrected by n/(n-1) for the number of clusters; NaN where it cannot be had."""
    x = drawn[~np.isnan(drawn)]
    if n_clusters < 2 or len(x) < 2 or np.isinf(x).any():
        return math.nan
    return float(x.std(ddof=1) * math.sqrt(n_clusters / (n_clusters - 1)))
