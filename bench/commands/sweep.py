"""`bench sweep`: latency over image sizes, threads and batches, methods interleaved, on real images.

For each number of threads every method gets a fresh worker. Within it, image by image and in seeded random order, each
method runs once per repeat and size, one at a time.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from omegaconf import MISSING

from bench.core.errors import BenchError, ConfigError, ModelError
from bench.core.files import new_directory, write_atomic, write_json, write_parquet
from bench.core.frames import records
from bench.core.names import safe_name, to_csv
from bench.core.progress import progress
from bench.core.types import Context, EvaluatedImage, Size
from bench.data import load
from bench.features.base import Batches, runnable
from bench.report.console import TextColumn, TextSection, print_table
from bench.run.worker import Worker
from bench.schema import ModelConfig, ProtocolConfig, SuperPointConfig, TimeoutsConfig
from bench.schema.options import ResizePolicy, TargetSize, WhenBusy
from bench.schema.values import Batch, Device, Folder, Items, Name, Range, Seed, Threads, check_area
from bench.stats import quantile_interval
from bench.timing import host
from bench.timing.arithmetic import matmul_peak_gflops, superpoint_gmac
from bench.timing.host import resolve_threads
from bench.timing.turns import turn

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass
class SweepConfig:
    protocol: ProtocolConfig = MISSING
    dataset: Any = MISSING
    model: ModelConfig = MISSING
    methods: dict[str, Any] = field(default_factory=dict)
    sizes: Annotated[list[Name], Items(1, 100)] = field(
        default_factory=lambda: ["240x320", "480x640", "720x1280", "1280x720"]
    )
    """HEIGHTxWIDTH."""
    thread_counts: Annotated[list[Threads], Items(1, 100)] = field(default_factory=lambda: [0])
    """Threads per method; 0: all usable cores, at most 8."""
    device: Device = "CPU"
    """Device of every OpenVINO method; `bench list devices` names this host's."""
    threads: Threads = 0
    """Replaced by each of `thread_counts`."""
    batches: Annotated[list[Batch], Items(1, 100)] = field(default_factory=lambda: [1])
    """Images per call of a network; above 1 only its inference is timed, per image."""
    images: Annotated[int, Range(1, 10_000, "all are in memory at once")] = 4
    repeats: Annotated[int, Range(2, 10_000, "it would take days")] = 5
    when_busy: WhenBusy = WhenBusy.wait
    """While another run of bench is on this host: wait (until it ends) | mark (go on; both say that their times are not
    comparable) | refuse."""
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    seed: Seed = 0
    data_root: Folder = "datasets"
    results: Folder = "results"
    run_dir: Folder | None = None
    cache: Folder = MISSING

    def __post_init__(self) -> None:
        for text in self.sizes:
            try:
                size = Size.parse(text)
            except ValueError as error:
                raise ConfigError(f"sizes: {error}") from None
            if min(size.height, size.width) < 16:
                raise ConfigError(f"sizes={text!r} is not possible; allowed: sides of at least 16")
            check_area(
                f"sizes={text} with batches up to {max(self.batches, default=1)}:",
                size.height * max(self.batches, default=1),
                size.width,
            )


def measure(config: SweepConfig, directory: Path) -> pd.DataFrame:
    """Time every method at every size and number of threads.

    Returns
    -------
    DataFrame
        Rows method, height, width, threads, batch, item, repeat, order, stage, ms. A combination a method refuses (a
        size that is not divisible by 8, say) has one row with stage ``refused`` and the reason in column ``note``.
    """
    import pandas as pd

    from bench.data.prepare import prepare_image
    from bench.run.extraction import items_of

    dataset = load(config.dataset, Path(config.data_root))
    rng = np.random.default_rng(config.seed)
    items = items_of(dataset, replace(config.protocol.image, target_size=TargetSize.own))
    chosen = [items[i] for i in sorted(rng.choice(len(items), min(config.images, len(items)), replace=False))]
    threads = list(dict.fromkeys(resolve_threads(count) for count in config.thread_counts))
    sizes = [Size.parse(text) for text in config.sizes]
    rows: list[dict[str, object]] = []
    with progress("sweep", len(threads) * len(sizes) * len(chosen) * config.repeats) as step:
        for count in threads:
            context = Context(count, Path(config.cache), Path(config.data_root), config.seed)
            workers: dict[str, Worker] = {}
            with ExitStack() as stack:
                for name, method in config.methods.items():
                    log_path = directory / "logs" / f"{safe_name(name, 'the method')}.log"
                    workers[name] = Worker(name, replace(method, threads=count), context, log_path, config.timeouts)
                    stack.callback(workers[name].close)
                for size in sizes:
                    image_config = replace(
                        config.protocol.image,
                        policy=ResizePolicy.fixed,
                        height=size.height,
                        width=size.width,
                        multiple_of=1,
                    )
                    images = [prepare_image(item.image, image_config) for item in chosen]
                    common = {"threads": count, "height": size.height, "width": size.width, "batch": 1}
                    ready = {}
                    for name, worker in workers.items():
                        try:
                            worker.warm_up(size)
                            worker.extract(images[0])
                            ready[name] = worker
                        except ModelError as error:
                            log.warning("%s", error)
                            rows.append({"method": name, **common, "stage": "refused", "note": str(error)})
                    for repeat in range(config.repeats):
                        for image in images:
                            rows += _timed(ready, image, common, repeat, rng)
                            step(f"{size}, {count} threads")
                    networks = {n: w for n, w in ready.items() if isinstance(config.methods[n], SuperPointConfig)}
                    for batch in [b for b in config.batches if b > 1]:
                        rows += _timed_batches(networks, images, batch, common, config.repeats, rng)
    return pd.DataFrame(rows)


def _timed(
    workers: Mapping[str, Worker],
    image: EvaluatedImage,
    common: Mapping[str, object],
    repeat: int,
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    rows = []
    names = list(workers)
    for order, index in enumerate(rng.permutation(len(names))):
        name = names[index]
        _, times = workers[name].extract(image)
        stages = {"preprocess": times.preprocess_ms, "infer": times.infer_ms, "decode": times.decode_ms}
        rows += [
            {"method": name, **common, "item": image.key, "repeat": repeat, "order": order, "stage": stage, "ms": ms}
            for stage, ms in stages.items()
        ]
    return rows


def _timed_batches(
    workers: Mapping[str, Worker],
    images: Sequence[EvaluatedImage],
    batch: int,
    common: Mapping[str, object],
    repeats: int,
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    """Inference per image of `batch` images at once; a method that refuses has one row saying why."""
    rows: list[dict[str, object]] = []
    stacked = [images[i % len(images)] for i in range(batch)]
    ready = dict(workers)
    names = list(ready)
    for repeat in range(-1, repeats):  # the first is the warm-up
        for order, index in enumerate(rng.permutation(len(names))):
            name = names[index]
            if name not in ready:
                continue
            row: dict[str, object] = {"method": name, **common, "batch": batch}
            try:
                ms = ready[name].call(Batches.infer_batch, stacked) / batch
            except ModelError as error:
                del ready[name]
                rows.append(row | {"stage": "refused", "note": str(error)})
                continue
            if repeat >= 0:
                rows.append(row | {"item": "", "repeat": repeat, "order": order, "stage": "infer", "ms": ms})
    return rows


def summarise(rows: pd.DataFrame, methods: Mapping[str, Any], peaks_gflops: Mapping[int, float]) -> pd.DataFrame:
    """Median time per method, size and threads, with a 95 % interval over extractions.

    Returns
    -------
    DataFrame
        Columns method, height, width, threads, batch, median_ms (above batch 1: inference only, per image), low, high,
        p90_ms, infer_ms, decode_share, gmac, gflops, peak_gflops, share_of_peak. The last four only for networks:
        ``gflops`` is twice the multiply-accumulates over the median inference time, ``peak_gflops`` the measured
        matrix product on as many threads.
    """
    import pandas as pd

    table = []
    timed = rows[rows["stage"] != "refused"]
    keys = ["method", "height", "width", "threads", "batch"]
    for key, group in timed.groupby(keys, sort=True):
        method, (height, width, threads, batch) = str(key[0]), (int(str(part)) for part in key[1:])
        stages = group.pivot_table(index=["repeat", "item"], columns="stage", values="ms")
        total = stages.sum(axis=1)
        # Images and repeats alternate between methods, so each extraction is a block of its own.
        interval = quantile_interval(total.to_numpy(), np.arange(len(total)), 0.5)
        infer_ms = float(stages["infer"].median())
        row = {
            "method": method,
            "height": height,
            "width": width,
            "threads": threads,
            "batch": batch,
            "median_ms": interval.value,
            "low": interval.low,
            "high": interval.high,
            "p90_ms": float(total.quantile(0.9)),
            "infer_ms": infer_ms,
            "decode_share": float(stages["decode"].median()) / infer_ms if "decode" in stages else np.nan,
        }
        config = methods[method]
        if isinstance(config, SuperPointConfig):
            gmac = superpoint_gmac(Size(height, width), config.descriptors)
            gflops = 2 * gmac / (infer_ms / 1e3)
            peak = peaks_gflops[threads]
            row |= {"gmac": gmac, "gflops": gflops, "peak_gflops": peak, "share_of_peak": gflops / peak}
        table.append(row)
    return pd.DataFrame(table)


def main(config: SweepConfig) -> int:
    """Measure, write sweep.parquet, sweep.csv and plots, print the table."""
    from bench.report.plots import latency
    from bench.report.plots.style import to_bytes

    methods, left_out = runnable(config.methods)
    config = replace(config, methods=methods)
    directory = Path(config.run_dir) if config.run_dir else new_directory(Path(config.results), "sweep_")
    with ExitStack() as stack:
        if not config.run_dir:  # made here, with nothing in it but logs until the times are there
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        with turn(True, config.when_busy) as mine:
            before = host.load()
            rows = measure(config, directory)
            taken = mine.record()
        if not (rows["stage"] != "refused").any():
            raise BenchError("no method could run at any size; the reasons are above")
        stack.pop_all()
    counts = sorted({int(count) for count in rows["threads"]})
    summary = summarise(rows, config.methods, {count: matmul_peak_gflops(count) for count in counts})
    write_parquet(directory / "sweep.parquet", rows)
    write_atomic(directory / "sweep.csv", to_csv(summary, float_format="%.6g").encode())
    write_json(
        directory / "manifest.json",
        {
            "config": asdict(config),
            "host": host.fingerprint(),
            "versions": host.versions(),
            "load_before": before,
            "left_out": left_out,
            "turn": taken,
        },
    )
    labels = {name: method.label or name for name, method in config.methods.items()}
    most = summary["threads"].max()
    single = summary[summary["batch"] == 1]
    figures = {"latency_by_resolution": latency.by_resolution(single[single["threads"] == most], labels)}
    if len(counts) > 1:
        first = Size.parse(config.sizes[0])
        one_size = single[(single["height"] == first.height) & (single["width"] == first.width)]
        figures["latency_by_threads"] = latency.by_threads(one_size, labels)
    for name, figure in figures.items():
        for kind in ("png", "svg"):
            write_atomic(directory / "plots" / f"{name}.{kind}", to_bytes(figure, kind))
    _print(summary, labels)
    if "gflops" in summary:
        print(peak_note(summary))
    if taken["alone"] is False:
        print(f"The times are not comparable: {', '.join(taken['beside'])} ran beside them on this host.")
    print(f"sweep: {directory.resolve()}")
    return 0


def _print(summary: pd.DataFrame, labels: Mapping[str, str]) -> None:
    heads = ["method", "size (HxW)", "threads", "batch", "median ms", "95 %", "p90 ms", "decode", "GFLOP/s", "of peak"]
    # What is the same in all rows goes first.
    ranks = {"GFLOP/s": 1, "of peak": 2, "p90 ms": 3, "decode": 4}
    ranks |= {head: 4 + i for i, head in enumerate(("threads", "batch"), 1) if summary[head].nunique() == 1}
    columns = [TextColumn(head, i > 1, ranks.get(head, 0)) for i, head in enumerate(heads)]
    rows = []
    for row in records(summary):
        network = np.isfinite(row.get("gflops", np.nan))
        rows.append(
            [
                labels[str(row["method"])],
                str(Size(row["height"], row["width"])),
                str(row["threads"]),
                str(row["batch"]),
                f"{row['median_ms']:.1f}",
                f"{row['low']:.1f} to {row['high']:.1f}" if np.isfinite([row["low"], row["high"]]).all() else "-",
                f"{row['p90_ms']:.1f}",
                f"{row['decode_share']:.1%}" if np.isfinite(row["decode_share"]) else "-",
                f"{row['gflops']:.0f}" if network else "-",
                f"{row['share_of_peak']:.0%}" if network else "-",
            ]
        )
    print_table(columns, [TextSection(rows)], title="Latency per image: preprocess, infer and decode")


def peak_note(summary: pd.DataFrame) -> str:
    """What GFLOP/s and the share of the peak are, with the algorithm that is counted and the peaks that were measured.

    Parameters
    ----------
    summary : DataFrame
        As :func:`summarise` gives it.
    """
    peaks = summary.dropna(subset=["peak_gflops"]).groupby("threads")["peak_gflops"].first()
    measured = ", ".join(f"{peak:.0f} on {n} thread{'' if n == 1 else 's'}" for n, peak in peaks.items())
    return (
        "GFLOP/s: operations of direct convolution (two a multiply-accumulate), whatever the runtime does, over the "
        "median inference time.\n"
        f"Peak: single-precision matrix product of NumPy's BLAS, measured after the sweep: {measured} GFLOP/s. "
        "Winograd's algorithm and arithmetic in 16 or 8 bits can exceed it."
    )
