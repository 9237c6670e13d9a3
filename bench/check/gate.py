"""`bench check candidate=results/<run> baseline=NAME`: pass, regression, inconclusive or not comparable."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from bench.check import compare, evidence, latency, outputs, power
from bench.check.compare import Finding, Refusal
from bench.check.config import CheckConfig, NoisyRuns, Severity
from bench.check.decide import Comparison, compare_pairs, compare_samples, decide
from bench.check.evidence import Evidence
from bench.check.power import Requirement
from bench.core.errors import ConfigError
from bench.stats import Decision

log = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """Exit codes of `bench check`."""

    PASS = 0
    REGRESSION = 1
    INCONCLUSIVE = 2
    NOT_COMPARABLE = 3
    USAGE = 4
    INTERNAL = 5


@dataclass(frozen=True)
class Report:
    """Result of a check.

    Attributes
    ----------
    candidate, baseline : Evidence
    code : ExitCode
    refusals : list of Refusal
        Not overridden; then there are no comparisons.
    overridden : list of Refusal
    comparisons : list of Comparison
    findings : list of Finding
    requirements : list of Requirement
        Of ``plan=true``.
    remarks : list of str
        What was left out or done to the numbers.
    config : CheckConfig
    """

    candidate: Evidence
    baseline: Evidence
    code: ExitCode
    config: CheckConfig
    refusals: list[Refusal] = field(default_factory=list)
    overridden: list[Refusal] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    requirements: list[Requirement] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def family_level(self) -> float:
        return power.family_level(self.comparisons, self.config.alpha)


def check(config: CheckConfig) -> Report:
    """Compare a candidate with a baseline.

    Raises
    ------
    ConfigError
        If a side is not named, the baseline is not found, or a method is not there.
    StoreError
        If a side cannot be read.
    """
    if config.candidate is None or config.baseline is None:
        raise ConfigError("say what to compare: `bench check candidate=results/<run> baseline=NAME`")
    candidate = evidence.load(Path(config.candidate))
    baseline = evidence.load(compare.find(config.baselines, config.baseline))
    return check_evidence(candidate, baseline, config)


def check_evidence(candidate: Evidence, baseline: Evidence, config: CheckConfig) -> Report:
    """Compare two sides that are already read."""
    methods = compare.method_map(candidate, baseline, config)
    reasons = compare.refusals(candidate, baseline, methods, config)
    refused = [reason for reason in reasons if reason.key not in config.allow]
    overridden = [reason for reason in reasons if reason.key in config.allow]
    if refused:
        return Report(candidate, baseline, ExitCode.NOT_COMPARABLE, config, refused, overridden)

    aligned = compare.align(candidate.pairs, baseline.pairs, methods)
    protocol = evidence.protocol_of(candidate, baseline)
    comparisons, missing = compare_pairs(aligned, config, protocol)
    findings = compare.findings(candidate, baseline, methods, config)
    severity = config.findings.missing_metric
    findings += [Finding("missing_metric", name, severity, f"the candidate lacks {metric}") for name, metric in missing]

    remarks = [*candidate.remarks, *baseline.remarks]
    sampled, changed, remark = _outputs(candidate, baseline, methods, config)
    comparisons += sampled
    findings += changed
    remarks += [remark] if remark else []
    reason = compare.latency_reason(candidate, baseline, config)
    if reason is None:
        kernels = [side.header["noise"].get("kernel") for side in (candidate, baseline)]
        timed, how = latency.compare_times(
            candidate.times, baseline.times, methods, config, same_kernel=kernels[0] == kernels[1]
        )
        comparisons += timed
        remarks.append(f"latency {how}")
        kept = [side.header["host"].get("allocation") or "as the system has it" for side in (candidate, baseline)]
        if kept[0] != kept[1]:
            remarks.append(f"workers allocated memory differently: {kept[0]} (candidate), {kept[1]} (baseline)")
    else:
        remarks.append(f"latency not compared: {reason}")

    comparisons = decide(comparisons, config.alpha)
    comparisons = latency.hold_back(comparisons, _untold(candidate, baseline, config))
    code = ExitCode.PASS if config.plan else _code(comparisons, findings, config)
    requirements = power.requirements(comparisons, aligned, config, protocol) if config.plan else []
    return Report(candidate, baseline, code, config, [], overridden, comparisons, findings, requirements, remarks)


def _untold(candidate: Evidence, baseline: Evidence, config: CheckConfig) -> str:
    """Why latency decides nothing, empty if it decides: a run beside another run of bench, or one marked noisy, which
    may only widen intervals if what its neighbours took is known. Blocks of one run saw the same neighbours."""
    if latency.same_run(candidate.times, baseline.times):
        return ""
    for side, name in ((candidate, "candidate"), (baseline, "baseline")):
        if side.header["noise"].get("alone") is False:
            return f"the {name} was measured beside another run of bench on its host; repeat it alone"
    if config.latency.noisy == NoisyRuns.use:
        return ""
    for side in (candidate, baseline):
        if side.header["noise"].get("noisy"):
            if config.latency.noisy == NoisyRuns.inconclusive:
                return "noisy run"
            if not latency.taken_is_known(side.times):
                return "noisy run that does not tell what its neighbours took"
    return ""


def _outputs(
    candidate: Evidence, baseline: Evidence, methods: dict[str, str], config: CheckConfig
) -> tuple[list[Comparison], list[Finding], str]:
    """Compare sampled outputs; images changed beyond the limits are findings."""
    gate = config.outputs
    if not gate.enabled:
        return [], [], "outputs not compared: outputs.enabled=false"
    if candidate.features is None:
        return [], [], "outputs not compared: the candidate has no features (keep_features=false)"
    samples = baseline.keypoints
    if samples is None and baseline.features is not None:
        samples = outputs.sample(baseline.features, list(methods.values()))
    if samples is None:
        return [], [], "outputs not compared: the baseline has no samples"
    found = outputs.compare_outputs(samples, candidate.features, methods, gate.keypoint_px)
    findings = []
    for name, rows in found.groupby("method", sort=False):
        for column, bad, words in (
            ("keypoints_found", rows["keypoints_found"] < gate.image_keypoints, "of the sampled keypoints found again"),
            ("descriptor_change", rows["descriptor_change"] > gate.image_descriptors, "change of descriptors"),
        ):
            if bad.any():
                at = rows[column].argmin() if column == "keypoints_found" else rows[column].argmax()
                worst = rows.iloc[int(at)]
                text = (
                    f"{int(bad.sum())} of {len(rows)} images changed: {worst[column]:.0%} {words} on {worst['image']}"
                )
                findings.append(Finding("changed_outputs", str(name), config.findings.changed_outputs, text))
    return compare_samples(found, config), findings, ""


def _code(comparisons: list[Comparison], findings: list[Finding], config: CheckConfig) -> ExitCode:
    verdicts = [one.verdict for one in comparisons if one.decides]
    if Decision.FAIL in verdicts or any(finding.severity == Severity.fail for finding in findings):
        return ExitCode.REGRESSION
    if Decision.INCONCLUSIVE in verdicts:
        codes = {"inconclusive": ExitCode.INCONCLUSIVE, "pass": ExitCode.PASS, "fail": ExitCode.REGRESSION}
        return codes[config.on_inconclusive]
    return ExitCode.PASS
