"""Random homographies, warped images and photometric changes."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core.types import Size
from bench.train.photometric import PhotometricConfig, augment
from bench.train.warps import WarpConfig, random_homography, warp_image, warp_points

RIGID = WarpConfig(rotation_deg=0, scale_min=1, scale_max=1, perspective=0, shear=0, translation=0)
CENTRE = np.array([79.5, 59.5])


def test_zero_ranges_give_the_identity() -> None:
    homography = random_homography(np.random.default_rng(0), CENTRE, Size(120, 160), RIGID)
    np.testing.assert_allclose(homography, np.eye(3), atol=1e-12)


def test_scales_and_rotations_stay_in_their_ranges_and_reach_them() -> None:
    config = WarpConfig(
        rotation_deg=40, rotation_falloff=0, scale_min=0.5, scale_max=2, perspective=0, shear=0, translation=0
    )
    rng = np.random.default_rng(0)
    drawn = np.array([random_homography(rng, CENTRE, Size(120, 160), config) for _ in range(400)])
    scales = np.sqrt(np.linalg.det(drawn[:, :2, :2]))
    angles = np.rad2deg(np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0]))
    assert 0.5 <= scales.min() < 0.55
    assert 1.9 < scales.max() <= 2.0
    assert -40 <= angles.min() < -37
    assert 37 < angles.max() <= 40
    assert abs(np.log(scales).mean()) < 0.1


def test_flips_mirror_half_of_the_draws() -> None:
    rng = np.random.default_rng(0)
    config = WarpConfig(flip=True, perspective=0)
    signs = [np.linalg.det(random_homography(rng, CENTRE, Size(120, 160), config)[:2, :2]) < 0 for _ in range(200)]
    assert 70 < sum(signs) < 130


def test_points_follow_the_image() -> None:
    image = np.zeros((120, 160), np.float32)
    spots = np.array([[40.0, 30.0], [100.0, 80.0], [80.0, 60.0]])
    columns, rows = np.meshgrid(np.arange(160), np.arange(120))
    for x, y in spots:
        image += np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18).astype(np.float32)
    config = WarpConfig(rotation_deg=30, scale_min=0.9, scale_max=1.1, translation=0.02)
    homography = random_homography(np.random.default_rng(4), CENTRE, Size(120, 160), config)
    warped, _ = warp_image(image, homography, Size(120, 160))
    for x, y in warp_points(homography, spots):
        window = warped[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5] ** 2
        dy, dx = np.mgrid[-4:5, -4:5]
        assert (window * dx).sum() / window.sum() == pytest.approx(x - round(x), abs=0.25)
        assert (window * dy).sum() / window.sum() == pytest.approx(y - round(y), abs=0.25)


def test_valid_pixels_are_those_that_come_from_inside() -> None:
    config = WarpConfig(rotation_deg=40, scale_min=0.6, scale_max=0.7)
    homography = random_homography(np.random.default_rng(1), CENTRE, Size(120, 160), config)
    _, valid = warp_image(np.zeros((120, 160), np.uint8), homography, Size(120, 160))
    rows, columns = np.mgrid[:120, :160]
    source = warp_points(np.linalg.inv(homography), np.stack([columns.ravel(), rows.ravel()], axis=1))
    inside = ((source >= 0) & (source <= (159, 119))).all(axis=1).reshape(120, 160)
    assert 0.2 < valid.mean() < 0.8
    np.testing.assert_array_equal(valid, inside)


def test_points_behind_infinity_are_nan() -> None:
    homography = np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]])
    mapped = warp_points(homography, np.array([[50.0, 0.0], [200.0, 0.0]]))
    np.testing.assert_allclose(mapped[0], [100.0, 0.0])
    assert np.isnan(mapped[1]).all()


def test_augmentation_is_repeatable_bounded_and_moves_nothing() -> None:
    image = np.zeros((64, 64), np.float32)
    image[20:40, 20:40] = 0.6
    changed = 0
    for seed in range(30):
        first = augment(np.random.default_rng(seed), image, PhotometricConfig(bias=0.0, shading=0.0))
        np.testing.assert_array_equal(
            first, augment(np.random.default_rng(seed), image, PhotometricConfig(bias=0.0, shading=0.0))
        )
        assert first.dtype == np.float32
        assert first.min() >= 0
        assert first.max() <= 1
        assert first[24:36, 24:36].mean() > first[:14].mean() + 0.1
        changed += not np.array_equal(first, image)
    assert changed == 30


def test_strength_zero_leaves_an_image_nearly_alone() -> None:
    image = np.random.default_rng(0).random((32, 32), dtype=np.float32)
    config = PhotometricConfig(strength=0.0, motion_blur=0.0)
    np.testing.assert_allclose(augment(np.random.default_rng(1), image, config), image, atol=1e-3)
