"""A second evaluator: one pair by one protocol, written with loops from the definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from bench.core.types import Features, PreparedPair
from bench.schema import ProtocolConfig
from tests.metrics import naive_metrics as naive

Pairs = list[tuple[int, int]]


def solve_lu(rows: list[list[float]]) -> np.ndarray:
    """A^T A h = (1, ..., 1) by Gaussian elimination with row pivoting."""
    m = [[sum(r[i] * r[j] for r in rows) for j in range(9)] + [1.0] for i in range(9)]
    for k in range(9):
        pivot = max(range(k, 9), key=lambda i: abs(m[i][k]))
        m[k], m[pivot] = m[pivot], m[k]
        for i in range(9):
            if i != k:
                factor = m[i][k] / m[k][k]
                m[i] = [p - factor * q for p, q in zip(m[i], m[k], strict=True)]
    return np.array([m[i][9] / m[i][i] for i in range(9)])


def dlt(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], solver: str) -> np.ndarray:
    """Homography by the direct linear transform, of any scale and sign."""

    def normalised(points: Sequence[Sequence[float]]) -> tuple[list[tuple[float, float]], np.ndarray]:
        mx, my = (math.fsum(float(p[k]) for p in points) / len(points) for k in (0, 1))
        s = math.sqrt(2) * len(points) / math.fsum(math.hypot(p[0] - mx, p[1] - my) for p in points)
        matrix = np.array([[s, 0, -s * mx], [0, s, -s * my], [0, 0, 1]])
        return [(s * (float(p[0]) - mx), s * (float(p[1]) - my)) for p in points], matrix

    na, ta = normalised(a)
    nb, tb = normalised(b)
    rows = []
    for (x, y), (u, v) in zip(na, nb, strict=True):
        rows.append([0, 0, 0, -x, -y, -1, v * x, v * y, v])
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y, -u])
    if solver == "lu" and len(a) > 4:
        h = solve_lu(rows)
    else:
        h = np.linalg.eigh(np.array(rows).T @ np.array(rows))[1][:, 0] if len(a) > 4 else np.linalg.svd(rows)[2][-1]
    return np.linalg.inv(tb) @ h.reshape(3, 3) @ ta


def neighbour(row: np.ndarray, others: np.ndarray, metric: str) -> int:
    """The first of the nearest: Hamming for bytes, else L2, or the largest scalar product."""
    if row.dtype == np.uint8:
        cost = [float(sum(bin(int(x) ^ int(y)).count("1") for x, y in zip(row, o, strict=True))) for o in others]
    elif metric == "dot":
        cost = [-sum(float(x) * float(y) for x, y in zip(row, o, strict=True)) for o in others]
    else:
        cost = [sum((float(x) - float(y)) ** 2 for x, y in zip(row, o, strict=True)) for o in others]
    return min(range(len(others)), key=lambda k: (cost[k], k))


def descriptor_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Hamming for bytes, else L2."""
    if a.dtype == np.uint8:
        return float(sum(bin(int(x) ^ int(y)).count("1") for x, y in zip(a, b, strict=True)))
    return math.sqrt(math.fsum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def matches(f_ref: Features, f_target: Features, protocol: ProtocolConfig) -> Pairs:
    """Matches in the order in which the estimator gets them."""
    a, b = f_ref.descriptors, f_target.descriptors
    assert a is not None
    assert b is not None
    ref, target = list(range(len(a))), list(range(len(b)))
    if protocol.matcher.order == "best_last":  # as the source has them: ascending by score
        ref, target = ref[::-1], target[::-1]
    found = []
    if not ref or not target:
        return []
    for i in ref:
        j = target[neighbour(a[i], b[target], protocol.matcher.metric)]
        if protocol.matcher.kind == "nn" or ref[neighbour(b[j], a[ref], protocol.matcher.metric)] == i:
            found.append((i, j))
    most = protocol.matcher.max_matches
    if most is not None and len(found) > most:
        cost = [descriptor_distance(a[i], b[j]) for i, j in found]
        kept = sorted(range(len(found)), key=lambda k: (cost[k], k))[:most]
        found = [pair for k, pair in enumerate(found) if k in kept]
    return found


def corner_error(H: np.ndarray | None, prepared: PreparedPair, protocol: ProtocolConfig) -> float:
    """Mean corner error of a homography of either sign; infinite if a corner lies behind its horizon."""
    if H is None:
        return math.inf
    less = 1 if protocol.homography.corners == "size_minus_one" else 0
    w, h = prepared.size_ref.width - less, prepared.size_ref.height - less
    corners = [(0, 0), (w, 0), (0, h), (w, h)]
    H = H / H[2, 2]
    error = sum(naive.distance(naive.warp(H, c), naive.warp(prepared.H_ref_to_target, c)) for c in corners) / 4
    per = protocol.homography.per_short_side_px
    return error if per is None else error / (min(prepared.size_target.height, prepared.size_target.width) / per)


def row(prepared: PreparedPair, f_ref: Features, f_target: Features, protocol: ProtocolConfig) -> dict[str, float]:
    """Columns of the protocol's metrics that do not depend on the estimator's random state.

    ``corner_error_px`` is there with OpenCV's RANSAC only.
    """
    H, sizes = prepared.H_ref_to_target, (prepared.size_ref, prepared.size_target)
    region, t = protocol.shared_region, protocol.repeatability_px
    if protocol.keypoints.gt_filter:
        both = []
        masks = naive.shared(f_ref.keypoints, f_target.keypoints, H, *sizes, region)
        for f, mask in zip((f_ref, f_target), masks, strict=True):
            kept = [k for k, ok in enumerate(mask) if ok][: protocol.keypoints.max or None]
            assert f.descriptors is not None
            both.append(Features(f.keypoints[kept], f.scores[kept], f.descriptors[kept], f.size))
        f_ref, f_target = both
    a, b = f_ref.keypoints, f_target.keypoints
    result: dict[str, float] = {}
    if "repeatability" in protocol.metrics:
        many, one, distance = naive.repeatability(a, b, H, *sizes, t, protocol.repeatability_max, region)
        if math.isnan(many) and protocol.repeatability_empty == "zero":
            many = one = 0.0
        result |= {"repeatability": many, "repeatability_one_to_one": one, "localisation_error_px": distance}
    if protocol.matcher.kind == "none":
        return result
    found = matches(f_ref, f_target, protocol)
    result["n_matches"] = len(found)
    xy_ref, xy_target = a[[i for i, _ in found]], b[[j for _, j in found]]
    if "homography" in protocol.metrics and protocol.estimator.name == "opencv_ransac":
        e, smaller = protocol.estimator, min(sizes[1].height, sizes[1].width)
        estimated = None
        if len(found) >= 4:
            estimated, _ = cv2.findHomography(
                xy_ref.astype(np.float64),
                xy_target.astype(np.float64),
                cv2.RANSAC,
                e.threshold_px * (smaller / e.per_short_side_px if e.per_short_side_px else 1),
                maxIters=e.max_iterations,
                confidence=e.confidence,
            )
        result["corner_error_px"] = corner_error(estimated, prepared, protocol)
    if "dlt" in protocol.metrics:
        estimated = dlt(xy_ref, xy_target, protocol.dlt_solver) if len(found) >= 4 else None
        result["dlt_corner_error_px"] = corner_error(estimated, prepared, protocol)
    if "descriptors" in protocol.metrics:
        result |= descriptor_metrics(prepared, f_ref, f_target, found, protocol)
    errors = naive.errors_of(found, a, b, H)
    if "mma" in protocol.metrics:
        for k, limit in enumerate(protocol.mma_px):
            result[f"mma[{k}]"] = sum(e <= limit for e in errors) / len(errors) if errors else 0.0
    if "matches" in protocol.metrics:
        kind = protocol.precision_error
        errors = naive.errors_of(found, a, b, H, kind)
        for limit in protocol.precision_px:

            def correct(error: float, limit: float = limit) -> bool:
                return error < limit if protocol.precision_strict else error <= limit

            possible = sum(
                any(correct(e) for e in naive.errors_of([(i, j) for j in range(len(b))], a, b, H, kind))
                for i in range(len(a))
            )
            good = sum(map(correct, errors))
            result[f"match_precision_{limit:g}px"] = good / len(errors) if errors else 0.0
            result[f"match_recall_{limit:g}px"] = good / possible if possible else math.nan
    return result


def descriptor_metrics(
    prepared: PreparedPair, f_ref: Features, f_target: Features, found: Pairs, protocol: ProtocolConfig
) -> dict[str, float]:
    """NN mAP and matching score; each direction is measured in the image it maps to."""
    H, t = prepared.H_ref_to_target, protocol.repeatability_px
    shared = naive.shared(
        f_ref.keypoints, f_target.keypoints, H, prepared.size_ref, prepared.size_target, protocol.shared_region
    )
    returned = [(j, i) for i, j in found]
    if protocol.matcher.kind == "nn":
        returned = matches(f_target, f_ref, protocol)
    precisions, scores = [], []
    for a, b, G, pairs, mask in (
        (f_ref, f_target, H, found, shared[0]),
        (f_target, f_ref, np.linalg.inv(H), returned, shared[1]),
    ):
        assert a.descriptors is not None
        assert b.descriptors is not None
        nearest = naive.nearest_neighbours(a.descriptors, b.descriptors) if len(a) and len(b) else []
        errors = naive.errors_of([(i, j) for i, (j, _) in enumerate(nearest)], a.keypoints, b.keypoints, G)
        precisions.append(naive.average_precision([d for _, d in nearest], [e <= t for e in errors]))
        errors = naive.errors_of(pairs, a.keypoints, b.keypoints, G)
        good = sum(e <= t and mask[i] for (i, _), e in zip(pairs, errors, strict=True))
        scores.append(good / sum(mask) if any(mask) else 0.0)
    return {"nn_map": sum(precisions) / 2, "matching_score": sum(scores) / 2}
