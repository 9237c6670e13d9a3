"""The sentences: fixed words for fixed findings, and never a word more than the paired intervals."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.summary.table import DIFFERENCES, TABLE, Summary, summarise_rows
from bench.summary.verdict import Finding, finding, main_metric, verdict
from tests.simulated_run import PROTOCOL

QUIET = {"noise": {"noisy": False}}
NOTHING = pd.DataFrame(columns=["method", "item", "stage", "repeat", "block", "ms"])


def row(difference: float, low: float, high: float, **changes: Any) -> dict[str, Any]:
    """A row of the differences to ``a``."""
    cells = ("m", "a", "all", "accuracy_3px", difference, low, high, 1.0, 0.03, 1.0, 1.0, 0.005, "not distinguishable")
    return dict(zip(DIFFERENCES, cells, strict=True)) | changes


def summary_of(differences: list[dict[str, Any]], n_sequences: int = 57, metric: str = "accuracy_3px") -> Summary:
    """A summary of the reference ``a`` and the methods of the rows."""
    methods = ["a", *dict.fromkeys(r["method"] for r in differences)]
    table: list[tuple[Any, ...]] = [
        (m, "all", metric, 0.7, 0.6, 0.8, "share", 5.0 * n_sequences, float(n_sequences), False) for m in methods
    ]
    table += [
        (m, "all", "speedup", 1 + i, 0.9 + i, 1.1 + i, "ratio", math.nan, math.nan, False)
        for i, m in enumerate(methods)
    ]
    speeds = [
        row(i, i - 0.1, i + 0.1, method=m, metric="speedup", verdict="better") for i, m in enumerate(methods) if i
    ]
    frame = pd.DataFrame([d | {"metric": metric} for d in differences] + speeds, columns=list(DIFFERENCES))
    return Summary(pd.DataFrame(table, columns=list(TABLE)), frame, None, "a")


@pytest.mark.parametrize(
    ("given", "n_sequences", "expected"),
    [
        (row(0.0, 0.0, 0.0, verdict="identical"), 57, Finding.SAME),
        (row(0.0, 0.0, 0.0, verdict="identical"), 3, Finding.SAME),
        (row(-0.004, -0.009, 0.012, p_noninferiority=0.01), 57, Finding.NOTHING_LOST),
        (row(-0.006, -0.012, 0.012, p_noninferiority=0.01), 57, Finding.NON_INFERIOR),
        (row(-0.004, -0.009, 0.012, p_noninferiority=0.06), 57, Finding.NOT_DISTINGUISHABLE),
        (row(-0.004, -0.009, 0.012, p_noninferiority=math.nan), 57, Finding.NOT_DISTINGUISHABLE),
        (row(-0.004, -0.009, 0.012, p_noninferiority=0.01), 5, Finding.UNKNOWN),
        (row(0.1, math.nan, math.nan, verdict="too few sequences"), 57, Finding.UNKNOWN),
        (row(0.1, 0.05, 0.15, verdict="better", p_noninferiority=0.0), 57, Finding.BETTER),
        (row(-0.1, -0.15, -0.05, verdict="worse"), 57, Finding.WORSE),
        (row(-0.1, -0.15, -0.05, verdict="worse"), 5, Finding.UNKNOWN),
    ],
)
def test_words_have_fixed_meanings(given: dict[str, Any], n_sequences: int, expected: Finding) -> None:
    assert finding(given, n_sequences) is expected


def test_methods_with_the_same_finding_share_a_sentence() -> None:
    summary = summary_of(
        [
            row(-0.002, -0.009, 0.012, method="b", p_noninferiority=0.001),
            row(0.001, -0.008, 0.011, method="c", p_noninferiority=0.001),
            row(0.02, -0.06, 0.1, method="d"),
            row(-0.3, -0.4, -0.2, method="e", verdict="worse"),
        ]
    )
    assert verdict(summary, QUIET | {"methods": {"b": {"label": "B"}}}) == (
        "B and c lose nothing measurable against a (acc@3 px -0.002 [-0.009, 0.012] and +0.001 [-0.008, 0.011]), "
        "and are 2.00× [1.90×, 2.10×] and 3.00× [2.90×, 3.10×] as fast.",
        "d is not distinguishable from a (acc@3 px +0.020 [-0.060, 0.100]), and is 4.00× [3.90×, 4.10×] as fast.",
        "e is worse than a (acc@3 px -0.300 [-0.400, -0.200]), and is 5.00× [4.90×, 5.10×] as fast.",
        "Times: quiet host.",
    )


def test_many_methods_with_one_finding_get_the_range() -> None:
    found = verdict(
        summary_of(
            [row(-i / 10, -i / 10 - 0.05, -i / 10 + 0.05, method=f"m{i}", verdict="worse") for i in (3, 1, 4, 2)]
        ),
        QUIET,
    )
    assert "(acc@3 px -0.400 [-0.450, -0.350] to -0.100 [-0.150, -0.050])" in found[0]


def test_a_noisy_host_states_no_speed() -> None:
    noise = {"noisy": True, "reasons": ["other processes took 12 %."]}
    found = verdict(summary_of([row(0.02, -0.06, 0.1)]), {"noise": noise})
    assert found[-1] == "Times: noisy host (other processes took 12 %), so no speed is stated."
    assert not any("as fast" in sentence for sentence in found)
    assert verdict(summary_of([row(0.02, -0.06, 0.1)]), {})[-1] == "Times: whether the host was quiet is not recorded."


def test_few_sequences_are_no_evidence() -> None:
    found = verdict(summary_of([row(-0.3, -0.4, -0.2, verdict="worse")], n_sequences=3), QUIET)
    assert found[0].startswith("m is not compared with a: not enough evidence, 3 sequences")


def test_what_failed_or_did_not_run_is_named() -> None:
    found = verdict(summary_of([row(0.02, -0.06, 0.1)]), QUIET | {"died": ["m"], "left_out": {"npu": "no NPU"}})
    assert found[1] == "the worker of m died, and the pairs concerned count as failed; npu did not run here (no NPU)."


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (["accuracy_1px", "accuracy_3px", "auc_5px", "repeatability"], "accuracy_3px"),
        (["accuracy_1px", "accuracy_2px"], "accuracy_2px"),
        (["auc_5px", "mma_3px"], "auc_5px"),
        (["mma_1px", "mma_3px", "mma_10px"], "mma_3px"),
        (["repeatability", "repeatability_one_to_one"], "repeatability"),
        (["n_keypoints"], None),
    ],
)
def test_sentences_follow_the_main_metric_of_the_protocol(metrics: list[str], expected: str | None) -> None:
    assert main_metric(metrics) == expected
    if expected in ("auc_5px", "repeatability"):
        found = verdict(summary_of([row(0.02, -0.06, 0.1, metric=expected)], metric=expected), QUIET)
        assert ("AUC@5 px" if expected == "auc_5px" else "repeatability") in found[0]


def test_a_run_of_one_method_says_what_it_reaches() -> None:
    assert verdict(summary_of([]), QUIET)[0] == "a reaches acc@3 px 0.700 [0.600, 0.800]; nothing is compared with it."


def equal_methods(rng: np.random.Generator, n_methods: int, sequences: int, pairs: int = 3) -> pd.DataFrame:
    """Rows of methods that all have the same true accuracy; difficulty is common to the pairs of a sequence."""
    rows = []
    for sequence in range(sequences):
        hard = rng.normal(0, 0.8)
        for pair in range(pairs):
            for method in range(n_methods):
                errors = list(np.exp(rng.normal(0.4 + hard, 1.0) + rng.normal(0, 0.05, 2)))
                key = f"s{sequence:03d}"
                rows.append((f"m{method}", f"{key}/{pair}", key, "-", "ok", 500.0, errors[0], errors))
    columns = ["method", "pair", "sequence", "split", "outcome", "n_matches", "corner_error_px", "corner_errors_px"]
    frame = pd.DataFrame(rows, columns=columns)
    for t in (1, 3, 5):
        frame[f"accuracy_{t}px"] = [float(np.mean(np.array(e) <= t)) for e in frame["corner_errors_px"]]
    return frame


@pytest.mark.slow
@pytest.mark.parametrize(("n_methods", "sequences"), [(3, 13), (6, 13), (6, 57)])
def test_equal_methods_are_called_different_in_at_most_one_run_of_twenty(n_methods: int, sequences: int) -> None:
    rng = np.random.default_rng(n_methods + sequences)
    runs = 100
    wrong = 0
    for _ in range(runs):
        found = summarise_rows(equal_methods(rng, n_methods, sequences), NOTHING, {}, PROTOCOL, draws=50)
        wrong += any(re.search("better|worse", sentence) is not None for sentence in verdict(found, {}))
    assert wrong <= 0.05 * runs + 2 * math.sqrt(0.05 * 0.95 * runs)


@pytest.mark.slow
def test_no_sentence_claims_a_difference_whose_interval_contains_zero() -> None:
    rng = np.random.default_rng(5)
    claimed = 0
    for _ in range(60):
        rows = equal_methods(rng, 4, int(rng.integers(2, 30)))
        worse = rows["method"].eq("m3") & (rng.random(len(rows)) < rng.uniform(0, 0.6))
        rows.loc[worse, [f"accuracy_{t}px" for t in (1, 3, 5)]] = 0.0
        rows.loc[worse, "corner_errors_px"] = pd.Series([[math.inf] * 2] * int(worse.sum()), rows.index[worse])
        found = summarise_rows(rows, NOTHING, {}, PROTOCOL, draws=50)
        for sentence in verdict(found, {}):
            for word, numbers in re.findall(r"(better|worse) than m0 \(acc@3 px ([^)]*)\)", sentence):
                for low, high in re.findall(r"\[(-?[\d.]+), (-?[\d.]+)\]", numbers):
                    claimed += 1
                    assert float(low) > 0 if word == "better" else float(high) < 0
    assert claimed > 5
