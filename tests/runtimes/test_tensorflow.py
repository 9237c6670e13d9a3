"""SuperPoint under TensorFlow, on the published graph and on the package's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.core.types import EvaluatedImage
from bench.features.select import to_float32
from bench.schema import ModelConfig
from tests.superpoint_method import Make


@pytest.mark.slow
def test_sparse_equals_full(make: Make, image: EvaluatedImage, superpoint: Path) -> None:
    sparse, _ = make("tensorflow", superpoint).extract(image)
    full, _ = make("tensorflow", superpoint, graph="full").extract(image)
    assert len(sparse) == 300
    np.testing.assert_array_equal(sparse.keypoints, full.keypoints)
    np.testing.assert_allclose(sparse.descriptors, full.descriptors, atol=1e-5)


def test_suppression_reproduces_the_graphs_own(make: Make, image: EvaluatedImage, superpoint: Path) -> None:
    """With the constants baked into the graph, our decoding gives its ``prob_nms``."""
    extractor = make("tensorflow", superpoint, graph="full", max_keypoints=0, min_probability=0.01)
    features, _ = extractor.extract(image)
    outputs = extractor._network.infer(to_float32(image.grey)[None, :, :, None])
    y, x = np.nonzero(outputs["prob_nms"][0])
    found = {tuple(p) for p in features.keypoints.astype(int).tolist()}
    assert len(found) > 200
    assert found == set(zip(x.tolist(), y.tolist(), strict=True))


def test_the_input_scale_of_the_magicpoint_of_2018(make: Make, image: EvaluatedImage, shared: Path) -> None:
    directory = shared / "models/magic-point_02-12-2018"
    right, _ = make("tensorflow", directory, min_probability=0.01).extract(image)
    assert right.descriptors is None
    wrong_scale = ModelConfig("path", str(directory), input_scale=1.0)
    wrong, _ = make("tensorflow", directory, min_probability=0.01, model=wrong_scale).extract(image)
    assert len(right) > 50
    assert len(wrong) < len(right) / 10


def test_float_images_give_the_features_of_the_same_grey_levels(
    make: Make, image: EvaluatedImage, builtin: Path
) -> None:
    extractor = make("tensorflow", builtin)
    floating = EvaluatedImage("camera", image.grey.astype(np.float32) / np.float32(255), np.eye(3))
    a, _ = extractor.extract(image)
    b, _ = extractor.extract(floating)
    np.testing.assert_array_equal(a.keypoints, b.keypoints)
    np.testing.assert_array_equal(a.descriptors, b.descriptors)


def test_info_says_what_runs(make: Make, image: EvaluatedImage, builtin: Path) -> None:
    extractor = make("tensorflow", builtin, descriptors=False)
    extractor.warm_up(image.size)
    info = extractor.info()
    assert info.backend == "tensorflow" and not info.has_descriptors
    assert info.precision["label"] == "FP32"
    assert info.fingerprint["graph"] == "sparse"
    assert info.costs["load_ms"] > 0 and info.costs["first_inference_ms"] > 0


def test_sides_must_be_divisible_by_8(make: Make, builtin: Path) -> None:
    extractor = make("tensorflow", builtin)
    odd = EvaluatedImage("odd", np.zeros((200, 300), np.uint8), np.eye(3))
    with pytest.raises(ModelError, match=r"200x300 .* not divisible by 8.* protocol\.image\.multiple_of=8"):
        extractor.extract(odd)


@pytest.mark.slow
def test_builtin(make: Make, image: EvaluatedImage) -> None:
    features, times = make("tensorflow").extract(image)
    assert len(features) == 300 and features.descriptors is not None
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-5)
    assert times.infer_ms > times.decode_ms > 0
