"""Detectors on images whose corners are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench.core.errors import ConfigError
from bench.core.types import Context, EvaluatedImage, Features, Size
from bench.features.base import create
from bench.features.detectors import fast_response, harris_response, random_response, shi_tomasi_response
from bench.schema import DetectorConfig, NmsConfig

ALGORITHMS = ("harris", "shi_tomasi", "fast", "random")


def rectangle() -> EvaluatedImage:
    """One bright rectangle, a little blurred; it has four corners and nothing else."""
    grey = np.full((120, 160), 40, np.uint8)
    grey[30:81, 50:111] = 220
    return EvaluatedImage("set/1", cv2.GaussianBlur(grey, (0, 0), 0.7), np.eye(3))


CORNERS = np.array([[50, 30], [110, 30], [50, 80], [110, 80]])


def extract(
    algorithm: str, tmp_path: Path, image: EvaluatedImage | None = None, seed: int = 0, **values: Any
) -> Features:
    values = {"max_keypoints": 300, "nms": NmsConfig("box", 8, 0.1)} | values
    config = DetectorConfig(algorithm=algorithm, threads=1, **values)
    made = create(algorithm, config, Context(1, tmp_path, tmp_path, seed))
    features, times = made.extract(image or rectangle())
    assert times.infer_ms > 0
    assert not made.info().has_descriptors
    return features


@pytest.mark.parametrize("algorithm", ["harris", "shi_tomasi", "fast"])
def test_the_corners_of_a_rectangle_are_the_best_keypoints(algorithm: str, tmp_path: Path) -> None:
    best = extract(algorithm, tmp_path).keypoints[:4]
    distance = np.hypot(*(best[:, None] - CORNERS[None]).transpose(2, 0, 1))
    assert sorted(distance.argmin(axis=1)) == [0, 1, 2, 3]
    assert distance.min(axis=1).max() < 3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("nms", [NmsConfig("box", 4, 0.1), NmsConfig("box", 8, 0.1), NmsConfig("square", 3)])
def test_budget_order_and_spacing(algorithm: str, nms: NmsConfig, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = EvaluatedImage("noise", rng.integers(0, 256, (120, 160), dtype=np.uint8), np.eye(3))
    features = extract(algorithm, tmp_path, image, nms=nms, max_keypoints=40)
    assert len(features) == 40
    assert features.descriptors is None
    assert (np.diff(features.scores) <= 0).all()
    offset = np.abs(features.keypoints[:, None] - features.keypoints[None])
    np.fill_diagonal(offset[..., 0], 99)
    if nms.kind == "square":
        assert offset.max(axis=-1).min() > 3
    else:
        overlap = np.maximum(0, nms.size - offset).prod(axis=-1)
        assert (overlap / (2 * nms.size**2 - overlap)).max() <= 0.1


@pytest.mark.parametrize("algorithm", ["harris", "shi_tomasi", "fast"])
def test_a_blank_image_has_no_keypoints(algorithm: str, tmp_path: Path) -> None:
    blank = EvaluatedImage("blank", np.full((64, 64), 9, np.uint8), np.eye(3))
    assert len(extract(algorithm, tmp_path, blank)) == 0


def test_harris_by_hand() -> None:
    """det M - k (trace M)^2 with M summed by the definition, at an inner pixel."""
    grey = np.random.default_rng(1).integers(0, 256, (20, 20), dtype=np.uint8)
    # OpenCV scales Sobel's derivatives by 1 / (2^(aperture - 1) block_size 255)
    scale = 1 / (4 * 4 * 255)
    dx, dy = (cv2.Sobel(grey, cv2.CV_64F, *order, ksize=3) * scale for order in ((1, 0), (0, 1)))
    y, x, block = 10, 9, 4
    window = np.s_[y - block // 2 : y + block - block // 2, x - block // 2 : x + block - block // 2]
    a, b, c = (float((p * q)[window].sum()) for p, q in ((dx, dx), (dx, dy), (dy, dy)))
    expected = a * c - b * b - 0.04 * (a + c) ** 2
    assert harris_response(grey, 4, 3, 0.04)[y, x] == pytest.approx(expected, rel=1e-4)


def test_shi_tomasi_drops_what_good_features_to_track_rejects() -> None:
    grey = rectangle().grey
    raw = cv2.cornerMinEigenVal(grey, 3)
    response = shi_tomasi_response(grey, 3, 3, 0.01)
    np.testing.assert_array_equal(response, np.where(raw >= 0.01 * raw.max(), raw, 0))


def test_fast_scores_are_the_largest_threshold_of_a_corner() -> None:
    grey = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 256, (60, 80), dtype=np.uint8), (0, 0), 1)
    response = fast_response(grey, 10)
    y, x = np.unravel_index(response.argmax(), response.shape)
    score = int(response[y, x])
    assert fast_response(grey, score)[y, x] == score
    assert fast_response(grey, score + 1)[y, x] == 0
    assert response[response > 0].min() >= 10


def test_random_depends_on_key_and_seeds_only(tmp_path: Path) -> None:
    size = Size(50, 60)
    base = random_response(size, "a/1", (0, 0))
    np.testing.assert_array_equal(base, random_response(size, "a/1", (0, 0)))
    for other in (("a/2", (0, 0)), ("a/1", (1, 0)), ("a/1", (0, 1))):
        assert (base != random_response(size, *other)).mean() > 0.99
    assert base.min() > 0
    assert base.mean() == pytest.approx(0.5, abs=0.02)
    runs = [extract("random", tmp_path, seed=seed).keypoints for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize(
    ("algorithm", "params", "message"),
    [
        ("harris", {"ksize": 3}, "unknown keys ksize; harris takes: block_size, aperture, k"),
        ("fast", {"threshold": "low"}, "allowed: a number"),
        ("fast", {"threshold": 2.5}, "whole numbers"),
        ("random", {"seed": -1}, "whole numbers"),
    ],
)
def test_refused_parameters(algorithm: str, params: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        extract(algorithm, tmp_path, params=params)


def test_parameters_opencv_refuses_are_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params=\{'block_size': 4, 'aperture': 4"):
        extract("harris", tmp_path, params={"aperture": 4})
