"""Statistics: closed forms, brute force, published check values, and coverage in simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics.homography import auc_trapezoid
from bench.stats import (
    Decision,
    Interval,
    bootstrap_mean,
    bootstrap_quantile,
    cluster_codes,
    cluster_weights,
    difference_noise,
    draws_p_value,
    early_stopping_min_samples,
    early_stopping_percentile,
    holm,
    mcnemar_exact,
    mean_draws,
    minimum_detectable_difference,
    non_inferiority,
    order_noise,
    paired_difference,
    paired_quantile_difference,
    percentile_interval,
    quantile,
    quantile_draws,
    quantile_ratio,
    required_clusters,
    t_p_value,
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


@given(data=clustered(infinite=False), q=st.floats(0, 1))
def test_quantile_is_numpys(data: tuple[np.ndarray, np.ndarray], q: float) -> None:
    assert quantile(data[0], q) == pytest.approx(np.quantile(data[0], q))


def test_quantile_with_infinite_and_undefined_values() -> None:
    assert quantile([1.0, INF, INF], 0.5) == INF
    assert quantile([1.0, INF], 0.5) == INF
    assert quantile([1.0, 2.0, NAN, INF], 0.5) == 2.0
    assert math.isnan(quantile([NAN], 0.5))


def test_undefined_values_have_no_weight() -> None:
    values, labels = [1.0, NAN, 3.0, NAN], ["a", "a", "b", "c"]
    assert bootstrap_mean(values, labels) == bootstrap_mean([1.0, 3.0], ["a", "b"])
    assert bootstrap_mean(values, labels).value == 2.0
    codes, _ = cluster_codes(labels)
    drawn = mean_draws(values, codes, np.array([[0.0, 0.0, 3.0], [1.0, 2.0, 0.0]]))
    assert math.isnan(drawn[0])
    assert drawn[1] == pytest.approx((1 + 6) / 3)


def test_nothing_defined_gives_no_number() -> None:
    assert all(math.isnan(x) for x in (lambda i: (i.value, i.low, i.high))(bootstrap_mean([NAN], ["a"])))
    assert all(math.isnan(x) for x in (lambda i: (i.value, i.low, i.high))(bootstrap_quantile([NAN], ["a"], 0.5)))
    assert math.isnan(paired_difference([NAN], [1.0], ["a"]).value)
    assert math.isnan(paired_quantile_difference([NAN], [1.0], ["a"]).value)


def test_one_cluster_has_no_interval() -> None:
    found = bootstrap_mean([1.0, 2.0, 3.0], ["a"] * 3)
    assert found.value == 2.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_same_seed_same_interval() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=60), np.repeat(np.arange(12), 5)
    assert bootstrap_mean(values, labels, seed=5) == bootstrap_mean(values, labels, seed=5)
    assert bootstrap_mean(values, labels, seed=5) != bootstrap_mean(values, labels, seed=6)


def test_interval_approaches_the_normal_one_with_many_clusters() -> None:
    rng = np.random.default_rng(1)
    cluster_means = rng.normal(0.6, 0.2, 400)
    found = bootstrap_mean(np.repeat(cluster_means, 5), np.repeat(np.arange(400), 5), draws=4000)
    half = 1.96 * cluster_means.std(ddof=1) / math.sqrt(400)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.06)


def test_ignoring_clusters_would_be_too_narrow() -> None:
    rng = np.random.default_rng(2)
    values = np.repeat(rng.normal(size=40), 5)
    clustered_ = bootstrap_mean(values, np.repeat(np.arange(40), 5))
    independent = bootstrap_mean(values, np.arange(200))
    assert (clustered_.high - clustered_.low) / (independent.high - independent.low) == pytest.approx(5**0.5, rel=0.15)


def test_expansion_with_few_clusters_uses_extreme_draws() -> None:
    drawn = np.arange(1000.0)
    assert percentile_interval(drawn, 4) == (0.0, 999.0)
    low, high = percentile_interval(drawn, 10**6)
    assert (low, high) == (24.0, 975.0)


def test_two_or_three_clusters_use_t() -> None:
    # Cluster means 1 and 3: standard error 1, t(1) = 12.706.
    found = bootstrap_mean([1.0, 3.0], ["a", "b"], draws=20000)
    assert (found.low, found.high) == pytest.approx((2 - 12.706, 2 + 12.706), rel=0.02)
    three = bootstrap_mean([1.0, 2.0, 3.0], ["a", "b", "c"], draws=20000)
    assert three.high - three.low == pytest.approx(2 * 4.303 / math.sqrt(3), rel=0.02)
    assert bootstrap_mean([2.0, 2.0], ["a", "b"]) == Interval(2.0, 2.0, 2.0)
    median = bootstrap_quantile([1.0, INF], ["a", "b"], 0.5)
    assert (median.low, median.high) == (1.0, INF)


@pytest.mark.slow
@pytest.mark.parametrize(("n_clusters", "least"), [(8, 0.92), (16, 0.93), (116, 0.935)])
def test_coverage_of_the_cluster_bootstrap(n_clusters: int, least: float) -> None:
    rng = np.random.default_rng(n_clusters)
    truth, hits, trials = 0.7, 0, 600
    labels = np.repeat(np.arange(n_clusters), 5)
    for trial in range(trials):
        # Success probability of a sequence: beta with mean .7 and strong clustering.
        p = np.repeat(rng.beta(1.4, 0.6, n_clusters), 5)
        found = bootstrap_mean(rng.random(len(p)) < p, labels, draws=1000, seed=trial)
        hits += found.low <= truth <= found.high
    assert least <= hits / trials <= 0.99


def test_paired_difference_cancels_what_both_share() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 5)
    base = np.repeat(rng.normal(0, 10, 20), 5)
    found = paired_difference(base + 1.0, base, labels)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    assert found.standard_error == pytest.approx(0, abs=1e-9)
    assert found.n_clusters == 20


def test_paired_difference_is_antisymmetric() -> None:
    rng = np.random.default_rng(0)
    a, b, labels = rng.random(50), rng.random(50), np.repeat(np.arange(10), 5)
    forward, backward = paired_difference(a, b, labels), paired_difference(b, a, labels)
    assert (forward.value, forward.low, forward.high) == pytest.approx((-backward.value, -backward.high, -backward.low))


def test_standard_error_matches_theory() -> None:
    rng = np.random.default_rng(4)
    means = rng.normal(size=100)
    found = paired_difference(np.repeat(means, 5), np.zeros(500), np.repeat(np.arange(100), 5), draws=8000)
    assert found.standard_error == pytest.approx(means.std(ddof=1) / 10, rel=0.03)


def test_two_infinite_errors_do_not_differ() -> None:
    found = paired_difference([INF, 1.0], [INF, 3.0], ["a", "b"])
    assert found.value == -1.0
    median = paired_quantile_difference([INF, INF, 1.0], [INF, INF, 3.0], ["a", "b", "c"])
    assert median.value == 0.0


def test_paired_values_must_have_one_shape() -> None:
    with pytest.raises(ValueError, match="shape"):
        paired_difference([1.0], [1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="shape"):
        mcnemar_exact([1], [1, 0])


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


@given(wins=st.integers(0, 12), losses=st.integers(0, 12), same=st.integers(0, 5))
def test_mcnemar_by_enumeration(wins: int, losses: int, same: int) -> None:
    a = [1] * wins + [0] * losses + [1] * same
    b = [0] * wins + [1] * losses + [1] * same
    n, k = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert mcnemar_exact(a, b) == pytest.approx(min(1.0, 2 * tail) if n else 1.0)
    assert mcnemar_exact(a, b) == mcnemar_exact(b, a)


def test_order_noise_by_hand() -> None:
    noise = order_noise([[1, 0, 1, 0], [1, 1, 1, 1]])
    # Unbiased variance of (1, 0, 1, 0) is 1/3; the other pair has none.
    assert noise.sd_single == pytest.approx(math.sqrt(1 / 3) / 2)
    assert noise.sd_mean == pytest.approx(noise.sd_single / 2)
    assert noise.flip_share == 0.5
    assert noise.disagreement == pytest.approx((4 / 6) / 2)
    assert noise.half_width == pytest.approx(1.96 * noise.sd_mean, rel=1e-4)


def test_order_noise_predicts_the_spread_over_orders() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 0.5, 300)
    accuracies = (rng.random((300, 2000)) < p[:, None]).mean(axis=0)
    noise = order_noise(rng.random((300, 10)) < p[:, None])
    assert noise.sd_single == pytest.approx(accuracies.std(ddof=1), rel=0.1)
    assert noise.disagreement == pytest.approx(float(np.mean(2 * p * (1 - p))), rel=0.1)


def test_one_repeat_says_nothing_about_order() -> None:
    assert math.isnan(order_noise([[1], [0]]).half_width)
    assert math.isnan(order_noise(np.zeros((0, 3))).flip_share)
    with pytest.raises(ValueError, match="pairs, repeats"):
        order_noise([1, 0, 1])


def test_noise_of_a_difference_adds_variances() -> None:
    a, b = order_noise([[1, 0], [1, 1]]), order_noise([[0, 0], [0, 1]])
    assert difference_noise(a, b) == pytest.approx(1.96 * math.hypot(a.sd_mean, b.sd_mean), rel=1e-4)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.009, 0.02, Decision.PASS),
        (0.001, 0.02, Decision.PASS),
        (-0.05, -0.011, Decision.FAIL),
        (-0.02, 0.02, Decision.INCONCLUSIVE),
        (-0.02, -0.001, Decision.INCONCLUSIVE),
        (-0.01, 0.02, Decision.INCONCLUSIVE),  # exactly at the margin is not above it
        (NAN, NAN, Decision.INCONCLUSIVE),
    ],
)
def test_non_inferiority(low: float, high: float, expected: Decision) -> None:
    assert non_inferiority(Interval(0.0, low, high), 0.01) is expected
    assert non_inferiority(Interval(0.0, -high, -low), 0.01, higher_is_better=False) is expected


def test_margin_must_not_be_negative() -> None:
    for margin in (-0.01, NAN):
        with pytest.raises(ValueError, match="margin"):
            non_inferiority(Interval(0, 0, 0), margin)


def test_p_value_of_draws() -> None:
    drawn = np.arange(1, 100.0)
    assert draws_p_value(drawn, 0.0) == 1 / 100
    assert draws_p_value(drawn, 10.0) == 11 / 100
    assert draws_p_value(np.array([NAN, 1.0]), 2.0) == 1.0


def test_t_p_value_matches_the_t_distribution() -> None:
    from scipy import stats

    for value, se, n in ((-2.0, 1.0, 16), (0.3, 0.2, 4), (0.0, 1.0, 9)):
        assert t_p_value(value, se, n) == pytest.approx(stats.t.cdf(value / se, n - 1))
    assert (t_p_value(-1e-9, 0.0, 5), t_p_value(0.0, 0.0, 5)) == (0.0, 1.0)
    assert math.isnan(t_p_value(-1.0, NAN, 5))
    assert math.isnan(t_p_value(-1.0, 1.0, 1))


@given(p=st.lists(st.floats(0, 1), max_size=8))
def test_holm_by_definition(p: list[float]) -> None:
    adjusted = holm(p)
    order = sorted(range(len(p)), key=lambda i: p[i])
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        assert adjusted[i] == pytest.approx(largest)
    assert (adjusted >= np.array(p)).all()


def test_holm_controls_the_family_wise_error_rate() -> None:
    rng = np.random.default_rng(0)
    false_alarms = np.mean([(holm(rng.random(20)) <= 0.05).any() for _ in range(4000)])
    assert false_alarms == pytest.approx(0.05, abs=0.012)


def test_detectable_difference_is_detected_with_the_stated_power() -> None:
    rng = np.random.default_rng(0)
    se = 0.01
    difference = minimum_detectable_difference(se)
    assert difference == pytest.approx(2.8016 * se, rel=1e-4)
    estimates = rng.normal(difference, se, 20000)
    assert np.mean(np.abs(estimates) > 1.96 * se) == pytest.approx(0.8, abs=0.01)


def test_required_clusters_inverts_the_detectable_difference() -> None:
    difference = minimum_detectable_difference(0.02)
    assert required_clusters(0.02, 50, difference) == 50
    assert required_clusters(0.02, 50, difference / 2) == 200
    # All variance is order noise: ten times the repeats replace ten times the sequences.
    assert required_clusters(0.02, 50, difference, order_sd=0.02, repeats=1, new_repeats=10) == 5
    # No order noise: repeats do not help.
    assert required_clusters(0.02, 50, difference, order_sd=0.0, repeats=1, new_repeats=10) == 50
    assert required_clusters(1e-9, 50, 1.0) == 2
    with pytest.raises(ValueError, match="above 0"):
        required_clusters(0.02, 50, 0.0)


def test_early_stopping_check_values() -> None:
    assert [early_stopping_min_samples(p) for p in (0.5, 0.9, 0.95, 0.99)] == [11, 64, 130, 662]
    for n, percentile in ((100, 98.0), (580, 93.1), (1024, 92.3)):
        assert early_stopping_percentile(np.arange(n), 0.9).rank_percentile == pytest.approx(percentile, abs=0.05)


def test_early_stopping_needs_enough_samples() -> None:
    few = early_stopping_percentile(np.arange(63.0), 0.9)
    assert math.isnan(few.value)
    assert (few.n_samples, few.min_samples) == (63, 64)
    assert early_stopping_percentile(np.arange(64.0), 0.9).value == 63.0
    assert math.isnan(early_stopping_percentile([], 0.9).value)


def test_early_stopping_bounds_the_percentile() -> None:
    rng = np.random.default_rng(0)
    samples = rng.random((3000, 200))
    covered = np.mean([early_stopping_percentile(row, 0.9).value >= 0.9 for row in samples])
    assert covered >= 0.985


def test_every_permutation_of_pairs_gives_the_same_mean_interval() -> None:
    values, labels = np.array([0.1, 0.5, 0.9, 0.3]), np.array(["a", "b", "c", "d"])
    expected = bootstrap_mean(values, labels, draws=200)
    for order in itertools.permutations(range(4)):
        found = bootstrap_mean(values[list(order)], labels[list(order)], draws=200)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
