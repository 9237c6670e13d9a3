"""Nearest-neighbour matching of descriptors: exact, deterministic, one matrix product.

A single-precision product finds every candidate that can be the nearest neighbour within its rounding error; where
there is more than one, they are compared in double precision. The result therefore does not depend on the BLAS, its
threads or the processor. Equal distances go to the lowest index. Binary descriptors are unpacked to bits, whose squared
L2 distance is the Hamming distance, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ConfigError, FeatureError
from bench.core.types import Features, Matches
from bench.schema import MatcherConfig

_BLOCK = 1 << 22
"""Elements of one block of the cost matrix: 16 MiB in float32."""
_EXACT_BLOCK = 1 << 20
"""Descriptor elements compared at once in double precision: 8 MiB."""

Vectors = NDArray[np.float32]
Costs = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Problem:
    """Two sets of vectors and the cost of a pair, smallest for the nearest.

    ``metric``: ``l2`` (squared distance), ``dot`` (minus the product) or ``bits`` (0 and 1; squared distance).
    The approximate cost of (i, j) is ``left[i] @ right[j]``; it is off by at most ``slack_ref[i] + slack_target[j]``.
    """

    ref: Vectors
    target: Vectors
    left: Vectors
    right: Vectors
    slack_ref: Costs
    slack_target: Costs
    metric: str

    def swapped(self) -> _Problem:
        """The same problem seen from the target."""
        return _Problem(self.target, self.ref, self.right, self.left, self.slack_target, self.slack_ref, self.metric)

    def exact(self, i: Indices, j: Indices) -> Costs:
        """Costs of the pairs (i, j) in double precision."""
        cost = _minus_product if self.metric == "dot" else _squared_distance
        return _by_blocks(cost, self.ref, self.target, i, j)


def _squared_distance(a: Costs, b: Costs) -> Costs:
    return np.asarray(((a - b) ** 2).sum(axis=1))


def _minus_product(a: Costs, b: Costs) -> Costs:
    return np.asarray(-(a * b).sum(axis=1))


def _by_blocks(cost: Callable[[Costs, Costs], Costs], ref: Vectors, target: Vectors, i: Indices, j: Indices) -> Costs:
    """`cost` of the pairs (i, j), few at a time to bound the memory."""
    step = max(1, _EXACT_BLOCK // max(1, ref.shape[1]))
    result = np.empty(len(i))
    for start in range(0, len(i), step):
        part = slice(start, start + step)
        result[part] = cost(ref[i[part]].astype(np.float64), target[j[part]].astype(np.float64))
    return result


def _problem(ref: Vectors, target: Vectors, metric: str) -> _Problem:
    largest = max(float(np.abs(ref).max(initial=0)), float(np.abs(target).max(initial=0)))
    exponent = int(np.frexp(largest)[1])
    if abs(exponent) > 30:  # squares would overflow or vanish in single precision
        ref, target = np.ldexp(ref, -exponent), np.ldexp(target, -exponent)
    norm_ref = np.einsum("nd,nd->n", ref, ref, dtype=np.float64)
    norm_target = np.einsum("nd,nd->n", target, target, dtype=np.float64)
    if metric == "dot":
        left, right = -ref, target
    else:
        # |a - b|^2 = (-2 a, |a|^2, 1) . (b, 1, |b|^2)
        left = np.column_stack([-2 * ref, norm_ref.astype(np.float32), np.ones(len(ref), np.float32)])
        right = np.column_stack([target, np.ones(len(target), np.float32), norm_target.astype(np.float32)])
    # A product of length K is off by at most K u sum|terms| in any order of summation (Higham 2002, section 3.1), and
    # sum|terms| <= 2 (|a|^2 + |b|^2). The constants above K and 2 cover the rounding of norms and thresholds.
    # Sums of bits are small integers and exact.
    factor, floor = 2.2 * (left.shape[1] + 8) * float(np.finfo(np.float32).eps) / 2, 1e-30
    if metric == "bits":
        factor, floor = 0.0, 0.0
    return _Problem(ref, target, left, right, factor * norm_ref + floor, factor * norm_target + floor, metric)


def _nearest_in(cost: Vectors, problem: _Problem, first_row: int, columns: bool) -> Indices:
    """Exact nearest neighbour of each row of a block of approximate costs, or of each column of the whole matrix."""
    slack, others = problem.slack_ref[first_row : first_row + len(cost)], problem.slack_target
    if columns:
        slack, others = others, slack
    bound = (cost.min(axis=0 if columns else 1) + 2 * (slack + others.max())).astype(np.float32)
    flat = np.flatnonzero(cost <= (bound[None, :] if columns else bound[:, None]))
    i, j = np.divmod(flat, cost.shape[1])
    own, other = (j, i) if columns else (i, j)
    nearest = np.empty(len(bound), np.intp)
    nearest[own] = other
    contested = np.bincount(own, minlength=len(bound))[own] > 1
    if contested.any():
        i, j, own, other = i[contested], j[contested], own[contested], other[contested]
        exact = np.zeros(len(i)) if problem.metric == "bits" else problem.exact(i + first_row, j)
        ranking = np.lexsort((other, exact, own))
        own, other = own[ranking], other[ranking]
        winners = np.flatnonzero(np.diff(own, prepend=-1))
        nearest[own[winners]] = other[winners]
    return nearest


def _row_nearest(problem: _Problem, exclude: Indices | None = None) -> Indices:
    """Nearest target of each reference vector, block by block; `exclude`: a target each row must not take."""
    step = max(1, _BLOCK // len(problem.right))
    nearest = np.empty(len(problem.left), np.intp)
    for start in range(0, len(nearest), step):
        part = slice(start, start + step)
        cost = problem.left[part] @ problem.right.T
        if exclude is not None:
            cost[np.arange(len(cost)), exclude[part]] = np.inf
        nearest[part] = _nearest_in(cost, problem, start, columns=False)
    return nearest


def _mutual(problem: _Problem) -> tuple[Indices, Indices]:
    """Nearest target of each reference vector, and nearest reference of each target vector."""
    if len(problem.left) * len(problem.right) > _BLOCK:
        return _row_nearest(problem), _row_nearest(problem.swapped())
    cost = problem.left @ problem.right.T
    return _nearest_in(cost, problem, 0, columns=False), _nearest_in(cost, problem, 0, columns=True)


def _vectors(f_ref: Features, f_target: Features) -> tuple[Vectors, Vectors]:
    """Descriptors as float32 vectors; bytes become bits."""
    a, b = f_ref.descriptors, f_target.descriptors
    if a is None or b is None:
        raise FeatureError(
            "these features have no descriptors and cannot be matched; detectors need protocol.matcher.kind=none"
        )
    if a.dtype != b.dtype or a.shape[1] != b.shape[1]:
        raise FeatureError(
            f"descriptors of the two images differ: ({len(a)}, {a.shape[1]}) {a.dtype} and "
            f"({len(b)}, {b.shape[1]}) {b.dtype}"
        )
    if a.dtype == np.uint8:
        bits_a, bits_b = (np.unpackbits(x.astype(np.uint8, copy=False), axis=1) for x in (a, b))
        return bits_a.astype(np.float32), bits_b.astype(np.float32)
    return a.astype(np.float32, copy=False), b.astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Nearest neighbour of every keypoint in the other image, in both directions; see :func:`neighbours`."""

    ref: Vectors
    target: Vectors
    problem: _Problem
    forward: Indices
    backward: Indices

    def completed(self) -> Neighbours:
        """With the direction from target to reference, where it was left out."""
        if len(self.backward) == len(self.target):
            return self
        return replace(self, backward=_row_nearest(self.problem.swapped()))

    def swapped(self) -> Neighbours:
        """The same neighbours seen from the target."""
        return Neighbours(self.target, self.ref, self.problem.swapped(), self.backward, self.forward)

    def distances(self, i: Indices, j: Indices) -> Costs:
        """L2 or Hamming distances of the pairs (i, j)."""
        squared = _by_blocks(_squared_distance, self.ref, self.target, i, j)
        return squared if self.problem.metric == "bits" else np.sqrt(squared)


def neighbours(f_ref: Features, f_target: Features, metric: str = "l2", both: bool = True) -> Neighbours | None:
    """Find nearest neighbours in both directions with one matrix product.

    Parameters
    ----------
    f_ref, f_target : Features
    metric : {"l2", "dot"}
        Binary descriptors always use the Hamming distance.
    both : bool
        False: only from reference to target; the other direction is left empty.

    Returns
    -------
    Neighbours, or None if either image has no keypoint

    Raises
    ------
    FeatureError
        If descriptors are missing or of different type or length.
    """
    ref, target = _vectors(f_ref, f_target)
    if not len(ref) or not len(target):
        return None
    binary = f_ref.descriptors is not None and f_ref.descriptors.dtype == np.uint8
    problem = _problem(ref, target, "bits" if binary else metric)
    forward, backward = _mutual(problem) if both else (_row_nearest(problem), np.zeros(0, np.intp))
    return Neighbours(ref, target, problem, forward, backward)


def match(f_ref: Features, f_target: Features, config: MatcherConfig, known: Neighbours | None = None) -> Matches:
    """Match the descriptors of two images.

    Parameters
    ----------
    f_ref, f_target : Features
    config : MatcherConfig
        ``kind``: ``mutual_nn`` keeps pairs that are each other's nearest neighbour, ``nn`` the nearest target of every
        reference keypoint, ``none`` nothing. ``metric``: neighbours by L2 distance or largest scalar product (``dot``);
        uint8 descriptors always by Hamming distance. ``max_distance`` keeps distances below it. ``ratio`` keeps matches
        whose distance is below ratio times the distance of the reference keypoint's second neighbour (Lowe 2004); with
        a single target keypoint there is no second and the match is kept.
    known : Neighbours, optional
        What :func:`neighbours` found for the same features and metric, to save the search.

    Returns
    -------
    Matches
        Sorted by reference index; distances are L2 (also for ``dot``) or Hamming. Equal distances go to the lowest
        index. Empty if either image has no keypoint.

    Raises
    ------
    FeatureError
        If descriptors are missing or of different type or length.
    """
    if config.kind == "none":
        return _empty()
    if config.kind not in ("mutual_nn", "nn"):
        raise ConfigError(f"protocol.matcher.kind={config.kind!r} is not possible; allowed: mutual_nn, nn, none")
    found = known or neighbours(f_ref, f_target, config.metric, both=config.kind == "mutual_nn")
    if found is None:
        return _empty()
    i = np.arange(len(found.forward))
    if config.kind == "mutual_nn":
        i = np.flatnonzero(found.backward[found.forward] == i)
    j = found.forward[i]
    distance = found.distances(i, j)
    kept = np.ones(len(i), np.bool_)
    if config.ratio is not None and len(found.target) > 1:
        second = _row_nearest(found.problem, exclude=found.forward)[i]
        kept &= distance < config.ratio * found.distances(i, second)
    if config.max_distance is not None:
        kept &= distance < config.max_distance
    return _matches(i[kept], j[kept], distance[kept])


def nearest_both(found: Neighbours | None) -> tuple[Matches, Matches]:
    """Nearest neighbour of every keypoint in the other image, both directions, as matches.

    Parameters
    ----------
    found : Neighbours or None
        In both directions; None gives no matches.

    Returns
    -------
    ref_to_target, target_to_ref : Matches
        What :func:`match` gives with ``kind: nn`` and the images in either order: row k of the second is (target
        keypoint k, its nearest reference keypoint).
    """
    if found is None:
        return _empty(), _empty()
    i, j = np.arange(len(found.forward)), np.arange(len(found.backward))
    forward = _matches(i, found.forward, found.distances(i, found.forward))
    return forward, _matches(j, found.backward, found.distances(found.backward, j))


def _matches(i: Indices, j: Indices, distance: Costs) -> Matches:
    return Matches(np.stack([i, j], axis=1).astype(np.int32), distance.astype(np.float32))


def _empty() -> Matches:
    return Matches(np.zeros((0, 2), np.int32), np.zeros(0, np.float32))
