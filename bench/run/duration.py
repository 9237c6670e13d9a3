"""How long the evaluation of many keypoints will take, said before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.types import Features, Pair
from bench.geometry.nearest import neighbours

_BLOCK = 512
"""Reference keypoints whose neighbours are timed."""
_SAMPLED = 3
"""Pairs of each method that are timed."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected seconds of matching in one process, and the most keypoints of an image that was sampled."""

    seconds: float
    keypoints: int

    def sentence(self, rows: int, jobs: int) -> str:
        """For the log, before the work starts."""
        seconds = self.seconds / jobs
        span = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        return (
            f"keypoints are not capped: matching for {rows} rows, up to about {self.keypoints} keypoints an image, "
            f"takes about {span} in {jobs} process{'' if jobs == 1 else 'es'}, by the time of a part of it"
        )


def expected_matching(
    pairs: Sequence[Pair],
    methods: Sequence[str],
    read: Callable[[str, str], Features | None],
    clock: Callable[[], float] = time.perf_counter,
) -> Expected:
    """Time the neighbours of some keypoints in a few pairs of each method, and multiply.

    The search takes time in proportion to the product of the numbers of keypoints.

    Parameters
    ----------
    pairs : sequence of Pair
        That will be matched; the first, the last and one between are sampled.
    methods : sequence of str
        With descriptors.
    read : callable
        ``(method, key of the image) -> Features``; None where the extraction failed.
    clock : callable
        Seconds.
    """
    places = sorted({round(place) for place in np.linspace(0, len(pairs) - 1, min(_SAMPLED, len(pairs)))})
    seconds, most = 0.0, 0
    for method in methods:
        found = []
        for pair in (pairs[place] for place in places):
            f_ref, f_target = read(method, pair.reference.key), read(method, pair.target.key)
            if f_ref is None or f_target is None or f_ref.descriptors is None or not len(f_ref):
                continue
            most = max(most, len(f_ref), len(f_target))
            step = -(-len(f_ref) // _BLOCK)  # spread over all of them
            part = Features(f_ref.keypoints[::step], f_ref.scores[::step], f_ref.descriptors[::step], f_ref.size)
            start = clock()
            neighbours(part, f_target)
            found.append((clock() - start) * len(f_ref) / len(part))
        if found:
            seconds += float(np.mean(found)) * len(pairs)
    return Expected(seconds, most)
