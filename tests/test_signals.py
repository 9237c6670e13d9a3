"""Signals in every phase of a run, readers that leave, and unusual surroundings: as separate processes."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BENCH = (sys.executable, "-P", "-m", "bench")
RUN = (
    "dataset=photos_small",
    "dataset.viewpoint_sequences=2",
    "dataset.illumination_sequences=0",
    "methods=classical",
    "~methods.rootsift",
    "~methods.akaze",
    "~methods.brisk",
    "~methods.kaze",
    "protocol.keypoints.max=100",
    "protocol.estimator.repeats=2",
    "bootstrap_draws=100",
    "latency=off",
    "jobs=2",
)
SLACK_S = 120
"""How long a phase may take to come, and a process to leave, on a loaded machine."""
Reached = Callable[[Path, str], bool]
PHASES: dict[str, Reached] = {
    "load": lambda directory, said: any(directory.glob("logs/*.log")),
    "extraction": lambda directory, said: any(directory.glob("features/*/*/*.npz")),
    "evaluation": lambda directory, said: "extract: 24/24" in said,
    "report": lambda directory, said: (directory / "times.parquet").is_file(),
}
"""Phase -> whether a run is in it, from its directory and its standard error."""


@pytest.fixture
def typed(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small run; all tests share its data."""
    data = tmp_path_factory.getbasetemp() / "data"
    return [*RUN, f"data_root={data}", f"results={tmp_path / 'results'}"]


def run(typed: Sequence[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BENCH, *typed], cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=SLACK_S
    )


def ended_by(number: int, reached: Reached, typed: Sequence[str], folder: Path) -> tuple[int, str]:
    """Send a signal to a run and its children, as a terminal does, once `reached`; exit code and standard error."""
    log = folder / "stderr"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*BENCH, *typed], cwd=folder, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
        )
    try:
        deadline = time.monotonic() + SLACK_S
        while not any(reached(directory, log.read_text()) for directory in folder.glob("results/*")):
            assert process.poll() is None, f"the run ended before the phase: {log.read_text()}"
            assert time.monotonic() < deadline, f"the phase did not come: {log.read_text()}"
            time.sleep(0.002)
        os.killpg(process.pid, number)
        return process.wait(SLACK_S), log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("phase", PHASES)
def test_control_c_names_what_continues_the_run(phase: str, typed: list[str], tmp_path: Path) -> None:
    code, said = ended_by(signal.SIGINT, PHASES[phase], typed, tmp_path)
    assert code == 130, said
    assert "Traceback" not in said
    hints = [line for line in said.splitlines() if line.startswith("bench: interrupted; ")]
    assert len(hints) == 1, said
    found = re.search(r"continue with: bench (.+)", hints[0])
    if phase == "load":  # nothing is measured, so no directory is left
        assert found is None
        assert list((tmp_path / "results").iterdir()) == []
        return
    assert found is not None, hints[0]
    words = shlex.split(found[1])
    (directory,) = (tmp_path / "results").iterdir()
    assert words[-1] == f"run_dir={directory}"
    assert set(typed) <= set(words)
    continued = run(words, tmp_path)
    assert continued.returncode == 0, continued.stderr
    assert (directory / "report.html").is_file()
    assert list((tmp_path / "results").iterdir()) == [directory]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGTERM, 143)])
def test_other_signals_end_with_their_own_code(number: int, code: int, typed: list[str], tmp_path: Path) -> None:
    ended, said = ended_by(number, PHASES["extraction"], typed, tmp_path)
    assert ended == code, said
    assert "Traceback" not in said
    assert "run_dir=" in said


def piped(typed: Sequence[str], folder: Path, **environment: str) -> tuple[int, str, str]:
    """``bench ... | head -1``: the exit code of bench, its standard error, and what head gave."""
    command = f"{shlex.join([*BENCH, *typed])} | head -1; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SLACK_S,
    )
    return found.returncode, found.stderr, found.stdout


def test_a_reader_that_leaves_is_no_error(typed: list[str], tmp_path: Path) -> None:
    """Also with a matplotlib back end that does not exist: figures go to files, whatever the environment asks for."""
    for arguments in (typed, ["--help"]):
        code, said, first = piped(arguments, tmp_path, MPLBACKEND="foo")
        assert "Traceback" not in said
        assert "BrokenPipe" not in said
        assert first.count("\n") <= 1
        # A text that fits the pipe may be written whole before head leaves.
        assert code in (0, 141), said
    (directory,) = (tmp_path / "results").iterdir()
    assert (directory / "report.html").is_file()


def test_a_closed_output_ends_with_141(tmp_path: Path) -> None:
    """A pipe whose reader is gone before the first byte, so that the code does not depend on who is faster."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        found = subprocess.run(
            [*BENCH, "--help"], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=SLACK_S
        )
    finally:
        os.close(writer)
    assert found.returncode == 141, found.stderr
    assert "Traceback" not in found.stderr
    assert "BrokenPipe" not in found.stderr


def test_a_deleted_working_directory_is_one_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    command = f"mkdir {shlex.quote(str(gone))} && cd {shlex.quote(str(gone))} && rmdir ../gone && {shlex.join(BENCH)}"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=SLACK_S)
    assert found.returncode == 4, found.stderr
    (said,) = [line for line in found.stderr.splitlines() if line.startswith("bench: ")]
    assert "the current folder does not exist" in said
    assert "Traceback" not in found.stderr
