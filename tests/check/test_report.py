"""What people and machines read, and the exit codes."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.check.gate import ExitCode, check_evidence
from bench.check.report import as_json, junit, markdown, write
from bench.cli import exit_code
from bench.commands import baseline, check
from bench.config import compose
from tests.check.simulate import Change, World, check_config, evidence, features, with_header, write_run

WORLD = World(sequences=16)
LOSS = Change(metrics={"repeatability": -0.05})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `same` and `worse`, baseline `b` of a third run of the same world."""
    path = tmp_path_factory.mktemp("gate")
    arrays = features(WORLD, 40)
    write_run(path / "base", WORLD, seed=1, arrays=arrays)
    write_run(path / "same", WORLD, seed=1, arrays=arrays)
    write_run(path / "worse", WORLD, LOSS, seed=1, arrays=arrays)
    config = compose([f"run={path / 'base'}", "name=b", f"baselines={path / 'baselines'}"], "baseline")
    assert baseline.main(config) == 0
    return path


def run_check(folder: Path, candidate: str, *overrides: str) -> tuple[int, Any]:
    output = folder / "out"
    config = check_config("baseline=b", "draws=500", *overrides)
    config = replace(config, candidate=str(folder / candidate), baselines=str(folder / "baselines"), output=str(output))
    code = exit_code("check", lambda: check.main(config))
    return code, json.loads((output / "check.json").read_text()) if output.is_dir() else None


def test_pass_and_regression(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, content = run_check(folder, "same")
    assert (code, content["result"], content["exit_code"]) == (0, "pass", 0)
    assert "PASS: no regression (exit code 0)" in capsys.readouterr().out
    code, content = run_check(folder, "worse")
    assert (code, content["result"]) == (1, "regression")
    failed = [one for one in content["comparisons"] if one["verdict"] == "fail"]
    assert [(one["method"], one["metric"]) for one in failed] == [("superpoint", "repeatability")]
    assert failed[0]["change"] == pytest.approx(-0.05, abs=1e-4)
    assert "REGRESSION (exit code 1)" in capsys.readouterr().out


def test_inconclusive_is_configurable(folder: Path) -> None:
    margins = "metrics.repeatability.margin=0"  # no loss at all is never proven by data
    assert run_check(folder, "same", margins)[0] == 2
    assert run_check(folder, "same", margins, "on_inconclusive=pass")[0] == 0
    assert run_check(folder, "same", margins, "on_inconclusive=fail")[0] == 1


def test_not_comparable_and_its_way_out(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "elsewhere", WORLD)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["host"]["hash"] = "another"
    (run / "manifest.json").write_text(json.dumps(manifest))
    code, content = run_check(folder, str(run))
    assert (code, content["result"]) == (3, "not_comparable")
    assert "latency.enabled=false" in capsys.readouterr().out
    assert run_check(folder, str(run), "latency.enabled=false")[0] == 0
    assert run_check(folder, str(run), "allow=[host]")[0] == 0


def test_usage_and_internal_errors(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_check(folder, "absent")[0] == 4
    assert "is neither a run directory" in capsys.readouterr().err
    assert exit_code("check", lambda: check.main(check_config("candidate=null"))) == 4
    assert "say what to compare" in capsys.readouterr().err
    assert exit_code("baseline", lambda: baseline.main(compose([], "baseline"))) == 4
    assert "bench baseline run=results/<run> name=NAME" in capsys.readouterr().err
    assert run_check(folder, "same", "baseline=absent")[0] == 4
    assert "make one with `bench baseline" in capsys.readouterr().err
    config = compose([f"run={folder / 'absent'}", "name=c", f"baselines={folder / 'baselines'}"], "baseline")
    assert exit_code("baseline", lambda: baseline.main(config)) == 4

    def broken(_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(check, "check", broken)
    assert run_check(folder, "same")[0] == 5
    assert "a bug" in str(caplog.records[-1].exc_info)


def test_github_summary_is_appended(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("# Before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    run_check(folder, "worse")
    text = summary.read_text()
    assert text.startswith("# Before\n")
    assert "## bench check: REGRESSION" in text
    assert "| superpoint | repeatability |" in text


def test_files_lie_beside_the_candidate_by_default(tmp_path: Path) -> None:
    side = replace(evidence(WORLD), path=tmp_path / "run")
    written = write(check_evidence(side, side, check_config("draws=300")))
    assert written == tmp_path / "run" / "check" / "seed1"
    assert sorted(path.name for path in written.iterdir()) == ["check.json", "check.md", "junit.xml"]


def test_junit_has_a_case_per_method_and_metric() -> None:
    base = evidence(WORLD)
    config = check_config("draws=500", "metrics.n_matches.margin=0")
    report = check_evidence(evidence(WORLD, LOSS), base, config)
    suite = ElementTree.fromstring(junit(report)).find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.get("tests", "")) == len(report.comparisons)
    assert [case.get("name") for case in cases if case.find("failure") is not None] == ["repeatability"]
    assert [case.get("name") for case in cases if case.find("skipped") is not None] == ["n_matches"]
    assert (suite.get("failures"), suite.get("skipped"), suite.get("errors")) == ("1", "1", "0")
    refused = check_evidence(with_header(base, protocol={"name": "x", "version": 1, "hash": "1"}), base, config)
    suite = ElementTree.fromstring(junit(refused)).find("testsuite")
    assert suite is not None
    assert suite.get("errors") == "1"


def test_json_and_markdown_hold_in_awkward_cases() -> None:
    base = evidence(World(sequences=1))
    report = check_evidence(base, base, check_config("draws=300"))
    text = json.dumps(as_json(report), allow_nan=False)
    assert json.loads(text)["schema_version"] == 1
    assert report.code is ExitCode.INCONCLUSIVE  # one sequence: no interval, no verdict
    assert "one cluster: no interval" in markdown(report)


def test_improvements_are_listed_as_a_hint_at_a_stale_baseline() -> None:
    better = evidence(WORLD, Change(metrics={"repeatability": 0.05, "match_precision_3px": 0.001}))
    report = check_evidence(better, evidence(WORLD), check_config("draws=500"))
    assert report.code is ExitCode.PASS
    text = markdown(report)
    assert "write a new baseline" in text
    assert "| improved |" in text


def test_detectable_losses_are_beyond_the_limit() -> None:
    report = check_evidence(evidence(WORLD, seed=2), evidence(WORLD), check_config("draws=500"))
    for one in as_json(report)["comparisons"]:
        assert math.copysign(1, one["detectable"]) == math.copysign(1, one["limit"])
        assert abs(one["detectable"]) >= abs(one["limit"]) - 1e-12


def test_a_plan_leaves_the_verdict(folder: Path) -> None:
    code, before = run_check(folder, "worse")
    assert code == 1
    verdict = {path.name: path.read_bytes() for path in (folder / "out").iterdir() if not path.name.startswith("plan")}
    assert verdict.keys() == {"check.json", "check.md", "junit.xml"}
    code, after = run_check(folder, "worse", "plan=true")
    assert code == 0
    assert after == before
    assert {name: (folder / "out" / name).read_bytes() for name in verdict} == verdict
    assert json.loads((folder / "out/plan.json").read_text())["plan"]
    assert "PLAN" in (folder / "out/plan.md").read_text()
