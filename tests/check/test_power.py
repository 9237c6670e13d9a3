"""Detectable differences and plans, against simulation where there is no closed form."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.check.config import CheckConfig, MetricGate
from bench.check.decide import Comparison
from bench.check.gate import ExitCode, Report, check_evidence
from bench.check.power import as_change, detectable_loss
from bench.check.report import markdown
from tests.check.simulate import Change, World, check_config, evidence

NOISY = Change(sequence_noise=2, pair_noise=2)


def plan(world: World, *overrides: str) -> Report:
    config = check_config("draws=500", "plan=true", *overrides)
    return check_evidence(evidence(world, NOISY, seed=2), evidence(world), config)


def sequences(report: Report, metric: str) -> dict[int, int]:
    return next(need.sequences for need in report.requirements if need.metric == metric)


def test_a_plan_is_no_verdict() -> None:
    report = plan(World(sequences=16), "metrics.repeatability.margin=0.0001")
    assert report.code is ExitCode.PASS
    assert report.requirements
    text = markdown(report)
    assert "## bench check: PLAN" in text
    assert "| 10 repeats |" in text


def test_half_the_margin_needs_four_times_the_sequences() -> None:
    wide = sequences(plan(World(sequences=40)), "matching_score")
    half = sequences(plan(World(sequences=40), "metrics.matching_score.margin=0.01"), "matching_score")
    assert half[1] / wide[1] == pytest.approx(4, rel=0.15)


def test_repeats_help_exactly_where_the_order_of_matches_matters() -> None:
    report = check_evidence(
        evidence(World(repeats=2), seed=2), evidence(World(repeats=2)), check_config("draws=500", "plan=true")
    )
    success = sequences(report, "accuracy_3px")
    assert success[1] > success[10] >= success[50]
    shares = {need.metric: need.order_share for need in report.requirements}
    assert shares["accuracy_3px"] > 0.7  # nothing else differs between these runs
    assert shares["repeatability"] == 0
    assert sequences(report, "repeatability") == {1: 2}  # no noise at all: the fewest sequences with an interval


def test_plan_and_measurement_agree() -> None:
    """Runs with as many sequences as planned have the standard error the plan needs."""
    need = sequences(plan(World(sequences=100), "metrics.repeatability.margin=0.008"), "repeatability")[1]
    report = plan(World(sequences=need), "metrics.repeatability.margin=0.008")
    again = sequences(report, "repeatability")[1]
    assert again == pytest.approx(need, rel=0.35)


def test_detectable_change_is_shown_on_the_scale_of_the_metric() -> None:
    one = Comparison("m", "x", "ratio", "ms", 1.0, 1.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0953, 0.0, 10, 16, 0.5)
    assert detectable_loss(one, 0.9, 0.8) == pytest.approx(0.0953)
    assert as_change(one, 0.0953) == pytest.approx(0.1, abs=1e-3)
    assert as_change(replace(one, limit=-0.1), 0.0953) == pytest.approx(-0.0909, abs=1e-3)
    assert as_change(replace(one, kind="difference", limit=-0.1), 0.3) == -0.3


@pytest.mark.slow
def test_a_loss_called_detectable_is_detected_that_often() -> None:
    """The true change that 80 % power promises fails in 70 to 92 % of 150 simulated checks of one metric."""
    world = World(sequences=30, pairs=2, repeats=1)
    config: CheckConfig = replace(check_config("draws=500"), metrics={"repeatability": MetricGate(0.02)})
    first = check_evidence(evidence(world, NOISY, seed=2), evidence(world), config)
    expected_se = (0.02**2 / 30 + 0.02**2 / 60) ** 0.5
    one = replace(first.comparisons[0], standard_error=expected_se)
    loss = detectable_loss(one, first.family_level, config.power)
    change = replace(NOISY, metrics={"repeatability": -loss})
    base = evidence(world)
    failed = sum(
        check_evidence(evidence(world, change, seed=seed), base, config).code is ExitCode.REGRESSION
        for seed in range(100, 250)
    )
    assert 0.70 * 150 <= failed <= 0.92 * 150
