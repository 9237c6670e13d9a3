"""The nodes of a Ray cluster. Ray places the work, does it again where a node was lost, and limits memory.

Extraction: an actor a node, which holds the methods and measures a block at a time, so that ratios stay within a host.
Evaluation: tasks of one processor, each a few sequences. The run writes what comes back, as it does for one host; no
more than a window of work is under way, so that neither its memory nor that of the object store fills.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.core.errors import BenchError, ConfigError, WorkerError
from bench.core.files import read_bytes
from bench.core.progress import progress
from bench.core.types import MethodInfo
from bench.data.images import read_bytes as read_image_bytes
from bench.run.engines import Host, Job, distinct
from bench.run.engines import node as on_node
from bench.run.engines.node import Answer, Node, Packed, Sequences, Setup
from bench.run.evaluation import Found, Task
from bench.run.extraction import Block, Item, Measured
from bench.run.incidents import Incidents
from bench.run.store import RunStore
from bench.run.worker import Worker
from bench.schema import EngineConfig, LatencyConfig, MethodConfig, SuperPointConfig
from bench.schema.options import EngineData, LatencyMode, ModelKind
from bench.timing.host import available_cpus
from bench.timing.turns import Turn

log = logging.getLogger(__name__)
_AHEAD = 2
"""Blocks of an actor: one that it measures, one that waits beside it."""
_ROWS_PER_TASK = 200
"""Short sequences are evaluated together up to so many rows: some seconds of work against milliseconds of overhead."""
_TASKS_PER_SLOT = 4
_MEGABYTE = 10**6
_REACH_S = 5.0
_STARTS = 3
"""On a busy host Ray's processes need longer than the half minute it gives them; the next time they are in memory."""


class RayEngine:
    """The engine of a cluster.

    Parameters
    ----------
    config : EngineConfig
    threads : int
        Of a method; 0: the processors of the smallest node, at most 8.
    methods : mapping

    Raises
    ------
    ConfigError
        If Ray is not installed.
    """

    def __init__(self, config: EngineConfig, threads: int, methods: Mapping[str, MethodConfig]) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("engine=ray needs Ray: pip install 'superpoint-bench[ray]'")
        self._config, self._methods = config, methods
        self._turn = Turn(False, "")
        self._ship = config.data == EngineData.ship
        self.threads = threads
        self.notes: list[str] = []
        self._stack = ExitStack()
        self._hosts: dict[str, Host] = {}

    def __enter__(self) -> RayEngine:
        with ExitStack() as stack:
            _start(self._config, stack)
            nodes = _nodes()
            cpus = {name: int(node["Resources"].get("CPU", 0)) for name, node in nodes.items()}
            if not any(cpus.values()):
                raise ConfigError("the Ray cluster has no processors; start its nodes with --num-cpus")
            most = max(cpus.values())
            if self.threads > most:
                raise ConfigError(
                    f"threads={self.threads}: the largest node of the Ray cluster has {most} processors; give at most "
                    "so many"
                )
            if self.threads == 0:
                self.threads = min(8, *(number for number in cpus.values() if number), 8)
            self._stack = stack.pop_all()
        try:
            self._measure_hosts(list(nodes))
        except BaseException:
            self._stack.close()
            raise
        log.info("Ray: %d nodes with %d processors", len(nodes), sum(cpus.values()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def hosts(self) -> list[Host]:
        return distinct(self._hosts.values())

    @contextmanager
    def turn(self, latency: LatencyConfig) -> Iterator[Turn]:
        # The nodes take turns, each on its host; this one measures nothing.
        self._turn = Turn(latency.mode != LatencyMode.off, str(latency.when_busy))
        yield self._turn

    def took(self, turn: Mapping[str, Any]) -> None:
        """Add what a node says of its turn."""
        if turn:
            self._turn.known = self._turn.known and turn["alone"] is not None
            self._turn.waited_s += turn["waited_s"]
            self._turn.beside += [each for each in turn["beside"] if each not in self._turn.beside]

    def idle(self) -> dict[str, object]:
        found: dict[str, object] = _get(_remote(on_node.idle, num_cpus=0).remote())
        return found

    @contextmanager
    def load(self, job: Job) -> Iterator[_LoadedThere]:
        import ray

        job = replace(job, context=_absolute(job), images=[] if self._ship else job.images)
        setup = self._setup(job)
        if not self._ship:
            self._check_paths(job)
        actors = []
        names = [name for name, node in _nodes().items() if node["Resources"].get("CPU", 0) >= self.threads]
        retries = self._config.retries
        options = {"num_cpus": self.threads, "max_restarts": retries, "max_task_retries": retries}
        sent = _Sent([ray.put(setup)])  # held here until the end: a lost actor asks for it again
        for name in names[: max(1, job.blocks)]:
            actors.append(ray.remote(Node).options(**options, scheduling_strategy=_on(name)).remote(sent, node_name))
        loaded = _LoadedThere(self, job, actors)
        try:
            with progress("load methods", len(actors)) as step:
                loaded.begin(step)
            yield loaded
            loaded.close()
        finally:
            for actor in filter(None, actors):
                ray.kill(actor)

    def jobs(self, requested: int, here: Callable[[], int]) -> int:
        cpus = max(int(node["Resources"].get("CPU", 0)) for node in _nodes().values())
        return min(requested, cpus) if requested else cpus

    def evaluate(
        self, tasks: Mapping[Path, Task], jobs: int, directory: Path, timeout_s: float | None
    ) -> Iterator[tuple[Path, Found, Mapping[str, str] | None]]:
        if not self._ship and tasks:
            self._check_folder(directory)
        call = _remote(evaluate_there, num_cpus=1, max_retries=self._config.retries)
        slots = sum(int(node["Resources"].get("CPU", 0)) for node in _nodes().values())
        flying: dict[Any, tuple[tuple[Path, ...], int]] = {}
        waiting = deque(_bunches(tasks, slots))

        def send() -> None:
            """Fill the window: twice the processors, and no more data than was asked for."""
            while waiting and len(flying) < 2 * slots:
                in_flight = sum(size for _, size in flying.values())
                if flying and in_flight > slots * self._config.in_flight_mb * _MEGABYTE:
                    return
                paths = waiting.popleft()
                work = self._packed([tasks[path] for path in paths])
                size = sum(map(len, (*work.images.values(), *work.features.values())))
                ref = call.remote(work, self._config.node_folder, self._ship, frozenset(self._hosts))
                flying[ref] = (paths, size)

        send()
        while flying:
            (ref,) = _first(flying)
            paths, _ = flying.pop(ref)
            answer = _answer(ref, f"{directory}")
            send()  # before its rows are written: nobody waits for the disk
            conditions = self.conditions_of(answer)
            for path, found in zip(paths, answer.get(), strict=True):
                yield path, found, conditions

    def conditions_of(self, answer: Answer) -> Mapping[str, str] | None:
        """Conditions an answer was computed under."""
        if answer.host is not None:
            self._hosts.setdefault(answer.node, answer.host)
        known = self._hosts.get(answer.node)
        return None if known is None else known.conditions

    @property
    def known(self) -> frozenset[str]:
        """Nodes whose host is known."""
        return frozenset(self._hosts)

    def _measure_hosts(self, names: Sequence[str]) -> None:
        refs = {
            name: _remote(on_node.this_host, num_cpus=0).options(scheduling_strategy=_on(name)).remote(self._methods)
            for name in names
        }
        for name, ref in refs.items():
            self._hosts[name] = _get(ref)

    def _setup(self, job: Job) -> Setup:
        if not self._ship:
            return Setup(job, self.threads, False, self._config.node_folder)
        entries: dict[str, Packed] = {}
        models = {}
        context = job.context
        found = {name: method for name, method in job.methods.items() if isinstance(method, SuperPointConfig)}
        with progress("prepare models", len(found)) as step:
            for name, method in found.items():
                for entry in _cache_entries(name, job):
                    place = f"cache/{entry.relative_to(context.cache).as_posix()}"
                    entries[place] = entries.get(place) or on_node.packed(entry, place)
                if method.model.path is not None:
                    packed, models[name] = on_node.packed_model(Path(method.model.path).expanduser())
                    entries[packed.place] = packed
                elif method.model.kind == ModelKind.sp_v6:
                    place = "data/sp_v6"
                    entries[place] = entries.get(place) or on_node.packed(context.data_root / "sp_v6", place)
                step(name)
        return Setup(job, self.threads, True, self._config.node_folder, tuple(entries.values()), models)

    def _check_paths(self, job: Job) -> None:
        """Ask every node for the paths it has to have."""
        paths = {str(image.path.absolute().parent) for image in job.images} | {str(job.context.cache)}
        job.context.cache.mkdir(parents=True, exist_ok=True)
        for method in job.methods.values():
            for path in (getattr(method, "path", None), getattr(getattr(method, "model", None), "path", None)):
                if path is not None:
                    paths.add(str(Path(path).expanduser().absolute()))
        self._ask_for(sorted(paths))

    def _check_folder(self, directory: Path) -> None:
        self._ask_for([str(directory.absolute() / "features")])

    def _ask_for(self, paths: Sequence[str]) -> None:
        for name in _nodes():
            call = _remote(on_node.missing_paths, num_cpus=0).options(scheduling_strategy=_on(name))
            answer = _get(call.remote(paths))
            if answer.value:
                raise ConfigError(
                    f"engine.data=shared: the node {answer.node} has no {answer.value[0]}; put it on a folder that all "
                    "nodes have under one name, or say engine.data=ship"
                )

    def _packed(self, tasks: Sequence[Task]) -> Sequences:
        if not self._ship:
            return Sequences(tuple(_absolute_task(task) for task in tasks), methods=self._methods)
        images: dict[str, bytes] = {}
        features: dict[str, bytes] = {}
        for task in tasks:
            store = RunStore(task.directory)
            images |= images_of(task.items)
            for name, entry in task.methods.items():
                for key in [pair.name for pair in task.pairs] if entry.pairwise else task.items:
                    path = store.extraction_file(name, key)
                    features[path.relative_to(task.directory).as_posix()] = read_bytes(path)
        return Sequences(tuple(tasks), images, features, self._methods)


class _LoadedThere:
    """The methods of a run in actors of the cluster.

    Parameters
    ----------
    actors : list
        Handles, one a node.
    """

    def __init__(self, engine: RayEngine, job: Job, actors: list[Any]) -> None:
        self._engine, self._job, self._actors = engine, job, actors
        self._infos: dict[str, MethodInfo] = {}
        self._said: dict[str, set[str]] = {}

    def begin(self, step: Callable[[str], None]) -> None:
        """Load the methods on all nodes."""
        refs = {actor.infos.remote(): actor for actor in self._actors}
        while refs:
            (ref,) = _first(refs)
            refs.pop(ref)
            self._take(_answer(ref, str(self._job.directory)).get())
            step("")

    def infos(self) -> dict[str, MethodInfo]:
        return dict(self._infos)

    def measure(self, blocks: Iterator[Block], incidents: Incidents) -> Iterator[Measured]:
        flying: dict[Any, tuple[Any, Block]] = {}
        busy: Counter[int] = Counter()

        def give(place: int) -> None:
            block = next(blocks, None)
            if block is not None:
                files = images_of(block.items) if self._engine._ship else {}
                here = replace(block, items=_absolute_items(block.items)) if not files else block
                ref = self._actors[place].measure.remote(here, files, self._engine.known)
                flying[ref] = (place, block)
                busy[place] += 1

        for _ in range(_AHEAD):
            for place in range(len(self._actors)):
                give(place)
        while flying:
            (ref,) = _first(flying)
            place, block = flying.pop(ref)
            answer = _answer(ref, str(self._job.directory))
            busy[place] -= 1
            give(place)
            if not busy[place] and flying:
                # Its processors are free for one that has lost its node; the last one stays.
                self._retire(place)
            for name in answer.died:
                incidents.lost(name)
            for note in answer.notes:
                incidents.note(note)
            self._engine.took(answer.turn)
            yield Measured(block, answer.get(), self._engine.conditions_of(answer), whole=True)

    def throughput(self, items: Sequence[Item], seconds: float) -> dict[str, dict[str, float]]:
        from bench.run.throughput import IMAGES

        chosen = list(items[:IMAGES])
        files = images_of({item.key: item for item in chosen}) if self._engine._ship else {}
        actor = next((actor for actor in self._actors if actor is not None), None)
        assert actor is not None
        found: dict[str, dict[str, float]] = _answer(
            actor.throughput.remote(chosen, seconds, files), str(self._job.directory)
        ).get()
        return found

    def close(self) -> None:
        """End the workers on all nodes that are left."""
        for place in range(len(self._actors)):
            self._retire(place)

    def _retire(self, place: int) -> None:
        import ray

        actor = self._actors[place]
        if actor is None:
            return
        self._actors[place] = None
        try:
            infos, logs = _answer(actor.close.remote(), str(self._job.directory)).get()
        except BenchError as error:
            log.debug("%s", error)
            return
        finally:
            ray.kill(actor)
        self._take(infos)
        for name, text in logs.items():
            path = self._job.directory / "logs" / f"{name}.log"
            path.parent.mkdir(exist_ok=True)
            with path.open("a") as file:
                file.write(text)

    def _take(self, infos: Mapping[str, MethodInfo]) -> None:
        """Keep what methods say of themselves, and note where nodes do not say the same."""
        for name, info in infos.items():
            known = self._infos.setdefault(name, info)
            if known.fingerprint != info.fingerprint:
                raise WorkerError(
                    f"method {name}: another node has another model under the same name; put one model on a folder "
                    "that all nodes have, or say engine.data=ship"
                )
            executed = str(info.precision.get("executed", ""))
            said = self._said.setdefault(name, set())
            if executed:
                if said and executed not in said:
                    self._engine.notes.append(
                        f"{name} ran in {executed} on one node and in {', '.join(sorted(said))} on another"
                    )
                said.add(executed)
                if "executed" not in known.precision:
                    self._infos[name] = info


@dataclass(frozen=True)
class _Sent:
    """Something in the object store; it travels to a node when it is asked for there."""

    refs: list[Any]

    def __call__(self) -> Any:
        import ray

        return ray.get(self.refs[0])


def node_name() -> str:
    """Of the node this process runs on."""
    import ray

    name: str = ray.get_runtime_context().get_node_id()
    return name


def evaluate_there(work: Sequences, node_folder: str | None, ship: bool, known: frozenset[str]) -> Answer:
    return on_node.evaluate(work, node_folder, ship, node_name(), known)


def images_of(items: Mapping[str, Item]) -> dict[str, bytes]:
    """The files of some images and of those their sizes follow, by their path."""
    refs = [ref for item in items.values() for ref in (item.image, item.reference) if ref is not None]
    return {str(path): read_image_bytes(path) for path in dict.fromkeys(ref.path for ref in refs)}


def _cache_entries(name: str, job: Job) -> list[Path]:
    """Load a method once on this host, so that what it is made of is in the cache, and list that."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        worker = Worker(name, job.methods[name], job.context, Path(scratch) / "log", job.timeouts)
        try:
            return [Path(entry) for entry in worker.used()]
        finally:
            worker.close()


def _absolute(job: Job) -> Any:
    context = job.context
    return replace(context, cache=context.cache.absolute(), data_root=context.data_root.absolute())


def _absolute_items(items: Mapping[str, Item]) -> dict[str, Item]:
    refs = (ref for item in items.values() for ref in (item.image, item.reference) if ref is not None)
    return on_node.moved_items(items, {str(ref.path): ref.path.absolute() for ref in refs})


def _absolute_task(task: Task) -> Task:
    return replace(task, directory=task.directory.absolute(), items=_absolute_items(task.items))


def rows_per_task(rows: int, slots: int) -> int:
    """Most rows of short sequences that are evaluated together: each processor is left several tasks."""
    return min(_ROWS_PER_TASK, rows // (_TASKS_PER_SLOT * slots))


def _bunches(tasks: Mapping[Path, Task], slots: int = 1) -> list[tuple[Path, ...]]:
    """Sequences that are evaluated together; the largest work comes first, so that none is left alone at the end.

    Parameters
    ----------
    slots : int
        Processors; each is left several tasks to share the work evenly.
    """
    cost = {path: len(task.pairs) * len(task.methods) for path, task in tasks.items()}
    most = rows_per_task(sum(cost.values()), slots)
    found: list[list[Path]] = []
    room = 0
    for path in sorted(tasks, key=lambda path: (-cost[path], path)):
        if not found or cost[path] > room:
            found.append([])
            room = most
        found[-1].append(path)
        room -= cost[path]
    return [tuple(bunch) for bunch in found]


def _start(config: EngineConfig, stack: ExitStack) -> None:
    """Start Ray on this host, or join a cluster; what was started ends with `stack`."""
    # Before the import: nothing is reported to anyone.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    if ray.is_initialized():
        if config.address == "local":
            raise ConfigError("this process is connected to a Ray cluster already; say engine.address=auto to use it")
        return
    arguments: dict[str, Any] = {}
    if config.address == "local":
        scratch = tempfile.mkdtemp(prefix="bench-ray-")
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        arguments = {
            "num_cpus": available_cpus(),
            "object_store_memory": config.object_store_mb * _MEGABYTE,
            "include_dashboard": False,
            "_temp_dir": scratch,
            "_node_ip_address": "127.0.0.1",  # nobody else is let in
        }
    elif config.address != "auto":
        name, _, port = config.address.rpartition(":")
        try:
            socket.create_connection((name.strip("[]"), int(port)), _REACH_S).close()
        except OSError as error:
            raise ConfigError(
                f"engine.address={config.address}: nothing answers there ({error}); start a head with `ray start "
                "--head`, or say engine.address=local"
            ) from error
    stack.callback(ray.shutdown)
    try:
        for attempt in range(1, _STARTS + 1):
            try:
                # Ray puts the working directory on the path of every process it starts, and takes SIGTERM for itself.
                with _handlers_kept(), _nowhere():
                    ray.init(address=config.address, configure_logging=False, log_to_driver=False, **arguments)
                break
            except Exception:
                if config.address != "local" or attempt == _STARTS:
                    raise
                log.info("Ray did not start within its half minute; it is tried again")
                ray.shutdown()
    except Exception as error:  # Ray raises bare ones, too
        first = (str(error).splitlines() or [type(error).__name__])[0]
        if config.address == "local":
            raise WorkerError(f"Ray could not be started on this host: {first}; repeat the command") from error
        raise ConfigError(
            f"engine.address={config.address}: no Ray cluster there ({first}); this host has to be one of its nodes: "
            "`ray start --address=HEAD`, or say engine.address=local"
        ) from error


@contextmanager
def _handlers_kept() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _nowhere() -> Iterator[None]:
    """Work in an empty folder of this user alone."""
    folder = on_node.folder_of(None) / "empty"
    folder.mkdir(exist_ok=True)
    with contextlib.chdir(folder):
        yield


def _nodes() -> dict[str, dict[str, Any]]:
    """Living nodes by name."""
    import ray

    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def _on(name: str) -> Any:
    """Place work on a node, or on another one where that is lost."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(name, soft=True)


def _remote(function: Callable[..., Any], **options: Any) -> Any:
    import ray

    return ray.remote(**options)(function)


def _first(refs: Iterable[Any]) -> list[Any]:
    import ray

    ready, _ = ray.wait(list(refs), num_returns=1)
    found: list[Any] = ready
    return found


def _get(ref: Any, where: str = "") -> Any:
    """What became of work.

    Raises
    ------
    WorkerError
        If it was lost more often than it may be done again.
    """
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayError as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        hint = f"; what was measured is kept, continue with run_dir={where}" if where else ""
        raise WorkerError(
            f"the Ray cluster lost work for good ({type(error).__name__}: {first.strip()}){hint}"
        ) from error


def _answer(ref: Any, where: str) -> Answer:
    found: Answer = _get(ref, where)
    return found
