"""Intervals against closed forms, and their coverage in simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats import (
    DIFFERENCE_OF,
    INTERVAL_OF,
    Interval,
    clopper_pearson,
    mean_difference,
    mean_interval,
    median_interval,
    quantile,
    quantile_interval,
    share_difference,
    share_interval,
)

INF, NAN = math.inf, math.nan


def sequences(n: int, pairs: int = 5) -> np.ndarray:
    """Cluster codes of n sequences."""
    return np.repeat(np.arange(n), pairs)


def width(found: Interval) -> float:
    return found.high - found.low


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantile_is_numpys(values: list[float], q: float) -> None:
    assert quantile(values, q) == pytest.approx(np.quantile(values, q))


def test_quantile_with_infinite_and_undefined_values() -> None:
    assert quantile([1.0, INF, INF], 0.5) == INF
    assert quantile([1.0, INF], 0.5) == INF
    assert quantile([1.0, 2.0, NAN, INF], 0.5) == 2.0
    assert math.isnan(quantile([NAN], 0.5))


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (57, 116)])
def test_clopper_pearson_is_the_exact_binomial_interval(hits: int, n: int) -> None:
    from scipy.stats import binomtest

    exact = binomtest(hits, n).proportion_ci(0.95, "exact")
    assert clopper_pearson(hits / n, n) == pytest.approx((exact.low, exact.high))


def test_shares_of_single_pairs_are_binomial() -> None:
    """A cluster a pair: Clopper-Pearson itself."""
    values = np.arange(40) < 31
    found = share_interval(values, np.arange(40))
    assert (found.low, found.high) == pytest.approx(tuple(map(float, clopper_pearson(31 / 40, 40))))


def test_a_perfect_sample_is_not_certain() -> None:
    """All k sequences perfect: the lower limit is the share p for which that happens in 2.5 % of samples, p^k."""
    for k in (2, 3, 13, 116):
        found = share_interval(np.ones(5 * k), sequences(k))
        assert (found.value, found.high) == (1.0, 1.0)
        assert found.low**k == pytest.approx(0.025)
        none = share_interval(np.zeros(5 * k), sequences(k))
        assert (none.value, none.low, none.high) == pytest.approx((0.0, 0.0, 1 - found.low))


def test_sequences_that_happen_to_be_equal_are_not_certain() -> None:
    values = np.tile([1.0, 1.0, 1.0, 0.0, 0.0], 2)  # two sequences, .6 each
    found = share_interval(values, sequences(2))
    assert found.value == pytest.approx(0.6)
    assert found.low < 0.05
    assert found.high > 0.95
    assert width(share_interval(np.tile(values, 29), sequences(58))) < 0.3


def test_values_of_measurements_may_be_narrower_than_verdicts() -> None:
    rng = np.random.default_rng(0)
    values = 0.6 + 0.05 * rng.standard_normal(13)[sequences(13)]
    measured = share_interval(values, sequences(13))
    t = mean_interval(values, sequences(13))
    assert width(measured) == pytest.approx(width(t), rel=0.12)


def test_shares_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        share_interval([0.5, 1.2], [0, 1])
    assert share_interval([1.0 + 1e-9, 1.0], np.arange(2)).value == 1.0


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.floats(0.01, 1), st.sampled_from(["verdicts", "values"]))
def test_share_intervals_lie_in_range_around_their_value(seed: int, k: int, p: float, kind: str) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, k, 40)
    values = (rng.random(40) < p).astype(float) if kind == "verdicts" else rng.random(40) * p
    found = share_interval(values, codes)
    assert 0 <= found.low <= found.value <= found.high <= 1
    mirrored = share_interval(1 - values, codes)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)


def test_intervals_do_not_depend_on_the_order_of_pairs_or_labels() -> None:
    values, codes = np.array([0.1, 0.5, 0.9, 1.0]), np.array([0, 0, 1, 2])
    for name, interval in INTERVAL_OF.items():
        expected = interval(values, codes)
        for order in map(list, itertools.permutations(range(4))):
            found = interval(values[order], codes[order])
            assert (found.value, found.low, found.high) == pytest.approx(
                (expected.value, expected.low, expected.high), nan_ok=True
            ), name
        relabelled = interval(values, 10 * codes + 3)
        assert (relabelled.low, relabelled.high) == pytest.approx((expected.low, expected.high), nan_ok=True)


@pytest.mark.parametrize("kind", ["share", "mean", "median"])
def test_every_kind_takes_the_same_arguments(kind: str) -> None:
    rng = np.random.default_rng(0)
    values, codes = rng.random((40, 3)), sequences(8)
    found = INTERVAL_OF[kind](values, codes, draws=500, seed=1, level=0.9)
    assert found.low < found.value < found.high
    assert found.high - found.low < width(INTERVAL_OF[kind](values, codes, 500, 1, 0.99))
    difference = DIFFERENCE_OF[kind](values, values[::-1], codes, draws=500, seed=1, level=0.9)
    assert difference.low < 0 < difference.high
    assert difference == DIFFERENCE_OF[kind](values, values[::-1], codes, draws=500, seed=1, level=0.9)
    one = INTERVAL_OF[kind](values, np.zeros(40, int))
    assert math.isfinite(one.value)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(DIFFERENCE_OF[kind](values, 0 * values, np.zeros(40, int)).low)
    assert math.isnan(INTERVAL_OF[kind]([NAN], np.array([0])).value)
    assert math.isnan(DIFFERENCE_OF[kind]([NAN], [0.5], np.array([0])).value)


@pytest.mark.parametrize("kind", ["share", "mean", "median"])
def test_undefined_values_have_no_weight(kind: str) -> None:
    values, codes = np.array([0.1, NAN, 0.3, NAN, 0.4]), np.array([0, 0, 1, 2, 1])
    kept = ~np.isnan(values)
    found, expected = INTERVAL_OF[kind](values, codes), INTERVAL_OF[kind](values[kept], codes[kept])
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high), nan_ok=True
    )


def test_a_mean_has_the_t_interval_of_its_clusters() -> None:
    from scipy.stats import t

    rng = np.random.default_rng(0)
    means = rng.normal(3, 1, 9)
    found = mean_interval(np.repeat(means, 5), sequences(9))
    assert (found.low, found.high) == pytest.approx(t.interval(0.95, 8, means.mean(), means.std(ddof=1) / 3))
    assert mean_interval([INF, 1.0], np.arange(2)).value == INF
    assert math.isnan(mean_interval([INF, 1.0], np.arange(2)).low)


def test_ignoring_clusters_would_be_too_narrow() -> None:
    values = np.repeat(np.random.default_rng(2).normal(size=40), 5)
    ratio = width(mean_interval(values, sequences(40))) / width(mean_interval(values, np.arange(200)))
    assert ratio == pytest.approx(5**0.5, rel=0.05)


def test_a_median_of_independent_values_has_binomial_order_statistics() -> None:
    """100 values: the exact 95 % interval of the median is from the 40th to the 61st."""
    found = median_interval(np.arange(100.0), np.arange(100))
    assert (found.low, found.high) == (39.0, 60.0)
    with_infinite = median_interval(np.where(np.arange(100) < 58, np.arange(100.0), INF), np.arange(100))
    assert (with_infinite.value, with_infinite.low, with_infinite.high) == (49.5, 39.0, INF)


def test_no_interval_where_all_values_may_lie_on_one_side() -> None:
    assert math.isnan(median_interval(np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 5), sequences(5)).low)
    assert quantile_interval(np.arange(200.0), np.arange(200), 0.9).high > 180
    assert math.isnan(quantile_interval(np.arange(20.0), np.arange(20), 0.9).high)


def test_a_difference_cancels_what_both_share() -> None:
    base = np.random.default_rng(0).normal(0, 10, 20)[sequences(20)]
    found = mean_difference(base + 1.0, base, sequences(20))
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    assert found.standard_error == pytest.approx(0, abs=1e-9)
    assert found.n_clusters == 20


@pytest.mark.parametrize("kind", ["share", "mean", "median"])
def test_a_difference_is_antisymmetric(kind: str) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.random((2, 50)) < [[0.9], [0.8]]).astype(float) if kind == "share" else rng.random((2, 50))
    forward, backward = (DIFFERENCE_OF[kind](*sides, sequences(10), 400) for sides in ((a, b), (b, a)))
    assert forward.value == -backward.value
    tolerance = 0.02 if kind == "median" else 1e-12  # percentiles of draws are not symmetric to the last draw
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low), abs=tolerance)


def test_equal_values_differ_by_nothing() -> None:
    values = np.random.default_rng(0).random(20)
    for difference in DIFFERENCE_OF.values():
        found = difference(values, values, sequences(4))
        assert (found.value, found.low, found.high, found.standard_error) == (0, 0, 0, 0)
    infinite = mean_difference([INF, 1.0], [INF, 3.0], np.arange(2))
    assert infinite.value == -1.0
    with pytest.raises(ValueError, match="shape"):
        mean_difference([1.0], [1.0, 2.0], np.array([0]))


def test_perfect_against_almost_perfect_is_not_certain() -> None:
    """1.00 against .98: one pair of 65 lost. Nothing shows that the two differ, and more may hide."""
    lost = np.ones(65)
    lost[0] = 0
    found = share_difference(lost, np.ones(65), sequences(13))
    assert found.value == pytest.approx(-1 / 65)
    assert found.low < -0.05
    assert found.high > 0.01


def test_a_constant_difference_of_verdicts_is_not_certain() -> None:
    candidate, reference = np.tile([1.0, 1, 0, 0, 0], 2), np.tile([1.0, 1, 1, 0, 0], 2)
    found = share_difference(candidate, reference, sequences(2))
    assert found.value == pytest.approx(-0.2)
    assert found.low < -0.5
    assert found.high > 0.2


def test_a_clear_difference_of_measurements_stays_clear() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.4, 0.8, 13)[sequences(13)]
    found = share_difference(base - 0.2 + rng.normal(0, 0.02, 65), base, sequences(13))
    assert (found.low, found.high) == pytest.approx((-0.2, -0.2), abs=0.02)
