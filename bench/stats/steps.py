"""Steps in a series of runs: where a level changed, and no more often than promised.

Circular binary segmentation: of all stretches of a range of runs the one is looked at whose level differs most from
the rest by least squares; each of its two ends is tested against the stretch beside it, and the search goes on within
the parts. A test is asked of one contrast, chosen by the data among at most c^2 in a series with c places where a step
may be (c single splits, and two ends of c (c - 1) / 2 stretches). Every p-value is therefore multiplied by c^2,
whatever the part: parts without a step have together no more contrasts than the whole, so the probability of any false
step is at most alpha. A series that has one step may have another, so no share of alpha becomes free when one is found:
over several series Holm's procedure is Bonferroni's here.

References
----------
Olshen, Venkatraman, Lucito, Wigler, Circular binary segmentation for the analysis of array-based DNA copy number data,
Biostatistics 5(4), 2004.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Test = Callable[[int, int, int, int, int], float]
"""(first, split, end, low, high) -> two-sided p-value of "runs first .. split - 1 and split .. end - 1 have one level",
within the range low .. high - 1 that is searched; NaN where it cannot be had."""


@dataclass(frozen=True, slots=True)
class Split:
    """A place where a level changes.

    Attributes
    ----------
    place : int
        Index of the first run after the change.
    p_value : float
        Adjusted for the contrasts of its series, not for other series.
    """

    place: int
    p_value: float


def contrasts(places: Sequence[int]) -> int:
    """How many contrasts a series with these possible places has."""
    return len(places) ** 2


def find_splits(
    values: ArrayLike, places: Sequence[int], test: Test, alpha: float = 0.05, least_runs: int = 1
) -> list[Split]:
    """Find the places where the level of a series changes.

    Parameters
    ----------
    values : (T,) float
        The level of each run, in order; says where a step is looked for, not whether it is one.
    places : sequence of int
        Rising indices 1 .. T - 1 at which a step may begin.
    test : callable
    alpha : float
        Bound of the probability of any false split in this series.
    least_runs : int
        Fewest runs between two splits, and before the first and after the last.

    Returns
    -------
    list of Split
        In order of their places.

    Examples
    --------
    >>> levels = [1.0, 1.1, 0.9, 1.0, 2.0, 2.1, 1.9, 2.0]
    >>> test = log_level_test(levels)
    >>> [split.place for split in find_splits(levels, range(1, 8), test, least_runs=2)]
    [4]
    """
    x = np.asarray(values, dtype=np.float64)
    known = sorted(place for place in places if 0 < place < len(x))
    limit = alpha / max(contrasts(known), 1)
    found = sorted(_search(x, known, test, limit, least_runs, 0, len(x)))
    return _refined(x, known, found, test, limit, least_runs)


def _search(x: Floats, places: Sequence[int], test: Test, limit: float, least: int, low: int, high: int) -> list[int]:
    stretch = _best_stretch(x, places, least, low, high)
    if stretch is None:
        return []
    begin, end = stretch
    ends = [(begin, test(low, begin, end, low, high))]
    if end < high:
        ends.append((end, test(begin, end, high, low, high)))
    kept = [place for place, p_value in ends if p_value <= limit]
    if not kept:
        return []
    cuts = [low, *kept, high]
    return [
        *kept,
        *(place for a, b in itertools.pairwise(cuts) for place in _search(x, places, test, limit, least, a, b)),
    ]


def _best_stretch(x: Floats, places: Sequence[int], least: int, low: int, high: int) -> tuple[int, int] | None:
    """Begin and end of the stretch that differs most from the rest of the range; an end that is `high` is no place."""
    sums = np.concatenate([[0.0], np.cumsum(x[low:high])])
    n, total = high - low, float(sums[-1])
    inner = [place for place in places if low + least <= place <= high - least]
    best, size = None, 0.0
    # Single splits first: of two that explain as much, the simpler one.
    for begin, end in [(i, high) for i in inner] + [(i, j) for i in inner for j in inner if j - i >= least]:
        inside = end - begin
        level = float(sums[end - low] - sums[begin - low])
        gain = abs(level / inside - (total - level) / (n - inside)) * math.sqrt(inside * (n - inside) / n)
        if gain > size * (1 + 1e-9):
            best, size = (begin, end), gain
    return best


def _refined(x: Floats, places: Sequence[int], found: list[int], test: Test, limit: float, least: int) -> list[Split]:
    """Put every place where least squares between its neighbours has it, and test it once more there."""
    result = list(found)
    for i in range(len(result)):
        low = result[i - 1] if i else 0
        high = result[i + 1] if i + 1 < len(result) else len(x)
        between = [place for place in places if low + least <= place <= high - least]
        gains = [abs(float(x[low:p].mean() - x[p:high].mean())) * math.sqrt((p - low) * (high - p)) for p in between]
        if gains:
            top = max(gains)
            near = [place for place, gain in zip(between, gains, strict=True) if gain >= top * (1 - 1e-9)]
            result[i] = result[i] if result[i] in near else near[0]
    cuts = [0, *result, len(x)]
    tested = [(p, test(cuts[i], p, cuts[i + 2], cuts[i], cuts[i + 2])) for i, p in enumerate(result)]
    factor = contrasts(places)
    return [Split(place, min(1.0, p * factor)) for place, p in tested if p <= limit]


def log_level_test(values: ArrayLike, floor: float = 0.0, within: ArrayLike | None = None) -> Test:
    """Test levels that vary from run to run, such as logarithms of times, by the residuals of the runs around them.

    A t test of two adjacent stretches. Its variance is that of all runs of the searched range about the levels of its
    (at most three) stretches, so that what changes from run to run, and no interval within one run shows, is part of
    it; it is at least the mean squared standard error within the runs.

    Parameters
    ----------
    values : (T,) float
    floor : float
        Differences up to it, in units of `values`, have the p-value 1: changes not worth the name.
    within : (T,) float, optional
        Standard error of each value from within its run.
    """
    from scipy.special import stdtr

    x = np.asarray(values, dtype=np.float64)
    own = np.zeros(len(x)) if within is None else np.nan_to_num(np.asarray(within, dtype=np.float64))

    def test(first: int, split: int, end: int, low: int, high: int) -> float:
        before, after = x[first:split], x[split:end]
        difference = float(after.mean() - before.mean())
        parts = [part for part in (x[low:first], before, after, x[end:high]) if len(part)]
        degrees = high - low - len(parts)
        if degrees < 1:
            return math.nan
        if abs(difference) <= floor:
            return 1.0
        residuals = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
        variance = max(residuals / degrees, float((own[low:high] ** 2).mean()))
        error = math.sqrt(variance * (1 / len(before) + 1 / len(after)))
        return 0.0 if error == 0 else 2 * float(stdtr(degrees, -abs(difference) / error))

    return test


def log_level_difference(
    before: ArrayLike, after: ArrayLike, residual_sd: float, degrees: int, level: float = 0.95
) -> tuple[float, float, float]:
    """Difference of two levels with its t interval.

    Returns
    -------
    difference, low, high : float
    """
    from bench.stats.intervals import student_t

    a, b = (np.asarray(side, dtype=np.float64) for side in (before, after))
    difference = float(b.mean() - a.mean())
    if degrees < 1:
        return difference, math.nan, math.nan
    half = student_t(level, degrees) * residual_sd * math.sqrt(1 / len(a) + 1 / len(b))
    return difference, difference - half, difference + half


def residual_spread(values: ArrayLike, splits: Sequence[int]) -> tuple[float, int]:
    """Standard deviation of a series about the levels between its splits, and its degrees of freedom."""
    x = np.asarray(values, dtype=np.float64)
    cuts = [0, *splits, len(x)]
    parts = [x[a:b] for a, b in itertools.pairwise(cuts)]
    degrees = len(x) - len(parts)
    squares = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
    return (math.sqrt(squares / degrees) if degrees > 0 else math.nan), degrees
