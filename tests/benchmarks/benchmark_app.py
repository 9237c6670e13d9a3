"""Our inference time beside OpenVINO's own `benchmark_app`: the same IR, threads, hint and precision, taking turns.

Run on a machine that does nothing else::

    python -m tests.benchmarks.benchmark_app [METHOD ...] [--rounds N] [--seconds S] [--threads N]

`benchmark_app` comes with the package `openvino`. Each round measures both for the same seconds, in alternating order:
the median latency of synchronous calls by `benchmark_app` and of ``infer_ms`` by our worker. Prints both, and the
median ratio (ours over theirs) with its 95 % interval (needs six rounds); they should agree within 3 %.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from bench.config import compose
from bench.core.types import Context, EvaluatedImage, Size
from bench.run.worker import Worker
from bench.runtimes.openvino import properties_of
from bench.schema import SuperPointConfig
from tests.benchmarks.pairing import median_ratio

SIZE = Size(480, 640)


def ir_of(config: SuperPointConfig, context: Context) -> Path:
    """The IR that a method runs, made where the cache lacks it."""
    worker = Worker("ir", config, context, context.cache / "ir.log")
    worker.close()
    return max(context.cache.rglob("model.xml"), key=lambda path: path.stat().st_mtime)


def theirs_ms(ir: Path, config: SuperPointConfig, threads: int, seconds: float, folder: Path) -> float:
    """Median latency of `benchmark_app` in milliseconds."""
    tool = "import sys; from openvino.tools.benchmark.main import main; sys.exit(main())"
    options = {
        "-m": str(ir),
        "-d": "CPU",
        "-api": "sync",
        "-hint": config.performance_hint,
        "-shape": f"[1,{SIZE.height},{SIZE.width},1]",
        "-t": f"{seconds:.0f}",
        "-load_config": str(folder / "properties.json"),
    }
    # Its options refuse a hint beside a number of threads; its file of properties takes both.
    properties = {key: str(value) for key, value in properties_of(config, threads).items()}
    (folder / "properties.json").write_text(json.dumps({"CPU": properties}))
    arguments = [text for option in options.items() for text in option]
    done = subprocess.run([sys.executable, "-c", tool, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"benchmark_app ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    if f"INFERENCE_NUM_THREADS: {threads}" not in done.stdout:
        raise RuntimeError(f"benchmark_app did not take {threads} threads\n{done.stdout}")
    (median,) = re.findall(r"Median: +([\d.]+) ms", done.stdout)
    return float(median)


def ours_ms(worker: Worker, image: EvaluatedImage, seconds: float) -> float:
    """Median of ``infer_ms`` in milliseconds."""
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        found.append(worker.extract(image)[1].infer_ms)
    return float(np.median(found))


def compare(
    method: str, image: EvaluatedImage, folder: Path, rounds: int, seconds: float, threads: int
) -> tuple[list[float], list[float]]:
    """Medians of both in milliseconds, one a round."""
    context = Context(threads, folder, folder)
    config = replace(compose([f"methods.add=[{method}]"]).methods[method], threads=threads)
    ir = ir_of(config, context)
    worker = Worker(method, config, context, folder / "worker.log")
    worker.warm_up(SIZE)
    ours, theirs = [], []
    for number in range(rounds):
        for side in (0, 1) if number % 2 else (1, 0):
            if side == 0:
                ours.append(ours_ms(worker, image, seconds))
            else:
                theirs.append(theirs_ms(ir, config, threads, seconds, folder))
    worker.close()
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=["superpoint_ov_fp32"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    grey = cv2.resize(data.camera(), (SIZE.width, SIZE.height), interpolation=cv2.INTER_AREA)
    image = EvaluatedImage("camera", grey, np.eye(3))
    with tempfile.TemporaryDirectory(prefix="benchmark_app-") as name:
        for method in given.methods:
            # A folder of its own: the only IR in it is the method's.
            ours, theirs = compare(method, image, Path(name) / method, given.rounds, given.seconds, given.threads)
            print(
                f"{method}, threads {given.threads}, {SIZE}: ours {np.median(ours):.2f} ms, benchmark_app "
                f"{np.median(theirs):.2f} ms, ratio {median_ratio(ours, theirs)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
