"""Speed of the matcher: pytest tests/benchmarks -o addopts=''."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from bench.core.types import Features, Size
from bench.geometry.nearest import match
from bench.schema import MatcherConfig


def unit_features(n: int, d: int) -> tuple[Features, Features]:
    """Two images of which half the keypoints correspond."""
    rng = np.random.default_rng((n, d))
    a, b = (rng.normal(size=(n, d)).astype(np.float32) for _ in range(2))
    b[: n // 2] = a[: n // 2] + 0.5 * rng.normal(size=(n // 2, d)).astype(np.float32)
    result = []
    for x in (a, b):
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        result.append(Features(np.zeros((n, 2), np.float32), np.zeros(n, np.float32), x, Size(480, 640)))
    return result[0], result[1]


def test_mutual_1000x1000x256(benchmark) -> None:
    pytest.importorskip("pytest_benchmark")
    ref, target = unit_features(1000, 256)
    found = benchmark(match, ref, target, MatcherConfig())
    assert len(found) > 400


def test_hamming_1000x1000x32_bytes(benchmark) -> None:
    rng = np.random.default_rng(0)
    f = [
        Features(np.zeros((1000, 2), np.float32), np.zeros(1000, np.float32), d, Size(480, 640))
        for d in rng.integers(0, 256, (2, 1000, 32)).astype(np.uint8)
    ]
    benchmark(match, f[0], f[1], MatcherConfig())


def test_all_keypoints_of_orb_cost_half_of_opencv_at_most() -> None:
    """Uncapped ORB finds thousands of keypoints; CPU time of one thread, in which 25 000 by 25 000 take about 2 s."""
    rng = np.random.default_rng(0)
    bytes_ref, bytes_target = rng.integers(0, 256, (2, 8000, 32)).astype(np.uint8)
    bytes_target[:4000] = bytes_ref[2000:6000] ^ (rng.random((4000, 32)) < 0.3).astype(np.uint8)
    ref, target = (
        Features(np.zeros((8000, 2), np.float32), np.zeros(8000, np.float32), d, Size(480, 640))
        for d in (bytes_ref, bytes_target)
    )
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    ratios = []
    try:
        for _ in range(5):
            start = time.process_time()
            found = match(ref, target, MatcherConfig())
            middle = time.process_time()
            theirs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(bytes_ref, bytes_target)
            ratios.append((time.process_time() - middle) / (middle - start))
    finally:
        cv2.setNumThreads(threads)
    assert {(m.queryIdx, m.trainIdx) for m in theirs} == {(int(i), int(j)) for i, j in found.indices}
    print(f"speed-up over cv2.BFMatcher(NORM_HAMMING, crossCheck=True): median {np.median(ratios):.1f}")
    assert np.median(ratios) >= 2


def test_at_least_three_times_faster_than_opencv() -> None:
    """Interleaved on this thread count; CPU time, so that other processes weigh on both alike."""
    from threadpoolctl import threadpool_limits

    ref, target = unit_features(1000, 256)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    ratios = []
    try:
        with threadpool_limits(1):
            for _ in range(15):
                start = time.process_time()
                found = match(ref, target, MatcherConfig())
                middle = time.process_time()
                theirs = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(ref.descriptors, target.descriptors)
                ratios.append((time.process_time() - middle) / (middle - start))
    finally:
        cv2.setNumThreads(threads)
    assert {(m.queryIdx, m.trainIdx) for m in theirs} == {(int(i), int(j)) for i, j in found.indices}
    print(f"speed-up over cv2.BFMatcher(crossCheck=True): median {np.median(ratios):.1f}, least {min(ratios):.1f}")
    assert np.median(ratios) >= 3
