"""The keypoint budget: order, ties, limits, and the grey conversions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import FeatureError
from bench.core.types import Size
from bench.features.select import budget, to_float32, to_uint8

SIZE = Size(40, 50)


@given(st.lists(st.tuples(st.integers(0, 49), st.integers(0, 39), st.integers(0, 3)), max_size=60), st.integers(0, 20))
def test_budget_equals_sorting_tuples(points: list[tuple[int, int, int]], max_keypoints: int) -> None:
    keypoints = np.array([(x, y) for x, y, _ in points], np.float32).reshape(-1, 2)
    scores = np.array([s for _, _, s in points], np.float32)
    features = budget(keypoints, scores, None, max_keypoints, SIZE)
    expected = sorted((-s, y, x) for x, y, s in points)[: max_keypoints or None]
    found = [(-s, y, x) for (x, y), s in zip(features.keypoints.tolist(), features.scores.tolist(), strict=True)]
    assert found == expected


def test_descriptors_follow_their_keypoints() -> None:
    keypoints = np.array([[1, 1], [2, 2], [3, 3]], np.float32)
    descriptors = np.arange(6, dtype=np.uint8).reshape(3, 2)
    features = budget(keypoints, np.array([0.1, 0.9, 0.5]), descriptors, 2, SIZE)
    assert features.keypoints.tolist() == [[2, 2], [3, 3]]
    assert features.descriptors is not None and features.descriptors.tolist() == [[2, 3], [4, 5]]


@pytest.mark.parametrize("max_keypoints", [0, 1])
def test_nan_score_is_refused(max_keypoints: int) -> None:
    with pytest.raises(FeatureError, match="NaN"):
        budget(np.zeros((2, 2), np.float32), np.array([np.nan, 1.0], np.float32), None, max_keypoints, SIZE)


def test_lengths_must_agree() -> None:
    with pytest.raises(FeatureError, match="differ in length"):
        budget(np.zeros((2, 2), np.float32), np.zeros(3, np.float32), None, 0, SIZE)


def test_to_uint8_truncates_fractions_and_keeps_whole_levels() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_uint8(levels.astype(np.float32) / np.float32(255)), levels)
    fractional = np.array([[10.7, 254.99]], np.float32) / np.float32(255)
    assert to_uint8(fractional).tolist() == [[10, 254]]


def test_to_float32_scales() -> None:
    grey = np.array([[0, 51, 255]], np.uint8)
    np.testing.assert_allclose(to_float32(grey), [[0, 0.2, 1]], rtol=1e-6)
    assert to_float32(grey, 255.0).tolist() == [[0, 51, 255]]
    np.testing.assert_allclose(to_float32(to_float32(grey), 255.0), [[0, 51, 255]], rtol=1e-6)
    assert to_float32(grey)[0, 2] <= 1.0
