"""Tables in the terminal, written in one place for every command.

In a pipe a table is as wide as it needs to be. In a terminal that is too narrow, columns named as dispensable go first;
what remains is folded, never elided.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """

    head: str
    numeric: bool = True
    dispensable: int = 0


@dataclass(frozen=True, slots=True)
class TextSection:
    """Rows of a printed table under a title, each with a cell per column and a style (empty: none)."""

    rows: Sequence[Sequence[str | Text]]
    title: str = ""
    styles: Sequence[str | None] = ()


def terminal() -> Console:
    """Return a console on standard output that neither guesses colours for numbers nor wraps sentences."""
    return Console(highlight=False, soft_wrap=True)


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
    measure = Console(width=10_000)
    for limit in [*(rank + 1 for rank in ranks[:1]), *ranks, 0]:
        kept = [i for i, column in enumerate(columns) if not column.dispensable or column.dispensable < limit]
        table = Table(
            box=box.SIMPLE_HEAD,
            title=title or None,
            title_justify="left",
            caption=caption or None,
            caption_justify="left",
            pad_edge=False,
            padding=(0, 1),
        )
        for i in kept:
            one = columns[i]
            table.add_column(one.head, justify="right" if one.numeric else "left", no_wrap=one.numeric, overflow="fold")
        for section in sections:
            if section.title:
                table.add_row(Text(section.title, style="italic"))
            styles = section.styles or [None] * len(section.rows)
            for row, style in zip(section.rows, styles, strict=True):
                table.add_row(*(_text(row[i]) for i in kept), style=style)
            table.add_section()
        needed = Measurement.get(measure, measure.options, table).maximum
        if width is None:
            table.width = needed
            break
        if needed <= width:
            break
    return table


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
