"""Transforms by closed forms and by properties that hold for every homography."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.types import Size
from bench.geometry.transforms import (
    corner_error_px,
    corner_errors_px,
    corners,
    is_valid_homography,
    scaling,
    transform_points,
    translation,
    visible,
)

SIZE = Size(480, 640)
seeds = st.integers(0, 2**32 - 1)


def homography(rng: np.random.Generator) -> np.ndarray:
    """A view of a 480x640 image: every corner moved by at most 80 px, which keeps the image convex."""
    source = corners(SIZE)
    target = source + rng.uniform(-80, 80, (4, 2))
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return np.append(np.linalg.solve(np.array(rows), target.ravel()), 1).reshape(3, 3)


def test_corners_follow_the_convention() -> None:
    assert corners(SIZE).tolist() == [[0, 0], [639, 0], [0, 479], [639, 479]]
    assert corners(SIZE, "size").tolist() == [[0, 0], [640, 0], [0, 480], [640, 480]]
    with pytest.raises(ValueError, match="W-1"):
        corners(SIZE, "W-1")


def test_identity_has_no_error() -> None:
    assert corner_error_px(np.eye(3), np.eye(3), SIZE) == 0.0


@pytest.mark.parametrize("convention", ["size_minus_one", "size"])
@pytest.mark.parametrize("d", [0.5, 1.0, 3.0, 5.0, 1024.0])
def test_translation_by_d_has_corner_error_exactly_d(d: float, convention: str) -> None:
    assert corner_error_px(translation(d, 0), np.eye(3), SIZE, convention) == d
    assert corner_error_px(translation(0, -d), np.eye(3), SIZE, convention) == d
    assert corner_error_px(translation(3 * d, 4 * d), translation(0, 0), SIZE, convention) == 5 * d


def test_scaling_error_by_hand() -> None:
    # corners move by 0, 639, 479 and sqrt(639^2 + 479^2)
    expected = (639 + 479 + np.hypot(639, 479)) / 4
    assert corner_error_px(scaling(2, 2), np.eye(3), SIZE) == pytest.approx(expected, abs=1e-12)


def test_error_is_measured_in_the_target_frame() -> None:
    assert corner_error_px(scaling(2, 2) @ translation(1, 0), scaling(2, 2), SIZE) == pytest.approx(2.0)


@given(seed=seeds, k=st.floats(0.01, 100))
def test_error_does_not_depend_on_the_scale_of_the_matrices(seed: int, k: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = homography(rng), homography(rng)
    assert corner_error_px(k * a, b, SIZE) == pytest.approx(corner_error_px(a, k * b, SIZE), rel=1e-9)


@given(seed=seeds)
def test_round_trip(seed: int) -> None:
    rng = np.random.default_rng(seed)
    H = homography(rng)
    xy = rng.uniform(0, [639, 479], (50, 2))
    np.testing.assert_allclose(transform_points(np.linalg.inv(H), transform_points(H, xy)), xy, atol=1e-8)


@given(seed=seeds)
def test_composition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    H = homography(rng)
    A = translation(*rng.uniform(-50, 50, 2)) @ scaling(*rng.uniform(0.5, 2, 2))
    xy = rng.uniform(0, [639, 479], (50, 2))
    np.testing.assert_allclose(transform_points(A @ H, xy), transform_points(A, transform_points(H, xy)), atol=1e-8)


@given(seed=seeds)
def test_corner_error_is_invariant_to_a_shift_of_the_target_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, T = homography(rng), homography(rng), translation(*rng.uniform(-500, 500, 2))
    assert corner_error_px(T @ a, T @ b, SIZE) == pytest.approx(corner_error_px(a, b, SIZE), abs=1e-8)


def test_points_on_and_behind_the_horizon_are_infinite() -> None:
    H = np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1]], float)  # horizon at x = 100
    mapped = transform_points(H, [[50, 10], [100, 10], [150, 10]])
    assert mapped[0].tolist() == [100, 20]
    assert np.isposinf(mapped[1:]).all()


def test_estimate_that_sends_a_corner_behind_the_horizon_has_infinite_error() -> None:
    H = np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1]], float)
    assert corner_error_px(H, np.eye(3), SIZE) == np.inf
    assert corner_error_px(None, np.eye(3), SIZE) == np.inf
    with pytest.raises(ValueError, match="ground-truth"):
        corner_error_px(np.eye(3), H, SIZE)


def test_no_points() -> None:
    assert transform_points(np.eye(3), np.zeros((0, 2))).shape == (0, 2)
    assert visible(np.zeros((0, 2)), SIZE).shape == (0,)


def test_visible_includes_the_outer_pixel_centres() -> None:
    xy = [[0, 0], [639, 479], [-0.01, 0], [0, 479.01], [639.5, 0], [np.inf, np.inf]]
    assert visible(xy, SIZE).tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("H", "valid"),
    [
        (np.eye(3), True),
        (translation(1e5, -1e5), True),
        (1e-200 * np.eye(3), True),
        (np.diag([1.0, -1.0, 1.0]), True),
        (np.zeros((3, 3)), False),
        (np.ones((3, 3)), False),
        (np.diag([1.0, 1.0, 0.0]), False),
        (np.outer([1, 2, 3], [4, 5, 6]) + np.outer([7, 1, 0], [0, 2, 9]), False),
        (np.full((3, 3), np.nan), False),
        (np.diag([1.0, np.inf, 1.0]), False),
        (np.eye(2), False),
        (np.eye(4), False),
        ("text", False),
    ],
)
def test_validity(H: object, valid: bool) -> None:
    assert is_valid_homography(H) is valid


@given(seeds, st.integers(-17, -2))
def test_validity_is_that_of_the_singular_values(seed: int, exponent: int) -> None:
    """Matrices whose smallest singular value is a power of ten times the largest, in pixels and in unit coordinates."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    H = left @ np.diag([1.0, 10.0 ** rng.uniform(exponent, 0), 10.0**exponent]) @ right
    for matrix in (H, translation(1e3, -2e3) @ H, 1e-30 * H, scaling(1e4, 1e-4) @ H):
        values = np.linalg.svd(matrix / np.abs(matrix).max(), compute_uv=False)
        assert is_valid_homography(matrix) == (values[2] > 1e-14 * values[0])


def test_several_errors_are_those_of_one_at_a_time() -> None:
    truth, estimates = translation(1, 2), [translation(1, 5), None, scaling(2, 2), np.diag([1.0, 1.0, -1.0])]
    errors = [corner_error_px(H, truth, SIZE) for H in estimates]
    assert corner_errors_px(estimates, truth, SIZE) == errors
    assert errors[0] == 3.0
    assert np.isposinf([errors[1], errors[3]]).all()
