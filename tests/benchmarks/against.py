"""This checkout against another commit, the two taking turns: what a change of the code costs or saves.

Run on a machine that does nothing else::

    python -m tests.benchmarks.against COMMIT [MEASURE ...] [--rounds N] [--dataset D] [--data-root DIR]

A worktree of COMMIT is made in a temporary folder and removed at the end; both sides run under this interpreter.
Printed are the medians of both sides and the median of the paired ratios, here over COMMIT, with its 95 % interval
(needs six rounds). Measures:

``import``    wall time of ``import bench``
``help``      wall time of ``bench --help``
``evaluate``  wall time to evaluate the pairs of a run with classical methods by ``strict`` from its stored features
``around``    wall time of a run outside its methods' own stages (preprocess, infer, decode of every extraction)
``default``   the same of the default run, networks included; minutes a round

``evaluate`` times the command again over a run whose rows were deleted and its features kept, less the time of the same
command over the finished run, so that both sides need only their command line. It holds start, loading, tables, plots
and drawings of the second time, too: compare ``python -m tests.benchmarks.evaluation_against`` for the rows alone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tests.benchmarks.pairing import median_ratio

HERE = Path(__file__).parents[2]
CHEAP = ("import", "help", "evaluate", "around")


@dataclass(frozen=True)
class Side:
    """A checkout, and a folder of its own for caches and runs."""

    name: str
    tree: Path
    folder: Path
    dataset: str = "photos"

    def run(self, *arguments: str) -> float:
        """Wall time of a Python process on this checkout, in seconds.

        Raises
        ------
        RuntimeError
            If it ends with an error, with the end of what it said.
        """
        environment = os.environ | {
            "PYTHONPATH": str(self.tree),
            "BENCH_CACHE": str(self.folder / "cache"),
            "PYTHONSAFEPATH": "1",
        }
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        elapsed = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(
                f"{self.name}: {' '.join(arguments)} ended with {done.returncode}\n{done.stderr[-3000:]}"
            )
        return elapsed


@contextlib.contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """A checkout of `commit`, removed in the end."""
    path = folder / "worktree"
    git = ["git", "-C", str(HERE), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(path), commit], check=True)
    try:
        yield path
    finally:
        subprocess.run([*git, "remove", "--force", str(path)], check=False)


def benchmark(side: Side, run_dir: Path, *overrides: str) -> float:
    """Wall time of a run or of what is left of it."""
    return side.run(
        "-m",
        "bench",
        f"run_dir={run_dir}",
        f"dataset={side.dataset}",
        f"data_root={side.folder.parent / 'datasets'}",
        *overrides,
    )


def stages_s(run_dir: Path) -> float:
    """Seconds that the methods spent in their own stages, over every extraction of a run."""
    times = pd.read_parquet(run_dir / "times.parquet")
    stages = times[(times["method"] != "calibration") & times["stage"].isin(["preprocess", "infer", "decode"])]
    return float(stages["ms"].sum()) / 1e3


def around(side: Side, *overrides: str) -> float:
    """Wall time of a new run, less the methods' own stages."""
    run_dir = side.folder / "run"
    shutil.rmtree(run_dir, ignore_errors=True)
    elapsed = benchmark(side, run_dir, *overrides)
    return elapsed - stages_s(run_dir)


def evaluation(side: Side) -> float:
    """Time to evaluate and report a run whose features are stored, less the time to report it."""
    overrides = ("methods=classical", "latency=off", "keep_features=true", "jobs=1")
    kept = side.folder / "kept"
    if not kept.is_dir():
        benchmark(side, kept, *overrides)
    run_dir = side.folder / "evaluated"
    shutil.rmtree(run_dir, ignore_errors=True)
    shutil.copytree(kept, run_dir)
    reported = benchmark(side, run_dir, *overrides)
    unfinished(run_dir)
    return benchmark(side, run_dir, *overrides) - reported


def unfinished(run_dir: Path) -> None:
    """Make a finished run one that is evaluated again: its features stay, its rows and what follows from them go."""
    import json

    gone = ["pairs.parquet", "times.parquet", "report.html", "summary.csv", "summary.md", "summary.tex"]
    for name in gone:
        (run_dir / name).unlink(missing_ok=True)
    for name in ("plots", "parts/rows"):
        shutil.rmtree(run_dir / name, ignore_errors=True)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}))
    listed = run_dir / "bench.sha256"
    if listed.is_file():  # made anew: files of an unfinished run are listed as they are
        import hashlib

        lines = []
        for line in listed.read_text().splitlines():
            digest, _, name = line.partition("  ")
            path = run_dir / name
            if name == "manifest.json":
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file():
                lines.append(f"{digest}  {name}\n")
        listed.write_text("".join(lines))


MEASURES: dict[str, Callable[[Side], float]] = {
    "import": lambda side: side.run("-c", "import bench"),
    "help": lambda side: side.run("-m", "bench", "--help"),
    "evaluate": evaluation,
    "around": lambda side: around(side, "methods=classical"),
    "default": lambda side: around(side),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("measures", nargs="*", help=f"of {', '.join(MEASURES)}; without any: {', '.join(CHEAP)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dataset", default="photos", help="`photos_small` for a trial")
    parser.add_argument("--data-root", type=Path, help="folder of data sets that exist already")
    given = parser.parse_args()
    measures = given.measures or list(CHEAP)
    unknown = sorted(set(measures) - set(MEASURES))
    if unknown:
        parser.error(f"no measure {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worktree goes
    with tempfile.TemporaryDirectory(prefix="against-") as name:
        folder = Path(name)
        if given.data_root:
            (folder / "datasets").symlink_to(given.data_root.absolute())
        with worktree(given.commit, folder) as tree:
            sides = [
                Side(*names, given.dataset) for names in (("new", HERE, folder / "new"), ("old", tree, folder / "old"))
            ]
            for side in sides:
                side.folder.mkdir()
            for measure in measures:
                found: dict[str, list[float]] = {side.name: [] for side in sides}
                for number in range(-1, given.rounds):  # the first round fills caches
                    for side in sides[:: -1 if number % 2 else 1]:
                        seconds = MEASURES[measure](side)
                        if number >= 0:
                            found[side.name].append(seconds)
                old, new = (statistics.median(found[side]) for side in ("old", "new"))
                ratio = median_ratio(found["new"], found["old"])
                print(f"{measure:9} {given.commit[:8]} {old:7.2f} s, here {new:7.2f} s, ratio {ratio}", flush=True)


if __name__ == "__main__":
    main()
