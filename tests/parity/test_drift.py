"""Drift measures against answers known without computing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.core.types import Features, Matches, Size
from bench.geometry.transforms import translation
from bench.parity.drift import (
    agreement,
    corner_shifts_px,
    cosine_similarities,
    flip_rate,
    jaccard,
    match_keys,
    off_diagonal,
    partners,
    rank_correlation,
    tensor_drift,
)

POINTS = arrays(np.int64, st.tuples(st.integers(0, 25), st.just(2)), elements=st.integers(0, 12), unique=False)


def grid(step: int = 10, n: int = 6) -> np.ndarray:
    """Integer points `step` px apart."""
    y, x = np.mgrid[0:n, 0:n] * step
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


# --- tensors ----------------------------------------------------------------------------------------------------------


def test_constant_offset() -> None:
    reference = np.array([[-4.0, 0.0], [1.0, 2.0]], np.float32)
    drift = tensor_drift(reference, reference + np.float32(0.5))
    assert drift.n == 4 and drift.n_not_finite == 0
    assert (drift.max_abs, drift.mean_abs) == (0.5, 0.5)
    assert drift.quantiles_abs == (0.5,) * 4
    assert (drift.max_relative, drift.mean_relative) == (0.125, 0.125)
    assert drift.l2_relative == pytest.approx(1.0 / math.sqrt(21.0))


def test_quantiles_of_a_ramp() -> None:
    drift = tensor_drift(np.zeros(1001), np.arange(1001) / 1000.0, quantiles=(0.5, 0.99))
    assert drift.quantiles_abs == pytest.approx((0.5, 0.99))
    assert drift.mean_abs == pytest.approx(0.5)
    assert math.isinf(drift.max_relative)


def test_equal_tensors_have_no_drift_even_when_zero() -> None:
    for tensor in (np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32)):
        drift = tensor_drift(tensor, tensor.copy())
        assert (drift.max_abs, drift.mean_abs, drift.max_relative, drift.l2_relative) == (0.0, 0.0, 0.0, 0.0)


def test_overflow_is_counted_not_averaged() -> None:
    reference = np.array([1.0, 2.0, 70000.0], np.float32)
    with np.errstate(over="ignore"):
        other = reference.astype(np.float16).astype(np.float32)
    drift = tensor_drift(reference, other)
    assert drift.n_not_finite == 1 and drift.max_abs == 0.0


def test_integers_are_compared_as_numbers() -> None:
    drift = tensor_drift(np.array([0, 1, 1], np.int32), np.array([1, 1, 0], np.int32))
    assert (drift.max_abs, drift.max_relative) == (1.0, 1.0)
    assert drift.mean_abs == pytest.approx(2 / 3) and drift.l2_relative == pytest.approx(1.0)


def test_nothing_finite_gives_nan() -> None:
    drift = tensor_drift(np.ones(2), np.full(2, math.inf))
    assert drift.n_not_finite == 2 and math.isnan(drift.max_abs) and math.isnan(drift.l2_relative)


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        tensor_drift(np.zeros(2), np.zeros(3))


@given(arrays(np.float32, 30, elements=st.floats(-100, 100, width=32)), st.floats(0.001, 8.0))
def test_relative_drift_does_not_depend_on_scale(reference: np.ndarray, scale: float) -> None:
    reference = reference.astype(np.float64)
    other = reference + np.linspace(-1, 1, 30)
    a, b = tensor_drift(reference, other), tensor_drift(scale * reference, scale * other)
    for name in ("max_relative", "mean_relative", "l2_relative"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-6)


# --- keypoints --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "shared"), [((0, 0), (36, 36, 36)), ((1, 0), (0, 36, 36)), ((1, 1), (0, 0, 36)), ((3, 0), (0, 0, 0))]
)
def test_shifted_keypoints(shift: tuple[int, int], shared: tuple[int, int, int]) -> None:
    xy = grid()
    found = partners(xy, xy + np.float32(shift), 2.0)
    for radius, expected in zip((0.0, 1.0, 2.0), shared, strict=True):
        counts = agreement(found, 36, 36, radius)
        assert counts.n_shared == expected
        assert counts.n_lost == counts.n_gained == 36 - expected
        assert counts.n_moved == (expected if shift != (0, 0) else 0)


def test_lost_and_gained_are_told_apart() -> None:
    xy = grid()
    other = np.vstack([xy[3:], [[500, 500]]])
    counts = agreement(partners(xy, other, 2.0), len(xy), len(other), 0.0)
    assert (counts.n_shared, counts.n_lost, counts.n_gained, counts.n_moved) == (33, 3, 1, 0)


def test_a_keypoint_that_stayed_keeps_its_place() -> None:
    # The largest assignment within 1 px would join 0-1 and 1-2; nearest first keeps the equal pair.
    found = partners([[0, 0], [1, 0]], [[1, 0], [2, 0]], 1.0)
    assert found.reference.tolist() == [1] and found.other.tolist() == [0] and found.distance_px.tolist() == [0.0]


def test_no_keypoints() -> None:
    found = partners(np.empty((0, 2)), grid(), 2.0)
    counts = agreement(found, 0, 36, 2.0)
    assert (counts.n_shared, counts.n_lost, counts.n_gained) == (0, 0, 36)


@given(POINTS, POINTS, st.floats(0, 4))
def test_partners_are_one_to_one_symmetric_and_nested(a: np.ndarray, b: np.ndarray, radius: float) -> None:
    found = partners(a, b, 4.0)
    assert len(set(found.reference.tolist())) == len(found.reference) == len(set(found.other.tolist()))
    assert (found.distance_px <= 4.0).all()
    assert np.array_equal(found.distance_px, np.hypot(*(a[found.reference] - b[found.other]).T))
    near, direct = found.within(radius), partners(a, b, radius)
    assert np.array_equal(near.reference, direct.reference) and np.array_equal(near.other, direct.other)
    taken_a, taken_b = set(found.reference.tolist()), set(found.other.tolist())
    for i in set(range(len(a))) - taken_a:
        for j in set(range(len(b))) - taken_b:
            assert np.hypot(*(a[i] - b[j])) > 4.0


@given(POINTS)
def test_a_set_agrees_with_itself_in_any_order(xy: np.ndarray) -> None:
    shuffled = xy[np.random.default_rng(0).permutation(len(xy))]
    counts = agreement(partners(xy, shuffled, 2.0), len(xy), len(xy), 2.0)
    assert (counts.n_shared, counts.n_lost, counts.n_gained, counts.n_moved) == (len(xy), 0, 0, 0)


# --- scores and descriptors -------------------------------------------------------------------------------------------


def test_rank_correlation_sees_order_only() -> None:
    scores = np.array([0.9, 0.5, 0.4, 0.1])
    assert rank_correlation(scores, np.sqrt(scores)) == pytest.approx(1.0)
    assert rank_correlation(scores, 1 - scores) == pytest.approx(-1.0)
    # One swap of neighbours among four: 1 - 6 * 2 / (4 * 15).
    assert rank_correlation(scores, scores[[1, 0, 2, 3]]) == pytest.approx(0.8)


def test_rank_correlation_is_undefined_without_an_order() -> None:
    assert math.isnan(rank_correlation([0.5], [0.5]))
    assert math.isnan(rank_correlation([0.5, 0.5], [0.1, 0.2]))


@given(st.permutations(range(8)))
def test_rank_correlation_of_a_permutation(order: list[int]) -> None:
    expected = 1 - 6 * sum((i - k) ** 2 for i, k in enumerate(order)) / (8 * 63)
    assert rank_correlation(np.arange(8), np.array(order)) == pytest.approx(expected)


@pytest.mark.parametrize("degrees", [0.0, 0.5, 60.0, 90.0, 180.0])
def test_rotated_descriptors(degrees: float) -> None:
    rng = np.random.default_rng(1)
    descriptors = rng.normal(size=(20, 16)).astype(np.float32)
    angle, rotated = math.radians(degrees), descriptors.copy()
    # Every plane (2k, 2k+1) turns by the same angle, so every vector does.
    rotated[:, 0::2] = math.cos(angle) * descriptors[:, 0::2] - math.sin(angle) * descriptors[:, 1::2]
    rotated[:, 1::2] = math.sin(angle) * descriptors[:, 0::2] + math.cos(angle) * descriptors[:, 1::2]
    assert cosine_similarities(descriptors, 3 * rotated) == pytest.approx(math.cos(angle), abs=1e-6)


def test_cosine_of_a_zero_descriptor_is_nan() -> None:
    cosines = cosine_similarities(np.array([[0.0, 0.0], [1.0, 0.0]]), np.ones((2, 2)))
    assert math.isnan(cosines[0]) and cosines[1] == pytest.approx(math.sqrt(0.5))


# --- matches ----------------------------------------------------------------------------------------------------------


def features(xy: np.ndarray) -> Features:
    return Features(xy.astype(np.float32), np.ones(len(xy), np.float32), None, Size(100, 100))


def test_matches_are_compared_by_place_not_by_index() -> None:
    xy = grid()
    order = np.random.default_rng(2).permutation(len(xy))
    n = np.arange(len(xy), dtype=np.int32)
    distances = np.zeros(len(xy), np.float32)
    straight = match_keys(features(xy), features(xy), Matches(np.stack([n, n], 1), distances))
    shuffled = match_keys(
        features(xy[order]), features(xy), Matches(np.stack([n, order.astype(np.int32)], 1), distances)
    )
    assert jaccard(straight, shuffled) == 1.0
    wrong = match_keys(features(xy), features(xy), Matches(np.stack([n, np.roll(n, 1)], 1), distances))
    assert jaccard(straight, wrong) == 0.0


def test_jaccard() -> None:
    a, b = {(0.0, 0.0, 0.0, float(k)) for k in range(6)}, {(0.0, 0.0, 0.0, float(k)) for k in range(3, 9)}
    assert jaccard(a, b) == pytest.approx(3 / 9)
    assert jaccard(set(), set()) == 1.0
    assert jaccard(a, set()) == 0.0


# --- homographies -----------------------------------------------------------------------------------------------------


def test_corner_shift_of_translations() -> None:
    shifts = corner_shifts_px([np.eye(3), translation(3, 4)], [np.eye(3), translation(0, 2), None], Size(48, 64))
    assert shifts[0, :2] == pytest.approx([0.0, 2.0])
    assert shifts[1, :2] == pytest.approx([5.0, math.hypot(3, 2)])
    assert np.isnan(shifts[:, 2]).all()


def test_a_corner_behind_the_horizon_gives_no_shift() -> None:
    H = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1 / 32, 0.0, 1.0]])
    assert np.isnan(corner_shifts_px([np.eye(3)], [H], Size(48, 64))).all()


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6))
def test_equal_estimates_shift_exactly_by_the_noise_floor(offsets: list[float]) -> None:
    homographies = [translation(x, 0.0) for x in offsets]
    shifts = corner_shifts_px(homographies, list(homographies), Size(48, 64))
    assert np.diag(shifts) == pytest.approx(0.0)
    floor = [abs(a - b) for i, a in enumerate(offsets) for j, b in enumerate(offsets) if i != j]
    assert off_diagonal(shifts) == pytest.approx(np.array(floor))


def test_flip_rate() -> None:
    never, always = np.full(4, 9.0), np.full(4, 0.5)
    half = np.array([0.5, 0.5, 9.0, math.inf])
    assert flip_rate(always, always, 3.0) == 0.0
    assert flip_rate(always, never, 3.0) == 1.0
    # 12 ordered pairs of different repeats; 8 of them join a success with a failure.
    assert flip_rate(half, half, 3.0) == pytest.approx(8 / 12)
    assert flip_rate([3.0, 3.0], [3.0, np.nextafter(3.0, 4.0)], 3.0) == pytest.approx(0.5)
    assert math.isnan(flip_rate([1.0], [9.0], 3.0))
