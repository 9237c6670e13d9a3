"""One network under every runtime and precision that this host has, taking turns; ratios to OpenVINO in FP32.

Run on a machine that does nothing else::

    python -m tests.benchmarks.runtimes [METHOD ...] [--threads 1 2] [--rounds N] [--size HxW]

Without methods: every SuperPoint preset with the sparse graph that can run here; what cannot is listed with the reason.
Each method has a process of its own, as in a run; each round takes one inference of each, in alternating order. A line
has the median inference, the median ratio with its 95 % interval (needs six rounds; below 1: faster than OpenVINO), the
precision that was executed and its kernels, and what it costs to start.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from bench.config import compose
from bench.core import presets
from bench.core.types import Context, EvaluatedImage, Size
from bench.run.worker import Worker
from bench.runtimes.base import missing
from bench.schema import SuperPointConfig
from bench.schema.options import Graph
from tests.benchmarks.pairing import median_ratio

REFERENCE = "superpoint_ov_fp32"
COSTS = ("convert_ms", "load_ms", "compile_ms", "first_inference_ms", "peak_memory_mb")


def candidates(named: list[str]) -> dict[str, SuperPointConfig]:
    """Methods by name, the reference first; those that cannot run here are printed."""
    names = named or [name for name in presets.names("method") if name.startswith("superpoint_")]
    names = [REFERENCE, *(name for name in names if name != REFERENCE)]
    configs = compose(
        ["methods=openvino_recipe", f"methods.add=[{','.join(n for n in names if n != REFERENCE)}]"]
    ).methods
    found = {}
    for name in names:
        config = configs[name]
        whole = config.graph == Graph.sparse and config.descriptors and config.homographic_adaptation.num <= 1
        if not named and not whole:
            continue
        reason = missing(config)
        if reason is None:
            found[name] = config
        else:
            print(f"not here: {name}, {reason}", flush=True)
    return found


def compare(methods: dict[str, SuperPointConfig], size: Size, threads: int, rounds: int, folder: Path) -> None:
    """Print a line for each method."""
    grey = cv2.resize(data.camera(), (size.width, size.height), interpolation=cv2.INTER_AREA)
    image = EvaluatedImage("camera", grey, np.eye(3))
    context = Context(threads, folder, folder)
    workers: dict[str, Worker] = {}
    try:
        for name, config in methods.items():
            workers[name] = Worker(name, replace(config, threads=threads), context, folder / f"{name}.log")
            workers[name].warm_up(size)
        ms: dict[str, list[float]] = {name: [] for name in methods}
        for number in range(-1, rounds):
            for name in list(methods)[:: -1 if number % 2 else 1]:
                infer_ms = workers[name].extract(image)[1].infer_ms
                if number >= 0:
                    ms[name].append(infer_ms)
        for name, worker in workers.items():
            info = worker.info()
            costs = ", ".join(f"{key} {info.costs[key]:.0f}" for key in COSTS if info.costs.get(key) is not None)
            label, kernels = info.precision.get("label", "FP32"), info.precision.get("kernels", ())
            print(
                f"{name}, threads {threads}, {size}: {np.median(ms[name]):.1f} ms, ratio "
                f"{median_ratio(ms[name], ms[REFERENCE])}; {label} ({', '.join(map(str, kernels))}); {costs}",  # type: ignore[call-overload]
                flush=True,
            )
    finally:
        for worker in workers.values():
            worker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--size", default="480x640")
    given = parser.parse_args()
    height, width = map(int, given.size.split("x"))
    methods = candidates(given.methods)
    with tempfile.TemporaryDirectory(prefix="runtimes-") as name:
        for threads in given.threads:
            compare(methods, Size(height, width), threads, given.rounds, Path(name))


if __name__ == "__main__":
    main()
