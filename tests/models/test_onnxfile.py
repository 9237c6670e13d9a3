"""The ONNX file that is written without the library: valid, and the network."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.core.types import EvaluatedImage, Size
from bench.features.select import to_float32
from bench.models.graphfile import read_graph_file
from bench.models.onnxfile import convolutions, onnx_bytes, write_onnx
from bench.models.weights import BUILTIN_MAGICPOINT, BUILTIN_SUPERPOINT, Weights, load_weights
from tests.superpoint_method import Make


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights(BUILTIN_SUPERPOINT)


def test_the_library_finds_it_valid(weights: Weights) -> None:
    onnx = pytest.importorskip("onnx", reason="the package onnx checks the file (extra test)")
    for settings in ({}, {"size": Size(64, 96), "batch": 2}, {"outputs": ("logits", "descriptors_raw")}):
        model = onnx.load_model_from_string(onnx_bytes(weights, **settings))
        onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 13
    outputs = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.output
    }
    assert outputs == {"logits": ["N", "H/8", "W/8", 65], "descriptors_raw": ["N", "H/8", "W/8", 256]}


def test_the_same_arguments_give_the_same_bytes(weights: Weights) -> None:
    assert onnx_bytes(weights) == onnx_bytes(load_weights(BUILTIN_SUPERPOINT))


def test_it_computes_what_the_saved_model_computes(make: Make, image: EvaluatedImage, weights: Weights) -> None:
    import openvino

    expected = make("tensorflow", graph="full").tensors(image)[1]
    core = openvino.Core()
    model = core.read_model(io.BytesIO(onnx_bytes(weights, ("prob", "logits", "descriptors_raw"))))
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(to_float32(image.grey)[None, None])
    for key, tolerance in {"logits": 1e-4, "prob": 1e-5, "descriptors_raw": 1e-4}.items():
        np.testing.assert_allclose(found[key], expected[key], atol=tolerance, rtol=1e-5, err_msg=key)


def test_it_is_a_file_that_a_user_may_give(weights: Weights, tmp_path: Path) -> None:
    free = read_graph_file(write_onnx(tmp_path / "free.onnx", weights))
    assert free.output_tensors == {"prob": "prob", "descriptors_raw": "descriptors_raw"}
    assert (free.channels_first, free.batch, free.height, free.weights) == (("image",), None, None, "f32")
    one = read_graph_file(write_onnx(tmp_path / "one.onnx", weights, size=Size(64, 96), batch=1))
    assert (one.batch, one.height, one.width) == (1, 64, 96)


def test_its_convolutions_are_read_back(weights: Weights, tmp_path: Path) -> None:
    layers = convolutions(write_onnx(tmp_path / "model.onnx", weights))
    assert [layer["precision"] for layer in layers] == ["f32"] * 12
    assert layers[0] == {"name": "vgg/conv1_1/conv", "type": "Convolution", "precision": "f32", "kernel": "Conv"}


def test_a_detector_has_no_descriptors(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx", load_weights(BUILTIN_MAGICPOINT))
    found = read_graph_file(path, input_scale=1.0)
    assert set(found.output_tensors) == {"prob"} and len(convolutions(path)) == 10


def test_what_it_cannot_be_is_said(weights: Weights) -> None:
    with pytest.raises(ModelError, match=r"no output keypoints; possible: prob, logits, descriptors_raw"):
        onnx_bytes(weights, ("prob", "keypoints"))
    with pytest.raises(ModelError, match="size 60x96 .* not divisible by 8"):
        onnx_bytes(weights, size=Size(60, 96))
