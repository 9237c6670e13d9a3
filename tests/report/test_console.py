"""Printed tables: nothing is elided, dispensable columns go first, a pipe has room for everything."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.report.console import TextColumn, TextSection, build_table, print_table

COLUMNS = [
    TextColumn("method", False),
    TextColumn("accuracy"),
    TextColumn("remark", False, 1),
    TextColumn("gain", True, 2),
]
LONG = "a remark of some forty characters in one"
ROWS = [["superpoint_ov_fp32", "0.878 [.71,.99]", LONG, "+0.1 %"], ["sift", "0.845 [.67,.97]", "", "+12.5 %"]]


def printed(width: int, terminal: bool) -> str:
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, force_terminal=terminal, color_system=None)
    print_table(COLUMNS, [TextSection(ROWS)], title="Title", console=console)
    return buffer.getvalue()


def test_a_pipe_has_room_for_every_column() -> None:
    text = printed(20, terminal=False)
    for row in ROWS:
        assert any(all(cell in line for cell in row) for line in text.splitlines())


@pytest.mark.parametrize(("width", "gone"), [(120, set()), (85, {"gain"}), (45, {"gain", "remark"})])
def test_a_narrow_terminal_drops_columns_in_the_order_of_their_number(width: int, gone: set[str]) -> None:
    text = printed(width, terminal=True)
    head = next(line for line in text.splitlines() if "method" in line)
    assert {column.head for column in COLUMNS if column.head not in head} == gone
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


def test_what_cannot_be_dropped_is_folded_and_complete() -> None:
    text = printed(30, terminal=True)
    assert "…" not in text
    assert "0.878 [.71,.99]" in text
    assert "".join(line.split("0.8")[0].strip() for line in text.splitlines() if "super" in line).startswith("super")


def test_sections_carry_titles_and_styles() -> None:
    table = build_table(COLUMNS, [TextSection(ROWS[:1], "Viewpoint", ["bold"]), TextSection(ROWS[1:], "Illumination")])
    assert table.row_count == 4
    assert [row.style for row in table.rows] == [None, "bold", None, None]


def test_a_short_form_is_taken_before_a_column_is_left_out() -> None:
    columns = [TextColumn("method", False), TextColumn("precision", False, 1, short=lambda text: text[:4])]
    section = TextSection([["superpoint_ov_fp16", "FP16 weights, f32 compute"]])
    heads = {}
    for width in (60, 32, 25):
        table = build_table(columns, [section], width=width)
        heads[width] = [str(cell) for column in table.columns for cell in column.cells]
    assert heads == {
        60: ["superpoint_ov_fp16", "FP16 weights, f32 compute"],
        32: ["superpoint_ov_fp16", "FP16"],
        25: ["superpoint_ov_fp16"],
    }


def test_a_remark_is_folded_before_it_is_left_out_and_a_name_is_not() -> None:
    columns = [TextColumn("method", False), TextColumn("remark", False, 1, folds_to=12)]
    buffer = io.StringIO()
    console = Console(file=buffer, width=40, force_terminal=True, color_system=None)
    print_table(columns, [TextSection([["superpoint_ov_fp32", LONG]])], console=console)
    text = buffer.getvalue()
    assert "superpoint_ov_fp32" in text
    words = [word for line in text.splitlines()[3:] for word in line.split() if word != "superpoint_ov_fp32"]
    assert " ".join(words) == LONG
