"""Measures of drift between a reference and another run of the same model. Arrays in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.types import Features, Matches, Size, Transform
from bench.geometry.transforms import corners, transform_points
from bench.metrics.repeatability import pairs_within

Floats = NDArray[np.float64]
MatchKey = tuple[float, float, float, float]

QUANTILES = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class TensorDrift:
    """Differences of two tensors. ``relative`` is to the largest magnitude of the reference.

    Attributes
    ----------
    n : int
        Elements.
    n_not_finite : int
        Elements that are NaN or infinite in one of the two; they are left out of everything below.
    max_abs, mean_abs : float
        Of ``|other - reference|``.
    quantiles_abs : tuple of float
        Its quantiles, in the order asked for; empty if none were.
    max_relative, mean_relative : float
        ``max_abs`` and ``mean_abs`` over ``max |reference|``.
    l2_relative : float
        ``||other - reference|| / ||reference||``: noise-to-signal ratio.
    """

    n: int
    n_not_finite: int
    max_abs: float
    mean_abs: float
    quantiles_abs: tuple[float, ...]
    max_relative: float
    mean_relative: float
    l2_relative: float


def tensor_drift(reference: NDArray[Any], other: NDArray[Any], quantiles: Sequence[float] = QUANTILES) -> TensorDrift:
    """Compare two tensors element by element.

    Parameters
    ----------
    reference, other : float arrays of one shape
    quantiles : sequence of float
        In [0, 1], of the absolute difference.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if reference.shape != other.shape:
        raise ValueError(f"tensors of shapes {reference.shape} and {other.shape} cannot be compared")
    n = reference.size
    finite = np.isfinite(reference) & np.isfinite(other)
    n_not_finite = n - int(np.count_nonzero(finite))
    a, b = (reference.ravel(), other.ravel()) if n_not_finite == 0 else (reference[finite], other[finite])
    if not len(a):
        nan = math.nan
        return TensorDrift(n, n_not_finite, nan, nan, (nan,) * len(quantiles), nan, nan, nan)
    difference = np.abs(np.subtract(b, a, dtype=np.float64 if a.dtype == np.float64 else np.float32))
    largest = float(np.abs(a).max())
    maximum, mean = float(difference.max()), float(difference.mean(dtype=np.float64))
    found = tuple(float(value) for value in np.quantile(difference, quantiles)) if len(quantiles) else ()
    norm, norm_difference = math.sqrt(_square_sum(a)), math.sqrt(_square_sum(difference))
    return TensorDrift(
        n,
        n_not_finite,
        maximum,
        mean,
        found,
        _ratio(maximum, largest),
        _ratio(mean, largest),
        _ratio(norm_difference, norm),
    )


def _square_sum(values: NDArray[Any]) -> float:
    return float(np.einsum("i,i->", values, values, dtype=np.float64))


def _ratio(part: float, whole: float) -> float:
    if whole > 0:
        return part / whole
    return 0.0 if part == 0 else math.inf


@dataclass(frozen=True, slots=True)
class Partners:
    """Keypoints of the reference and of the other features that stand for each other, each used at most once.

    Attributes
    ----------
    reference, other : (K,) int64
        Indices.
    distance_px : (K,) float64
    """

    reference: NDArray[np.int64]
    other: NDArray[np.int64]
    distance_px: Floats

    def within(self, radius_px: float) -> Partners:
        """The partners at most `radius_px` apart."""
        keep = self.distance_px <= radius_px
        return Partners(self.reference[keep], self.other[keep], self.distance_px[keep])


def partners(xy_reference: ArrayLike, xy_other: ArrayLike, radius_px: float) -> Partners:
    """Assign keypoints one to one, nearest first; ties by the indices.

    Nearest first, not the largest possible number: a keypoint that did not move is then never given another partner,
    and the partners within a smaller radius are exactly the nearer ones of these.

    Parameters
    ----------
    xy_reference, xy_other : (N, 2), (M, 2) float
        Keypoints of the same image in pixels.
    radius_px : float
        Largest distance of partners.

    Returns
    -------
    Partners
        Sorted by the index in the reference.
    """
    a = np.asarray(xy_reference, dtype=np.float64).reshape(-1, 2)
    b = np.asarray(xy_other, dtype=np.float64).reshape(-1, 2)
    i, j = pairs_within(a, b, radius_px)
    distance = np.hypot(*(a[i] - b[j]).T)
    free_a, free_b = np.ones(len(a), np.bool_), np.ones(len(b), np.bool_)
    chosen = []
    for k in np.lexsort((j, i, distance)):
        if free_a[i[k]] and free_b[j[k]]:
            free_a[i[k]] = free_b[j[k]] = False
            chosen.append(k)
    kept = np.array(sorted(chosen, key=lambda k: i[k]), dtype=np.int64)
    return Partners(i[kept], j[kept], distance[kept])


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many keypoints two feature sets of one image share within a radius."""

    radius_px: float
    n_shared: int
    n_lost: int
    """Keypoints of the reference without a partner."""
    n_gained: int
    """Keypoints of the other without a partner."""
    n_moved: int
    """Shared ones that are not at the same place."""


def agreement(found: Partners, n_reference: int, n_other: int, radius_px: float) -> Agreement:
    """Count shared, lost, gained and moved keypoints at a radius not above that of `found`."""
    near = found.within(radius_px)
    shared = len(near.reference)
    moved = int(np.count_nonzero(near.distance_px > 0))
    return Agreement(radius_px, shared, n_reference - shared, n_other - shared, moved)


def rank_correlation(scores: ArrayLike, other_scores: ArrayLike) -> float:
    """Spearman's rank correlation of the scores of shared keypoints, equal scores at their mean rank.

    Returns
    -------
    float
        NaN with fewer than two keypoints or where one side has a single score.
    """
    from scipy.stats import spearmanr

    a, b = np.asarray(scores, dtype=np.float64), np.asarray(other_scores, dtype=np.float64)
    if len(a) < 2 or (a == a[0]).all() or (b == b[0]).all():
        return math.nan
    return float(spearmanr(a, b).statistic)


def cosine_similarities(descriptors: NDArray[Any], other_descriptors: NDArray[Any]) -> Floats:
    """Cosine similarity row by row.

    Parameters
    ----------
    descriptors, other_descriptors : (N, D) float

    Returns
    -------
    (N,) float64
        NaN where a descriptor is zero.
    """
    a, b = descriptors.astype(np.float64), other_descriptors.astype(np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", a, a) * np.einsum("nd,nd->n", b, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.einsum("nd,nd->n", a, b) / norms
    return np.where(norms > 0, np.clip(cosines, -1.0, 1.0), math.nan)


def match_keys(f_ref: Features, f_target: Features, matches: Matches) -> set[MatchKey]:
    """Matches as (x, y) of the reference keypoint and (x, y) of the target keypoint.

    Coordinates, not indices: the index of a keypoint changes with every keypoint before it.
    """
    ref, target = f_ref.keypoints[matches.indices[:, 0]], f_target.keypoints[matches.indices[:, 1]]
    return {(x, y, u, v) for x, y, u, v in np.hstack([ref, target]).tolist()}


def jaccard(a: set[MatchKey], b: set[MatchKey]) -> float:
    """Size of the intersection over the size of the union; two empty sets are equal (1)."""
    return len(a & b) / len(a | b) if a or b else 1.0


def corner_shifts_px(
    homographies: Sequence[Transform | None],
    others: Sequence[Transform | None],
    size: Size,
    convention: str = "size_minus_one",
) -> Floats:
    """Mean distance of the warped corners under every pair of homographies.

    Parameters
    ----------
    homographies, others : sequences of R and S (3, 3) float64 or None
        None: the estimation failed.
    size : Size
        Of the reference image.
    convention : {"size_minus_one", "size"}

    Returns
    -------
    (R, S) float64
        Pixels of the target image; NaN where one of the two failed or puts a corner on or behind the horizon.
    """
    a, b = (_warped_corners(list(found), size, convention) for found in (homographies, others))
    with np.errstate(invalid="ignore"):
        distances = np.linalg.norm(a[:, None] - b[None], axis=-1).mean(axis=-1)
    return np.asarray(np.where(np.isfinite(distances), distances, math.nan), dtype=np.float64)


def _warped_corners(homographies: list[Transform | None], size: Size, convention: str) -> Floats:
    square = corners(size, convention)
    warped = [np.full((4, 2), math.nan) if H is None else transform_points(H, square) for H in homographies]
    return np.array(warped, dtype=np.float64).reshape(-1, 4, 2)


def off_diagonal(matrix: Floats) -> Floats:
    """Entries (i, j), i != j, of a square matrix.

    Repeat i of the reference is compared with repeat j of the other, never i with i: equal features would then give
    equal estimates, and the reference compared with itself must give its own spread.
    """
    return matrix[~np.eye(len(matrix), dtype=np.bool_)]


def flip_rate(errors_px: ArrayLike, other_errors_px: ArrayLike, threshold_px: float) -> float:
    """Probability that two different repeats disagree about ``error <= threshold``.

    With the reference's errors on both sides this is the flip rate of the estimator's own noise.

    Parameters
    ----------
    errors_px, other_errors_px : (R,) float
        Corner errors of the repeats; +inf: failed.
    threshold_px : float

    Returns
    -------
    float
        NaN with one repeat.
    """
    a = np.asarray(errors_px, dtype=np.float64) <= threshold_px
    b = np.asarray(other_errors_px, dtype=np.float64) <= threshold_px
    different = off_diagonal((a[:, None] != b[None]).astype(np.float64))
    return float(different.mean()) if len(different) else math.nan
