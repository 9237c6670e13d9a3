"""Matching against a naive double-precision search, closed forms, and OpenCV's brute-force matcher."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import FeatureError
from bench.core.types import DataSet, Features, Matches, Size
from bench.geometry import nearest as matching
from bench.geometry.nearest import match, nearest_both, neighbours
from bench.schema import MatcherConfig

SIZE = Size(480, 640)


def features(descriptors: np.ndarray | None, n: int | None = None) -> Features:
    n = len(descriptors) if descriptors is not None else (n or 0)
    return Features(np.zeros((n, 2), np.float32), np.zeros(n, np.float32), descriptors, SIZE)


def naive(a: np.ndarray, b: np.ndarray, config: MatcherConfig) -> list[tuple[int, int]]:
    """Loops in double precision; strict comparisons leave ties to the lowest index."""
    if a.dtype == np.uint8:
        distance = [[int(np.bitwise_count(x ^ y).sum()) for y in b] for x in a]
    else:
        distance = [[float(np.sqrt(((x.astype(float) - y.astype(float)) ** 2).sum())) for y in b] for x in a]
    cost = distance
    if config.metric == "dot" and a.dtype != np.uint8:
        cost = [[-float((x.astype(float) * y.astype(float)).sum()) for y in b] for x in a]
    if config.order == "best_last":
        reverse = naive(a[::-1], b[::-1], replace(config, order="best_first"))
        return [(len(a) - 1 - i, len(b) - 1 - j) for i, j in reverse]
    pairs = []
    for i in range(len(a)):
        j = min(range(len(b)), key=lambda j: (cost[i][j], j))
        if config.kind == "mutual_nn" and i != min(range(len(a)), key=lambda i: (cost[i][j], i)):
            continue
        if config.ratio is not None and len(b) > 1:
            second = min((k for k in range(len(b)) if k != j), key=lambda k: (cost[i][k], k))
            if not distance[i][j] < config.ratio * distance[i][second]:
                continue
        if config.max_distance is not None and not distance[i][j] < config.max_distance:
            continue
        pairs.append((i, j))
    return pairs


def pairs(matches: Matches) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in matches.indices]


def opencv(a: np.ndarray, b: np.ndarray) -> set[tuple[int, int]]:
    norm = cv2.NORM_HAMMING if a.dtype == np.uint8 else cv2.NORM_L2SQR
    return {(m.queryIdx, m.trainIdx) for m in cv2.BFMatcher(norm, crossCheck=True).match(a, b)}


CONFIGS = st.builds(
    MatcherConfig,
    kind=st.sampled_from(["mutual_nn", "nn"]),
    metric=st.sampled_from(["l2", "dot"]),
    max_distance=st.sampled_from([None, 2.0, 40.0]),
    ratio=st.sampled_from([None, 0.8, 1.0]),
    order=st.sampled_from(["best_first", "best_last"]),
)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    d=st.integers(1, 9),
    levels=st.sampled_from([1, 3, 256]),
    config=CONFIGS,
)
@settings(max_examples=300, deadline=None)
def test_equals_naive_search_with_many_ties(
    seed: int, n: int, m: int, d: int, levels: int, config: MatcherConfig
) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, levels, (k, d)).astype(np.float32) for k in (n, m))
    assert pairs(match(features(a), features(b), config)) == naive(a, b, config)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), m=st.integers(1, 12), config=CONFIGS)
@settings(max_examples=150, deadline=None)
def test_hamming_equals_naive_search(seed: int, n: int, m: int, config: MatcherConfig) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 4, (k, 5)).astype(np.uint8) for k in (n, m))
    assert pairs(match(features(a), features(b), config)) == naive(a, b, config)


@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-35, 35))
@settings(max_examples=100, deadline=None)
def test_near_ties_far_below_single_precision_are_resolved(seed: int, exponent: int) -> None:
    """Neighbours that differ by one unit in the last place, far from the origin, at every scale of float32."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(100, 101, (1, 16)).astype(np.float32)
    steps = rng.integers(-2, 3, (2, 10, 16)).astype(np.float32) * np.spacing(base)
    a, b = ((base + s) * np.float32(10.0) ** exponent for s in steps)
    assert np.isfinite(a).all()
    for kind in ("mutual_nn", "nn"):
        config = MatcherConfig(kind=kind)
        # the reference search itself would underflow or overflow at the outer scales
        scale = 2.0 ** -int(np.frexp(np.abs(a).max())[1])
        found = match(features(a.astype(np.float32)), features(b.astype(np.float32)), config)
        assert pairs(found) == naive(a.astype(float) * scale, b.astype(float) * scale, config)


@pytest.mark.parametrize(("n", "m", "d"), [(1000, 1000, 256), (700, 1100, 128), (5, 900, 3)])
def test_equals_opencv_on_unit_descriptors(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng((n, m, d))
    a, b = (rng.normal(size=(k, d)).astype(np.float32) for k in (n, m))
    common = min(n, m) // 2
    b[:common] = a[:common] + 0.3 * rng.normal(size=(common, d)).astype(np.float32)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    assert set(pairs(match(features(a), features(b), MatcherConfig()))) == opencv(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_equals_opencv_on_bytes_with_ties(dtype: type) -> None:
    """SIFT-like and binary descriptors, whose distances OpenCV computes exactly, ties included."""
    rng = np.random.default_rng(3)
    a, b = (rng.integers(0, 256, (k, 32)).astype(np.uint8).astype(dtype) for k in (800, 600))
    b[:300] = a[100:400]
    b[300:400] = a[100:200]
    assert set(pairs(match(features(a), features(b), MatcherConfig()))) == opencv(a, b)


def test_equals_opencv_on_real_images(views: DataSet) -> None:
    detector = cv2.SIFT_create(1000)
    pair = views.pairs[2]
    a, b = (
        detector.detectAndCompute(cv2.imread(str(image.path), cv2.IMREAD_GRAYSCALE), None)[1][:1000]
        for image in (pair.reference, pair.target)
    )
    assert min(len(a), len(b)) > 200
    assert set(pairs(match(features(a), features(b), MatcherConfig()))) == opencv(a, b)


def test_distances_and_order() -> None:
    a = np.array([[3, 4], [0, 0], [10, 0]], np.float32)
    b = np.array([[0, 1], [10, 2], [3, 4]], np.float32)
    found = match(features(a), features(b), MatcherConfig())
    assert pairs(found) == [(0, 2), (1, 0), (2, 1)]
    assert found.distances.tolist() == [0.0, 1.0, 2.0]
    assert found.indices.dtype == np.int32
    assert found.distances.dtype == np.float32


def test_l2_distance_of_close_large_descriptors_is_exact() -> None:
    a = np.full((1, 128), 255, np.float32)
    b = a.copy()
    b[0, 0] = 254
    assert match(features(a), features(b), MatcherConfig()).distances.tolist() == [1.0]


def test_hamming_distance_counts_bits() -> None:
    a = np.array([[0b1111_0000, 0xFF]], np.uint8)
    b = np.array([[0b0000_1111, 0xFE]], np.uint8)
    assert match(features(a), features(b), MatcherConfig()).distances.tolist() == [9.0]


def test_hamming_distance_of_long_descriptors_does_not_overflow() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (3, 8200)).astype(np.uint8)
    b = np.stack([~a[0], a[1] ^ 1])
    found = match(features(a[:2]), features(b), MatcherConfig(kind="nn"))
    assert pairs(found) == naive(a[:2], b, MatcherConfig(kind="nn"))
    assert match(features(a[:1]), features(b[:1]), MatcherConfig()).distances.tolist() == [8200 * 8]
    assert match(features(a[:1, :7]), features(b[:1, :7]), MatcherConfig()).distances.tolist() == [56]


def test_best_last_turns_the_order_and_the_ties() -> None:
    a = np.array([[1, 1], [1, 1], [9, 9]], np.float32)
    found = match(features(a), features(a), MatcherConfig(order="best_last"))
    assert pairs(found) == [(2, 2), (1, 1)]
    assert pairs(match(features(a), features(a), MatcherConfig(kind="nn", order="best_last"))) == [
        (2, 2),
        (1, 1),
        (0, 1),
    ]


def test_equal_descriptors_match_the_lowest_index() -> None:
    a = np.ones((4, 8), np.float32)
    assert pairs(match(features(a), features(a), MatcherConfig())) == [(0, 0)]
    assert pairs(match(features(a), features(a), MatcherConfig(kind="nn"))) == [(i, 0) for i in range(4)]


def test_dot_prefers_the_longer_descriptor_and_l2_the_nearer() -> None:
    a = np.array([[1, 0]], np.float32)
    b = np.array([[1, 0.1], [5, 5]], np.float32)
    assert pairs(match(features(a), features(b), MatcherConfig(metric="dot"))) == [(0, 1)]
    assert pairs(match(features(a), features(b), MatcherConfig())) == [(0, 0)]


def test_thresholds_are_strict() -> None:
    a, b = np.array([[0.0]], np.float32), np.array([[1.0], [2.0]], np.float32)
    assert pairs(match(features(a), features(b), MatcherConfig(max_distance=1.0))) == []
    assert pairs(match(features(a), features(b), MatcherConfig(max_distance=1.01))) == [(0, 0)]
    assert pairs(match(features(a), features(b), MatcherConfig(ratio=0.5))) == []
    assert pairs(match(features(a), features(b), MatcherConfig(ratio=0.51))) == [(0, 0)]
    assert pairs(match(features(a), features(b[:1]), MatcherConfig(ratio=0.1))) == [(0, 0)]


@pytest.mark.parametrize("kind", ["mutual_nn", "nn", "none"])
@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_no_keypoints_give_no_matches(kind: str, n: int, m: int) -> None:
    found = match(
        features(np.ones((n, 4), np.float32)), features(np.ones((m, 4), np.float32)), MatcherConfig(kind=kind)
    )
    assert found.indices.shape == (0, 2)
    assert found.distances.shape == (0,)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_blocks_change_nothing(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.integers(0, 3, (k, 6)).astype(dtype) for k in (50, 41))
    configs = [MatcherConfig(kind=kind, ratio=ratio) for kind in ("mutual_nn", "nn") for ratio in (None, 0.9)]
    whole = [match(features(a), features(b), config) for config in configs]
    monkeypatch.setattr(matching, "_BLOCK", 100)
    monkeypatch.setattr(matching, "_EXACT_BLOCK", 30)
    monkeypatch.setattr(matching, "_BITS_BLOCK", 100)
    for config, expected in zip(configs, whole, strict=True):
        found = match(features(a), features(b), config)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.distances, expected.distances)


def test_memory_of_a_hamming_search_is_bounded() -> None:
    """4000 by 4000 distances would be 32 MB as 16-bit numbers."""
    a, b = (features(d) for d in np.random.default_rng(0).integers(0, 256, (2, 4000, 32)).astype(np.uint8))
    tracemalloc.start()
    try:
        match(a, b, MatcherConfig())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 12), m=st.integers(0, 12), config=CONFIGS, binary=st.booleans())
@settings(max_examples=100, deadline=None)
def test_known_neighbours_change_nothing(seed: int, n: int, m: int, config: MatcherConfig, binary: bool) -> None:
    rng = np.random.default_rng(seed)
    a, b = (features(rng.integers(0, 3, (k, 4)).astype(np.uint8 if binary else np.float32)) for k in (n, m))
    known, forward = (
        neighbours(a, b, config.metric, order=config.order),
        neighbours(a, b, config.metric, False, config.order),
    )
    one_way = MatcherConfig(kind="nn", metric=config.metric, order=config.order)

    def ascending(found: Matches) -> Matches:
        order = np.argsort(found.indices[:, 0])
        return Matches(found.indices[order], found.distances[order])

    for found, expected in (
        (match(a, b, config, known), match(a, b, config)),
        (nearest_both(known)[0], ascending(match(a, b, one_way))),
        (nearest_both(known)[1], ascending(match(b, a, one_way))),
        (nearest_both(forward and forward.completed())[1], ascending(match(b, a, one_way))),
        (match(b, a, config, known and known.swapped()), match(b, a, config)),
    ):
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.distances, expected.distances)


def test_refusals_name_the_problem() -> None:
    with pytest.raises(FeatureError, match="no descriptors"):
        match(features(None, 2), features(None, 2), MatcherConfig())
    assert len(match(features(None, 2), features(None, 2), MatcherConfig(kind="none"))) == 0
    with pytest.raises(FeatureError, match=r"\(2, 4\) float32 and \(2, 4\) uint8"):
        match(features(np.ones((2, 4), np.float32)), features(np.ones((2, 4), np.uint8)), MatcherConfig())
