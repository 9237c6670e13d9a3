"""The page: one HTML file with everything inside, no request to anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import conditions, interactive
from bench.report.conditions import Manifest, flat, get
from bench.report.figures import Plot
from bench.report.tables import Table

if TYPE_CHECKING:
    from markupsafe import Markup

FOLDED = ("all_differences", "scenes")
"""Long tables, behind a summary that prints open."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A match drawing as the page needs it: an encoded image and its description."""

    title: str
    alt: str
    data: bytes
    media_type: str


def render_page(
    manifest: Manifest,
    results: Sequence[Table],
    details: Sequence[Table],
    plots: Sequence[Plot],
    pictures: Sequence[Picture],
    related: Sequence[tuple[str, str]] = (),
    lead: Sequence[tuple[str, Sequence[str]]] = (),
    reading: Sequence[str] = (),
    cards: str | None = None,
    verdict: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    charts: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Return the page as HTML text. Every value is escaped.

    Parameters
    ----------
    manifest : mapping
        See `bench.report.conditions`.
    results : sequence of Table
        Shown open, in this order: main table first.
    details : sequence of Table
        Shown after the plots, sortable.
    plots : sequence of Plot
    pictures : sequence of Picture
    related : sequence of (str, str)
        Title and relative path of other pages in the run directory.
    lead : sequence of (str, sequence of str)
        Heading and sentences: what the tables say, in words, before them.
    reading : sequence of str
        How to read the numbers, instead of the sentences for a run.
    cards : str, optional
        See :func:`bench.report.cards.page_data`.
    verdict : sequence of str
        What was found, in sentences, above everything.
    data : mapping, optional
        What the controls and charts work on, see `bench.report.interactive.live_data`; without it the page has sortable
        tables and static plots.
    charts : mapping, optional
        Name of a plot to a Vega-Lite specification with its data, which takes the place of the plot on a screen.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.globals["asset"] = asset
    return environment.get_template("page.html.j2").render(
        title=page_title(manifest),
        warnings=conditions.warnings(manifest),
        facts=facts(manifest),
        collapsed=collapsed(manifest),
        results=results,
        details=details,
        plots=plots,
        pictures=pictures,
        related=related,
        definitions=definitions([*results, *details]),
        command=command(manifest),
        context=conditions.short_caption(manifest),
        lead=lead,
        reading=reading,
        cards=cards,
        verdict=verdict,
        folded=FOLDED,
        tables=interactive.table_library(),
        chart_script=interactive.chart_library() if data is not None or charts else "",
        data="" if data is None else interactive.pack_json(data),
        charts=interactive.pack_json(charts) if charts else "",
    )


def asset(name: str) -> Markup:
    """Return a style sheet or script of ``web/`` as it stands there."""
    from markupsafe import Markup

    return Markup((Path(__file__).parent / "web" / name).read_text(encoding="utf-8"))


def data_uri(data: bytes, media_type: str) -> str:
    """Return bytes as a ``data:`` address."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def page_title(manifest: Manifest) -> str:
    """Return the run's title, or the data set and protocol."""
    parts = (get(manifest, "dataset", "name"), get(manifest, "protocol", "name"))
    return str(get(manifest, "title")) if get(manifest, "title") else " · ".join(str(p) for p in parts if p) or "Run"


def command(manifest: Manifest) -> str:
    """Return the command line that started the run."""
    import shlex

    words = get(manifest, "command", default=[])
    return " ".join(["bench", *(shlex.quote(str(word)) for word in ([words] if isinstance(words, str) else words))])


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the run's conditions as (name, text) rows; unknown ones are left out."""
    protocol = get(manifest, "protocol", "config", default={})
    git = get(manifest, "git", default={})
    versions = get(manifest, "versions", default={})
    shown = ("tensorflow", "openvino", "onnxruntime", "torch", "opencv", "opencv-contrib-python", "numpy")
    noise = get(manifest, "noise", default={})
    load = [get(manifest, key, "load_average", default=[]) for key in ("load_before", "load_after")]
    rows = (
        ("Data", conditions.data_note(manifest)),
        ("Data digest", str(get(manifest, "dataset", "digest", default=""))[:16]),
        ("Protocol", conditions.protocol_note(manifest).removeprefix("protocol ")),
        ("Source", str(protocol.get("source") or "")),
        ("Not stated by the source", "; ".join(map(str, protocol.get("unstated") or []))),
        ("Ground truth selects keypoints", conditions.text(bool(protocol["gt_leak"])) if "gt_leak" in protocol else ""),
        ("Seeds and repeats", conditions.seed_note(manifest)),
        ("Host", conditions.host_note(manifest)),
        ("Matching and estimation", conditions.jobs_note(manifest)),
        ("Throughput", conditions.throughput_note(manifest)),
        ("Memory of workers", str(get(manifest, "host", "allocation", default=""))),
        ("Instruction sets", conditions.text(get(manifest, "host", "isa", default=""))),
        ("Load average before, after", " → ".join(f"{entry[0]:.2f}" for entry in load if entry)),
        ("Machine", ("noisy" if noise.get("noisy") else "quiet") if "noisy" in noise else ""),
        ("Software", ", ".join(f"{name} {versions[name]}" for name in shown if versions.get(name))),
        (
            "Code",
            f"{str(git.get('commit'))[:12]}{', with uncommitted changes' if git.get('dirty') else ''}"
            if git.get("commit")
            else "",
        ),
        (
            "Started, finished",
            " → ".join(
                str(get(manifest, key)).replace("T", " ").replace("+00:00", " UTC")
                for key in ("started", "finished")
                if get(manifest, key)
            ),
        ),
    )
    return [(name, text) for name, text in rows if text]


def collapsed(manifest: Manifest) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the long lists that the page shows on request: (title, rows)."""
    lists = (
        ("Every constant of the protocol", get(manifest, "protocol", "config", default={})),
        ("Seeds", get(manifest, "seeds", default={})),
        ("Host", get(manifest, "host", default={})),
        ("Versions", get(manifest, "versions", default={})),
        ("Noise", get(manifest, "noise", default={})),
        *(
            (
                f"Method {conditions.label(manifest, name)}",
                {key: method.get(key) for key in ("config", "info") if key in method},
            )
            for name, method in get(manifest, "methods", default={}).items()
        ),
    )
    return [(title, flat(content)) for title, content in lists if content]


def definitions(tables: Sequence[Table]) -> list[tuple[str, str]]:
    """Return (header, meaning) of every column that has a meaning, each once."""
    found: dict[str, str] = {}
    for table in tables:
        for head in table.heads:
            if head.meaning:
                found.setdefault(head.text, head.meaning)
    return list(found.items())
