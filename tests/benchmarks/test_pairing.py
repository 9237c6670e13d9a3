"""The ratio of two sides that take turns."""

from __future__ import annotations

import itertools
import math

from tests.benchmarks.pairing import median_ratio, take_turns


def test_the_median_of_ratios_has_the_interval_of_order_statistics() -> None:
    """Of six values the least and the largest hold the median in 1 - 2/64 of samples; of five none do in 95 %."""
    found = median_ratio([1, 2, 3, 4, 5, 6], [1] * 6)
    assert (found.value, found.low, found.high) == (3.5, 1, 6)
    assert math.isnan(median_ratio([1, 2, 3, 4, 5], [1] * 5).low)


def test_a_slow_round_falls_on_both_sides() -> None:
    assert median_ratio([2, 20, 2], [1, 10, 1]).value == 2


def test_sides_alternate_and_the_first_round_is_not_timed() -> None:
    calls: list[str] = []
    clock = itertools.count()
    ms = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, lambda: next(clock))
    assert "".join(calls) == "baabba"
    assert [len(times) for times in ms.values()] == [2, 2]
    assert all((times == 1000).all() for times in ms.values())
