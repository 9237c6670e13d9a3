"""Rendered views agree with their homographies; light changes leave the geometry alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import DataError
from bench.core.types import Size
from bench.data.warp import draw_camera, limited, overlap, reference_view, relight, render
from bench.geometry.transforms import corners, third_coordinates, transform_points, translation

from .test_prepare import blobs, centroid

SIZE = Size(240, 320)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 1.0), st.floats(0, 180), st.floats(1, 2))
def test_drawn_views_see_enough_of_the_reference(
    seed: int, severity: float, max_rotation_deg: float, max_scale: float
) -> None:
    camera = draw_camera(np.random.default_rng((seed,)), SIZE, severity, max_rotation_deg, max_scale)
    H = camera.H_ref_to_target
    assert camera.overlap == overlap(H, SIZE) >= 0.3
    assert (third_coordinates(H, corners(SIZE)) > 0).all()
    assert abs(camera.rotation_deg) <= max_rotation_deg
    assert 1 / max_scale - 1e-9 <= camera.scale <= max_scale + 1e-9
    assert camera.tilt_deg <= 70 * severity
    back = np.linalg.inv(H)
    np.testing.assert_allclose(
        transform_points(back / back[2, 2], transform_points(H, corners(SIZE))), corners(SIZE), atol=1e-6
    )


def test_no_severity_is_the_identity() -> None:
    camera = draw_camera(np.random.default_rng(0), SIZE, 0.0, 30.0, 1.5)
    np.testing.assert_allclose(camera.H_ref_to_target, np.eye(3), atol=1e-9)
    assert camera.overlap == 1.0


def test_impossible_views_are_refused() -> None:
    with pytest.raises(DataError, match="max_scale"):
        draw_camera(np.random.default_rng(0), SIZE, 1.0, 30.0, 1e6)


@pytest.mark.parametrize("seed", range(4))
def test_blobs_of_a_rendered_view_lie_where_the_homography_says(seed: int) -> None:
    centres = np.array([[160.2, 120.4], [120.7, 100.1], [210.4, 150.9], [190.3, 90.6], [130.5, 160.2]])
    source = blobs(SIZE, centres, 5.0)
    H = draw_camera(np.random.default_rng((seed,)), SIZE, 0.5, 20.0, 1.3).H_ref_to_target
    view = render(source, H, SIZE)[:, :, 0]
    checked = 0
    for centre in centres:
        at = transform_points(H, centre)[0]
        if not (25 < at[0] < SIZE.width - 25 and 25 < at[1] < SIZE.height - 25):
            continue
        found = transform_points(np.linalg.inv(H), centroid(view, at, 2.5))[0]
        assert np.linalg.norm(found - centre) < 0.15
        checked += 1
    assert checked >= 3


def test_whole_pixel_shifts_and_identity_are_exact_inside() -> None:
    rng = np.random.default_rng(0)
    source = cv2.GaussianBlur(rng.integers(0, 256, (240, 320), dtype=np.uint8), (0, 0), 3)
    same = render(source, np.eye(3), SIZE)
    moved = render(source, translation(7, -4), SIZE)
    np.testing.assert_array_equal(moved[:-4, 7:], same[4:, :-7])
    assert np.abs(same.astype(int) - source).max() <= 3


def test_shrinking_does_not_alias() -> None:
    checkers = (np.indices((480, 640)).sum(axis=0) % 2 * 255).astype(np.uint8)
    half = render(checkers, np.diag([0.5, 0.5, 1.0]), SIZE)
    assert np.abs(half[8:-8, 8:-8].astype(float) - 127.5).max() < 40
    assert abs(half.mean() - 127.5) < 2


def test_the_reference_shows_only_the_photograph() -> None:
    for source in (Size(512, 512), Size(400, 600), Size(872, 1000), Size(480, 640)):
        T = reference_view(source, Size(480, 640), 1.7)
        inside = transform_points(np.linalg.inv(T), corners(Size(480, 640), "size_minus_one"))
        assert (inside >= -0.5).all()
        assert (inside <= [source.width - 0.5, source.height - 0.5]).all()
        assert 0.8 <= T[0, 0] == T[1, 1] <= 1.7
    with pytest.raises(DataError, match="too small"):
        reference_view(Size(200, 200), Size(480, 640), 1.7)


@pytest.mark.parametrize("shape", [(240, 320), (240, 320, 3)])
def test_light_is_seeded_and_grows(shape: tuple[int, ...]) -> None:
    source = np.full(shape, 120, dtype=np.uint8)
    first, again, other = (relight(source, np.random.default_rng(seed), 0.8) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.shape == shape and first.dtype == np.uint8
    calm = relight(source, np.random.default_rng(1), 0.0)
    assert abs(calm.mean() - 120) < 0.2 and 1.2 < calm.std() < 1.8
    assert np.abs(first.astype(float) - 120).mean() > 10


@pytest.mark.parametrize("shift", [100, 300, 500, 800])
def test_the_plane_continues_by_reflection(shift: int) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    view = render(ramp, translation(shift, 0), Size(32, 48))
    at = np.abs(np.arange(48) - shift) % 510
    expected = np.where(at > 255, 510 - at, at)
    inner = (expected > 2) & (expected < 253)
    np.testing.assert_allclose(view[16, inner].astype(int), expected[inner], atol=1)


def test_large_photographs_are_shrunk_first() -> None:
    assert limited(np.zeros((2000, 3200, 3), np.uint8), Size(480, 640)).shape == (768, 1229, 3)
    assert limited(np.zeros((872, 1000), np.uint8), Size(480, 640)).shape == (872, 1000)
