"""Repeatability and localisation error of keypoints under the ground-truth homography.

Both use only keypoints of the region that both images show, and both measure distances in the evaluated target image
(reference keypoints are warped into it), as rpautrat/SuperPoint and SiLK do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.geometry.solve import Estimates, Solved
from bench.geometry.transforms import transform_points
from bench.metrics.record import Column, Margin, Metric

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Repeated:
    """Nearest distances between the keypoints of the shared region.

    Attributes
    ----------
    warped_ref : (N, 2) float64
        Reference keypoints of the shared region, warped into the target image.
    target : (M, 2) float64
        Target keypoints of the shared region.
    distance_ref : (N,) float64
        Distance of each warped reference keypoint to the nearest target keypoint; +inf without any.
    distance_target : (M,) float64
        The same from the target.
    """

    warped_ref: Floats
    target: Floats
    distance_ref: Floats
    distance_target: Floats


def repeated_points(
    xy_ref: ArrayLike, xy_target: ArrayLike, H_ref_to_target: ArrayLike, shared: tuple[Mask, Mask], budget: int = 0
) -> Repeated:
    """Filter keypoints to the shared region, keep the best, and find nearest distances.

    Parameters
    ----------
    xy_ref, xy_target : (N, 2), (M, 2) float
        Best first.
    H_ref_to_target : (3, 3) float
    shared : (N,), (M,) bool
        See :func:`bench.geometry.ground_truth.shared_region`.
    budget : int
        Keypoints kept per image after the filter (rpautrat filters before the budget); 0: all.
    """
    ref = np.asarray(xy_ref, dtype=np.float64).reshape(-1, 2)[shared[0]]
    target = np.asarray(xy_target, dtype=np.float64).reshape(-1, 2)[shared[1]]
    if budget:
        ref, target = ref[:budget], target[:budget]
    warped = transform_points(H_ref_to_target, ref)
    return Repeated(warped, target, nearest_distance(warped, target), nearest_distance(target, warped))


def nearest_distance(points: Floats, others: Floats) -> Floats:
    """Distance of each of (N, 2) points to the nearest of (M, 2) others; +inf where there is none."""
    from scipy.spatial import cKDTree

    if not len(points) or not len(others):
        return np.full(len(points), math.inf)
    index = cKDTree(others).query(points)[1]
    return np.asarray(np.hypot(*(points - others[index]).T), dtype=np.float64)


def repeatability(points: Repeated, threshold_px: float) -> float:
    """Many-to-one repeatability, as published. Higher is better.

    ``(#{ref with a target within t} + #{target with a ref within t}) / (N + M)`` over the shared region (SuperPoint
    paper, eq. 13-14; rpautrat detector_evaluation.py). One keypoint may serve several of the other image.

    Returns
    -------
    float
        NaN without keypoints in the shared region of either image.
    """
    total = len(points.distance_ref) + len(points.distance_target)
    if total == 0:
        return math.nan
    repeated = (points.distance_ref <= threshold_px).sum() + (points.distance_target <= threshold_px).sum()
    return float(repeated / total)


def repeatability_one_to_one(points: Repeated, threshold_px: float) -> float:
    """Repeatability with every keypoint used at most once. Higher is better.

    ``2 K / (N + M)``, K being the largest number of disjoint pairs within the distance (maximum bipartite matching,
    Hopcroft and Karp 1973). K is a number of the point sets alone; a greedy assignment would depend on the order of
    equal distances.

    Returns
    -------
    float
        NaN without keypoints in the shared region of either image.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    n, m = len(points.warped_ref), len(points.target)
    if n + m == 0:
        return math.nan
    i, j = pairs_within(points.warped_ref, points.target, threshold_px)
    if not len(i):
        return 0.0
    graph = csr_matrix((np.ones(len(i), np.int8), (i, j)), shape=(n, m))
    return float(2 * int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum()) / (n + m))


def pairs_within(points: Floats, others: Floats, radius_px: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All (i, j) with ``|points[i] - others[j]| <= radius_px``, sorted by i, then j.

    Parameters
    ----------
    points, others : (N, 2), (M, 2) float64
        Points that are not finite have no partner.
    """
    from scipy.spatial import cKDTree

    empty = np.zeros(0, np.int64)
    finite = np.flatnonzero(np.isfinite(points).all(axis=1))
    finite_others = np.flatnonzero(np.isfinite(others).all(axis=1))
    if not len(finite) or not len(finite_others):
        return empty, empty
    # The tree compares squared distances; a slightly larger radius leaves the decision at the boundary to hypot below.
    found = cKDTree(points[finite]).sparse_distance_matrix(
        cKDTree(others[finite_others]), radius_px * (1 + 1e-9) + 1e-12, output_type="coo_matrix"
    )
    i, j = finite[found.row], finite_others[found.col]
    keep = np.hypot(*(points[i] - others[j]).T) <= radius_px
    i, j = i[keep].astype(np.int64), j[keep].astype(np.int64)
    order = np.lexsort((j, i))
    return i[order], j[order]


def localisation_error_px(points: Repeated, threshold_px: float) -> float:
    """Mean distance of repeated keypoints to their nearest neighbour, both directions pooled. Lower is better.

    SuperPoint paper, eq. 12: over correct keypoints only, so it is at most `threshold_px` and says nothing about how
    many there are.

    Returns
    -------
    float
        Pixels; NaN without a repeated keypoint.
    """
    distances = np.concatenate([points.distance_ref, points.distance_target])
    repeated = distances[distances <= threshold_px]
    return float(repeated.mean()) if len(repeated) else math.nan


def measure(solved: Solved, _: Estimates | None) -> dict[str, object]:
    """Repeatability and localisation error of one pair."""
    assert solved.f_ref is not None and solved.f_target is not None
    protocol = solved.protocol
    points = repeated_points(
        solved.f_ref.keypoints,
        solved.f_target.keypoints,
        solved.prepared.H_ref_to_target,
        solved.shared,
        protocol.repeatability_max,
    )
    t = protocol.repeatability_px
    many, one = repeatability(points, t), repeatability_one_to_one(points, t)
    if math.isnan(many) and protocol.repeatability_empty == "zero":
        many = one = 0.0
    return {
        "repeatability": many,
        "repeatability_one_to_one": one,
        "localisation_error_px": localisation_error_px(points, t),
    }


METRIC = Metric(
    "repeatability",
    (
        Column(
            "repeatability",
            "rep.",
            "share",
            "higher",
            "Keypoints in the shared region with a keypoint of the other image within the protocol's "
            "distance of their ground-truth warp, both images together, divided by all keypoints in the "
            "shared region; many-to-one.",
            table="detectors",
            margins=(Margin(0.02),),
        ),
        Column(
            "repeatability_one_to_one",
            "rep. 1:1",
            "share",
            "higher",
            "As repeatability, but every keypoint is used at most once: twice the largest number of "
            "disjoint pairs within the distance, divided by all keypoints in the shared region.",
            table="detectors",
        ),
        Column(
            "localisation_error_px",
            "loc. error",
            "px",
            "lower",
            "Mean distance of repeated keypoints to the nearest keypoint of the other image, both "
            "directions; undefined (left out of the mean, see n_pairs) for a pair without a repeated "
            "keypoint.",
            table="detectors",
            margins=(Margin(0.05),),
        ),
    ),
    measure,
    needs=("keypoints",),
)
