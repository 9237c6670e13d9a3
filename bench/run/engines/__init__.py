"""Where the two halves of a run are computed: this host, or the nodes of a cluster.

The run hands out blocks of extractions and sequences of pairs, and writes what comes back; an engine decides where they
are measured. Nothing that a run holds depends on the engine, apart from times and the conditions they were taken under.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.core.errors import ConfigError
from bench.core.types import Context, ImageRef, MethodInfo
from bench.features.base import devices
from bench.run.evaluation import Found, Task
from bench.run.extraction import Block, Item, Measured
from bench.run.incidents import Incidents
from bench.run.manifest import conditions
from bench.schema import EngineConfig, ImageConfig, ImportedConfig, LatencyConfig, MethodConfig, TimeoutsConfig
from bench.schema.options import EngineData, EngineKind
from bench.timing import host
from bench.timing.turns import Turn


@dataclass(frozen=True)
class Host:
    """A host that measures.

    Attributes
    ----------
    fingerprint, versions : dict
        See :mod:`bench.timing.host`.
    """

    fingerprint: dict[str, Any]
    versions: dict[str, str]

    @classmethod
    def here(cls, methods: Mapping[str, MethodConfig]) -> Host:
        """This one, with the devices that the methods may use beside its processor."""
        beside = devices(methods)
        return cls({**host.fingerprint(), **({"devices": beside} if beside else {})}, host.versions())

    @property
    def conditions(self) -> dict[str, str]:
        """As a manifest's sessions have them."""
        return conditions(self.fingerprint, self.versions)


@dataclass(frozen=True)
class Job:
    """What the methods of a run need to be loaded and measured, wherever that is.

    Attributes
    ----------
    methods : mapping
    context : Context
        As it is on the host of the run.
    image, latency, timeouts : config
    directory : Path
        The run directory.
    images : sequence of ImageRef
        Of the data set.
    blocks : int
        Most blocks there are to measure; more hosts than that are of no use.
    """

    methods: Mapping[str, MethodConfig]
    context: Context
    image: ImageConfig
    latency: LatencyConfig
    timeouts: TimeoutsConfig
    directory: Path
    images: Sequence[ImageRef] = ()
    blocks: int = 1

    @property
    def imported(self) -> list[str]:
        """Methods whose features are files of the user."""
        return [name for name, method in self.methods.items() if isinstance(method, ImportedConfig)]


class Loaded(Protocol):
    """The methods of a run, loaded."""

    def infos(self) -> dict[str, MethodInfo]:
        """What each method says of itself so far."""

    def measure(self, blocks: Iterator[Block], incidents: Incidents) -> Iterator[Measured]:
        """Measure blocks, taken as there is room for them; in any order."""

    def throughput(self, items: Sequence[Item], seconds: float) -> dict[str, dict[str, float]]:
        """See :func:`bench.run.throughput.measure`."""


class Engine(Protocol):
    """Where a run is computed. It is a context manager: what it started ends with the block.

    Attributes
    ----------
    threads : int
        Of a method.
    notes : list of str
        What happened and lost nothing, a sentence each.
    """

    threads: int
    notes: list[str]

    def hosts(self) -> list[Host]:
        """Hosts that measure, one for each of different conditions."""

    def turn(self, latency: LatencyConfig) -> AbstractContextManager[Turn]:
        """Whether something else of bench ran beside what is measured in the block; see :mod:`bench.timing.turns`."""

    def idle(self) -> dict[str, object]:
        """Load of the first of them, while the run itself does nothing; see :func:`bench.timing.host.load`."""

    def load(self, job: Job) -> AbstractContextManager[Loaded]:
        """Load the methods; they end with the block."""

    def jobs(self, requested: int, here: Callable[[], int]) -> int:
        """Processes that match and estimate side by side on one host; `here` counts them for this one."""

    def evaluate(
        self, tasks: Mapping[Path, Task], jobs: int, directory: Path, timeout_s: float | None
    ) -> Iterator[tuple[Path, Found, Mapping[str, str] | None]]:
        """Evaluate sequences; each comes as it is finished, with the conditions where these are not the run's first."""


@dataclass
class Sessions:
    """The conditions of a run, as its manifest lists them; those of another host are added when its first result comes.

    Attributes
    ----------
    known : list of dict
        In the order of the manifest.
    current : int
        Of results that do not say theirs.
    added : callable
        Called with the longer list, before a row names its new place.
    """

    known: list[dict[str, str]]
    current: int = 0
    added: Callable[[list[dict[str, str]]], None] = field(default=lambda known: None)

    def place(self, found: Mapping[str, str] | None) -> int:
        """Place of the conditions of a result."""
        if found is None:
            return self.current
        if dict(found) not in self.known:
            self.known.append(dict(found))
            self.added(list(self.known))
        return self.known.index(dict(found))


def distinct(hosts: Iterable[Host]) -> list[Host]:
    """One host for each of different conditions, in order."""
    found: list[Host] = []
    for each in hosts:
        if all(each.conditions != known.conditions for known in found):
            found.append(each)
    return found


def engine_of(
    config: EngineConfig, threads: int, methods: Mapping[str, MethodConfig]
) -> AbstractContextManager[Engine]:
    """The engine that `config` names; nothing is started before its block begins.

    Parameters
    ----------
    threads : int
        Of a method; 0: all cores, at most 8.
    methods : mapping

    Raises
    ------
    ConfigError
        If a package is missing, or a method cannot be sent there.
    """
    if config.kind == EngineKind.local:
        from bench.run.engines.local import Local

        return Local(host.resolve_threads(threads), methods)
    imported = [name for name, method in methods.items() if isinstance(method, ImportedConfig)]
    if imported and config.data == EngineData.ship:
        raise ConfigError(
            f"methods.{imported[0]} reads features of files that do not travel to the nodes; put them on a folder that "
            "all nodes have, and say engine.data=shared"
        )
    from bench.run.engines.cluster import RayEngine

    return RayEngine(config, threads, methods)
