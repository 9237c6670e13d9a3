"""The distribution-free bound of a paired loss: analytic cases, a naive second computation, error by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from bench.stats import bounded_gain, clopper_pearson, sequences_needed
from bench.stats.noninferiority import dirichlet_weights


@pytest.mark.parametrize("k", [7, 13, 40])
@pytest.mark.parametrize("margin", [0.02, 0.1, 0.3])
def test_without_a_difference_the_chance_is_that_of_k_sequences(k: int, margin: float) -> None:
    same = np.ones(5 * k)
    found = bounded_gain(same, same, np.repeat(np.arange(k), 5))
    assert found.p_loses(margin) == pytest.approx((1 - margin) ** k, abs=0.011)
    assert found.limits()[0] == pytest.approx(-clopper_pearson(0.0, k)[1], abs=0.01)
    assert found.limits()[1] == pytest.approx(clopper_pearson(0.0, k)[1], abs=0.01)
    assert found.p_holds(margin) > 0.5


def test_one_bad_sequence_of_two_is_a_beta_distribution() -> None:
    """Losses 1, 0 and the added 1: the draws are Beta(2, 1), so P(loss >= m) = 1 - m^2."""
    found = bounded_gain([0.0, 1.0], [1.0, 1.0], np.array([0, 1]))
    assert found.p_loses(0.5) == pytest.approx(0.75, abs=0.01)


def test_it_is_the_share_of_draws_of_a_naive_bootstrap() -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 9, 60)
    a, b = rng.random((60, 4)), rng.random((60, 4))
    found = bounded_gain(a, b, codes)
    count = 0
    weights = dirichlet_weights(10, 20_000, 0)
    labels = np.unique(codes)
    largest = max(int((codes == label).sum()) for label in labels)
    for drawn in weights[:2000]:
        total, pairs = -float(drawn[9]) * largest, float(drawn[9]) * largest
        for place, label in enumerate(labels):
            inside = codes == label
            total += float(drawn[place]) * float((a.mean(axis=1) - b.mean(axis=1))[inside].sum())
            pairs += float(drawn[place]) * int(inside.sum())
        count += total / pairs <= -0.1
    assert found.p_loses(0.1) == pytest.approx(count / 2000, abs=0.03)


def test_pairs_without_a_value_are_left_out_and_one_sequence_says_nothing() -> None:
    found = bounded_gain([1.0, np.nan, 1.0], [1.0, 1.0, 0.0], np.array([0, 1, 2]))
    assert (found.value, found.n_clusters) == (0.5, 2)
    alone = bounded_gain([1.0], [1.0], np.array([0]))
    assert np.isnan(alone.p_loses(0.1)) and np.isnan(alone.limits()[0])


def test_the_plan_is_the_rule_of_three() -> None:
    """0.98^n <= 0.05 needs 149 sequences."""
    same = np.ones(13)
    found = bounded_gain(same, same, np.arange(13))
    assert sequences_needed(found, 0.02, 0.05) in (143, 156)
    assert sequences_needed(bounded_gain(np.zeros(13), same, np.arange(13)), 0.02, 0.05) is None


@pytest.mark.parametrize("whole", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("k", [13, 40])
def test_a_loss_of_the_margin_is_refuted_in_five_percent_at_most(k: int, whole: float) -> None:
    margin, trials, refuted = 0.2, 300, 0
    rng = np.random.default_rng(k)
    codes = np.repeat(np.arange(k), 5)
    for _ in range(trials):
        sequences = rng.random((k, 1)) < margin * whole
        pairs = rng.random((k, 5)) < margin * (1 - whole) / (1 - margin * whole)
        values = 1.0 - (sequences | pairs).reshape(-1)
        refuted += bounded_gain(values, np.ones(5 * k), codes).p_loses(margin) <= 0.05
    assert refuted / trials <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / trials)
