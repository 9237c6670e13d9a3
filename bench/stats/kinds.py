"""The interval and the paired difference of each kind of quantity, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from numpy.typing import ArrayLike

from bench.stats.bootstrap import median_comparison, median_difference
from bench.stats.intervals import (
    Comparison,
    Difference,
    Interval,
    Ints,
    mean_comparison,
    mean_difference,
    mean_interval,
    median_interval,
    share_comparison,
    share_difference,
    share_interval,
)


class IntervalOf(Protocol):
    """Values (N,) or (N, R), clusters (N,) -> value with its interval; see :func:`bench.stats.share_interval`."""

    def __call__(
        self, values: ArrayLike, codes: Ints, draws: int = ..., seed: int = ..., level: float = ...
    ) -> Interval: ...


class DifferenceOf(Protocol):
    """Paired values (N,) or (N, R), clusters (N,) -> difference; see :func:`bench.stats.share_difference`."""

    def __call__(
        self,
        candidate: ArrayLike,
        reference: ArrayLike,
        codes: Ints,
        draws: int = ...,
        seed: int = ...,
        level: float = ...,
    ) -> Difference: ...


class ComparisonOf(Protocol):
    """Paired values (N,) or (N, R), clusters (N,) -> comparison; see :func:`bench.stats.share_comparison`."""

    def __call__(
        self, candidate: ArrayLike, reference: ArrayLike, codes: Ints, draws: int = ..., seed: int = ...
    ) -> Comparison: ...


INTERVAL_OF: Mapping[str, IntervalOf] = MappingProxyType(
    {"share": share_interval, "mean": mean_interval, "median": median_interval}
)
DIFFERENCE_OF: Mapping[str, DifferenceOf] = MappingProxyType(
    {"share": share_difference, "mean": mean_difference, "median": median_difference}
)
COMPARISON_OF: Mapping[str, ComparisonOf] = MappingProxyType(
    {"share": share_comparison, "mean": mean_comparison, "median": median_comparison}
)
