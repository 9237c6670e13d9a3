"""What becomes of an image whose worker dies: tried again, lost, given up, and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.types import Context, EvaluatedImage
from bench.run.extraction import MAX_CRASHES, _Runner
from bench.run.incidents import Incidents
from bench.run.worker import Worker
from bench.schema import CustomConfig

GREY = np.random.default_rng(0).integers(0, 255, (64, 96)).astype(np.uint8)
DEATH = "method grid: its worker process was killed by SIGKILL during extract"


def image(number: int) -> EvaluatedImage:
    return EvaluatedImage(f"seq/{number}", GREY, np.eye(3))


@pytest.fixture
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> _Runner:
    config = CustomConfig(backend="tests.method_modules", max_keypoints=0, threads=1, params={"fault": request.param})
    worker = Worker("grid", config, Context(1, tmp_path, tmp_path), tmp_path / "logs/grid.log")
    request.addfinalizer(worker.close)
    return _Runner(worker, 0, Incidents.of(tmp_path))


@pytest.mark.parametrize("runner", ["crash_once"], indirect=True)
def test_a_second_try_that_succeeds_is_a_note(runner: _Runner, tmp_path: Path) -> None:
    assert not isinstance(runner.attempt([image(1)], evaluated=True), str)
    kept = Incidents.of(tmp_path)
    assert kept.died == [] and len(kept.notes) == 1
    assert kept.notes[0].startswith(DEATH) and kept.notes[0].endswith("restarted on seq/1 and nothing was lost")


@pytest.mark.parametrize("runner", ["crash"], indirect=True)
def test_a_method_is_given_up_after_some_images_in_a_row(runner: _Runner, tmp_path: Path) -> None:
    for number in range(MAX_CRASHES):
        assert str(runner.attempt([image(number)], evaluated=True)).startswith(DEATH)
        assert Incidents.of(tmp_path).died == ["grid"]
    pid = runner.worker.pid()
    reason = runner.attempt([image(9)], evaluated=True)
    assert str(reason).startswith(f"given up after {MAX_CRASHES} images in a row: {DEATH}")
    assert runner.worker.pid() == pid  # not tried again


@pytest.mark.parametrize("runner", ["crash"], indirect=True)
def test_a_repeated_timing_that_is_lost_loses_no_pair(runner: _Runner, tmp_path: Path) -> None:
    assert isinstance(runner.attempt([image(1)], evaluated=False), str)
    kept = Incidents.of(tmp_path)
    assert kept.died == [] and "a repeated timing of seq/1 is missing, no pair is lost" in kept.notes[0]
