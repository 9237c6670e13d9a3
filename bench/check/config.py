"""Typed configuration of `bench check` and `bench baseline`; values and margins live in ``conf/check.yaml``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from omegaconf import MISSING

from bench.core.errors import ConfigError
from bench.metrics.columns import columns
from bench.metrics.record import Column, filled
from bench.schema import at_least, one_of, within

OVERRIDES = ("protocol", "dataset", "pairs", "host", "threads")
SEVERITIES = ("fail", "note")
KEYPOINTS = 24
IMAGES = 240


@dataclass
class MetricGate:
    """How much worse a candidate may be in one metric."""

    margin: float = MISSING
    """Largest loss that does not matter: in units of the metric (difference) or relative (ratio: 0.05 is 5 %)."""
    kind: str = "difference"
    """difference (mean of candidate - baseline over pairs) | ratio (geometric mean of candidate / baseline)."""
    better: str = "higher"
    """higher | lower."""
    offset: float = 0.0
    """ratio: added to both sides, so that counts of 0 have a ratio."""
    severity: str = "fail"
    """fail (decides) | note (reported, decides nothing)."""

    def __post_init__(self) -> None:
        at_least("metrics.*.margin", self.margin, 0.0)
        at_least("metrics.*.offset", self.offset, 0.0)
        one_of("metrics.*.kind", self.kind, ("difference", "ratio"))
        one_of("metrics.*.better", self.better, ("higher", "lower"))
        one_of("metrics.*.severity", self.severity, SEVERITIES)
        if self.kind == "ratio" and self.better == "higher":
            within("metrics.*.margin", self.margin, 0.0, 0.99)


def gates_of(columns: Iterable[Column]) -> dict[str, MetricGate]:
    """Gates of the columns that have a margin: name -> gate. A count may not fall."""
    found = {}
    for one in columns:
        for margin in one.margins:
            name = one.name if margin.at_px is None else filled(one.name, margin.at_px)
            better = "lower" if one.better == "lower" else "higher"
            found[name] = MetricGate(margin.size, margin.kind, better, margin.offset)
    return found


@dataclass
class OutputsGate:
    """Comparison of the outputs themselves: does the candidate compute what the baseline computed?"""

    enabled: bool = True
    """False for a retrained or redesigned model, whose outputs are meant to differ."""
    keypoint_px: float = 0.5
    """A sampled keypoint of the baseline is found again if the candidate has one within this distance."""
    keypoint_margin: float = 0.05
    """Share of sampled keypoints that may be lost, averaged over images."""
    descriptor_margin: float = 0.02
    """Root-mean-square change of descriptors, relative to their length, averaged over images."""
    image_keypoints: float = 0.75
    """An image on which fewer keypoints than this share are found again is a finding."""
    image_descriptors: float = 0.25
    """An image on which descriptors change by more than this is a finding."""

    def __post_init__(self) -> None:
        at_least("outputs.keypoint_px", self.keypoint_px, 0.0)
        for key in ("keypoint_margin", "image_keypoints"):
            within(f"outputs.{key}", getattr(self, key), 0.0, 1.0)
        at_least("outputs.descriptor_margin", self.descriptor_margin, 0.0)
        at_least("outputs.image_descriptors", self.image_descriptors, 0.0)


@dataclass
class LatencyGate:
    """Ratios candidate / baseline of extraction times (preprocess + infer + decode)."""

    enabled: bool = True
    median_margin: float = 0.10
    """Smallest relevant slowdown of the median."""
    p90_margin: float = 0.20
    """Smallest relevant slowdown of the 90th percentile."""
    normalise: bool = True
    """Divide times by those of the calibration kernel, so that a slower machine is not a regression."""
    noisy: str = "inconclusive"
    """What a run marked noisy can say at most: inconclusive | use (decide as if it were quiet)."""
    severity: str = "fail"

    def __post_init__(self) -> None:
        at_least("latency.median_margin", self.median_margin, 0.0)
        at_least("latency.p90_margin", self.p90_margin, 0.0)
        one_of("latency.noisy", self.noisy, ("inconclusive", "use"))
        one_of("latency.severity", self.severity, SEVERITIES)


@dataclass
class FindingsGate:
    """What is worth a finding whatever the statistics say: fail | note."""

    missing_method: str = "fail"
    missing_row: str = "fail"
    missing_metric: str = "fail"
    new_failure_kind: str = "fail"
    """An extraction failure (or no keypoints) of a kind the baseline does not have."""
    new_estimation_failure: str = "note"
    """too_few_matches, estimation_failed, degenerate: their effect is in the metrics, and re-ordered matches can
    cause one."""
    executed_precision: str = "fail"
    """Same precision requested, another one executed."""
    requested_precision: str = "note"
    """Another precision requested."""
    changed_outputs: str = "fail"
    """Single images whose outputs changed beyond ``outputs.image_*``."""

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            one_of(f"findings.{key}", value, SEVERITIES)


@dataclass
class CheckConfig:
    """`bench check`: is the candidate worse than the baseline?"""

    candidate: str | None = None
    """Run directory (or a baseline); required."""
    baseline: str | None = None
    """Name of a baseline below `baselines`, or the path of a baseline or run directory; required."""
    baselines: str = "baselines"
    compare: dict[str, str] = field(default_factory=dict)
    """Candidate method -> baseline method it is compared with; empty: every method with itself."""
    metrics: dict[str, MetricGate] = field(default_factory=lambda: gates_of(columns().values()))
    """By metric; from the margins of the metrics' records."""
    outputs: OutputsGate = field(default_factory=OutputsGate)
    latency: LatencyGate = field(default_factory=LatencyGate)
    findings: FindingsGate = field(default_factory=FindingsGate)
    plan: bool = False
    """Instead of a verdict: how many sequences and repeats each margin needs."""
    plan_repeats: list[int] = field(default_factory=lambda: [1, 5, 10, 20, 50])
    """Estimations per pair to plan for."""
    power: float = 0.8
    """Power of the detectable differences and of the plan."""
    alpha: float = 0.05
    """Largest probability of a false regression in the whole check (Holm), and of passing one metric by luck."""
    draws: int = 5000
    seed: int = 0
    allow: list[str] = field(default_factory=list)
    """Differences to compare in spite of: protocol | dataset | pairs | host | threads."""
    on_inconclusive: str = "inconclusive"
    """Exit code of an undecided check: inconclusive (2) | pass (0) | fail (1)."""
    output: str | None = None
    """Folder for check.json, check.md and junit.xml; null: ``<candidate>/check/<baseline name>``."""
    all_rows: bool = False
    """Print every comparison on the console instead of those that need attention."""

    def __post_init__(self) -> None:
        within("alpha", self.alpha, 1e-6, 0.5)
        at_least("draws", self.draws, 200)
        within("power", self.power, 0.5, 0.999)
        for repeats in self.plan_repeats:
            at_least("plan_repeats", repeats, 1)
        one_of("on_inconclusive", self.on_inconclusive, ("inconclusive", "pass", "fail"))
        for name in self.allow:
            one_of("allow", name, OVERRIDES)


@dataclass
class BaselineConfig:
    """`bench baseline`: write a compact baseline from a finished run."""

    run: str | None = None
    """Run directory; required."""
    name: str | None = None
    """Name of the baseline; required."""
    baselines: str = "baselines"
    only: list[str] | None = None
    """Only these methods; null: all."""
    keypoints: int = KEYPOINTS
    """Keypoints sampled per image for the comparison of outputs; 0: none."""
    images: int = IMAGES
    """Images sampled per method, as many of each sequence; at least the first of each."""
    replace: bool = False
    """Overwrite an existing baseline of this name."""

    def __post_init__(self) -> None:
        at_least("keypoints", self.keypoints, 0)
        at_least("images", self.images, 1)
        name = self.name
        if name is not None and (not name or name.startswith(".") or "/" in name or "\\" in name):
            raise ConfigError(f"name={self.name!r} is not possible; allowed: a folder name without slashes")
