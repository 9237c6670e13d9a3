"""Repeatability and localisation error of keypoints under the ground-truth homography.

Both use only keypoints of the region that both images show, and both measure distances in the evaluated target image
(reference keypoints are warped into it), as rpautrat/SuperPoint and SiLK do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.geometry.solve import Estimates, Solved
from bench.geometry.transforms import transform_points
from bench.metrics.record import Column, Margin, Metric
from bench.schema.options import EmptyRepeatability

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Within:
    """All pairs of points no farther apart than a radius.

    Attributes
    ----------
    i, j : (K,) int64
        Indices of the two sets, in no particular order.
    distance : (K,) float64
    n, m : int
        Sizes of the sets.
    """

    i: Indices
    j: Indices
    distance: Floats
    n: int
    m: int

    def nearest(self) -> tuple[Floats, Floats]:
        """(n,), (m,) distance of each point of either set to the nearest of the other; +inf where none is within."""
        found = []
        for size, index in ((self.n, self.i), (self.m, self.j)):
            least = np.full(size, math.inf)
            np.minimum.at(least, index, self.distance)
            found.append(least)
        return found[0], found[1]


@dataclass(frozen=True)
class Repeated:
    """Keypoints of the shared region, all in the target image.

    Attributes
    ----------
    warped_ref : (N, 2) float64
        Reference keypoints, warped.
    target : (M, 2) float64
    """

    warped_ref: Floats
    target: Floats
    _known: dict[float, Within] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.warped_ref) + len(self.target)

    def within(self, radius_px: float) -> Within:
        """Pairs of a reference and a target keypoint within a distance; found once for each distance."""
        if radius_px not in self._known:
            self._known[radius_px] = within(self.warped_ref, self.target, radius_px)
        return self._known[radius_px]


def repeated_points(
    xy_ref: ArrayLike, xy_target: ArrayLike, H_ref_to_target: ArrayLike, shared: tuple[Mask, Mask], budget: int = 0
) -> Repeated:
    """Filter keypoints to the shared region and keep the best.

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
    return Repeated(transform_points(H_ref_to_target, ref), target)


def repeatability(points: Repeated, threshold_px: float) -> float:
    """Many-to-one repeatability, as published. Higher is better.

    ``(#{ref with a target within t} + #{target with a ref within t}) / (N + M)`` over the shared region (SuperPoint
    paper, eq. 13-14; rpautrat detector_evaluation.py). One keypoint may serve several of the other image.

    Returns
    -------
    float
        NaN without keypoints in the shared region of either image.
    """
    if not len(points):
        return math.nan
    repeated = sum(int(np.isfinite(distance).sum()) for distance in points.within(threshold_px).nearest())
    return repeated / len(points)


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

    if not len(points):
        return math.nan
    found = points.within(threshold_px)
    if not len(found.i):
        return 0.0
    rows = np.argsort(found.i, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(found.i, minlength=found.n))])
    graph = csr_matrix((np.ones(len(rows), np.int8), found.j[rows], starts), shape=(found.n, found.m))
    matched = maximum_bipartite_matching(graph, perm_type="column")
    return float(2 * int((matched >= 0).sum()) / len(points))


def within(points: Floats, others: Floats, radius_px: float) -> Within:
    """All (i, j) with ``|points[i] - others[j]| <= radius_px``.

    Parameters
    ----------
    points, others : (N, 2), (M, 2) float64
        Points that are not finite have no partner.
    """
    from scipy.spatial import cKDTree

    finite, finite_others = (np.flatnonzero(np.isfinite(xy).all(axis=1)) for xy in (points, others))
    i = j = np.zeros(0, np.int64)
    if len(finite) and len(finite_others):
        # The tree compares squared distances; a slightly larger radius leaves the decision at the boundary to hypot.
        found = cKDTree(points[finite]).sparse_distance_matrix(
            cKDTree(others[finite_others]), radius_px * (1 + 1e-9) + 1e-12, output_type="ndarray"
        )
        i, j = finite[found["i"]], finite_others[found["j"]]
    distance = np.hypot(*(points[i] - others[j]).T)
    kept = np.flatnonzero(distance <= radius_px)
    return Within(i[kept], j[kept], distance[kept], len(points), len(others))


def pairs_within(points: Floats, others: Floats, radius_px: float) -> tuple[Indices, Indices]:
    """The pairs of :func:`within`, sorted by i, then j."""
    found = within(points, others, radius_px)
    order = np.lexsort((found.j, found.i))
    return found.i[order], found.j[order]


def localisation_error_px(points: Repeated, threshold_px: float) -> float:
    """Mean distance of repeated keypoints to their nearest neighbour, both directions pooled. Lower is better.

    SuperPoint paper, eq. 12: over correct keypoints only, so it is at most `threshold_px` and says nothing about how
    many there are.

    Returns
    -------
    float
        Pixels; NaN without a repeated keypoint.
    """
    distances = np.concatenate(points.within(threshold_px).nearest())
    repeated = distances[np.isfinite(distances)]
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
    if math.isnan(many) and protocol.repeatability_empty == EmptyRepeatability.zero:
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
