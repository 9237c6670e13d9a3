"""Second implementations of every metric, written from the definitions with loops and without NumPy's help."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from bench.core.types import Features, ImageRef, Pair, PreparedPair, Size

Point = tuple[float, float]


def warp(H: np.ndarray, point: Sequence[float]) -> Point:
    x, y = float(point[0]), float(point[1])
    u, v, w = (float(H[r][0]) * x + float(H[r][1]) * y + float(H[r][2]) for r in range(3))
    return (u / w, v / w) if w > 0 else (math.inf, math.inf)


def distance(a: Sequence[float], b: Sequence[float]) -> float:
    if any(math.isinf(float(c)) for c in (*a, *b)):
        return math.inf
    return math.hypot(float(a[0]) - float(b[0]), float(a[1]) - float(b[1]))


def contains(point: Point, size: Size, region: str) -> bool:
    x, y = point
    if region == "size":
        return 0 <= x < size.width and 0 <= y < size.height
    return 0 <= x <= size.width - 1 and 0 <= y <= size.height - 1


def shared(xy_ref, xy_target, H, size_ref, size_target, region="pixel_centres"):
    inverse = np.linalg.inv(H)
    return (
        [contains(warp(H, p), size_target, region) for p in xy_ref],
        [contains(warp(inverse, p), size_ref, region) for p in xy_target],
    )


def repeatability(xy_ref, xy_target, H, size_ref, size_target, t, budget=0, region="pixel_centres"):
    """Many-to-one, one-to-one, localisation error."""
    mask_ref, mask_target = shared(xy_ref, xy_target, H, size_ref, size_target, region)
    a = [warp(H, p) for p, ok in zip(xy_ref, mask_ref, strict=True) if ok]
    b = [(float(p[0]), float(p[1])) for p, ok in zip(xy_target, mask_target, strict=True) if ok]
    if budget:
        a, b = a[:budget], b[:budget]
    if not a and not b:
        return math.nan, math.nan, math.nan
    nearest = [min((distance(p, q) for q in b), default=math.inf) for p in a]
    nearest += [min((distance(p, q) for p in a), default=math.inf) for q in b]
    found = [d for d in nearest if d <= t]
    partner: dict[int, int] = {}

    def assign(i: int, seen: set[int]) -> bool:
        for j, q in enumerate(b):
            if j not in seen and distance(a[i], q) <= t:
                seen.add(j)
                if j not in partner or assign(partner[j], seen):
                    partner[j] = i
                    return True
        return False

    k = sum(assign(i, set()) for i in range(len(a)))
    total = len(a) + len(b)
    return len(found) / total, 2 * k / total, (sum(found) / len(found) if found else math.nan)


def nearest_neighbours(a: np.ndarray, b: np.ndarray) -> list[tuple[int, float]]:
    """Index and distance of the nearest row of b for each row of a; the lowest index wins a tie."""
    result = []
    for row in a:
        if a.dtype == np.uint8:
            distances = [sum(bin(int(x) ^ int(y)).count("1") for x, y in zip(row, other, strict=True)) for other in b]
        else:
            distances = [math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(row, o, strict=True))) for o in b]
        j = min(range(len(b)), key=lambda k: (distances[k], k))
        result.append((j, float(distances[j])))
    return result


def average_precision(distances: Sequence[float], correct: Sequence[bool]) -> float:
    total = sum(correct)
    if not total:
        return 0.0
    area, before = 0.0, 0.0
    for threshold in sorted(set(distances)):
        accepted = [ok for d, ok in zip(distances, correct, strict=True) if d <= threshold]
        recall = sum(accepted) / total
        area += sum(accepted) / len(accepted) * (recall - before)
        before = recall
    return area


def accuracy(errors: Sequence[float], t: float) -> float:
    return sum(1 for e in errors if not math.isnan(e) and e <= t) / len(errors)


def auc_exact(errors: Sequence[float], t: float) -> float:
    """Sum of rectangles under the step curve."""
    steps = sorted({0.0, t, *[e for e in errors if e < t]})
    return sum((b - a) * accuracy(errors, a) for a, b in itertools.pairwise(steps)) / t


def auc_trapezoid(errors: Sequence[float], t: float) -> float:
    """Sum of trapezoids under the line through (0, 0), (e_1, 1/N), ..., then flat to t."""
    points = [(0.0, 0.0)]
    for rank, e in enumerate(sorted(errors), start=1):
        if e < t:
            points.append((e, rank / len(errors)))
    points.append((t, points[-1][1]))
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in itertools.pairwise(points)) / t


def errors_of(pairs: Sequence[tuple[int, int]], xy_ref, xy_target, H, kind="one_way") -> list[float]:
    inverse = np.linalg.inv(H)
    result = []
    for i, j in pairs:
        forward = distance(warp(H, xy_ref[i]), xy_target[j])
        backward = distance(xy_ref[i], warp(inverse, xy_target[j]))
        result.append(forward if kind == "one_way" else (forward + backward) / 2)
    return result


@st.composite
def scenes(draw: st.DrawFn, binary: bool | None = None) -> tuple[PreparedPair, Features, Features]:
    """A pair with up to 24 keypoints per image, about half of them in correspondence; also none, one, or on a line."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size_ref, size_target = Size(60, 80), Size(50, 90)
    H = np.eye(3) + np.array([[0.3, 0.3, 20], [0.3, 0.3, 20], [4e-3, 4e-3, 0]]) * rng.uniform(-1, 1, (3, 3))
    shape = draw(st.sampled_from(["free", "free", "free", "grid", "line", "identity", "far"]))
    if shape == "identity":
        H = np.eye(3)
    if shape == "far":  # no overlap
        H[0, 2] += 1000.0
    counts = draw(st.sampled_from([(0, 0), (0, 5), (5, 0), (1, 1), (1, 7), (12, 9), (24, 24)]))

    def points(n: int, size: Size) -> np.ndarray:
        xy = rng.uniform([0, 0], [size.width - 1, size.height - 1], (n, 2))
        if shape == "line":
            xy[:, 1] = 20.0
        return np.round(xy) if shape in ("grid", "identity") else xy

    xy_ref, xy_target = points(counts[0], size_ref), points(counts[1], size_target)
    for k in range(min(counts)):
        w = np.array(warp(H, xy_ref[k]))
        if rng.random() < 0.6 and contains((w[0], w[1]), size_target, "pixel_centres"):
            xy_target[k] = np.clip(w + rng.normal(0, 1.2, 2), 0, [size_target.width - 1, size_target.height - 1])
    use_bytes = bool(rng.integers(2)) if binary is None else binary

    def features(xy: np.ndarray, size: Size) -> Features:
        n = len(xy)
        vectors = rng.integers(0, 4, (n, 2)).astype(np.uint8) if use_bytes else rng.normal(size=(n, 3))
        descriptors = vectors if use_bytes else vectors.astype(np.float32)
        scores = np.sort(rng.random(n)).astype(np.float32)[::-1].copy()
        return Features(xy.astype(np.float32), scores, descriptors, size)

    pair = Pair(ImageRef("s/1", None), ImageRef("s/2", None), H, "s", "v", "s/1-2")  # type: ignore[arg-type]
    return PreparedPair(pair, H, size_ref, size_target), features(xy_ref, size_ref), features(xy_target, size_target)
