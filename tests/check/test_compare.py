"""Comparability, pairing of rows, and findings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.check.compare import find
from bench.check.evidence import Evidence
from bench.check.gate import ExitCode, Report, check_evidence
from bench.core.errors import ConfigError
from tests.check.simulate import World, check_config, evidence, with_header

WORLD = World(sequences=6, methods=("superpoint", "sift"))
HOST = {"fingerprint": "other", "cpu": "another", "usable_cores": 8}


@pytest.fixture(scope="module")
def baseline() -> Evidence:
    return evidence(WORLD, with_times=True)


def check(candidate: Evidence, baseline: Evidence, *overrides: str) -> Report:
    return check_evidence(candidate, baseline, check_config("draws=300", *overrides))


def found(report: Report) -> list[tuple[str, str, str]]:
    return [(finding.kind, finding.method, finding.severity) for finding in report.findings]


def test_a_run_equals_itself(baseline: Evidence) -> None:
    report = check(baseline, baseline)
    assert report.code is ExitCode.PASS
    assert not report.findings
    assert {one.change for one in report.comparisons} == {0.0}
    assert {one.method for one in report.comparisons} == {"superpoint", "sift"}


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("protocol", {"protocol": {"name": "simulated", "version": 2, "hash": "1"}}),
        ("dataset", {"dataset": {"name": "simulated", "digest": "other", "note": "", "pairs": None}}),
        ("host", {"host": HOST}),
        ("threads", {"threads": 4}),
    ],
)
def test_what_differs_is_refused_unless_allowed(baseline: Evidence, key: str, changes: dict[str, Any]) -> None:
    if key == "dataset":
        changes = {"dataset": {**changes["dataset"], "pairs": baseline.header["dataset"]["pairs"]}}
    candidate = with_header(baseline, **changes)
    refused = check(candidate, baseline)
    assert refused.code is ExitCode.NOT_COMPARABLE
    assert [refusal.key for refusal in refused.refusals] == [key]
    assert not refused.comparisons
    allowed = check(candidate, baseline, f"allow=[{key}]")
    assert allowed.code is ExitCode.PASS
    assert [refusal.key for refusal in allowed.overridden] == [key]


def test_accuracy_is_compared_across_hosts_without_latency(baseline: Evidence) -> None:
    candidate = with_header(baseline, host=HOST)
    report = check(candidate, baseline, "latency.enabled=false")
    assert report.code is ExitCode.PASS
    assert not any(one.metric.startswith("latency") for one in report.comparisons)
    assert "latency not compared: latency.enabled=false" in report.remarks


def test_another_pair_list_is_refused_and_can_be_intersected(baseline: Evidence) -> None:
    fewer = evidence(replace(WORLD, sequences=4), with_times=True)
    fewer = with_header(fewer, dataset={**fewer.header["dataset"], "digest": baseline.header["dataset"]["digest"]})
    refused = check(fewer, baseline)
    assert [refusal.key for refusal in refused.refusals] == ["pairs"]
    assert "s004/1-2" in refused.refusals[0].text
    allowed = check(fewer, baseline, "allow=[pairs]")
    assert {one.n for one in allowed.comparisons if one.metric == "repeatability"} == {20}
    assert not any(finding.kind == "missing_row" for finding in allowed.findings)


def test_missing_rows_methods_and_metrics_fail(baseline: Evidence) -> None:
    without_row = replace(baseline, pairs=baseline.pairs.drop(index=[0]))
    assert ("missing_row", "sift", "fail") in found(check(without_row, baseline))
    assert check(without_row, baseline).code is ExitCode.REGRESSION
    methods = {"superpoint": baseline.header["methods"]["superpoint"]}
    one_method = with_header(baseline, methods=methods)
    assert found(check(one_method, baseline)) == [("missing_method", "sift", "fail")]
    assert not check(one_method, baseline, "+compare.superpoint=superpoint").findings
    without_metric = replace(baseline, pairs=baseline.pairs.drop(columns=["repeatability"]))
    assert ("missing_metric", "sift", "fail") in found(check(without_metric, baseline))
    lenient = check(without_metric, baseline, "findings.missing_metric=note")
    assert lenient.code is ExitCode.PASS


@pytest.mark.parametrize(
    ("outcome", "kind", "severity", "code"),
    [
        ("extraction_failed", "new_failure_kind", "fail", ExitCode.REGRESSION),
        ("degenerate", "new_estimation_failure", "note", ExitCode.PASS),
    ],
)
def test_new_kinds_of_failure_are_findings(
    baseline: Evidence, outcome: str, kind: str, severity: str, code: ExitCode
) -> None:
    pairs = baseline.pairs.copy()
    pairs.loc[pairs.index[-1], "outcome"] = outcome
    report = check(replace(baseline, pairs=pairs), baseline)
    assert found(report) == [(kind, "superpoint", severity)]
    assert report.code is code
    assert "s005/1-6" in report.findings[0].text


def test_a_changed_precision_is_a_finding(baseline: Evidence) -> None:
    def with_precision(**precision: object) -> Evidence:
        methods = dict(baseline.header["methods"])
        methods["sift"] = {**methods["sift"], "precision": {"requested": "f32", "executed": "f32", **precision}}
        return with_header(baseline, methods=methods)

    silent = check(with_precision(executed="bf16"), baseline)
    assert found(silent) == [("executed_precision", "sift", "fail")]
    assert silent.code is ExitCode.REGRESSION
    assert found(check(with_precision(executed={"f32": 0.5, "bf16": 0.5}), baseline)) == [
        ("executed_precision", "sift", "fail")
    ]
    asked = check(with_precision(requested="bf16", executed="bf16"), baseline)
    assert found(asked) == [("requested_precision", "sift", "note")] * 2
    assert asked.code is ExitCode.PASS


def test_a_few_layers_in_another_precision_are_no_finding(baseline: Evidence) -> None:
    def with_executed(**shares: float) -> Evidence:
        sift = {**baseline.header["methods"]["sift"], "precision": {"requested": "bf16", "executed": shares}}
        return with_header(baseline, methods={**baseline.header["methods"], "sift": sift})

    assert not check(with_executed(bf16=0.92, f32=0.08), with_executed(bf16=1.0)).findings
    assert check(with_executed(bf16=0.8, f32=0.2), with_executed(bf16=1.0)).findings
    sift = {**baseline.header["methods"]["sift"], "precision": {}}
    unknown = with_header(baseline, methods={**baseline.header["methods"], "sift": sift})
    assert not check(unknown, unknown).findings
    known = {**sift, "precision": {"executed": {"f32": 1.0}}}
    other = with_header(baseline, methods={**baseline.header["methods"], "sift": known})
    assert found(check(unknown, other)) == [("executed_precision", "sift", "note")]


def test_settings_models_versions_seeds_and_noise_are_notes(baseline: Evidence) -> None:
    methods = dict(baseline.header["methods"])
    methods["sift"] = {**methods["sift"], "config": {"nms": 16}, "fingerprint": {"sha256": "b"}}
    candidate = with_header(
        baseline, methods=methods, versions={"numpy": "3"}, seeds={"run": 1}, noise={"noisy": True, "reasons": ["busy"]}
    )
    report = check(candidate, baseline, "latency.noisy=use")
    assert [kind for kind, _, _ in found(report)] == ["noise", "model", "settings", "versions", "seeds"]
    assert report.code is ExitCode.PASS
    texts = " ".join(finding.text for finding in report.findings)
    assert "nms None -> 16" in texts
    assert "numpy 2 -> 3" in texts
    assert "busy" in texts


def test_methods_of_different_names_can_be_compared(baseline: Evidence) -> None:
    report = check(baseline, baseline, "+compare.superpoint=superpoint", "+compare.sift=superpoint")
    assert {one.method for one in report.comparisons} == {"superpoint", "sift"}
    assert report.code is not ExitCode.PASS
    with pytest.raises(ConfigError, match="the candidate has no orb; it has superpoint, sift"):
        check(baseline, baseline, "+compare.orb=sift")
    with pytest.raises(ConfigError, match="the baseline has no orb"):
        check(baseline, baseline, "+compare.sift=orb")


def test_nothing_in_common_is_a_usage_error(baseline: Evidence) -> None:
    other = with_header(baseline, methods={"orb": baseline.header["methods"]["sift"]})
    with pytest.raises(ConfigError, match="share no method"):
        check(other, baseline)


def test_an_unknown_baseline_lists_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "baseline.json").write_text("{}")
    assert find(str(tmp_path), "photos") == tmp_path / "photos"
    assert find("elsewhere", str(tmp_path / "photos")) == tmp_path / "photos"
    with pytest.raises(ConfigError, match=r"baseline='x' is neither in .*\(photos\)"):
        find(str(tmp_path), "x")


def test_any_column_can_be_gated_from_a_file(baseline: Evidence, tmp_path: Path) -> None:
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "mine.yaml").write_text(
        "# @package _global_\nmetrics:\n  corner_error_px: {margin: 0.1, kind: ratio, better: lower}\n"
    )
    report = check(baseline, baseline, f"hydra.searchpath=[file://{tmp_path}]", "+gate=mine")
    assert {one.unit for one in report.comparisons if one.metric == "corner_error_px"} == {"px"}
    assert any(one.metric == "accuracy_3px" for one in report.comparisons)
