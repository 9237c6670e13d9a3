"""The gate on real runs of the builtin SuperPoint: a repeated run and FP16 pass, every fault fails.

Three sequences of the embedded data set at half size keep it short; docs/check.md has the same table for all of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.check.evidence import Evidence, load
from bench.check.gate import ExitCode, Report, check_evidence
from bench.config import compose
from bench.run.benchmark import run
from bench.stats import Decision
from tests.check.simulate import check_config

pytestmark = pytest.mark.slow
CONF = Path(__file__).parent / "conf"
BASE = "superpoint_ov_fp32"
ADDED = "+method@methods"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


def real_run(folder: Path, name: str, *overrides: str) -> Evidence:
    config = compose(
        [
            f"hydra.searchpath=[file://{CONF}]",
            f"run_dir={folder / name}",
            f"data_root={folder / 'data'}",
            "dataset.sequences=[i_moon,v_astronaut,v_chelsea]",
            "protocol.image.short_side=240",
            "~methods.superpoint_tf",
            "~methods.superpoint_mnn_fp32",
            "~methods.sift",
            "~methods.orb",
            *overrides,
        ]
    )
    return load(run(config).path)


@pytest.fixture(scope="module")
def baseline(folder: Path) -> Evidence:
    """FP32, FP16 and everything that needs no other weights, in one run, interleaved."""
    return real_run(
        folder,
        "baseline",
        f"{ADDED}.nms={BASE}",
        "methods.nms.nms.size=16",
        f"{ADDED}.threshold={BASE}",
        "methods.threshold.min_probability=0.01",
        f"{ADDED}.off_by_one=off_by_one",
        f"{ADDED}.unnormalised=unnormalised",
        f"{ADDED}.slow=slow",
        "latency.block=1",
        "latency.repeats=3",
    )


def compare(candidate: Evidence, baseline: Evidence, method: str, *overrides: str) -> Report:
    config = check_config(f"+compare.{method}={BASE}", "latency.enabled=false", *overrides)
    return check_evidence(candidate, baseline, config)


def failed(report: Report) -> set[str]:
    verdicts = {one.metric for one in report.comparisons if one.verdict is Decision.FAIL}
    return verdicts | {finding.kind for finding in report.findings if finding.severity == "fail"}


def test_a_repeated_run_is_identical(folder: Path, baseline: Evidence) -> None:
    again = real_run(folder, "again", "~methods.superpoint_ov_fp16")
    report = compare(again, baseline, BASE)
    assert report.code is ExitCode.PASS
    assert {one.change for one in report.comparisons if one.metric != "descriptor_change"} == {0.0}


def test_fp16_weights_change_nothing_that_matters(baseline: Evidence) -> None:
    report = compare(baseline, baseline, "superpoint_ov_fp16")
    assert not failed(report)
    assert {finding.kind for finding in report.findings} == {"requested_precision", "settings"}


@pytest.mark.parametrize(
    ("fault", "sign"),
    [
        ("nms", "keypoints_found"),
        ("threshold", "changed_outputs"),
        ("off_by_one", "keypoints_found"),
        ("unnormalised", "changed_outputs"),
    ],
)
def test_a_fault_fails(baseline: Evidence, fault: str, sign: str) -> None:
    report = compare(baseline, baseline, fault)
    assert report.code is ExitCode.REGRESSION
    assert sign in failed(report)


def test_noise_of_two_percent_on_the_weights_fails(folder: Path, baseline: Evidence) -> None:
    from bench.models.cache import run_python
    from tests.check.faults import noisy_weights

    noisy_weights(str(folder / "noisy.npz"))
    run_python("bench.models.export:export_saved_model", str(folder / "noisy.npz"), str(folder / "noisy"))
    noisy = real_run(
        folder, "noisy_run", "~methods.superpoint_ov_fp16", "model.kind=path", f"model.path={folder / 'noisy'}"
    )
    report = compare(noisy, baseline, BASE)
    assert report.code is ExitCode.REGRESSION
    assert "changed_outputs" in failed(report)
    assert "model" in {finding.kind for finding in report.findings}


def test_a_third_more_inference_time_fails(baseline: Evidence) -> None:
    config = check_config(f"+compare.slow={BASE}", "latency.noisy=use", "outputs.enabled=false")
    slow = {one.metric: one for one in check_evidence(baseline, baseline, config).comparisons}
    assert slow["latency_median_ms"].change == pytest.approx(0.3, abs=0.15)
    assert slow["latency_median_ms"].verdict is not Decision.PASS
    if not baseline.header["noise"]["noisy"]:  # a busy machine may leave it undecided
        assert slow["latency_median_ms"].verdict is Decision.FAIL
    assert slow["repeatability"].change == 0.0


def test_another_machine_is_not_comparable(baseline: Evidence) -> None:
    host = {**baseline.header["host"], "fingerprint": "another"}
    other = Evidence(**{**vars(baseline), "header": {**baseline.header, "host": host}})
    assert check_evidence(baseline, other, check_config()).code is ExitCode.NOT_COMPARABLE
