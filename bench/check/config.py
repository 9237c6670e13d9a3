"""Typed configuration of `bench check` and `bench baseline`; values and margins live in ``conf/check.yaml``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

from omegaconf import MISSING

from bench.core.errors import ConfigError
from bench.metrics.columns import columns
from bench.metrics.record import Column, filled
from bench.schema.options import Option
from bench.schema.values import (
    Count,
    Draws,
    FinishedRun,
    Folder,
    Found,
    Items,
    Keypoints,
    MethodNames,
    Name,
    OneOf,
    Range,
    Seed,
    Share,
    Text,
)

KEYPOINTS = 24
IMAGES = 240

PlanRepeats = Annotated[int, Range(1, 1000, "it would take days")]
Margin = Annotated[float, Range(0, 1000, "no metric loses that much")]


class Severity(Option):
    """What a finding does: decide, or only be reported."""

    fail = "fail"
    note = "note"


class GateKind(Option):
    """How candidate and baseline are compared."""

    difference = "difference"
    ratio = "ratio"


class NoisyRuns(Option):
    """What becomes of latencies of disturbed runs."""

    widen = "widen"
    use = "use"
    inconclusive = "inconclusive"


class Override(Option):
    """A difference between runs that a check can be told to pass over."""

    protocol = "protocol"
    dataset = "dataset"
    pairs = "pairs"
    host = "host"
    threads = "threads"


@dataclass
class MetricGate:
    """How much worse a candidate may be in one metric."""

    margin: Margin = MISSING
    """Largest loss that does not matter: in units of the metric (difference) or relative (ratio: 0.05 is 5 %)."""
    kind: GateKind = GateKind.difference
    """difference (mean of candidate - baseline over pairs) | ratio (geometric mean of candidate / baseline)."""
    better: Annotated[str, OneOf(("higher", "lower"))] = "higher"
    """higher | lower."""
    offset: Annotated[float, Range(0, 1e6, "ratios would all be 1")] = 0.0
    """ratio: added to both sides, so that counts of 0 have a ratio."""
    severity: Severity = Severity.fail
    """fail (decides) | note (reported, decides nothing)."""

    def __post_init__(self) -> None:
        if self.kind == GateKind.ratio and self.better == "higher":
            Range(0, 0.99, "nothing would be a loss").check("metrics.*.margin", self.margin)


def gates_of(columns: Iterable[Column]) -> dict[str, MetricGate]:
    """Gates of the columns that have a margin: name -> gate. A count may not fall."""
    found = {}
    for one in columns:
        for margin in one.margins:
            name = one.name if margin.at_px is None else filled(one.name, margin.at_px)
            better = "lower" if one.better == "lower" else "higher"
            found[name] = MetricGate(margin.size, GateKind(margin.kind), better, margin.offset)
    return found


@dataclass
class OutputsGate:
    """Comparison of the outputs themselves: does the candidate compute what the baseline computed?"""

    enabled: bool = True
    """False for a retrained or redesigned model, whose outputs are meant to differ."""
    keypoint_px: Annotated[float, Range(0, 100, "any keypoint would do", above=True)] = 0.5
    """A sampled keypoint of the baseline is found again if the candidate has one within this distance."""
    keypoint_margin: Share = 0.05
    """Share of sampled keypoints that may be lost, averaged over images."""
    descriptor_margin: Margin = 0.02
    """Root-mean-square change of descriptors, relative to their length, averaged over images."""
    image_keypoints: Share = 0.75
    """An image on which fewer keypoints than this share are found again is a finding."""
    image_descriptors: Margin = 0.25
    """An image on which descriptors change by more than this is a finding."""


@dataclass
class LatencyGate:
    """Ratios candidate / baseline of extraction times (preprocess + infer + decode)."""

    enabled: bool = True
    median_margin: Margin = 0.10
    """Smallest relevant slowdown of the median."""
    p90_margin: Margin = 0.20
    """Smallest relevant slowdown of the 90th percentile."""
    normalise: bool = True
    """Divide times by those of the calibration kernel, so that a slower machine is not a regression."""
    noisy: NoisyRuns = NoisyRuns.widen
    """Disturbed runs: widen (intervals, by what neighbours took of the times) | use (times as measured) | inconclusive
    (latency of a run marked noisy decides nothing)."""
    severity: Severity = Severity.fail


@dataclass
class FindingsGate:
    """What is worth a finding whatever the statistics say: fail | note."""

    missing_method: Severity = Severity.fail
    missing_row: Severity = Severity.fail
    missing_metric: Severity = Severity.fail
    new_failure_kind: Severity = Severity.fail
    """An extraction failure (or no keypoints) of a kind the baseline does not have."""
    new_estimation_failure: Severity = Severity.note
    """too_few_matches, estimation_failed, degenerate: their effect is in the metrics, and re-ordered matches can
    cause one."""
    executed_precision: Severity = Severity.fail
    """Same precision requested, another one executed."""
    requested_precision: Severity = Severity.note
    """Another precision requested."""
    changed_outputs: Severity = Severity.fail
    """Single images whose outputs changed beyond ``outputs.image_*``."""


@dataclass
class CheckConfig:
    """`bench check`: is the candidate worse than the baseline?"""

    candidate: Annotated[str, Found("folder", "a run directory or a baseline")] | None = None
    """Run directory (or a baseline); required."""
    baseline: Annotated[str, Text(4095, False, "the name or the folder of a baseline")] | None = None
    """Name of a baseline below `baselines`, or the path of a baseline or run directory; required."""
    baselines: Folder = "baselines"
    compare: dict[str, Name] = field(default_factory=dict)
    """Candidate method -> baseline method it is compared with; empty: every method with itself."""
    metrics: dict[str, MetricGate] = field(default_factory=lambda: gates_of(columns().values()))
    """By metric; from the margins of the metrics' records."""
    outputs: OutputsGate = field(default_factory=OutputsGate)
    latency: LatencyGate = field(default_factory=LatencyGate)
    findings: FindingsGate = field(default_factory=FindingsGate)
    plan: bool = False
    """Instead of a verdict: how many sequences and repeats each margin needs."""
    plan_repeats: Annotated[list[PlanRepeats], Items(1, 100)] = field(default_factory=lambda: [1, 5, 10, 20, 50])
    """Estimations per pair to plan for."""
    power: Annotated[float, Range(0.5, 0.999)] = 0.8
    """Power of the detectable differences and of the plan."""
    alpha: Annotated[float, Range(1e-6, 0.5)] = 0.05
    """Largest probability of a false regression in the whole check (Holm), and of passing one metric by luck."""
    draws: Draws = 5000
    seed: Seed = 0
    allow: Annotated[list[Override], Items()] = field(default_factory=list)
    """Differences to compare in spite of: protocol | dataset | pairs | host | threads."""
    on_inconclusive: Annotated[str, OneOf(("inconclusive", "pass", "fail"))] = "inconclusive"
    """Exit code of an undecided check: inconclusive (2) | pass (0) | fail (1)."""
    output: Folder | None = None
    """Folder for check.json, check.md and junit.xml; null: ``<candidate>/check/<baseline name>``."""
    all_rows: bool = False
    """Print every comparison on the console instead of those that need attention."""


@dataclass
class BaselineConfig:
    """`bench baseline`: write a compact baseline from a finished run."""

    run: FinishedRun | None = None
    """Run directory; required."""
    name: Name | None = None
    """Name of the baseline; required."""
    baselines: Folder = "baselines"
    only: MethodNames | None = None
    """Only these methods; null: all."""
    keypoints: Keypoints = KEYPOINTS
    """Keypoints sampled per image for the comparison of outputs; 0: none."""
    images: Count = IMAGES
    """Images sampled per method, as many of each sequence; at least the first of each."""
    replace: bool = False
    """Overwrite an existing baseline of this name."""

    def __post_init__(self) -> None:
        name = self.name
        if name is not None and (not name or name.startswith(".") or "/" in name or "\\" in name):
            raise ConfigError(f"name={self.name!r} is not possible; allowed: a folder name without slashes")
