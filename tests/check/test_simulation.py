"""The gate on simulated runs with known truth: false alarms, detection, and what stays undecided.

Quick versions run a few dozen checks; the slow ones are the proof of docs/check.md. Every check compares two fresh runs
of a fresh world: sequences, pairs and order noise are drawn anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest

from bench.check.evidence import protocol_of
from bench.check.gate import ExitCode, check_evidence
from bench.stats import Decision
from bench.summary.measures import measures
from tests.check.simulate import THRESHOLDS_PX, Change, World, check_config, evidence, rows

PHOTOS = World(sequences=13)
HPATCHES = World(sequences=116)
RETRAINED = Change(sequence_noise=1.0, pair_noise=1.0)
ORDER_METRICS = ("accuracy_1px", "accuracy_3px", "accuracy_5px", "auc_5px", "geometric_corner_error_px")


def keypoint_losses(factor: float) -> dict[str, float]:
    """Changes that use up each margin `factor` times, except where corner errors decide."""
    gates = check_config().metrics
    losses = {}
    for name in ("repeatability", "matching_score", "match_precision_1px", "match_precision_3px"):
        losses[name] = -factor * gates[name].margin
    losses["localisation_error_px"] = factor * gates["localisation_error_px"].margin
    for name in ("n_matches", "n_keypoints"):
        losses[name] = factor * float(np.log1p(-gates[name].margin))
    return losses


@cache
def log_error_for(metric: str, loss: float) -> float:
    """Shift of ln(corner error) that costs `loss` in the mean of `metric` over very many sequences."""
    large = replace(HPATCHES, sequences=3000, repeats=4)
    protocol = protocol_of(evidence(large), evidence(large))
    base = measures(rows(large), protocol)[metric].value
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        lost = base - measures(rows(large, Change(log_error=middle)), protocol)[metric].value
        low, high = (middle, high) if lost < loss else (low, middle)
    return (low + high) / 2


@dataclass
class Tally:
    """Outcomes of repeated checks."""

    codes: Counter[ExitCode] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def share(self, code: ExitCode) -> float:
        return self.codes[code] / self.codes.total()


def simulate(world: World, change: Change, checks: int, first_seed: int = 0) -> Tally:
    config = check_config("draws=1000")
    tally = Tally()
    for seed in range(first_seed, first_seed + checks):
        drawn = replace(world, seed=seed)
        report = check_evidence(evidence(drawn, change, 2 * seed + 2), evidence(drawn, seed=2 * seed + 1), config)
        tally.codes[report.code] += 1
        tally.failed.update(one.metric for one in report.comparisons if one.verdict is Decision.FAIL)
    return tally


def test_order_noise_is_as_measured() -> None:
    """Field measurement with MAGSAC: verdicts of .32/.16/.12 (SIFT) and .00/.12/.16 (ORB) of pairs flip at 1/3/5 px."""
    errors = np.stack(rows(replace(HPATCHES, repeats=20))["corner_errors_px"])
    flips = [float(((errors <= t).any(axis=1) & (errors > t).any(axis=1)).mean()) for t in THRESHOLDS_PX]
    assert 0.10 <= flips[0] <= 0.25
    assert 0.12 <= flips[1] <= 0.20
    assert 0.08 <= flips[2] <= 0.16


def test_runs_of_one_world_share_their_truth() -> None:
    a, b = rows(HPATCHES, seed=1), rows(HPATCHES, seed=2)
    assert (a["repeatability"] == b["repeatability"]).all()
    assert np.corrcoef(a["accuracy_3px"], b["accuracy_3px"])[0, 1] > 0.95
    means = a.groupby("sequence")["accuracy_3px"].mean()
    assert means.var() > 3 * a["accuracy_3px"].var() / 5 / 2  # sequences differ more than independent pairs would


@pytest.mark.parametrize("world", [PHOTOS, HPATCHES], ids=["photos", "hpatches"])
def test_reordered_matches_are_no_regression(world: World) -> None:
    tally = simulate(world, Change(), 10)
    assert tally.codes[ExitCode.REGRESSION] == 0
    assert tally.codes[ExitCode.PASS] >= 8


@pytest.mark.parametrize("metric", ["repeatability", "n_matches"])
def test_twice_the_margin_is_detected(metric: str) -> None:
    change = replace(RETRAINED, metrics={metric: keypoint_losses(2)[metric]})
    tally = simulate(PHOTOS, change, 8)
    assert tally.codes[ExitCode.REGRESSION] == 8
    assert set(tally.failed) == {metric}


@pytest.mark.slow
@pytest.mark.parametrize("world", [PHOTOS, HPATCHES], ids=["photos", "hpatches"])
def test_false_alarms_of_equal_models(world: World) -> None:
    """An equally good model, retrained: no metric changes on average, every sequence and pair does."""
    tally = simulate(world, RETRAINED, 1000 if world is PHOTOS else 100)
    print(f"equal: {dict(tally.codes)} {dict(tally.failed)}")
    assert tally.share(ExitCode.REGRESSION) <= 0.05


@pytest.mark.slow
def test_false_alarms_at_the_limit() -> None:
    """The worst case that still is no regression: every keypoint metric and AUC lose exactly their margin."""
    change = replace(RETRAINED, metrics=keypoint_losses(1), log_error=log_error_for("auc_5px", 0.02))
    tally = simulate(PHOTOS, change, 1000, first_seed=5000)
    print(f"at the limit: {dict(tally.codes)} {dict(tally.failed)}")
    assert tally.share(ExitCode.REGRESSION) <= 0.05
    assert tally.share(ExitCode.PASS) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy_3px", *keypoint_losses(1)])
def test_detection_at_twice_the_margin(metric: str) -> None:
    """580 pairs in 116 sequences; only `metric` (for success: the corner errors) gets worse, by twice its margin."""
    if metric == "accuracy_3px":
        change = replace(RETRAINED, log_error=log_error_for(metric, 2 * check_config().metrics[metric].margin))
    else:
        change = replace(RETRAINED, metrics={metric: keypoint_losses(2)[metric]})
    tally = simulate(HPATCHES, change, 40, first_seed=9000)
    print(f"{metric}: {dict(tally.codes)} {dict(tally.failed)}")
    assert tally.failed[metric] >= 36
    assert tally.share(ExitCode.REGRESSION) >= 0.9
