"""What it costs to send an image to a worker and its features back, as a share of the OpenVINO inference."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from bench.config import compose
from bench.core.types import Context, EvaluatedImage
from bench.run.worker import Worker


def test_transport_is_a_small_share_of_inference(tmp_path: Path) -> None:
    config = compose([f"cache={tmp_path}"]).methods["superpoint_ov_fp32"]
    grey = np.random.default_rng(0).integers(0, 255, (480, 640)).astype(np.uint8)
    image = EvaluatedImage("noise", grey, np.eye(3))
    worker = Worker("fp32", config, Context(2, tmp_path, tmp_path), tmp_path / "worker.log")
    worker.warm_up(image.size)
    transport_ms, infer_ms = [], []
    for _ in range(15):
        start = time.perf_counter()
        features, times = worker.extract(image)
        transport_ms.append(1e3 * (time.perf_counter() - start) - times.total_ms)
        infer_ms.append(times.infer_ms)
    worker.close()
    share = np.median(transport_ms) / np.median(infer_ms)
    print(f"transport {np.median(transport_ms):.2f} ms, {share:.2%} of inference")
    assert len(features) == 1000
    assert share < 0.02
