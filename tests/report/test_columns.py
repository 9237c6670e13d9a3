from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.text import DASH, format_difference, format_interval, format_value
from bench.report import columns as cols
from bench.report.columns import choose, heading


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("share", 0.68449, "0.684"),
        ("share", 0.0, "0.000"),
        ("share", None, DASH),
        ("share", math.nan, DASH),
        ("px", math.inf, "∞"),
        ("px", 1.158, "1.16"),
        ("ms", 589.4, "589"),
        ("ms", 81.13, "81.1"),
        ("ms", 6.208, "6.21"),
        ("ms", 0.0621, "0.062"),
        ("ms", 0.0, "0"),
        ("ratio", 1.6951, "1.70×"),
        ("ratio", 95.13, "95.1×"),
        ("count", 3.0, "3"),
        ("count", 38.25, "38.2"),
        ("count", 387.4, "387"),
        ("MB", 634.7, "635"),
    ],
)
def test_values_are_written_with_the_digits_that_matter(unit: str, value: float | None, text: str) -> None:
    assert format_value(unit, value) == text


@given(st.sampled_from(["share", "px", "ms", "ratio", "count", "MB", "1/s"]), st.floats(allow_nan=False))
def test_every_number_becomes_text_that_is_no_dash(unit: str, value: float) -> None:
    assert format_value(unit, value) not in ("", DASH)


def test_interval_needs_both_ends() -> None:
    assert format_interval("share", 0.1, 0.25) == "[0.100, 0.250]"
    assert format_interval("share", math.nan, 0.25) == ""
    assert format_interval("share", None, None) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.012, "+0.012"), (-0.012, "-0.012"), (-0.0001, "0.000"), (0.0, "0.000"), (math.nan, DASH)]
)
def test_a_difference_carries_its_sign_unless_it_rounds_to_zero(value: float, text: str) -> None:
    assert format_difference("share", value) == text


def test_thresholds_come_in_rising_order_and_headings_name_their_unit() -> None:
    chosen = choose(
        ["accuracy_10px", "accuracy_3px", "latency_p90_ms", "infer_ms"], (*cols.MAIN, *cols.of_table("costs"))
    )
    assert [heading(c) for c in chosen] == ["acc@3 px", "acc@10 px", "ms p90", "infer ms"]
