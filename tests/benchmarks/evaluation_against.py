"""Rows per second of evaluation in two trees, alternated, and whether the bits are the same; two processes against one.

Run on a machine that does nothing else, with a finished run whose features were kept::

    OMP_NUM_THREADS=1 python -m tests.benchmarks.evaluation_against OLD_TREE RUN_DIR --data-root DATASETS
    OMP_NUM_THREADS=1 python -m tests.benchmarks.evaluation_against jobs RUN_DIR --data-root DATASETS
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parents[2]


def content(value: object) -> bytes:
    """A value's type and bits."""
    if isinstance(value, float):
        return struct.pack("d", value)
    if isinstance(value, list | tuple):
        return b"[" + b",".join(map(content, value)) + b"]"
    return f"{type(value).__name__}:{value}".encode()


def serve(run: Path, data_root: Path, presets: list[str]) -> None:
    """In a child: for every line read, evaluate all pairs by one preset; CPU time and a digest of the rows go back."""
    import cv2
    from threadpoolctl import threadpool_limits

    from bench.config import compose
    from bench.data import load
    from bench.data.prepare import prepare_pair
    from bench.run.extraction import items_of, prepare_item
    from bench.run.pair import evaluate_pair
    from bench.run.store import RunStore
    from bench.schema.presets import preset

    cv2.setNumThreads(1)
    config = compose([])
    image, store = config.protocol.image, RunStore(run)
    dataset = load(config.dataset, data_root)
    images = {item.key: prepare_item(item, image) for item in items_of(dataset, image)}
    methods = sorted(path.name for path in (run / "features").iterdir())
    features = {(m, key): store.read_extraction(m, key).features for m in methods for key in images}
    cases = []
    for pair in dataset.pairs:
        keys = pair.reference.key, pair.target.key
        prepared = prepare_pair(pair, images[keys[0]], images[keys[1]], image)
        cases += [(prepared, features[m, keys[0]], features[m, keys[1]]) for m in methods]
    with threadpool_limits(1):
        for name in presets:
            evaluate_pair(*cases[0], preset(name), 0)  # type: ignore[arg-type]
        print(json.dumps({"rows": len(cases)}), flush=True)
        for line in sys.stdin:
            protocol = preset(line.strip())
            start = time.process_time()
            rows = [evaluate_pair(*case, protocol, 0) for case in cases]  # type: ignore[arg-type]
            spent = time.process_time() - start
            digest = hashlib.sha256()
            for row in rows:
                for key, value in row.items():
                    digest.update(b"" if key.endswith("_ms") else key.encode() + content(value))
            print(json.dumps({"seconds": spent, "digest": digest.hexdigest()}), flush=True)


@contextmanager
def child(tree: Path, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    boot = f"import runpy, sys; sys.path.insert(0, {str(tree)!r}); runpy.run_path({__file__!r}, run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-c", boot, "--serve", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()


def ask(process: subprocess.Popen[str], line: str | None = None) -> dict[str, object]:
    assert process.stdin is not None and process.stdout is not None
    if line is not None:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    return dict(json.loads(process.stdout.readline()))


def trees(old: Path, arguments: list[str], presets: list[str], rounds: int) -> None:
    """Print rows per second of both trees and their ratio for every preset."""
    with child(old, arguments) as before, child(HERE, arguments) as after:
        n = int(str(ask(before)["rows"]))
        assert ask(after)["rows"] == n
        print(f"{n} rows\n{'preset':28}{'old rows/s':>12}{'new rows/s':>12}{'ratio':>8}  rows")
        for name in presets:
            best, digests = [math.inf, math.inf], set()
            for turn in range(rounds):
                for k in (0, 1) if turn % 2 else (1, 0):
                    answer = ask((before, after)[k], name)
                    best[k] = min(best[k], float(str(answer["seconds"])))
                    digests.add(answer["digest"])
            same = "same bits" if len(digests) == 1 else "DIFFER"
            print(f"{name:28}{n / best[0]:12.1f}{n / best[1]:12.1f}{best[0] / best[1]:8.2f}  {same}", flush=True)


def jobs(run: Path, data_root: Path, rounds: int) -> None:
    """Print the wall time of the whole evaluation in one process and in two, alternated."""
    from bench.config import compose
    from bench.data import load
    from bench.run.evaluation import entries, evaluate_all
    from bench.run.manifest import read_manifest
    from bench.run.store import RunStore

    config = compose([])
    dataset, methods = load(config.dataset, data_root), entries(read_manifest(run))
    best = {1: math.inf, 2: math.inf}
    for _ in range(rounds):
        for n in best:
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "features").symlink_to(run.absolute() / "features")
                start = time.perf_counter()
                store = RunStore(Path(folder))
                rows, _swept = evaluate_all(dataset, methods, config.protocol, config.estimator_sweep, store, 0, n)
                best[n] = min(best[n], time.perf_counter() - start)
    print(
        f"{len(rows)} rows: {best[1]:.2f} s with one process, {best[2]:.2f} s with two: {best[1] / best[2]:.2f} times"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", help="checkout to compare with, or `jobs`")
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, default=Path("datasets"))
    parser.add_argument("--presets", nargs="+", default=["strict"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.run, given.data_root, given.presets)
    elif given.tree == "jobs":
        jobs(given.run, given.data_root, given.rounds)
    else:
        arguments = ["-", str(given.run.absolute()), "--data-root", str(given.data_root.absolute())]
        trees(Path(given.tree).absolute(), [*arguments, "--presets", *given.presets], given.presets, given.rounds)


if __name__ == "__main__":
    main()
