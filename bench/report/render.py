"""Tables as console text, Markdown, LaTeX and CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.text import Text

from bench.core import names
from bench.core.errors import ConfigError
from bench.metrics.text import DASH
from bench.report.conditions import Manifest, caption, get, label, precision_label
from bench.report.console import TextColumn, TextSection, build_table, show, terminal, width_of
from bench.report.tables import Cell, Head, Section, Table, hosts_table, main_table, method_order, published_table
from bench.summary.table import numbers

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table as RichTable

_RANKS = (
    r"method|metric|ours|published|difference|status|split|(accuracy|mma)_3px|repeatability|latency_median_ms"
    r"|run_name|label|setting:.*|verdict|reason|state|change:((accuracy|mma)_3px|latency_median_ms)",
    "precision|run|reference|before|after",
    "speedup",
    r"(accuracy|mma)_1px|source|change:.*",
    r"(accuracy|mma)_5px|repeatability_one_to_one",
    r"(accuracy|mma)_[\d.]+px",
    r"auc_[\d.]+px|localisation_error_px",
    "failures",
    "throughput_per_s",
    "latency_p90_ms",
    "n_matches",
    "n_keypoints",
    "inlier_ratio",
    "peak_memory_mb",
)
"""Columns of a terminal, from those that stay to those that a narrow one leaves out first; others go before them."""
_COLUMN_PT, _PAGE_PT = 240.0, 504.0
"""Widths of a column and of the text of a two-column page (IEEE, CVPR: 3.3 and 7 inches)."""
_WIDE = 9
"""Columns from which a LaTeX table writes intervals below their values."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "–": "--",
    "—": "---",
    "µ": r"$\mu$",
    "μ": r"$\mu$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    "−": "$-$",
    "\n": " ",
}


def to_console(table: Table, width: int | None = None) -> RichTable:
    """Lay a table out for a terminal: the narrower it is, the fewer columns; intervals and names stay whole.

    Parameters
    ----------
    table : Table
    width : int, optional
        Columns of the terminal. None: everything.
    """
    columns = [TextColumn(h.text, h.numeric, _rank(h), short=_short_form(h)) for h in table.heads]
    sections = []
    for section in table.sections:
        rows = [list(map(_console_cell, row)) for row in section.rows]
        sections.append(TextSection(rows, section.title if len(table.sections) > 1 else ""))
    return build_table(columns, sections, title=table.title, caption=table.caption, width=width)


def _rank(head: Head) -> int:
    return next((rank for rank, keys in enumerate(_RANKS) if re.fullmatch(keys, head.key)), len(_RANKS))


def _short_form(head: Head) -> Callable[[str], str] | None:
    """``FP16/f32`` for ``FP16 weights, f32 compute``, or what stands before a comma or a bracket; 1.07× alone."""
    if head.key == "speedup":
        return lambda text: text.partition(" ")[0]
    if head.key != "precision":
        return None
    compute = re.compile(r"(\S+) (?:weights|model), (.+) compute")
    return lambda text: re.split(r", | \(", compute.sub(r"\1/\2", text))[0]


def _console_cell(cell: Cell) -> Text:
    interval = f" {_short(cell.interval)}" if cell.interval else ""
    return Text(cell.text, style="bold" if cell.best else "").append(interval, style="not bold dim")


def _short(interval: str) -> str:
    """Shorten ``[0.630, 0.731]`` to ``[.63,.73]`` and ``[1.06×, 1.08×]`` to ``[1.06,1.08]``."""
    ends = interval.strip("[]").replace("×", "").split(", ")
    if all(re.fullmatch(r"[01]\.\d{3}", end) for end in ends):
        ends = [f"{float(end):.2f}" for end in ends]
    return f"[{','.join(end.replace('0.', '.', 1) if end.startswith('0.') else end for end in ends)}]"


def escape_markdown(text: str) -> str:
    """Escape what Markdown or HTML inside it would interpret."""
    text = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([|*`\[\]])", r"\\\1", re.sub(r"\s+", " ", text))


def to_markdown_list(sentences: Sequence[str]) -> str:
    """Return sentences as a list; empty without any."""
    return "".join(f"- {escape_markdown(sentence)}\n" for sentence in sentences)


def to_markdown(table: Table) -> str:
    """Return a heading, one pipe table per section and the caption."""
    lines = [f"## {escape_markdown(table.title)}", ""]
    for section in table.sections:
        if section.title:
            lines += [f"### {escape_markdown(section.title)}", ""]
        kept = _used(section, len(table.heads))
        lines.append("| " + " | ".join(escape_markdown(table.heads[i].text) for i in kept) + " |")
        lines.append("|" + "|".join(" ---: " if table.heads[i].numeric else " :--- " for i in kept) + "|")
        lines += ["| " + " | ".join(_markdown_cell(row[i]) for i in kept) + " |" for row in section.rows]
        lines.append("")
    lines += [escape_markdown(text) + "\n" for text in (table.caption, table.note) if text]
    return "\n".join(lines)


def _used(section: Section, n_columns: int) -> list[int]:
    """Return the columns of a section that are not blank throughout."""
    return [i for i in range(n_columns) if any(row[i].text for row in section.rows)]


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    text = f"**{text}**" if cell.best else text
    return " ".join(part for part in (text, escape_markdown(cell.interval), cell.noise) if part)


def escape_latex(text: str) -> str:
    """Escape text for LaTeX; characters beyond Latin Extended-A that have no entry become ``?``."""
    return "".join(_LATEX.get(c) or (c if 32 <= ord(c) < 0x180 else "?") for c in text)


def to_latex(table: Table) -> str:
    """Return a ``table*`` with booktabs rules, scaled down to the text width where it is wider.

    The preamble needs ``\\usepackage{booktabs,graphicx}`` and ``\\usepackage[T1]{fontenc}``.
    """
    scale = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
    size = (r"\small", r"\setlength{\tabcolsep}{4pt}", scale)
    return _latex_table(table, "table*", "booktabs,graphicx", size, _latex_row, closing="}")


def _latex_table(
    table: Table,
    kind: str,
    packages: str,
    size: Sequence[str],
    row: Callable[[Sequence[Cell]], list[str]],
    closing: str = "",
) -> str:
    """Return a float of `kind` with booktabs rules; `closing` ends what the lines of `size` open."""
    aligned = "".join("r" if head.numeric else "l" for head in table.heads)
    lines = [
        rf"% \usepackage[T1]{{fontenc}} \usepackage{{{packages}}}",
        rf"\begin{{{kind}}}",
        r"\centering",
        rf"\caption{{{escape_latex(f'{table.title}. {table.caption} {table.note}'.strip())}}}",
        rf"\label{{tab:{table.name}}}",
        *size,
        rf"\begin{{tabular}}{{@{{}}{aligned}@{{}}}}",
        r"\toprule",
        " & ".join(escape_latex(head.text) for head in table.heads) + r" \\",
    ]
    for section in table.sections:
        lines.append(r"\midrule")
        if section.title:
            title = rf"\emph{{{escape_latex(section.title)}}}"
            lines.append(rf"\multicolumn{{{len(table.heads)}}}{{@{{}}l}}{{{title}}} \\")
        lines += [line for cells in section.rows for line in row(cells)]
    lines += [r"\bottomrule", rf"\end{{tabular}}{closing}", rf"\end{{{kind}}}", ""]
    return "\n".join(lines)


def to_latex_columns(table: Table) -> str:
    """Return chosen columns as a table that is read without being scaled: 8 pt, intervals below their values in 7 pt.

    A table that fits a column of a two-column page (240 pt) is a ``table``, a wider one a ``table*``. The preamble has
    ``\\usepackage{booktabs}`` and ``\\usepackage[T1]{fontenc}``.

    Raises
    ------
    ConfigError
        If the columns need more than the 504 pt of a two-column page.
    """
    needed_pt = width_pt(table)
    if needed_pt > _PAGE_PT:
        raise ConfigError(
            f"columns: the table is about {needed_pt:.0f} pt wide at 8 pt, a page of two columns has {_PAGE_PT:.0f}; "
            "name fewer"
        )
    kind = "table" if needed_pt <= _COLUMN_PT else "table*"
    size = (r"\fontsize{8}{9.6}\selectfont", r"\setlength{\tabcolsep}{3pt}")
    return _latex_table(table, kind, "booktabs", size, _latex_row_unscaled)


def _latex_row_unscaled(row: Sequence[Cell]) -> list[str]:
    """Return a row, its intervals on a second line below in 7 pt."""
    values = " & ".join(_latex_cell(replace(cell, noise="")) for cell in row) + r" \\"
    if not any(cell.interval for cell in row):
        return [values]
    below = (
        rf"\fontsize{{7}}{{8}}\selectfont {escape_latex(_short(cell.interval))}" if cell.interval else ""
        for cell in row
    )
    return [values + "[-2pt]", "{} " + " & ".join(below) + r" \\"]


def width_pt(table: Table) -> float:
    """Estimated width of a table at 8 pt in TeX points: 4.25 pt a character, as wide as Computer Modern's digits."""
    width = -6.0
    for i, head in enumerate(table.heads):
        cells = [row[i] for section in table.sections for row in section.rows]
        texts = [len(head.text), *(len(cell.text) for cell in cells)]
        below = [len(_short(cell.interval)) * 7 / 8 for cell in cells if cell.interval]
        width += 4.25 * max([*texts, *below]) + 6
    return width


def _latex_row(row: Sequence[Cell]) -> list[str]:
    """Return a row; in a wide table intervals, and what follows a comma in a text, go to a second line below."""
    if len(row) < _WIDE or not any(cell.interval for cell in row):
        small = (rf"~{{\scriptsize {escape_latex(cell.interval)}}}" if cell.interval else "" for cell in row)
        return [" & ".join(_latex_cell(cell) + interval for cell, interval in zip(row, small, strict=True)) + r" \\"]
    texts = [cell.text.partition(", ") if cell.value is None else (cell.text, "", "") for cell in row]
    above = (_latex_cell(replace(cell, text=text[0] + text[1].strip())) for cell, text in zip(row, texts, strict=True))
    below = (
        rf"\tiny {escape_latex(cell.interval)}" if cell.interval else escape_latex(text[2])
        for cell, text in zip(row, texts, strict=True)
    )
    # The braces keep a bracket from being read as the optional argument of the line break before it.
    return [" & ".join(above) + r" \\[-3pt]", "{} " + " & ".join(below) + r" \\"]


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(cell.text)
    text = rf"\textbf{{{text}}}" if cell.best else text
    return rf"{text}{{\tiny~{escape_latex(cell.noise)}}}" if cell.noise else text


def to_csv(summary: Any, manifest: Manifest) -> str:
    """Return every metric of the summary, a row per method and split, with its interval in ``_low`` and ``_high``.

    A missing value is empty. Equal runs give equal text apart from times.
    """
    frame: pd.DataFrame = numbers(summary).copy()
    order = {name: number for number, name in enumerate(method_order(manifest, frame["method"].astype(str)))}
    frame = frame.sort_values("method", key=lambda names: names.map(order), kind="stable")
    frame.insert(1, "label", [label(manifest, m) for m in frame["method"]])
    frame.insert(2, "precision", [precision_label(manifest, m).replace(DASH, "") for m in frame["method"]])
    for name in ("n_pairs", "n_sequences"):
        frame[name] = frame[name].astype("Int64")
    frame["protocol"] = get(manifest, "protocol", "name", default="")
    frame["protocol_hash"] = get(manifest, "protocol", "hash", default="")
    frame["data"] = get(manifest, "dataset", "name", default="")
    frame["data_note"] = get(manifest, "dataset", "note", default="")
    return names.to_csv(frame)


def print_tables(summary: Any, manifest: Manifest) -> None:
    """Print the main table, published numbers where they fit, and what was found in words to the terminal."""
    console = terminal()
    beside = published_table(summary.published, manifest)
    main = replace(main_table(summary, manifest), caption=caption(manifest, with_models=False))
    # The caption of the main table stands just above.
    hosts = hosts_table(summary, manifest)
    for table in (main, *(other and replace(other, caption=other.note) for other in (hosts, beside))):
        if table is not None:
            show(to_console(table, width_of(console)), console)
    for sentence in summary.sentences:
        console.print(Text(sentence))
