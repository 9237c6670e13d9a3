"""A run of `bench`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from bench.core.errors import ConfigError
from bench.schema.checks import at_least, one_of, within
from bench.schema.methods import ModelConfig
from bench.schema.protocol import ESTIMATORS, ProtocolConfig


@dataclass
class LatencyConfig:
    """How extraction is timed. Every image is extracted at least once per method and the first timed outputs are the
    ones evaluated."""

    mode: str = "quick"
    """off | quick | full."""
    repeats: int = 1
    """Timed passes over the images."""
    max_images: int | None = None
    """Images of the passes after the first; null: all."""
    block: int = 4
    """Images per block; methods run in seeded order within each block, one at a time."""
    warmup: int = 1
    """Untimed extractions of each new image shape."""
    throughput_s: float = 0.0
    """Seconds of asynchronous throughput measurement per OpenVINO method; 0: none."""

    def __post_init__(self) -> None:
        one_of("latency.mode", self.mode, ("off", "quick", "full"))
        at_least("latency.repeats", self.repeats, 1)
        at_least("latency.max_images", self.max_images, 1)
        at_least("latency.block", self.block, 1)
        at_least("latency.warmup", self.warmup, 0)
        at_least("latency.throughput_s", self.throughput_s, 0.0)


@dataclass
class TimeoutsConfig:
    """Seconds after which a process that does not answer is stopped; it was asked for one thing at a time."""

    load_s: float = 3600.0
    """A method: convert and load its model; includes INT8 calibration, with accuracy control many evaluations."""
    call_s: float = 900.0
    """A method: one image, or one measurement of throughput."""
    evaluate_s: float = 14400.0
    """With jobs above 1: match and estimate one sequence with every method."""

    def __post_init__(self) -> None:
        for name in ("load_s", "call_s", "evaluate_s"):
            # Below a second nothing answers; longer than a week is no limit.
            within(f"timeouts.{name}", getattr(self, name), 1.0, 604800.0)


@dataclass
class EstimatorSweepConfig:
    """Further estimators and thresholds on the matches of the run; results go to sweep.parquet and sweep.csv only."""

    estimators: list[str] = field(default_factory=list)
    """Empty: no sweep."""
    thresholds_px: list[float] = field(default_factory=lambda: [0.5, 1.0, 1.5, 2.0, 3.0, 5.0])

    def __post_init__(self) -> None:
        for name in self.estimators:
            one_of("estimator_sweep.estimators", name, [e for e in ESTIMATORS if e != "none"])
        if not self.thresholds_px or any(not t > 0 for t in self.thresholds_px):
            raise ConfigError(
                f"estimator_sweep.thresholds_px={self.thresholds_px} is not possible; allowed: one or more, all above 0"
            )


@dataclass
class RunConfig:
    """`bench`: extract, match, estimate, measure, report."""

    protocol: ProtocolConfig = MISSING
    dataset: Any = MISSING
    model: ModelConfig = MISSING
    methods: dict[str, Any] = field(default_factory=dict)
    latency: LatencyConfig = MISSING
    estimator_sweep: EstimatorSweepConfig = field(default_factory=EstimatorSweepConfig)
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    seed: int = 0
    threads: int = 0
    """Threads per method; 0: all cores this process may use, at most 8."""
    jobs: int = 1
    """Processes that match and estimate. More than one makes match and estimate times incomparable."""
    bootstrap_draws: int = 2000
    data_root: str = "datasets"
    """Downloads land here."""
    results: str = "results"
    run_dir: str | None = None
    """Run directory; null: ``<results>/<date_time>``. An existing one is continued."""
    keep_features: bool = True
    """Keep keypoints and descriptors in the run directory (about 1 MB per image and float method); `bench export` and
    `bench report` need them."""
    cache: str = MISSING
    """Folder of exported and converted models; safe to delete."""
    title: str = ""

    def __post_init__(self) -> None:
        at_least("threads", self.threads, 0)
        at_least("jobs", self.jobs, 1)
        at_least("bootstrap_draws", self.bootstrap_draws, 100)
