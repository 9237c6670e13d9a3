"""How often `bench recommend` ships a configuration that truly loses more than the margin, by simulation.

    python -m tests.benchmarks.recommend [TRIALS] [SEED]
    python -m tests.benchmarks.recommend bounds [TRIALS] [SEED]

20 candidates (5 precisions, 2 sizes, 2 budgets), 7, 13 and 40 sequences of 5 pairs and 116 as in HPatches, losses that
fall on single pairs, half on whole sequences, or on whole sequences only, and truths with candidates exactly 0.001
beyond the margin. The fastest lose most. Prints shares with 95 % Clopper-Pearson intervals.

``bounds``: how often a single loss 0.001 beyond the margin is refuted at 5 %, by the bound of the decision and by the
interval of the report of a run, which trusts the spread that was seen.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from bench.stats import bounded_gain, clopper_pearson, share_comparison
from tests.summary.decisions import World, grid, wrong

CELLS = ((7, 0.02), (7, 0.6), (13, 0.02), (13, 0.4), (40, 0.02), (40, 0.2), (116, 0.1))
"""Sequences and margin: the default margin, and one that so many sequences can decide among 20 candidates."""


def bounds(trials: int, seed: int) -> None:
    print("margin  sequences  losses     bound of the decision   interval of a run")
    for sequences, margin in ((7, 0.2), (13, 0.1), (13, 0.2), (40, 0.05), (40, 0.1), (40, 0.2)):
        for whole in (0.0, 0.5, 0.8, 1.0):
            refuted = np.zeros(2)
            for trial in range(trials):
                world = World([margin + 0.001], sequences, whole=whole)
                values, reference, codes = world.draw(np.random.default_rng((seed, trial)))
                usual = share_comparison(values["c00"], reference, codes)
                refuted += (
                    bounded_gain(values["c00"], reference, codes, 2000).p_loses(margin) <= 0.05,
                    usual.value > -margin and usual.leaves_out(-margin, 0.1),
                )
            shares = "                   ".join(f"{share:.3f}" for share in refuted / trials)
            print(f"{margin:6g}  {sequences:9d}  {whole:6.0%} whole   {shares}", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["bounds"]:
        bounds(*(int(word) for word in (sys.argv[2:] + ["400", "0"][len(sys.argv) - 2 :])))
        return
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    started, worst, total, errors = time.perf_counter(), 0.0, 0, 0
    print("margin  sequences  truth                            losses   recommended  wrong [95 %]")
    for sequences, margin in CELLS:
        for name, losses in grid(margin).items():
            for whole in (0.0, 0.5, 1.0):
                made, lost, _ = wrong(World(losses, sequences, whole=whole), margin, trials, seed)
                low, high = (float(end) for end in clopper_pearson(lost / trials, trials))
                worst, total, errors = max(worst, lost / trials), total + trials, errors + lost
                where = {0.0: "pairs", 0.5: "both", 1.0: "sequences"}[whole]
                print(
                    f"{margin:6g}  {sequences:9d}  {name:31s}  {where:9s}  {made / trials:10.1%}  "
                    f"{lost / trials:.3f} [{low:.3f}, {high:.3f}]",
                    flush=True,
                )
    print(f"worst cell {worst:.3f}; {errors} of {total} wrong; {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
