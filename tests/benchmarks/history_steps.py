"""False and true steps of a history, by simulation: `python tests/benchmarks/history_steps.py [HISTORIES]`.

Histories of 20 runs, one method, three series (accuracy at 3 px, repeatability, median time), pairs in sequences.
Without a change of the truth: nothing differs; every release re-rolls the estimator; some releases do, and it stays;
releases change single pairs without a mean change, independently or by sequence. Times vary by 1 % (normal, Student t
with 3 degrees of freedom, one run in ten six times as far off, autocorrelation 0.3). The rate of histories with any
step, with its 95 % limits, must not be above 5 %. Then with one planted step of each kind: how often exactly these two
are found, at the right run.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.schema import EstimatorConfig, ProtocolConfig
from bench.stats import clopper_pearson
from bench.summary.comparison import RunComparison, RunRows
from bench.summary.history import RunHistory, history

SEQUENCES, PAIRS, REPEATS = 30, 5, 3
METRICS = ("accuracy_3px", "repeatability", "latency_median_ms")
PROTOCOL = ProtocolConfig(name="simulated", estimator=EstimatorConfig(repeats=REPEATS))
Floats = NDArray[np.float64]


def tables(
    log_errors: Floats, repeatability: Floats, log_ms: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows and extractions of one run from its truth a pair and order, and the logarithm of its time."""
    names = [(f"s{s:02d}", f"s{s:02d}/1-{p}") for s in range(SEQUENCES) for p in range(PAIRS)]
    errors = np.exp(log_errors)
    pairs = pd.DataFrame(
        {
            "method": "m",
            "pair": [pair for _, pair in names],
            "sequence": [sequence for sequence, _ in names],
            "split": "-",
            "outcome": "ok",
            "corner_errors_px": list(errors),
            "repeatability": repeatability,
        }
    )
    blocks = np.repeat(np.arange(10), 4)
    ms = 100 * np.exp(log_ms + 0.02 * rng.normal(size=40))
    times = pd.DataFrame(
        {"method": "m", "repeat": 0, "block": blocks, "item": "i", "ms": ms, "calibration_ms": 1.0, "taken": 0.0}
    )
    return pairs, times


def one_history(
    change: str,
    noise: str,
    rng: np.random.Generator,
    n: int = 20,
    accuracy_at: int | None = None,
    time_at: int | None = None,
) -> RunHistory:
    """A history of `n` runs; a step of 0.3 in ln(error) and of 8 % in time where asked for."""
    n_pairs = SEQUENCES * PAIRS
    sequence = np.repeat(np.arange(SEQUENCES), PAIRS)
    centre = 1.0 + 0.8 * rng.normal(size=SEQUENCES)[sequence] + 0.7 * rng.normal(size=n_pairs)
    base = np.clip(0.6 + 0.1 * rng.normal(size=n_pairs), 0, 1)
    logs = 0.01 * _noise(noise, n, rng)
    rolled, moved, shares = rng.normal(size=(n_pairs, REPEATS)), np.zeros(n_pairs), base
    runs, values = [], []
    for i in range(n):
        if change == "every release re-rolls" or (change == "some releases re-roll" and i and rng.random() < 0.2):
            rolled = rng.normal(size=(n_pairs, REPEATS))
        if change == "pairs change by themselves" and i and rng.random() < 0.3:
            moved = moved + 0.15 * rng.normal(size=n_pairs)
            shares = np.clip(shares + 0.02 * rng.normal(size=n_pairs), 0, 1)
        if change == "sequences change" and i and rng.random() < 0.3:
            moved = moved + 0.15 * rng.normal(size=SEQUENCES)[sequence]
            shares = np.clip(shares + 0.02 * rng.normal(size=SEQUENCES)[sequence], 0, 1)
        step = 0.3 if accuracy_at is not None and i >= accuracy_at else 0.0
        late = math.log(1.08) if time_at is not None and i >= time_at else 0.0
        errors = (centre + moved + step)[:, None] + 0.16 * rolled
        pairs, times = tables(errors, shares, logs[i] + late, rng)
        manifest = {
            "protocol": {"name": "simulated", "hash": "0"},
            "dataset": {"name": "simulated", "digest": "0"},
            "methods": {"m": {}},
            "host": {"hash": "h"},
            "threads": 1,
            "noise": {"noisy": False, "kernel": "k"},
        }
        name = f"r{i:02d}"
        runs.append(RunRows(name, manifest, PROTOCOL, pairs, times))
        median = float(times["ms"].median())
        for metric, value, low, high in (
            ("accuracy_3px", float((np.exp(errors) <= 3).mean()), math.nan, math.nan),
            ("repeatability", float(shares.mean()), math.nan, math.nan),
            ("latency_median_ms", median, 0.995 * median, 1.005 * median),
        ):
            values.append((name, "m", "all", metric, value, low, high, "", math.nan, math.nan))
    columns = ["run", "method", "split", "metric", "value", "low", "high", "unit", "n_pairs", "n_sequences"]
    comparison = RunComparison(
        tuple(runs),
        (tuple(run.name for run in runs),),
        (),
        {},
        {},
        pd.DataFrame(values, columns=columns),
        pd.DataFrame(),
    )
    return history(comparison, [(run.name, run.name) for run in runs], METRICS)


def _noise(kind: str, n: int, rng: np.random.Generator) -> Floats:
    normal = rng.normal(size=n)
    if kind == "t3":
        return np.asarray(rng.standard_t(3, n))
    if kind == "outliers":
        return np.asarray(normal * np.where(rng.random(n) < 0.1, 6, 1))
    if kind == "autocorrelated":
        for i in range(1, n):
            normal[i] += 0.3 * normal[i - 1]
    return normal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("histories", nargs="?", type=int, default=400)
    n = parser.parse_args().histories
    cases = [
        ("nothing changes", "normal"),
        ("every release re-rolls", "t3"),
        ("some releases re-roll", "normal"),
        ("pairs change by themselves", "autocorrelated"),
        ("sequences change", "outliers"),
    ]
    begun = time.process_time()
    for number, (change, noise) in enumerate(cases):
        rng = np.random.default_rng((1, number))
        found = [one_history(change, noise, rng) for _ in range(n)]
        count = sum(len(each.steps) > 0 for each in found)
        low, high = (float(end) for end in clopper_pearson(count / n, n))
        metrics = pd.concat([each.steps for each in found])["metric"].value_counts().to_dict()
        print(
            f"{change}, times {noise}: {count} of {n} histories with a step, {count / n:.1%} "
            f"[{low:.1%}, {high:.1%}] {metrics}"
        )
    planted: list[Callable[[np.random.Generator], bool]] = []
    for change in ("nothing changes", "some releases re-roll"):

        def right(rng: np.random.Generator, change: str = change) -> bool:
            at, late = (int(place) for place in rng.integers(2, 18, 2))
            steps = one_history(change, "normal", rng, accuracy_at=at, time_at=late).steps
            found = sorted(zip(steps["metric"], steps["place"], strict=True))
            return found == [("accuracy_3px", at), ("latency_median_ms", late)]

        planted.append(right)
        rng = np.random.default_rng((2, len(planted)))
        exact = sum(right(rng) for _ in range(n))
        print(f"{change}, both steps planted: exactly these two, at their runs, in {exact} of {n} histories")
    print(f"{time.process_time() - begun:.0f} s of processor time")


if __name__ == "__main__":
    main()
