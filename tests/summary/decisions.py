"""Simulated data sets with known losses, for the decision of `bench recommend`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.summary.recommend import walk

Floats = NDArray[np.float64]
DRAWS = 2000
"""A tenth of what is drawn for a real decision: p-values that decide are above 0.002."""


@dataclass(frozen=True)
class World:
    """What is true of a grid of candidates.

    Attributes
    ----------
    losses : sequence of float
        True loss of each candidate in the mean over all sequences there could be; negative: a gain.
    sequences, pairs : int
    whole : float
        Part of each loss that falls on whole sequences; the rest falls on single pairs.
    noise : float
        Share of pairs whose value moves by 0.1 without a mean effect, as by the order of the matches.
    shared : float
        Probability that a candidate loses where the one before it in the grid does, instead of anywhere: precisions of
        one network fail on the same scenes.
    """

    losses: Sequence[float]
    sequences: int
    pairs: int = 5
    whole: float = 0.5
    noise: float = 0.2
    shared: float = 0.5

    def draw(self, rng: np.random.Generator) -> tuple[dict[str, Floats], Floats, NDArray[np.int64]]:
        """Values of each candidate, of the reference, and the sequence of each pair."""
        k, m = self.sequences, self.pairs
        codes = np.repeat(np.arange(k), m)
        reference = np.full((k, m), 0.5)
        sequence_luck, pair_luck = rng.random((k, 1)), rng.random((k, m))
        values = {}
        for number, loss in enumerate(self.losses):
            rate, sign = abs(loss), -np.sign(loss)
            again = rng.random() < self.shared
            sequence_luck = sequence_luck if again else rng.random((k, 1))
            pair_luck = pair_luck if again else rng.random((k, m))
            first = rate * self.whole
            hit = (sequence_luck < first) | (pair_luck < (rate - first) / (1 - first))
            moved = (rng.random((k, m)) < self.noise) * rng.choice([-0.1, 0.1], size=(k, m))
            # The reference stands at one half with room for a whole unit: only differences count.
            change = np.where(hit, sign, 0.0) * 1.0
            values[f"c{number:02d}"] = (reference + np.where(change != 0, change, moved)).reshape(-1, 1)
        return values, reference.reshape(-1, 1), codes


def wrong(world: World, margin: float, trials: int, seed: int = 0, keep: float = 0.5) -> tuple[int, int, int]:
    """How often a recommendation is made, is wrong (its candidate loses more than the margin), and names one that loses
    nothing.

    The fastest candidates lose most, as in life, so that a wrong answer is always the tempting one.
    """
    order = np.argsort(-np.asarray(world.losses), kind="stable")
    times = {f"c{number:02d}": float(1 + place) for place, number in enumerate(order)}
    made = lost = best = 0
    for trial in range(trials):
        values, reference, codes = world.draw(np.random.default_rng((seed, trial)))
        chosen, _, _ = walk(values, reference, codes, times, margin, keep, draws=DRAWS)
        if chosen is not None:
            made += 1
            loss = world.losses[int(chosen[1:])]
            lost += loss > margin
            best += loss <= 0
    return made, lost, best


def grid(margin: float) -> dict[str, list[float]]:
    """Losses of 20 candidates: 5 precisions at 2 sizes and 2 budgets."""
    hair = margin + 0.001
    return {
        "all at the margin": [hair] * 20,
        "one at the margin, others far": [hair] + [min(4 * margin, 0.9)] * 19,
        "half good, half at the margin": [0.0] * 10 + [hair] * 10,
        "a staircase": [step * margin for step in (0, 0.25, 0.5, 1.02, 1.5) for _ in range(4)],
        "all good": [0.0] * 20,
    }
