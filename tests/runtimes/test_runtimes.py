"""Every runtime against OpenVINO in FP32 on the same weights, and what each says of itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.doors import importable
from bench.core.errors import ModelError
from bench.core.types import EvaluatedImage, Features, Size
from bench.models.onnxfile import write_onnx
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights
from bench.runtimes.base import missing, module_of
from bench.schema import ModelConfig, SuperPointConfig
from bench.schema.options import Runtime
from tests.superpoint_method import Make


def needs(package: str, backend: str, **keys: Any) -> Any:
    """A parameter that is skipped where the package of an extra is absent."""
    absent = pytest.mark.skipif(not importable(package), reason=f"{package} is not installed")
    name = "-".join((backend, *(f"{key}={value}" for key, value in keys.items())))
    return pytest.param(backend, keys, id=name, marks=[pytest.mark.extras, absent])


METHODS = [
    needs("onnxruntime", "onnxruntime"),
    needs("MNN", "mnn", winograd="small"),
    needs("ncnn", "ncnn"),
    needs("torch", "torch"),
    needs("torch", "torch", compile=True),
    pytest.param("litert", {}, id="litert"),
    pytest.param("opencv_dnn", {}, id="opencv_dnn"),
]
FILES = [
    needs("onnxruntime", "onnxruntime"),
    needs("MNN", "mnn", winograd="small"),
    pytest.param("opencv_dnn", {}, id="opencv_dnn"),
]
"""Runtimes that run a user's ONNX file."""


def rows(a: Features, b: Features) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the keypoints that both have."""
    found = {tuple(point): row for row, point in enumerate(b.keypoints.tolist())}
    pairs = [(i, found[tuple(point)]) for i, point in enumerate(a.keypoints.tolist()) if tuple(point) in found]
    return tuple(np.array(pairs).T)  # type: ignore[return-value]


def assert_equal(make: Make, image: EvaluatedImage, model: Path | None, backend: str, keys: dict[str, Any]) -> None:
    """The tolerances of FP32: two orders of summing up."""
    reference, expected = make("openvino", model).tensors(image)
    features, found = make(backend, model, **keys).tensors(image)
    assert set(found) == set(expected) == {"prob", "descriptors_raw"}
    for key, tolerance in {"prob": 1e-5, "descriptors_raw": 1e-4}.items():
        assert found[key].shape == expected[key].shape and found[key].dtype == np.float32
        np.testing.assert_allclose(found[key], expected[key], atol=tolerance, rtol=0, err_msg=key)
    of_reference, of_other = rows(reference, features)
    assert len(of_reference) == len(reference) == len(features) == 300
    cosine = np.einsum("nd,nd->n", reference.descriptors[of_reference], features.descriptors[of_other])
    assert cosine.min() >= 0.99999


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "keys"), METHODS)
def test_fp32_equals_openvino(
    make: Make, image: EvaluatedImage, superpoint: Path, backend: str, keys: dict[str, Any]
) -> None:
    assert_equal(make, image, superpoint, backend, keys)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "keys"), METHODS)
def test_the_detector_of_2018(
    make: Make, image: EvaluatedImage, shared: Path, backend: str, keys: dict[str, Any]
) -> None:
    """Other names of variables, another scale of the image, no descriptors."""
    model = shared / "models/magic-point_02-12-2018"
    a, expected = make("openvino", model, min_probability=0.01).tensors(image)
    b, found = make(backend, model, min_probability=0.01, **keys).tensors(image)
    assert b.descriptors is None and set(found) == {"prob"}
    np.testing.assert_allclose(found["prob"], expected["prob"], atol=1e-5, rtol=0)
    assert len(rows(a, b)[0]) == len(a) == len(b) > 50


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "keys"), METHODS)
def test_sizes_batches_and_the_detector_alone(
    make: Make, image: EvaluatedImage, backend: str, keys: dict[str, Any]
) -> None:
    extractor = make(backend, **keys)
    first, _ = extractor.extract(image)
    small = EvaluatedImage("crop", image.grey[:160, :200], np.eye(3))
    cropped, _ = extractor.extract(small)
    assert cropped.size == Size(160, 200)
    again, _ = extractor.extract(image)
    np.testing.assert_array_equal(first.keypoints, again.keypoints)
    np.testing.assert_array_equal(first.descriptors, again.descriptors)
    images = np.stack([image.grey[:160, :200], image.grey[80:240, 120:320]]).astype(np.float32)[..., None] / 255
    extractor._network.prepare(small.size, 2)
    both = {key: array.copy() for key, array in extractor._network.infer(images).items()}
    assert extractor.infer_batch([small, small]) > 0
    extractor._network.prepare(small.size)
    for index in range(2):
        one = extractor._network.infer(images[index : index + 1])
        for key, array in both.items():
            np.testing.assert_allclose(array[index], one[key][0], atol=1e-5, err_msg=key)
    detector = make(backend, descriptors=False, **keys)
    found, tensors = detector.tensors(image)
    assert found.descriptors is None and set(tensors) == {"prob"}
    np.testing.assert_array_equal(found.keypoints, first.keypoints)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "keys"), METHODS)
def test_info_says_what_runs(make: Make, image: EvaluatedImage, backend: str, keys: dict[str, Any]) -> None:
    extractor = make(backend, **keys)
    extractor.warm_up(image.size)
    info = extractor.info()
    assert info.backend == backend and info.precision["label"] == "FP32"
    assert info.precision["executed"] == {"f32": 1.0}
    assert 1 in info.threads.values() and info.costs["load_ms"] > 0 and info.costs["first_inference_ms"] > 0
    assert info.fingerprint == make("openvino").info().fingerprint


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "keys"), METHODS)
def test_one_thread_is_one_thread(make: Make, image: EvaluatedImage, backend: str, keys: dict[str, Any]) -> None:
    extractor = make(backend, **keys)
    extractor.warm_up(image.size)
    batch = np.zeros((1, *image.grey.shape, 1), np.float32)
    wall, used = time.perf_counter(), time.process_time()
    for _ in range(5):
        extractor._network.infer(batch)
    wall, used = time.perf_counter() - wall, time.process_time() - used
    assert used <= 1.2 * wall + 0.02  # two threads that compute take nearly twice the wall time


@pytest.mark.slow
def test_xnnpack_computes_the_convolutions_of_litert(make: Make, image: EvaluatedImage) -> None:
    for weights, label in (("f32", "FP32"), ("f16", "FP16 weights, f32 compute")):
        extractor = make("litert", weights=weights)
        extractor.warm_up(image.size)
        precision = extractor.info().precision
        assert (precision["kernels"], precision["label"]) == (["XNNPACK"], label)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "keys"), FILES)
def test_a_file_of_the_user_runs_as_it_is(
    make: Make, image: EvaluatedImage, tmp_path: Path, backend: str, keys: dict[str, Any]
) -> None:
    weights = load_weights(BUILTIN_SUPERPOINT)
    write_onnx(tmp_path / "free.onnx", weights)
    assert_equal(make, image, tmp_path / "free.onnx", backend, keys)
    write_onnx(tmp_path / "built.onnx", weights, size=image.size, batch=1, outputs=("logits", "descriptors_raw"))
    extractor = make(backend, tmp_path / "built.onnx", **keys)
    expected, _ = make("openvino").extract(image)
    found, _ = extractor.extract(image)
    assert len(rows(expected, found)[0]) == 300
    with pytest.raises(ModelError, match=r"built for 240x320 \(HxW\), the evaluated image is 64x96"):
        extractor.warm_up(Size(64, 96))


def test_a_file_it_does_not_read_is_refused_with_who_does() -> None:
    def said(backend: str, path: str) -> str | None:
        return missing(SuperPointConfig(backend=backend, model=ModelConfig("path", path)))  # type: ignore[arg-type]

    assert said("tensorflow", "a/model.xml") == "TensorFlow does not read model.xml; OpenVINO does"
    assert said("onnxruntime", "a/model.xml") == "ONNX Runtime does not read model.xml; OpenVINO does"
    found = said("tensorflow", "model.onnx")
    assert found is not None and found.startswith("TensorFlow does not read model.onnx; OpenVINO and ONNX Runtime")


@pytest.mark.parametrize("backend", list(Runtime))
def test_every_word_has_its_module(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(backend)
    assert module.TITLE and callable(module.load) and callable(module.library)
    monkeypatch.setattr(module, "importable", lambda name: False)
    found = missing(SuperPointConfig(backend=backend, model=ModelConfig("builtin")))  # type: ignore[arg-type]
    assert found is not None and "is not installed (pip install" in found
