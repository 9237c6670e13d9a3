"""Every metric of the registry reaches rows, summary, a table, the page and, with a margin, the gate; names agree."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from bench.check.decide import compare_pairs
from bench.check.evidence import compact_rows, load
from bench.config import compose
from bench.core.errors import ConfigError
from bench.metrics.columns import COUNTS, columns, current, markdown, metric, metrics_of
from bench.metrics.record import Column, Metric
from bench.report import columns as cols
from bench.report.columns import choose
from bench.run.pair import evaluate_pair
from bench.schema import METRICS, ProtocolConfig
from bench.schema.checks import check
from bench.summary.measures import measures
from bench.summary.table import summarise_rows
from tests.run.test_pair import translated_pair

ROOT = Path(__file__).parents[2]
PROTOCOL = ProtocolConfig(name="test", mma_px=[1.0, 3.0])
TABLES = ("main", "homography", "noise", "detectors", "descriptors", "failures", "costs")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Rows of one method: six pairs of three sequences."""
    found = []
    for seed in range(6):
        prepared, ref, target = translated_pair(n=30 + 3 * seed, seed=seed, dx=2.0 + seed)
        row = evaluate_pair(prepared, ref, target, PROTOCOL, seed=0)
        found.append({"method": "m", **row, "pair": f"s{seed % 3}/{seed}", "sequence": f"s{seed % 3}"})
    return pd.DataFrame(found)


def every_column() -> list[Column]:
    return [*(column for name in METRICS for column in metric(name).columns), *COUNTS]


@pytest.mark.parametrize("name", list(METRICS))
def test_a_metric_fills_the_row_columns_it_names(name: str, rows: pd.DataFrame) -> None:
    one = metric(name)
    assert one.name == name
    assert set(one.row_names(PROTOCOL)) <= set(rows.columns)
    assert all(rows[column].notna().all() for column in one.row_names(PROTOCOL))


def test_every_column_of_a_metric_is_in_the_summary(rows: pd.DataFrame) -> None:
    times = pd.DataFrame({"method": [], "stage": [], "block": [], "item": [], "repeat": [], "ms": []})
    present = set(summarise_rows(rows, times, {"m": {}}, PROTOCOL, 200).table["metric"])
    wanted = {name for one in metrics_of(PROTOCOL) for column in one.columns for name, _ in column.names(PROTOCOL)}
    assert wanted <= present


def test_every_column_has_a_table() -> None:
    assert {column.table for column in every_column()} == set(TABLES)
    shown = {name for table in TABLES for name in cols.of_table(table)}
    for column in every_column():
        name = column.name.replace("{t}", "3")
        assert any(re.fullmatch(pattern, name) for pattern in shown), column.name
    # What the record calls main stands in a main table.
    main = [column.name.replace("{t}", "3") for column in every_column() if column.table == "main"]
    kept = {column.name for column in choose(main, cols.main_of(cols.MAIN))}
    assert kept == set(main)


def test_every_column_is_on_the_page() -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert markdown() in page, "write bench.metrics.columns.markdown() into docs/metrics.md"


def test_every_margin_is_a_gate_with_the_direction_of_its_column() -> None:
    gates = compose(["candidate=a", "baseline=b"], "check").metrics
    wanted = {}
    for column in every_column():
        for margin in column.margins:
            name = column.name if margin.at_px is None else column.name.replace("{t}", f"{margin.at_px:g}")
            wanted[name] = (margin.size, "lower" if column.better == "lower" else "higher")
    assert {name: (gate.margin, gate.better) for name, gate in gates.items()} == wanted


def test_gate_and_summary_give_one_quantity_one_value(rows: pd.DataFrame) -> None:
    measured = measures(rows, PROTOCOL)
    config = compose(["candidate=a", "baseline=b", "draws=200"], "check")
    found, missing = compare_pairs({"m": (rows, rows)}, config, PROTOCOL)
    assert missing == []
    assert {one.metric for one in found} == set(config.metrics)
    for one in found:
        assert one.baseline == one.candidate == measured[one.metric].value, one.metric


def test_rows_of_older_versions_are_read_by_their_present_names(rows: pd.DataFrame) -> None:
    old = rows.rename(columns={name: name.replace("accuracy_", "success_") for name in rows.columns})
    assert "success_3px" in old
    assert list(current(old).columns) == list(rows.columns)
    baseline = load(ROOT / "baselines/photos")
    assert "accuracy_3px" in baseline.pairs and not any(name.startswith("success") for name in baseline.pairs)
    assert "accuracy_3px" in compact_rows(current(old))


def test_a_name_that_leads_to_no_metric_says_so() -> None:
    with pytest.raises(ConfigError, match="did you mean homography"):
        check(ProtocolConfig(name="test", metrics=["homograpy"]), "protocol")
    with pytest.raises(ConfigError, match="has no 'METRIC'"):
        metric("json")
    with pytest.raises(ConfigError, match="leads to a float, not to a Metric"):
        metric("math:pi")


def test_a_metric_may_leave_a_pair_undefined() -> None:
    column = Column("half", "half", "share", "higher", "One for even pairs, else undefined.")
    one = Metric("half", (column,), lambda solved, _: {"half": math.nan}, needs=("keypoints",))
    assert one.row_names(PROTOCOL) == ["half"]
    assert "half" not in columns()
