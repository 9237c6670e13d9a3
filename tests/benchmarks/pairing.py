"""Two pieces of work that take turns, and the ratio of their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats import quantile_interval


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median of paired ratios with its 95 % interval (order statistics)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def median_ratio(numerator: ArrayLike, denominator: ArrayLike) -> Ratio:
    """Ratio of two rows of times, round by round: a slow minute falls on both sides of a round."""
    ratios = np.asarray(numerator, np.float64) / np.asarray(denominator, np.float64)
    found = quantile_interval(ratios, np.arange(len(ratios)), 0.5)
    return Ratio(found.value, found.low, found.high)


def take_turns(
    work: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, NDArray[np.float64]]:
    """Time each piece of work once a round, in alternating order, after one untimed round.

    Parameters
    ----------
    work : mapping
        By name.
    rounds : int
    clock : callable
        ``time.process_time`` counts this process alone; ``time.perf_counter`` also what waits for others.

    Returns
    -------
    dict
        Milliseconds by name, one a round.
    """
    found: dict[str, list[float]] = {name: [] for name in work}
    for number in range(-1, rounds):
        for name in list(work)[:: -1 if number % 2 else 1]:
            start = clock()
            work[name]()
            if number >= 0:
                found[name].append(1e3 * (clock() - start))
    return {name: np.array(ms) for name, ms in found.items()}
