"""Repeatability and localisation error: hand-computed values, degenerate sets, and a naive second implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.types import Features, PreparedPair, Size
from bench.geometry.ground_truth import shared_region
from bench.geometry.transforms import translation
from bench.metrics.repeatability import (
    localisation_error_px,
    pairs_within,
    repeatability,
    repeatability_one_to_one,
    repeated_points,
)
from tests.metrics import naive_metrics as naive

SIZE = Size(480, 640)
NONE = np.zeros((0, 2))


def measure(a: object, b: object, H: np.ndarray | None = None, t: float = 3.0, budget: int = 0) -> tuple[float, ...]:
    H = np.eye(3) if H is None else H
    points = repeated_points(a, b, H, shared_region(a, b, H, SIZE, SIZE), budget)  # type: ignore[arg-type]
    return repeatability(points, t), repeatability_one_to_one(points, t), localisation_error_px(points, t)


def test_identical_sets_repeat_fully() -> None:
    xy = np.random.default_rng(0).uniform([0, 0], [639, 479], (50, 2))
    assert measure(xy, xy) == (1.0, 1.0, 0.0)


def test_disjoint_sets_do_not_repeat() -> None:
    many, one, error = measure([[10.0, 10.0]], [[300.0, 300.0]])
    assert (many, one) == (0.0, 0.0)
    assert math.isnan(error)


def test_the_boundary_is_inclusive() -> None:
    assert measure([[10.0, 10.0]], [[13.0, 10.0]])[:2] == (1.0, 1.0)
    assert measure([[10.0, 10.0]], [[13.001, 10.0]])[:2] == (0.0, 0.0)
    assert measure([[0.0, 0.0]], [[3.0, 4.0]], t=5.0) == (1.0, 1.0, 5.0)


def test_many_to_one_against_one_to_one() -> None:
    # One target point serves three reference points: (3 + 1) / 4, but 2 * 1 / 4 with single use.
    many, one, error = measure([[10.0, 10.0], [11.0, 10.0], [12.0, 10.0]], [[11.0, 10.0]])
    assert (many, one) == (1.0, 0.5)
    assert error == pytest.approx((1 + 0 + 1 + 0) / 4)


def test_one_to_one_is_maximal_where_greedy_is_not() -> None:
    # Greedy by distance pairs (0, 1.4) first and leaves -2 and 3.9 alone; two disjoint pairs exist.
    a, b = [[12.0, 10.0], [9.0, 10.0]], [[11.4, 10.0], [14.5, 10.0]]
    assert measure(a, b)[1] == 1.0


def test_points_outside_the_shared_region_do_not_count() -> None:
    H = translation(600, 0)
    # Warped by 600 px: x = 100 leaves the target; target x = 10 comes from -590.
    many, one, _ = measure([[100.0, 5.0], [20.0, 5.0]], [[10.0, 5.0], [620.0, 5.0]], H)
    assert (many, one) == (1.0, 1.0)


def test_the_filter_comes_before_the_budget() -> None:
    H = translation(600, 0)
    a, b = [[100.0, 5.0], [20.0, 5.0]], [[620.0, 5.0]]
    assert measure(a, b, H, budget=1)[0] == 1.0


@pytest.mark.parametrize(
    ("a", "b", "many"), [(NONE, NONE, math.nan), (NONE, [[5.0, 5.0]], 0.0), ([[5.0, 5.0]], NONE, 0.0)]
)
def test_without_keypoints(a: object, b: object, many: float) -> None:
    found = measure(a, b)
    assert found[0] == many or (math.isnan(many) and math.isnan(found[0]))
    assert math.isnan(found[2])


def test_no_overlap_is_undefined() -> None:
    xy = np.random.default_rng(0).uniform([0, 0], [639, 479], (10, 2))
    assert all(math.isnan(value) for value in measure(xy, xy, translation(5000, 0)))


@settings(max_examples=300, deadline=None)
@given(
    scene=naive.scenes(),
    t=st.sampled_from([1.0, 3.0, 5.0]),
    budget=st.sampled_from([0, 3]),
    region=st.sampled_from(["pixel_centres", "size"]),
)
def test_against_naive(scene: tuple[PreparedPair, Features, Features], t: float, budget: int, region: str) -> None:
    prepared, f_ref, f_target = scene
    args = (f_ref.keypoints, f_target.keypoints, prepared.H_ref_to_target, prepared.size_ref, prepared.size_target)
    points = repeated_points(*args[:3], shared_region(*args, region), budget)
    found = repeatability(points, t), repeatability_one_to_one(points, t), localisation_error_px(points, t)
    np.testing.assert_allclose(found, naive.repeatability(*args, t, budget, region), rtol=1e-9, equal_nan=True)


@settings(max_examples=100, deadline=None)
@given(scene=naive.scenes(), t=st.floats(0.5, 20))
def test_one_to_one_never_exceeds_many_to_one(scene: tuple[PreparedPair, Features, Features], t: float) -> None:
    prepared, f_ref, f_target = scene
    args = (f_ref.keypoints, f_target.keypoints, prepared.H_ref_to_target)
    points = repeated_points(*args, shared_region(*args, prepared.size_ref, prepared.size_target))
    many, one = repeatability(points, t), repeatability_one_to_one(points, t)
    assert math.isnan(many) == math.isnan(one)
    if not math.isnan(many):
        assert 0 <= one <= many <= 1
        assert not localisation_error_px(points, t) > t


@given(seed=st.integers(0, 1000), radius=st.floats(0, 8))
def test_pairs_within_are_all_pairs(seed: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = np.round(rng.uniform(0, 12, (7, 2))), np.round(rng.uniform(0, 12, (6, 2)))
    a[0] = math.inf
    i, j = pairs_within(a, b, radius)
    expected = [(p, q) for p in range(7) for q in range(6) if naive.distance(a[p], b[q]) <= radius]
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected
