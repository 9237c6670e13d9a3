"""Homographic Adaptation: peaks, agreement of views, cached labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.core.errors import ConfigError, DataError
from bench.core.types import Size
from bench.models.weights import BUILTIN_MAGICPOINT
from bench.train.adapt import (
    adapt_folder,
    adapt_photograph,
    corner_detector,
    keypoint_map,
    label_path,
    label_photograph,
    labels_digest,
    load_photographs,
    local_maxima,
    network_detector,
)
from bench.train.config import AdaptConfig
from bench.train.synthetic_shapes import render
from bench.train.warps import WarpConfig

MILD = WarpConfig(rotation_deg=20, scale_min=0.9, scale_max=1.2, perspective=0.05, shear=0.05, translation=0.05)
CONFIG = AdaptConfig(detector="shi_tomasi", warps=10, min_views=3, warp=MILD, threshold=0.05)


def squares() -> tuple[np.ndarray, np.ndarray]:
    image = np.full((120, 160), 60, np.uint8)
    image[30:60, 40:80] = 200
    image[75:100, 90:130] = 140
    corners = [(39.5, 29.5), (79.5, 29.5), (39.5, 59.5), (79.5, 59.5)]
    corners += [(89.5, 74.5), (129.5, 74.5), (89.5, 99.5), (129.5, 99.5)]
    return image, np.array(corners)


def test_local_maxima_are_refined_ordered_and_apart() -> None:
    columns, rows = np.meshgrid(np.arange(60), np.arange(40))
    scores = np.zeros((40, 60), np.float32)
    for x, y, height in ((20.3, 10.0, 1.0), (40.0, 25.4, 0.5), (42.0, 25.4, 0.3), (10, 30, 0.01)):
        scores = np.maximum(scores, height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 4)).astype(np.float32)
    points, values = local_maxima(scores, 4, 0.02)
    np.testing.assert_allclose(points, [[20.3, 10.0], [40.0, 25.4]], atol=0.1)
    assert values[0] > values[1] > 0.02
    assert local_maxima(np.zeros((8, 8), np.float32), 2, 0.0)[0].shape == (0, 2)


def test_corners_that_all_views_agree_on_score_high_and_lie_on_the_corners() -> None:
    image, corners = squares()
    scores = adapt_photograph(np.random.default_rng(0), image, corner_detector("shi_tomasi", CONFIG), CONFIG)
    points, values = local_maxima(scores, 4, 0.3)
    distances = np.linalg.norm(points[:, None] - corners[None], axis=2)
    assert len(points) == 8
    # The smoothed structure tensor peaks inside the corner, by about a pixel in x and in y.
    assert distances.min(axis=1).max() < 2.0
    assert values.min() > 0.3


def test_a_point_that_one_view_alone_has_scores_low() -> None:
    calls = 0

    def detect(views: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        nonlocal calls
        calls += 1
        none = np.zeros((0, 2), np.float32), np.zeros(0, np.float32)
        return [(np.array([[80.0, 60.0]], np.float32), np.ones(1, np.float32)), *[none] * (len(views) - 1)]

    scores = adapt_photograph(np.random.default_rng(0), np.zeros((120, 160), np.uint8), detect, CONFIG)
    assert calls == 1
    assert np.unravel_index(scores.argmax(), scores.shape) == (60, 80)
    assert scores.max() == pytest.approx(1 / CONFIG.warps, rel=0.1)


def test_a_point_that_every_view_has_scores_one_wherever_the_warp_took_it() -> None:
    image = np.zeros((120, 160), np.uint8)
    cv2.circle(image, (90, 50), 5, 255, -1)

    def detect(views: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        found = []
        for view in views:
            moments = cv2.moments(view)
            centre = np.array([[moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]]], np.float32)
            found.append((centre, np.ones(1, np.float32)))
        return found

    scores = adapt_photograph(np.random.default_rng(0), image, detect, CONFIG)
    y, x = np.unravel_index(scores.argmax(), scores.shape)
    assert abs(x - 90) <= 1
    assert abs(y - 50) <= 1
    assert scores.max() > 0.6


def test_pixels_seen_too_rarely_have_no_keypoints() -> None:
    image, _ = squares()
    config = AdaptConfig(detector="shi_tomasi", warps=4, min_views=4, warp=WarpConfig(rotation_deg=60, translation=0.4))
    scores = adapt_photograph(np.random.default_rng(1), image, corner_detector("shi_tomasi", config), config)
    assert scores[:4].max() == scores[:, :4].max() == 0


def test_shi_tomasi_scores_do_not_depend_on_contrast() -> None:
    image, _ = squares()
    (points, scores), (same, equal) = corner_detector("shi_tomasi", replace(CONFIG, max_keypoints=8))(
        np.stack([image, 30 + image // 2])
    )
    np.testing.assert_allclose(points, same, atol=0.5)
    np.testing.assert_allclose(scores, equal, atol=0.05)
    assert scores.max() <= 1


def test_harris_scores_are_relative_to_a_rank_and_grow_with_the_fourth_power_of_contrast() -> None:
    image = np.full((120, 160), 60, np.uint8)
    image[30:60, 40:80] = 220
    image[75:100, 90:130] = 140
    config = replace(CONFIG, detector="harris", max_keypoints=8)
    ((points, scores),) = corner_detector("harris", config)(image[None])
    strong = points[:, 1] < 67
    assert strong.sum() == 4
    np.testing.assert_allclose(scores[strong].mean() / scores[~strong].mean(), 2**4, rtol=0.1)
    label = label_photograph(np.random.default_rng(0), image, [corner_detector("harris", config)], config)
    best = label["keypoints"][:8]
    strong = best[:, 1] < 67
    np.testing.assert_allclose(label["scores"][:8][strong].mean() / label["scores"][:8][~strong].mean(), 2, rtol=0.2)


@pytest.mark.parametrize("magnification", [1.0, 1.5, 2.0])
def test_labels_lie_on_the_corners_whatever_the_magnification(magnification: float) -> None:
    image, corners = squares()
    config = replace(CONFIG, detector="harris", magnification=magnification)
    label = label_photograph(np.random.default_rng(0), image, [corner_detector("harris", config)], config)
    assert label["map"].shape == image.shape
    best = label["keypoints"][:8]
    offsets = best[:, None] - corners[None]
    nearest = offsets[np.arange(8), np.linalg.norm(offsets, axis=2).argmin(axis=1)]
    # The smoothed structure tensor peaks inside the corner, by about a pixel and a half in x and in y.
    assert np.linalg.norm(nearest, axis=1).max() < 2.5
    # Left and right corners err to opposite sides, so that a shift of the frame would show.
    np.testing.assert_allclose(nearest.mean(axis=0), 0, atol=0.3)
    y, x = np.rint(best).astype(int).T[::-1]
    assert (label["map"][y, x] > 0.5 * label["scores"][:8]).all()


@pytest.mark.slow
def test_the_network_as_detector_finds_corners_and_both_detectors_are_averaged() -> None:
    image, corners = render(np.random.default_rng(3), Size(100, 140), "checkerboard")
    view = np.rint(image * 255).astype(np.uint8)
    network = network_detector(BUILTIN_MAGICPOINT, AdaptConfig(nms_radius_px=3), "float32", False)
    ((points, scores),) = network(view[None])
    best = points[:10]
    assert np.median(np.linalg.norm(best[:, None] - corners[None], axis=2).min(axis=1)) < 2.5
    assert 0 < scores.min() <= scores.max() <= 1
    maps = keypoint_map(np.random.default_rng(0), view, [network, corner_detector("shi_tomasi", CONFIG)], CONFIG)
    assert maps.shape == view.shape
    assert 0 <= maps.min() < maps.max()


def photographs(folder: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    cv2.imwrite(str(folder / "squares.png"), squares()[0])
    cv2.imwrite(str(folder / "sub" / "squares.png"), squares()[0][:, ::-1])


def adapt(data: Path, out: Path, config: AdaptConfig = CONFIG, seed: int = 0) -> Path:
    return adapt_folder(data, out, Path("unused"), config, seed, "float32", False)


def test_labels_are_cached_and_repeatable(tmp_path: Path) -> None:
    data = tmp_path / "data"
    photographs(data)
    first = adapt(data, tmp_path / "first")
    names = sorted(path.name for path in first.iterdir())
    assert names == ["squares.png.npz", "sub__squares.png.npz"]
    digest = labels_digest(first)
    assert labels_digest(adapt(data, tmp_path / "second")) == digest
    assert labels_digest(adapt(data, tmp_path / "third", seed=1)) != digest

    kept, removed = (label_path(first, data, data / name) for name in ("squares.png", "sub/squares.png"))
    kept_time = kept.stat().st_mtime_ns
    removed.unlink()
    adapt(data, first)
    assert kept.stat().st_mtime_ns == kept_time
    assert labels_digest(first) == digest
    with np.load(kept, allow_pickle=False) as archive:
        assert archive["keypoints"].dtype == np.float32
        assert (np.diff(archive["scores"]) <= 0).all()
        assert len(archive["scores"]) >= 8


def test_labels_of_other_settings_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    photographs(data)
    adapt(data, tmp_path / "out")
    with pytest.raises(ConfigError, match="made with other settings: seed=0, now 1"):
        adapt(data, tmp_path / "out", seed=1)


def test_photographs_come_with_their_labels(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    photographs(data)
    adapt(data, out)
    first, second = load_photographs(data, out, 240)
    assert first.image.shape == second.image.shape == (120, 160)
    np.testing.assert_array_equal(first.image[:, ::-1], second.image)
    assert len(first.keypoints) == len(first.scores) >= 8
    label_path(out, data, data / "squares.png").unlink()
    with pytest.raises(ConfigError, match=r"squares.png: no label at .*; run stage=adapt"):
        load_photographs(data, out, 240)


def test_labels_without_a_single_keypoint_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    cv2.imwrite(str(tmp_path / "data" / "flat.png"), np.full((100, 100), 128, np.uint8))
    adapt(tmp_path / "data", tmp_path / "out")
    with pytest.raises(DataError, match="no keypoint in any label"):
        load_photographs(tmp_path / "data", tmp_path / "out", 240)
