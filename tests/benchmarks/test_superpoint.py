"""Speed of SuperPoint: pytest tests/benchmarks/test_superpoint.py -s -o addopts=''.

Ratios of CPU times, interleaved on one thread, so that other processes weigh on both sides alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.core.types import Context, Size
from bench.features.base import create
from bench.features.decode import decode
from bench.features.select import to_float32
from bench.features.superpoint import SuperPointExtractor
from bench.schema import HomographicAdaptationConfig, ModelConfig, NmsConfig, SuperPointConfig

VGA = Size(480, 640)


def method(backend: str, cache: Path, size: Size = VGA, **keys: object) -> SuperPointExtractor:
    config = SuperPointConfig(
        backend=backend,
        model=ModelConfig("builtin"),
        max_keypoints=1000,
        threads=1,
        nms=NmsConfig("box", 8, 0.1),
        min_probability=0.001,
        border_px=0,
        homographic_adaptation=HomographicAdaptationConfig(),
        **keys,  # type: ignore[arg-type]
    )
    extractor = create("method", config, Context(threads=1, cache=cache, data_root=cache))
    assert isinstance(extractor, SuperPointExtractor)
    extractor.warm_up(size)
    return extractor


def photograph(size: Size) -> NDArray[np.uint8]:
    import cv2
    from skimage import data

    return np.asarray(cv2.resize(data.camera(), (size.width, size.height), interpolation=cv2.INTER_AREA))


def cpu_ms(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU time of each, in milliseconds, after one untimed round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append(1e3 * (time.process_time() - start))
    return {name: float(np.median(values[1:])) for name, values in times.items()}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_shares_of_preprocessing_and_decoding(cache: Path) -> None:
    extractor, grey = method("openvino", cache), photograph(VGA)
    image = to_float32(grey)[None, :, :, None]
    outputs = {key: value.copy() for key, value in extractor._network.infer(image).items()}
    found = decode(outputs["prob"][0], outputs["descriptors_raw"][0], extractor._decoding, VGA)
    ms = cpu_ms(
        {
            "preprocess": lambda: to_float32(grey),
            "infer": lambda: extractor._network.infer(image),
            "decode": lambda: decode(outputs["prob"][0], outputs["descriptors_raw"][0], extractor._decoding, VGA),
        },
        repeats=9,
    )
    print(f"\n{len(found)} keypoints, {ms}; decode {ms['decode'] / ms['infer']:.1%} of inference")
    assert len(found) > 900
    assert ms["decode"] <= 0.05 * ms["infer"]
    assert ms["preprocess"] <= 0.02 * ms["infer"]


def test_sparse_against_full(cache: Path) -> None:
    image = to_float32(photograph(VGA))[None, :, :, None]
    sparse, full = method("openvino", cache), method("openvino", cache, graph="full")
    ms = cpu_ms({"sparse": lambda: sparse._network.infer(image), "full": lambda: full._network.infer(image)}, repeats=5)
    print(f"\n{ms}; full/sparse {ms['full'] / ms['sparse']:.2f}")
    assert ms["full"] >= 2 * ms["sparse"]


def test_tensorflow_against_openvino(cache: Path) -> None:
    """Reported, not required: on one AVX-512 core both run near the peak of its arithmetic."""
    image = to_float32(photograph(VGA))[None, :, :, None]
    runs = {backend: method(backend, cache) for backend in ("openvino", "tensorflow")}
    ms = cpu_ms(
        {
            "openvino": lambda: runs["openvino"]._network.infer(image),
            "tensorflow": lambda: runs["tensorflow"]._network.infer(image),
        },
        repeats=7,
    )
    print(f"\n{ms}; tensorflow/openvino {ms['tensorflow'] / ms['openvino']:.2f}")
    assert ms["tensorflow"] > ms["openvino"]


def peak_mb() -> float:
    """Peak of this program's resident memory; ru_maxrss would include the parent's at the time of the fork."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024 / 1e6


def measure_process(graph: str, cache: str) -> None:
    """Entry point of a process: one graph at 1280x720 (HxW), FP16 weights; prints time and peak memory."""
    size = Size(1280, 720)
    extractor = method("openvino", Path(cache), size, graph=graph, weights="f16")
    image = to_float32(photograph(size))[None, :, :, None]
    ms = cpu_ms({"infer": lambda: extractor._network.infer(image)}, repeats=2)["infer"]
    print(json.dumps({"ms": ms, "peak_mb": peak_mb()}))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc")
def test_memory_and_time_at_1280x720(cache: Path) -> None:
    method("openvino", cache, weights="f16"), method("openvino", cache, weights="f16", graph="full")
    root = Path(__file__).resolve().parents[2]
    found = {}
    for graph in ("sparse", "full"):
        code = f"from tests.benchmarks.test_superpoint import measure_process as m; m({graph!r}, {str(cache)!r})"
        done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
        found[graph] = json.loads(done.stdout.splitlines()[-1])
    time_ratio = found["full"]["ms"] / found["sparse"]["ms"]
    memory_ratio = found["sparse"]["peak_mb"] / found["full"]["peak_mb"]
    print(f"\n{found}; full/sparse time {time_ratio:.2f}, sparse/full memory {memory_ratio:.2f}")
    assert time_ratio >= 2.5
    assert memory_ratio <= 0.25
