"""Match errors, precision, recall and MMA: hand-computed values, boundaries, and naive implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.types import Features, PreparedPair
from bench.geometry.ground_truth import reprojection_error_px
from bench.geometry.transforms import translation
from bench.metrics.homography import inlier_ratio
from bench.metrics.matches import correct, n_correspondences, precision, recall
from bench.metrics.mma import matching_accuracy
from tests.metrics import naive_metrics as naive


def test_a_match_behind_the_horizon_is_wrong() -> None:
    H = np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]])
    errors = reprojection_error_px([[200, 0]], [[0, 0]], H)
    assert errors.tolist() == [math.inf]
    assert precision(errors, 1e9) == 0.0


def test_the_boundary_by_protocol() -> None:
    errors = np.array([1.0])
    assert correct(errors, 1.0).tolist() == [True]
    assert correct(errors, 1.0, strict=True).tolist() == [False]


def test_without_matches() -> None:
    none = np.zeros(0)
    assert precision(none, 3.0) == 0.0
    assert matching_accuracy(none, [1.0, 2.0]).tolist() == [0.0, 0.0]
    assert inlier_ratio(0, 0) == 0.0
    assert inlier_ratio(3, 4) == 0.75
    assert math.isnan(recall(0, 0))
    assert recall(0, 4) == 0.0


def test_recall_counts_keypoints_that_could_be_matched() -> None:
    ref = [[10, 10], [20, 10], [30, 10]]
    target = [[10, 10], [21, 10], [90, 10]]
    assert n_correspondences(ref, target, np.eye(3), [0.5, 1.0, 0.5]) == [1, 2, 1]
    assert n_correspondences(ref, target, np.eye(3), [1.0], strict=True) == [1]
    assert n_correspondences(ref, np.zeros((0, 2)), np.eye(3), [1.0]) == [0]
    assert n_correspondences(ref, target, translation(5000, 0), [3.0]) == [0]


def test_mma_is_a_cumulative_share() -> None:
    errors = np.array([0.0, 1.0, 1.5, math.inf])
    assert matching_accuracy(errors, [0.5, 1.0, 2.0, 1e6]).tolist() == [0.25, 0.5, 0.75, 0.75]


@settings(max_examples=200, deadline=None)
@given(
    scene=naive.scenes(),
    t=st.sampled_from([0.8, 3.0, 6.0]),
    kind=st.sampled_from(["one_way", "symmetric"]),
    strict=st.booleans(),
    seed=st.integers(0, 99),
)
def test_against_naive(
    scene: tuple[PreparedPair, Features, Features], t: float, kind: str, strict: bool, seed: int
) -> None:
    prepared, f_ref, f_target = scene
    H, a, b = prepared.H_ref_to_target, f_ref.keypoints, f_target.keypoints
    n, m = len(a), len(b)
    rng = np.random.default_rng(seed)
    pairs = [(int(i), int(j)) for i, j in zip(rng.permutation(n), rng.permutation(m), strict=False)] if n and m else []
    errors = reprojection_error_px([a[i] for i, _ in pairs], [b[j] for _, j in pairs], H, kind)
    expected = naive.errors_of(pairs, a, b, H, kind)
    np.testing.assert_allclose(errors, expected, rtol=1e-9)

    def good(e: float) -> bool:
        return e < t if strict else e <= t

    share = sum(map(good, expected)) / len(expected) if expected else 0.0
    assert precision(errors, t, strict) == pytest.approx(share)
    thresholds = [0.5, t, 2 * t]
    curve = [sum(e <= x for e in expected) / len(expected) if expected else 0.0 for x in thresholds]
    np.testing.assert_allclose(matching_accuracy(errors, thresholds), curve)
    every = [[good(e) for e in naive.errors_of([(i, j) for j in range(m)], a, b, H, kind)] for i in range(n)]
    possible = n_correspondences(a, b, H, [0.5 * t, t], kind, strict)[1]
    assert possible == sum(any(row) for row in every)
    found = int(correct(errors, t, strict).sum())
    assert found <= possible
    assert recall(found, possible) <= 1 if possible else math.isnan(recall(found, possible))
