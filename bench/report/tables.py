"""The tables of a run as text cells; `bench.report.render` writes them in each format. No number is computed here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.core.errors import ConfigError
from bench.core.frames import records
from bench.metrics.columns import column
from bench.metrics.record import Column
from bench.metrics.text import DASH, format_difference, format_interval, format_value
from bench.report import columns as cols
from bench.report.columns import choose, heading, per_split
from bench.report.conditions import Manifest, caption, get, info, label, precision_label, short_hashes, text
from bench.report.lookup import SPLITS, Lookup, number
from bench.report.precision import explain, host_sentence

if TYPE_CHECKING:
    import pandas as pd

DETECTOR_TITLE = "Keypoint repeatability and time"
BEST_NOTE = (
    "Brackets: 95 % interval. Bold: no method is better beyond noise, by paired comparison with the best of the column "
    "(Holm over its methods); in a column without bold none is told from the best."
)
NOISE_NOTE = " ±: what the order of the matches alone changes in the robust estimation (order noise, 95 %)."


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `noise` is the order noise beside an accuracy; `value` is what a sort uses, None sorts last."""

    text: str
    interval: str = ""
    noise: str = ""
    best: bool = False
    value: float | None = None


BLANK = Cell("")


@dataclass(frozen=True, slots=True)
class Head:
    """Header of a table column: `key` is the metric or the text column's name, `meaning` its definition."""

    key: str
    text: str
    numeric: bool = True
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one heading; the title is empty where a table has no sections."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table ready to be written.

    Attributes
    ----------
    name : str
        Identifier: LaTeX label and HTML id.
    title, caption, note : str
        `caption` holds the conditions of the run, `note` how to read the marks.
    """

    name: str
    title: str
    caption: str
    note: str
    heads: tuple[Head, ...]
    sections: tuple[Section, ...]

    def select(self, keys: Sequence[str]) -> Table:
        """Return the same table with the columns `keys` that it has, in its own order."""
        kept = [i for i, head in enumerate(self.heads) if head.key in keys]
        return Table(
            self.name,
            self.title,
            self.caption,
            self.note,
            tuple(self.heads[i] for i in kept),
            tuple(Section(s.title, tuple(tuple(row[i] for i in kept) for row in s.rows)) for s in self.sections),
        )


def _cell(lookup: Lookup, method: str, split: str, column: Column, best: Iterable[str]) -> Cell:
    """Write one metric of one method."""
    value, low, high = (lookup.get(method, split, column.name, field) for field in ("value", "low", "high"))
    interval = format_interval(column.unit, low, high)
    noise = lookup.get(method, split, column.name.replace("accuracy", "order_noise", 1))
    shown = column.name.startswith("accuracy_") and noise is not None
    mark = f"±{format_value(column.unit, noise)}" if shown else ""
    return Cell(format_value(column.unit, value), interval, mark, method in best, value)


def method_order(manifest: Manifest, methods: Iterable[str]) -> list[str]:
    """Return methods in the manifest's order, then in their own."""
    present = list(dict.fromkeys(methods))
    known = [name for name in get(manifest, "methods", default={}) if name in present]
    return known + [name for name in present if name not in known]


def metric_table(
    name: str, title: str, wanted: Sequence[str], summary: Any, manifest: Manifest, splits: Sequence[str] | None = None
) -> Table | None:
    """Return methods as rows and metrics as columns, one section per split; None where no such metric exists.

    Parameters
    ----------
    wanted : sequence of str
        Metric names or patterns, see `bench.report.columns`.
    summary : bench.summary.table.Summary
        ``table`` is read.
    """
    lookup = Lookup(summary.table)
    chosen = choose(lookup.metrics, wanted)
    if not chosen:
        return None
    heads = (
        Head("method", "method", False),
        Head("precision", "precision", False, "What the model's kernels computed in, as read from the runtime."),
        *(Head(c.name, heading(c), True, c.definition) for c in chosen),
    )
    sections = []
    for split in lookup.splits if splits is None else splits:
        shown = [c for c in chosen if per_split(c) or split == "all"]
        best = {c.name: lookup.best(split, c.name) for c in shown}
        rows = [
            (
                Cell(label(manifest, method)),
                Cell(precision_label(manifest, method)),
                *(_cell(lookup, method, split, c, best[c.name]) if c in shown else BLANK for c in chosen),
            )
            for method in method_order(manifest, lookup.methods)
        ]
        if any(cell.text not in (DASH, "") for row in rows for cell in row[2:]):
            sections.append(Section(SPLITS.get(split, f"Split {split}"), tuple(rows)))
    if not sections:
        return None
    if len(sections) == 1:
        sections = [Section("", sections[0].rows)]
    noisy = any(cell.noise for section in sections for row in section.rows for cell in row)
    note = BEST_NOTE + (NOISE_NOTE if noisy else "")
    marked = any(cell.interval for section in sections for row in section.rows for cell in row)
    return Table(name, title, caption(manifest), note if marked else "", heads, tuple(sections))


def main_table(summary: Any, manifest: Manifest) -> Table:
    """Return the main table: accuracy, matching accuracy or repeatability by the protocol, and times.

    Raises
    ------
    ValueError
        If the summary holds none of these metrics.
    """
    present = set(summary.table["metric"].astype(str))
    if any(name.startswith("accuracy_") for name in present):
        table = metric_table("main", "Homography estimation and time", cols.main_of(cols.MAIN), summary, manifest)
    elif any(name.startswith("mma_") for name in present):
        table = metric_table("main", "Mean matching accuracy and time", cols.main_of(cols.MATCHING), summary, manifest)
    else:
        table = metric_table("main", DETECTOR_TITLE, cols.main_of(cols.REPEATABILITY), summary, manifest)
    if table is None:
        raise ValueError("the summary holds no metric that the main table shows; check protocol.metrics")
    return table


def chosen_table(summary: Any, manifest: Manifest, columns: Sequence[str]) -> Table:
    """Return the main table with the columns that are named, in that order.

    Raises
    ------
    ConfigError
        If the run has no such metric, with the one that may have been meant.
    """
    metrics = Lookup(summary.table).metrics
    for name in columns:
        if name not in metrics:
            close = difflib.get_close_matches(name, metrics, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"columns: this run has no {name}; {hint}It has: {', '.join(sorted(metrics))}")
    main = main_table(summary, manifest)
    table = metric_table("main", main.title, [re.escape(name) for name in columns], summary, manifest)
    if table is None:
        raise ConfigError(f"columns: no method has a value of {', '.join(columns)}; name others")
    # Without the precision, which methods are named by, and without the models of the caption.
    kept = [head.key for head in table.heads if head.key != "precision"]
    shown = table.select(kept)
    return replace(shown, caption=caption(manifest, with_models=False), note=table.note.replace(NOISE_NOTE, ""))


def format_p(value: float | None) -> str:
    """Write a p value."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def differences_table(summary: Any, manifest: Manifest, wanted: Sequence[str] = cols.DIFFERENCES) -> Table | None:
    """Return each method's difference to the reference method, with interval, McNemar's p, noise floor and verdict.

    `wanted` names the metrics shown, see `bench.report.columns`.
    """
    frame = getattr(summary, "differences", None)
    if frame is None or not len(frame):
        return None
    heads = (
        Head("method", "method", False),
        Head("reference", "compared with", False),
        Head("metric", "metric", False),
        Head(
            "difference",
            "difference",
            True,
            "Method minus reference on the same pairs, with its paired 95 % interval over sequences.",
        ),
        Head(
            "mcnemar_p",
            "McNemar p",
            True,
            "Exact test of the pairs on which exactly one of the two succeeds. It treats pairs as independent.",
        ),
        Head(
            "noise_floor",
            "noise floor",
            True,
            "How far this metric moves when only the order of the same matches changes in the robust estimator.",
        ),
        Head("verdict", "verdict", False),
    )
    # The reference's rows first; a metric that it lacks is compared with the first method that has it.
    found_rows = sorted(records(frame), key=lambda row: str(row["reference"]) != getattr(summary, "reference", ""))
    found = list(dict.fromkeys(str(row["split"]) for row in found_rows))
    shown = {c.name: c for c in choose((str(row["metric"]) for row in found_rows), wanted)}
    sections = []
    for split in [s for s in SPLITS if s in found] + [s for s in found if s not in SPLITS]:
        rows = []
        for row in found_rows:
            if str(row["split"]) != split or str(row["metric"]) not in shown:
                continue
            known = shown[str(row["metric"])]
            size, low, high = (number(row.get(key)) for key in ("difference", "low", "high"))
            p, floor = number(row.get("mcnemar_p")), number(row.get("noise_floor"))
            rows.append(
                (
                    Cell(label(manifest, str(row["method"]))),
                    Cell(label(manifest, str(row["reference"]))),
                    Cell(heading(known)),
                    Cell(format_difference(known.unit, size), format_interval(known.unit, low, high), value=size),
                    Cell(format_p(p), value=p),
                    Cell(format_value(known.unit, floor), value=floor),
                    Cell(str(row.get("verdict") or DASH)),
                )
            )
        if rows:
            sections.append(Section(SPLITS.get(split, f"Split {split}"), tuple(rows)))
    note = "A difference whose interval contains zero, or that is below the noise floor, is not a difference."
    return (
        Table("differences", "Differences to the reference method", caption(manifest), note, heads, tuple(sections))
        if sections
        else None
    )


def compact_differences(summary: Any, manifest: Manifest, wanted: Sequence[str] = cols.HEADLINE) -> Table | None:
    """Return one row per method: its differences to the reference, each with interval and verdict.

    `wanted` names the metrics. None where the reference has none of them, or nothing is compared with it.
    """
    frame = summary.differences
    frame = frame[frame["reference"] == summary.reference]
    shown = choose(frame["metric"].astype(str), wanted)
    if not shown:
        return None
    rows = {(str(row["split"]), str(row["method"]), str(row["metric"])): row for row in records(frame)}
    present = {split for split, _, metric in rows if metric in {c.name for c in shown}}
    methods = method_order(manifest, frame["method"].astype(str))

    def cell(split: str, method: str, known: Column) -> Cell:
        row = rows.get((split, method, known.name))
        if row is None:
            return Cell(DASH)
        size, low, high = (number(row[key]) for key in ("difference", "low", "high"))
        text, interval = format_difference(known.unit, size), format_interval(known.unit, low, high)
        return Cell(text, interval, f"({row['verdict']})", value=size)

    sections = tuple(
        Section(
            SPLITS.get(split, f"Split {split}"),
            tuple((Cell(label(manifest, m)), *(cell(split, m, c) for c in shown)) for m in methods),
        )
        for split in [s for s in SPLITS if s in present] + sorted(present - set(SPLITS))
    )
    heads = (Head("method", "method", False), *(Head(c.name, heading(c), True, c.definition) for c in shown))
    title = f"Differences to {label(manifest, summary.reference)}"
    note = (
        "Method minus reference on the same pairs, with its paired 95 % interval. A word other than better or worse "
        "(Holm over the methods) claims no difference."
    )
    return Table("differences", title, caption(manifest), note, heads, sections)


def published_table(published: pd.DataFrame | None, manifest: Manifest) -> Table | None:
    """Return numbers others published beside this run's; None where none fits the protocol and data set.

    Parameters
    ----------
    published : DataFrame or None
        Rows that fit this run: source, method, split, metric, published, ours, difference, low, high, status.
    """
    if published is None or not len(published):
        return None
    heads = (
        Head("method", "method", False),
        Head("split", "split", False),
        Head("metric", "metric", False),
        Head("ours", "this run"),
        Head("published", "published"),
        Head("difference", "difference"),
        Head(
            "status",
            "status",
            False,
            "verified: read in the source, and nothing contradicts it. secondary: read in a note about the source. "
            "disputed: others get another number by what they call the same protocol. stale: from an earlier state of "
            "the source, or from before a bug was fixed. inconsistent: contradicted by the source's own numbers, by "
            "later results or by its own definition. other_weights: made with weights other than those to compare.",
        ),
        Head("source", "source", False),
    )
    rows = []
    for row in records(published):
        known = column(str(row["metric"]))
        size, low, high = (number(row.get(key)) for key in ("difference", "low", "high"))
        ours, theirs = number(row.get("ours")), number(row.get("published"))
        rows.append(
            (
                Cell(label(manifest, str(row["method"]))),
                Cell(str(row["split"])),
                Cell(heading(known)),
                Cell(format_value(known.unit, ours), value=ours),
                Cell(format_value(known.unit, theirs), value=theirs),
                Cell(format_difference(known.unit, size), format_interval(known.unit, low, high), value=size),
                Cell(str(row.get("status") or DASH)),
                Cell(str(row.get("source") or DASH)),
            )
        )
    note = (
        "Shown because protocol and data set are the published ones. Status: what is known about the published value."
    )
    return Table("published", "Published numbers", caption(manifest), note, heads, (Section("", tuple(rows)),))


def hosts_table(summary: Any, manifest: Manifest) -> Table | None:
    """Return the times on each class of hosts, one section a class; None for a run on hosts of one class."""
    if getattr(summary, "hosts", None) is None or summary.hosts.empty:
        return None
    names = {str(shard.get("host", {}).get("hash")): shard["host"] for shard in get(manifest, "shards", default=[])}
    wanted = ("latency_median_ms", "latency_p90_ms", "speedup", "match_ms", "estimate_ms")
    chosen = choose(summary.hosts["metric"], wanted)
    heads = (
        Head("method", "method", False),
        Head("n_images", "images"),
        *(Head(c.name, heading(c), True, c.definition) for c in chosen),
    )
    sections = []
    for host, found in summary.hosts.groupby("host", sort=False):
        lookup = Lookup(found)
        images = dict(zip(found["method"], found["n_images"], strict=True))
        rows = [
            (
                Cell(label(manifest, method)),
                Cell(f"{images[method]:.0f}", value=float(images[method])),
                *(_cell(lookup, method, "all", c, ()) for c in chosen),
            )
            for method in method_order(manifest, lookup.methods)
        ]
        cpu, cores = (get(names, str(host), key, default="") for key in ("cpu", "usable_cores"))
        known = ", ".join(part for part in (str(cpu), f"{cores} cores" if cores else "") if part)
        sections.append(Section(f"Host {str(host)[:12]}{f' ({known})' if known else ''}", tuple(rows)))
    note = "Brackets: 95 % interval. Each class of hosts has its own times: a median over several is that of their mix."
    return Table("hosts", "Times on each class of hosts", caption(manifest), note, heads, tuple(sections))


def failures_table(summary: Any, manifest: Manifest) -> Table | None:
    """Return failed pairs per method and kind, kinds that occurred only; None where every pair ended well."""
    table = metric_table("failures", "Failures by kind", cols.of_table("failures"), summary, manifest, ["all"])
    if table is None:
        return None
    rows = table.sections[0].rows
    occurred = [head.key for i, head in enumerate(table.heads) if head.numeric and any(row[i].value for row in rows)]
    return table.select(["method", *occurred]) if occurred else None


def scene_table(pairs: pd.DataFrame, manifest: Manifest) -> Table | None:
    """Return one row per sequence: the mean of each method's rows (accuracy at 3 px, or else repeatability)."""
    wanted = next((c for c in ("accuracy_3px", "repeatability") if c in pairs and pairs[c].notna().any()), None)
    if wanted is None:
        return None
    means = pairs.groupby(["sequence", "method"], sort=True, observed=True)[wanted].mean().to_dict()
    counts = pairs.groupby("sequence", sort=True, observed=True)["pair"].nunique().to_dict()
    splits = pairs.groupby("sequence", observed=True)["split"].first().to_dict()
    methods = [
        m
        for m in method_order(manifest, pairs["method"].astype(str))
        if any(number(means.get((s, m))) is not None for s in counts)
    ]
    heads = (
        Head("sequence", "scene", False),
        Head("split", "split", False),
        Head("pairs", "pairs"),
        *(Head(method, label(manifest, method)) for method in methods),
    )
    rows = tuple(
        (
            Cell(str(scene)),
            Cell(str(splits[scene])),
            Cell(str(n), value=float(n)),
            *(
                Cell(format_value("share", number(means.get((scene, m)))), value=number(means.get((scene, m))))
                for m in methods
            ),
        )
        for scene, n in counts.items()
    )
    title = "Accuracy at 3 px by scene" if wanted == "accuracy_3px" else "Repeatability by scene"
    return Table("scenes", title, caption(manifest), "Mean over the scene's pairs.", heads, (Section("", rows),))


def precision_table(manifest: Manifest) -> Table | None:
    """Return requested, resolved and executed precision and the model of each method."""
    methods = get(manifest, "methods", default={})
    if not methods:
        return None
    keys = ("requested", "resolved", "executed", "label")
    heads = (
        Head("method", "method", False),
        Head("backend", "backend", False),
        *(Head(key, key, False) for key in keys),
        Head("meaning", "in words", False),
        Head("threads", "threads", False),
        Head("model", "model", False),
    )
    rows = []
    for name in methods:
        known = info(manifest, name)
        precision = get(known, "precision", default={})
        rows.append(
            (
                Cell(label(manifest, name)),
                Cell(str(known.get("backend") or DASH)),
                *(Cell(_shares(precision[key]) if precision.get(key) else DASH) for key in keys),
                Cell(_in_words(manifest, name) or DASH),
                Cell(text(known["threads"]) if known.get("threads") else DASH),
                Cell(short_hashes(known.get("fingerprint")) or DASH),
            )
        )

    note = (
        "Requested in the configuration; resolved by the runtime; executed as read from the compiled model, by layer."
    )
    isa = get(manifest, "host", "isa", default=None)
    note = f"{note} {'' if isa is None else host_sentence(isa)}".strip()
    return Table("precision", "Precision and model", caption(manifest), note, heads, (Section("", tuple(rows)),))


def _shares(value: Any) -> str:
    """Write shares as percent, e.g. ``u8 75 %, f32 25 %``; anything else as it is."""
    if isinstance(value, Mapping) and all(isinstance(share, float) for share in value.values()):
        return ", ".join(f"{name} {100 * share:.0f} %" for name, share in value.items())
    return text(value)


def _in_words(manifest: Manifest, method: str) -> str:
    """What the precision of a SuperPoint method means on the host; empty for other methods."""
    config = get(manifest, "methods", method, "config", default={})
    executed = get(info(manifest, method), "precision", "executed", default={})
    if not config.get("weights") or not all(isinstance(share, float) for share in executed.values()):
        return ""
    isa = get(manifest, "host", "isa", default=[])
    return explain(config["weights"], config.get("inference_precision", "f32"), executed, isa)
