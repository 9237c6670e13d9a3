"""Bold: no method is better beyond noise, by comparison with the best of the column."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bench.metrics.columns import column
from bench.stats import Comparison, share_comparison
from bench.summary.marks import marked, told_apart
from bench.summary.table import summarise_rows
from tests.simulated_run import PROTOCOL
from tests.summary.test_verdict import NOTHING, equal_methods

ACCURACY = column("accuracy_3px")


def comparison(value: float, half: float, error: float = 1.0, clusters: int = 50) -> Comparison:
    """Wider at higher levels: `half` at 95 %."""
    return Comparison(value, error, clusters, lambda level: (value - half * width(level), value + half * width(level)))


def width(level: float) -> float:
    return math.log(1 - level) / math.log(0.05)


def marks(
    values: dict[str, float], halves: dict[str, float], floor: float = 0.0, metric: str = "accuracy_3px"
) -> set[str]:
    def compare(best: str, method: str) -> tuple[Comparison, float]:
        return comparison(values[method] - values[best], halves[method]), floor

    return marked(values, column(metric), compare)


def test_what_is_worse_than_the_best_beyond_noise_is_not_marked() -> None:
    values = {"a": 0.9, "b": 0.88, "c": 0.5}
    assert marks(values, {"b": 0.1, "c": 0.1}) == {"a", "b"}
    assert marks(values, {"b": 0.005, "c": 0.1}) == {"a"}
    assert marks(values, {"b": 0.005, "c": 0.9}) == {"a", "c"}


def test_nothing_is_marked_where_no_two_are_told_apart() -> None:
    assert marks({"a": 0.9, "b": 0.88}, {"b": 0.1}) == set()
    assert marks({"a": 0.9, "b": 0.88}, {"b": 0.01}, floor=0.03) == set()
    assert marks({"a": 0.9}, {}) == set()


def test_lower_is_better_for_errors_and_neither_for_counts() -> None:
    values = {"a": 0.9, "b": 2.0}
    assert marks(values, {"b": 0.1, "a": 0.1}, metric="corner_error_median_px") == {"a"}
    assert marks(values, {"b": 0.1, "a": 0.1}, metric="n_matches") == set()


def test_numbers_written_alike_are_marked_alike() -> None:
    values = {"a": 0.9, "b": 0.8801, "c": 0.8799, "d": 0.2}
    assert marks(values, {"b": 0.001, "c": 0.5, "d": 0.1}) == {"a", "b", "c"}


def test_the_family_is_every_pair_of_methods() -> None:
    just = {f"m{i}": comparison(-0.1, 0.1 * 0.99) for i in range(4)}
    assert told_apart(just, family=1) and not told_apart(just, family=10)
    # Holm steps down: with p = 0.012 and 0.02 the first makes room for the second.
    two = {
        "a": comparison(1.0, math.log(0.05) / math.log(0.012)),
        "b": comparison(1.0, math.log(0.05) / math.log(0.02)),
    }
    assert told_apart(two, family=4) == {"a"}
    assert told_apart(two, family=3) == {"a", "b"}


def test_sequences_without_spread_make_nothing_certain() -> None:
    alike = comparison(-0.1, 0.0, error=0.0, clusters=5)
    assert alike.p_value() == 2**-4
    assert told_apart({"a": alike}, family=1) == set()
    assert told_apart({"a": comparison(-0.1, 0.0, error=0.0, clusters=6)}, family=1) == {"a"}


def test_a_p_value_is_where_the_interval_begins_to_leave_out_the_null() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(200) < 0.7, rng.random(200) < 0.85
    found = share_comparison(ours, theirs, np.repeat(np.arange(50), 4))
    p = found.p_value()
    assert 0 < p < 1
    for null in (0.0, found.value):
        p = found.p_value(null)
        wide, narrow = (found.limits(1 - min(p * f, 1 - 1e-6)) for f in (0.99, 1.01))
        assert wide[0] <= null <= wide[1]
        assert p > 0.99 or not narrow[0] <= null <= narrow[1]


def test_marks_of_a_column_do_not_depend_on_the_reference() -> None:
    rows = equal_methods(np.random.default_rng(1), 4, 20)
    bad = rows["method"] == "m2"
    rows.loc[bad, [f"accuracy_{t}px" for t in (1, 3, 5)]] = 0.0
    rows.loc[bad, "corner_errors_px"] = pd.Series([[math.inf] * 2] * int(bad.sum()), rows.index[bad])
    tables = [summarise_rows(rows, NOTHING, {}, PROTOCOL, draws=50, reference=m).table for m in ("m0", "m2")]
    pd.testing.assert_frame_equal(*tables)
    row = tables[0][(tables[0]["metric"] == "accuracy_3px") & (tables[0]["split"] == "all")].set_index("method")
    assert row["best"].to_dict() == {"m0": True, "m1": True, "m2": False, "m3": True}


@pytest.mark.slow
def test_equal_methods_are_marked_apart_in_at_most_one_column_of_twenty() -> None:
    rng = np.random.default_rng(2)
    runs, wrong = 60, 0
    for _ in range(runs):
        table = summarise_rows(equal_methods(rng, 5, 20), NOTHING, {}, PROTOCOL, draws=50).table
        wrong += bool(table.loc[table["metric"] == "accuracy_3px", "best"].any())
    assert wrong <= 0.05 * runs + 2 * math.sqrt(0.05 * 0.95 * runs)
