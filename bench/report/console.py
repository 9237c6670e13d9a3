"""Tables in the terminal, written in one place for every command.

In a pipe a table is as wide as it needs to be. In a terminal that is too narrow, cells take their short form, then
columns named as dispensable go; what remains is folded only if nothing else is left, and nothing is elided.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of a printed table.

    Attributes
    ----------
    head : str
    numeric : bool
        Aligned to the right and never folded.
    dispensable : int
        Columns with the highest number are left out first where the terminal is too narrow; 0: never.
    folds_to : int
        Fewest characters into which the column may be folded before others are left out; 0: it is not folded.
    short : callable, optional
        Gives a cell's short form.
    """

    head: str
    numeric: bool = True
    dispensable: int = 0
    folds_to: int = 0
    short: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class TextSection:
    """Rows of a printed table under a title, each with a cell per column and a style (empty: none)."""

    rows: Sequence[Sequence[str | Text]]
    title: str = ""
    styles: Sequence[str | None] = ()


def terminal() -> Console:
    """Return a console on standard output that does not guess colours for numbers; only a terminal wraps sentences."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def build_table(
    columns: Sequence[TextColumn],
    sections: Sequence[TextSection],
    *,
    title: str = "",
    caption: str = "",
    width: int | None = None,
) -> Table:
    """Lay out a table.

    Parameters
    ----------
    columns, sections
        What is printed.
    title, caption : str
        Above and below the table.
    width : int, optional
        Columns of the terminal; None: as wide as the table needs to be.
    """
    ranks = sorted({column.dispensable for column in columns if column.dispensable}, reverse=True)
    limits = [*(rank + 1 for rank in ranks[:1]), *ranks] or [1]
    layouts = [(limit, short) for limit in limits for short in (False, True)]
    for limit, short in layouts:
        kept = [i for i, column in enumerate(columns) if column.dispensable < limit]
        table, needed, least = _laid_out([columns[i] for i in kept], _pick(sections, columns, kept, short))
        if width is None or needed <= width or least <= width:
            break
    table.title, table.caption = title or None, caption or None
    if width is None:
        table.width = needed
    elif least > width:
        for column in table.columns:
            column.no_wrap = column.justify == "right"
    return table


def _pick(
    sections: Sequence[TextSection], columns: Sequence[TextColumn], kept: Sequence[int], short: bool
) -> list[TextSection]:
    """The sections with some of their columns, in short form if asked for."""

    def cell(row: Sequence[str | Text], i: int) -> str | Text:
        brief, text = columns[i].short, row[i]
        if not short or brief is None:
            return text
        return brief(text) if isinstance(text, str) else Text(brief(text.plain), style=text.style)

    return [
        TextSection([[cell(row, i) for i in kept] for row in section.rows], section.title, section.styles)
        for section in sections
    ]


def _laid_out(columns: Sequence[TextColumn], sections: Sequence[TextSection]) -> tuple[Table, int, int]:
    """A table, its width, and its width where the columns that may be folded are."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
        padding=(0, 1),
        collapse_padding=True,
    )
    saved = 0
    for i, one in enumerate(columns):
        table.add_column(
            one.head,
            justify="right" if one.numeric else "left",
            no_wrap=not one.folds_to,
            min_width=min(one.folds_to, widest) if (widest := _widest(i, one, sections)) else None,
            overflow="fold",
        )
        saved += max(0, widest - one.folds_to) if one.folds_to else 0
    for section in sections:
        if section.title:
            table.add_row(Text(section.title, style="italic"))
        styles = section.styles or [None] * len(section.rows)
        for row, style in zip(section.rows, styles, strict=True):
            table.add_row(*map(_text, row), style=style)
        table.add_section()
    measure = Console(width=10_000)
    needed = Measurement.get(measure, measure.options, table).maximum
    return table, needed, needed - saved


def _widest(i: int, column: TextColumn, sections: Sequence[TextSection]) -> int:
    """Characters of the widest cell of a column."""
    cells = [_text(row[i]).cell_len for section in sections for row in section.rows]
    return max([Text(column.head).cell_len, *cells])


def print_table(
    columns: Sequence[TextColumn],
    sections: Sequence[TextSection],
    *,
    title: str = "",
    caption: str = "",
    console: Console | None = None,
) -> None:
    """Print a table to standard output, see :func:`build_table`."""
    console = console or terminal()
    show(build_table(columns, sections, title=title, caption=caption, width=width_of(console)), console)


def width_of(console: Console) -> int | None:
    """Return the columns of a terminal; None for a pipe, which has room for any table."""
    return console.width if console.is_terminal else None


def show(table: Table, console: Console) -> None:
    """Print a table of :func:`build_table`; the console of a pipe grows to its width."""
    if not console.is_terminal:
        console.width = max(console.width, table.width or 0)
    console.print(table, soft_wrap=False)


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)
