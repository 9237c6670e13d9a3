"""Pairs per second of the accuracy phase at 1000 keypoints, 256-D, ten MAGSAC orders and every metric, on one core.

Run with ``OMP_NUM_THREADS=1 taskset -c 0 pytest tests/benchmarks/test_evaluate.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from bench.config import compose
from bench.core.types import Features, ImageRef, Pair, PreparedPair, Size
from bench.geometry.transforms import transform_points, visible
from bench.run.pair import evaluate_pair

SIZE = Size(480, 640)
H = np.array([[0.95, 0.05, 20.0], [-0.04, 1.02, -10.0], [1e-5, 2e-5, 1.0]])


def scene(seed: int, share_found: float, n: int = 1000, d: int = 256) -> tuple[PreparedPair, Features, Features]:
    """Keypoints of which `share_found` reappear within about a pixel, with similar descriptors."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform([0, 0], [639, 479], (n, 2))
    warped = transform_points(H, xy) + rng.normal(0, 0.8, (n, 2))
    found = (rng.random(n) < share_found) & visible(warped, SIZE)
    target = np.where(found[:, None], warped, rng.uniform([0, 0], [639, 479], (n, 2)))
    a = rng.normal(size=(n, d))
    b = np.where(found[:, None], a + 0.05 * rng.normal(size=(n, d)), rng.normal(size=(n, d)))
    order = rng.permutation(n)
    scores = np.linspace(1, 0, n, dtype=np.float32)

    def unit(x: np.ndarray) -> np.ndarray:
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    pair = Pair(ImageRef("s/1", None), ImageRef("s/2", None), H, "s", "v", f"s/1-{seed}")  # type: ignore[arg-type]
    return (
        PreparedPair(pair, H, SIZE, SIZE),
        Features(xy.astype(np.float32), scores, unit(a), SIZE),
        Features(target[order].astype(np.float32), scores, unit(b)[order], SIZE),
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    import cv2

    cv2.setNumThreads(1)
    with threadpool_limits(1):
        yield


def test_accuracy_phase(benchmark: Any) -> None:
    scenes = [scene(seed, share) for seed, share in enumerate((0.1, 0.2, 0.3, 0.5, 0.7))]
    protocol = compose(["protocol=strict"]).protocol
    rows = benchmark(lambda: [evaluate_pair(*s, protocol, 0) for s in scenes])
    assert all(row["outcome"] == "ok" for row in rows)
    benchmark.extra_info["pairs_per_s"] = len(scenes) / benchmark.stats.stats.median
