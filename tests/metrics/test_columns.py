"""Every column has a definition, and names with thresholds resolve."""

from __future__ import annotations

import pytest

from bench.core.types import Outcome
from bench.metrics.columns import column, columns
from bench.metrics.record import threshold_name


def test_thresholds_are_filled_in() -> None:
    found = column("match_precision_1.5px")
    assert (found.name, found.label, found.sources) == (
        "match_precision_1.5px",
        "precision@1.5",
        ("match_precision_1.5px",),
    )
    assert "1.5 px" in found.definition
    assert "{t}" not in found.label + found.definition


def test_names_round_trip() -> None:
    for template in columns():
        if "{t}" in template:
            prefix = template.removesuffix("_{t}px")
            assert column(threshold_name(prefix, 3.0)).unit == columns()[template].unit
        else:
            assert column(template) is columns()[template]


@pytest.mark.parametrize("name", ["nonsense", "accuracy_px", "nn_map_3px", "accuracy_{t}"])
def test_unknown_columns_are_refused(name: str) -> None:
    with pytest.raises(KeyError, match="no column"):
        column(name)


def test_direction_is_stated_once_for_all() -> None:
    assert column("accuracy_3px").higher_is_better is True
    assert column("latency_p90_ms").higher_is_better is False
    assert column("n_matches").higher_is_better is None
    assert all(c.definition.endswith(".") and c.label and c.unit for c in columns().values())


def test_every_failure_kind_has_a_column() -> None:
    assert {f"failures_{kind}" for kind in Outcome if kind is not Outcome.OK} <= set(columns())
