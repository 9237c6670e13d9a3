"""MNN: its Winograd and its other precisions against direct sums, its converter, its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.core.types import EvaluatedImage, Size
from bench.models.onnxfile import write_onnx
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights
from tests.runtimes.test_runtimes import rows
from tests.superpoint_method import Make

pytest.importorskip("MNN", reason="the extra mnn is not installed")
pytestmark = [pytest.mark.extras, pytest.mark.slow]


def test_its_own_winograd_is_coarser_by_a_known_amount(make: Make, image: EvaluatedImage, superpoint: Path) -> None:
    """The tolerance that docs/benchmarks.md states: prob 5e-3, cosine 0.99999 and all but a few keypoints.

    Tiles of 6x6 multiply by up to 5.25 and divide again: they round about 100 times as coarsely as direct sums.
    """
    reference, expected = make("openvino", superpoint).tensors(image)
    features, found = make("mnn", superpoint).tensors(image)
    assert np.abs(found["prob"] - expected["prob"]).max() < 5e-3
    assert np.abs(found["descriptors_raw"] - expected["descriptors_raw"]).max() < 2e-2
    of_reference, of_other = rows(reference, features)
    assert len(of_reference) >= 297
    cosine = np.einsum("nd,nd->n", reference.descriptors[of_reference], features.descriptors[of_other])
    assert cosine.min() >= 0.99999


@pytest.mark.parametrize(
    ("winograd", "kernel"), [("auto", "Winograd f32"), ("small", "Winograd f32"), ("off", "direct f32")]
)
def test_what_it_executes_is_read_from_its_bits(make: Make, image: EvaluatedImage, winograd: str, kernel: str) -> None:
    extractor = make("mnn", winograd=winograd, threads=1)
    extractor.warm_up(image.size)
    info = extractor.info()
    assert info.precision["kernels"] == [kernel] and info.precision["label"] == "FP32"
    assert info.threads == {"requested": 1, "session": 1}
    assert {"load_ms", "compile_ms", "first_inference_ms", "session_memory_mb"} <= set(info.costs)


@pytest.mark.parametrize("weights", ["f16", "int8"])
def test_smaller_weights_are_another_file(make: Make, image: EvaluatedImage, weights: str) -> None:
    whole, small = make("mnn", winograd="off"), make("mnn", winograd="off", weights=weights)
    assert small._network._path.stat().st_size < 0.6 * whole._network._path.stat().st_size
    a, b = whole.tensors(image)[1], small.tensors(image)[1]
    assert 0 < np.abs(a["prob"] - b["prob"]).max() < 0.2
    label = small.info().precision["label"]
    assert label == {"f16": "FP16 weights, f32 compute", "int8": "INT8 model, f32 100 % compute"}[weights]


@pytest.mark.parametrize("hint", ["f16", "bf16"])
def test_a_precision_it_does_not_follow_is_refused(make: Make, hint: str) -> None:
    from bench.runtimes import mnn

    if hint in mnn.half_precisions():
        pytest.skip(f"MNN computes in {hint} on this CPU")
    with pytest.raises(ModelError, match=f"inference_precision={hint} is not possible: MNN computes in f32"):
        make("mnn", inference_precision=hint)


def test_its_converter_is_called_without_the_script_that_installs_packages(tmp_path: Path) -> None:
    """`MNN.tools` runs pip and contacts a server on import; nothing of it, no process and no socket is needed."""
    onnx, model = tmp_path / "model.onnx", tmp_path / "model.mnn"
    write_onnx(onnx, load_weights(BUILTIN_SUPERPOINT))
    code = f"""
import sys
heard = []
names = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, arguments: heard.append(event) if event in names else None)
from bench.runtimes.mnn import convert, executed
from pathlib import Path
convert({str(onnx)!r}, {str(model)!r}, "f32")
executed(Path({str(model)!r}), "image", "f32", "auto")
assert "MNN.tools" not in sys.modules and not heard, heard
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert model.stat().st_size > 1 << 20


def test_a_file_it_cannot_convert_is_refused(tmp_path: Path) -> None:
    from bench.runtimes.mnn import converted_file

    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError):
        converted_file(path, "f32", tmp_path / "cache")


def test_fifty_sizes_leave_no_memory_behind(make: Make) -> None:
    """Sessions of four shapes are kept; the memory after two rounds over fifty sizes is that after one."""
    import psutil

    network = make("mnn", threads=1)._network
    process, seen = psutil.Process(), []
    for _ in range(2):
        for step in range(50):
            size = Size(64 + 8 * (step % 10), 64 + 8 * (step // 10))
            network.prepare(size)
            network.infer(np.zeros((1, size.height, size.width, 1), np.float32))
        assert len(network._sessions) == 4
        seen.append(process.memory_info().rss >> 20)
    assert seen[1] - seen[0] < 64
