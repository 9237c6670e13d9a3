"""The files of a report: tables, plots and the page. Each is written to a temporary name and renamed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import StoreError
from bench.core.files import read_bytes, read_json, write_atomic
from bench.core.records import record
from bench.metrics.text import format_value
from bench.report import columns as cols
from bench.report import render, tables
from bench.report.cards import Cards, page_data
from bench.report.conditions import Manifest, label
from bench.report.figures import draw_plots
from bench.report.interactive import begin_chart_library, has_live_data, live_data
from bench.report.matches import MatchDrawing
from bench.report.page import Picture, render_page
from bench.report.tables import Table

if TYPE_CHECKING:
    import pandas as pd

_DRAWINGS = "matches.json"
_JPEG_QUALITY = 70
_WIDTH_PX = 800


@dataclass(frozen=True, slots=True)
class _Tables:
    printed: list[Table]
    results: list[Table]
    details: list[Table]


def write_report(
    run_dir: Path,
    manifest: Manifest,
    pairs: pd.DataFrame,
    times: pd.DataFrame,
    summary: Any,
    drawings: Sequence[MatchDrawing] | None = None,
    cards: tuple[Cards | None, str] = (None, ""),
    latex_columns: Sequence[str] = (),
) -> Path:
    """Write summary.json, summary.csv, summary.md, summary.tex, plots/ and report.html into a run directory.

    Parameters
    ----------
    run_dir : Path
    manifest : mapping
        See `bench.report.conditions`.
    pairs, times : DataFrame
        Rows of pairs.parquet and times.parquet.
    summary : bench.summary.table.Summary
        Every field is read.
    drawings : sequence of MatchDrawing, optional
        None keeps the drawings that an earlier call left in ``plots/``.
    cards : (Cards or None, str)
        Of the pairs, and why some or all are missing.
    latex_columns : sequence of str
        Metrics of summary.tex, in that order; none: the tables of summary.md.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    StoreError
        If a file cannot be written.
    ConfigError
        If there is no such metric, or the table would be wider than a page.
    ValueError
        If the summary holds no metric that the main table shows.
    """
    if has_live_data(pairs):
        begin_chart_library()  # beside tables and plots
    if latex_columns:
        latex = render.to_latex_columns(tables.chosen_table(summary, manifest, latex_columns))
    made = _tables(summary, manifest, pairs)
    write_atomic(run_dir / "summary.csv", render.to_csv(summary, manifest).encode())
    verdict = {"reference": summary.reference, "verdict": list(summary.sentences)}
    write_atomic(run_dir / "summary.json", json.dumps(verdict, indent=1, ensure_ascii=False).encode())
    parts = [render.to_markdown_list(summary.sentences), *(render.to_markdown(table) for table in made.printed)]
    write_atomic(run_dir / "summary.md", "\n".join(part for part in parts if part).encode())
    if not latex_columns:
        latex = "\n".join(render.to_latex(table) for table in made.printed)
    write_atomic(run_dir / "summary.tex", latex.encode())
    # Of hosts of several classes no time stands for the run.
    times = times if summary.hosts is None else times.iloc[:0]
    plots = draw_plots(manifest, pairs, times, summary)
    if drawings is not None:
        _write_drawings(run_dir / "plots", drawings)
    pictures = _pictures(run_dir / "plots", manifest)
    related = [(f"{path.parent.name} report", f"{path.parent.name}/{path.name}") for path in run_dir.glob("*/*.html")]
    card_data = page_data(cards[0], pairs, manifest, cards[1])
    live = live_data(manifest, pairs, times, summary, made.results[0])
    page = render_page(
        manifest,
        made.results,
        made.details,
        plots,
        pictures,
        sorted(related),
        cards=card_data,
        verdict=summary.sentences,
        data=live,
    )
    for plot in plots:
        write_atomic(run_dir / "plots" / f"{plot.name}.png", plot.png)
        write_atomic(run_dir / "plots" / f"{plot.name}.svg", plot.svg)
    path = run_dir / "report.html"
    write_atomic(path, page.encode())
    return path


def _tables(summary: Any, manifest: Manifest, pairs: pd.DataFrame) -> _Tables:
    def metrics(name: str, title: str, wanted: Sequence[str], splits: Sequence[str] | None = None) -> Table | None:
        return tables.metric_table(name, title, wanted, summary, manifest, splits)

    main = tables.main_table(summary, manifest)
    # Headlines stand among the results, every metric among the details.
    every = tables.differences_table(summary, manifest)
    hosts = tables.hosts_table(summary, manifest)
    others = (
        hosts,
        tables.compact_differences(summary, manifest) or every,
        tables.published_table(summary.published, manifest),
        metrics("homography", "Homography, more measures", cols.of_table("homography")),
        metrics("noise", "Noise of the robust estimator", cols.of_table("noise")),
        metrics("detectors", "Keypoints", (*cols.of_table("detectors"), "n_keypoints"))
        if main.title != tables.DETECTOR_TITLE
        else None,
        metrics("descriptors", "Descriptors and matches", cols.of_table("descriptors")),
        metrics("costs", "Costs", (*cols.of_table("costs"), "peak_memory_mb"), ["all"]),
        tables.precision_table(manifest),
    )
    details = (
        tables.failures_table(summary, manifest),
        None if every is None else dataclasses.replace(every, name="all_differences", title="All differences"),
        tables.scene_table(pairs, manifest),
    )
    printed = [table for table in (main, *others[:3]) if table is not None]
    return _Tables(printed, [main, *(t for t in others if t is not None)], [t for t in details if t is not None])


def _write_drawings(folder: Path, drawings: Sequence[MatchDrawing]) -> None:
    """Write each drawing as JPEG, at most 800 px wide, and what it shows into an index."""
    index = []
    for number, drawing in enumerate(drawings, start=1):
        name = f"matches_{number:02d}.jpg"
        write_atomic(folder / name, _jpeg(drawing.image[..., ::-1]))
        entry = {
            field: getattr(drawing, field) for field in ("method", "pair", "role", "n_matches", "n_correct", "outcome")
        }
        # JSON has no infinity; a failed pair has no error to print.
        index.append({"file": name, **entry, "corner_error_px": f"{drawing.corner_error_px:.2f}"})
    write_atomic(folder / _DRAWINGS, json.dumps(index, indent=1).encode())


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    """Encode a BGR image, at most 800 px wide."""
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, _WIDTH_PX / width)
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def _reduced(data: bytes) -> bytes:
    """Reduce a drawing that an older version made larger; what is no image is left as it is."""
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    return data if image is None or image.shape[1] <= _WIDTH_PX else _jpeg(image.astype(np.uint8))


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A drawing in the index."""

    file: str
    method: str
    pair: str
    role: str
    n_matches: int
    n_correct: int
    outcome: str
    corner_error_px: str


@dataclass(frozen=True, slots=True)
class _Index:
    drawings: list[_Drawn]


def _pictures(folder: Path, manifest: Manifest) -> list[Picture]:
    """Read the drawings that lie in `folder`; files named in the index but missing are left out.

    Raises
    ------
    StoreError
        If the index or a drawing is damaged.
    """
    path = folder / _DRAWINGS
    if not path.is_file():
        return []
    pictures = []
    for entry in record(_Index, {"drawings": read_json(path)}, str(path)).drawings:
        file = folder / Path(entry.file).name
        if not file.is_file():
            continue
        try:
            error = format_value("px", float(entry.corner_error_px))
        except ValueError as problem:
            raise StoreError(f"{path}: corner_error_px is {entry.corner_error_px!r}, no number") from problem
        ended = f"corner error {error} px" if entry.outcome == "ok" else entry.outcome.replace("_", " ")
        title = (
            f"{label(manifest, entry.method)}, {entry.role}: {entry.pair}, {ended}, "
            f"{entry.n_correct} of {entry.n_matches} matches correct"
        )
        alt = f"Two images side by side with the matches of {title}."
        pictures.append(Picture(title, alt, _reduced(read_bytes(file)), "image/jpeg"))
    return pictures
