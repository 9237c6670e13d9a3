"""A run killed at random moments and continued: ``python -m tests.run.kill_campaign FOLDER KILLS JOBS SEED``.

Each try is a fork of this process, so that little of its time goes into imports, and ends with SIGKILL after a random
time or a random number of new files. After every kill, each file that the tries before left must be there with its
bytes, and all listed files must have their checksums. A run that ends must hold what an undisturbed one holds. Prints
a JSON object, which stands in ``FOLDER/campaign.json`` after every kill as well.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pandas as pd

from bench.config import compose
from bench.core import checksums
from bench.core.files import is_leftover
from bench.run.benchmark import run
from bench.run.store import RunStore, open_finished

OVERRIDES = [
    "methods=classical",
    "~methods.sift",
    "~methods.rootsift",
    "~methods.brisk",
    "~methods.kaze",
    "dataset.viewpoint_sequences=1",
    "dataset.illumination_sequences=2",
    "dataset.height=96",
    "dataset.width=128",
    "protocol.image.short_side=96",
    "protocol.estimator.repeats=2",
    "bootstrap_draws=100",
    "latency.repeats=2",
]


def start(directory: Path, jobs: int, keep: bool) -> int:
    """Fork a try; its output goes to ``<directory>.log``."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with directory.with_name(f"{directory.name}.log").open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        data = directory.parent / "data"
        run(compose([*OVERRIDES, f"run_dir={directory}", f"jobs={jobs}", f"keep_features={keep}", f"data_root={data}"]))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def kept(directory: Path) -> dict[str, str]:
    """What may never change once it is there: features and parts, by name, with their digests.

    Parts of the first pass are written twice, before and after their block; of them it is the calibration time.
    """
    files = [path for name in ("features", "parts") for path in (directory / name).rglob("*.*")]
    return {
        path.relative_to(directory).as_posix(): calibration(path)
        if path.name[:4] == "000-"
        else checksums.digest_of(path)
        for path in files
        if path.is_file() and not is_leftover(path)
    }


def calibration(part: Path) -> str:
    """Calibration time in a part."""
    rows = pd.read_parquet(part)
    return repr(rows.loc[rows["stage"] == "calibration", "ms"].tolist())


def phase(directory: Path) -> str:
    """How far a killed run had come."""
    if (directory / "report.html").is_file():
        return "report"
    if (directory / "pairs.parquet").is_file():
        return "tables"
    if any((directory / "parts/rows").glob("*.parquet")):
        return "evaluate"
    if any((directory / "parts/times").glob("001-*.parquet")):
        return "second pass"
    return "extract" if (directory / "features").is_dir() else "load"


def faults_of_kill(directory: Path, before: dict[str, str]) -> list[str]:
    """What a kill destroyed."""
    now = kept(directory)
    finished = (directory / "report.html").is_file()
    faults = [
        f"{name} is gone or changed"
        for name, digest in before.items()
        if now.get(name) != digest and not (finished and name.startswith("features/") and name not in now)
    ]
    if (directory / checksums.LEDGER).is_file():
        for name, digests in checksums.read(directory).digests.items():
            path = directory / name
            if path.is_file() and not name.startswith("logs/") and checksums.digest_of(path) not in digests:
                faults.append(f"{name} has another checksum")
        listed = checksums.read(directory).digests
        faults += [f"{name} is not listed" for name in now if name not in listed]
    return faults


def untimed(pairs: pd.DataFrame) -> str:
    """Digest of the rows without times."""
    kept_columns = pairs.drop(columns=[name for name in pairs if str(name).endswith("_ms")])
    return hashlib.sha256(kept_columns.to_json(double_precision=15).encode()).hexdigest()


def faults_of_end(directory: Path, expected: str, keep: bool, before: dict[str, str]) -> list[str]:
    """What an ended run lacks."""
    found = open_finished(directory)
    faults = [] if untimed(found.pairs) == expected else ["pairs.parquet differs from the undisturbed run"]
    times, store = found.times, RunStore(directory)
    parts = store.read_parts("times")
    keys = ["method", "item", "stage", "repeat", "block"]
    merged = parts.merge(times, on=[*keys, "ms"], how="left", indicator=True)
    lost = int((merged["_merge"] != "both").sum())
    faults += [f"{lost} rows of parts/times are not in times.parquet"] if lost else []
    extracted = times[(times["stage"] == "infer")]
    blocks = set(map(tuple, times.loc[times["stage"] == "calibration", ["repeat", "block"]].to_numpy().tolist()))
    bare = {tuple(key) for key in extracted[["repeat", "block"]].to_numpy().tolist()} - blocks
    faults += [f"blocks {sorted(bare)} have no calibration time"] if bare else []
    counts = extracted.groupby(["method", "item"])["repeat"].nunique()
    methods, images = extracted["method"].nunique(), extracted["item"].nunique()
    if len(counts) != methods * images or not (counts == 2).all() or (methods, images) != (2, 18):
        faults.append(f"times of {len(counts)} extractions of {methods} methods and {images} images")
    if keep:
        for name, digest in before.items():
            if name.startswith("features/"):
                arrays = np.load(directory / name)
                method, _, key = name.removeprefix("features/").partition("/")
                row = times[
                    (times["method"] == method) & (times["item"] == key.removesuffix(".npz")) & (times["repeat"] == 0)
                ]
                if not np.isin(arrays["times_ms"][np.isfinite(arrays["times_ms"])], row["ms"]).all():
                    faults.append(f"the times of {name} are not those of times.parquet")
                if checksums.digest_of(directory / name) != digest:
                    faults.append(f"{name} changed")
    leftovers = [path.name for path in directory.rglob(".*")]
    return faults + ([f"leftovers {leftovers}"] if leftovers else [])


def wait(child: int, timeout_s: float) -> int | None:
    """Exit status of a child, None if it still runs after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def wait_for_files(child: int, directory: Path, more: int, timeout_s: float) -> int | None:
    """As `wait`, until `more` files have been added."""
    deadline = time.monotonic() + timeout_s
    first = None
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):  # it may delete features meanwhile
            count = sum(1 for path in directory.rglob("*") if path.is_file())
            first = count if first is None else first
            if count >= first + more:
                return None
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
    return None


def campaign(folder: Path, kills: int, jobs: int, seed: int) -> dict[str, object]:
    """Kill until `kills` were made; the last run is then let end."""
    rng = random.Random(seed)
    began = time.monotonic()
    reference = folder / "reference"
    code = wait(start(reference, 1, True), 600)
    assert code == 0, f"the undisturbed run ended with {code}"
    duration_s = time.monotonic() - began
    expected = untimed(open_finished(reference).pairs)
    faults: list[str] = []
    phases: collections.Counter[str] = collections.Counter()
    made = ended = number = 0
    while made < kills or number == 0:
        number += 1
        directory, keep = folder / f"run{number}", bool(rng.randrange(2))
        before: dict[str, str] = {}
        while True:
            child = start(directory, jobs, keep)
            last = made >= kills
            if last:
                code = wait(child, 600)
            elif rng.random() < 0.4:
                code = wait(child, rng.uniform(0, duration_s))
            else:
                code = wait_for_files(child, directory, rng.choice([1, 2, 3, 5, 8, 13, 21, 34]), 3 * duration_s)
            if code is not None:
                if code != 0:
                    faults.append(f"run{number} ended with {code}, see {directory}.log")
                    return report(made, ended, phases, faults, began)
                ended += 1
                faults += [f"run{number}: {text}" for text in faults_of_end(directory, expected, keep, before)]
                break
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            made += 1
            phases[phase(directory)] += 1
            faults += [f"kill {made} of run{number}: {text}" for text in faults_of_kill(directory, before)]
            before |= kept(directory)
            found = report(made, ended, phases, faults, began)
            (folder / "campaign.json").write_text(json.dumps(found))
        if not faults:
            shutil.rmtree(directory)
    return report(made, ended, phases, faults, began)


def report(
    made: int, ended: int, phases: collections.Counter[str], faults: list[str], began: float
) -> dict[str, object]:
    """What the campaign found."""
    return {
        "kills": made,
        "runs_ended": ended,
        "phases": dict(phases),
        "faults": faults,
        "seconds": round(time.monotonic() - began),
    }


if __name__ == "__main__":
    print(json.dumps(campaign(Path(sys.argv[1]), *map(int, sys.argv[2:5])), indent=1))
