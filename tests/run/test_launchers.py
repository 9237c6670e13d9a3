"""A multirun under every launcher: exit code, sentence, what is left; `tests.run.launchers` prints it as a table."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.run.launchers import LAUNCHERS, available, multirun

EVERY = [pytest.param(name, marks=() if name == "basic" else (pytest.mark.extras,), id=name) for name in LAUNCHERS]


def _skip_without(launcher: str) -> None:
    if not available(launcher):
        pytest.skip(f"the Hydra launcher {launcher} is not installed (extras launchers, ray-launcher)")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", EVERY)
def test_a_failing_job_fails_the_command_and_no_other_job(launcher: str, tmp_path: Path) -> None:
    _skip_without(launcher)
    ended = multirun(tmp_path, launcher, "fail")
    assert ended.code == 4, ended.output
    assert ended.finished == 2
    assert ended.sentence == "job 1 (seed-1): exit code 4: method deadly: this method fails; choose another"
    assert "bench: 2 of 3 jobs finished, failed:" in ended.output
    assert ended.page


@pytest.mark.slow
@pytest.mark.parametrize("launcher", EVERY)
def test_a_killed_job_fails_the_command_which_can_be_continued(launcher: str, tmp_path: Path) -> None:
    _skip_without(launcher)
    ended = multirun(tmp_path, launcher, "kill")
    if launcher == "basic":  # the jobs run in the command itself
        assert (ended.code, ended.finished) == (-signal.SIGKILL, 1)
    else:
        assert ended.code == 1, ended.output
        assert "it was killed, or its process died" in ended.sentence
        assert f"hydra.sweep.dir=results/{ended.folder.name}" in ended.output
    again = multirun(tmp_path, launcher, "none", f"hydra.sweep.dir=results/{ended.folder.name}")
    assert (again.code, again.finished, again.page) == (0, 3, True), again.output
