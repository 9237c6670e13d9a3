"""Loss of a share against a margin, for decisions that must hold whatever the losses look like.

An interval from the spread of what was seen trusts that nothing worse was missed. Here a loss may sit in few sequences,
as where one kind of scene fails altogether: the mean over sequences of a difference in [-1, 1] is bounded with one more
sequence in which everything is lost.

References
----------
Gaffke, Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable,
Mathematical Methods of Statistics 14(4), 2005.
Learned-Miller and Thomas, A new confidence interval for the mean of a bounded random variable, 2020: the bound, and its
coverage in simulation; a proof for every distribution is open.
Rubin, The Bayesian bootstrap, Annals of Statistics 9(1), 1981.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.intervals import Floats, Ints, differences

DRAWS = 20_000
_MOST_TIMES = 64


@functools.lru_cache(maxsize=8)
def dirichlet_weights(n: int, draws: int, seed: int) -> NDArray[np.float32]:
    """(draws, n) float32 weights of a Bayesian bootstrap of n sequences, not normalised; read-only."""
    weights = np.random.default_rng((seed, n, 1)).standard_exponential((draws, n), dtype=np.float32)
    weights.setflags(write=False)
    return weights


@dataclass(frozen=True, slots=True)
class BoundedGain:
    """Gain of a candidate over a reference in a share, on the same pairs.

    Attributes
    ----------
    value : float
        Mean over pairs; negative where the candidate loses.
    sums, sizes : (k,) float64
        Sum of the differences, and number of pairs, of each sequence.
    draws, seed : int
    """

    value: float
    sums: Floats
    sizes: Floats
    draws: int = DRAWS
    seed: int = 0

    @property
    def n_clusters(self) -> int:
        return len(self.sums)

    def p_loses(self, margin: float) -> float:
        """One-sided p-value of "the candidate loses the margin or more"; small: it is non-inferior by the margin.

        Gaffke's: the share of Bayesian bootstrap draws, over the sequences and one more that loses every pair, whose
        mean loss is the margin or more. Without any difference in k sequences it is ``(1 - margin)^k``. NaN with fewer
        than two sequences.
        """
        return self._share(self.sums + margin * self.sizes, margin - 1.0)

    def p_holds(self, margin: float) -> float:
        """One-sided p-value of "the candidate loses the margin or less"; small: it loses more."""
        return self._share(-self.sums - margin * self.sizes, -1.0 - margin)

    def _share(self, terms: Floats, worst: float) -> float:
        """Share of draws whose weighted sum of `terms` and of a worst sequence is at most 0."""
        k = len(terms)
        if k < 2:
            return math.nan
        weights = dirichlet_weights(k + 1, self.draws, self.seed)
        every = np.append(terms, worst * self.sizes.max()).astype(np.float32)
        return float((1 + np.count_nonzero(weights @ every <= 0)) / (1 + self.draws))

    def limits(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval of the gain, each limit with one more sequence at its end of [-1, 1]."""
        k = len(self.sums)
        if k < 2:
            return math.nan, math.nan
        weights = dirichlet_weights(k + 1, self.draws, self.seed)
        sizes = weights @ np.append(self.sizes, self.sizes.max()).astype(np.float32)
        found = []
        for end, tail in ((-1.0, (1 - level) / 2), (1.0, (1 + level) / 2)):
            sums = weights @ np.append(self.sums, end * self.sizes.max()).astype(np.float32)
            found.append(float(np.quantile(sums / sizes, tail)))
        return found[0], found[1]

    def repeated(self, times: int) -> BoundedGain:
        """The same with every sequence seen `times` as often, to plan with."""
        return BoundedGain(self.value, np.tile(self.sums, times), np.tile(self.sizes, times), self.draws, self.seed)


def bounded_gain(
    candidate: ArrayLike, reference: ArrayLike, codes: Ints, draws: int = DRAWS, seed: int = 0
) -> BoundedGain:
    """Compare paired shares.

    Parameters
    ----------
    candidate, reference : (N,) or (N, R) float in [0, 1]
        Row i of both is the same pair; NaN: undefined, left out.
    codes : (N,) int
        Sequence of each row.

    Examples
    --------
    >>> found = bounded_gain(np.ones(65), np.ones(65), np.repeat(np.arange(13), 5))
    >>> found.value, round(found.p_loses(0.2), 2), round(0.8**13, 2)
    (0.0, 0.05, 0.05)
    """
    d, kept = differences(candidate, reference, codes)
    if not len(d):
        return BoundedGain(math.nan, np.empty(0), np.empty(0), draws, seed)
    _, places = np.unique(kept, return_inverse=True)
    sums, sizes = (np.bincount(places, weights=each).astype(np.float64) for each in (d, np.ones(len(d))))
    return BoundedGain(float(d.mean()), sums, sizes, draws, seed)


def sequences_needed(gain: BoundedGain, margin: float, alpha: float) -> int | None:
    """Sequences like these with which :meth:`BoundedGain.p_loses` is at most `alpha`; None where 64 times as many are
    too few. A rough plan: the same differences are taken to come again, two, three, ... times."""

    def enough(times: int) -> bool:
        return gain.repeated(times).p_loses(margin) <= alpha

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST_TIMES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high * gain.n_clusters
