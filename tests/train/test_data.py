"""Drawings, labels and batches."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import DataError
from bench.core.types import Size
from bench.train.config import DetectorTargetConfig, PhaseConfig, SuperPointConfig, SyntheticShapesConfig
from bench.train.data import (
    Photograph,
    cell_targets,
    list_photographs,
    magicpoint_batch,
    point_prob,
    read_photograph,
    superpoint_batch,
)
from bench.train.photometric import PhotometricConfig
from bench.train.synthetic_shapes import SHAPES, render
from bench.train.warps import WarpConfig, warp_points

CALM = PhotometricConfig(shading=0, blur=0, motion_blur=0, noise=0, strength=0)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_drawings_are_repeatable_and_their_corners_inside(shape: str) -> None:
    size = Size(96, 128)
    with_corners = 0
    for seed in range(12):
        image, corners = render(np.random.default_rng(seed), size, shape)
        again, same = render(np.random.default_rng(seed), size, shape)
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(corners, same)
        assert image.shape == (96, 128)
        assert image.dtype == np.float32
        assert 0 <= image.min() <= image.max() <= 1
        assert ((corners > -0.5) & (corners < (127.5, 95.5))).all()
        with_corners += len(corners) > 0
    assert with_corners == 0 if shape in ("ellipses", "noise") else with_corners >= 8


@pytest.mark.parametrize("shape", ["checkerboard", "cube", "polygon", "star", "lines", "stripes"])
def test_labelled_corners_are_places_of_high_corner_response(shape: str) -> None:
    ranks = []
    for seed in range(15):
        image, corners = render(np.random.default_rng(seed), Size(120, 160), shape)
        inner = corners[((corners >= 6) & (corners < (154, 114))).all(axis=1)]
        response = cv2.dilate(cv2.cornerMinEigenVal(image, 5), np.ones((5, 5)))
        x, y = np.rint(inner).astype(int).T
        ranks += [float((response < value).mean()) for value in response[y, x]]
    assert len(ranks) > 20
    assert np.median(ranks) > 0.9


def test_point_prob_by_hand() -> None:
    points = np.array([[9.4, 0.6], [8.0, 0.0], [0.0, 15.0], [-0.6, 3.0], [23.6, 3.0], [np.nan, 1.0]])
    prob = point_prob(points, Size(16, 24), np.array([0.5, 0.9, 1.0, 1.0, 1.0, 1.0], np.float32))
    expected = np.zeros((16, 24), np.float32)
    # The first of two points in a cell counts.
    expected[1, 9], expected[15, 0] = 0.5, 1.0
    np.testing.assert_array_equal(prob, expected)
    assert point_prob(np.zeros((0, 2)), Size(8, 16)).sum() == 0


def test_cell_targets_by_hand() -> None:
    prob = np.zeros((16, 24), np.float32)
    prob[1, 9], prob[15, 0] = 0.5, 1.0
    prob[8:10, 16] = 1.5, 0.5
    cells = cell_targets(prob)
    expected = np.zeros((2, 3, 65), np.float32)
    expected[..., 64] = 1
    # (9, 1) is place 1 * 8 + 1 of the cell in row 0, column 1.
    expected[0, 1, [9, 64]] = 0.5
    expected[1, 0, [56, 64]] = 1, 0
    expected[1, 2, [0, 8, 64]] = 0.75, 0.25, 0
    np.testing.assert_allclose(cells, expected, atol=1e-6)


@given(seed=st.integers(0, 10**6), scale=st.floats(0, 0.2))
def test_cell_targets_are_distributions_that_keep_the_map_where_it_is_small(seed: int, scale: float) -> None:
    prob = np.random.default_rng(seed).random((16, 8)).astype(np.float32) * np.float32(scale)
    cells = cell_targets(prob)
    np.testing.assert_allclose(cells.sum(axis=-1), 1, atol=1e-5)
    assert (cells >= 0).all()
    for row in range(2):
        block = prob[8 * row : 8 * row + 8].ravel()
        np.testing.assert_allclose(cells[row, 0, :64], block / max(float(block.sum()), 1), atol=1e-6)


def test_magicpoint_batches_depend_on_seed_and_step_alone() -> None:
    config = SyntheticShapesConfig(height=64, width=64)
    images, targets = magicpoint_batch(1, 5, 4, config)
    again, same = magicpoint_batch(1, 5, 4, config)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(targets["cells"], same["cells"])
    assert images.shape == (4, 64, 64, 1)
    assert targets["cells"].shape == (4, 8, 8, 65)
    assert not np.array_equal(images, magicpoint_batch(1, 6, 4, config)[0])
    assert not np.array_equal(images, magicpoint_batch(2, 5, 4, config)[0])


def photographs(count: int) -> list[Photograph]:
    rng = np.random.default_rng(0)
    photos = []
    for _ in range(count):
        image = cv2.resize(rng.integers(0, 255, (15, 20), dtype=np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
        points = rng.uniform((10, 10), (150, 110), (60, 2)).astype(np.float32)
        scores = np.linspace(1, 0.2, 60, dtype=np.float32)
        photos.append(Photograph(image, points, scores, (image / 255).astype(np.float16)))
    return photos


def superpoint_config(**changes: object) -> SuperPointConfig:
    warp = WarpConfig(rotation_deg=20, scale_min=0.9, scale_max=1.2)
    return SuperPointConfig(
        phases=[PhaseConfig(3, 64, 4, 40), PhaseConfig(2, 96, 2, 80)],
        first_warp=warp,
        second_warp=warp,
        photometric=CALM,
        border_px=2,
        **changes,  # type: ignore[arg-type]
    )


def test_superpoint_batches_depend_on_seed_and_step_alone_and_change_size_with_the_phase() -> None:
    photos, config = photographs(5), superpoint_config()
    for step, size, pairs, count in ((0, 64, 4, 40), (2, 64, 4, 40), (3, 96, 2, 80), (4, 96, 2, 80)):
        images, targets = superpoint_batch(7, step, photos, config)
        again, same = superpoint_batch(7, step, photos, config)
        np.testing.assert_array_equal(images, again)
        assert all(np.array_equal(targets[key], same[key]) for key in targets)
        assert images.shape == (2 * pairs, size, size, 1)
        assert targets["mask"].shape == (2 * pairs, size // 8, size // 8)
        assert targets["cells"].shape == (2 * pairs, size // 8, size // 8, 65)
        assert targets["points_first"].shape == (pairs, count, 2)
    assert not np.array_equal(superpoint_batch(7, 0, photos, config)[0], superpoint_batch(7, 1, photos, config)[0])


def test_every_photograph_is_used_once_in_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    photos, config = photographs(7), superpoint_config()
    used: list[int] = []

    def pair(rng: np.random.Generator, photo: Photograph, phase: PhaseConfig, settings: SuperPointConfig) -> object:
        used.append(next(i for i, each in enumerate(photos) if each is photo))
        blank = np.zeros((2, 8, 8), np.float32)
        targets = dict.fromkeys(("cells", "mask", "points"), blank)
        return blank, {**targets, "valid": blank[0, 0], "homography": blank[0]}

    monkeypatch.setattr("bench.train.data.superpoint_pair", pair)
    for step in range(5):
        superpoint_batch(0, step, photos, config)
    assert len(used) == 16
    assert sorted(used[:7]) == sorted(used[7:14]) == list(range(7))
    assert used[:7] != used[7:14]


def test_points_correspond_under_the_homography_and_in_the_grey_values() -> None:
    images, targets = superpoint_batch(3, 3, photographs(5), superpoint_config())
    differences, shuffled = [], []
    for i in range(2):
        valid = targets["valid"][i] > 0
        assert valid.sum() > 20
        first, second = targets["points_first"][i][valid], targets["points_second"][i][valid]
        np.testing.assert_allclose(warp_points(targets["homography"][i].astype(float), first), second, atol=0.05)
        sampled = [
            cv2.remap(images[k, ..., 0], points[:, 0], points[:, 1], cv2.INTER_LINEAR).ravel()
            for k, points in ((i, first), (i + 2, second))
        ]
        differences.append(np.abs(sampled[0] - sampled[1]).mean())
        shuffled.append(np.abs(sampled[0] - sampled[1][::-1]).mean())
    assert np.mean(differences) < 0.15 * np.mean(shuffled)


def test_labels_of_both_crops_are_the_warped_keypoints() -> None:
    photos, config = photographs(1), superpoint_config()
    _, targets = superpoint_batch(3, 3, photos, config)
    for k in range(2):
        mapped = 0
        # The keypoint of a cell, or 64 where there is none.
        first, second = (np.where(c[..., 64] < 1, c[..., :64].argmax(-1), 64) for c in targets["cells"][[k, k + 2]])
        for row, column in zip(*np.nonzero((first < 64) & (targets["mask"][k] > 0)), strict=True):
            place = first[row, column]
            point = np.array([[column * 8 + place % 8, row * 8 + place // 8]], float)
            x, y = warp_points(targets["homography"][k].astype(float), point)[0]
            inside = 4 <= x < 92 and 4 <= y < 92 and targets["mask"][k + 2][int(y) // 8, int(x) // 8]
            if not inside:
                continue
            rows, columns = np.nonzero(second < 64)
            places = second[rows, columns]
            found = np.stack([columns * 8 + places % 8, rows * 8 + places // 8], axis=1)
            mapped += 1
            # One pixel of rounding on either side, or another keypoint took the cell.
            near = np.linalg.norm(found - (x, y), axis=1).min() < 2
            assert near or second[int(y + 0.5) // 8, int(x + 0.5) // 8] < 64
        assert mapped > 3


def test_the_map_of_the_scores_is_the_target_of_both_crops() -> None:
    target = DetectorTargetConfig(kind="map", gain=0.5, power=1.0)
    images, targets = superpoint_batch(
        3, 3, photographs(5), superpoint_config(detector_target=target, reference_rank=1)
    )
    for image, cells, mask in zip(images[..., 0], targets["cells"], targets["mask"], strict=True):
        # These photographs are their own maps, and calm crops show them unchanged: half the grey value.
        wanted = cell_targets(0.5 * image)
        assert (mask > 0).sum() > 20
        np.testing.assert_allclose(cells[mask > 0], wanted[mask > 0], atol=0.01)


def test_sharpness_narrows_the_maxima_of_a_map_and_keeps_their_values() -> None:
    columns, rows = np.meshgrid(np.arange(40), np.arange(24))
    scores = np.zeros((24, 40), np.float16)
    for x, y, height in ((10, 8, 1.0), (28, 15, 0.5)):
        bump = height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
        scores = np.maximum(scores, bump.astype(np.float16))
    photo = Photograph(np.zeros((24, 40), np.uint8), np.zeros((2, 2)), np.array([1.0, 0.5], np.float32), scores)
    wide, narrow = (photo.prob(DetectorTargetConfig("map", 0.1, 2.0, sharpness), 2) for sharpness in (0.0, 8.0))
    for prob in (wide, narrow):
        # Rank 2 has the gain; twice its score to the power 2 is four times as much.
        assert prob[15, 28] == pytest.approx(0.1, rel=1e-2)
        assert prob[8, 10] == pytest.approx(0.4, rel=1e-2)
    assert wide[8, 12] == pytest.approx(0.4 * np.exp(-1), rel=1e-2)
    assert narrow[8, 12] == pytest.approx(0.4 * np.exp(-1) * np.exp(-0.5 * 8), rel=2e-2)


def test_label_weights_follow_the_scores() -> None:
    photo = Photograph(
        np.zeros((8, 8), np.uint8), np.zeros((4, 2)), np.array([0.8, 0.4, 0.2, 0.1], np.float32), np.zeros(1)
    )
    np.testing.assert_allclose(photo.weights(2), [1, 1, 0.5, 0.25])
    np.testing.assert_allclose(photo.weights(0), 1)
    np.testing.assert_allclose(photo.weights(100), 1)


def test_photographs_are_found_read_and_reduced(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    cv2.imwrite(str(tmp_path / "b" / "large.png"), np.full((300, 500, 3), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "a.JPG"), np.full((100, 80), 200, np.uint8))
    (tmp_path / "notes.txt").touch()
    small, large = list_photographs(tmp_path)
    assert (small.name, large.name) == ("a.JPG", "large.png")
    assert read_photograph(small, 240).shape == (100, 80)
    assert read_photograph(large, 240).shape == (240, 400)
    assert abs(int(read_photograph(large, 240).mean()) - 90) <= 1


def test_unusable_folders_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such folder"):
        list_photographs(tmp_path / "absent")
    with pytest.raises(DataError, match="no image files"):
        list_photographs(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    (tmp_path / "empty.jpg").touch()
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((20, 200), np.uint8))
    for name, message in (("broken.jpg", "not a complete image"), ("empty.jpg", "is empty"), ("tiny.png", "20")):
        with pytest.raises(DataError, match=f"{name}.*{message}"):
            read_photograph(tmp_path / name, 240)
