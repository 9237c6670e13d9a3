"""Simulated runs with known truth: pairs in sequences, a noisy estimator, blocks of times.

The order noise of the estimator is set to what was measured on real pairs with MAGSAC (verdicts not unanimous over 20
orders of the matches: 16 % of pairs at 3 px for SIFT); ``test_order_noise_is_as_measured`` checks it.
"""

from __future__ import annotations

import functools
import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.check.evidence import Evidence, compact_rows
from bench.config import compose
from bench.metrics.columns import column

THRESHOLDS_PX = (1.0, 3.0, 5.0)
LEVELS = {
    "repeatability": 0.6,
    "localisation_error_px": 1.1,
    "matching_score": 0.45,
    "match_precision_1px": 0.40,
    "match_precision_3px": 0.65,
}
STORED = {"size": np.array([500, 660]), "times_ms": np.ones(3), "position": np.zeros(3, np.int32)}
"""What a file of features holds beside the features."""
COUNTS = {"n_matches": 450.0, "n_keypoints": 900.0}


@functools.cache
def check_config(*overrides: str) -> Any:
    """`conf/check.yaml` as the command line composes it."""
    return compose(["candidate=unused", "baseline=unused", *overrides], "check")


@dataclass(frozen=True)
class World:
    """Truth about a data set and a method; `seed` draws its sequences and pairs, which all runs share."""

    sequences: int = 116
    pairs: int = 5
    repeats: int = 10
    methods: tuple[str, ...] = ("superpoint",)
    seed: int = 0
    median_error_px: float = 1.6
    sequence_sd: float = 0.8
    """Standard deviation of ln(corner error) between sequences ..."""
    pair_sd: float = 0.7
    """... and between pairs of one sequence."""
    order_sd: float = 0.16
    """Mean standard deviation of ln(corner error) over orders of the matches; pairs differ (exponential)."""
    hopeless: float = 0.06
    """Share of pairs whose estimation fails in every order."""

    def names(self) -> list[tuple[str, str]]:
        return [(f"s{s:03d}", f"s{s:03d}/1-{p + 2}") for s in range(self.sequences) for p in range(self.pairs)]


@dataclass(frozen=True)
class Change:
    """How a candidate differs from the truth of its world.

    Attributes
    ----------
    log_error : float
        Added to ln(corner error).
    metrics : dict
        Added to the keypoint metrics; to the logarithm for counts.
    sequence_noise, pair_noise : float
        Zero-mean changes as of a retrained model: standard deviation of the change of a metric between sequences and
        between pairs, in units of 0.01 for shares, 1 % for counts, and 5 % for corner errors.
    latency : float
        Factor of the inference time.
    machine : float
        Factor of all times, calibration included.
    taken : float
        Share of the machine that neighbours take in some blocks; the method feels a part of it, the kernel nothing.
    taken_blocks : float
        Share of the blocks in which they are there: a stretch of the run.
    """

    log_error: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    sequence_noise: float = 0.0
    pair_noise: float = 0.0
    latency: float = 1.0
    machine: float = 1.0
    taken: float = 0.0
    taken_blocks: float = 1.0


UNCHANGED = Change()


def rows(world: World, change: Change = UNCHANGED, seed: int = 1) -> pd.DataFrame:
    """Rows of pairs.parquet of one run; `seed` draws what differs between runs."""
    names = world.names()
    n = len(names)
    frames = []
    for number, method in enumerate(world.methods):
        truth = np.random.default_rng((world.seed, number))
        rng = np.random.default_rng((seed, number))
        sequence = np.repeat(np.arange(world.sequences), world.pairs)

        def both(sequence_sd: float, pair_sd: float, draw: np.random.Generator, sequence: Any = sequence) -> Any:
            return draw.normal(0, sequence_sd, world.sequences)[sequence] + draw.normal(0, pair_sd, n)

        log_error = np.log(world.median_error_px) + both(world.sequence_sd, world.pair_sd, truth)
        order_sd = truth.exponential(world.order_sd, n)
        hopeless = truth.random(n) < world.hopeless
        log_error = log_error + change.log_error + 5 * both(0.01 * change.sequence_noise, 0.01 * change.pair_noise, rng)
        errors = np.exp(log_error[:, None] + order_sd[:, None] * rng.standard_normal((n, world.repeats)))
        errors[hopeless] = np.inf
        columns: dict[str, Any] = {
            "method": method,
            "pair": [pair for _, pair in names],
            "sequence": [s for s, _ in names],
            "split": np.where(sequence % 2 == 0, "v", "i"),
            "outcome": np.where(hopeless, "estimation_failed", "ok"),
            "corner_errors_px": list(errors),
            "corner_error_px": errors[:, 0],
        }
        for t in THRESHOLDS_PX:
            columns[f"accuracy_{t:g}px"] = (errors <= t).mean(axis=1)
        for name, level in LEVELS.items():
            base = level * np.exp(both(0.2, 0.1, truth))
            noise = both(0.01 * change.sequence_noise, 0.01 * change.pair_noise, rng)
            columns[name] = base + change.metrics.get(name, 0.0) + noise
        for name, level in COUNTS.items():
            base = level * np.exp(both(0.3, 0.2, truth))
            noise = both(0.01 * change.sequence_noise, 0.01 * change.pair_noise, rng)
            values = np.round(base * np.exp(change.metrics.get(name, 0.0) + noise))
            columns |= dict.fromkeys(column(name).sources, values)
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def times(world: World, change: Change = UNCHANGED, seed: int = 1, block: int = 4) -> pd.DataFrame:
    """Times of one run as :func:`bench.check.evidence.extraction_times` gives them.

    Every image has its own cost (common to all runs); the machine drifts slowly (common to a block, seen by the
    calibration kernel); each extraction has noise and, now and then, an interruption.
    """
    images = world.sequences * (world.pairs + 1)
    blocks = -(-images // block)
    frames = []
    rng = np.random.default_rng((seed, 99))
    drift = change.machine * np.exp(0.03 * np.cumsum(rng.normal(0, 1, blocks)) / np.sqrt(blocks))
    calibration = 4.0 * drift * np.exp(rng.normal(0, 0.02, blocks))
    which = np.arange(images) // block
    first = rng.integers(0, max(1, round(blocks * (1 - change.taken_blocks)) + 1))
    there = (np.arange(blocks) >= first) & (np.arange(blocks) < first + round(blocks * change.taken_blocks))
    taken = np.where(there, change.taken, 0.0) * rng.uniform(0.9, 1.0, blocks)
    felt = 1 / (1 - rng.uniform(0.3, 1.0) * taken)
    for number, method in enumerate(world.methods):
        cost = np.random.default_rng((world.seed, 98, number)).lognormal(0, 0.08, images)
        spikes = np.where(rng.random(images) < 0.03, rng.exponential(0.5, images), 0.0)
        ms = 300 * change.latency * cost * drift[which] * felt[which] * (np.exp(rng.normal(0, 0.02, images)) + spikes)
        frames.append(
            pd.DataFrame(
                {
                    "method": method,
                    "repeat": 0,
                    "block": which,
                    "item": [f"i{i:05d}" for i in range(images)],
                    "ms": ms,
                    "calibration_ms": calibration[which],
                    "taken": taken[which],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def header(world: World) -> dict[str, Any]:
    """What a manifest says about this world."""
    return {
        "protocol": {"name": "simulated", "version": 1, "hash": "0"},
        "dataset": {
            "name": "simulated",
            "digest": str(world.seed),
            "note": f"{world.sequences} of {world.sequences} sequences",
            "pairs": [pair for _, pair in world.names()],
        },
        "seeds": {"run": 0},
        "threads": 2,
        "host": {"fingerprint": "host", "cpu": "simulated", "usable_cores": 2},
        "noise": {"noisy": False},
        "versions": {"numpy": "2"},
        "git": {},
        "latency_mode": "quick",
        "repeats": world.repeats,
        "methods": {
            name: {
                "label": name,
                "precision": {"requested": "f32", "executed": "f32"},
                "fingerprint": {"sha256": "a"},
                "config": {},
            }
            for name in world.methods
        },
    }


def evidence(world: World, change: Change = UNCHANGED, seed: int = 1, with_times: bool = False) -> Evidence:
    """One side of a comparison in memory."""
    timed = times(world, change, seed) if with_times else times(world).iloc[:0]
    facts = header(world)
    if not with_times:
        facts["latency_mode"] = "off"
    return Evidence(Path("simulated"), f"seed{seed}", facts, compact_rows(rows(world, change, seed)), timed, None, None)


def with_header(side: Evidence, **changes: Any) -> Evidence:
    """`side` with other header entries."""
    return replace(side, header={**side.header, **changes})


def features(world: World, keypoints: int, seed: int = 0) -> dict[tuple[str, str], dict[str, Any]]:
    """Keypoints, scores and unit descriptors per (method, image)."""
    found = {}
    for number, method in enumerate(world.methods):
        for s in range(world.sequences):
            for image in range(world.pairs + 1):
                rng = np.random.default_rng((seed, number, s, image))
                xy = np.stack([rng.integers(0, 640, keypoints), rng.integers(0, 480, keypoints)], axis=1)
                vectors = rng.standard_normal((keypoints, 64)).astype(np.float32)
                found[method, f"s{s:03d}/{image + 1}"] = {
                    "keypoints": xy.astype(np.float32),
                    "scores": np.sort(rng.random(keypoints).astype(np.float32))[::-1].copy(),
                    "descriptors": vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
                }
    return found


def write_run(directory: Path, world: World, change: Change = UNCHANGED, seed: int = 1, arrays: Any = None) -> Path:
    """Write a simulated run directory as `bench` writes it, and return it."""
    directory.mkdir(parents=True)
    facts = header(world)
    manifest = {
        "schema_version": 1,
        "status": "complete",
        "protocol": {
            **facts["protocol"],
            "config": {"estimator": {"repeats": world.repeats}, "mma_px": [1.0, 2.0, 3.0]},
        },
        "dataset": facts["dataset"],
        "seeds": facts["seeds"],
        "threads": 2,
        "host": {"hash": "host", "cpu": "simulated", "usable_cores": 2},
        "noise": facts["noise"],
        "versions": facts["versions"],
        "git": {},
        "config": {"latency": {"mode": "quick"}},
        "methods": {
            name: {
                "label": name,
                "config": {},
                "info": {"precision": method["precision"], "fingerprint": method["fingerprint"]},
            }
            for name, method in facts["methods"].items()
        },
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    table = rows(world, change, seed)
    table["mma"] = [[0.3, 0.5, 0.6]] * len(table)
    table["match_ms"] = 1.0
    table.to_parquet(directory / "pairs.parquet", index=False)
    total = times(world, change, seed)
    stages = [
        total.assign(stage=stage, ms=total["ms"] * share)
        for stage, share in (("preprocess", 0.01), ("infer", 0.9), ("decode", 0.09))
    ]
    blocks = total.drop_duplicates("block")
    kernel = blocks.assign(method="calibration", stage="calibration", item="", ms=blocks["calibration_ms"])
    matching = total.head(3).assign(stage="match", block=-1)
    machine = [kernel] + [
        kernel.assign(stage=stage, ms=ms) for stage, ms in (("block", 1000.0), ("lost", 1000.0 * blocks["taken"]))
    ]
    pd.concat([*stages, *machine, matching], ignore_index=True).drop(columns=["calibration_ms", "taken"]).to_parquet(
        directory / "times.parquet", index=False
    )
    for (method, image), content in (arrays or {}).items():
        path = directory / "features" / method / f"{image}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, **content, **STORED)
        path.write_bytes(buffer.getvalue())
    return directory
