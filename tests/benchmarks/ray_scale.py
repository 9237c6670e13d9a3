"""How far a run over a cluster scales: `python -m tests.benchmarks.ray_scale [--simulate-only]`.

Measured here: Ray's overhead for a task, the driver's time to send work and to write what comes back, the processor
time of an extraction and of an evaluated row, and the evaluation of one run with one and with two workers.

Simulated from these numbers: 16, 128 and 1024 workers on HPatches and on a million pairs, twelve methods each. One
driver sends, receives and writes, one thing at a time; a worker computes one task at a time; no more than the engine's
window is under way. Prints JSON.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

METHODS = 12
WORKERS = (16, 128, 1024)
OVERRIDES = (
    *("methods=classical", "methods.drop=[kaze]", "dataset=photos", "dataset.height=240", "dataset.width=320"),
    *("dataset.viewpoint_sequences=3", "dataset.illumination_sequences=3", "protocol.image.policy=original"),
    *("latency=off", "bootstrap_draws=100", "threads=1", "jobs=1"),
)


@dataclass(frozen=True)
class Costs:
    """What the simulation knows of a cluster; times in seconds, sizes in bytes.

    Attributes
    ----------
    task_s : float
        Of the driver, for handing out and taking back a task, whatever is in it.
    byte_s : float
        Of the driver, for reading and sending a byte.
    feature_write_s, part_write_s : float
        Of the driver, for one stored extraction, and for the parts of one sequence.
    extract_s, row_s : float
        Of a worker: one image by one method; one pair by one method.
    feature_bytes, image_bytes : float
        Of one image.
    load_s : float
        Of a node, for the methods.
    """

    task_s: float
    byte_s: float
    feature_write_s: float
    part_write_s: float
    extract_s: float
    row_s: float
    feature_bytes: float = 500e3
    image_bytes: float = 700e3
    load_s: float = 30.0


@dataclass(frozen=True)
class Work:
    """A task: seconds of a worker, bytes that are sent, seconds of the driver to write its results."""

    seconds: float
    size: float
    write_s: float


def simulate(tasks: Sequence[Work], workers: int, costs: Costs, in_flight: float, ahead: int = 2) -> dict[str, float]:
    """Seconds until everything is written, and what the driver and the workers did of it."""
    waiting, free = deque(tasks), [0.0] * workers
    flying: list[tuple[float, int, Work]] = []
    now = driver = held = 0.0
    number = 0
    while waiting or flying:
        room = len(flying) < ahead * workers and (not flying or held <= in_flight)
        if waiting and room:
            task = waiting.popleft()
            spent = costs.task_s / 2 + task.size * costs.byte_s
            now, driver, held = now + spent, driver + spent, held + task.size
            start = max(now, heapq.heappop(free))
            heapq.heappush(free, start + task.seconds)
            heapq.heappush(flying, (start + task.seconds, number, task))
            number += 1
            continue
        done, _, task = heapq.heappop(flying)
        spent = costs.task_s / 2 + task.write_s
        now, driver, held = max(now, done) + spent, driver + spent, held - task.size
    computed = sum(task.seconds for task in tasks)
    return {"seconds": now, "driver_busy": driver / now, "workers_busy": computed / now / workers}


def scenario(sequences: int, pairs: int, costs: Costs, workers: int, seed: int = 0) -> tuple[list[Work], list[Work]]:
    """Blocks of extraction and tasks of evaluation of a data set; sequences differ in size as HPatches' images do."""
    from bench.run.engines.cluster import rows_per_task

    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(0, 0.4, sequences))
    sizes /= sizes.mean()
    images = pairs + 1
    block = 4
    blocks = []
    for start in range(0, sequences * images, block):
        share = sizes[np.arange(start, min(start + block, sequences * images)) // images]
        seconds = float(share.sum()) * METHODS * costs.extract_s
        written_s = len(share) * METHODS * costs.feature_write_s
        blocks.append(Work(seconds, float(share.sum()) * costs.image_bytes, written_s))
    rows = pairs * METHODS
    together = max(1, rows_per_task(sequences * rows, workers) // rows)
    evaluated = []
    for start in range(0, sequences, together):
        share = sizes[start : start + together]
        size = images * (costs.image_bytes + METHODS * costs.feature_bytes)
        evaluated.append(
            Work(float(share.sum()) * rows * costs.row_s, float(share.sum()) * size, len(share) * costs.part_write_s)
        )
    return blocks, sorted(evaluated, key=lambda work: -work.seconds)


def bound(found: dict[str, float], tasks: Sequence[Work], workers: int) -> str:
    """What keeps a phase from being shorter."""
    if found["driver_busy"] > 0.9:
        return "driver"
    if found["workers_busy"] > 0.9:
        return "workers"
    if len(tasks) < 2 * workers:
        return "number of tasks"
    return "driver and workers"


def simulated(costs: Costs) -> list[dict[str, Any]]:
    """All scenarios: one row for a data set, a phase and a number of workers."""
    from bench.schema import EngineConfig

    found = []
    shared = replace(costs, byte_s=0.0)
    for name, sequences, pairs in (("HPatches", 116, 5), ("1 million pairs", 200_000, 5)):
        for data, known in (("ship", costs), ("shared", shared)):
            for workers in WORKERS:
                both = scenario(sequences, pairs, known, workers)
                for phase, tasks in zip(("extract", "evaluate"), both, strict=True):
                    one = sum(task.seconds + task.write_s for task in tasks)
                    in_flight = workers * 1e6 * EngineConfig().in_flight_mb
                    result = simulate(tasks, workers, known, in_flight)
                    row = {"data": name, "engine.data": data, "phase": phase, "workers": workers, "tasks": len(tasks)}
                    speedup = one / result["seconds"]
                    found.append(row | result | {"speedup": speedup, "bound": bound(result, tasks, workers)})
    return found


def timed(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call in seconds."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def measured(folder: Path) -> tuple[Costs, dict[str, Any]]:
    """Costs on this machine, and the evaluation with one and two workers."""
    from bench.config import compose
    from bench.core.types import Features, Size, StageTimes
    from bench.run.benchmark import run
    from bench.run.evaluation import entries, evaluate_all
    from bench.run.extraction import Extraction
    from bench.run.manifest import read_manifest
    from bench.run.recorded import recorded_dataset
    from bench.run.store import RunStore
    from tests.run.engines.nodes import add_node, cluster

    config = compose([*OVERRIDES, f"run_dir={folder / 'run'}", f"data_root={folder / 'data'}"])
    finished = run(config)
    times = finished.times
    extract_s = float(times[times["stage"] == "infer"]["ms"].mean()) / 1e3
    manifest = read_manifest(finished.path)
    dataset = recorded_dataset(finished.path, manifest)
    store = RunStore(finished.path)

    def again(evaluate: Any) -> float:
        for part in (finished.path / "parts").glob("*/*"):
            if part.parent.name in ("rows", "cards", "stages", "sweep"):
                part.unlink()
        start = time.perf_counter()
        protocol, sweep = config.protocol, config.estimator_sweep
        evaluate_all(dataset, entries(manifest), protocol, sweep, store, 0, 1, None, evaluate)
        return time.perf_counter() - start

    before = time.process_time()
    here_s = again(None)
    row_s = (time.process_time() - before) / len(finished.pairs)
    rng = np.random.default_rng(0)
    features = Features(
        (rng.random((1000, 2)) * 200).astype(np.float32),
        rng.random(1000).astype(np.float32),
        rng.random((1000, 128)).astype(np.float32),
        Size(240, 320),
    )
    scratch = RunStore(folder / "scratch")
    extraction = Extraction(features, StageTimes(1, 1, 1), 0, 0)
    numbers = iter(range(10_000))
    alone_s = timed(lambda: scratch.write_extraction("m", f"s/{next(numbers)}", extraction), 50)
    block = range(4 * METHODS)  # a block's come together
    feature_write_s = timed(
        lambda: scratch.write_extractions([("m", f"s/{next(numbers)}", extraction) for _ in block]), 10
    ) / len(block)
    rows: list[Any] = list(finished.pairs.head(60).to_dict("records"))
    part_write_s = 3 * timed(lambda: scratch.write_part("rows", f"{next(numbers):05d}", rows), 30)

    workers: dict[str, float] = {"0 (this process)": here_s}
    with cluster(1) as nodes:
        task_s = 0.0
        for count in (1, 2):
            if count == 2:
                add_node(nodes)
            with _engine(nodes.address) as engine:
                again(engine.evaluate)  # processes start and import
                workers[str(count)] = again(engine.evaluate)
                if count == 1:
                    task_s, byte_s = _overhead()
    costs = Costs(task_s, byte_s, feature_write_s, part_write_s, extract_s, row_s)
    return costs, {
        "feature_write_alone_s": alone_s,
        "evaluation_s": workers,
        "rows": len(finished.pairs),
        "load_average": os.getloadavg(),
    }


def _engine(address: str) -> Any:
    from bench.run.engines.cluster import RayEngine
    from bench.schema import EngineConfig
    from bench.schema.options import EngineKind

    return RayEngine(EngineConfig(kind=EngineKind.ray, address=address), 1, {})


def _overhead() -> tuple[float, float]:
    """Seconds of an empty task in a stream of them, and of a byte that is sent."""
    import ray

    from bench.run.engines.cluster import evaluate_there
    from bench.run.engines.node import Sequences

    call = ray.remote(num_cpus=1)(evaluate_there)
    known = frozenset(node["NodeID"] for node in ray.nodes())

    def stream(count: int, work: Sequences) -> float:
        start = time.perf_counter()
        ray.get([call.remote(work, None, True, known) for _ in range(count)])
        return (time.perf_counter() - start) / count

    stream(20, Sequences(()))
    empty = stream(300, Sequences(()))
    size = 5_000_000
    loaded = stream(10, Sequences((), {}, {"x": os.urandom(size)}))
    return empty, max(0.0, loaded - empty) / size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulate-only", metavar="COSTS.json", help="costs of an earlier measurement")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    if arguments.simulate_only:
        costs = Costs(**json.loads(Path(arguments.simulate_only).read_text())["costs"])
    else:
        with tempfile.TemporaryDirectory() as folder:
            costs, found = measured(Path(folder))
    json.dump({**found, "costs": asdict(costs), "simulated": simulated(costs)}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
