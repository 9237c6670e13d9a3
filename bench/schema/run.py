"""A run of `bench`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import MISSING

from bench.core.errors import ConfigError
from bench.schema.checks import increasing
from bench.schema.methods import ModelConfig
from bench.schema.options import EngineData, EngineKind, LatencyMode, WhenBusy
from bench.schema.protocol import ESTIMATORS, ProtocolConfig
from bench.schema.values import (
    Count,
    Device,
    Draws,
    Folder,
    Items,
    Jobs,
    Name,
    Range,
    Repeats,
    Seed,
    Text,
    Threads,
    Thresholds,
    Title,
)

Timeout = Annotated[float, Range(1, 604_800, "longer than a week is no limit")]


@dataclass
class LatencyConfig:
    """How extraction is timed. Every image is extracted at least once per method and the first timed outputs are the
    ones evaluated."""

    mode: LatencyMode = LatencyMode.quick
    """off | quick | full."""
    repeats: Repeats = 1
    """Timed passes over the images."""
    max_images: Count | None = None
    """Images of the passes after the first; null: all."""
    block: Annotated[int, Range(1, 1000, "the images of a block are all in memory")] = 4
    """Images per block; methods run in seeded order within each block, one at a time."""
    warmup: Annotated[int, Range(0, 1000, "it would take hours")] = 1
    """Untimed extractions of each new image shape."""
    throughput_s: Annotated[float, Range(0, 3600, "an hour a method")] = 0.0
    """Seconds of asynchronous throughput measurement per OpenVINO method; 0: none."""
    when_busy: WhenBusy = WhenBusy.wait
    """While another run of bench is on this host, by a lock that both hold: wait (until it ends; runs with mode=off do
    not wait for each other) | mark (go on; both runs say that their times are not comparable) | refuse."""


@dataclass
class TimeoutsConfig:
    """Seconds after which a process that does not answer is stopped; it was asked for one thing at a time."""

    load_s: Timeout = 3600.0
    """A method: convert and load its model; includes INT8 calibration, with accuracy control many evaluations."""
    call_s: Timeout = 900.0
    """A method: one image, or one measurement of throughput."""
    evaluate_s: Timeout = 14400.0
    """With jobs above 1: match and estimate one sequence with every method."""


@dataclass
class EngineConfig:
    """Where a run is computed; but for times and their conditions its numbers do not depend on it."""

    kind: EngineKind = EngineKind.local
    """local (this host) | ray (the nodes of a Ray cluster; pip install 'superpoint-bench[ray]')."""
    address: Annotated[str, Text(300, False, "local, auto or HOST:PORT")] = "local"
    """Of Ray: local (started on this host and ended with the run) | auto (the cluster this host is a node of) |
    HOST:PORT of a head that the nodes know."""
    data: EngineData = EngineData.ship
    """How images, features and models reach the nodes: ship (sent with the work and kept by fingerprint) | shared (read
    where this host has them: every node has the same paths)."""
    node_folder: Folder | None = None
    """Folder on every node for what is shipped, safe to delete; null: superpoint-bench-USER in its temporary folder."""
    object_store_mb: Annotated[int, Range(80, 1_000_000, "more than a node has")] = 200
    """Memory that Ray may use for what travels, in MB, where it is started for the run; more goes to its disk."""
    in_flight_mb: Annotated[int, Range(1, 1_000_000, "more than a node has")] = 100
    """Most data of evaluations that wait or are under way, in MB for each processor of the cluster; no more is read and
    sent before some are finished."""
    retries: Annotated[int, Range(0, 1000, "something else is wrong then")] = 10
    """How often work is done again because its node or process was lost."""

    def __post_init__(self) -> None:
        if not self.address.startswith("${") and self.address not in ("local", "auto"):
            name, _, port = self.address.rpartition(":")
            if not name or not port.isdigit() or not 0 < int(port) < 65536 or "/" in name:
                raise ConfigError(
                    f"engine.address={self.address!r} is not possible; allowed: local, auto, or HOST:PORT of the head "
                    "of a Ray cluster that this host is a node of"
                )


@dataclass
class EstimatorSweepConfig:
    """Further estimators and thresholds on the matches of the run; results go to sweep.parquet and sweep.csv only."""

    estimators: Annotated[list[Annotated[str, ESTIMATORS]], Items()] = field(default_factory=list)
    """Empty: no sweep."""
    thresholds_px: Thresholds = field(default_factory=lambda: [0.5, 1.0, 1.5, 2.0, 3.0, 5.0])
    """Of the estimators, each with every one."""

    def __post_init__(self) -> None:
        increasing("estimator_sweep.thresholds_px", self.thresholds_px)
        if "none" in self.estimators:
            raise ConfigError("estimator_sweep.estimators has none, which estimates nothing; leave it out")


@dataclass
class RunConfig:
    """`bench`: extract, match, estimate, measure, report."""

    protocol: ProtocolConfig = MISSING
    dataset: Any = MISSING
    model: ModelConfig = MISSING
    methods: dict[str, Any] = field(default_factory=dict)
    latency: LatencyConfig = MISSING
    engine: EngineConfig = field(default_factory=EngineConfig)
    estimator_sweep: EstimatorSweepConfig = field(default_factory=EstimatorSweepConfig)
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    seed: Seed = 0
    """Of every draw: orders of matches, bootstrap, blocks. Same seed, same host: same accuracies."""
    threads: Threads = 0
    """Threads per method; 0: all cores this process may use, at most 8."""
    device: Device = "CPU"
    """Device of every OpenVINO method: CPU, GPU, GPU.1, NPU, AUTO, AUTO:GPU,CPU or HETERO:GPU,CPU (with a comma in
    quotation marks); `bench list devices` names this host's."""
    jobs: Jobs = 0
    """Processes that match and estimate, after the methods were timed; 0: one for each core this process may use, fewer
    where memory or work is short. More than one is faster and makes the times of matching and estimation those of
    processes side by side: 1 for times that are compared."""
    bootstrap_draws: Draws = 2000
    """Of the intervals; fewer are faster and rougher."""
    data_root: Folder = "datasets"
    """Downloads land here."""
    results: Folder = "results"
    """Run directories are made here."""
    run_dir: Folder | None = None
    """Run directory; null: ``<results>/<date_time>``. An existing one is continued."""
    allow_mixed: bool = False
    """Continue a run under another host, other versions or another schema version; every row then says in `session`
    under which of the conditions in the manifest it was measured."""
    keep_features: bool = True
    """Keep keypoints and descriptors in the run directory (for 1000 keypoints of an image 1 MB with SuperPoint, 150 kB
    with SIFT, 42 kB with ORB); `bench export` and `bench report` need them."""
    cache: Folder = MISSING
    """Folder of exported and converted models; safe to delete."""
    title: Title = ""
    """Heading of the report."""
    reference: Name | None = None
    """Method that the others are compared with in the report; null: the first of `methods`."""
    objective: Annotated[list[Name], Items(0, 10)] = field(default_factory=list)
    """What a sweeper of `bench -m` optimises (hydra/sweeper=optuna): columns of the tables over all pairs, such as
    accuracy_3px or [accuracy_3px,latency_median_ms]. In which direction each gets better is known; -NAME is its
    negative, for sweepers that know one direction only."""
    objective_method: Name | None = None
    """Method whose value that is; null: the one that the others are compared with."""
