"""What a run is and was made with: ``manifest.json`` as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import StoreError
from bench.core.files import has_checksums, plain, read_json, write_json
from bench.core.records import record
from bench.core.types import DataSet, Whole
from bench.schema import ProtocolConfig
from bench.schema.identity import protocol_from, protocol_hash

SCHEMA_VERSION = 2
"""2: every file has a checksum; `Manifest.sessions`. 1 is read as well."""
NAME = "manifest.json"
RUNNING: Literal["running"] = "running"
COMPLETE: Literal["complete"] = "complete"
RUN, RECOMMENDATION = "run", "recommendation"
"""What a folder holds: a run, or the configurations that `bench recommend` measured."""


@dataclass(frozen=True)
class ProtocolRecord:
    """The protocol: its name, the hash of its constants, and all of them."""

    name: str
    hash: str
    version: int = 1
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, protocol: ProtocolConfig) -> ProtocolRecord:
        return cls(protocol.name, protocol_hash(protocol), protocol.version, asdict(protocol))


@dataclass(frozen=True)
class WholeRecord:
    """The data set that a shard is part of: `shard` is its number and count, the rest as in :class:`DatasetRecord`."""

    shard: str
    digest: str
    note: str = ""
    sequences_expected: int | None = None
    pairs_expected: int | None = None
    pairs: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, whole: Whole) -> WholeRecord:
        names = [pair.name for pair in whole.pairs]
        return cls(whole.shard, whole.digest, whole.note, whole.sequences_expected, whole.pairs_expected, names)


@dataclass(frozen=True)
class ShardRecord:
    """A run that was merged into this one.

    Attributes
    ----------
    shard : str
        Number and count.
    run : str
        Name of its directory.
    sessions : list of int
        Places in this run's sessions of the conditions it was measured under.
    """

    shard: str
    run: str
    sessions: list[int] = field(default_factory=list)
    started: str | None = None
    finished: str | None = None
    host: dict[str, Any] = field(default_factory=dict)
    noise: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetRecord:
    """The data set: its name, the digest of its pairs, and their names in order; the whole where it is a shard."""

    name: str
    digest: str = ""
    note: str = ""
    sequences_expected: int | None = None
    pairs_expected: int | None = None
    pairs: list[str] = field(default_factory=list)
    whole: WholeRecord | None = None

    @classmethod
    def of(cls, dataset: DataSet) -> DatasetRecord:
        return cls(
            dataset.name,
            dataset.digest,
            dataset.note,
            dataset.sequences_expected,
            dataset.pairs_expected,
            [pair.name for pair in dataset.pairs],
            None if dataset.whole is None else WholeRecord.of(dataset.whole),
        )


@dataclass(frozen=True)
class MethodRecord:
    """A method: its name in tables, its configuration, and what its worker said (`bench.core.types.MethodInfo`)."""

    label: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Info:
    precision: dict[str, Any] = field(default_factory=dict)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, float | None] = field(default_factory=dict)
    threads: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    has_descriptors: bool = True
    pairwise: bool = False


@dataclass(frozen=True)
class _Config:
    bootstrap_draws: int = 2000
    seed: int = 0
    data_root: str = "datasets"
    dataset: dict[str, Any] = field(default_factory=dict)
    latency: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None


@dataclass(frozen=True)
class _Protocol:
    mma_px: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Estimator:
    repeats: int = 1


@dataclass(frozen=True)
class _Host:
    hash: str | None = None
    cpu: str | None = None
    isa: list[str] = field(default_factory=list)
    usable_cores: int | None = None


@dataclass(frozen=True)
class _Noise:
    noisy: bool | None = None
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Header:
    """What is read before the schema version is known to be one of ours."""

    schema_version: int


@dataclass(frozen=True)
class Manifest:
    """A run.

    Attributes
    ----------
    schema_version : int
        Of the run directory.
    status : str
        ``running`` | ``complete``.
    kind : str
        ``run`` | ``recommendation``.
    identity : dict
        What must be equal for the run to be continued: digests of protocol, data set, methods, latency, estimator
        sweep; seed.
    sessions : list of dict
        The conditions of each command that measured, oldest first: host, versions, schema version. More than one: the
        rows say in ``session`` which one they are of.
    title : str
    command : list of str
        As typed.
    started, finished : str or None
        ISO 8601, UTC.
    config : dict
        The whole configuration.
    protocol : ProtocolRecord
    dataset : DatasetRecord
    methods : dict of MethodRecord
        In the order of the tables; empty until the methods are loaded.
    seeds : dict
    threads : int or None
        Per method.
    jobs : int or None
        Most processes that matched and estimated side by side; what they say of their times was measured so.
    host, versions, git : dict
        See :mod:`bench.timing.host`.
    rows_expected, rows_written : int or None
    load_before, load_after : dict or None
        See :func:`bench.timing.host.load`.
    died : list of str
        Methods that lost pairs because their worker died.
    notes : list of str
        What happened and lost nothing.
    left_out : dict
        Method of a preset -> why this host cannot run it.
    throughput : dict
        Method -> images per second and how.
    noise : dict
        See :mod:`bench.timing.noise`.
    shards : list of ShardRecord
        The runs that were merged into this one, in the order of their numbers; empty otherwise.
    turn : dict
        Whether the run was alone on its host; see :meth:`bench.timing.turns.Turn.record`. Empty: not recorded.
    """

    protocol: ProtocolRecord
    dataset: DatasetRecord
    schema_version: int = SCHEMA_VERSION
    status: str = RUNNING
    kind: str = RUN
    identity: dict[str, str] = field(default_factory=dict)
    sessions: list[dict[str, str]] = field(default_factory=list)
    title: str = ""
    command: list[str] = field(default_factory=list)
    started: str | None = None
    finished: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    methods: dict[str, MethodRecord] = field(default_factory=dict)
    seeds: dict[str, Any] = field(default_factory=dict)
    threads: int | None = None
    jobs: int | None = None
    host: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    git: dict[str, Any] = field(default_factory=dict)
    rows_expected: int | None = None
    rows_written: int | None = None
    load_before: dict[str, Any] | None = None
    load_after: dict[str, Any] | None = None
    died: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    throughput: dict[str, Any] = field(default_factory=dict)
    noise: dict[str, Any] = field(default_factory=dict)
    shards: list[ShardRecord] = field(default_factory=list)
    turn: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.status == COMPLETE

    def protocol_config(self) -> ProtocolConfig:
        """The protocol as the schema has it.

        Raises
        ------
        StoreError
            If it is not a protocol of this version of bench.
        """
        return stated_protocol(self.protocol.name, self.protocol.config)

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it and reports read it."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def stated_protocol(name: str, config: Mapping[str, Any]) -> ProtocolConfig:
    """The protocol that a run or a baseline recorded.

    Raises
    ------
    StoreError
        If it is not a protocol of this version of bench.
    """
    try:
        return protocol_from({"name": name, **config})
    except Exception as error:  # OmegaConf and the schema have an error class a kind of mistake
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(
            f"the protocol {name} that the run recorded is not one of this version of bench ({reason}); use the "
            "version that wrote it, or repeat the run"
        ) from error


def conditions(host: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, str]:
    """The conditions of a session: schema version, host, allocation, Python and package versions, one text each."""
    allocation = host.get("allocation")
    return {
        "schema_version": str(SCHEMA_VERSION),
        "host": str(host.get("hash")),
        **({"allocation": str(allocation)} if allocation else {}),
        **{f"device.{name}": str(full) for name, full in (host.get("devices") or {}).items()},
        "versions.python": str(host.get("python")),
        **{f"versions.{name}": version for name, version in versions.items()},
    }


def of_host(key: str) -> bool:
    """Whether a condition is the hardware's and its system's; the others are versions."""
    return key in ("host", "allocation") or key.startswith("device.")


def from_dict(content: object, where: str) -> Manifest:
    """Build a manifest from JSON of any schema version that is read.

    Raises
    ------
    StoreError
        If it is malformed or of another schema version, with the key.
    """
    version = record(_Header, content, where).schema_version
    if version not in (1, SCHEMA_VERSION):
        raise StoreError(
            f"{where} has schema version {version}, this version of bench reads 1 to {SCHEMA_VERSION}; use the version "
            "that wrote it, or repeat the run"
        )
    found = record(Manifest, content, where)
    if found.status not in (RUNNING, COMPLETE):
        raise StoreError(f"{where}: status is {found.status!r}, {RUNNING!r} or {COMPLETE!r} was expected")
    record(_Config, found.config, f"{where}, config")
    record(_Host, found.host, f"{where}, host")
    record(_Noise, found.noise, f"{where}, noise")
    for name, method in found.methods.items():
        record(_Info, method.info, f"{where}, methods.{name}.info")
    record(_Protocol, found.protocol.config, f"{where}, protocol.config")
    record(_Estimator, found.protocol.config.get("estimator", {}), f"{where}, protocol.config.estimator")
    if version == 1 and isinstance(content, dict):
        # Version 1 had one session without saying so.
        session = {**conditions(found.host, found.versions), "schema_version": "1"}
        return replace(found, sessions=[session])
    return found


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a run directory.

    Raises
    ------
    StoreError
        If there is none, it is damaged or malformed, or the directory has lost its list of checksums.
    """
    path = directory / NAME
    if not path.is_file():
        raise StoreError(f"{directory} holds no run: there is no {NAME} in it")
    found = from_dict(read_json(path), str(path))
    if found.schema_version > 1 and not has_checksums(directory):
        raise StoreError(f"{directory} has lost its list of checksums (bench.sha256); restore it from a copy")
    return found


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest of a run directory."""
    write_json(directory / NAME, manifest.as_dict())
