"""Shared region, reprojection and corner errors under known transforms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.core.types import Size
from bench.geometry.ground_truth import corner_error, inside, reprojection_error_px, shared_region
from bench.geometry.transforms import scaling, translation

SIZE = Size(480, 640)
NONE = np.zeros((0, 2))
INF = math.inf


def test_regions_differ_at_the_last_pixel() -> None:
    edge = np.array([[639.0, 479.0], [639.5, 10.0], [640.0, 10.0], [-0.1, 0.0]])
    assert inside(edge, SIZE, "pixel_centres").tolist() == [True, False, False, False]
    assert inside(edge, SIZE, "size").tolist() == [True, True, False, False]
    with pytest.raises(ValueError, match="not pixel_centres or size"):
        inside(edge, SIZE, "everything")


def test_points_behind_the_horizon_are_not_shared() -> None:
    H = np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]])
    assert shared_region([[200.0, 5.0]], NONE, H, SIZE, SIZE)[0].tolist() == [False]


def test_translation_is_its_own_corner_error() -> None:
    size = Size(480, 640)
    assert corner_error(translation(3, 4), np.eye(3), size) == pytest.approx(5.0, abs=1e-12)
    assert corner_error(np.eye(3), np.eye(3), size) == 0.0


def test_corner_convention_of_a_scaling() -> None:
    # Doubling moves corner (x, y) by its distance from the origin: corners (0,0), (W,0), (0,H), (W,H).
    size = Size(4, 3)
    assert corner_error(scaling(2, 2), np.eye(3), size, "size") == pytest.approx((0 + 3 + 4 + 5) / 4)
    assert corner_error(scaling(2, 2), np.eye(3), size, "size_minus_one") == pytest.approx(
        (2 + 3 + math.hypot(2, 3)) / 4
    )


def test_corner_error_in_source_pixels_is_scaled_by_the_resize() -> None:
    size = Size(240, 320)
    halved = scaling(0.5, 0.5)
    assert corner_error(translation(3, 4), np.eye(3), size, T_source_to_target=halved) == pytest.approx(10.0)


@pytest.mark.parametrize("H", [None, np.full((3, 3), np.nan), np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]])])
def test_failures_are_infinite(H: np.ndarray | None) -> None:
    size = Size(480, 640)
    assert corner_error(H, np.eye(3), size) == INF
    assert corner_error(H, np.eye(3), size, T_source_to_target=scaling(0.5, 0.5)) == INF


def test_errors_of_a_known_transform() -> None:
    H = scaling(2, 2)
    # (5, 0) maps to (10, 0); the match says (13, 4): 5 px forward, 2.5 px backward.
    assert reprojection_error_px([[5, 0]], [[13, 4]], H).tolist() == [5.0]
    assert reprojection_error_px([[5, 0]], [[13, 4]], H, "symmetric").tolist() == [3.75]
    with pytest.raises(ValueError, match="not one_way or symmetric"):
        reprojection_error_px([[5, 0]], [[13, 4]], H, "backward")
