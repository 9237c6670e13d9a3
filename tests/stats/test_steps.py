"""Steps in a series: analytic cases, and no more false ones than promised."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.stats.steps import contrasts, find_splits, log_level_difference, log_level_test, residual_spread


def always(*_: int) -> float:
    return 0.0


def test_a_step_is_where_least_squares_has_it() -> None:
    levels = [0.0] * 7 + [1.0] * 5
    assert next(s.place for s in find_splits(levels, range(1, 12), always)) == 7


def test_a_stretch_has_two_ends() -> None:
    levels = np.array([0.0] * 8 + [1.0] * 4 + [0.0] * 8) + 0.01 * np.sin(np.arange(20))
    found = find_splits(levels, range(1, 20), log_level_test(levels), least_runs=2)
    assert [s.place for s in found] == [8, 12]
    assert all(s.p_value <= 0.05 for s in found)


def test_only_possible_places_are_looked_at() -> None:
    levels = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert find_splits(levels, [], always) == []
    assert [s.place for s in find_splits(levels, [2], always)] == [2]


def test_p_values_pay_for_every_contrast() -> None:
    def test(*_: int) -> float:
        return 0.004

    levels = [0.0] * 3 + [1.0] * 3
    assert contrasts([1, 2, 3, 4]) == 16
    assert find_splits(levels, [1, 2, 3, 4], test) == []  # 16 x 0.004 > 0.05
    assert find_splits(levels, [3], test)[0].p_value == pytest.approx(0.004)


def test_the_level_test_is_a_t_test_with_the_residuals_of_the_whole_range() -> None:
    from scipy import stats

    rng = np.random.default_rng(0)
    x = rng.normal(size=12)
    x[5:] += 1
    expected = stats.ttest_ind(x[:5], x[5:], equal_var=True).pvalue
    assert log_level_test(x)(0, 5, 12, 0, 12) == pytest.approx(expected)
    assert log_level_test(x, floor=10.0)(0, 5, 12, 0, 12) == 1.0
    assert math.isnan(log_level_test(x)(0, 1, 2, 0, 2))
    # A standard error within the runs that is larger than what changes from run to run counts.
    assert log_level_test(x, within=np.full(12, 50.0))(0, 5, 12, 0, 12) > 0.9


def test_the_interval_of_a_step_is_that_of_the_t_test() -> None:
    from scipy import stats

    rng = np.random.default_rng(1)
    a, b = rng.normal(size=6), rng.normal(1, 1, 9)
    sd, degrees = residual_spread([*a, *b], [6])
    size, low, high = log_level_difference(a, b, sd, degrees)
    interval = stats.ttest_ind(b, a, equal_var=True).confidence_interval()
    assert (size, low, high) == pytest.approx((b.mean() - a.mean(), interval.low, interval.high))


@pytest.mark.parametrize("heavy", [False, True])
def test_false_steps_in_times_stay_below_five_percent(heavy: bool) -> None:
    rng = np.random.default_rng(3)
    histories, false = 400, 0
    for _ in range(histories):
        noise = rng.standard_t(3, 20) if heavy else rng.normal(size=20)
        x = 0.01 * noise
        false += bool(find_splits(x, range(1, 20), log_level_test(x), least_runs=2))
    # 30 of 400 is the 99 % limit of a rate of 5 %.
    assert false <= 30


def test_a_step_of_eight_percent_is_found_in_times_that_vary_by_one() -> None:
    rng = np.random.default_rng(4)
    exact = 0
    for _ in range(50):
        x, place = 0.01 * rng.normal(size=20), int(rng.integers(2, 19))
        x[place:] += math.log(1.08)
        exact += [s.place for s in find_splits(x, range(1, 20), log_level_test(x), 0.05 / 8, 2)] == [place]
    assert exact >= 48
