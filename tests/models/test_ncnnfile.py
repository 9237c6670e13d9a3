"""The file of ncnn against the table of layers; what it computes is in tests/runtimes/test_ncnn.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.models.ncnnfile import write_ncnn
from bench.models.network import BATCH_NORM_EPSILON
from bench.models.weights import BUILTIN_MAGICPOINT, BUILTIN_SUPERPOINT, load_weights


def test_layers_blobs_and_numbers_are_counted(tmp_path: Path) -> None:
    weights = load_weights(BUILTIN_SUPERPOINT)
    magic, counts, *lines = write_ncnn(tmp_path, weights, ("prob", "descriptors_raw")).read_text().splitlines()
    layers, blobs = map(int, counts.split())
    assert magic == "7767517" and layers == len(lines)
    kinds = [line.split()[0] for line in lines]
    assert kinds.count("Convolution") == 12 and kinds.count("Scale") == 8 and kinds.count("Pooling") == 3
    made = [name for line in lines for name in line.split()[4 + int(line.split()[2]) :][: int(line.split()[3])]]
    assert len(made) == len(set(made)) == blobs
    floats = sum(array.size for name, array in weights.items() if name.endswith(("kernel", "bias")))
    scales = 2 * (4 * 64 + 4 * 128)
    assert (tmp_path / "model.bin").stat().st_size == 4 * (floats + scales + 12)


def test_a_magicpoint_has_no_descriptors(tmp_path: Path) -> None:
    lines = write_ncnn(tmp_path, load_weights(BUILTIN_MAGICPOINT), ("prob", "descriptors_raw")).read_text()
    assert "prob" in lines and "descriptor" not in lines


def test_normalisations_around_a_1x1_convolution_are_part_of_it(tmp_path: Path) -> None:
    """The last numbers of the file are the descriptor's 1x1 convolution; a cell of it against the formula."""
    weights = load_weights(BUILTIN_SUPERPOINT)
    write_ncnn(tmp_path, weights, ("descriptors_raw",))
    numbers = np.frombuffer((tmp_path / "model.bin").read_bytes(), "<f4")
    kernel, bias = numbers[-256 * 257 : -256].reshape(256, 256), numbers[-256:]
    features = np.random.default_rng(0).random(256)

    def normalised(values: np.ndarray, layer: str) -> np.ndarray:
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (weights[f"superpoint/descriptor/{layer}/bn/{name}"] for name in names)
        return gamma * (values - mean) / np.sqrt(variance + BATCH_NORM_EPSILON) + beta

    scope = "superpoint/descriptor/conv2/conv"
    product = normalised(features, "conv1") @ weights[f"{scope}/kernel"][0, 0] + weights[f"{scope}/bias"]
    np.testing.assert_allclose(kernel @ features + bias, normalised(product, "conv2"), atol=1e-4)
