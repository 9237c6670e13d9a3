"""Ratios of times with known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.check.decide import Comparison, decide
from bench.check.evidence import extraction_times
from bench.check.gate import ExitCode, Report, check_evidence
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


def latencies(report: Report) -> dict[str, Comparison]:
    return {one.metric: one for one in report.comparisons if one.metric.startswith("latency")}


def test_neighbours_widen_the_interval() -> None:
    baseline = evidence(WORLD, with_times=True)
    quiet = replace(baseline, times=times(WORLD, seed=2))
    crowded = replace(baseline, times=quiet.times.assign(taken=0.2))
    before, after = (
        latencies(check_evidence(side, baseline, CONFIG))["latency_median_ms"] for side in (quiet, crowded)
    )
    assert after.low == pytest.approx((1 + before.low) * 0.8 - 1)
    assert after.high == pytest.approx(before.high)
    assert "neighbours took 20% of the candidate's time" in after.remark
    mirrored = latencies(check_evidence(baseline, crowded, CONFIG))["latency_median_ms"]
    assert mirrored.high == pytest.approx((1 + before.high) / 0.8 - 1, rel=0.05)
    assert mirrored.verdict is Decision.INCONCLUSIVE  # the baseline may have been 20 % faster
    as_measured = latencies(check_evidence(baseline, crowded, check_config("draws=1000", "latency.noisy=use")))
    assert as_measured["latency_median_ms"].verdict is Decision.PASS


@pytest.mark.parametrize(("latency", "code"), [(1.05, ExitCode.INCONCLUSIVE), (3.0, ExitCode.REGRESSION)])
def test_a_crowded_candidate_fails_only_beyond_what_was_taken(latency: float, code: ExitCode) -> None:
    baseline = evidence(WORLD, with_times=True)
    slow = replace(baseline, times=times(WORLD, Change(latency=latency, taken=0.5), seed=2))
    assert check_evidence(slow, baseline, CONFIG).code is code


def test_a_slow_minute_does_not_touch_the_median() -> None:
    baseline = evidence(WORLD, with_times=True)
    minute = Change(taken=0.5, taken_blocks=0.25)
    same = replace(baseline, times=times(WORLD, minute, seed=2))
    assert latencies(check_evidence(same, baseline, CONFIG))["latency_median_ms"].verdict is Decision.PASS
    slow = replace(baseline, times=times(WORLD, replace(minute, latency=1.3), seed=2))
    assert latencies(check_evidence(slow, baseline, CONFIG))["latency_median_ms"].verdict is Decision.FAIL


@pytest.mark.parametrize("setting", ["widen", "use", "inconclusive"])
def test_a_noisy_run_equals_itself(setting: str) -> None:
    crowded = with_header(
        replace(evidence(WORLD, with_times=True), times=times(WORLD, Change(taken=0.5))), noise={"noisy": True}
    )
    report = check_evidence(crowded, crowded, check_config("draws=1000", f"latency.noisy={setting}"))
    assert report.code is ExitCode.PASS
    assert {(one.change, one.low, one.high) for one in latencies(report).values()} == {(0.0, 0.0, 0.0)}


def test_methods_of_one_crowded_run_are_compared_as_measured() -> None:
    """Blocks of one run share their neighbours: 30 % slower is 30 % slower."""
    world = World(sequences=16, methods=("fast", "slow"))
    crowded = times(world, Change(taken=0.5, taken_blocks=0.6))
    crowded.loc[crowded["method"] == "slow", "ms"] = 1.3 * crowded.loc[crowded["method"] == "fast", "ms"].to_numpy()
    side = replace(evidence(world, with_times=True), times=crowded)
    report = check_evidence(side, side, check_config("draws=1000", "+compare.slow=fast"))
    slow = latencies(report)["latency_median_ms"]
    assert (slow.change, slow.low, slow.high) == pytest.approx((0.3, 0.3, 0.3))
    assert slow.verdict is Decision.FAIL
    assert any("blocks of one run" in remark for remark in report.remarks)


def test_a_noisy_run_without_a_record_of_its_neighbours_decides_nothing() -> None:
    baseline = evidence(WORLD, with_times=True)
    slow = replace(baseline, times=times(WORLD, Change(latency=1.3), seed=2).drop(columns="taken"))
    noisy = with_header(slow, noise={"noisy": True, "reasons": ["busy"]})
    report = check_evidence(noisy, baseline, CONFIG)
    assert {one.verdict for one in latencies(report).values()} == {Decision.INCONCLUSIVE}
    assert report.code is ExitCode.INCONCLUSIVE
    assert check_evidence(noisy, baseline, check_config("latency.noisy=use")).code is ExitCode.REGRESSION
    assert check_evidence(slow, baseline, CONFIG).code is ExitCode.REGRESSION


def test_noisy_runs_may_be_told_to_decide_nothing() -> None:
    baseline = evidence(WORLD, with_times=True)
    noisy = with_header(replace(baseline, times=times(WORLD, seed=2)), noise={"noisy": True})
    assert check_evidence(noisy, baseline, CONFIG).code is ExitCode.PASS
    report = check_evidence(noisy, baseline, check_config("draws=1000", "latency.noisy=inconclusive"))
    assert report.code is ExitCode.INCONCLUSIVE


@pytest.mark.parametrize("setting", ["widen", "use", "inconclusive"])
def test_times_beside_another_run_of_bench_decide_nothing(setting: str) -> None:
    baseline = evidence(WORLD, with_times=True)
    slow = replace(baseline, times=times(WORLD, Change(latency=1.3), seed=2))
    beside = with_header(slow, noise={"noisy": True, "alone": False, "reasons": ["not alone"]})
    config = check_config("draws=1000", f"latency.noisy={setting}")
    report = check_evidence(beside, baseline, config)
    assert report.code is ExitCode.INCONCLUSIVE
    remarks = {one.remark for one in latencies(report).values()}
    assert all(
        "the candidate was measured beside another run of bench on its host; repeat it alone" in r for r in remarks
    )
    alone = with_header(slow, noise={"noisy": False, "alone": True})
    assert check_evidence(alone, baseline, config).code is ExitCode.REGRESSION


def test_times_of_another_calibration_kernel_are_not_normalised() -> None:
    baseline = evidence(WORLD, with_times=True)
    other = with_header(replace(baseline, times=times(WORLD, seed=2)), noise={"noisy": False, "kernel": "another"})
    report = check_evidence(other, baseline, CONFIG)
    assert "latency not normalised: the runs have different calibration kernels" in report.remarks


def test_runs_without_latency_are_compared_without_it() -> None:
    baseline = evidence(WORLD, with_times=True)
    report = check_evidence(with_header(baseline, latency_mode="off"), baseline, CONFIG)
    assert "latency not compared: the candidate was run with latency=off" in report.remarks
    assert report.code is ExitCode.PASS


def test_stages_are_added_and_joined_with_their_block() -> None:
    rows = [
        ("calibration", "", "calibration", 0, 0, 4.0),
        ("calibration", "", "calibration", 1, 0, 5.0),
        ("m", "a", "preprocess", 0, 0, 1.0),
        ("m", "a", "infer", 0, 0, 10.0),
        ("m", "a", "decode", 0, 0, 2.0),
        ("m", "a", "infer", 1, 0, 20.0),
        ("m", "b", "infer", 0, 1, 30.0),
        ("m", "a/1-2", "match", 0, -1, 99.0),
    ]
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


@pytest.mark.slow
@pytest.mark.parametrize("taken_blocks", [0.2, 1.0])
@pytest.mark.parametrize(
    ("factor", "taken", "low", "high"),
    [(1.0, 0.5, 0.0, 0.01), (1.1, 0.5, 0.0, 0.07), (2.6, 0.5, 0.95, 1.0), (1.2, 0.02, 0.9, 1.0)],
)
def test_false_alarms_and_detection_beside_neighbours(
    factor: float, taken: float, low: float, high: float, taken_blocks: float
) -> None:
    """The candidate's run has neighbours on half of the machine, all the time or for a fifth of it."""
    world = World(sequences=13)
    failed = 0
    for seed in range(300):
        drawn = replace(world, seed=seed)
        change = Change(latency=factor, taken=taken, taken_blocks=taken_blocks)
        candidate, base = times(drawn, change, 2 * seed + 2), times(drawn, seed=2 * seed + 1)
        decided = decide(compare_times(candidate, base, SAME, CONFIG)[0], CONFIG.alpha)
        failed += any(one.verdict is Decision.FAIL for one in decided)
    print(f"latency x {factor}, {taken:.0%} taken in {taken_blocks:.0%} of the blocks: {failed} of 300")
    assert low <= failed / 300 <= high
