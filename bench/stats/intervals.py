"""Confidence intervals of means, shares and quantiles over clusters (sequences, timing blocks), without resampling.

Values of one cluster are not independent, so every variance is between clusters. One function a kind of quantity, all
with the same arguments, so that a metric can name its kind: :data:`INTERVAL_OF` and :data:`DIFFERENCE_OF`.

- ``share``: a mean of values in [0, 1] (accuracy, AUC, repeatability). A bootstrap collapses where nearly all values
  are 1; the beta quantiles of a binomial with an effective number of observations do not.
- ``mean``: a mean of anything else (counts, pixels): Student's t on cluster totals.
- ``median``: quantiles, of values that may be infinite: order statistics (Woodruff 1952).

References
----------
Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts estimated from
survey data, Survey Methodology 24(2), 1998.
Hoeffding, Probability inequalities for sums of bounded random variables, JASA 58, 1963.
Woodruff, Confidence intervals for medians and other position measures, JASA 47, 1952.
Clopper and Pearson, The use of confidence or fiducial limits, Biometrika 26, 1934.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRIOR_CLUSTERS = 2.0
"""Clusters' worth of belief that the pairs of a sequence all behave alike; it fades as sequences become many. Without
it a few sequences that happen to be equal would look certain."""

NEAR_BOUND = 0.01
"""A share this close to 0 or 1 begins to count as a verdict: a metric whose values are all .999 has not shown yet how
far it falls when it fails."""
ROUNDING = 1e-6
"""How far outside [0, 1] a share may lie by rounding."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its confidence interval; ``low`` and ``high`` are NaN where it cannot be estimated."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference with its confidence interval and standard error; NaN where they cannot be estimated."""

    value: float
    low: float
    high: float
    standard_error: float
    n_clusters: int


_SMALLEST_LOG10_P = -12.0
_LARGEST_P = 1 - 1e-6
"""An interval of level 0 has no width, and no quantile of t to divide by."""
_HALVINGS = 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired difference, or a ratio, whose interval can be had at any level.

    Attributes
    ----------
    value, standard_error : float
    n_clusters : int
    limits : callable
        Level -> (low, high); higher levels give wider intervals.
    """

    value: float
    standard_error: float
    n_clusters: int
    limits: Callable[[float], tuple[float, float]]

    def at(self, level: float) -> Difference:
        """The difference with its interval of this level."""
        low, high = self.limits(level)
        return Difference(self.value, low, high, self.standard_error, self.n_clusters)

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p-value of "the truth is `null`": 1 minus the highest level whose interval leaves `null` out.

        Clusters without any spread do not make a difference certain: then it is ``2^(1 - k)``, what a sign test on k
        clusters gives that all point the same way.

        Returns
        -------
        float
            NaN where there is no interval; at least 1e-12.
        """
        if any(math.isnan(end) for end in self.limits(0.95)):
            return math.nan
        if not self.leaves_out(null, _LARGEST_P):
            return 1.0
        if self.standard_error == 0:
            return 2.0 ** (1 - self.n_clusters)
        low, high = _SMALLEST_LOG10_P, 0.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.leaves_out(null, 10.0**middle) else (middle, high)
        return float(10.0**high)

    def leaves_out(self, null: float, alpha: float) -> bool:
        """Whether the p-value of `null` is at most `alpha`; False without an interval."""
        low, high = self.limits(1 - alpha)
        if not (low > null or high < null):
            return False
        return self.standard_error != 0 or 2.0 ** (1 - self.n_clusters) <= alpha


NO_INTERVAL = Interval(math.nan, math.nan, math.nan)
NO_DIFFERENCE = Difference(math.nan, math.nan, math.nan, math.nan, 0)


def constant(found: Difference) -> Comparison:
    """A comparison whose interval is the same at every level."""
    return Comparison(found.value, found.standard_error, found.n_clusters, lambda _: (found.low, found.high))


def student_t(level: float, degrees: float) -> float:
    """Quantile of the t distribution that a two-sided interval of this level needs."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2))


def clopper_pearson(share: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Clopper-Pearson limits of a share, for any real number of observations.

    Parameters
    ----------
    share, n : array_like
        Observed share in [0, 1] and number of observations above 0; broadcast against each other.

    Returns
    -------
    low, high : float64 arrays

    Examples
    --------
    >>> [round(float(x), 3) for x in clopper_pearson(1.0, 13)]
    [0.753, 1.0]
    """
    from scipy.special import betaincinv

    p, n = np.broadcast_arrays(np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64))
    hits, misses = p * n, (1 - p) * n
    tail = (1 - level) / 2
    none = np.finfo(np.float64).tiny
    low = np.where(hits <= 0, 0.0, betaincinv(np.maximum(hits, none), misses + 1, tail))
    high = np.where(misses <= 0, 1.0, betaincinv(hits + 1, np.maximum(misses, none), 1 - tail))
    return np.asarray(low), np.asarray(high)


@dataclass(frozen=True, slots=True)
class ClusterMoments:
    """What the variance of a mean over clusters is made of. Fields may be arrays: one entry a data set.

    Attributes
    ----------
    mean : float64
    spread : float64
        Variance of single values about the mean.
    variance : float64
        Of the mean, between clusters, by linearisation: ``k/(k-1) sum_c (S_c - n_c mean)^2 / n^2``.
    at_bounds : float64
        Share of values that are 0 or 1 (for differences -1, 0 or 1): verdicts, not measurements.
    n, k : int
        Values and clusters.
    size : float
        Values of a typical cluster, ``sum n_c^2 / n``: the largest design effect there is.
    """

    mean: Any
    spread: Any
    variance: Any
    at_bounds: Any
    n: int
    k: int
    size: float

    def design_effect(self) -> Floats:
        """Variance of the mean over that of independent values, between 1 and :attr:`size`.

        The estimate has k - 1 degrees of freedom and is averaged with :data:`PRIOR_CLUSTERS` of the largest value.
        """
        spread = np.asarray(self.spread, dtype=np.float64)
        known = spread > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            measured = np.asarray(self.variance) * self.n / spread
        freedom = self.k - 1
        shrunk = (freedom * np.where(known, measured, 0.0) + PRIOR_CLUSTERS * self.size) / (freedom + PRIOR_CLUSTERS)
        return np.asarray(np.where(known, np.clip(shrunk, 1.0, self.size), self.size))

    def effective_n(self, level: float, design_effect: Floats | None = None) -> Floats:
        """Independent verdicts that say as much about the mean as these values do.

        Korn and Graubard: ``mean (1 - mean) / variance``, times ``(t_{n-1} / t_{k-1})^2`` for the few degrees of
        freedom of the variance. Values at the bounds vary like verdicts, even where the sample shows less. It is never
        below the number of clusters: no variable in [0, 1] is spread wider than a verdict (Hoeffding), so that k
        independent sequences say at least as much as k verdicts. Values that are all equal show no design effect:
        then it is the number of clusters, unless the design effect is given.
        """
        mean, spread = np.asarray(self.mean, dtype=np.float64), np.asarray(self.spread, dtype=np.float64)
        verdict = mean * (1 - mean)
        single = np.maximum(spread, self.at_bounds * verdict + (1 - np.asarray(self.at_bounds)) * spread)
        effect = self.design_effect() if design_effect is None else design_effect
        with np.errstate(invalid="ignore", divide="ignore"):
            n = self.n / effect * np.where(verdict > 0, verdict / single, 1.0)
        n = n * (student_t(level, self.n - 1) / student_t(level, self.k - 1)) ** 2
        known = np.isfinite(n) & ((spread > 0) | (design_effect is not None))
        return np.asarray(np.where(known, np.maximum(n, self.k), float(self.k)))


def moments(values: Floats, codes: Ints, near: float = 0.0) -> ClusterMoments:
    """Moments of values (N,) in clusters numbered by `codes` (N,); at least one value.

    A value at most `near` away from -1, 0 or 1 counts as at the bounds in proportion to how close it is.
    """
    codes = np.unique(codes, return_inverse=True)[1].reshape(-1)
    counts = np.bincount(codes).astype(np.float64)
    n, k = len(values), len(counts)
    mean = float(values.mean())
    residuals = np.bincount(codes, weights=values - mean)
    variance = k / (k - 1) * float((residuals**2).sum()) / n**2 if k > 1 else math.nan
    size = float((counts**2).sum()) / n
    distance = np.abs(values - np.rint(values))
    at_bounds = np.maximum(0.0, 1 - distance / near) if near > 0 else distance == 0
    return ClusterMoments(mean, float(values.var()), variance, float(at_bounds.mean()), n, k, size)


def share_limits(found: ClusterMoments, level: float = 0.95) -> tuple[Floats, Floats]:
    """Korn-Graubard limits: Clopper-Pearson with the effective number of observations."""
    return clopper_pearson(found.mean, found.effective_n(level), level)


def share_interval(values: ArrayLike, codes: Ints, draws: int = 2000, seed: int = 0, level: float = 0.95) -> Interval:
    """Mean of values in [0, 1] with its Korn-Graubard interval.

    Parameters
    ----------
    values : (N,) or (N, R) float
        R repeats are averaged first. NaN: undefined, left out.
    codes : (N,) int
        Cluster of each row.
    draws, seed : int
        Not used; every kind of interval takes the same arguments.
    level : float

    Returns
    -------
    Interval
        Without limits if there is a single cluster.

    Raises
    ------
    ValueError
        If a value lies outside [0, 1].

    Examples
    --------
    >>> found = share_interval([1.0] * 65, np.repeat(np.arange(13), 5))
    >>> (found.value, round(found.low, 3), found.high)
    (1.0, 0.753, 1.0)
    """
    x, codes = _defined(values, codes)
    if not len(x):
        return NO_INTERVAL
    if x.min() < -ROUNDING or x.max() > 1 + ROUNDING:
        raise ValueError(f"shares lie between 0 and 1, got {x.min():g} to {x.max():g}")
    found = moments(np.clip(x, 0.0, 1.0), codes, near=NEAR_BOUND)
    if found.k < 2:
        return Interval(found.mean, math.nan, math.nan)
    low, high = share_limits(found, level)
    return Interval(found.mean, min(float(low), found.mean), max(float(high), found.mean))


def mean_interval(values: ArrayLike, codes: Ints, draws: int = 2000, seed: int = 0, level: float = 0.95) -> Interval:
    """Mean with a t interval over clusters; arguments as :func:`share_interval`, values of any size.

    An infinite mean has no interval.

    Examples
    --------
    >>> found = mean_interval([1.0, 3.0], np.array([0, 1]))  # standard error 1, t(1) = 12.706
    >>> (found.value, round(found.low, 3), round(found.high, 3))
    (2.0, -10.706, 14.706)
    """
    x, codes = _defined(values, codes)
    if not len(x):
        return NO_INTERVAL
    if not np.isfinite(x).all():
        return Interval(float(x.mean()), math.nan, math.nan)
    found = moments(x, codes)
    if found.k < 2:
        return Interval(found.mean, math.nan, math.nan)
    half = student_t(level, found.k - 1) * math.sqrt(found.variance)
    return Interval(found.mean, found.mean - half, found.mean + half)


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


def quantile_interval(values: ArrayLike, codes: Ints, q: float, level: float = 0.95) -> Interval:
    """Quantile with Woodruff's interval: the order statistics at the limits of the share of values below it.

    That share is q, its limits are those of :func:`share_limits` with the design effect that the values below the
    quantile show. Nothing is assumed of the distribution; infinite values are values.

    Parameters
    ----------
    values : (N,) or (N, R) float
        NaN: undefined, left out.
    codes : (N,) int
        Cluster of each row.
    q : float
        Above 0 and below 1.

    Returns
    -------
    Interval
        Without limits where all values may lie on one side of the quantile by chance (``q^n`` or ``(1-q)^n`` above
        (1 - level)/2 with n the effective number of observations; for a median: five clusters or fewer of equal
        values).
    """
    x, codes = _flat(values, codes)
    if not len(x):
        return NO_INTERVAL
    value = quantile(x, q)
    k = len(np.unique(codes))
    if k < 2:
        return Interval(value, math.nan, math.nan)
    below = moments((x <= value).astype(np.float64), codes)
    n = float(below.effective_n(level))
    if max(q, 1 - q) ** n > (1 - level) / 2:
        return Interval(value, math.nan, math.nan)
    low, high = clopper_pearson(q, n, level)
    ordered = np.sort(x)
    first = min(math.floor(float(low) * len(x)), len(x) - 1)
    last = max(math.ceil(float(high) * len(x)) - 1, 0)
    return Interval(value, min(float(ordered[first]), value), max(float(ordered[last]), value))


def median_interval(values: ArrayLike, codes: Ints, draws: int = 2000, seed: int = 0, level: float = 0.95) -> Interval:
    """Median over all rows and repeats with its :func:`quantile_interval`; arguments as :func:`share_interval`."""
    return quantile_interval(values, codes, 0.5, level)


def share_comparison(
    candidate: ArrayLike, reference: ArrayLike, codes: Ints, draws: int = 2000, seed: int = 0
) -> Comparison:
    """Mean of candidate minus reference, both in [0, 1], on the same observations.

    The t interval of :func:`mean_comparison` with the design effect averaged with the largest possible one, and at
    least as wide as what a share of gains (or losses) may hide that shows in few pairs or none: with w the mean gain
    and l the mean loss, low is at most w - upper(l), high at least upper(w) - l, where upper is the Clopper-Pearson
    limit. This second part counts as far as the differences are whole verdicts. Observations that are all equal differ
    by 0 [0, 0]: the two sides are the same numbers.

    Parameters
    ----------
    candidate, reference : (N,) or (N, R) float
        Row i of both is the same pair. A row undefined (NaN) in either is left out of both.
    codes : (N,) int
    draws, seed : int
        Not used; every kind of comparison takes the same arguments.
    """
    d, codes = differences(candidate, reference, codes)
    if not len(d):
        return constant(NO_DIFFERENCE)
    found = moments(d, codes)
    if found.k < 2:
        return constant(Difference(found.mean, math.nan, math.nan, math.nan, found.k))
    if not d.any():
        return constant(Difference(0.0, 0.0, 0.0, 0.0, found.k))
    effect = found.design_effect()
    error = math.sqrt(float(effect) * found.spread / found.n)
    gains, losses = (moments(np.maximum(side, 0.0), codes) for side in (d, -d))

    def limits(level: float) -> tuple[float, float]:
        half = student_t(level, found.k - 1) * error
        low, high = found.mean - half, found.mean + half
        most = [float(clopper_pearson(one.mean, one.effective_n(level, effect), level)[1]) for one in (gains, losses)]
        low -= found.at_bounds * max(0.0, low - (gains.mean - most[1]))
        high += found.at_bounds * max(0.0, (most[0] - losses.mean) - high)
        return max(low, -1.0), min(high, 1.0)

    return Comparison(found.mean, error, found.k, limits)


def share_difference(
    candidate: ArrayLike, reference: ArrayLike, codes: Ints, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Difference:
    """:func:`share_comparison` at one level."""
    return share_comparison(candidate, reference, codes, draws, seed).at(level)


def mean_comparison(
    candidate: ArrayLike, reference: ArrayLike, codes: Ints, draws: int = 2000, seed: int = 0
) -> Comparison:
    """Mean of candidate minus reference on the same observations with a t interval over clusters.

    Two infinite values do not differ. Arguments as :func:`share_comparison`, values of any size.
    """
    d, codes = differences(candidate, reference, codes)
    if not len(d):
        return constant(NO_DIFFERENCE)
    if not np.isfinite(d).all():
        return constant(Difference(float(d.mean()), math.nan, math.nan, math.nan, len(np.unique(codes))))
    found = moments(d, codes)
    if found.k < 2:
        return constant(Difference(found.mean, math.nan, math.nan, math.nan, found.k))
    error = math.sqrt(found.variance)

    def limits(level: float) -> tuple[float, float]:
        half = student_t(level, found.k - 1) * error
        return found.mean - half, found.mean + half

    return Comparison(found.mean, error, found.k, limits)


def mean_difference(
    candidate: ArrayLike, reference: ArrayLike, codes: Ints, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Difference:
    """:func:`mean_comparison` at one level."""
    return mean_comparison(candidate, reference, codes, draws, seed).at(level)


def _defined(values: ArrayLike, codes: Ints) -> tuple[Floats, Ints]:
    """Means over repeats, and the clusters of the rows that have one."""
    x = np.asarray(values, dtype=np.float64)
    x = x.mean(axis=1) if x.ndim == 2 else x
    keep = ~np.isnan(x)
    return x[keep], np.asarray(codes)[keep]


def _flat(values: ArrayLike, codes: Ints) -> tuple[Floats, Ints]:
    """Every defined repeat of every row, and its cluster."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim == 2:
        codes = np.repeat(codes, x.shape[1])
        x = x.reshape(-1)
    keep = ~np.isnan(x)
    return x[keep], np.asarray(codes)[keep]


def differences(candidate: ArrayLike, reference: ArrayLike, codes: Ints) -> tuple[Floats, Ints]:
    """Differences of the means over repeats, and the clusters of the rows that have both."""
    a, b = (np.asarray(side, dtype=np.float64) for side in (candidate, reference))
    a, b = (side.mean(axis=1) if side.ndim == 2 else side for side in (a, b))
    if a.shape != b.shape:
        raise ValueError(f"paired values differ in shape: {a.shape} and {b.shape}")
    with np.errstate(invalid="ignore"):
        d = np.where(a == b, 0.0, a - b)  # two infinite errors do not differ
    keep = ~(np.isnan(a) | np.isnan(b))
    return np.asarray(d[keep], dtype=np.float64), np.asarray(codes)[keep]
