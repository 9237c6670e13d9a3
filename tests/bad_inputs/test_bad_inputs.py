"""No bad input is taken, ends in a traceback, or in another code than the documented one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bad_inputs.files import CASES as FILES
from tests.bad_inputs.files import FileCase
from tests.bad_inputs.runner import Case, argument_cases, run_apart, run_here

CASES = argument_cases()
EVERY = 40
"""Composing a configuration takes half a second: the quick tests run a part."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnished(tmp_path_factory.mktemp("bad"))


def furnished(place: Path) -> Path:
    for name in ("empty", "images", "run", "base"):
        (place / name).mkdir()
    (place / "file").write_text("x")
    return place


def test_there_are_enough_and_none_twice() -> None:
    names = [str(case) for case in CASES]
    assert len(names) >= 400
    assert [name for name in names if names.count(name) > 1] == []


@pytest.mark.parametrize("case", CASES[::EVERY], ids=str)
def test_some_arguments(case: Case, folder: Path) -> None:
    assert run_here(case, folder).wrong(case) is None


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for i, case in enumerate(CASES) if i % EVERY], ids=str)
def test_all_other_arguments(case: Case, folder: Path) -> None:
    assert run_here(case, folder).wrong(case) is None


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES[7 :: 2 * EVERY], ids=str)
def test_some_as_processes(case: Case, tmp_path: Path) -> None:
    assert run_apart(case, furnished(tmp_path)).wrong(case) is None
    assert list((tmp_path / "cwd").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("case", FILES, ids=str)
def test_files(case: FileCase, tmp_path: Path) -> None:
    case.make(tmp_path)
    assert run_here(case.case, tmp_path, work=True).wrong(case.case) is None
    assert not list((tmp_path / "cwd").glob("results/*"))


_TYPED = """
    seed=7 threads=1 methods=classical +method@methods.akaze=akaze ~methods.orb title='é' latency=off
    dataset=photos_small
    protocol.mma_px=[1,3] run_dir=new/run +methods.sift.params.nOctaveLayers=4
"""
GOOD = _TYPED.split()


@pytest.mark.parametrize("typed", GOOD[-3:])
def test_what_is_good_is_taken(typed: str, folder: Path) -> None:
    ended = run_here(Case([typed], ""), folder)
    assert (ended.code, ended.started) == (0, True), ended.error


@pytest.mark.slow
@pytest.mark.parametrize("typed", GOOD[:-3])
def test_all_that_is_good_is_taken(typed: str, folder: Path) -> None:
    test_what_is_good_is_taken(typed, folder)


@pytest.mark.skipif(sys.platform == "win32", reason="file names are text there")
def test_an_argument_that_is_no_utf8(folder: Path) -> None:
    case = Case(["title=\udcff"], "no UTF-8 text")
    assert run_here(case, folder).wrong(case) is None
