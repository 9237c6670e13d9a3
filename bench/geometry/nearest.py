"""Nearest-neighbour matching of descriptors: exact, deterministic, bounded in memory.

Float descriptors: a single-precision matrix product finds every candidate that can be the nearest neighbour within its
rounding error; where there is more than one, they are compared in double precision. The result therefore does not
depend on the BLAS, its threads or the processor. Binary descriptors: the bits that differ are counted, 64 at a time, in
blocks that stay in the cache. Equal distances go to the lowest index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ConfigError, FeatureError
from bench.core.types import Features, Matches
from bench.schema import MatcherConfig
from bench.schema.options import MatchOrder

_BLOCK = 1 << 22
"""Elements of one block of the cost matrix: 16 MiB in float32."""
_EXACT_BLOCK = 1 << 15
"""Descriptor elements compared at once in double precision: 256 KiB, which stay in the cache."""
_BITS_BLOCK = 1 << 18
"""Pairs of binary descriptors compared at once: 2 MiB of words."""

Vectors = NDArray[np.float32]
Words = NDArray[np.uint64]
Costs = NDArray[np.float64]
Counts = NDArray[np.unsignedinteger]
Indices = NDArray[np.intp]


class _Search(Protocol):
    """Nearest neighbours between two sets of descriptors; of equally near ones the one with the lowest index."""

    @property
    def ref(self) -> NDArray[Any]: ...

    @property
    def target(self) -> NDArray[Any]: ...

    def swapped(self) -> _Search:
        """The same search seen from the target."""
        ...

    def reversed(self) -> _Search:
        """The same search with the descriptors of both images from last to first."""
        ...

    def forward(self, exclude: Indices | None = None) -> Indices:
        """Nearest target of each reference descriptor; `exclude`: a target each must not take."""
        ...

    def both(self) -> tuple[Indices, Indices]:
        """Nearest target of each reference descriptor, and nearest reference of each target descriptor."""
        ...

    def distances(self, i: Indices, j: Indices) -> Costs:
        """L2 or Hamming distances of the pairs (i, j)."""
        ...


@dataclass(frozen=True, slots=True)
class _Bits:
    """Binary descriptors as (N, W) words of 64 bits."""

    ref: Words
    target: Words

    def swapped(self) -> _Bits:
        return _Bits(self.target, self.ref)

    def reversed(self) -> _Bits:
        return _Bits(self.ref[::-1], self.target[::-1])

    def _blocks(self) -> range:
        return range(0, len(self.ref), self._step())

    def _step(self) -> int:
        return max(1, _BITS_BLOCK // len(self.target))

    def _counts(self, start: int, columns: Words) -> Counts:
        """Hamming distances of a block of reference descriptors to all targets, given as (W, M) `columns`."""
        rows = self.ref[start : start + self._step()]
        # The largest count and one more, for a pair that is excluded.
        total = np.zeros((len(rows), columns.shape[1]), np.uint16 if 64 * len(columns) + 1 < 1 << 16 else np.uint32)
        differing = np.empty(total.shape, np.uint64)
        for k, column in enumerate(columns):
            np.bitwise_xor(rows[:, k, None], column, out=differing)
            total += np.bitwise_count(differing)
        return total

    def forward(self, exclude: Indices | None = None) -> Indices:
        nearest = np.empty(len(self.ref), np.intp)
        columns = np.ascontiguousarray(self.target.T)
        for start in self._blocks():
            counts = self._counts(start, columns)
            if exclude is not None:
                counts[np.arange(len(counts)), exclude[start : start + len(counts)]] = 64 * len(columns) + 1
            nearest[start : start + len(counts)] = counts.argmin(axis=1)
        return nearest

    def both(self) -> tuple[Indices, Indices]:
        forward, backward = np.empty(len(self.ref), np.intp), np.zeros(len(self.target), np.intp)
        columns = np.ascontiguousarray(self.target.T)
        least = np.full(len(self.target), 64 * len(columns) + 1)
        for start in self._blocks():
            counts = self._counts(start, columns)
            forward[start : start + len(counts)] = counts.argmin(axis=1)
            smallest = counts.min(axis=0)
            nearer = np.flatnonzero(smallest < least)  # a tie stays with the earlier, lower index
            least[nearer] = smallest[nearer]
            backward[nearer] = start + counts[:, nearer].argmin(axis=0)
        return forward, backward

    def distances(self, i: Indices, j: Indices) -> Costs:
        return np.asarray(np.bitwise_count(self.ref[i] ^ self.target[j]).sum(axis=1, dtype=np.int64), np.float64)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Two sets of vectors and the cost of a pair, smallest for the nearest.

    ``metric``: ``l2`` (squared distance) or ``dot`` (minus the product).
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

    def reversed(self) -> _Problem:
        """The same problem with both sets from last to first."""
        ref, target, left, right = self.ref[::-1], self.target[::-1], self.left[::-1], self.right[::-1]
        return _Problem(ref, target, left, right, self.slack_ref[::-1], self.slack_target[::-1], self.metric)

    def exact(self, i: Indices, j: Indices) -> Costs:
        """Costs of the pairs (i, j) in double precision."""
        cost = _minus_product if self.metric == "dot" else _squared_distance
        return _by_blocks(cost, self.ref, self.target, i, j)


def _squared_distance(a: Costs, b: Vectors) -> Costs:
    """Squared distances of rows; `a` is overwritten."""
    a -= b
    a *= a
    return np.asarray(a.sum(axis=1))


def _minus_product(a: Costs, b: Vectors) -> Costs:
    """Minus the products of rows; `a` is overwritten."""
    a *= b
    return np.asarray(-a.sum(axis=1))


def _by_blocks(cost: Callable[[Costs, Vectors], Costs], ref: Vectors, target: Vectors, i: Indices, j: Indices) -> Costs:
    """`cost` of the pairs (i, j) in double precision, few at a time."""
    step = max(1, _EXACT_BLOCK // max(1, ref.shape[1]))
    result = np.empty(len(i))
    for start in range(0, len(i), step):
        part = slice(start, start + step)
        result[part] = cost(ref[i[part]].astype(np.float64), target[j[part]])
    return result


def _problem(ref: Vectors, target: Vectors, metric: str) -> _Problem:
    largest = max(float(bound) for x in (ref, target) for bound in (x.max(initial=0), -x.min(initial=0)))
    exponent = int(np.frexp(largest)[1])
    if abs(exponent) > 30:  # squares would overflow or vanish in single precision
        ref, target = np.ldexp(ref, -exponent), np.ldexp(target, -exponent)
    norm_ref = np.einsum("nd,nd->n", ref, ref, dtype=np.float64)
    norm_target = np.einsum("nd,nd->n", target, target, dtype=np.float64)
    if metric == "dot":
        left, right = -ref, target
    else:
        # |a - b|^2 = (-2 a, |a|^2, 1) . (b, 1, |b|^2)
        dimensions = ref.shape[1]
        left, right = (np.ones((len(x), dimensions + 2), np.float32) for x in (ref, target))
        np.multiply(ref, -2, out=left[:, :dimensions])
        left[:, dimensions] = norm_ref
        right[:, :dimensions] = target
        right[:, dimensions + 1] = norm_target
    # A product of length K is off by at most K u sum|terms| in any order of summation (Higham 2002, section 3.1), and
    # sum|terms| <= 2 (|a|^2 + |b|^2). The constants above K and 2 cover the rounding of norms and thresholds.
    factor, floor = 2.2 * (left.shape[1] + 8) * float(np.finfo(np.float32).eps) / 2, 1e-30
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
        exact = problem.exact(i + first_row, j)
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


@dataclass(frozen=True, slots=True)
class _Floats:
    """Float descriptors; `problem` may hold them scaled, which changes no neighbour."""

    ref: Vectors
    target: Vectors
    problem: _Problem

    def swapped(self) -> _Floats:
        return _Floats(self.target, self.ref, self.problem.swapped())

    def reversed(self) -> _Floats:
        return _Floats(self.ref[::-1], self.target[::-1], self.problem.reversed())

    def forward(self, exclude: Indices | None = None) -> Indices:
        return _row_nearest(self.problem, exclude)

    def both(self) -> tuple[Indices, Indices]:
        return _mutual(self.problem)

    def distances(self, i: Indices, j: Indices) -> Costs:
        return np.sqrt(_by_blocks(_squared_distance, self.ref, self.target, i, j))


def _words(descriptors: NDArray[np.uint8]) -> Words:
    """(N, D) bytes as (N, W) words, the last one filled up with zeros."""
    n, length = descriptors.shape
    padded = np.zeros((n, -(-length // 8) * 8), np.uint8)
    padded[:, :length] = descriptors
    return padded.view(np.uint64)


def _search(f_ref: Features, f_target: Features, metric: str) -> _Search | None:
    """The search for these descriptors; None if either image has no keypoint."""
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
    if not len(a) or not len(b):
        return None
    if a.dtype == np.uint8:
        return _Bits(*(_words(x.astype(np.uint8, copy=False)) for x in (a, b)))
    ref, target = (x.astype(np.float32, copy=False) for x in (a, b))
    return _Floats(ref, target, _problem(ref, target, metric))


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Nearest neighbour of every keypoint in the other image, in both directions; see :func:`neighbours`."""

    search: _Search
    forward: Indices
    backward: Indices
    order: str = "best_first"

    def completed(self) -> Neighbours:
        """With the direction from target to reference, where it was left out."""
        if len(self.backward) == len(self.search.target):
            return self
        return replace(self, backward=_forward(self.search.swapped(), self.order))

    def swapped(self) -> Neighbours:
        """The same neighbours seen from the target."""
        return Neighbours(self.search.swapped(), self.backward, self.forward, self.order)

    def distances(self, i: Indices, j: Indices) -> Costs:
        """L2 or Hamming distances of the pairs (i, j)."""
        return self.search.distances(i, j)


def _forward(search: _Search, order: str, exclude: Indices | None = None) -> Indices:
    """Nearest target of each reference descriptor; of equally near ones the first, for ``best_last`` the last."""
    if order == "best_first":
        return search.forward(exclude)
    last = len(search.target) - 1
    return last - search.reversed().forward(None if exclude is None else last - exclude[::-1])[::-1]


def _both(search: _Search, order: str) -> tuple[Indices, Indices]:
    """:func:`_forward` and the same from the target."""
    if order == "best_first":
        return search.both()
    forward, backward = search.reversed().both()
    return len(search.target) - 1 - forward[::-1], len(search.ref) - 1 - backward[::-1]


def neighbours(
    f_ref: Features, f_target: Features, metric: str = "l2", both: bool = True, order: str = "best_first"
) -> Neighbours | None:
    """Find nearest neighbours in both directions at once.

    Parameters
    ----------
    f_ref, f_target : Features
    metric : {"l2", "dot"}
        Binary descriptors always use the Hamming distance.
    both : bool
        False: only from reference to target; the other direction is left empty.
    order : {"best_first", "best_last"}
        Of equally near neighbours the one with the lowest, or the highest, index is taken.

    Returns
    -------
    Neighbours, or None if either image has no keypoint

    Raises
    ------
    FeatureError
        If descriptors are missing or of different type or length.
    """
    search = _search(f_ref, f_target, metric)
    if search is None:
        return None
    forward, backward = _both(search, order) if both else (_forward(search, order), np.zeros(0, np.intp))
    return Neighbours(search, forward, backward, order)


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
        a single target keypoint there is no second and the match is kept. ``order``: ``best_last`` gives what the
        keypoints of both images in reverse order would, in the indices of the order given.
    known : Neighbours, optional
        What :func:`neighbours` found for the same features, metric and order, to save the search.

    Returns
    -------
    Matches
        Sorted by reference index; distances are L2 (also for ``dot``) or Hamming. Equal distances go to the lowest
        index (both the other way round for ``best_last``). Empty if either image has no keypoint.

    Raises
    ------
    FeatureError
        If descriptors are missing or of different type or length.
    """
    if config.kind == "none":
        return _empty()
    if config.kind not in ("mutual_nn", "nn"):
        raise ConfigError(f"protocol.matcher.kind={config.kind!r} is not possible; allowed: mutual_nn, nn, none")
    found = known or neighbours(f_ref, f_target, config.metric, config.kind == "mutual_nn", config.order)
    if found is None:
        return _empty()
    i = np.arange(len(found.forward))
    if config.kind == "mutual_nn":
        i = np.flatnonzero(found.backward[found.forward] == i)
    j = found.forward[i]
    distance = found.distances(i, j)
    kept = np.ones(len(i), np.bool_)
    if config.ratio is not None and len(f_target) > 1:
        second = _forward(found.search, found.order, exclude=found.forward)[i]
        kept &= distance < config.ratio * found.distances(i, second)
    if config.max_distance is not None:
        kept &= distance < config.max_distance
    rows = np.flatnonzero(kept)[:: -1 if config.order == MatchOrder.best_last else 1]
    return _matches(i[rows], j[rows], distance[rows])


def nearest_both(found: Neighbours | None) -> tuple[Matches, Matches]:
    """Nearest neighbour of every keypoint in the other image, both directions, as matches.

    Parameters
    ----------
    found : Neighbours or None
        In both directions; None gives no matches.

    Returns
    -------
    ref_to_target, target_to_ref : Matches
        What :func:`match` gives with ``kind: nn`` and the images in either order, sorted by index: row k of the second
        is (target keypoint k, its nearest reference keypoint).
    """
    if found is None:
        return _empty(), _empty()
    i, j = np.arange(len(found.forward)), np.arange(len(found.backward))
    forward = found.distances(i, found.forward)
    # A pair of mutual neighbours is measured once.
    backward = forward[found.backward]
    one_way = np.flatnonzero(found.forward[found.backward] != j)
    backward[one_way] = found.distances(found.backward[one_way], one_way)
    return _matches(i, found.forward, forward), _matches(j, found.backward, backward)


def _matches(i: Indices, j: Indices, distance: Costs) -> Matches:
    return Matches(np.stack([i, j], axis=1).astype(np.int32), distance.astype(np.float32))


def _empty() -> Matches:
    return Matches(np.zeros((0, 2), np.int32), np.zeros(0, np.float32))
