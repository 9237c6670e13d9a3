"""This host: a worker process a method, one of them computing at a time; sequences in `jobs` processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from bench.core.progress import progress
from bench.core.types import Context, MethodInfo
from bench.features.base import Checks
from bench.run import throughput
from bench.run.engines import Host, Job
from bench.run.evaluation import Found, Task, evaluate_here
from bench.run.extraction import Block, Item, Measured, Station
from bench.run.incidents import Incidents
from bench.run.worker import Worker
from bench.schema import ImageConfig, LatencyConfig, MethodConfig, TimeoutsConfig
from bench.schema.options import LatencyMode
from bench.timing import host
from bench.timing.turns import Turn, turn


class Local:
    """The engine of one host.

    Parameters
    ----------
    threads : int
        Of a method.
    methods : mapping
    """

    def __init__(self, threads: int, methods: Mapping[str, MethodConfig]) -> None:
        self.threads, self._methods = threads, methods
        self.notes: list[str] = []

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def hosts(self) -> list[Host]:
        return [Host.here(self._methods)]

    def turn(self, latency: LatencyConfig) -> AbstractContextManager[Turn]:
        return turn(latency.mode != LatencyMode.off, latency.when_busy)

    def idle(self) -> dict[str, object]:
        return host.load()

    @contextmanager
    def load(self, job: Job) -> Iterator[LoadedHere]:
        with loaded_workers(job.methods, job.context, job.directory / "logs", job.timeouts) as workers:
            loaded = LoadedHere(workers, job.image, job.latency, self.threads)
            loaded.infos()
            loaded.check(job)
            yield loaded

    def jobs(self, requested: int, here: Callable[[], int]) -> int:
        return here()

    def evaluate(
        self, tasks: Mapping[Path, Task], jobs: int, directory: Path, timeout_s: float | None
    ) -> Iterator[tuple[Path, Found, None]]:
        for path, found in evaluate_here(tasks, jobs, directory, timeout_s):
            yield path, found, None


class LoadedHere:
    """Methods in worker processes of this one."""

    def __init__(self, workers: Mapping[str, Worker], image: ImageConfig, latency: LatencyConfig, threads: int) -> None:
        self._workers, self._image, self._latency, self._threads = workers, image, latency, threads
        self._infos: dict[str, MethodInfo] = {}

    def check(self, job: Job) -> None:
        """Let methods of files say what is missing."""
        for name in job.imported:
            self._workers[name].call(Checks.check, list(job.images))

    def infos(self) -> dict[str, MethodInfo]:
        for name, worker in self._workers.items():
            if worker.pid() is not None:
                self._infos[name] = worker.info()
        return dict(self._infos)

    def measure(self, blocks: Iterator[Block], incidents: Incidents) -> Iterator[Measured]:
        pairwise = [name for name, info in (self._infos or self.infos()).items() if info.pairwise]
        station = Station(self._workers, pairwise, self._image, self._latency, incidents, self._threads)
        return station.all(blocks)

    def throughput(self, items: Sequence[Item], seconds: float) -> dict[str, dict[str, float]]:
        return throughput.measure(self._workers, items, self._image, seconds)


@contextmanager
def loaded_workers(
    methods: Mapping[str, MethodConfig], context: Context, logs: Path, timeouts: TimeoutsConfig
) -> Iterator[dict[str, Worker]]:
    """Start a worker process a method and load its model; they end with the block."""
    with ExitStack() as stack, progress("load methods", len(methods)) as step:
        # Libraries are imported side by side, models are loaded one after another: their time to load is a result.
        workers = {}
        for name, method in methods.items():
            workers[name] = Worker(name, method, context, logs / f"{name}.log", timeouts, wait=False)
            stack.callback(workers[name].close)
        for name, worker in workers.items():
            worker.start()
            step(name)
        yield workers
        for worker in workers.values():
            worker.hang_up()
