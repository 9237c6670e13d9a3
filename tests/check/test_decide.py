"""Verdicts against analytic answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.check.config import MetricGate
from bench.check.decide import Comparison, compare_values, decide
from bench.stats import Decision
from tests.check.simulate import check_config

CONFIG = check_config("draws=500")
CLUSTERS = [f"s{i // 5}" for i in range(80)]


def compare(gate: MetricGate, candidate: np.ndarray, baseline: np.ndarray) -> Comparison:
    found = compare_values("m", "x", gate, candidate, baseline, CLUSTERS, CONFIG)
    assert found is not None
    return decide([found], CONFIG.alpha)[0]


@pytest.fixture
def baseline() -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 2, 80)


@pytest.mark.parametrize(
    ("better", "change", "verdict"),
    [
        ("higher", 0.0, Decision.PASS),
        ("higher", -0.019, Decision.PASS),
        ("higher", -0.021, Decision.FAIL),
        ("higher", 0.5, Decision.PASS),
        ("lower", 0.019, Decision.PASS),
        ("lower", 0.021, Decision.FAIL),
        ("lower", -0.5, Decision.PASS),
    ],
)
def test_constant_differences_are_decided_exactly(
    baseline: np.ndarray, better: str, change: float, verdict: Decision
) -> None:
    found = compare(MetricGate(0.02, better=better), baseline + change, baseline)
    assert found.verdict is verdict
    assert found.change == pytest.approx(change)
    assert found.limit == pytest.approx(-0.02 if better == "higher" else 0.02)


@pytest.mark.parametrize(
    ("better", "factor", "verdict"),
    [
        ("lower", 1.099, Decision.PASS),
        ("lower", 1.101, Decision.FAIL),
        ("lower", 0.5, Decision.PASS),
        ("higher", 0.901, Decision.PASS),
        ("higher", 0.899, Decision.FAIL),
        ("higher", 2.0, Decision.PASS),
    ],
)
def test_ratios_are_relative_to_the_baseline(
    baseline: np.ndarray, better: str, factor: float, verdict: Decision
) -> None:
    found = compare(MetricGate(0.1, kind="ratio", better=better), baseline * factor, baseline)
    assert found.verdict is verdict
    assert found.change == pytest.approx(factor - 1)
    assert found.candidate / found.baseline == pytest.approx(factor)
    assert found.limit == pytest.approx(0.1 if better == "lower" else -0.1)


def test_a_change_as_large_as_its_noise_is_inconclusive(baseline: np.ndarray) -> None:
    noise = np.repeat(np.random.default_rng(1).normal(-0.02, 0.05, 16), 5)
    found = compare(MetricGate(0.02), baseline + noise, baseline)
    assert found.verdict is Decision.INCONCLUSIVE
    assert found.low < -0.02 < found.high


def test_improvements_pass_and_are_named(baseline: np.ndarray) -> None:
    noise = np.random.default_rng(2).normal(0, 0.01, 80)
    assert compare(MetricGate(0.02), baseline + 0.1 + noise, baseline).improved
    unchanged = compare(MetricGate(0.02), baseline + noise - noise.mean(), baseline)
    assert not unchanged.improved
    assert unchanged.verdict is Decision.PASS


def test_many_pairs_of_few_sequences_do_not_count_as_evidence(baseline: np.ndarray) -> None:
    change = np.where(np.array(CLUSTERS) == "s0", -1.0, 0.0)  # one of 16 sequences broke: mean -0.0625
    found = compare(MetricGate(0.02), baseline + change, baseline)
    assert found.verdict is Decision.INCONCLUSIVE
    as_if_independent = compare_values(
        "m",
        "x",
        MetricGate(0.02),
        baseline + np.where(np.arange(80) % 16 == 0, -1.0, 0.0),
        baseline,
        [str(i) for i in range(80)],
        CONFIG,
    )
    assert as_if_independent is not None
    assert as_if_independent.standard_error < found.standard_error / 1.8


def test_undefined_pairs_are_left_out_and_counted(baseline: np.ndarray) -> None:
    candidate = baseline.copy()
    candidate[:3] = np.nan
    found = compare(MetricGate(0.02), candidate, baseline)
    assert (found.n, found.remark) == (77, "3 pairs without a value")
    nothing = compare_values("m", "x", MetricGate(0.02), candidate * np.nan, baseline, CLUSTERS, CONFIG)
    assert nothing is None


def test_counts_of_zero_have_a_ratio_with_an_offset() -> None:
    zero, ones = np.zeros(80), np.ones(80)
    with_offset = compare(MetricGate(0.05, kind="ratio", offset=1.0), zero, ones)
    assert with_offset.change == pytest.approx(-0.5)
    assert with_offset.verdict is Decision.FAIL
    assert compare_values("m", "x", MetricGate(0.05, kind="ratio"), zero, ones, CLUSTERS, CONFIG) is None


def test_one_sequence_decides_nothing() -> None:
    found = compare_values("m", "x", MetricGate(0.1), np.zeros(5), np.ones(5), ["s"] * 5, CONFIG)
    assert found is not None
    decided = decide([found], 0.05)[0]
    assert decided.verdict is Decision.INCONCLUSIVE
    assert "one cluster" in decided.remark


def test_holm_makes_a_failure_harder_the_more_is_compared(baseline: np.ndarray) -> None:
    noise = np.repeat(np.random.default_rng(3).normal(0, 0.02, 16), 5)
    noise -= noise.mean()
    one = compare_values("m", "x", MetricGate(0.02), baseline - 0.033 + noise, baseline, CLUSTERS, CONFIG)
    fine = compare_values("m", "y", MetricGate(0.02), baseline, baseline, CLUSTERS, CONFIG)
    assert one is not None
    assert fine is not None
    assert decide([one], 0.05)[0].verdict is Decision.FAIL
    assert decide([one, *[fine] * 50], 0.05)[0].verdict is Decision.INCONCLUSIVE


def test_metrics_that_are_notes_cost_no_power(baseline: np.ndarray) -> None:
    noise = np.repeat(np.random.default_rng(3).normal(0, 0.02, 16), 5)
    noise -= noise.mean()
    one = compare_values("m", "x", MetricGate(0.02), baseline - 0.033 + noise, baseline, CLUSTERS, CONFIG)
    note = compare_values("m", "y", MetricGate(0.02, severity="note"), baseline - 1, baseline, CLUSTERS, CONFIG)
    assert one is not None
    assert note is not None
    decided = decide([one, *[note] * 50], 0.05)
    assert [item.verdict for item in decided[:2]] == [Decision.FAIL, Decision.FAIL]
    assert [item.decides for item in decided[:2]] == [True, False]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.2, 0.2), st.floats(0.001, 0.2), st.booleans())
def test_verdicts_agree_with_interval_and_mirror(seed: int, shift: float, margin: float, lower: bool) -> None:
    """Pass only above the limit, fail only below it; negated values with the other direction decide alike."""
    rng = np.random.default_rng(seed)
    baseline = rng.normal(0, 1, 80)
    candidate = baseline + shift + np.repeat(rng.normal(0, 0.05, 16), 5)
    found = compare(MetricGate(margin, better="lower" if lower else "higher"), candidate, baseline)
    if found.verdict is Decision.PASS:
        assert found.effect_low > -margin
    if found.verdict is Decision.FAIL:
        assert found.effect < -margin
        assert not found.improved
    mirrored = compare(MetricGate(margin, better="higher" if lower else "lower"), -candidate, -baseline)
    assert mirrored.effect == pytest.approx(found.effect)
    assert math.isclose(mirrored.standard_error, found.standard_error, rel_tol=1e-9)
    if abs(found.effect + margin) > 1e-3:
        assert mirrored.verdict is found.verdict or Decision.INCONCLUSIVE in (mirrored.verdict, found.verdict)
