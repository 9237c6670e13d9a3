"""The report of `bench recommend`: the sentence, the front with its intervals, the table behind it, what was pruned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.core.files import plain, write_atomic, write_json
from bench.core.frames import records
from bench.metrics.text import DASH, format_difference, format_interval, format_value
from bench.report.conditions import Manifest, caption
from bench.report.console import TextColumn, TextSection, print_table, terminal
from bench.report.figures import Plot
from bench.report.page import render_page
from bench.report.render import escape_markdown, to_markdown, to_markdown_list
from bench.report.tables import Cell, Head, Section, Table
from bench.summary.recommend import ALPHA, Answer, Measured, Recommendation, State

READING = (
    "Recommended is the fastest configuration of those that are shown to lose less than the margin. Shown means: its "
    "one-sided p-value, adjusted by Holm over every candidate whose accuracy was looked at, is at most 0.05. So a "
    "configuration that truly loses the margin or more is recommended in at most 5 % of cases.",
    "Intervals of differences assume nothing about how losses are spread over sequences (Gaffke): k sequences without "
    "any loss still leave room for one of 1 - 0.025^(1/k). Small margins need many sequences.",
    "Limits and speed are judged first, by times and memory alone; what they leave out is not in the adjustment.",
    "Pruned candidates were not seen on all sequences; their numbers are of those they were seen on.",
    "Corner errors of other image sizes are measured in the pixels of the reference's images.",
    "Threads change times only. Configurations share features where the timed images showed the same bytes.",
)


@dataclass(frozen=True, slots=True)
class Content:
    """What is reported.

    Attributes
    ----------
    answer : Recommendation
    measured : sequence of Measured
    refused : mapping
        Configuration -> why it did not run.
    metric : str
    margin : float
    family : int
        Candidates that the adjustment counts.
    """

    answer: Recommendation
    measured: Sequence[Measured]
    refused: Mapping[str, str]
    metric: str
    margin: float
    family: int


def configurations(measured: Sequence[Measured]) -> pd.DataFrame:
    """A row per configuration, the fastest first; NaN where nothing was measured."""
    rows = []
    for one in sorted(measured, key=lambda one: (one.latency_ms.value, one.name)):
        low, high = (math.nan, math.nan) if one.gain is None else one.gain.limits(1 - ALPHA)
        rows.append(
            {
                "configuration": one.name,
                "method": one.method,
                "size": one.size,
                "max_keypoints": one.max_keypoints,
                "threads": one.threads,
                "precision": one.precision,
                "state": str(one.state),
                "why": one.why,
                "latency_ms": one.latency_ms.value,
                "latency_ms_low": one.latency_ms.low,
                "latency_ms_high": one.latency_ms.high,
                "speedup": one.speedup.value,
                "speedup_low": one.speedup.low,
                "speedup_high": one.speedup.high,
                "peak_memory_mb": one.memory_mb,
                "accuracy": one.accuracy.value,
                "accuracy_low": one.accuracy.low,
                "accuracy_high": one.accuracy.high,
                "difference": math.nan if one.gain is None else one.gain.value,
                "difference_low": low,
                "difference_high": high,
                "p_loses_margin": one.p_loses,
                "n_sequences": one.n_sequences,
                "n_pairs": one.n_pairs,
            }
        )
    return pd.DataFrame(rows)


_HEADS = (
    Head("configuration", "configuration", False),
    Head("size", "size", False, "Short side, or HEIGHTxWIDTH, of the evaluated images."),
    Head("keypoints", "keypoints", True, "Budget."),
    Head("threads", "threads"),
    Head("precision", "precision", False, "What the model's kernels computed in, as read from the runtime."),
    Head("latency", "ms/image", True, "Median time of an extraction."),
    Head("speedup", "speed-up", True, "Median time of the reference over that of the configuration."),
    Head("memory", "MB", True, "Peak memory of the method's process."),
)


def _cells(row: Mapping[str, object], best: bool = False) -> tuple[Cell, ...]:
    def interval(unit: str, name: str) -> Cell:
        value, low, high = (_number(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
        return Cell(format_value(unit, value), format_interval(unit, low, high), best=best, value=value)

    memory = _number(row["peak_memory_mb"])
    return (
        Cell(str(row["method"]), best=best),
        Cell(str(row["size"])),
        Cell(str(row["max_keypoints"]), value=_number(row["max_keypoints"])),
        Cell(str(row["threads"]), value=_number(row["threads"])),
        Cell(str(row["precision"]) or DASH),
        interval("ms", "latency_ms"),
        interval("ratio", "speedup"),
        Cell(format_value("MB", memory), value=memory),
    )


def _number(value: object) -> float:
    return float(str(value))


def tables(content: Content, manifest: Manifest) -> list[Table]:
    """Configurations tested on all sequences; pruned ones; those that limits or speed left out, or that did not run."""
    frame = configurations(content.measured)
    shown, note = (
        caption(manifest),
        (f"Brackets: 95 % intervals. p: of losing {content.margin:g} or more, Holm over {content.family} candidates."),
    )
    heads = (
        *_HEADS,
        Head("accuracy", content.metric.replace("_", " "), True, "The wanted metric."),
        Head("difference", "difference", True, "From the reference on the same pairs; distribution-free interval."),
        Head("p", "p", True, "One-sided, of losing the margin or more; adjusted over the candidates compared."),
        Head("state", "finding", False),
    )
    rows, pruned, left = [], [], []
    for row in records(frame):
        best = row["configuration"] == content.answer.chosen and content.answer.answer is Answer.SHIP
        difference = Cell(
            format_difference("share", row["difference"]),
            format_interval("share", row["difference_low"], row["difference_high"]),
            value=row["difference"],
        )
        accuracy = Cell(
            format_value("share", row["accuracy"]),
            format_interval("share", row["accuracy_low"], row["accuracy_high"]),
            value=row["accuracy"],
        )
        if row["state"] == State.PRUNED:
            seen = Cell(str(row["n_sequences"]), value=row["n_sequences"])
            pruned.append((*_cells(row), seen, difference, Cell(str(row["why"]))))
        elif row["state"] == State.LEFT_OUT:
            left.append((*_cells(row), Cell(str(row["why"]))))
        else:
            p = Cell(DASH if math.isnan(row["p_loses_margin"]) else f"{row['p_loses_margin']:.3g}")
            rows.append((*_cells(row, best), accuracy, difference, p, Cell(str(row["state"]))))
    when = (
        Head("seen", "sequences seen"),
        Head("difference", "difference", True),
        Head("why", "why", False, "Rules in their order: loses more than the margin; beaten; less promising."),
    )
    refused = [
        (Cell(name), *(Cell(DASH) for _ in _HEADS[1:]), Cell(f"did not run: {why}"))
        for name, why in content.refused.items()
    ]
    found = [
        Table("configurations", "Configurations on all sequences", shown, note, heads, (Section("", tuple(rows)),))
    ]
    if pruned:
        found.append(Table("pruned", "Pruned", shown, note, (*_HEADS, *when), (Section("", tuple(pruned)),)))
    if left or refused:
        out = (*_HEADS, Head("why", "why", False))
        section = Section("", (*left, *refused))
        found.append(Table("left_out", "Left out before any accuracy was looked at", shown, "", out, (section,)))
    return found


def write(directory: Path, manifest: Manifest, content: Content) -> Path:
    """Write recommendation.json, .md, .html and plots/; returns the page.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    made = tables(content, manifest)
    answer = content.answer
    kept = {
        "answer": str(answer.answer),
        "configuration": answer.chosen,
        "sentences": list(answer.sentences),
        "metric": content.metric,
        "margin": content.margin,
        "candidates": content.family,
        "refused": dict(content.refused),
        "configurations": records(configurations(content.measured)),
    }
    write_json(directory / "recommendation.json", plain(kept))
    text = [f"# {escape_markdown(str(manifest.get('title', '')))}\n", to_markdown_list(answer.sentences)]
    write_atomic(directory / "recommendation.md", "\n".join([*text, *map(to_markdown, made)]).encode())
    plot = _plot(content)
    write_atomic(directory / "plots" / f"{plot.name}.png", plot.png)
    write_atomic(directory / "plots" / f"{plot.name}.svg", plot.svg)
    page = directory / "recommendation.html"
    html = render_page(manifest, made, [], [plot], [], reading=READING, verdict=answer.sentences)
    write_atomic(page, html.encode())
    return page


def _plot(content: Content) -> Plot:
    from bench.report.plots.accuracy import tradeoff
    from bench.report.plots.style import to_bytes

    frame = configurations(content.measured)
    chosen = content.answer.chosen if content.answer.answer is Answer.SHIP else None
    figure = tradeoff(frame[frame["accuracy"].notna()], content.metric, content.margin, chosen)
    names = ", ".join(frame.loc[frame["accuracy"].notna(), "configuration"])
    alt = (
        f"Scatter plot of {content.metric.replace('_', ' ')} against median milliseconds per image with 95 percent "
        f"intervals: {names}. The values are in the table of configurations."
    )
    return Plot("pareto", "Accuracy against time", alt, to_bytes(figure, "png"), to_bytes(figure, "svg"), True)


def print_report(content_table: pd.DataFrame, answer: Recommendation) -> None:
    """Print the configurations and, last, the answer."""
    heads = ["method", "size", "keypoints", "threads", "ms", "speed-up", "MB", "difference", "finding"]
    ranks = {"MB": 3, "threads": 2, "speed-up": 1}
    columns = [TextColumn(head, 1 < i < 8, ranks.get(head, 0)) for i, head in enumerate(heads)]
    rows = []
    for row in records(content_table):
        difference = format_difference("share", row["difference"])
        interval = format_interval("share", row["difference_low"], row["difference_high"])
        state = str(row["state"]) + (f" after {row['n_sequences']}" if row["state"] == State.PRUNED else "")
        rows.append(
            [
                str(row["method"]),
                str(row["size"]),
                str(row["max_keypoints"]),
                str(row["threads"]),
                format_value("ms", row["latency_ms"]),
                format_value("ratio", row["speedup"]),
                format_value("MB", row["peak_memory_mb"]),
                f"{difference} {interval}".strip(),
                state + (f": {row['why']}" if row["why"] else ""),
            ]
        )
    print_table(columns, [TextSection(rows)], title="Configurations, the fastest first")
    console = terminal()
    for sentence in answer.sentences:
        console.print(sentence, markup=False)
