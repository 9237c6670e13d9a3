"""Quiet and noisy machines, told apart by known sequences, and how far intervals are widened."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bench.timing.noise import drift, machine, spread, taken_at, verdict, widen


def blocks(calibration_ms: np.ndarray, taken: np.ndarray | float = math.nan) -> pd.DataFrame:
    frame = pd.DataFrame({"calibration_ms": calibration_ms, "taken": taken})
    return frame.set_index(pd.MultiIndex.from_product([[0], range(len(frame))], names=["repeat", "block"]))


def test_a_constant_machine_is_quiet() -> None:
    result = verdict(blocks(np.full(50, 4.0), 0.01), busy_before=0.9)
    assert result["noisy"] is False
    assert result["reasons"] == []
    assert result["calibration_drift"] == 0.0
    assert result["taken_median"] == pytest.approx(0.01)


def test_drift_compares_the_first_and_the_last_fifth() -> None:
    ms = np.concatenate([np.full(10, 4.0), np.full(30, 5.0), np.full(10, 6.0)])
    assert drift(ms) == pytest.approx(0.5)
    result = verdict(blocks(ms), None)
    assert result["noisy"] is True
    assert "drifted by +50%" in str(result["reasons"])


def test_spread_is_the_distance_of_the_90th_percentile() -> None:
    ms = np.tile([1.0, 1.0, 1.0, 1.0, 2.0], 10)
    assert spread(ms) == pytest.approx(1.0)
    assert verdict(blocks(ms), None)["noisy"] is True


def test_neighbours_make_a_run_noisy_however_steady_the_kernel_is() -> None:
    steady = np.full(20, 1.0)
    result = verdict(blocks(steady, 0.5), None)
    assert result["noisy"] is True
    assert "took 50% of the time" in str(result["reasons"])
    one_bad_block = np.where(np.arange(20) == 3, 0.9, 0.0)
    assert verdict(blocks(steady, one_bad_block), None)["noisy"] is False
    slow_minute = np.where(np.arange(20) < 3, 0.9, 0.0)
    assert verdict(blocks(steady, slow_minute), None)["noisy"] is True


def test_what_was_busy_before_decides_only_without_a_record() -> None:
    assert verdict(blocks(np.empty(0)), busy_before=0.6)["noisy"] is True
    assert verdict(blocks(np.empty(0)), busy_before=0.1)["noisy"] is False


def test_rows_become_blocks() -> None:
    rows = [
        ("calibration", "calibration", 0, 0, 1.0),
        ("calibration", "interrupted", 0, 0, 0.0),
        ("calibration", "block", 0, 0, 2000.0),
        ("calibration", "lost", 0, 0, 500.0),
        ("calibration", "calibration", 1, 0, 1.1),
        ("calibration", "interrupted", 1, 0, 0.0),
        ("calibration", "block", 1, 0, 1000.0),
        ("calibration", "lost", 1, 0, 0.0),
        ("sift", "infer", 0, 0, 30.0),
    ]
    times = pd.DataFrame(rows, columns=["method", "stage", "repeat", "block", "ms"])
    found = machine(times)
    assert found.index.to_list() == [(0, 0), (1, 0)]
    assert found["calibration_ms"].to_list() == [1.0, 1.1]
    assert found["taken"].to_list() == [0.25, 0.0]
    only_kernel = machine(times[times["stage"] == "calibration"])
    assert only_kernel["taken"].isna().all()
    assert machine(times[times["method"] == "sift"]).empty


def test_interruptions_count_over_the_whole_run() -> None:
    """Half of the kernel's time was interrupted, in one block of two: the machine was stopped for half of the run."""
    rows = [("calibration", "calibration", 0, block, 1.0) for block in range(2)]
    rows += [("calibration", "interrupted", 0, 0, 30.0), ("calibration", "interrupted", 0, 1, 0.0)]
    times = pd.DataFrame(rows, columns=["method", "stage", "repeat", "block", "ms"])
    assert machine(times)["taken"].to_list() == [0.5, 0.5]


def test_a_system_that_does_not_tell_is_not_called_quiet() -> None:
    stages = {"calibration": 1.0, "interrupted": 0.0, "block": 900.0, "lost": math.nan}
    rows = [("calibration", stage, 0, block, ms) for block in range(3) for stage, ms in stages.items()]
    times = pd.DataFrame(rows, columns=["method", "stage", "repeat", "block", "ms"])
    assert machine(times)["taken"].isna().all()
    assert verdict(machine(times), busy_before=0.6)["noisy"] is True


def test_a_quiet_machine_widens_nothing() -> None:
    assert widen(9.0, 11.0, blocks(np.full(20, 1.0), 0.0), 0.5) == (9.0, 11.0)
    assert widen(9.0, 11.0, blocks(np.empty(0)), 0.5) == (9.0, 11.0)


def test_neighbours_lower_the_lower_limit_by_what_they_took() -> None:
    taken = np.concatenate([np.zeros(15), np.full(5, 0.5)])
    found = blocks(np.full(20, 1.0), taken)
    assert widen(10.0, 12.0, found, 0.5) == pytest.approx((10.0, 12.0))  # the median is of undisturbed blocks
    assert widen(10.0, 12.0, found, 0.9) == pytest.approx((5.0, 12.0))
    assert math.isnan(widen(math.nan, math.nan, found, 0.9)[0])


def test_a_machine_of_varying_speed_widens_both_sides() -> None:
    kernel = np.concatenate([np.full(20, 1.0), np.full(20, 1.21)])  # standard deviation of the logarithm: ln 1.1
    low, high = widen(10.0, 10.0, blocks(kernel, 0.0), 0.5)
    assert (low, high) == pytest.approx((10 / 1.1**1.96, 10 * 1.1**1.96), rel=1e-6)
    single_outlier = np.where(np.arange(40) == 7, 9.0, 1.0)
    assert widen(10.0, 10.0, blocks(single_outlier, 0.0), 0.5) == (10.0, 10.0)


def test_quantiles_of_what_was_taken() -> None:
    taken = np.array([0.0, 0.2, 0.4, math.nan])
    assert taken_at(taken, 0.5) == pytest.approx(0.2)
    assert taken_at(np.full(3, math.nan), 0.5) == 0.0
