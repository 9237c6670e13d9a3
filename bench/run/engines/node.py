"""What runs on a node of a cluster: the methods in worker processes of their own, and the evaluation of sequences.

Files that travel with the work are kept in the node's folder by their content, so that each is written there once.
Nothing here knows who sends the work. Errors come back as answers: a node that is lost is told from work that fails.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.core import errors
from bench.core.errors import BenchError, WorkerError
from bench.core.files import locked, staged_file, staged_folder
from bench.core.types import Context, ImageRef, MethodInfo, Pair
from bench.run.engines import Host, Job
from bench.run.engines.local import LoadedHere, loaded_workers
from bench.run.evaluation import Found, Task, evaluate_sequence
from bench.run.extraction import Block, Event, Item
from bench.run.incidents import Incidents
from bench.schema import MethodConfig, SuperPointConfig
from bench.schema.options import LatencyMode
from bench.timing import host
from bench.timing.turns import turn


@dataclass(frozen=True)
class Packed:
    """A file or folder that travels.

    Attributes
    ----------
    place : str
        Below the node's folder: ``cache/...``, ``data/...`` or ``models/DIGEST/...``.
    files : dict
        Path relative to it, with ``/`` -> content; the name "" is the file itself.
    """

    place: str
    files: dict[str, bytes]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(map(len, self.files.values()))


def packed(path: Path, place: str) -> Packed:
    """A file or folder with what is below it."""
    if path.is_file():
        return Packed(place, {"": path.read_bytes()})
    names = sorted(each for each in path.rglob("*") if each.is_file())
    return Packed(place, {each.relative_to(path).as_posix(): each.read_bytes() for each in names})


def packed_model(path: Path) -> tuple[Packed, str]:
    """A model of the user by its content, and its path below the node's folder.

    A file travels with its neighbours of the same stem: an IR has its weights there, others their tables.
    """
    files = {path.name: path} if path.is_file() else {}
    if path.is_file():
        files |= {each.name: each for each in sorted(path.parent.glob(f"{_escaped(path.stem)}.*")) if each.is_file()}
    else:
        files = {each.relative_to(path).as_posix(): each for each in sorted(path.rglob("*")) if each.is_file()}
    contents = {name: each.read_bytes() for name, each in files.items()}
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    folder = f"models/{digest.hexdigest()[:16]}"
    if path.is_file():
        return Packed(folder, contents), f"{folder}/{path.name}"
    return Packed(f"{folder}/{path.name}", contents), f"{folder}/{path.name}"


def _escaped(text: str) -> str:
    import glob

    return glob.escape(text)


@dataclass(frozen=True)
class Setup:
    """What a node needs for a run, sent once.

    Attributes
    ----------
    job : Job
        With the paths of the run's host.
    threads : int
    ship : bool
        Whether files travel; else the paths are the node's as well.
    node_folder : str or None
        None: a folder of the user's below the system's for temporary files.
    entries : tuple of Packed
        Models.
    models : mapping
        Method -> path of its model below the node's folder, where the configuration names one.
    """

    job: Job
    threads: int
    ship: bool
    node_folder: str | None = None
    entries: tuple[Packed, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a node sends back.

    Attributes
    ----------
    value : object
    error : str
        Class of a BenchError, with its text in `value`; empty where nothing failed.
    node : str
        Name of the node.
    host : Host or None
        Of a node that the run does not know yet.
    turn : mapping
        Whether something else of bench ran beside it; see :meth:`bench.timing.turns.Turn.record`.
    died, notes : tuple of str
        What happened to workers; see :class:`bench.run.incidents.Incidents`.
    """

    value: Any
    error: str = ""
    node: str = ""
    host: Host | None = None
    turn: Mapping[str, Any] = field(default_factory=dict)
    died: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def get(self) -> Any:
        """The value.

        Raises
        ------
        BenchError
            As raised on the node.
        """
        if not self.error:
            return self.value
        kind = getattr(errors, self.error, WorkerError)
        raise kind(self.value)


def answered(call: Callable[[], Any], node: str = "", names: Mapping[str, str] | None = None) -> Answer:
    """Call and answer, whatever is raised; `names` are parts of its text and what to say instead."""
    try:
        return Answer(call(), node=node)
    except BenchError as error:
        text = str(error)
        for theirs, ours in (names or {}).items():
            text = text.replace(theirs, ours)
        return Answer(text, type(error).__name__, node)
    except Exception as error:
        last = traceback.format_exc(limit=-3)
        return Answer(f"on a node of the cluster: {type(error).__name__}: {error}\n{last}", WorkerError.__name__, node)


def folder_of(node_folder: str | None) -> Path:
    """The node's folder, of this user alone."""
    if node_folder is not None:
        folder = Path(node_folder)
    else:
        user = str(os.getuid()) if hasattr(os, "getuid") else "user"
        folder = Path(tempfile.gettempdir()) / f"superpoint-bench-{user}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if node_folder is None and hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise WorkerError(f"{folder} belongs to another user; set engine.node_folder to a folder of yours")
    return folder


def unpack(entry: Packed, folder: Path) -> Path:
    """Put a file or folder where it belongs, unless it is there."""
    target = folder / entry.place
    if target.exists():
        return target
    if set(entry.files) == {""}:
        with staged_file(target) as temporary:
            temporary.write_bytes(entry.files[""])
        return target
    with locked(target.with_name(f".{target.name}.lock"), wait=True):
        if not target.exists():
            with staged_folder(target) as staging:
                for name, content in entry.files.items():
                    path = staging / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
    return target


Files = Mapping[str, bytes]
"""Path on the run's host -> content."""


def place_images(files: Files, folder: Path) -> dict[str, Path]:
    """Write images under their content, once; returns their place by their path on the run's host."""
    found = {}
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()[:32]
        path = folder / "images" / digest[:2] / f"{digest}{Path(name).suffix}"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).replace(path)
        found[name] = path
    return found


def moved(ref: ImageRef, places: Mapping[str, Path]) -> ImageRef:
    """The same image where the node has it."""
    return replace(ref, path=places.get(str(ref.path), ref.path))


def moved_items(items: Mapping[str, Item], places: Mapping[str, Path]) -> dict[str, Item]:
    def place(item: Item) -> Item:
        reference = None if item.reference is None else moved(item.reference, places)
        return Item(moved(item.image, places), reference)

    return {key: place(item) for key, item in items.items()}


def moved_pair(pair: Pair, places: Mapping[str, Path]) -> Pair:
    return replace(pair, reference=moved(pair.reference, places), target=moved(pair.target, places))


class Node:
    """The methods of a run on one node; an actor of the cluster. A lost one starts afresh, and loads again.

    Parameters
    ----------
    setup : callable
        Gives the Setup.
    name : callable
        Gives the name of the node; both are asked where it runs.
    """

    def __init__(self, setup: Callable[[], Setup], name: Callable[[], str]) -> None:
        self._setup, self._name = setup(), name()
        self._stack = ExitStack()
        self._loaded: LoadedHere | None = None
        self._scratch: Path | None = None
        self._taken: Mapping[str, Any] = {}

    def infos(self) -> Answer:
        """What the methods say of themselves."""
        return self._answer(lambda: self._ready().infos(), self._alone)

    def measure(self, block: Block, files: Files, known: frozenset[str]) -> Answer:
        """Events of a block.

        Parameters
        ----------
        files : mapping
            Images that travelled.
        known : frozenset of str
            Nodes whose host need not be sent.
        """
        places: dict[str, Path] = {}

        def work() -> list[Event]:
            places.update(place_images(files, folder_of(self._setup.node_folder)))
            here = replace(block, items=moved_items(block.items, places))
            with self._alone():
                loaded = self._ready()
                (measured,) = loaded.measure(iter([here]), self._incidents)
                return list(measured.events)

        answer = self._answer(work)
        names = {str(path): name for name, path in places.items()}
        if answer.error:
            text = str(answer.value)
            for theirs, ours in names.items():
                text = text.replace(theirs, ours)
            answer = replace(answer, value=text)
        answer = replace(answer, turn=self._taken)
        if self._name not in known:
            answer = replace(answer, host=this_host(self._setup.job.methods))
        if self._scratch is None:
            return answer
        incidents = self._incidents
        died, notes = tuple(incidents.died), tuple(incidents.notes)
        incidents.died.clear()
        incidents.notes.clear()
        return replace(answer, died=died, notes=notes)

    def throughput(self, items: Sequence[Item], seconds: float, files: Files) -> Answer:
        """Images per second; see :func:`bench.run.throughput.measure`."""

        def work() -> dict[str, dict[str, float]]:
            loaded = self._ready()
            places = place_images(files, folder_of(self._setup.node_folder))
            here = moved_items({item.key: item for item in items}, places)
            return loaded.throughput(list(here.values()), seconds)

        return self._answer(work, self._alone)

    def close(self) -> Answer:
        """End the workers; what the methods say of themselves, and what they wrote to their logs."""

        def work() -> tuple[dict[str, MethodInfo], dict[str, str]]:
            if self._loaded is None or self._scratch is None:
                return {}, {}
            infos = self._loaded.infos()
            scratch, self._loaded = self._scratch, None
            logs = scratch / "logs"
            self._stack.close()
            found = {path.stem: path.read_text(errors="replace") for path in sorted(logs.glob("*.log"))}
            shutil.rmtree(scratch, ignore_errors=True)
            return infos, {name: text for name, text in found.items() if text}

        return self._answer(work)

    def _answer(self, call: Callable[[], Any], guard: Callable[[], Any] = nullcontext) -> Answer:
        def guarded() -> Any:
            with guard():
                return call()

        return answered(guarded, self._name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nothing else of bench is timed on this host meanwhile, also where several nodes are one host."""
        latency = self._setup.job.latency
        with turn(latency.mode != LatencyMode.off, latency.when_busy) as mine:
            yield
        self._taken = mine.record()

    def _ready(self) -> LoadedHere:
        if self._loaded is None:
            setup, job = self._setup, self._setup.job
            folder = folder_of(setup.node_folder)
            context, methods = job.context, dict(job.methods)
            if setup.ship:
                for entry in setup.entries:
                    unpack(entry, folder)
                context = Context(setup.threads, folder / "cache", folder / "data", context.seed)
                methods = {
                    name: _with_model(method, setup.models.get(name), folder) for name, method in methods.items()
                }
            (folder / "runs").mkdir(exist_ok=True)
            self._scratch = Path(tempfile.mkdtemp(dir=folder / "runs"))
            self._incidents = Incidents(self._scratch / "incidents.json")
            (self._scratch / "logs").mkdir()
            arguments = methods, replace(context, threads=setup.threads), self._scratch / "logs", job.timeouts
            workers = self._stack.enter_context(loaded_workers(*arguments))
            self._loaded = LoadedHere(workers, job.image, job.latency, setup.threads)
            self._loaded.check(job)
            self._loaded.infos()
        return self._loaded


def _with_model(method: MethodConfig, place: str | None, folder: Path) -> MethodConfig:
    if place is None or not isinstance(method, SuperPointConfig):
        return method
    return replace(method, model=replace(method.model, path=str(folder / place)))


@dataclass(frozen=True)
class Sequences:
    """Sequences that are evaluated by one task of the cluster.

    Attributes
    ----------
    tasks : tuple of Task
    images : mapping
        Images that travelled, by their path on the run's host.
    features : mapping
        Files of features that travelled, by their path in the run directory.
    methods : mapping
        Of the run, for a node that says which host it is.
    """

    tasks: tuple[Task, ...]
    images: Files = field(default_factory=dict)
    features: Files = field(default_factory=dict)
    methods: Mapping[str, MethodConfig] = field(default_factory=dict)


def evaluate(work: Sequences, node_folder: str | None, ship: bool, name: str, known: frozenset[str]) -> Answer:
    """Evaluate sequences on a node: a list of :class:`bench.run.evaluation.Found`.

    Parameters
    ----------
    ship : bool
        Whether the files are in `work`; else they are where the tasks say.
    name : str
        Of the node.
    known : frozenset of str
        Nodes whose host need not be sent.
    """
    places: dict[str, Path] = {}
    names: dict[str, str] = {}

    def compute() -> list[Found]:
        if not ship:
            return [evaluate_sequence(task) for task in work.tasks]
        folder = folder_of(node_folder)
        places.update(place_images(work.images, folder))
        names.update({str(path): theirs for theirs, path in places.items()})
        (folder / "runs").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder / "runs") as scratch:
            for place, content in work.features.items():
                path = Path(scratch) / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            found = []
            for task in work.tasks:
                names[scratch] = str(task.directory)
                pairs = tuple(moved_pair(pair, places) for pair in task.pairs)
                items = moved_items(task.items, places)
                found.append(evaluate_sequence(replace(task, pairs=pairs, items=items, directory=Path(scratch))))
            return found

    answer = answered(compute, name)
    if answer.error:
        text = str(answer.value)
        for theirs, ours in names.items():
            text = text.replace(theirs, ours)
        return replace(answer, value=text)
    return answer if name in known else replace(answer, host=this_host(work.methods))


def missing_paths(paths: Sequence[str]) -> Answer:
    """Those that are not there, with the name of this host."""
    import platform

    return Answer([path for path in paths if not Path(path).exists()], node=platform.node())


def idle() -> dict[str, object]:
    """See :func:`bench.timing.host.load`."""
    return host.load()


_known_host: list[Host] = []


def this_host(methods: Mapping[str, MethodConfig]) -> Host:
    """This host; found out once in a process."""
    if not _known_host:
        _known_host.append(Host.here(methods))
    return _known_host[0]
