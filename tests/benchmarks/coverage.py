"""Coverage of the intervals in simulation: the tables of docs/metrics.md.

    nice python -m tests.benchmarks.coverage [--trials 4000]

Sequences of five pairs. A sequence's own accuracy is drawn from a beta distribution with the true mean and the
intra-sequence correlation, its verdicts from it. Differences: gains and losses are drawn alike, each with its own
share. The percentile bootstrap (expanded for few sequences, t below four) is what the intervals are measured against.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from bench.stats import cluster_weights, quantile_interval, share_difference
from bench.stats.intervals import ClusterMoments, share_limits

Floats = NDArray[np.float64]

PAIRS = 5
TRUTHS = (0.5, 0.7, 0.9, 0.97, 0.99)
SEQUENCES = (2, 3, 4, 8, 13, 57, 116)
CORRELATIONS = (0.5, 0.8)


def shares_of_sequences(rng: np.random.Generator, truth: float, correlation: float, size: tuple[int, ...]) -> Floats:
    """Each sequence's own accuracy: beta with this mean and intra-sequence correlation."""
    scale = (1 - correlation) / correlation
    return rng.beta(truth * scale, (1 - truth) * scale, size)


def verdict_moments(hits: NDArray[np.int64], pairs: int = PAIRS) -> ClusterMoments:
    """Moments of many samples at once, from (trials, sequences) counts of correct pairs."""
    k = hits.shape[1]
    own = hits / pairs
    mean = own.mean(axis=1)
    return ClusterMoments(mean, mean * (1 - mean), own.var(axis=1, ddof=1) / k, 1.0, k * pairs, k, float(pairs))


def percentile_bootstrap(means: Floats, draws: int = 1000) -> tuple[Floats, Floats]:
    """Expanded percentile intervals of many samples, from (trials, sequences) means of sequences."""
    k = means.shape[1]
    drawn = np.sort(means @ cluster_weights(k, draws, 0).T / k, axis=1)
    t = float(stdtrit(k - 1, 0.975))
    if k < 4:
        half = t * drawn.std(axis=1) * math.sqrt(k / (k - 1))
        return drawn.mean(axis=1) - half, drawn.mean(axis=1) + half
    first = math.floor(float(ndtr(-math.sqrt(k / (k - 1)) * t)) * (draws - 1))
    return drawn[:, first], drawn[:, draws - 1 - first]


def covered(low: Floats, high: Floats, truth: float) -> Floats:
    """Share of intervals that hold the truth, limits included, among those that exist."""
    exists = np.isfinite(low) & np.isfinite(high)
    return ((low <= truth + 1e-12) & (truth - 1e-12 <= high))[exists].mean()


def share_cell(
    truth: float, sequences: int, correlation: float, trials: int, pairs: int = PAIRS
) -> tuple[float, float, float, float]:
    """Coverage and mean width of the share interval, then of the percentile bootstrap cut to [0, 1]."""
    rng = np.random.default_rng((round(1000 * truth), sequences, round(100 * correlation)))
    own = shares_of_sequences(rng, truth, correlation, (trials, sequences))
    hits = rng.binomial(pairs, own)
    low, high = share_limits(verdict_moments(hits, pairs))
    low_b, high_b = (np.clip(side, 0, 1) for side in percentile_bootstrap(hits / pairs))
    return (
        float(covered(low, high, truth)),
        float((high - low).mean()),
        float(covered(low_b, high_b, truth)),
        float((high_b - low_b).mean()),
    )


def difference_cell(
    losses: float, gains: float, sequences: int, correlation: float, trials: int
) -> tuple[float, float, float, float]:
    """Coverage of the true difference, and the share of samples called different; then both of the bootstrap.

    Samples in which no pair differs are left out of the coverage: they are called identical, not given an interval.
    """
    rng = np.random.default_rng((round(1000 * losses), round(1000 * gains), sequences))
    size = (trials, sequences, 1)
    lost, gained = (
        rng.random((trials, sequences, PAIRS)) < shares_of_sequences(rng, share, correlation, size)
        if share > 0
        else np.zeros((trials, sequences, PAIRS), bool)
        for share in (losses, gains)
    )
    difference = (gained & ~lost).astype(np.float64) - lost
    truth = gains * (1 - losses) - losses
    difference = difference[difference.any(axis=(1, 2))]
    codes = np.repeat(np.arange(sequences), PAIRS)
    found = [
        share_difference(np.maximum(one, 0).reshape(-1), np.maximum(-one, 0).reshape(-1), codes) for one in difference
    ]
    limits = [
        (np.array([one.low for one in found]), np.array([one.high for one in found])),
        percentile_bootstrap(difference.mean(axis=2)),
    ]
    cells = []
    for low, high in limits:
        cells += [float(covered(low, high, truth)), float(((low > 1e-12) | (high < -1e-12)).sum() / trials)]
    return cells[0], cells[1], cells[2], cells[3]


def median_cell(q: float, sequences: int, correlation: float, trials: int) -> tuple[float, float]:
    """Coverage of the quantile interval for log-normal values where it exists, and how often it exists."""
    from scipy.special import ndtri

    rng = np.random.default_rng((round(100 * q), sequences, round(100 * correlation)))
    codes = np.repeat(np.arange(sequences), PAIRS)
    shared = rng.standard_normal((trials, sequences))[:, codes]
    values = np.exp(math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * rng.standard_normal(shared.shape))
    found = [quantile_interval(row, codes, q) for row in values]
    low, high = np.array([one.low for one in found]), np.array([one.high for one in found])
    exists = np.isfinite(low)
    return (float(covered(low, high, math.exp(float(ndtri(q))))) if exists.any() else math.nan), float(exists.mean())


def _percent(values: list[float]) -> str:
    return " | ".join("-" if math.isnan(value) else f"{100 * value:.0f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000)
    trials = parser.parse_args().trials
    heads = " | ".join(f"{k}" for k in SEQUENCES)
    worst = 1.0
    print(f"Shares: coverage of 95 % intervals in %, correlation .5 / .8\n\n| truth | {heads} |")
    widths = []
    for truth in TRUTHS:
        cells = {c: [share_cell(truth, k, c, trials) for k in SEQUENCES] for c in CORRELATIONS}
        worst = min(worst, *(cell[0] for row in cells.values() for cell in row))
        for name, place in (("", 0), ("bootstrap", 2)):
            texts = [" / ".join(f"{100 * cells[c][i][place]:.0f}" for c in CORRELATIONS) for i in range(len(SEQUENCES))]
            print(f"| {truth:g} {name} | " + " | ".join(texts) + " |")
        texts = [" / ".join(f"{cells[c][i][1]:.3f}" for c in CORRELATIONS) for i in range(len(SEQUENCES))]
        old = [" / ".join(f"{cells[c][i][3]:.3f}" for c in CORRELATIONS) for i in range(len(SEQUENCES))]
        widths += [f"| {truth:g} | " + " | ".join(texts) + " |", f"| {truth:g} bootstrap | " + " | ".join(old) + " |"]
    print(f"\nleast coverage: {100 * worst:.1f} %\n\nMean widths\n\n| truth | {heads} |\n" + "\n".join(widths))
    print(f"\nDifferences of verdicts: coverage; called different in %\n\n| losses, gains | {heads} |")
    fewer = max(200, trials // 4)
    for correlation in CORRELATIONS:
        for losses, gains in ((0.02, 0.02), (0.06, 0.06), (0.03, 0.0), (0.03, 0.01), (0.1, 0.02)):
            found = [difference_cell(losses, gains, k, correlation, fewer) for k in SEQUENCES]
            for name, place in (("", 0), ("bootstrap", 2)):
                texts = [f"{100 * cell[place]:.0f}; {100 * cell[place + 1]:.1f}" for cell in found]
                print(f"| {losses:g}, {gains:g} ({correlation:g}) {name} | " + " | ".join(texts) + " |")
    print(f"\nQuantiles: coverage where there is an interval, share with one in %\n\n| quantile | {heads} |")
    for q in (0.5, 0.9):
        for correlation in CORRELATIONS:
            found_q = [median_cell(q, k, correlation, fewer) for k in SEQUENCES]
            print(f"| {q:g} ({correlation:g}) | {_percent([cell[0] for cell in found_q])} |")
            print(f"| exists | {_percent([cell[1] for cell in found_q])} |")


if __name__ == "__main__":
    main()
