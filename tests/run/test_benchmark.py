"""A whole run with small real methods: complete rows, resume after a kill, failures that count and lose nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from bench.config import compose
from bench.core.types import DataSet
from bench.run.benchmark import _times
from bench.run.store import RunStore

ROOT = Path(__file__).parents[2]
DATA = [
    "dataset.viewpoint_sequences=1",
    "dataset.illumination_sequences=1",
    "dataset.height=240",
    "dataset.width=320",
    "protocol.image.short_side=240",
    "protocol.estimator.repeats=2",
    "bootstrap_draws=200",
]
GRID = ["+method@methods.grid=grid", "hydra.searchpath=[file://{conf}]"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a user's own method YAML; data and models are cached in it."""
    path = tmp_path_factory.mktemp("place")
    (path / "conf/method").mkdir(parents=True)
    (path / "conf/method/grid.yaml").write_text(
        "defaults: [schema_custom, _self_]\nbackend: tests.method_modules\nparams: {fault: none}\n"
    )
    return path


def command(place: Path, *overrides: str) -> list[str]:
    grid = [text.format(conf=place / "conf") for text in GRID]
    removed = [f"~methods.superpoint_{form}" for form in ("tf", "ov_fp32", "ov_fp16", "mnn_fp32")]
    return [sys.executable, "-m", "bench", *removed, *DATA, *grid, *overrides]


def environment(place: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "BENCH_CACHE": str(place / "cache")}


def bench(place: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(place, *overrides), cwd=place, env=environment(place), capture_output=True, text=True, timeout=300
    )


def numbers(run: Path) -> pd.DataFrame:
    """Rows of a run without its times."""
    pairs = pd.read_parquet(run / "pairs.parquet")
    return pairs.drop(columns=[column for column in pairs if column.endswith("_ms")])


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> Path:
    result = bench(place, "run_dir=results/a")
    assert result.returncode == 0, result.stderr
    return place / "results/a"


@pytest.mark.slow
def test_a_run_writes_every_file_and_every_row(undisturbed: Path) -> None:
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    pairs = pd.read_parquet(undisturbed / "pairs.parquet")
    assert manifest["status"] == "complete"
    assert len(pairs) == manifest["rows_expected"] == manifest["rows_written"] == 3 * 10
    assert set(pairs["method"]) == {"sift", "orb", "grid"}
    times = pd.read_parquet(undisturbed / "times.parquet")
    assert {"preprocess", "infer", "decode", "match", "estimate", "calibration", "interrupted", "block", "lost"} == set(
        times["stage"]
    )
    for name in ("summary.csv", "summary.md", "summary.tex", "report.html"):
        assert (undisturbed / name).stat().st_size > 100


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes_apart_from_times(place: Path, undisturbed: Path) -> None:
    result = bench(place, "run_dir=results/b", "jobs=2")
    assert result.returncode == 0, result.stderr
    pd.testing.assert_frame_equal(numbers(place / "results/b"), numbers(undisturbed), check_exact=True)
    tables = [pd.read_csv(run / "summary.csv", dtype=str) for run in (place / "results/b", undisturbed)]
    timed = [column for column in tables[0] if any(part in column for part in ("_ms", "speedup", "memory"))]
    assert timed
    pd.testing.assert_frame_equal(tables[0].drop(columns=timed), tables[1].drop(columns=timed))


@pytest.mark.slow
def test_a_killed_run_continues_and_ends_with_the_same_numbers(place: Path, undisturbed: Path) -> None:
    run = place / "results/killed"
    process = subprocess.Popen(
        command(place, "run_dir=results/killed"),
        cwd=place,
        env=environment(place),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(run.glob("features/*/*/*.npz"))) < 8:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in run.glob("features/*/*/*.npz")}
    assert 8 <= len(before) < 36, "the kill came too late to test anything"
    assert not (run / "pairs.parquet").exists()
    result = bench(place, "run_dir=results/killed")
    assert result.returncode == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before, "measured images were measured again"
    pd.testing.assert_frame_equal(numbers(run), numbers(undisturbed), check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("phase", ["load", "extract", "evaluate"])
def test_nothing_outlives_a_killed_run(place: Path, undisturbed: Path, phase: str, jobs: int) -> None:
    """Only the command is killed, as by the out-of-memory killer; its children must end by themselves."""
    run = place / f"results/orphans_{phase}_{jobs}"
    reached = {"load": "logs/*.log", "extract": "features/*/*/*.npz", "evaluate": "parts/rows/*"}[phase]
    process = subprocess.Popen(
        command(place, f"run_dir={run.relative_to(place)}", f"jobs={jobs}", "protocol.estimator.repeats=40"),
        cwd=place,
        env=environment(place),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    parent = psutil.Process(process.pid)
    family: set[psutil.Process] = set()
    while not list(run.glob(reached)) and process.poll() is None:
        with contextlib.suppress(psutil.Error):
            family |= set(parent.children(recursive=True))
        time.sleep(0.005)
    with contextlib.suppress(psutil.Error):
        family |= set(parent.children(recursive=True))
    assert family and process.poll() is None
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    for child in alive:
        child.kill()
    assert not alive


@pytest.mark.slow
def test_another_configuration_does_not_continue_a_run(place: Path, undisturbed: Path) -> None:
    result = bench(place, "run_dir=results/a", "seed=1")
    assert result.returncode == 4
    assert "differs in seed" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "code"), [("nan", 0), ("crash", 1)])
def test_a_method_that_fails_on_an_image_loses_only_its_pairs(
    place: Path, undisturbed: Path, fault: str, code: int
) -> None:
    result = bench(
        place, f"run_dir=results/{fault}", f"methods.grid.params.fault={fault}", "+methods.grid.params.on='/3'"
    )
    assert result.returncode == code, result.stderr
    rows = numbers(place / f"results/{fault}")
    grid = rows[rows["method"] == "grid"].set_index("pair")
    failed = grid[grid["outcome"] == "extraction_failed"]
    assert sorted(failed.index) == sorted(name for name in grid.index if name.endswith("-3"))
    assert np.isinf(failed["corner_error_px"]).all()
    others = numbers(undisturbed)
    same = rows[rows["method"] != "grid"].reset_index(drop=True)
    expected = others[others["method"] != "grid"].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, expected, check_exact=True)


@pytest.mark.slow
def test_a_worker_that_was_restarted_and_lost_nothing_is_a_note(place: Path, undisturbed: Path) -> None:
    on = ["methods.grid.params.fault=crash_once", "+methods.grid.params.on='/3'", f"cache={place / 'crash_once'}"]
    (place / "crash_once").mkdir()
    result = bench(place, "run_dir=results/note", *on)
    assert result.returncode == 0, result.stderr
    said = "method grid: its worker process was killed by SIGKILL during extract"
    assert f"note: {said}" in result.stdout and "nothing was lost" in result.stdout
    assert said in (place / "results/note/report.html").read_text()
    pd.testing.assert_frame_equal(numbers(place / "results/note"), numbers(undisturbed), check_exact=True)


@pytest.mark.slow
def test_a_killed_evaluation_process_ends_in_one_sentence_and_the_run_continues(place: Path, undisturbed: Path) -> None:
    run = place / "results/evaluation"
    arguments = command(place, "run_dir=results/evaluation", "jobs=2", "protocol.estimator.repeats=2")
    process = subprocess.Popen(arguments, cwd=place, env=environment(place), stderr=subprocess.PIPE, text=True)
    killed = False
    while process.poll() is None and not killed:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                if "an evaluation process" in child.cmdline():
                    child.kill()
                    killed = True
        time.sleep(0.01)
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait() == 1 and killed
    assert "Traceback" not in said
    assert "an evaluation process was killed by SIGKILL" in said and "continue with run_dir=results/evaluation" in said
    assert bench(place, "run_dir=results/evaluation", "jobs=2", "protocol.estimator.repeats=2").returncode == 0
    pd.testing.assert_frame_equal(numbers(run), numbers(undisturbed), check_exact=True)


@pytest.mark.slow
def test_a_model_that_cannot_run_stops_with_its_sentence(place: Path) -> None:
    result = bench(place, "run_dir=results/model", "methods.grid.params.fault=model")
    assert result.returncode == 4
    assert "cannot run at 240x320; choose another size" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_an_estimator_sweep_stays_out_of_the_headline(place: Path, undisturbed: Path) -> None:
    result = bench(
        place,
        "run_dir=results/sweep",
        "estimator_sweep.estimators=[usac_magsac,dlt]",
        "estimator_sweep.thresholds_px=[1,2]",
    )
    assert result.returncode == 0, result.stderr
    pd.testing.assert_frame_equal(numbers(place / "results/sweep"), numbers(undisturbed), check_exact=True)
    table = pd.read_csv(place / "results/sweep/sweep.csv")
    assert len(table) == 3 * (2 + 1) * 3  # methods x (MAGSAC at two thresholds, DLT) x splits
    rows = pd.read_parquet(place / "results/sweep/sweep.parquet")
    protocol = rows[(rows["estimator"] == "usac_magsac") & (rows["threshold_px"] == 2.0)].reset_index(drop=True)
    expected = numbers(undisturbed)
    assert [list(e) for e in protocol["corner_errors_px"]] == [list(e) for e in expected["corner_errors_px"]]


@pytest.mark.slow
def test_a_run_continued_after_extraction_keeps_the_executed_precision(place: Path) -> None:
    added = command(place, "run_dir=results/precision", "+method@methods.fp32=superpoint_ov_fp32")
    command_line = [argument for argument in added if argument != "+method@methods.grid=grid"]
    run = place / "results/precision"
    for _ in range(2):
        result = subprocess.run(
            command_line, cwd=place, env=environment(place), capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stderr
        info = json.loads((run / "manifest.json").read_text())["methods"]["fp32"]["info"]
        assert info["precision"]["executed"]
        assert info["costs"]["compile_ms"] > 0
        (run / "pairs.parquet").unlink()


def test_times_of_matching_and_estimation_carry_the_session_of_their_row(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "method": "orb",
            "pair": ["a/1-2", "a/1-3", "a/1-4"],
            "match_ms": [1.0, None, 3.0],
            "estimate_ms": [4.0, 5.0, 6.0],
            "session": [0, 1, 1],
        }
    )
    nothing = DataSet("none", (), 0, 0, "", "")
    for marked, expected in ((rows, {"match": [0, 1], "estimate": [0, 1, 1]}), (rows.drop(columns="session"), {})):
        times = _times(RunStore(tmp_path), nothing, {}, compose(), marked)
        found = {str(stage): part["session"].tolist() for stage, part in times.groupby("stage")}
        assert found == (expected or {"match": [0, 0], "estimate": [0, 0, 0]})
