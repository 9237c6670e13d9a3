"""Accuracy and AUC against hand-computed values, a naive second implementation and their stated properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.types import Size
from bench.geometry.ground_truth import corner_error
from bench.metrics.dlt import dlt_estimate
from bench.metrics.homography import accuracy, as_errors, auc_exact, auc_terms, auc_trapezoid
from tests.metrics import naive_metrics as naive

INF = math.inf
errors_lists = st.lists(st.one_of(st.floats(0, 20), st.just(INF), st.sampled_from([0.0, 1.0, 3.0, 5.0])), min_size=1)


def test_accuracy_includes_the_threshold_exactly() -> None:
    above = np.nextafter(3.0, 4.0)
    assert accuracy([3.0], 3.0) == 1.0
    assert accuracy([above], 3.0) == 0.0
    assert accuracy([0.0, 1.0, 3.0, above, INF], 3.0) == 0.6


def test_nan_counts_as_failure_and_is_never_dropped() -> None:
    assert accuracy([math.nan, 0.0], 3.0) == 0.5
    assert auc_exact([math.nan, 0.0], 3.0) == 0.5
    assert auc_trapezoid([math.nan, 0.0], 3.0) == pytest.approx(0.5)
    assert as_errors([math.nan]).tolist() == [INF]


def test_without_errors_there_is_no_number() -> None:
    assert all(math.isnan(f([], 3.0)) for f in (accuracy, auc_exact, auc_trapezoid))


def test_negative_errors_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        accuracy([-1.0], 3.0)


@pytest.mark.parametrize(
    ("errors", "t", "exact", "trapezoid"),
    [
        ([0.0], 5.0, 1.0, 1.0),
        ([INF], 5.0, 0.0, 0.0),
        ([5.0], 5.0, 0.0, 0.0),
        ([2.5], 5.0, 0.5, 0.75),  # triangle to (2.5, 1), then flat
        ([1.0, 3.0], 4.0, 0.5, 0.6875),  # exact (3/4 + 1/4)/2; trapezoid (.25 + 1.5 + 1)/4
        ([1.0, INF], 4.0, 0.375, 0.4375),
    ],
)
def test_auc_closed_forms(errors: list[float], t: float, exact: float, trapezoid: float) -> None:
    assert auc_exact(errors, t) == pytest.approx(exact, abs=1e-15)
    assert auc_trapezoid(errors, t) == pytest.approx(trapezoid, abs=1e-15)


@settings(max_examples=300)
@given(errors=errors_lists, t=st.sampled_from([1.0, 3.0, 5.0, 0.7]))
def test_against_naive(errors: list[float], t: float) -> None:
    assert accuracy(errors, t) == pytest.approx(naive.accuracy(errors, t), abs=1e-12)
    assert auc_exact(errors, t) == pytest.approx(naive.auc_exact(errors, t), abs=1e-12)
    assert auc_trapezoid(errors, t) == pytest.approx(naive.auc_trapezoid(errors, t), abs=1e-12)


@given(errors=errors_lists, t=st.floats(0.1, 10))
def test_trapezoid_is_exact_plus_the_stated_term(errors: list[float], t: float) -> None:
    below = [e for e in errors if e < t]
    extra = max(below, default=0.0) / (2 * len(errors) * t)
    assert auc_trapezoid(errors, t) == pytest.approx(auc_exact(errors, t) + extra, abs=1e-12)
    assert 0 <= extra <= 1 / (2 * len(errors))


@given(errors=errors_lists, t=st.floats(0.1, 10))
def test_bounds_and_order(errors: list[float], t: float) -> None:
    assert 0 <= auc_exact(errors, t) <= accuracy(errors, t) <= 1
    assert accuracy(errors, t) <= accuracy(errors, 2 * t)
    assert auc_terms(errors, t).mean() == auc_exact(errors, t)
    assert auc_exact(errors[::-1], t) == pytest.approx(auc_exact(errors, t), abs=1e-12)


def test_dlt_on_exact_matches_and_degenerate_ones() -> None:
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 400, (20, 2))
    H = np.array([[1.1, 0.1, 5], [-0.05, 0.9, 7], [1e-4, -2e-4, 1]])
    target = np.array([naive.warp(H, p) for p in xy])
    assert corner_error(dlt_estimate(xy, target), H, Size(480, 640)) < 1e-7
    assert dlt_estimate(xy[:3], target[:3]) is None
    assert dlt_estimate(np.zeros((0, 2)), np.zeros((0, 2))) is None
    line = np.c_[np.arange(20.0), np.full(20, 7.0)]
    assert dlt_estimate(line, target) is None
    assert dlt_estimate(target, line) is None
