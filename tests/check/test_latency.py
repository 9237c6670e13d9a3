"""Ratios of times with known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.check.decide import decide
from bench.check.evidence import extraction_times
from bench.check.gate import ExitCode, check_evidence
from bench.check.latency import compare_times, machine_ms
from bench.stats import Decision
from tests.check.simulate import Change, World, check_config, evidence, times, with_header

WORLD = World(sequences=16)
CONFIG = check_config("draws=1000")
SAME = {"superpoint": "superpoint"}


def test_equal_times_have_ratio_one() -> None:
    found, remark = compare_times(times(WORLD), times(WORLD), SAME, CONFIG)
    assert [(one.metric, one.change) for one in found] == [("latency_median_ms", 0.0), ("latency_p90_ms", 0.0)]
    assert "1.00 times" in remark


@pytest.mark.parametrize("factor", [1.3, 0.7])
def test_a_constant_factor_is_measured_exactly(factor: float) -> None:
    base = times(WORLD)
    found, _ = compare_times(base.assign(ms=base["ms"] * factor), base, SAME, CONFIG)
    for one in found:
        assert one.change == pytest.approx(factor - 1)
        assert one.low == pytest.approx(one.high)


def test_a_slower_machine_is_not_a_regression() -> None:
    candidate = times(WORLD, Change(machine=2.0), seed=2)
    normalised, remark = compare_times(candidate, times(WORLD), SAME, CONFIG)
    assert abs(normalised[0].change) < 0.05
    assert "2.0" in remark
    raw, remark = compare_times(candidate, times(WORLD), SAME, check_config("draws=1000", "latency.normalise=false"))
    assert raw[0].change == pytest.approx(1.0, abs=0.15)
    assert "latency.normalise=false" in remark


def test_without_calibration_times_are_compared_as_they_are() -> None:
    candidate = times(WORLD).assign(calibration_ms=np.nan)
    found, remark = compare_times(candidate, times(WORLD), SAME, CONFIG)
    assert found[0].change == 0.0
    assert "no calibration" in remark


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (Change(), ExitCode.PASS),
        (Change(machine=1.5), ExitCode.PASS),
        (Change(latency=1.3), ExitCode.REGRESSION),
        (Change(latency=0.6), ExitCode.PASS),
    ],
)
def test_verdicts(change: Change, code: ExitCode) -> None:
    baseline = evidence(WORLD, with_times=True)
    candidate = replace(baseline, times=times(WORLD, change, seed=2))
    report = check_evidence(candidate, baseline, CONFIG)
    assert report.code is code
    if change.latency < 1:
        assert [one.metric for one in report.comparisons if one.improved] == ["latency_median_ms", "latency_p90_ms"]


def test_a_noisy_run_decides_nothing_about_latency() -> None:
    baseline = evidence(WORLD, with_times=True)
    slow = replace(baseline, times=times(WORLD, Change(latency=1.3), seed=2))
    noisy = with_header(slow, noise={"noisy": True, "reasons": ["busy"]})
    report = check_evidence(noisy, baseline, CONFIG)
    verdicts = {one.metric: one.verdict for one in report.comparisons if one.metric.startswith("latency")}
    assert set(verdicts.values()) == {Decision.INCONCLUSIVE}
    assert report.code is ExitCode.INCONCLUSIVE
    assert check_evidence(noisy, baseline, check_config("latency.noisy=use")).code is ExitCode.REGRESSION


def test_runs_without_latency_are_compared_without_it() -> None:
    baseline = evidence(WORLD, with_times=True)
    report = check_evidence(with_header(baseline, latency_mode="off"), baseline, CONFIG)
    assert "latency not compared: the candidate was run with latency=off" in report.remarks
    assert report.code is ExitCode.PASS


def test_stages_are_added_and_joined_with_their_block() -> None:
    rows = [
        ("calibration", "", "calibration", 0, 0, 4.0), ("calibration", "", "calibration", 1, 0, 5.0),
        ("m", "a", "preprocess", 0, 0, 1.0), ("m", "a", "infer", 0, 0, 10.0), ("m", "a", "decode", 0, 0, 2.0),
        ("m", "a", "infer", 1, 0, 20.0), ("m", "b", "infer", 0, 1, 30.0), ("m", "a/1-2", "match", 0, -1, 99.0),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["method", "item", "stage", "repeat", "block", "ms"])
    total = extraction_times(table).set_index(["item", "repeat"])
    assert total["ms"].to_dict() == {("a", 0): 13.0, ("a", 1): 20.0, ("b", 0): 30.0}
    assert total.loc[("a", 1), "calibration_ms"] == 5.0
    assert np.isnan(total.loc[("b", 0), "calibration_ms"])


def test_one_slow_kernel_call_does_not_move_the_machine_speed() -> None:
    base = times(WORLD).assign(calibration_ms=4.0)
    base.loc[base["block"] == 7, "calibration_ms"] = 40.0
    assert (machine_ms(base) == 4.0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "low", "high"), [(1.0, 0.0, 0.01), (1.1, 0.0, 0.07), (1.2, 0.9, 1.0)])
def test_false_alarms_and_detection(factor: float, low: float, high: float) -> None:
    """Share of regressions among 500 pairs of runs of 78 images: no change, the margin exactly (5 % and its
    sampling error), twice the margin."""
    world = World(sequences=13)
    failed = 0
    for seed in range(500):
        drawn = replace(world, seed=seed)
        candidate, base = times(drawn, Change(latency=factor), 2 * seed + 2), times(drawn, seed=2 * seed + 1)
        decided = decide(compare_times(candidate, base, SAME, CONFIG)[0], CONFIG.alpha)
        failed += any(one.verdict is Decision.FAIL for one in decided)
    print(f"latency x {factor}: {failed} of 500")
    assert low <= failed / 500 <= high
