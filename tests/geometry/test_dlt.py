"""The direct linear transform recovers exact homographies and minimises what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.types import Size
from bench.geometry.dlt import dlt_homography, normalisation, orient
from bench.geometry.transforms import corner_error_px, transform_points, translation
from tests.metrics.naive_protocol import dlt

SIZE = Size(480, 640)
CORNERS = np.array([[0, 0], [639, 0], [0, 479], [639, 479]], float)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 40))
def test_exact_recovery(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    H = np.eye(3) + np.array([[0.3, 0.3, 50], [0.3, 0.3, 50], [3e-4, 3e-4, 0]]) * rng.uniform(-1, 1, (3, 3))
    xy = np.concatenate([CORNERS, rng.uniform(0, [639, 479], (n, 2))])
    assert corner_error_px(dlt_homography(xy, transform_points(H, xy)), H, SIZE) < 1e-6


def test_minimises_the_algebraic_error_of_normalised_points() -> None:
    rng = np.random.default_rng(1)
    a = rng.uniform(0, [639, 479], (30, 2))
    b = a + rng.normal(0, 2, a.shape)
    ta, tb = normalisation(a), normalisation(b)
    na, nb = transform_points(ta, a), transform_points(tb, b)

    def algebraic(H: np.ndarray) -> float:
        h = tb @ H @ np.linalg.inv(ta)
        h = h / np.linalg.norm(h)
        p = np.c_[na, np.ones(len(na))] @ h.T
        return float((np.cross(np.c_[nb, np.ones(len(nb))], p)[:, :2] ** 2).sum())

    H = dlt_homography(a, b)
    least = algebraic(H)
    for _ in range(50):
        assert algebraic(H + 1e-4 * rng.normal(size=(3, 3)) * np.abs(H)) > least


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(5, 40), noise=st.floats(0.3, 40))
def test_lu_equals_a_naive_solution(seed: int, n: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, [639, 479], (n, 2))
    b = a + rng.normal(0, noise, a.shape)
    found, expected = dlt_homography(a, b, "lu"), orient(dlt(a, b, "lu"), a)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_lu_is_the_svd_on_exact_points_and_differs_on_wrong_ones() -> None:
    rng = np.random.default_rng(4)
    H = np.array([[0.9, 0.1, 20.0], [-0.05, 1.2, 3.0], [1e-4, -2e-4, 1.0]])
    for n in (0, 1, 60):
        xy = np.concatenate([CORNERS, rng.uniform(0, [639, 479], (n, 2))])
        assert corner_error_px(dlt_homography(xy, transform_points(H, xy), "lu"), H, SIZE) < 1e-5
    target = transform_points(H, xy)
    target[:12] = rng.uniform(0, [639, 479], (12, 2))
    errors = [corner_error_px(dlt_homography(xy, target, solver), H, SIZE) for solver in ("svd", "lu")]
    assert abs(errors[0] - errors[1]) > 1


def test_normalisation_has_mean_zero_and_mean_distance_sqrt_2() -> None:
    xy = np.random.default_rng(0).uniform(0, 500, (20, 2))
    moved = transform_points(normalisation(xy), xy)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=1e-12)
    assert np.hypot(*moved.T).mean() == pytest.approx(np.sqrt(2))
    np.testing.assert_array_equal(normalisation(np.full((5, 2), 7.0)), translation(-7, -7))


def test_orientation_leaves_the_points_in_front() -> None:
    H = np.array([[1, 0, 0], [0, 1, 0], [0.01, 0, -1]], float)  # origin behind the camera, x > 100 in front
    xy = np.array([[200, 0], [300, 50], [400, 10]], float)
    for sign in (1, -1):
        assert np.isfinite(transform_points(orient(sign * H, xy), xy)).all()
    assert orient(-2 * np.eye(3), xy).tolist() == np.eye(3).tolist()


def test_refuses_fewer_than_four() -> None:
    with pytest.raises(ValueError, match="four"):
        dlt_homography(CORNERS[:3], CORNERS[:3])
    with pytest.raises(ValueError, match="four"):
        dlt_homography(CORNERS, CORNERS[:3])
    with pytest.raises(ValueError, match="svd, lu"):
        dlt_homography(CORNERS, CORNERS, "qr")
