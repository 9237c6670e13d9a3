"""Tests and power: closed forms, enumeration and published check values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import (
    early_stopping_min_samples,
    early_stopping_percentile,
    holm,
    mcnemar_exact,
    minimum_detectable_difference,
    required_clusters,
    t_p_value,
)

NAN = math.nan


@given(wins=st.integers(0, 12), losses=st.integers(0, 12), same=st.integers(0, 5))
def test_mcnemar_by_enumeration(wins: int, losses: int, same: int) -> None:
    a = [1] * wins + [0] * losses + [1] * same
    b = [0] * wins + [1] * losses + [1] * same
    n, k = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert mcnemar_exact(a, b) == pytest.approx(min(1.0, 2 * tail) if n else 1.0)
    assert mcnemar_exact(a, b) == mcnemar_exact(b, a)


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


def test_paired_verdicts_must_have_one_shape() -> None:
    with pytest.raises(ValueError, match="shape"):
        mcnemar_exact([1], [1, 0])
