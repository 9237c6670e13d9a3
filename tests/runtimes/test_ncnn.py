"""ncnn: its file against the layers of the network, its precisions, its memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.core.types import EvaluatedImage, Size
from bench.models.ncnnfile import write_ncnn
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights
from tests.superpoint_method import Make

pytest.importorskip("ncnn", reason="the extra ncnn is not installed")
pytestmark = [pytest.mark.extras, pytest.mark.slow]


@pytest.mark.parametrize(("winograd", "kernel"), [("small", "Winograd f32"), ("off", "direct f32")])
def test_every_algorithm_has_the_tolerance_of_f32(
    make: Make, image: EvaluatedImage, winograd: str, kernel: str
) -> None:
    _, expected = make("openvino").tensors(image)
    extractor = make("ncnn", winograd=winograd)
    _, found = extractor.tensors(image)
    np.testing.assert_allclose(found["prob"], expected["prob"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(found["descriptors_raw"], expected["descriptors_raw"], atol=1e-4, rtol=0)
    assert extractor.info().precision["kernels"] == [kernel]
    assert extractor.info().threads == {"requested": 1, "num_threads": 1}


def test_bf16_is_what_is_stored(make: Make, image: EvaluatedImage) -> None:
    from bench.runtimes import ncnn

    if "bf16" not in ncnn.half_precisions():
        pytest.skip("ncnn ignores bf16 on this CPU")
    single, half = make("ncnn"), make("ncnn", inference_precision="bf16")
    a, b = single.tensors(image)[1]["prob"], half.tensors(image)[1]["prob"]
    assert 1e-4 < np.abs(a - b).max() < 0.2
    assert half.info().precision["label"] == "FP32 weights, bf16 storage"


def test_a_precision_it_does_not_follow_is_refused(make: Make) -> None:
    from bench.runtimes import ncnn

    if "f16" in ncnn.half_precisions():
        pytest.skip("ncnn computes in f16 on this CPU")
    with pytest.raises(ModelError, match="inference_precision=f16 is not possible: ncnn computes in f32"):
        make("ncnn", inference_precision="f16")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    from bench.runtimes.ncnn import executed

    param = write_ncnn(tmp_path, load_weights(BUILTIN_SUPERPOINT), ("prob",))
    param.write_text("1\n" + param.read_text())
    with pytest.raises(ModelError, match="ncnn cannot load it"):
        executed(param, ("prob",), "f32", "auto")


def test_an_array_whose_strides_are_0_is_taken(make: Make, image: EvaluatedImage) -> None:
    """Axes of length 1 may have any stride in NumPy."""
    network = make("ncnn")._network
    grey = image.grey.astype(np.float32) / 255
    strided = np.lib.stride_tricks.as_strided(grey, (1, *grey.shape, 1), (0, *grey.strides, 0))
    expected = network.infer(np.ascontiguousarray(grey)[None, :, :, None].copy())["prob"]
    np.testing.assert_array_equal(network.infer(strided)["prob"], expected)


def test_fifty_sizes_leave_no_memory_behind(make: Make) -> None:
    import psutil

    network = make("ncnn", threads=1)._network
    process, seen = psutil.Process(), []
    for _ in range(2):
        for step in range(50):
            size = Size(64 + 8 * (step % 10), 64 + 8 * (step // 10))
            network.infer(np.zeros((1, size.height, size.width, 1), np.float32))
        seen.append(process.memory_info().rss >> 20)
    assert seen[1] - seen[0] < 32
