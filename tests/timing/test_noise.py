"""Quiet and noisy machines, told apart by known sequences."""

from __future__ import annotations

import numpy as np
import pytest

from bench.timing.noise import drift, spread, verdict


def test_a_constant_machine_is_quiet() -> None:
    result = verdict(np.full(50, 4.0), busy_before=0.1)
    assert result["noisy"] is False
    assert result["reasons"] == []
    assert result["calibration_drift"] == 0.0


def test_drift_compares_the_first_and_the_last_fifth() -> None:
    ms = np.concatenate([np.full(10, 4.0), np.full(30, 5.0), np.full(10, 6.0)])
    assert drift(ms) == pytest.approx(0.5)
    result = verdict(ms, None)
    assert result["noisy"] is True
    assert "drifted by +50%" in str(result["reasons"])


def test_spread_is_the_distance_of_the_90th_percentile() -> None:
    ms = np.tile([1.0, 1.0, 1.0, 1.0, 2.0], 10)
    assert spread(ms) == pytest.approx(1.0)
    assert verdict(ms, None)["noisy"] is True


def test_a_busy_machine_is_noisy_before_anything_is_measured() -> None:
    assert verdict(np.empty(0), busy_before=0.6)["noisy"] is True
