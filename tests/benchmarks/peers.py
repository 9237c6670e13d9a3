"""The same work by us, by OpenCV's loop and by naive NumPy, as ratios in one run, with the machine's limits.

Run with ``python -m tests.benchmarks.peers [--rounds N]``. One thread everywhere; CPU time, so that other processes
weigh on all sides alike. The sides take turns; a ratio is the median over rounds with its 95 % interval (needs six).
What is compared is equal first: the same matches, the same corner errors and counts.

- limits: single-precision matrix product of NumPy's BLAS, which is the measured peak of fused multiply-adds
- matching: mutual nearest neighbours of 1000 x 1000 x 256 floats against `cv2.BFMatcher` and distances in NumPy
- Hamming: 1000 x 1000 and 8000 x 8000 descriptors of 32 bytes against `cv2.BFMatcher` and unpacked bits in NumPy
- row: the full `strict` row of a pair (ten orders of the matches, every metric) against a naive evaluator of one order
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.config import compose
from bench.core.types import Features, Size
from bench.geometry.nearest import match
from bench.run.pair import evaluate_pair
from bench.schema import MatcherConfig
from tests.benchmarks.pairing import median_ratio, take_turns
from tests.benchmarks.test_evaluate import scene
from tests.benchmarks.test_matching import unit_features

Pairs = set[tuple[int, int]]


def mutual(distances: NDArray[np.generic]) -> Pairs:
    """Mutual nearest neighbours from the whole matrix."""
    forward, backward = distances.argmin(axis=1), distances.argmin(axis=0)
    return {(i, int(j)) for i, j in enumerate(forward) if backward[j] == i}


def by_opencv(norm: int, ref: NDArray[np.generic], target: NDArray[np.generic]) -> Pairs:
    found = cv2.BFMatcher(norm, crossCheck=True).match(ref, target)  # type: ignore[call-overload]
    return {(m.queryIdx, m.trainIdx) for m in found}


def ours(ref: Features, target: Features) -> Pairs:
    return {(int(i), int(j)) for i, j in match(ref, target, MatcherConfig()).indices}


def naive_l2(ref: NDArray[np.float32], target: NDArray[np.float32]) -> Pairs:
    """Differences one reference descriptor at a time, as the formula reads."""
    return mutual(np.array([((target - one) ** 2).sum(axis=1) for one in ref]))


def naive_hamming(ref: NDArray[np.uint8], target: NDArray[np.uint8]) -> Pairs:
    """Counts of unpacked bits, one reference descriptor at a time."""
    bits = np.unpackbits(target, axis=1)
    return mutual(np.array([(bits != np.unpackbits(one)).sum(axis=1) for one in ref]))


def naive_row(xy_ref: NDArray[np.float64], xy_target: NDArray[np.float64], a, b, H, size: Size) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """A pair's row as a script of sixty lines has it: one estimate, loops where the formula has a sum."""

    def project(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = []
        for x, y in points:
            u, v, w = matrix @ np.array([x, y, 1.0])
            rows.append((u / w, v / w))
        return np.array(rows)

    def nearest(of: NDArray[np.float64], among: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([np.sqrt(((among - point) ** 2).sum(axis=1)).min() for point in of])

    matches = np.array(sorted(naive_l2(a, b)))
    p, q = xy_ref[matches[:, 0]], xy_target[matches[:, 1]]
    errors = np.linalg.norm(project(p, H) - q, axis=1)
    row = {f"correct_{t}px": float((errors < t).sum()) for t in range(1, 16)}
    estimated, _ = cv2.findHomography(p, q, cv2.USAC_MAGSAC, 3.0, maxIters=10_000, confidence=0.999)
    corners = np.array([[0, 0], [size.width - 1, 0], [size.width - 1, size.height - 1], [0, size.height - 1.0]])
    row["corner_error"] = float(np.linalg.norm(project(corners, H) - project(corners, estimated), axis=1).mean())
    there, back = project(xy_ref, H), project(xy_target, np.linalg.inv(H))

    def inside(points: NDArray[np.float64]) -> NDArray[np.bool_]:
        return (points >= 0).all(axis=1) & (points[:, 0] <= size.width - 1) & (points[:, 1] <= size.height - 1)

    seen, seen_back = inside(there), inside(back)
    forward, backward = nearest(there[seen], xy_target), nearest(back[seen_back], xy_ref)
    row["repeatability"] = float(((forward < 3).sum() + (backward < 3).sum()) / (len(forward) + len(backward)))
    order = np.argsort([((a[i] - b[j]) ** 2).sum() for i, j in matches])
    hits = (errors[order] < 3).astype(float)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    row["map"] = float((precision * hits).sum() / max(hits.sum(), 1))
    row["matching_score"] = float(hits.sum() / max(min(seen.sum(), seen_back.sum()), 1))
    return row


def peak_gflops() -> float:
    """Best rate of a single-precision matrix product in CPU time, in the cache and beyond it."""
    best = 0.0
    for side in (384, 1536):
        a, b = np.random.default_rng(0).standard_normal((2, side, side), np.float32)
        ms = take_turns({"product": lambda a=a, b=b: a @ b}, 4 * 1536 // side)["product"]  # type: ignore[misc]
        best = max(best, 2 * side**3 / ms.min() / 1e6)
    return best


def compare(title: str, work: Mapping[str, Callable[[], object]], rounds: int) -> NDArray[np.float64]:
    """Print the median of `ours` and how many times as long the others take; returns the times of `ours`."""
    ms = take_turns(work, rounds)
    others = ", ".join(f"{name} {median_ratio(ms[name], ms['ours'])}" for name in work if name != "ours")
    print(f"{title}: ours {np.median(ms['ours']):.2f} ms; times as long: {others}", flush=True)
    return ms["ours"]


def binary(n: int) -> tuple[Features, Features]:
    rng = np.random.default_rng(n)
    a, b = rng.integers(0, 256, (2, n, 32)).astype(np.uint8)
    b[: n // 2] = a[: n // 2] ^ (rng.random((n // 2, 32)) < 0.3).astype(np.uint8)
    return tuple(Features(np.zeros((n, 2), np.float32), np.zeros(n, np.float32), x, Size(480, 640)) for x in (a, b))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        peak = peak_gflops()
        print(f"limit: matrix product {peak:.0f} GFLOP/s on one thread")
        ref, target = unit_features(1000, 256)
        a, b = ref.descriptors, target.descriptors
        assert ours(ref, target) == by_opencv(cv2.NORM_L2, a, b) == naive_l2(a, b)
        work = {
            "ours": lambda: match(ref, target, MatcherConfig()),
            "cv2.BFMatcher": lambda: cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(a, b),
            "naive NumPy": lambda: naive_l2(a, b),
        }
        ms = compare("matching 1000 x 1000 x 256", work, rounds)
        share = 2 * 1000 * 1000 * 256 / (np.median(ms) / 1e3) / 1e9 / peak
        print(f"  {share:.0%} of the measured matrix product, search for equal distances included")
        for n, naive in ((1000, True), (8000, False)):
            f, g = binary(n)
            x, y = f.descriptors, g.descriptors
            # Random bits have equal distances, which OpenCV's cross check decides as we do: for the lowest index.
            assert ours(f, g) == by_opencv(cv2.NORM_HAMMING, x, y)
            work = {
                "ours": lambda f=f, g=g: match(f, g, MatcherConfig()),  # type: ignore[misc]
                "cv2.BFMatcher": lambda x=x, y=y: cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(x, y),  # type: ignore[misc]
            }
            if naive:
                assert ours(f, g) == naive_hamming(x, y)
                work["naive NumPy"] = lambda x=x, y=y: naive_hamming(x, y)  # type: ignore[misc]
            ms = compare(f"Hamming {n} x {n} x 256 bits", work, rounds if naive else min(rounds, 6))
            print(f"  {n * n / np.median(ms) / 1e6:.2f} pairs of descriptors a nanosecond")
        prepared, f, g = scene(0, 0.4)
        protocol = compose(["protocol=strict"]).protocol
        H, size = prepared.H_ref_to_target, prepared.size_ref
        arguments = (f.keypoints.astype(float), g.keypoints.astype(float), f.descriptors, g.descriptors, H, size)
        row, simple = evaluate_pair(prepared, f, g, protocol, 0), naive_row(*arguments)
        assert np.isclose(row["repeatability"], simple["repeatability"], atol=0.02)
        assert np.isclose(
            row["corner_error_px"], simple["corner_error"], rtol=0.5
        )  # of one order, ours a median of ten
        work = {"ours": lambda: evaluate_pair(prepared, f, g, protocol, 0), "naive": lambda: naive_row(*arguments)}
        ms = compare("full `strict` row, 1000 keypoints", work, rounds)
        print(f"  {1e3 / np.median(ms):.0f} pairs a second on one core")
        print(f"limit again: matrix product {peak_gflops():.0f} GFLOP/s", time.strftime("(%H:%M)"))


if __name__ == "__main__":
    main()
