"""SuperPoint under OpenVINO against TensorFlow, and requests that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.core.types import EvaluatedImage, Features, Size
from bench.features.select import to_float32
from tests.superpoint_method import Make


def common(a: Features, b: Features) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the keypoints that both have."""
    rows = {tuple(point): row for row, point in enumerate(b.keypoints.tolist())}
    pairs = [(i, rows[tuple(point)]) for i, point in enumerate(a.keypoints.tolist()) if tuple(point) in rows]
    return tuple(np.array(pairs).T)  # type: ignore[return-value]


@pytest.mark.slow
def test_fp32_equals_tensorflow(make: Make, image: EvaluatedImage, superpoint: Path) -> None:
    reference, converted = make("tensorflow", superpoint, graph="full"), make("openvino", superpoint, graph="full")
    converted.warm_up(image.size)
    grey = to_float32(image.grey)[None, :, :, None]
    expected, found = reference._network.infer(grey), converted._network.infer(grey)
    assert set(found) == set(expected)
    for key, tolerance in {"logits": 1e-4, "prob": 1e-5, "descriptors_raw": 1e-4, "descriptors": 1e-5}.items():
        # Logits reach 20, where kernels without AVX-512 sum in another order: one in a hundred thousand of the value.
        rtol = 1e-5 if key == "logits" else 0
        np.testing.assert_allclose(found[key], expected[key], atol=tolerance, rtol=rtol, err_msg=key)
    a, _ = reference.extract(image)
    b, _ = converted.extract(image)
    rows_a, rows_b = common(a, b)
    assert len(rows_a) == len(a) == 300  # the same keypoints; near-ties may change places
    np.testing.assert_allclose(a.scores[rows_a], b.scores[rows_b], atol=1e-5)
    cosine = np.einsum("nd,nd->n", a.descriptors[rows_a], b.descriptors[rows_b])
    assert cosine.min() >= 0.99999


@pytest.mark.slow
def test_sparse_equals_full(make: Make, image: EvaluatedImage, superpoint: Path) -> None:
    sparse, _ = make("openvino", superpoint).extract(image)
    full, _ = make("openvino", superpoint, graph="full").extract(image)
    rows_a, rows_b = common(sparse, full)
    assert len(rows_a) == 300
    np.testing.assert_allclose(sparse.descriptors[rows_a], full.descriptors[rows_b], atol=1e-5)


@pytest.mark.slow
def test_detector_of_2018_equals_tensorflow(make: Make, image: EvaluatedImage, shared: Path) -> None:
    model = shared / "models/magic-point_02-12-2018"
    a, _ = make("tensorflow", model, min_probability=0.01).extract(image)
    b, _ = make("openvino", model, min_probability=0.01).extract(image)
    assert a.descriptors is None and b.descriptors is None
    rows, _ = common(a, b)
    assert len(rows) == len(a) == len(b) > 50


@pytest.mark.slow
def test_fp16_is_a_matter_of_storage(make: Make, image: EvaluatedImage, superpoint: Path) -> None:
    single, half = make("openvino", superpoint), make("openvino", superpoint, weights="f16")
    for extractor in (single, half):
        extractor.warm_up(image.size)
    assert single.info().precision["label"] == "FP32"
    assert half.info().precision["label"] == "FP16 weights, f32 compute"
    assert half.info().precision["executed"] == {"f32": 1.0}
    a, _ = single.extract(image)
    b, _ = half.extract(image)
    rows_a, rows_b = common(a, b)
    assert len(rows_a) >= 290
    cosine = np.einsum("nd,nd->n", a.descriptors[rows_a], b.descriptors[rows_b])
    assert 0.999 < cosine.min() < 1


@pytest.mark.slow
def test_a_new_size_and_back(make: Make, image: EvaluatedImage, builtin: Path) -> None:
    extractor = make("openvino", builtin)
    first, _ = extractor.extract(image)
    cropped = EvaluatedImage("crop", image.grey[:160, :200], np.eye(3))
    small, _ = extractor.extract(cropped)
    again, _ = extractor.extract(image)
    assert small.size == Size(160, 200)
    np.testing.assert_array_equal(first.keypoints, again.keypoints)
    np.testing.assert_array_equal(first.descriptors, again.descriptors)


def test_info_says_what_runs(make: Make, image: EvaluatedImage, builtin: Path) -> None:
    extractor = make("openvino", builtin)
    extractor.warm_up(image.size)
    info = extractor.info()
    assert info.precision["requested"] == "weights f32, hint f32" and info.precision["resolved"] == "f32"
    layers = info.precision["layers"]
    assert isinstance(layers, list)
    assert sum(layer["type"] == "Convolution" for layer in layers) == 12
    assert info.costs["compile_ms"] > 0 and info.costs["load_ms"] > 0 and info.costs["first_inference_ms"] > 0
    assert info.threads["inference_num_threads"] == "1"


def test_sides_must_be_divisible_by_8(make: Make, builtin: Path) -> None:
    extractor = make("openvino", builtin)
    with pytest.raises(ModelError, match=r"200x300 .* protocol\.image\.multiple_of=8"):
        extractor.warm_up(Size(200, 300))


@pytest.mark.parametrize("hint", ["bf16", "f16"])
def test_a_precision_the_cpu_lacks_is_refused(
    make: Make, builtin: Path, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Capabilities are taken away where this CPU has them; where it has none, the refusal is the real one."""
    from bench.runtimes import openvino as backend

    real = backend.precision.check_hint

    def without(hint: str, capabilities: list[str], device: str) -> None:
        real(hint, [name for name in capabilities if name not in ("BF16", "FP16")], device)

    monkeypatch.setattr(backend.precision, "check_hint", without)
    with pytest.raises(ModelError, match=f"inference_precision={hint} is not possible: this CPU has no {hint} units"):
        make("openvino", builtin, inference_precision=hint)


def test_bf16_computes_in_bf16_where_the_cpu_has_it(make: Make, image: EvaluatedImage, builtin: Path) -> None:
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    extractor = make("openvino", builtin, inference_precision="bf16")
    extractor.warm_up(image.size)
    assert extractor.info().precision["label"] == "FP32 weights, bf16 compute"


@pytest.mark.slow
def test_throughput_and_compilation_are_costs_of_the_method(tmp_path: Path) -> None:
    from bench.config import compose
    from bench.core.types import Context
    from bench.features.base import create

    config = compose([f"cache={tmp_path}"]).methods["superpoint_ov_fp32"]
    extractor = create("fp32", config, Context(1, tmp_path, tmp_path))
    grey = np.random.default_rng(0).integers(0, 255, (64, 96)).astype(np.uint8)
    image = EvaluatedImage("a", grey, np.eye(3))
    before = extractor.extract(image)[0]
    rate = extractor.throughput([image], 0.3)  # type: ignore[attr-defined]
    compiled = extractor.compile_costs(image.size)  # type: ignore[attr-defined]
    costs = extractor.info().costs
    assert costs["throughput_per_s"] == rate["images_per_s"] > 1
    assert rate["streams"] >= 1
    assert costs["compile_cached_ms"] == compiled["compile_cached_ms"] > 0
    np.testing.assert_array_equal(extractor.extract(image)[0].keypoints, before.keypoints)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["AUTO", "AUTO:CPU", "HETERO:CPU"])
def test_every_name_of_the_cpu_gives_the_features_of_the_cpu(
    device: str, make: Make, image: EvaluatedImage, builtin: Path
) -> None:
    plain, other = make("openvino", builtin), make("openvino", builtin, device=device)
    for extractor in (plain, other):
        extractor.warm_up(image.size)
    a, b = plain.extract(image)[0], other.extract(image)[0]
    rows, _ = common(a, b)
    assert len(rows) == len(a) == 300
    info = other.info()
    assert info.device["requested"] == device and info.device["executed"] == ["CPU"]
    assert info.precision["label"] == f"FP32, on {device} (CPU)" and info.precision["executed"] == {"f32": 1.0}
    assert info.threads["inference_num_threads"] == "1" and info.threads["requests"] == 1
    assert plain.info().device["names"] == info.device["names"] and plain.info().precision["label"] == "FP32"


@pytest.mark.slow
def test_streams_are_what_was_asked_for(make: Make, image: EvaluatedImage, builtin: Path) -> None:
    extractor = make("openvino", builtin, num_streams=1, performance_hint="throughput")
    assert extractor.throughput([image], 0.2)["streams"] == 1
    assert extractor.throughput([image], 0.2)["requests"] >= 1


def test_a_device_that_is_not_there_is_refused_before_work(make: Make, builtin: Path) -> None:
    from bench.core.errors import ConfigError
    from bench.features.base import runnable
    from bench.schema import SuperPointConfig

    methods = {"it": SuperPointConfig(backend="openvino", device="HETERO:NPU,CPU", threads=1)}
    with pytest.raises(ConfigError, match=r"methods\.it cannot run here: OpenVINO has no device NPU here, it has CPU"):
        runnable(methods)
    with pytest.raises(ModelError, match=r"device=NPU is not possible: OpenVINO has no NPU here, it has CPU"):
        make("openvino", builtin, device="NPU")
