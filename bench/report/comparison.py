"""The tables, charts and files of a comparison of runs and of a history. No number is computed here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core import names
from bench.core.files import plain, seal, start_checksums, write_atomic, write_json, write_parquet
from bench.core.frames import records
from bench.metrics.columns import column
from bench.metrics.record import Column
from bench.metrics.text import DASH, format_difference, format_interval, format_value
from bench.report import columns as cols
from bench.report import render
from bench.report.columns import choose, heading
from bench.report.conditions import label, precision_label
from bench.report.figures import Plot
from bench.report.lookup import number
from bench.report.page import render_page
from bench.report.tables import Cell, Head, Section, Table, format_p
from bench.summary.comparison import LATENCIES, LATENCY_FLOOR, NOT_COMPARABLE, RunComparison
from bench.summary.history import RunHistory
from bench.summary.table import DIFFERENT

if TYPE_CHECKING:
    import pandas as pd

_SETTINGS_SHOWN = 4
_ROWS_PRINTED = 24
_HEADLINE = (r"accuracy_[\d.]+px", "mma_3px", "repeatability", "latency_median_ms")
_DECIDED = (*DIFFERENT, "faster", "slower")
READING = (
    "Only runs of one protocol (hash), one data set (digest) and one list of pairs are compared; others stand beside "
    "each other in groups of their own, without differences.",
    "A row is a run and a method. Columns before the method are the settings that differ between the runs; what is "
    "equal stands under Conditions.",
    "A difference is taken on the same pairs, with its 95 % interval over sequences; p-values are Holm's over all rows "
    "compared in one metric.",
    f"Times are compared on one host with one number of threads, if neither run was disturbed. Two runs of one program "
    f"may differ by some percent: faster and slower are said only beyond {LATENCY_FLOOR:.0%}.",
    "A failed pair counts as an infinite error. Nothing is left out.",
)
HISTORY_READING = (
    "A step is the first run after which a level changed. Runs between two steps are taken together, and compared with "
    "the next ones on the same pairs; a step in a time must stand out against what changes from run to run and last "
    "for two runs.",
    "Of histories without any change at most 5 % show a step, over all methods and metrics together.",
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A folder that was asked for and is in no table, and why."""

    path: str
    status: str
    text: str


def main_title(comparison: RunComparison) -> str:
    """Heading of the page and of the main table; says so where runs stand side by side."""
    n = len(comparison.runs)
    if comparison.side_by_side:
        what = " and ".join(each.key for each in comparison.disagreements)
        return f"{n} runs side by side, which do not agree in {what}: no differences between groups"
    return f"{n} run{'' if n == 1 else 's'} of one protocol and data set"


def _patterns(present: Sequence[str]) -> Sequence[str]:
    """Columns of the main table, by what the runs measured."""
    for head, patterns in (("accuracy_", cols.MAIN), ("mma_", cols.MATCHING)):
        if any(metric.startswith(head) for metric in present):
            return patterns
    return cols.REPEATABILITY


def shown_settings(comparison: RunComparison, most: int = _SETTINGS_SHOWN) -> list[str]:
    """Differing settings that stand as columns, most telling first; constants of a protocol or data set that has a name
    of its own are told by that name."""
    texts = comparison.conditions

    def named(key: str) -> bool:
        return key in texts and len({t.rpartition(" ")[0] for t in texts[key].values()}) == len(
            set(texts[key].values())
        )

    found = []
    for key in texts:
        if key.startswith("protocol.") and (named("protocol") or "protocol" not in texts):
            continue
        if key.startswith("dataset.") and named("data"):
            continue
        if key == "protocol" and not named(key) and any(k.startswith("protocol.") for k in texts):
            continue
        if key == "data" and not named(key) and any(k.startswith("dataset.") for k in texts):
            continue
        found.append(key)

    def rank(key: str) -> int:
        order = ("protocol", "data", "threads", "host")
        if key in order:
            return 1 + order.index(key)
        return 9 if key == "commit" else 7 if key.startswith("versions.") else 0

    return sorted(found, key=rank)[:most]


def _shown_method_settings(comparison: RunComparison, room: int) -> list[str]:
    # Settings of methods follow those of the protocol; where it differs they say nothing of their own.
    if any(each.key == "protocol" for each in comparison.disagreements):
        return []
    return [key for key in comparison.method_conditions if not key.startswith("model.")][: max(room, 0)]


def _setting_text(key: str, text: str) -> str:
    return text.rpartition(" ")[0] if key in ("protocol", "data") else text


def main_table(comparison: RunComparison) -> Table:
    """One row a run and method: the settings that differ, then the columns of the main table of a run."""
    lookup = _by_place(comparison.values)
    present = [str(m) for m in dict.fromkeys(comparison.values["metric"])]
    chosen = choose(present, cols.main_of(_patterns(present)))
    kept = shown_settings(comparison)
    own = _shown_method_settings(comparison, _SETTINGS_SHOWN - len(kept))
    precise = any(precision_label(run.manifest, m) != DASH for run in comparison.runs for m in run.methods)
    heads = [
        Head("run" if _tell_apart(comparison, kept) else "run_name", "run", False, "Folder of the run."),
        *(Head(f"setting:{key}", key.removeprefix("versions."), False) for key in (*kept, *own)),
        Head("method", "method", False),
        *([Head("precision", "precision", False, "What the model's kernels computed in.")] if precise else []),
        *(Head(c.name, heading(c), True, c.definition) for c in chosen),
    ]
    sections = []
    for group in comparison.groups:
        rows = []
        for name in group:
            run = comparison.run(name)
            for method in run.methods:
                rows.append(
                    (
                        Cell(name),
                        *(Cell(_setting_text(key, comparison.conditions[key][name])) for key in kept),
                        *(Cell(comparison.method_conditions[key][name, method]) for key in own),
                        Cell(label(run.manifest, method)),
                        *([Cell(precision_label(run.manifest, method))] if precise else []),
                        *(_value(lookup.get((name, method, c.name)), c) for c in chosen),
                    )
                )
        sections.append(Section(_group_title(comparison, group) if comparison.side_by_side else "", tuple(rows)))
    note = "Brackets: 95 % interval of the run by itself; to compare rows use the differences."
    if comparison.side_by_side:
        note = f"Side by side: the groups do not agree ({'; '.join(map(str, comparison.disagreements))}). {note}"
    more = len(comparison.conditions) - len(kept)
    note += f" {more} more settings differ, see What differs." if more > 0 else ""
    return Table("main", main_title(comparison), common_caption(comparison), note, tuple(heads), tuple(sections))


def _tell_apart(comparison: RunComparison, settings: Sequence[str]) -> bool:
    """Whether every run has settings of its own, so that a narrow terminal can do without its name."""
    rows = {tuple(comparison.conditions[key][run.name] for key in settings) for run in comparison.runs}
    return len(rows) == len(comparison.runs)


def _by_place(values: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(r["run"], r["method"], r["metric"]): r for r in records(values[values["split"] == "all"])}


def _value(row: Mapping[str, Any] | None, known: Column) -> Cell:
    if row is None:
        return Cell(DASH)
    value, low, high = (number(row[key]) for key in ("value", "low", "high"))
    return Cell(format_value(known.unit, value), format_interval(known.unit, low, high), value=value)


def _group_title(comparison: RunComparison, group: Sequence[str]) -> str:
    manifest = comparison.run(group[0]).manifest
    protocol, dataset = manifest["protocol"], manifest["dataset"]
    names = {run.manifest["protocol"]["hash"]: run.manifest["protocol"]["name"] for run in comparison.runs}
    sets = {run.manifest["dataset"]["digest"]: run.manifest["dataset"]["name"] for run in comparison.runs}
    # A hash only where the names do not tell them apart.
    protocol_hash = f" {protocol['hash'][:8]}" if len(set(names.values())) < len(names) else ""
    digest = f" {str(dataset['digest'])[:8]}" if len(set(sets.values())) < len(sets) else ""
    return f"{protocol['name']}{protocol_hash} on {dataset['name']}{digest}"


def common(comparison: RunComparison) -> dict[str, Any]:
    """What the manifests of all runs have in common, as a manifest."""

    def shared(values: Sequence[Any]) -> Any:
        if all(isinstance(value, Mapping) for value in values):
            keys = [key for key in values[0] if all(key in value for value in values[1:])]
            found = {key: shared([value[key] for value in values]) for key in keys}
            return {key: value for key, value in found.items() if value is not None}
        return values[0] if all(value == values[0] for value in values[1:]) else None

    found: dict[str, Any] = shared([run.manifest for run in comparison.runs]) or {}
    for key in (
        "title",
        "command",
        "started",
        "finished",
        "rows_expected",
        "rows_written",
        "load_before",
        "load_after",
    ):
        found.pop(key, None)
    if (found.get("noise") or {}).get("noisy"):
        found["noise"] = {}  # said of each run
    return found


def common_caption(comparison: RunComparison) -> str:
    """The conditions that all runs share, as sentences."""
    from bench.report.conditions import data_note, host_note, protocol_note, seed_note

    manifest = common(comparison)
    host = host_note(manifest)
    parts = (data_note(manifest), protocol_note(manifest), seed_note(manifest), f"host: {host}" if host else "")
    return " ".join(f"{part[:1].upper()}{part[1:]}." for part in parts if part)


def differences_table(comparison: RunComparison) -> Table | None:
    """One row a run and method, a column a headline metric: difference, interval, verdict."""
    frame = comparison.differences
    frame = frame[frame["split"] == "all"]
    shown = choose((str(m) for m in frame["metric"]), _HEADLINE)
    if not len(frame) or not shown:
        return None
    rows = {(r["run"], r["method"], r["metric"]): r for r in records(frame)}
    places = list(dict.fromkeys((r["run"], r["method"]) for r in records(frame)))
    against = {(r["run"], r["method"]): (r["reference_run"], r["reference_method"]) for r in records(frame)}
    heads = (
        Head("run_name", "run", False),
        Head("method", "method", False),
        Head("reference", "compared with", False),
        *(
            Head(f"change:{c.name}", f"{heading(c)}, ratio" if c.name in LATENCIES else heading(c), True, c.definition)
            for c in shown
        ),
    )
    made = []
    for run, method in places:
        base, base_method = against[run, method]
        other = label(comparison.run(base).manifest, base_method)
        same = base_method == method
        made.append(
            (
                Cell(run),
                Cell(label(comparison.run(run).manifest, method)),
                Cell(base if same else f"{base}, {other}"),
                *(_change(rows.get((run, method, c.name)), c) for c in shown),
            )
        )
    note = (
        "This run minus the other on the same pairs, with its paired 95 % interval; times as ratios. A word other than "
        "better, worse, faster or slower (Holm over all rows) claims no difference."
    )
    title = "Differences within groups" if comparison.side_by_side else "Differences"
    return Table("differences", title, common_caption(comparison), note, heads, (Section("", tuple(made)),))


def _change(row: Mapping[str, Any] | None, known: Column) -> Cell:
    if row is None:
        return Cell(DASH)
    size, low, high = (number(row[key]) for key in ("difference", "low", "high"))
    verdict = f"({row['verdict']})"
    if row["kind"] == "ratio":
        if row["verdict"] == NOT_COMPARABLE or size is None:
            return Cell(NOT_COMPARABLE)
        ends = "" if low is None or high is None else f"[{1 + low:.3f}×, {1 + high:.3f}×]"
        return Cell(f"{1 + size:.3f}×", ends, verdict, value=size)
    decided = row["verdict"] in _DECIDED
    return Cell(format_difference(known.unit, size), format_interval(known.unit, low, high), verdict, decided, size)


def every_difference(comparison: RunComparison) -> Table | None:
    """Every difference of every metric and split, a row each."""
    frame = comparison.differences
    if not len(frame):
        return None
    heads = (
        Head("run_name", "run", False),
        Head("method", "method", False),
        Head("reference", "compared with", False),
        Head("split", "split", False),
        Head("metric", "metric", False),
        Head("difference", "difference"),
        Head("p_value", "p", True, "Of no difference, Holm over all rows compared in this split and metric."),
        Head("verdict", "verdict", False),
        Head("reason", "why not", False),
    )
    rows = []
    for row in records(frame):
        known, p = column(str(row["metric"])), number(row["p_value"])
        cell = _change(row, known)
        rows.append(
            (
                Cell(str(row["run"])),
                Cell(label(comparison.run(row["run"]).manifest, row["method"])),
                Cell(f"{row['reference_run']}, {row['reference_method']}"),
                Cell(str(row["split"])),
                Cell(heading(known)),
                Cell(cell.text, cell.interval, value=cell.value),
                Cell(format_p(p), value=p),
                Cell(str(row["verdict"])),
                Cell(str(row["reason"] or DASH)),
            )
        )
    return Table("all_differences", "All differences", "", "", heads, (Section("", tuple(rows)),))


def reasons_table(comparison: RunComparison) -> Table | None:
    """Which times are not comparable, and why."""
    frame = comparison.differences
    rows = frame[(frame["reason"] != "") & (frame["metric"] == LATENCIES[0])].drop_duplicates(["run", "reference_run"])
    if not len(rows):
        return None
    heads = (Head("run_name", "run", False), Head("reference", "compared with", False), Head("reason", "why", False))
    cells = tuple((Cell(r["run"]), Cell(r["reference_run"]), Cell(r["reason"])) for r in records(rows))
    return Table("not_comparable", "Times that are not comparable", "", "", heads, (Section("", cells),))


def settings_table(comparison: RunComparison) -> Table | None:
    """Every setting that differs: its values and the runs that have them."""
    rows = []
    for key, texts in comparison.conditions.items():
        for value in dict.fromkeys(texts.values()):
            rows.append((Cell(key), Cell(value), Cell(", ".join(run for run, text in texts.items() if text == value))))
    for key, of in comparison.method_conditions.items():
        for value in dict.fromkeys(of.values()):
            places = ", ".join(f"{run} {method}" for (run, method), text in of.items() if text == value)
            rows.append((Cell(f"methods: {key}"), Cell(value), Cell(places)))
    if not rows:
        return None
    heads = (Head("setting", "setting", False), Head("value", "value", False), Head("runs", "runs", False))
    return Table("settings", "What differs", "", "", heads, (Section("", tuple(rows)),))


def listed_table(listed: Sequence[Listed]) -> Table | None:
    """Folders that were asked for and are in no table."""
    if not listed:
        return None
    heads = (Head("run_name", "folder", False), Head("state", "state", False), Head("reason", "why", False))
    rows = tuple((Cell(one.path), Cell(one.status), Cell(one.text)) for one in listed)
    return Table("left_out", "Not in the tables", "", "", heads, (Section("", rows),))


def steps_table(history: RunHistory, comparison: RunComparison) -> Table:
    """Every step: what changed, from which run on, by how much."""
    heads = (
        Head("label", "first run", False, "The first run after the change."),
        Head("run", "folder", False),
        Head("method", "method", False),
        Head("metric", "metric", False),
        Head("before", "before", True, "Mean of the runs since the step before."),
        Head("after", "after", True, "Mean of the runs until the next step."),
        Head(
            "difference", "step", True, "With its 95 % interval: over sequences, on the same pairs; for times, a ratio."
        ),
        Head("p_value", "p", True, "Adjusted for every contrast of every series of the history."),
        Head("verdict", "verdict", False),
    )
    rows = []
    for step in records(history.steps):
        known = column(str(step["metric"]))
        cell = _change({**step, "verdict": step["verdict"]}, known)
        rows.append(
            (
                Cell(str(step["label"])),
                Cell(str(step["run"])),
                Cell(label(comparison.run(step["run"]).manifest, step["method"])),
                Cell(heading(known)),
                Cell(format_value(known.unit, number(step["before"])), value=number(step["before"])),
                Cell(format_value(known.unit, number(step["after"])), value=number(step["after"])),
                Cell(cell.text, cell.interval, value=cell.value),
                Cell(format_p(number(step["p_value"])), value=number(step["p_value"])),
                Cell(str(step["verdict"])),
            )
        )
    n = len(history.order)
    note = (
        f"{len(rows)} steps in {history.n_series} series of {n} runs; at most {history.alpha:.0%} of histories show a "
    )
    note += "step where there is none."
    return Table("steps", "Steps", common_caption(comparison), note, heads, (Section("", tuple(rows)),))


def series_table(history: RunHistory, comparison: RunComparison) -> Table:
    """One row a run and method, oldest first, the followed metrics as columns."""
    metrics = choose(
        (str(m) for m in history.points["metric"]), [str(m) for m in dict.fromkeys(history.points["metric"])]
    )
    rows_of = {(r["place"], r["method"], r["metric"]): r for r in records(history.points)}
    begun = {(r["place"], r["method"], r["metric"]) for r in records(history.steps)}
    heads = (
        Head("label", "version", False),
        Head("run_name", "run", False),
        Head("method", "method", False),
        *(Head(c.name, heading(c), True, c.definition) for c in metrics),
        Head("pairs_changed", "pairs changed", True, "Pairs whose value of a metric is not that of the run before."),
    )
    rows = []
    for place, (text, name) in enumerate(history.order):
        run = comparison.run(name)
        for method in run.methods:
            found = [rows_of.get((place, method, c.name)) for c in metrics]
            changed = [number(r["pairs_changed"]) for r in found if r is not None]
            known = [int(c) for c in changed if c is not None]
            cells = []
            for c, row in zip(metrics, found, strict=True):
                cell = _value(row, c)
                marks = []
                if (place, method, c.name) in begun:
                    marks.append("step")
                if row is not None and row["reason"]:
                    marks.append(NOT_COMPARABLE)
                cells.append(Cell(cell.text, cell.interval, ", ".join(marks), "step" in marks, cell.value))
            count = max(known) if known else None
            rows.append(
                (
                    Cell(text),
                    Cell(name),
                    Cell(label(run.manifest, method)),
                    *cells,
                    Cell(DASH if count is None else str(count), value=None if count is None else float(count)),
                )
            )
    note = "Bold: the first run after a step. Brackets: 95 % interval of the run by itself."
    return Table("series", "Runs in order", common_caption(comparison), note, heads, (Section("", tuple(rows)),))


def sentences(comparison: RunComparison, history: RunHistory | None, listed: Sequence[Listed]) -> list[str]:
    """What was found, in words."""
    found = []
    if comparison.side_by_side:
        found.append(
            f"Side by side, without differences between the {len(comparison.groups)} groups: "
            f"{'; '.join(map(str, comparison.disagreements))}."
        )
    if history is not None:
        found += _history_sentences(history, comparison)
    else:
        found += _difference_sentences(comparison)
    if listed:
        kinds = ", ".join(f"{one.path} ({one.status})" for one in listed[:4])
        found.append(f"Not in the tables: {kinds}{f' and {len(listed) - 4} more' if len(listed) > 4 else ''}.")
    return found


def _history_sentences(history: RunHistory, comparison: RunComparison) -> list[str]:
    first, last = history.order[0][0], history.order[-1][0]
    count = len(history.steps)
    found = [f"{len(history.order)} runs, {first} to {last}: {count or 'no'} step{'' if count == 1 else 's'}."]
    for step in records(history.steps):
        known, name = column(str(step["metric"])), label(comparison.run(step["run"]).manifest, step["method"])
        change = _change(step, known)
        before, after = (format_value(known.unit, number(step[key])) for key in ("before", "after"))
        found.append(
            f"{step['label']} ({step['run']}) is the first run after a change: {heading(known)} of {name} went from "
            f"{before} to {after} ({change.text} {change.interval}, {step['verdict']})."
        )
    left = history.points[history.points["reason"] != ""]
    if len(left):
        runs = list(dict.fromkeys(left["run"]))
        shown = f"{', '.join(runs[:5])}{f' and {len(runs) - 5} more' if len(runs) > 5 else ''}"
        found.append(f"Times of {shown} are in no series: {_brief(left['reason'])}.")
    return found


def _difference_sentences(comparison: RunComparison) -> list[str]:
    frame = comparison.differences
    frame = frame[(frame["split"] == "all") & frame["metric"].isin(_headline(frame))]
    if not len(frame):
        return [] if comparison.side_by_side else ["One run: there is nothing to compare."]
    decided = frame[frame["verdict"].isin(_DECIDED)]
    found = [
        f"{len(frame)} comparisons of headline metrics and times: {len(decided)} differ"
        f"{', the others claim no difference' if len(decided) < len(frame) else ''}."
    ]
    for row in records(decided)[:6]:
        known = column(str(row["metric"]))
        change = _change(row, known)
        name = label(comparison.run(row["run"]).manifest, row["method"])
        found.append(
            f"{name} in {row['run']} is {row['verdict']} than {row['reference_method']} in {row['reference_run']}: "
            f"{heading(known)} {change.text} {change.interval}.".replace(" .", ".")
        )
    if len(decided) > 6:
        found.append(f"{len(decided) - 6} more differences are in the table.")
    unfit = frame[frame["verdict"] == NOT_COMPARABLE]
    if len(unfit):
        rows = unfit[unfit["metric"] == LATENCIES[0]]
        found.append(f"Times of {len(rows)} rows are not comparable: {_brief(rows['reason'])}.")
    return found


def _brief(reasons: Iterable[str]) -> str:
    """The first reasons without what stands in brackets."""
    parts = [part for text in reasons for part in re.sub(r" \((?:[^()]|\([^()]*\))*\)", "", text).split("; ")]
    unique = list(dict.fromkeys(parts))
    return "; ".join(unique[:3]) + (f"; {len(unique) - 3} more" if len(unique) > 3 else "")


def _headline(frame: pd.DataFrame) -> list[str]:
    return [c.name for c in choose((str(m) for m in frame["metric"]), _HEADLINE)]


def decided_differences(comparison: RunComparison) -> int:
    """Headline metrics and times, over all pairs, whose verdict claims a difference."""
    frame = comparison.differences
    frame = frame[(frame["split"] == "all") & frame["metric"].isin(_headline(frame))]
    return int(frame["verdict"].isin(_DECIDED).sum())


@dataclass(frozen=True)
class Written:
    """The folder of a comparison, its page, and the tables that a terminal shows."""

    folder: Path
    page: Path
    printed: tuple[Table, ...]
    sentences: tuple[str, ...]


def write_comparison(
    folder: Path,
    comparison: RunComparison,
    history: RunHistory | None = None,
    listed: Sequence[Listed] = (),
    command: Sequence[str] = (),
    title: str = "",
) -> Written:
    """Write compare.csv, .parquet, .md, .tex, .json, plots/ and compare.html; with a history its points and steps.

    Parameters
    ----------
    folder : Path
        Exists and is empty.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    from bench.report.history_charts import chart_specs, draw

    start_checksums(folder)
    said = sentences(comparison, history, listed)
    main, changes = main_table(comparison), differences_table(comparison)
    told = [t for t in (reasons_table(comparison), listed_table(listed)) if t is not None]
    if history is not None:
        results = [steps_table(history, comparison), series_table(history, comparison), *told]
        details = [t for t in (settings_table(comparison),) if t is not None]
        plots: list[Plot] = draw(history, comparison)
        charts = chart_specs(history, comparison)
    else:
        results = [t for t in (main, changes, *told) if t is not None]
        details = [t for t in (settings_table(comparison), every_difference(comparison)) if t is not None]
        plots, charts = [], {}
    reading = READING if history is None else (*HISTORY_READING, *READING)
    left_out = listed_table(listed)
    printed = tuple(t for t in (*(results[:2] if history is not None else (main, changes)), left_out) if t is not None)
    if history is not None and len(results[1].sections[0].rows) > _ROWS_PRINTED:
        printed = (printed[0], *printed[2:])
    _write_frame(folder, "compare", _values_frame(comparison))
    _write_frame(folder, "differences", comparison.differences)
    if history is not None:
        _write_frame(folder, "history", history.points)
        _write_frame(folder, "steps", history.steps)
    text = [f"# {render.escape_markdown(title or main_title(comparison))}", "", render.to_markdown_list(said)]
    text += [render.to_markdown(table) for table in (*results, *details[:1])]
    write_atomic(folder / "compare.md", "\n".join(text).encode())
    write_atomic(folder / "compare.tex", "\n".join(render.to_latex(table) for table in printed).encode())
    write_json(
        folder / "compare.json",
        plain(
            {
                "schema_version": 1,
                "title": title,
                "command": list(command),
                "runs": [{"name": r.name, "started": r.manifest.get("started")} for r in comparison.runs],
                "groups": [list(group) for group in comparison.groups],
                "side_by_side": comparison.side_by_side,
                "disagreements": [str(each) for each in comparison.disagreements],
                "settings": comparison.conditions,
                "left_out": [{"path": o.path, "status": o.status, "why": o.text} for o in listed],
                "sentences": said,
                "steps": [] if history is None else _plain_records(history.steps),
                "differences_found": decided_differences(comparison),
            }
        ),
    )
    for plot in plots:
        write_atomic(folder / "plots" / f"{plot.name}.png", plot.png)
        write_atomic(folder / "plots" / f"{plot.name}.svg", plot.svg)
    manifest = common(comparison) | {"title": title or main_title(comparison), "command": list(command)}
    page = folder / "compare.html"
    text_of_page = render_page(manifest, results, details, plots, [], reading=reading, verdict=said, charts=charts)
    write_atomic(page, text_of_page.encode())
    seal(folder)
    return Written(folder, page, printed, tuple(said))


def _plain_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in records(frame)
    ]


def _values_frame(comparison: RunComparison) -> pd.DataFrame:
    """The values with the settings that differ as columns."""
    frame = comparison.values.copy()
    for key, texts in comparison.conditions.items():
        if not key.startswith(("protocol.", "dataset.")) or key in shown_settings(comparison):
            frame[key] = frame["run"].map(texts)
    for key in _shown_method_settings(comparison, 50):
        of = comparison.method_conditions[key]
        frame[f"method.{key}"] = [of[place] for place in zip(frame["run"], frame["method"], strict=True)]
    return frame


def _write_frame(folder: Path, name: str, frame: pd.DataFrame) -> None:
    write_atomic(folder / f"{name}.csv", names.to_csv(frame, float_format="%.9g").encode())
    write_parquet(folder / f"{name}.parquet", frame)


def print_comparison(written: Written) -> None:
    """Print the tables and what was found to the terminal."""
    from rich.text import Text

    from bench.report.console import show, terminal, width_of

    console = terminal()
    for table in written.printed:
        show(render.to_console(table, width_of(console)), console)
    for sentence in written.sentences:
        console.print(Text(sentence))
