"""`bench clean` shows before it deletes, and deletes nothing that is not its own or is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.commands.clean import CleanConfig, main
from bench.core import usage
from bench.core.errors import StoreError
from bench.core.files import LOCK, locked, verify_files
from bench.run.manifest import COMPLETE, RUNNING
from bench.schema.options import Cleaned
from tests.commands.runs import a_run


def clean(place: Path, *what: str, yes: bool = True) -> int:
    chosen = [Cleaned(word) for word in what]
    return main(CleanConfig(what=chosen, results=str(place / "results"), cache=str(place / "cache"), yes=yes))


def files(place: Path) -> set[str]:
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if path.name != ".in-use"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Results and a cache with one of everything, and what must stay."""
    results, cache = tmp_path / "results", tmp_path / "cache"
    a_run(results / "done", COMPLETE, 1000)
    a_run(results / "killed", RUNNING, 500)
    a_run(results / "multirun_x/seed-1", RUNNING)
    (a_run(results / "damaged", RUNNING) / "manifest.json").write_text("{")
    (results / "mine").mkdir()
    (results / "mine/notes.txt").write_text("not of bench")
    (results / "other").mkdir()
    (results / "other/manifest.json").write_text('{"status": "running"}')
    a_run(tmp_path / "elsewhere", RUNNING)
    (results / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("datasets/photos-0123456789ab", "ir/0123456789abcdef-f16-0123456789abcdef", "ir/mine", "other/x"):
        (cache / name).mkdir(parents=True)
        (cache / name / "file").write_bytes(bytes(100))
    (cache / "datasets/linked-0123456789ab").symlink_to(tmp_path / "elsewhere")
    return tmp_path


def test_nothing_goes_without_a_yes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(place)
    assert clean(place, *Cleaned, yes=False) == 0
    said = capsys.readouterr().out
    assert "nothing was deleted: 5 entries, 0.0 MB; yes=true deletes them" in said
    assert f"{place}/results/killed  (photos, strict, started 2026-01-02 03:04 UTC)" in said
    assert files(place) == before


def test_unfinished_runs_go_and_nothing_else(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(place)
    assert clean(place, "unfinished") == 0
    gone = before - files(place)
    assert {name.split("/")[1] for name in gone} == {"killed", "multirun_x"}
    assert (place / "results/multirun_x").is_dir()
    assert "deleted 2 of 2 entries" in capsys.readouterr().out
    assert clean(place, "unfinished") == 0
    assert "nothing to clean: unfinished" in capsys.readouterr().out


def test_features_go_and_the_run_stays_whole(place: Path) -> None:
    assert clean(place, "features") == 0
    assert not list((place / "results/done/features").rglob("*"))
    assert verify_files(place / "results/done") == ([], [])
    assert (place / "results/killed/features/orb/a.npz").is_file()


def test_the_cache_goes_and_what_is_not_of_bench_stays(place: Path) -> None:
    assert clean(place, "cache") == 0
    left = {path.relative_to(place).as_posix() for path in (place / "cache").glob("*/*")}
    assert left == {"cache/datasets/linked-0123456789ab", "cache/ir/mine", "cache/other/x"}
    assert (place / "elsewhere/manifest.json").is_file()


def test_a_running_run_and_a_used_cache_stay(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(place)
    with locked(place / "results/killed" / LOCK), locked(place / "results/multirun_x/seed-1" / LOCK):
        assert clean(place, "unfinished") == 0
    with usage.using(place / "cache"), usage.using(place / "cache"):
        assert clean(place, "cache") == 1
    assert "a command of bench uses" in capsys.readouterr().out
    assert files(place) == before
    assert clean(place, "cache") == 0


def test_a_run_that_is_continued_after_it_was_listed_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = locked(place / "results/killed" / LOCK)
    monkeypatch.setattr("bench.commands.clean._agreed", lambda total: held.__enter__() is None)
    assert clean(place, "unfinished", yes=False) == 1
    held.__exit__(None, None, None)
    assert (place / "results/killed/manifest.json").is_file()
    assert not (place / "results/multirun_x/seed-1").exists()


def test_a_cache_that_is_deleted_from_cannot_be_taken_into_use(tmp_path: Path) -> None:
    with usage.unused(tmp_path), pytest.raises(StoreError, match="uses"), usage.unused(tmp_path):
        pass
