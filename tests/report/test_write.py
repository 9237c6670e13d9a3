from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import StoreError
from bench.report.matches import MatchDrawing
from bench.report.write import _pictures, write_report
from tests.report.conftest import SimulatedRun
from tests.report.simulation import simulated_pairs, simulated_summary, simulated_times

PLOTS = ("pareto", "corner_error", "difficulty", "mma", "repeatability", "stages", "latency")


def drawing(outcome: str = "ok", error: float = 1.25) -> MatchDrawing:
    image = np.random.default_rng(0).integers(0, 255, (480, 1286, 3), dtype=np.uint8)
    return MatchDrawing("sift", "v_scene01/1-4", "best", image, 300, 250, error, outcome)


@pytest.mark.slow
def test_writes_every_file_and_leaves_nothing_temporary(run: SimulatedRun, tmp_path: Path) -> None:
    path = write_report(tmp_path, run.manifest, run.pairs, run.times, run.summary, [drawing()])
    assert path == tmp_path / "report.html"
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert files == {
        "report.html",
        "summary.json",
        "summary.csv",
        "summary.md",
        "summary.tex",
        "plots/matches.json",
        "plots/matches_01.jpg",
        *(f"plots/{name}.{kind}" for name in PLOTS for kind in ("png", "svg")),
    }
    assert path.stat().st_size < 5_000_000
    text = path.read_text(encoding="utf-8")
    assert "sift, best: v_scene01/1-4, corner error 1.25 px, 250 of 300 matches correct" in text


@pytest.mark.slow
def test_writing_again_changes_nothing_and_keeps_drawings_and_links(run: SimulatedRun, tmp_path: Path) -> None:
    def contents() -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    (tmp_path / "parity").mkdir()
    (tmp_path / "parity" / "parity.html").write_text("<p>drift")
    write_report(tmp_path, run.manifest, run.pairs, run.times, run.summary, [drawing("estimation_failed", np.inf)])
    first = contents()
    assert 'href="parity/parity.html"' in first[str(tmp_path / "report.html")].decode()
    write_report(tmp_path, run.manifest, run.pairs, run.times, run.summary)
    assert contents() == first
    assert "estimation failed, 250 of 300" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_without_times_or_splits_has_a_report(run: SimulatedRun, tmp_path: Path) -> None:
    pairs = run.pairs.assign(split="-")
    times = run.times.iloc[:0]
    path = write_report(tmp_path, {}, pairs, times, simulated_summary(pairs, times, 100))
    assert path.is_file()
    assert not (tmp_path / "plots" / "pareto.png").exists()


def test_a_file_that_cannot_be_written_is_a_named_error(run: SimulatedRun, tmp_path: Path) -> None:
    (tmp_path / "summary.csv").mkdir()
    (tmp_path / "summary.csv" / "occupied").write_text("a folder where a file must be")
    with pytest.raises(StoreError, match=r"summary\.csv"):
        write_report(tmp_path, run.manifest, run.pairs, run.times, run.summary)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_a_full_size_report_stays_below_five_megabytes(run: SimulatedRun, tmp_path: Path) -> None:
    pairs = simulated_pairs(scenes=116)
    times = simulated_times(pairs, repeats=1)
    summary = simulated_summary(pairs, times, 100)
    path = write_report(tmp_path, run.manifest, pairs, times, summary, [drawing()])
    assert path.stat().st_size < 5_000_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read"),
        ("null", "drawings is null"),
        ("[3]", r"drawings\[0\]"),
        ('[{"file": "a"}]', "lacks the key"),
    ],
)
def test_a_damaged_index_of_drawings_ends_in_one_sentence(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "matches.json").write_text(content)
    with pytest.raises(StoreError, match=message):
        _pictures(tmp_path, {})
