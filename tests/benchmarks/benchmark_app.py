"""Our inference beside OpenVINO's own `benchmark_app`: the same IR, threads, hint and precision, taking turns.

Run on a machine that does nothing else::

    python -m tests.benchmarks.benchmark_app [METHOD ...] [--model FILE.xml] [--hint latency|throughput]
        [--size HxW] [--rounds N] [--seconds S] [--threads N] [--check]

`benchmark_app` comes with the package `openvino`. Each round measures both for as long, in alternating order. Hint
latency: the median of synchronous calls by `benchmark_app` and of ``infer_ms`` by our worker, in milliseconds. Hint
throughput: images per second with several requests in flight, by `benchmark_app -api async` and by
``latency.throughput_s``; streams and requests of both are printed. Prints the medians and the median ratio (ours over
theirs) with its 95 % interval, which needs six rounds; they should agree within 3 %. ``--check`` ends with 1 where the
interval lies beyond 3 % of 1, and with 2 where it is too wide to tell.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from bench.config import compose
from bench.core.types import Context, EvaluatedImage, Size
from bench.features.base import MeasuresThroughput
from bench.features.convert import model_files
from bench.models.store import model_of
from bench.run.worker import Worker
from bench.runtimes.openvino import properties_of
from bench.schema import SuperPointConfig
from tests.benchmarks.pairing import Ratio, median_ratio

TOLERANCE = 0.03


@dataclass(frozen=True, slots=True)
class Task:
    """What both sides do."""

    config: SuperPointConfig
    ir: Path
    size: Size
    built_in: bool
    """The file has the size, so `benchmark_app` is not told it."""
    seconds: float
    threads: int

    @property
    def throughput(self) -> bool:
        return self.config.performance_hint == "throughput"


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement: milliseconds, or images per second, and how."""

    value: float
    note: str


def theirs(task: Task, folder: Path) -> Measured:
    """Run `benchmark_app` once.

    Raises
    ------
    RuntimeError
        If it fails, did not take the number of threads, or prints something else than expected.
    """
    tool = "import sys; from openvino.tools.benchmark.main import main; sys.exit(main())"
    options = {
        "-m": str(task.ir),
        "-d": "CPU",
        "-api": "async" if task.throughput else "sync",
        "-hint": str(task.config.performance_hint),
        "-t": f"{task.seconds:.0f}",
        "-load_config": str(folder / "properties.json"),
    }
    if not task.built_in:
        options["-shape"] = f"[1,{task.size.height},{task.size.width},1]"
    # Its options refuse a hint beside a number of threads; its file of properties takes both.
    properties = {key: str(value) for key, value in properties_of(task.config, task.threads).items()}
    (folder / "properties.json").write_text(json.dumps({"CPU": properties}))
    arguments = [text for option in options.items() for text in option]
    done = subprocess.run([sys.executable, "-c", tool, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"benchmark_app ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return parsed(done.stdout, task.throughput, task.threads)


def parsed(printed: str, throughput: bool, threads: int) -> Measured:
    """What `benchmark_app` printed.

    Raises
    ------
    RuntimeError
        If it did not take the number of threads, or a figure is missing.
    """
    if f"INFERENCE_NUM_THREADS: {threads}" not in printed:
        raise RuntimeError(f"benchmark_app did not take {threads} threads\n{printed}")
    wanted = r"Throughput: +([\d.]+) FPS" if throughput else r"Median: +([\d.]+) ms"
    found = re.findall(wanted, printed)
    if len(found) != 1:
        raise RuntimeError(f"benchmark_app printed {len(found)} of {wanted!r}\n{printed}")
    counts = {
        "streams": re.findall(r"NUM_STREAMS: (\d+)", printed),
        "requests": re.findall(r"OPTIMAL_NUMBER_OF_INFER_REQUESTS: (\d+)", printed),
    }
    return Measured(float(found[0]), ", ".join(f"{values[-1]} {name}" for name, values in counts.items() if values))


def ours_ms(worker: Worker, image: EvaluatedImage, seconds: float) -> float:
    """Median of ``infer_ms`` in milliseconds."""
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        found.append(worker.extract(image)[1].infer_ms)
    return float(np.median(found))


def ours(task: Task, worker: Worker, image: EvaluatedImage) -> Measured:
    """Measure our worker once."""
    if not task.throughput:
        return Measured(ours_ms(worker, image, task.seconds), "")
    rate = worker.call(MeasuresThroughput.throughput, [image], task.seconds)
    return Measured(rate["images_per_s"], f"{rate['streams']:.0f} streams, {rate['requests']:.0f} requests")


def compare(task: Task, context: Context, folder: Path, rounds: int) -> tuple[list[Measured], list[Measured]]:
    """Both sides, one measurement a round, in alternating order."""
    grey = cv2.resize(data.camera(), (task.size.width, task.size.height), interpolation=cv2.INTER_AREA)
    image = EvaluatedImage("camera", grey, np.eye(3))
    worker = Worker("it", task.config, context, folder / "worker.log")
    found: tuple[list[Measured], list[Measured]] = ([], [])
    try:
        worker.warm_up(task.size)
        for number in range(rounds):
            for side in (0, 1) if number % 2 else (1, 0):
                found[side].append(theirs(task, folder) if side else ours(task, worker, image))
    finally:
        worker.close()
    return found


def verdict(ratio: Ratio) -> int:
    """Exit code of ``--check``: 0 agree within 3 % or may do so, 1 do not, 2 nothing can be said."""
    if not np.isfinite([ratio.low, ratio.high]).all() or ratio.high / ratio.low > 1 + 4 * TOLERANCE:
        return 2
    return int(ratio.low > 1 + TOLERANCE or ratio.high < 1 - TOLERANCE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=["superpoint_ov_fp32"])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--hint", choices=["latency", "throughput"], default="latency")
    parser.add_argument("--size", type=Size.parse)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    ended = 0
    for method in given.methods:
        model = ["model=path", f"model.path={given.model.resolve()}"] if given.model else []
        composed = compose([f"methods.add=[{method}]", *model])
        context = Context(given.threads, Path(composed.cache), Path(composed.data_root))
        config = replace(composed.methods[method], threads=given.threads, performance_hint=given.hint)
        path, fingerprint = model_of(config.model, context)
        height, width = (getattr(fingerprint, side, None) for side in ("height", "width"))
        built_in = height is not None and width is not None
        size = Size(height, width) if built_in else given.size or Size(480, 640)
        ir = model_files(config, path, fingerprint, context)
        task = Task(config, ir, size, built_in, given.seconds, given.threads)
        with tempfile.TemporaryDirectory(prefix="benchmark_app-") as name:
            sides = compare(task, context, Path(name), given.rounds)
        values = [[each.value for each in side] for side in sides]
        ratio = median_ratio(*values)
        unit = "images/s" if task.throughput else "ms"
        notes = [f" ({side[-1].note})" if side[-1].note else "" for side in sides]
        print(
            f"{method}, threads {given.threads}, {size}, hint {given.hint}: ours {np.median(values[0]):.2f} {unit}"
            f"{notes[0]}, benchmark_app {np.median(values[1]):.2f} {unit}{notes[1]}, ratio {ratio}",
            flush=True,
        )
        ended = max(ended, verdict(ratio)) if given.check else 0
    return ended


if __name__ == "__main__":
    sys.exit(main())
