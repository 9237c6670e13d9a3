"""NN mAP and matching score: hand-computed values, ties, and naive implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.descriptors import average_precision, matching_score
from tests.metrics import naive_metrics as naive


@pytest.mark.parametrize(
    ("distances", "correct", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], [1, 1, 0, 0], 1.0),
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], (1 / 3 + 2 / 4) / 2),
        ([0.1, 0.2, 0.3], [1, 0, 1], (1 + 2 / 3) / 2),
        ([5, 5, 5, 5], [1, 0, 0, 0], 0.25),  # one threshold accepts all four
        ([1, 2, 2], [1, 1, 0], (1 + 2 / 3) / 2),
        ([0.5], [1], 1.0),
        ([0.5], [0], 0.0),
        ([], [], 0.0),
    ],
)
def test_by_hand(distances: list[float], correct: list[int], expected: float) -> None:
    assert average_precision(distances, correct) == pytest.approx(expected, abs=1e-15)


cases = st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=30)


@given(cases=cases, seed=st.integers(0, 99))
def test_against_naive_and_in_any_order(cases: list[tuple[int, bool]], seed: int) -> None:
    distances, correct = [float(d) for d, _ in cases], [ok for _, ok in cases]
    value = average_precision(distances, correct)
    assert value == pytest.approx(naive.average_precision(distances, correct), abs=1e-12)
    order = np.random.default_rng(seed).permutation(len(cases))
    assert average_precision(np.array(distances)[order], np.array(correct, bool)[order]) == pytest.approx(value)
    assert 0 <= value <= 1


def test_without_ties_it_is_the_mean_precision_at_the_correct_ranks() -> None:
    rng = np.random.default_rng(3)
    ok = rng.random(50) < 0.4
    ranks = np.flatnonzero(ok) + 1
    assert average_precision(np.arange(50.0), ok) == pytest.approx(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def test_matching_score_is_the_mean_of_both_directions() -> None:
    correct_ref, shared_ref = np.array([1, 1, 0, 1], bool), np.array([1, 0, 1, 1], bool)
    correct_target, shared_target = np.array([1, 0], bool), np.array([1, 1], bool)
    # 2 of 3 shared reference keypoints, 1 of 2 shared target keypoints.
    assert matching_score(correct_ref, shared_ref, correct_target, shared_target) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_direction_without_shared_keypoints_counts_zero() -> None:
    none, one = np.zeros(2, bool), np.ones(2, bool)
    assert matching_score(one, none, one, one) == 0.5
    assert matching_score(none, none, none, none) == 0.0
    empty = np.zeros(0, bool)
    assert matching_score(empty, empty, empty, empty) == 0.0
