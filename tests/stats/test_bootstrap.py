"""The cluster bootstrap against written-out resamples, and what it says of few clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics.homography import auc_trapezoid
from bench.stats import (
    bootstrap,
    cluster_codes,
    cluster_weights,
    mean_draws,
    median_difference,
    percentile_interval,
    quantile,
    quantile_draws,
    quantile_ratio,
    ratio_comparison,
    trapezoid_auc_draws,
)

INF, NAN = math.inf, math.nan


def resampled(values: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Observations of one draw, written out."""
    return np.concatenate([np.repeat(values[codes == c], int(k), axis=0) for c, k in enumerate(counts)])


@st.composite
def clustered(draw: st.DrawFn, infinite: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 60))
    values = np.round(rng.gamma(1, 3, n), draw(st.integers(0, 3)))
    if infinite:
        values[rng.random(n) < draw(st.sampled_from([0.0, 0.3]))] = INF
    return values, rng.integers(0, draw(st.integers(1, 9)), n)


def test_weights_draw_whole_clusters_and_are_seeded() -> None:
    weights = cluster_weights(12, 500, seed=3)
    assert weights.shape == (500, 12)
    assert (weights.sum(axis=1) == 12).all()
    assert np.array_equal(weights, cluster_weights(12, 500, seed=3))
    assert not np.array_equal(weights, cluster_weights(12, 500, seed=4))
    assert weights.mean() == 1.0


def test_codes_follow_sorted_labels() -> None:
    codes, n = cluster_codes(["v_b", "i_a", "v_b"])
    assert (codes.tolist(), n) == ([1, 0, 1], 2)


@settings(max_examples=150)
@given(data=clustered(), q=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]))
def test_draws_equal_written_out_resamples(data: tuple[np.ndarray, np.ndarray], q: float) -> None:
    values, labels = data
    codes, n = cluster_codes(labels)
    weights = cluster_weights(n, 20, seed=0)
    means, quantiles = mean_draws(values, codes, weights), quantile_draws(values, codes, weights, q)
    aucs = trapezoid_auc_draws(values, codes, weights, 3.0)
    for row, counts in enumerate(weights):
        sample = resampled(values, codes, counts)
        assert means[row] == pytest.approx(sample.mean())
        assert quantiles[row] == quantile(sample, q)
        assert aucs[row] == pytest.approx(auc_trapezoid(sample, 3.0), abs=1e-12)


def test_expansion_with_few_clusters() -> None:
    from scipy.stats import norm, t

    drawn = np.arange(1000.0)
    tail = norm.cdf(-math.sqrt(8 / 7) * t.ppf(0.975, 7))
    assert percentile_interval(drawn, 8) == (math.floor(tail * 999), 999 - math.floor(tail * 999))
    assert percentile_interval(drawn, 10**6) == (24.0, 975.0)


def test_ratio_of_medians_uses_common_blocks() -> None:
    rng = np.random.default_rng(0)
    blocks = np.repeat(np.arange(30), 8)
    slow_phase = np.where(blocks % 2, 1.0, 3.0)  # the whole machine is three times slower in every other block
    a, b = 20.0 * slow_phase, 10.0 * slow_phase
    found = quantile_ratio(a, blocks, b, blocks)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)
    independent = quantile_ratio(a * rng.lognormal(0, 0.1, len(a)), blocks, b, blocks)
    assert independent.low < 2.0 < independent.high
    assert math.isnan(quantile_ratio([], [], [1.0], [0]).value)


def test_draws_without_a_defined_value_are_undefined() -> None:
    drawn = mean_draws([1.0, NAN, 3.0, NAN], np.array([0, 0, 1, 2]), np.array([[0.0, 0.0, 3.0], [1.0, 2.0, 0.0]]))
    assert math.isnan(drawn[0])
    assert drawn[1] == pytest.approx((1 + 6) / 3)


def test_below_eight_clusters_t_is_used() -> None:
    drawn = np.random.default_rng(0).normal(2.0, 1.0 / math.sqrt(2), 100_000)  # two clusters of standard error 1
    assert percentile_interval(drawn, 2) == pytest.approx((2 - 12.706, 2 + 12.706), rel=0.02)
    assert percentile_interval(np.append(drawn, INF), 7) == pytest.approx((NAN, NAN), nan_ok=True)
    assert percentile_interval(drawn, 1) == pytest.approx((NAN, NAN), nan_ok=True)


def test_a_difference_of_medians_is_paired() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(20), 5)
    base = np.repeat(rng.normal(0, 10, 20), 5)
    found = median_difference(base + 1.0, base, codes)
    assert (found.value, found.low, found.high, found.n_clusters) == pytest.approx((1.0, 1.0, 1.0, 20))
    noisy = median_difference(base + rng.normal(0, 1, 100), base, codes)
    back = median_difference(base, base + rng.normal(0, 1, 100), codes)
    assert noisy.low < noisy.value < noisy.high
    assert noisy.high - noisy.low < 10 > back.high - back.low  # sequences spread over 40


def test_infinite_medians_do_not_differ() -> None:
    found = median_difference([INF, INF, 1.0], [INF, INF, 3.0], np.arange(3))
    assert found.value == 0.0
    repeated = median_difference([[1.0, 3.0], [NAN, 9.0]], [[1.0, 1.0], [5.0, 5.0]], np.arange(2))
    assert repeated.value == 1.0  # the second pair is undefined on one side
    assert math.isnan(median_difference([NAN], [1.0], np.array([0])).value)


def test_a_ratio_from_few_blocks_stays_positive() -> None:
    found = quantile_ratio([10.0, 30.0], [0, 1], [10.0, 10.0], [0, 1])
    assert 0 < found.low < found.value < found.high


@pytest.mark.parametrize("factor", [1.05, 2.0, 300.0])
def test_two_blocks_have_a_p_value_however_sure_it_is_asked_to_be(factor: float) -> None:
    times = np.array([10.0, 10.5, 11.0, 11.5, 12.0, 14.0])
    blocks = np.repeat([0, 1], 3)
    found = ratio_comparison(times * factor, blocks, times[::-1], blocks)
    assert found.limits(1 - 1e-12)[0] < found.value < found.limits(1 - 1e-12)[1]
    assert 0 < found.p_value(1.0) <= 1


def test_chunks_of_draws_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against one matrix of float64 drawn and multiplied at once."""
    rng = np.random.default_rng(5)
    values, codes = np.round(rng.gamma(1, 3, 3000), 2), rng.integers(0, 300, 3000)
    values[::7] = INF
    whole = np.random.default_rng((3, 300)).multinomial(300, np.full(300, 1 / 300), size=500).astype(np.float64)
    expected = (
        [quantile_draws(values, codes, whole, q) for q in (0.0, 0.5, 0.77, 1.0)],
        mean_draws(values, codes, whole),
    )
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", 8 * 300 * 37)
    cluster_weights.cache_clear()
    weights = cluster_weights(300, 500, seed=3)
    assert weights.dtype == np.uint8 and np.array_equal(weights, whole)
    found = (
        [quantile_draws(values, codes, weights, q) for q in (0.0, 0.5, 0.77, 1.0)],
        mean_draws(values, codes, weights),
    )
    assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
    cluster_weights.cache_clear()
