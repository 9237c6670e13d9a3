from __future__ import annotations

import dataclasses
import io
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.core.errors import ConfigError
from bench.report import render, tables
from bench.report.tables import Cell, Head, Section, Table
from tests.report.conftest import SimulatedRun


def small(text: str = "x", best: bool = False) -> Table:
    row = (Cell(text), Cell("0.500", "[0.400, 0.600]", "±0.010", best, 0.5))
    heads = (Head("method", "method", False), Head("accuracy_3px", "acc@3 px"))
    return Table("t", "Title", "Caption.", "", heads, (Section("", (row,)),))


def console_lines(table: Table, width: int) -> list[str]:
    buffer = io.StringIO()
    Console(file=buffer, width=width, color_system=None).print(render.to_console(table, width))
    return buffer.getvalue().splitlines()


@pytest.mark.parametrize(
    ("width", "accuracies", "extra"),
    [
        (80, ["acc@3 px"], []),
        (120, ["acc@1 px", "acc@3 px", "acc@5 px"], []),
        (200, ["acc@1 px", "acc@3 px", "acc@5 px"], ["AUC@5 px", "failures"]),
    ],
)
def test_each_width_keeps_names_intervals_times_and_speed_up(
    run: SimulatedRun, width: int, accuracies: list[str], extra: list[str]
) -> None:
    lines = console_lines(tables.main_table(run.summary, run.manifest), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "\n".join(lines)
    head = next(line for line in lines if "method" in line)
    for name in ("precision", "ms median", "speed-up", *accuracies, *extra):
        assert name in head
    assert head.count("acc@") == len(accuracies)
    values = run.summary.table.set_index(["method", "split", "metric"])["value"]
    for method in run.manifest["methods"]:
        row = next(line for line in lines if method in line)
        assert re.search(rf"{values[method, 'all', 'accuracy_3px']:.3f} \[[\d.]+,[\d.]+\]", row)
        assert len(re.findall(r"\[[\d.]+,[\d.]+\]", row)) >= len(accuracies) + 1
        assert "×" in row


def test_a_pipe_gets_every_column(run: SimulatedRun) -> None:
    table = tables.main_table(run.summary, run.manifest)
    text = render.to_console(table, None)
    assert [str(column.header) for column in text.columns] == [head.text for head in table.heads]


@pytest.mark.parametrize(
    ("label", "short"),
    [
        ("FP16 weights, f32 compute", "FP16/f32"),
        ("INT8 model, bf16 50 %, f32 50 % compute", "INT8/bf16 50 %"),
        ("INT8 (u8 75 %, f32 25 % of convolutions)", "INT8"),
        ("fp32, precise upscale", "fp32"),
        ("FP32", "FP32"),
    ],
)
def test_precisions_have_a_short_form(label: str, short: str) -> None:
    form = render._short_form(Head("precision", "precision", False))
    assert form is not None
    assert form(label) == short


def test_console_shortens_intervals() -> None:
    assert "0.500 [.40,.60]" in "\n".join(console_lines(small(), 120))


def test_markdown_is_a_pipe_table_with_equal_columns(run: SimulatedRun) -> None:
    text = render.to_markdown(tables.main_table(run.summary, run.manifest))
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.M)
    assert len(blocks) == 3
    for block in blocks:
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1
    assert "latency" not in blocks[1]
    assert "speed-up" in blocks[0]
    assert "speed-up" not in blocks[1]
    assert "3 of 116 sequences" in text


def test_markdown_escapes_what_would_break_the_table() -> None:
    text = render.to_markdown(small("a|b<script>`c`\n*d*"))
    assert r"| a\|b&lt;script&gt;\`c\` \*d\* | 0.500 \[0.400, 0.600\] ±0.010 |" in text


def test_best_is_bold_in_markdown_and_latex() -> None:
    assert "**0.500**" in render.to_markdown(small(best=True))
    assert r"\textbf{0.500}" in render.to_latex(small(best=True))
    assert "textbf" not in render.to_latex(small())


def balanced(text: str) -> bool:
    """Braces balance and every environment that begins ends, in order."""
    depth, open_environments = 0, []
    for token in re.findall(r"\\begin\{([^}]*)\}|\\end\{([^}]*)\}|(\\.)|([{}])", text):
        begin, end, _, brace = token
        if begin:
            open_environments.append(begin)
        elif end and (not open_environments or open_environments.pop() != end):
            return False
        depth += {"{": 1, "}": -1}.get(brace, 0)
        if depth < 0:
            return False
    return depth == 0 and not open_environments


def test_latex_is_balanced_and_uses_booktabs(run: SimulatedRun) -> None:
    table = tables.main_table(run.summary, run.manifest)
    text = render.to_latex(table)
    assert balanced(text)
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert rule in text
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if "&" in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {len(table.heads) - 1}


LATEX_PT = {"table": 240, "table*": 504}


@pytest.mark.parametrize(
    ("columns", "kind"),
    [(["accuracy_3px"], "table"), (["accuracy_1px", "accuracy_3px", "accuracy_5px", "latency_median_ms"], "table*")],
)
def test_chosen_columns_stand_in_latex_unscaled(run: SimulatedRun, columns: list[str], kind: str) -> None:
    table = tables.chosen_table(run.summary, run.manifest, columns)
    text = render.to_latex_columns(table)
    assert balanced(text)
    assert [head.key for head in table.heads] == ["method", *columns]
    assert rf"\begin{{{kind}}}" in text and r"\fontsize{8}" in text and "resizebox" not in text
    assert render.width_pt(table) <= LATEX_PT[kind]
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if "&" in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {len(columns)}


def test_too_many_columns_for_a_page_are_refused(run: SimulatedRun) -> None:
    names = sorted(set(run.summary.table["metric"].astype(str)))
    with pytest.raises(ConfigError, match=r"about \d+ pt wide at 8 pt, a page of two columns has 504; name fewer"):
        render.to_latex_columns(tables.chosen_table(run.summary, run.manifest, names))


def test_a_column_that_is_not_there_is_named(run: SimulatedRun) -> None:
    with pytest.raises(ConfigError, match=r"this run has no acuracy_3px; did you mean accuracy_3px\?"):
        tables.chosen_table(run.summary, run.manifest, ["acuracy_3px"])


@given(st.text())
def test_latex_escape_leaves_nothing_special(text: str) -> None:
    escaped = render.escape_latex(text)
    assert balanced(escaped)
    plain = re.sub(r"\$\\[a-z]+\$|\$-\$|\\[a-z]+\{\}|\\[&%$#_{}]", "", escaped)
    assert not re.search(r"[\\&%$#_{}~^]", plain)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.slow
def test_latex_compiles(run: SimulatedRun, tmp_path: Path) -> None:
    named = {**run.manifest, "title": "", "methods": {**run.manifest["methods"]}}
    named["methods"]["sift"] = {**named["methods"]["sift"], "label": r"50 % & #1_{a}^b~c\d $x$ < > | é ∞"}
    parts = [tables.main_table(run.summary, named), tables.differences_table(run.summary, named)]
    body = "\n".join(render.to_latex(part) for part in parts if part is not None)
    preamble = r"\documentclass[twocolumn]{article}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}"
    (tmp_path / "t.tex").write_text(rf"{preamble}\begin{{document}}{body}\end{{document}}", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert "Overfull \\hbox" not in (tmp_path / "t.log").read_text(errors="replace")


def test_csv_has_a_row_per_method_and_split_and_reads_back(run: SimulatedRun) -> None:
    text = render.to_csv(run.summary, run.manifest)
    frame = pd.read_csv(io.StringIO(text))
    assert list(frame["method"].unique()) == list(run.manifest["methods"])
    assert len(frame) == 3 * len(run.manifest["methods"])
    known = run.summary.table.set_index(["method", "split", "metric"])
    for row in frame.to_dict("records"):
        for field in ("value", "low", "high"):
            name = "accuracy_3px" if field == "value" else f"accuracy_3px_{field}"
            assert row[name] == pytest.approx(known.loc[(row["method"], row["split"], "accuracy_3px"), field], rel=1e-8)
    assert set(frame["data_note"]) == {"3 of 116 sequences, 15 of 580 pairs"}
    assert frame.loc[frame["method"] == "superpoint_ov_fp16", "precision"].iloc[0] == "FP16 weights, f32 compute"
    assert text == render.to_csv(run.summary, run.manifest)


def test_print_tables_says_where_the_data_ends(run: SimulatedRun, capsys: pytest.CaptureFixture[str]) -> None:
    render.print_tables(run.summary, run.manifest)
    assert "15 of 580 pairs" in " ".join(capsys.readouterr().out.split())


def test_print_tables_shows_published_numbers(run: SimulatedRun, capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "source": "paper, Table 4",
        "method": "sift",
        "split": "all",
        "metric": "accuracy_3px",
        "published": 0.676,
        "ours": 0.5,
        "difference": -0.176,
        "low": -0.2,
        "high": -0.1,
        "status": "verified",
    }
    summary = dataclasses.replace(run.summary, published=pd.DataFrame([row]))
    render.print_tables(summary, run.manifest)
    shown = capsys.readouterr().out
    assert "Published numbers" in shown and ".676" in shown
