"""Order noise: by hand, and against the spread over orders."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.stats import difference_noise, order_noise


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
