"""Homographic Adaptation against a detector whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.core.types import EvaluatedImage, Size
from bench.features.adaptation import adapt, sample_view
from bench.schema import HomographicAdaptationConfig
from tests.superpoint_method import Make

SIZE = Size(96, 128)


def blobs() -> NDArray[np.float32]:
    """Smooth bright spots: their response survives warping there and back."""
    y, x = np.mgrid[: SIZE.height, : SIZE.width].astype(np.float32)
    grey = np.zeros((SIZE.height, SIZE.width), np.float32)
    for cx, cy in ((40, 30), (64, 48), (90, 60)):
        grey += np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18).astype(np.float32)
    return grey


def identity(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return images.copy()


@pytest.mark.parametrize("aggregation", ["sum", "max"])
def test_a_detector_that_follows_the_image_is_unchanged(aggregation: str) -> None:
    """warp, detect (the grey level itself) and warp back is the identity up to interpolation."""
    grey = blobs()
    found = adapt(grey, grey, identity, HomographicAdaptationConfig(num=20, aggregation=aggregation))
    np.testing.assert_allclose(found[30, 40], grey[30, 40], atol=0.06)
    centre = (slice(20, 76), slice(30, 98))
    assert np.abs(found[centre] - grey[centre]).max() < 0.1
    if aggregation == "max":
        assert (found >= grey).all()


def test_sum_divides_by_the_views_that_see_a_pixel() -> None:
    """A detector that says 1 everywhere gives 1 wherever a view's border does not interpolate with its outside."""
    ones = np.ones((SIZE.height, SIZE.width), np.float32)
    found = adapt(ones, ones, lambda images: np.ones_like(images), HomographicAdaptationConfig(num=30))
    assert found.max() <= 1 + 1e-6
    np.testing.assert_allclose(found[40:56, 54:74], 1, atol=0.05)


def test_noise_that_one_view_sees_is_averaged() -> None:
    quiet = np.zeros((SIZE.height, SIZE.width), np.float32)
    loud = quiet.copy()
    loud[48, 64] = 1
    config = HomographicAdaptationConfig(num=10)
    mean = adapt(quiet, loud, lambda images: np.zeros_like(images), config)
    assert 0.1 <= mean[48, 64] <= 0.25  # one of up to ten views
    config = HomographicAdaptationConfig(num=10, aggregation="max")
    assert adapt(quiet, loud, lambda images: np.zeros_like(images), config)[48, 64] == 1


@pytest.mark.parametrize("batch", [2, 4, 16])
def test_batches_change_nothing(batch: int) -> None:
    grey = blobs()
    config = HomographicAdaptationConfig(num=7, seed=3)
    sizes = []

    def detect(images: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes.append(len(images))
        return images**2

    expected = adapt(grey, grey, lambda images: images**2, config)
    np.testing.assert_array_equal(adapt(grey, grey, detect, config, batch), expected)
    assert set(sizes) == {batch}


def test_views_are_seeded_and_stay_near_the_image() -> None:
    draws = [sample_view(SIZE, np.random.default_rng((0, index))) for index in range(200)]
    again = sample_view(SIZE, np.random.default_rng((0, 5)))
    np.testing.assert_array_equal(draws[5], again)
    areas = []
    for H in draws:
        corners = np.array([[0, 0, 1], [0, 96, 1], [128, 96, 1], [128, 0, 1]]) @ H.T
        assert (corners[:, 2] > 0).all()
        x, y = (corners[:, :2] / corners[:, 2:]).T
        areas.append(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2 / (96 * 128))
    assert 0.5 < np.median(areas) < 0.9  # about PATCH_RATIO squared


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "tensorflow"])
def test_a_method_with_adaptation(make: Make, image: EvaluatedImage, backend: str) -> None:
    plain, _ = make(backend).extract(image)
    single, _ = make(backend, homographic_adaptation=HomographicAdaptationConfig(num=5)).extract(image)
    batched, _ = make(backend, homographic_adaptation=HomographicAdaptationConfig(num=5, batch=3)).extract(image)
    off, _ = make(backend, homographic_adaptation=HomographicAdaptationConfig(num=1)).extract(image)
    np.testing.assert_array_equal(off.keypoints, plain.keypoints)
    assert single.descriptors is not None and single.descriptors.shape == (300, 256)
    assert not np.array_equal(single.keypoints, plain.keypoints)
    assert {tuple(p) for p in single.keypoints.tolist()} == {tuple(p) for p in batched.keypoints.tolist()}
