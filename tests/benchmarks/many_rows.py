"""Peak memory and time of `bench report` and `bench check` on a run of many rows.

    python tests/benchmarks/many_rows.py FOLDER --pairs 100000 --methods 10

Makes finished runs of synthetic rows with the writers of the store, and runs both commands on them in processes of
their own. Rows have the columns and types of a real run; errors, counts and times are drawn (lognormal, gamma), equal
for the same seed. Nothing here says anything about a method.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from bench.config import compose
from bench.core.files import start_checksums, write_parquet
from bench.metrics.columns import metrics_of
from bench.run.manifest import (
    COMPLETE,
    DatasetRecord,
    Manifest,
    MethodRecord,
    ProtocolRecord,
    conditions,
    write_manifest,
)
from bench.schema import ProtocolConfig
from bench.schema.identity import protocol_hash
from bench.timing import host, noise

PAIRS_PER_SEQUENCE = 5
_FAILED = 0.03


def names_of(n_pairs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair, sequence and split of each pair."""
    numbers = np.arange(n_pairs)
    sequences = numbers // PAIRS_PER_SEQUENCE
    splits = np.array(["i", "v"])[sequences % 2]
    names = np.array([f"{split}_{number:06d}" for split, number in zip(splits, sequences, strict=True)], dtype=object)
    pairs = np.array([f"{name}/1-{k}" for name, k in zip(names, numbers % PAIRS_PER_SEQUENCE + 2, strict=True)], object)
    return pairs, names, splits.astype(object)


def pair_rows(n_pairs: int, methods: list[str], protocol: ProtocolConfig, seed: int) -> pd.DataFrame:
    """Rows of pairs.parquet, ordered as a run has them: by pair, then by method."""
    rng = np.random.default_rng(seed)
    n = n_pairs * len(methods)
    repeats = protocol.estimator.repeats
    names, sequences, splits = (np.repeat(column, len(methods)) for column in names_of(n_pairs))
    difficulty = np.repeat(rng.gamma(1.0, 2.0, -(-n_pairs // PAIRS_PER_SEQUENCE)), PAIRS_PER_SEQUENCE)[:n_pairs]
    errors = np.repeat(difficulty, len(methods))[:, None] * rng.lognormal(0, 0.4, (n, repeats))
    errors *= 1 + 0.05 * np.tile(np.arange(len(methods)), n_pairs)[:, None]
    errors[rng.random((n, repeats)) < _FAILED] = np.inf
    n_matches = rng.integers(20, 900, n)
    columns: dict[str, object] = {
        "method": np.tile(np.array(methods, object), n_pairs),
        "pair": names,
        "sequence": sequences,
        "split": splits,
        "outcome": np.where(np.isfinite(errors[:, 0]), "ok", "estimation_failed").astype(object),
        "n_keypoints_ref": rng.integers(200, 1000, n),
        "n_keypoints_target": rng.integers(200, 1000, n),
        "n_matches": n_matches,
        "match_ms": rng.lognormal(0.5, 0.2, n),
    }
    given = {
        "corner_error_px": errors[:, 0],
        "corner_errors_px": list(errors),
        "n_failed_repeats": np.isinf(errors).sum(axis=1),
        "estimate_ms": rng.lognormal(1, 0.2, n),
        "n_inliers": (n_matches * rng.random(n)).astype(np.int64),
        "dlt_corner_error_px": 2 * errors[:, 0],
        "mma": list(np.sort(rng.random((n, len(protocol.mma_px))), axis=1)),
        "localisation_error_px": rng.random(n) * 2,
    }
    for metric in metrics_of(protocol):
        for name in metric.row_names(protocol):
            if name.startswith("accuracy_"):
                limit = float(name.removeprefix("accuracy_").removesuffix("px"))
                columns[name] = (errors <= limit).mean(axis=1)
            else:
                columns[name] = given.get(name, rng.random(n))
    return pd.DataFrame(columns)


def time_rows(n_pairs: int, methods: list[str], seed: int) -> pd.DataFrame:
    """Rows of times.parquet: three stages of each of six images a sequence, matching, and the machine in each block."""
    rng = np.random.default_rng((seed, 1))
    n_images = -(-n_pairs // PAIRS_PER_SEQUENCE) * (PAIRS_PER_SEQUENCE + 1)
    images = np.array([f"s{n // 6:06d}/{n % 6 + 1}" for n in range(n_images)], object)
    blocks = np.arange(n_images) // 4
    frames = []
    for number, method in enumerate(methods):
        for stage, ms in (("preprocess", 1.0), ("infer", 10.0 + number), ("decode", 2.0)):
            frames.append(
                pd.DataFrame(
                    {"method": method, "item": images, "stage": stage, "repeat": 0, "block": blocks, "order": number}
                ).assign(height=480, width=640, ms=ms * rng.lognormal(0, 0.05, n_images))
            )
    for stage, ms in (("calibration", 2.0), ("interrupted", 0.0), ("block", 500.0), ("lost", 1.0)):
        count = int(blocks[-1]) + 1
        cells = {
            "method": "calibration",
            "item": "",
            "stage": stage,
            "repeat": 0,
            "block": np.arange(count),
            "order": -1,
        }
        frames.append(pd.DataFrame(cells).assign(order=-1, height=0, width=0, ms=ms * rng.lognormal(0, 0.01, count)))
    return pd.concat(frames, ignore_index=True)


def make_run(directory: Path, n_pairs: int, n_methods: int, seed: int = 0) -> Path:
    """Write a finished run of synthetic rows."""
    config = compose(["dataset=photos", "methods=classical"])
    protocol = config.protocol
    methods = [f"method_{number}" for number in range(n_methods)]
    pairs, times = pair_rows(n_pairs, methods, protocol, seed), time_rows(n_pairs, methods, seed)
    machine, versions = host.fingerprint(), host.versions()
    info = {"name": "synthetic", "backend": "synthetic", "has_descriptors": True, "precision": {"label": "fp32"}}
    names = [str(name) for name in names_of(n_pairs)[0]]
    recorded = {**asdict(config), "methods": {}}
    manifest = Manifest(
        protocol=ProtocolRecord(protocol.name, protocol_hash(protocol), protocol.version, asdict(protocol)),
        dataset=DatasetRecord("synthetic", "0" * 64, f"{n_pairs} of {n_pairs} pairs", None, n_pairs, names),
        sessions=[conditions(machine, versions)],
        status=COMPLETE,
        title="Synthetic rows",
        config=recorded,
        seeds={"run": seed},
        methods={name: MethodRecord(name, {"backend": "synthetic"}, dict(info)) for name in methods},
        host=machine,
        versions=versions,
        rows_expected=len(pairs),
        rows_written=len(pairs),
        noise=noise.verdict(noise.machine(times), None),
    )
    directory.mkdir(parents=True)
    start_checksums(directory)
    write_parquet(directory / "pairs.parquet", pairs)
    write_parquet(directory / "times.parquet", times)
    write_manifest(directory, manifest)
    return directory


def measured(arguments: list[str]) -> dict[str, object]:
    """Wall and processor time, and the peak memory of a command's largest process."""
    code = (
        "import resource, subprocess, sys, json; "
        "rc = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(json.dumps([rc, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6]))"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, sys.executable, "-m", "bench", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    exit_code, cpu_s, peak_gb = json.loads(done.stdout)
    spent = {"cpu_s": round(cpu_s, 1), "wall_s": round(time.perf_counter() - start, 1)}
    return {"command": arguments[0], "exit_code": exit_code, "peak_gb": round(peak_gb, 2), **spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--methods", type=int, default=10)
    given = parser.parse_args()
    runs = []
    for seed in (0, 1):
        run = given.folder / f"{given.pairs}x{given.methods}_{seed}"
        runs.append(run if run.exists() else make_run(run, given.pairs, given.methods, seed))
    size = sum((runs[0] / name).stat().st_size for name in ("pairs.parquet", "times.parquet")) / 1e6
    print(f"{given.pairs} pairs x {given.methods} methods, {size:.0f} MB of tables")
    for command in (
        ["report", f"run_dir={runs[0]}"],
        ["check", f"candidate={runs[1]}", f"baseline={runs[0]}", f"output={given.folder / 'check'}"],
    ):
        print(json.dumps(measured(command)), flush=True)


if __name__ == "__main__":
    main()
