"""The Keras network: shapes, order of operations, and equality of the PyTorch path."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.core.types import Size
from bench.models.network import BATCH_NORM_EPSILON, layer_specs
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights
from bench.train.synthetic_shapes import render


def reference_forward(weights: dict[str, np.ndarray], image: np.ndarray, part: str) -> np.ndarray:
    """Forward pass in float64 NumPy, written from the paper's description."""
    features = image.astype(np.float64)[..., None]
    for spec in layer_specs():
        if spec.part not in ("vgg", part):
            continue
        kernel = weights[f"{spec.scope}/conv/kernel"].astype(np.float64)
        margin = spec.kernel_px // 2
        padded = np.pad(features, ((margin, margin), (margin, margin), (0, 0)))
        height, width = features.shape[:2]
        features = (
            sum(
                padded[i : i + height, j : j + width] @ kernel[i, j]
                for i in range(spec.kernel_px)
                for j in range(spec.kernel_px)
            )
            + weights[f"{spec.scope}/conv/bias"]
        )
        if spec.relu:
            features = np.maximum(features, 0)
        mean, variance = weights[f"{spec.scope}/bn/moving_mean"], weights[f"{spec.scope}/bn/moving_variance"]
        scale = weights[f"{spec.scope}/bn/gamma"] / np.sqrt(variance + BATCH_NORM_EPSILON)
        features = (features - mean) * scale + weights[f"{spec.scope}/bn/beta"]
        if spec.pool:
            features = features.reshape(height // 2, 2, width // 2, 2, -1).max(axis=(1, 3))
    return features


def drawing(size: Size) -> np.ndarray:
    image, _ = render(np.random.default_rng(3), size, "checkerboard")
    return image


def test_network_equals_a_forward_pass_in_numpy() -> None:
    import keras

    from bench.models.network import build_network
    from bench.models.weights import set_network_weights

    weights = load_weights(BUILTIN_SUPERPOINT)
    network = build_network()
    set_network_weights(network, weights)
    image = drawing(Size(32, 48))
    outputs = network.predict_on_batch(image[None, ..., None])
    assert set(outputs) == {"logits", "descriptors_raw"}
    for key, part in (("logits", "detector"), ("descriptors_raw", "descriptor")):
        expected = reference_forward(weights, image, part)
        assert np.asarray(outputs[key]).shape == (1, *expected.shape)
        np.testing.assert_allclose(np.asarray(outputs[key])[0], expected, atol=2e-3, rtol=1e-3)
    keras.backend.clear_session()


def test_magicpoint_has_no_descriptors_and_sides_round_up() -> None:
    from bench.models.network import build_network

    network = build_network(descriptors=False)
    outputs = network.predict_on_batch(np.zeros((2, 20, 33, 1), np.float32))
    assert set(outputs) == {"logits"}
    assert np.asarray(outputs["logits"]).shape == (2, 3, 5, 65)


def test_number_of_trained_values_is_that_of_sp_v6() -> None:
    from bench.models.network import build_network

    assert build_network().count_params() == 1_307_269


TORCH_SCRIPT = """
import sys
import keras
import numpy as np
from bench.models.network import build_network
from bench.models.weights import load_weights, set_network_weights

network = build_network()
set_network_weights(network, load_weights(sys.argv[1]))
image = np.load(sys.argv[2])
before = network.get_layer("vgg_conv1_1_bn").moving_mean.numpy().copy()
inference = network(image, training=False)["logits"].detach().numpy()
plain = keras.layers.BatchNormalization(epsilon=1e-3)
layer = network.get_layer("vgg_conv1_1_bn")
values = np.random.default_rng(0).normal(2, 3, (2, 8, 8, 64)).astype("float32")
plain.build(values.shape)
plain.set_weights(layer.get_weights())
trained = layer(values, training=True).detach().numpy()
expected = plain(values, training=True).detach().numpy()
np.testing.assert_allclose(trained, expected, atol=1e-4)
np.testing.assert_allclose(layer.moving_mean.numpy(), plain.moving_mean.numpy(), atol=1e-5)
assert abs(layer.moving_mean.numpy() - before).max() > 1e-3
np.save(sys.argv[3], inference)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_pytorch_backend_gives_the_same_logits_and_the_same_batch_normalisation(tmp_path: Path) -> None:
    image = drawing(Size(48, 64))
    np.save(tmp_path / "image.npy", image[None, ..., None])
    subprocess.run(
        [sys.executable, "-c", TORCH_SCRIPT, str(BUILTIN_SUPERPOINT), tmp_path / "image.npy", tmp_path / "logits.npy"],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        check=True,
    )
    expected = reference_forward(load_weights(BUILTIN_SUPERPOINT), image, "detector")
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy")[0], expected, atol=2e-3, rtol=1e-3)
