"""Progress: lines without a terminal, nothing where information is not wanted."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from bench.core.progress import progress, track


@pytest.fixture
def level() -> Iterator[logging.Logger]:
    root = logging.getLogger("bench")
    before = root.level
    yield root
    root.setLevel(before)


def test_without_a_terminal_the_last_step_has_its_line(
    level: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    level.setLevel(logging.NOTSET)
    with progress("extract", 3, done=1) as step:
        step("a")
        step("b")
    assert capsys.readouterr().err.splitlines() == ["extract: 3/3, 0 s, ETA 0 s  b"]


def test_details_have_a_line_for_every_step(level: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    level.setLevel(logging.DEBUG)
    assert list(track("ab", "adapt")) == ["a", "b"]
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["adapt: 1/2", "adapt: 2/2"]


def test_quiet_shows_nothing_and_loses_nothing(level: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    level.setLevel(logging.WARNING)
    assert list(track([1, 2, 3], "adapt")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")
