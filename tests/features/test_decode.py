"""Decoding of SuperPoint's maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import FeatureError
from bench.core.types import Size
from bench.features.decode import Decoding, decode, sample
from bench.schema import NmsConfig

DECODING = Decoding(NmsConfig("box", 4, 0.1), min_probability=0.1, border_px=0, max_keypoints=0)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_sample_equals_the_formula(height: int, width: int, seed: int) -> None:
    raw = np.random.default_rng(seed).standard_normal((height, width, 3)).astype(np.float32)
    y, x = (a.ravel() for a in np.mgrid[: 8 * height, : 8 * width])
    found = sample(raw, np.stack([x, y], axis=1).astype(np.int32))
    for i in range(len(x)):
        v, u = y[i] / 8, x[i] / 8
        top, left = int(v), int(u)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        value = (1 - (v - top)) * ((1 - (u - left)) * raw[top, left].astype(float) + (u - left) * raw[top, right])
        value = value + (v - top) * (
            (1 - (u - left)) * raw[bottom, left].astype(float) + (u - left) * raw[bottom, right]
        )
        np.testing.assert_allclose(found[i], value / np.linalg.norm(value), atol=2e-5)


@pytest.mark.slow
def test_sample_equals_tensorflow_resize() -> None:
    tf = pytest.importorskip("tensorflow")
    raw = np.random.default_rng(1).standard_normal((1, 6, 9, 16)).astype(np.float32)
    dense = tf.nn.l2_normalize(tf.compat.v1.image.resize_bilinear(raw, [48, 72]), axis=-1).numpy()[0]
    y, x = (a.ravel() for a in np.mgrid[:48, :72])
    found = sample(raw[0], np.stack([x, y], axis=1).astype(np.int32))
    np.testing.assert_allclose(found, dense[y, x], atol=1e-6)


def test_sparse_and_dense_descriptors_agree() -> None:
    rng = np.random.default_rng(2)
    raw = rng.standard_normal((3, 4, 8)).astype(np.float32)
    prob = rng.random((24, 32), dtype=np.float32)
    y, x = (a.ravel() for a in np.mgrid[:24, :32])
    dense = sample(raw, np.stack([x, y], axis=1).astype(np.int32)).reshape(24, 32, 8)
    size = Size(24, 32)
    sparse_features, dense_features = decode(prob, raw, DECODING, size), decode(prob, dense, DECODING, size)
    assert len(sparse_features) > 5
    np.testing.assert_array_equal(sparse_features.keypoints, dense_features.keypoints)
    np.testing.assert_allclose(sparse_features.descriptors, dense_features.descriptors, atol=1e-6)


def test_keypoints_are_xy_and_ordered() -> None:
    prob = np.zeros((16, 24), np.float32)
    prob[3, 20], prob[10, 2], prob[10, 12], prob[1, 1] = 0.5, 0.9, 0.5, 0.05
    features = decode(prob, None, DECODING, Size(16, 24))
    assert features.keypoints.tolist() == [[2, 10], [20, 3], [12, 10]]
    assert features.descriptors is None


def test_zero_descriptor_stays_zero() -> None:
    assert not sample(np.zeros((2, 2, 4), np.float32), np.array([[3, 3]], np.int32)).any()


def test_no_keypoints_is_a_result() -> None:
    features = decode(np.zeros((16, 16), np.float32), np.ones((2, 2, 4), np.float32), DECODING, Size(16, 16))
    assert len(features) == 0 and features.descriptors is not None and features.descriptors.shape == (0, 4)


def test_shapes_must_fit() -> None:
    with pytest.raises(FeatureError, match="prob"):
        decode(np.zeros((16, 24), np.float32), None, DECODING, Size(24, 16))
    with pytest.raises(FeatureError, match="descriptors"):
        decode(np.zeros((16, 24), np.float32), np.zeros((3, 2, 4), np.float32), DECODING, Size(16, 24))


def test_nan_descriptor_is_refused() -> None:
    prob = np.full((16, 16), 0.5, np.float32)
    with pytest.raises(FeatureError, match="descriptors contain NaN"):
        decode(prob, np.full((2, 2, 4), np.nan, np.float32), DECODING, Size(16, 16))
