"""Intervals hold the truth as often as they promise; the full tables come from tests/benchmarks/coverage.py."""

from __future__ import annotations

import numpy as np
import pytest

from bench.stats import mean_interval, share_interval
from bench.stats.intervals import share_limits
from tests.benchmarks.coverage import (
    CORRELATIONS,
    SEQUENCES,
    TRUTHS,
    difference_cell,
    median_cell,
    share_cell,
    verdict_moments,
)


def test_the_simulation_uses_the_interval_of_the_tables() -> None:
    hits = np.random.default_rng(0).integers(0, 6, (20, 13))
    low, high = share_limits(verdict_moments(hits))
    codes = np.repeat(np.arange(13), 5)
    for row, counts in enumerate(hits):
        found = share_interval((np.arange(5) < counts[:, None]).reshape(-1), codes)
        assert (found.low, found.high) == pytest.approx((low[row], high[row]))


@pytest.mark.parametrize("sequences", SEQUENCES)
def test_share_intervals_hold_the_truth(sequences: int) -> None:
    """At least 92 %, less three standard errors of the 1000 samples."""
    for truth in TRUTHS:
        for correlation in CORRELATIONS:
            coverage, width, _, bootstrap = share_cell(truth, sequences, correlation, 1000)
            assert coverage >= 0.92 - 3 * (0.08 * 0.92 / 1000) ** 0.5, (truth, correlation)
            if sequences >= 57 and truth <= 0.9:
                assert width <= 1.12 * bootstrap, (truth, correlation)


@pytest.mark.parametrize("sequences", [5, 6, 20, 30, 250])
@pytest.mark.parametrize("correlation", [0.1, 0.95])
def test_share_intervals_hold_the_truth_elsewhere(sequences: int, correlation: float) -> None:
    for truth in (0.03, 0.6, 0.8, 0.95, 0.98):
        assert share_cell(truth, sequences, correlation, 1000)[0] >= 0.90, truth


@pytest.mark.parametrize("sequences", [3, 8, 13])
def test_share_intervals_of_measurements_hold_the_truth(sequences: int) -> None:
    """Values between 0 and 1, as repeatability: sequences differ, their pairs differ a little."""
    rng = np.random.default_rng(sequences)
    codes = np.repeat(np.arange(sequences), 5)
    for truth, concentration in ((0.6, 20.0), (0.9, 10.0), (0.97, 10.0)):
        hits = 0
        for _ in range(600):
            own = rng.beta(truth * concentration, (1 - truth) * concentration, sequences)[codes]
            found = share_interval(np.clip(own + rng.normal(0, 0.01, len(own)), 0, 1), codes)
            hits += found.low <= truth <= found.high
        assert hits / 600 >= 0.90, truth


@pytest.mark.slow
@pytest.mark.parametrize("sequences", SEQUENCES)
@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_differences_hold_the_truth_and_raise_no_false_alarm(sequences: int, correlation: float) -> None:
    for losses, gains in ((0.02, 0.02), (0.06, 0.06), (0.03, 0.0), (0.03, 0.01), (0.1, 0.02)):
        coverage, called_different, _, _ = difference_cell(losses, gains, sequences, correlation, 500)
        assert coverage >= 0.90, (losses, gains)
        if losses == gains:
            assert called_different <= 0.08, losses


@pytest.mark.slow
@pytest.mark.parametrize("sequences", [8, 13, 57])
def test_median_intervals_hold_the_truth(sequences: int) -> None:
    for correlation in CORRELATIONS:
        coverage, exists = median_cell(0.5, sequences, correlation, 500)
        assert exists == 1.0
        assert coverage >= 0.92


@pytest.mark.parametrize("sequences", [2, 3, 4, 8, 13])
def test_mean_intervals_of_few_sequences_hold_the_truth(sequences: int) -> None:
    """Counts: log-normal over sequences."""
    rng = np.random.default_rng(sequences)
    codes = np.repeat(np.arange(sequences), 5)
    truth = 300 * np.exp(0.4**2 / 2)
    hits = 0
    for _ in range(800):
        found = mean_interval(300 * rng.lognormal(0, 0.4, sequences)[codes], codes)
        hits += found.low <= truth <= found.high
    assert hits / 800 >= 0.90
