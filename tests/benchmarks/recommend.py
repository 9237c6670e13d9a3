"""How often `bench recommend` ships a configuration that truly loses more than the margin, by simulation.

    python -m tests.benchmarks.recommend [TRIALS] [SEED]

20 candidates (5 precisions, 2 sizes, 2 budgets), 7, 13 and 40 sequences of 5 pairs and 116 as in HPatches, losses that
fall on single pairs, half on whole sequences, or on whole sequences only, and truths with candidates exactly 0.001
beyond the margin. The fastest lose most. Prints shares with 95 % Clopper-Pearson intervals.
"""

from __future__ import annotations

import sys
import time

from bench.stats import clopper_pearson
from tests.summary.decisions import World, grid, wrong

CELLS = ((7, 0.02), (7, 0.6), (13, 0.02), (13, 0.4), (40, 0.02), (40, 0.2), (116, 0.1))
"""Sequences and margin: the default margin, and one that so many sequences can decide among 20 candidates."""


def main() -> None:
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
