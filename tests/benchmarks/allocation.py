"""What keeping freed memory changes: every method in two workers, with and without the variables of `allocation`.

Run with ``python -m tests.benchmarks.allocation [METHOD ...] [--rounds N]``. The two workers of a method take turns on
photographs of three sizes, as a data set has them. Prints the times of both, their median ratio (with over without)
with its 95 % interval, page faults per image (which do not depend on the load of the machine), peak memory, and whether
the features are the same bits.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from skimage import data

from bench.config import compose
from bench.core import processes
from bench.core.types import Context, EvaluatedImage, Features, Size
from bench.run.worker import Worker
from tests.benchmarks.pairing import median_ratio

SIZES = (Size(480, 640), Size(480, 600), Size(640, 480))
METHODS = ("superpoint_tf", "superpoint_ov_fp32", "bf16", "int8", "sift", "orb", "akaze")


def images() -> list[EvaluatedImage]:
    found = []
    for size in SIZES:
        for name in ("camera", "brick", "grass"):
            grey = cv2.resize(getattr(data, name)(), (size.width, size.height), interpolation=cv2.INTER_AREA)
            found.append(EvaluatedImage(f"{name} {size}", grey, np.eye(3)))
    return found


def same(a: Features, b: Features) -> bool:
    pairs = [(a.keypoints, b.keypoints), (a.scores, b.scores), (a.descriptors, b.descriptors)]
    return all(x is y or np.array_equal(x, y) for x, y in pairs)


def faults(worker: Worker) -> int:
    """Minor page faults of the worker's process so far."""
    fields = Path(f"/proc/{worker.pid()}/stat").read_text().rpartition(")")[2].split()
    return int(fields[7])


def measure(name: str, threads: int, rounds: int, folder: Path) -> None:
    config = replace(
        compose(
            ["methods=all", "+method@methods.int8=superpoint_ov_int8", "+method@methods.bf16=superpoint_ov_bf16"]
        ).methods[name],
        threads=threads,
    )
    context = Context(threads, folder, folder)
    workers = {"with": Worker(name, config, context, folder / "with.log")}
    with mock.patch.object(processes, "_ALLOCATION", {}):
        workers["without"] = Worker(name, config, context, folder / "without.log")
    shown = images()
    for worker in workers.values():
        for image in shown:
            worker.warm_up(image.size)
            worker.extract(image)
    stages = ("preprocess_ms", "infer_ms", "decode_ms", "total_ms")
    ms: dict[str, list[list[float]]] = {side: [] for side in workers}
    counted = dict.fromkeys(workers, 0)
    identical = True
    for number in range(rounds * len(shown)):
        image, found = shown[number % len(shown)], []
        for side in sorted(workers, reverse=bool(number % 2)):
            before = faults(workers[side])
            features, times = workers[side].extract(image)
            counted[side] += faults(workers[side]) - before
            ms[side].append([getattr(times, stage) for stage in stages])
            found.append(features)
        identical &= same(*found)
    peaks = {side: worker.info().costs["peak_memory_mb"] for side, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    print(f"{name}: {'same bits' if identical else 'FEATURES DIFFER'}")
    for place, stage in enumerate(stages):
        kept, freed = (np.array(ms[side])[:, place] for side in ("with", "without"))
        if np.median(freed) > 0.05:
            print(f"  {stage:13} {np.median(freed):8.2f} -> {np.median(kept):8.2f}  ratio {median_ratio(kept, freed)}")
    each = {side: count / (rounds * len(shown)) for side, count in counted.items()}
    print(f"  page faults   {each['without']:8.0f} -> {each['with']:8.0f}  an image")
    print(f"  peak memory   {peaks['without']:8.0f} -> {peaks['with']:8.0f}  MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--rounds", type=int, default=4, help="times each of the nine images")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    print("without the variables -> with them; medians in ms")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.methods:
            measure(name, given.threads, given.rounds, Path(folder))


if __name__ == "__main__":
    main()
