"""The summary: values against the rows they are made of, intervals, differences, words, latencies, determinism."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import ConfigError
from bench.core.types import MethodInfo
from bench.metrics.columns import column
from bench.metrics.homography import auc_trapezoid
from bench.schema import HomographyMetricConfig, ProtocolConfig
from bench.stats import Interval, cluster_codes, order_noise, share_interval
from bench.summary.table import (
    BELOW_NOISE,
    DIFFERENCES,
    DIFFERENT,
    IDENTICAL,
    NOT_DISTINGUISHABLE,
    TABLE,
    UNKNOWN,
    Summary,
    judge,
    numbers,
    summarise,
    summarise_rows,
)
from tests.simulated_run import PROTOCOL, pair_rows, time_rows

PAIRS = pd.concat(
    [
        pair_rows("superpoint_tf"),
        pair_rows("superpoint_ov_fp16"),
        pair_rows("sift", scale=4.0, seed=1),
        pair_rows("harris", seed=2, detector=True),
    ],
    ignore_index=True,
)
TIMES = pd.concat(
    [time_rows("superpoint_tf", 60.0), time_rows("superpoint_ov_fp16", 28.0, seed=1), time_rows("sift", 28.0, seed=2)],
    ignore_index=True,
)
INFOS = {
    "superpoint_tf": MethodInfo("superpoint_tf", "tensorflow", True, costs={"load_ms": 900.0, "peak_memory_mb": 700.0})
}


@pytest.fixture(scope="module")
def summary() -> Summary:
    return summarise_rows(PAIRS, TIMES, INFOS, PROTOCOL, draws=400, seed=0)


def cell(summary: Summary, method: str, metric: str, split: str = "all") -> pd.Series:
    t = summary.table
    rows = t[(t["method"] == method) & (t["metric"] == metric) & (t["split"] == split)]
    assert len(rows) == 1, (method, metric, split, len(rows))
    return rows.iloc[0]


def difference(summary: Summary, method: str, metric: str, split: str = "all") -> pd.Series:
    t = summary.differences
    rows = t[(t["method"] == method) & (t["metric"] == metric) & (t["split"] == split)]
    assert len(rows) == 1
    return rows.iloc[0]


def rows_of(method: str, split: str = "all") -> pd.DataFrame:
    rows = PAIRS[PAIRS["method"] == method]
    return rows if split == "all" else rows[rows["split"] == split]


def test_columns_are_the_contract(summary: Summary) -> None:
    assert tuple(summary.table.columns) == TABLE
    assert tuple(summary.differences.columns) == DIFFERENCES
    assert summary.published is None
    for metric in summary.table["metric"].unique():
        assert column(metric).definition


@pytest.mark.parametrize("split", ["all", "i", "v"])
@pytest.mark.parametrize("t", [1, 3, 5])
def test_accuracy_is_the_mean_success_probability(summary: Summary, split: str, t: int) -> None:
    rows = rows_of("sift", split)
    found = cell(summary, "sift", f"accuracy_{t}px", split)
    assert found["value"] == pytest.approx(rows[f"accuracy_{t}px"].mean())
    expected = share_interval(rows[f"accuracy_{t}px"], cluster_codes(rows["sequence"].to_numpy())[0])
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert (found["n_pairs"], found["n_sequences"]) == (len(rows), rows["sequence"].nunique())
    assert found["unit"] == "share"


def test_auc_and_medians(summary: Summary) -> None:
    errors = np.stack(rows_of("sift")["corner_errors_px"].to_list())
    assert cell(summary, "sift", "auc_5px")["value"] == pytest.approx(np.maximum(0, 1 - errors / 5).mean())
    assert cell(summary, "sift", "corner_error_median_px")["value"] == pytest.approx(np.median(errors))
    assert cell(summary, "sift", "dlt_accuracy_3px")["value"] == pytest.approx((2 * errors[:, 0] <= 3).mean())


def test_trapezoid_and_medians_where_the_protocol_says_so() -> None:
    config = ProtocolConfig(
        name="m",
        estimator=PROTOCOL.estimator,
        mma_px=[1.0, 3.0],
        homography=HomographyMetricConfig(auc="trapezoid", aggregate="median"),
    )
    found = summarise_rows(PAIRS, TIMES, {}, config, draws=200)
    rows = rows_of("sift")
    errors = np.stack(rows["corner_errors_px"].to_list())
    value = cell(found, "sift", "auc_3px")
    assert value["value"] == pytest.approx(np.mean([auc_trapezoid(e, 3.0) for e in errors.T]))
    assert value["low"] < value["value"] < value["high"]
    assert cell(found, "sift", "n_matches")["value"] == rows["n_matches"].median()
    assert cell(found, "sift", "accuracy_3px")["value"] == pytest.approx(rows["accuracy_3px"].mean())


def test_order_noise_stands_beside_accuracy(summary: Summary) -> None:
    errors = np.stack(rows_of("superpoint_tf")["corner_errors_px"].to_list())
    noise = order_noise(errors <= 3)
    assert cell(summary, "superpoint_tf", "order_noise_3px")["value"] == pytest.approx(noise.half_width)
    assert cell(summary, "superpoint_tf", "flip_share_3px")["value"] == noise.flip_share


def test_failures_are_counted_by_kind_and_stay_in_the_mean(summary: Summary) -> None:
    rows = rows_of("sift")
    failed = int((rows["outcome"] == "estimation_failed").sum())
    assert failed > 0
    assert cell(summary, "sift", "failures")["value"] == failed
    assert cell(summary, "sift", "failures_estimation_failed")["value"] == failed
    assert cell(summary, "sift", "failures_no_keypoints")["value"] == 0
    share = rows["n_failed_repeats"].sum() / (len(rows) * 4)
    assert cell(summary, "sift", "failed_repeat_share")["value"] == pytest.approx(share)
    assert cell(summary, "sift", "accuracy_5px")["n_pairs"] == len(rows)


def test_undefined_pairs_are_visible_in_n_pairs(summary: Summary) -> None:
    rows = rows_of("harris")
    found = cell(summary, "harris", "localisation_error_px")
    assert found["n_pairs"] == rows["localisation_error_px"].notna().sum() == 40
    assert found["value"] == pytest.approx(rows["localisation_error_px"].mean())
    assert "match_recall_1px" not in set(summary.table["metric"])  # undefined for every pair


def test_detectors_have_no_homography_rows(summary: Summary) -> None:
    metrics = set(summary.table[summary.table["method"] == "harris"]["metric"])
    assert "repeatability" in metrics
    assert not any(m.startswith(("accuracy", "auc", "n_matches", "nn_map", "latency")) for m in metrics)


def test_identical_methods_are_called_identical(summary: Summary) -> None:
    row = difference(summary, "superpoint_ov_fp16", "accuracy_3px")
    assert (row["difference"], row["p_value"], row["mcnemar_p"]) == (0, 1, 1)
    assert math.isnan(row["low"]) and math.isnan(row["high"]) and math.isnan(row["p_noninferiority"])
    assert row["verdict"] == IDENTICAL
    assert row["reference"] == "superpoint_tf"


def test_a_real_loss_is_called_worse(summary: Summary) -> None:
    row = difference(summary, "sift", "auc_5px")
    assert row["high"] < 0
    assert row["verdict"] == "worse"
    assert difference(summary, "sift", "corner_error_median_px")["verdict"] == "worse"
    ours, theirs = (cell(summary, m, "auc_5px")["value"] for m in ("sift", "superpoint_tf"))
    assert row["difference"] == pytest.approx(ours - theirs)


def test_the_reference_is_not_compared_with_itself(summary: Summary) -> None:
    assert "superpoint_tf" not in set(summary.differences["method"])


def test_the_reference_is_the_first_method_unless_named() -> None:
    assert summarise_rows(rows_of("sift"), TIMES, {}, PROTOCOL, draws=100).differences.empty
    rest = PAIRS[PAIRS["method"].isin(["superpoint_ov_fp16", "sift"])]
    first = summarise_rows(rest, TIMES, {}, PROTOCOL, draws=100)
    assert (first.reference, set(first.differences["reference"])) == ("superpoint_ov_fp16", {"superpoint_ov_fp16"})
    assert cell(first, "superpoint_ov_fp16", "speedup")["value"] == 1
    named = summarise_rows(rest, TIMES, {}, PROTOCOL, draws=100, reference="sift")
    assert (named.reference, set(named.differences["reference"])) == ("sift", {"sift"})
    ours, theirs = (difference(s, m, "accuracy_3px") for s, m in ((first, "sift"), (named, "superpoint_ov_fp16")))
    assert ours["difference"] == -theirs["difference"] != 0
    assert ours["p_value"] == pytest.approx(theirs["p_value"], rel=1e-3)


def test_an_unknown_reference_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match="reference=sitf is not a method of this run; did you mean sift"):
        summarise_rows(PAIRS, TIMES, {}, PROTOCOL, draws=100, reference="sitf")


def test_p_values_are_adjusted_for_the_number_of_methods() -> None:
    alone = summarise_rows(PAIRS[PAIRS["method"].isin(["superpoint_tf", "sift"])], TIMES, {}, PROTOCOL, draws=100)
    three = summarise_rows(PAIRS[PAIRS["method"] != "harris"], TIMES, {}, PROTOCOL, draws=100)
    one, several = (difference(s, "sift", "auc_5px")["p_value"] for s in (alone, three))
    assert several == pytest.approx(2 * one)


@pytest.mark.parametrize(
    ("value", "low", "high", "floor", "higher_is_better", "expected"),
    [
        (0.01, 0.005, 0.015, 0.02, True, BELOW_NOISE),
        (0.02, 0.005, 0.035, 0.02, True, BELOW_NOISE),
        (0.03, -0.01, 0.07, 0.02, True, NOT_DISTINGUISHABLE),
        (0.03, 0.0, 0.06, 0.02, True, NOT_DISTINGUISHABLE),
        (0.03, 0.01, 0.05, 0.02, True, "better"),
        (-0.03, -0.05, -0.01, 0.02, True, "worse"),
        (0.03, 0.01, 0.05, math.nan, False, "worse"),
        (0.03, 0.01, 0.05, math.nan, None, "higher"),
        (-0.03, -0.05, -0.01, math.nan, None, "lower"),
        (0.03, math.nan, math.nan, 0.0, True, UNKNOWN),
    ],
)
def test_words(
    value: float, low: float, high: float, floor: float, higher_is_better: bool | None, expected: str
) -> None:
    assert judge(Interval(value, low, high), floor, higher_is_better) == expected
    cautious = judge(Interval(value, low, high), floor, higher_is_better, p_value=0.06)
    assert cautious == (NOT_DISTINGUISHABLE if expected in DIFFERENT else expected)


def test_one_sequence_has_no_interval() -> None:
    found = summarise_rows(pair_rows("sift", sequences=1), TIMES, {}, PROTOCOL, draws=100)
    row = cell(found, "sift", "accuracy_3px")
    assert math.isnan(row["low"])
    assert not math.isnan(row["value"])


def test_rows_of_other_pairs_are_refused() -> None:
    short = pd.concat([rows_of("superpoint_tf"), rows_of("sift").iloc[1:]])
    with pytest.raises(ValueError, match="not the same pairs"):
        summarise_rows(short, TIMES, {}, PROTOCOL, draws=100)


def test_latency(summary: Summary) -> None:
    own = TIMES[TIMES["method"] == "superpoint_tf"].groupby("item")["ms"].sum()
    assert cell(summary, "superpoint_tf", "latency_median_ms")["value"] == pytest.approx(own.median())
    assert cell(summary, "superpoint_tf", "latency_p90_ms")["value"] == pytest.approx(own.quantile(0.9))
    speedup = cell(summary, "superpoint_ov_fp16", "speedup")
    assert speedup["value"] == pytest.approx(2.0, abs=0.05)
    assert speedup["low"] < 2.0 < speedup["high"]
    assert cell(summary, "superpoint_tf", "speedup")["value"] == 1.0
    assert cell(summary, "sift", "infer_ms")["value"] == pytest.approx(28, rel=0.02)
    assert cell(summary, "sift", "match_ms")["value"] == pytest.approx(2.4)
    assert "latency_p99_ms" not in set(summary.table["metric"])  # 40 samples are too few
    assert cell(summary, "superpoint_tf", "peak_memory_mb")["value"] == 700
    assert cell(summary, "superpoint_tf", "load_ms")["unit"] == "ms"


def test_p99_needs_662_samples() -> None:
    times = time_rows("sift", 10.0, images=662)
    found = summarise_rows(rows_of("sift"), times, {}, PROTOCOL, draws=100, reference="sift")
    total = times.groupby("item")["ms"].sum()
    assert cell(found, "sift", "latency_p99_ms")["value"] == pytest.approx(total.max())


def test_repeats_of_an_image_are_separate_samples() -> None:
    first = time_rows("sift", 10.0)
    again = first.assign(repeat=1, ms=first["ms"] * 3)
    found = summarise_rows(rows_of("sift"), pd.concat([first, again]), {}, PROTOCOL, draws=100)
    totals = pd.concat([first.groupby("item")["ms"].sum(), again.groupby("item")["ms"].sum()])
    assert cell(found, "sift", "latency_median_ms")["value"] == pytest.approx(totals.median())


def test_same_rows_in_any_order_give_the_same_bytes(summary: Summary) -> None:
    shuffled = PAIRS.sample(frac=1, random_state=3)
    again = summarise_rows(shuffled, TIMES.sample(frac=1, random_state=4), INFOS, PROTOCOL, draws=400, seed=0)
    order = ["method", "split"]
    first, second = (numbers(s).sort_values(order).to_csv(index=False) for s in (summary, again))
    assert first == second


def test_wide_form(summary: Summary) -> None:
    frame = numbers(summary)
    assert list(frame.columns[:5]) == ["method", "split", "n_pairs", "n_sequences", "accuracy_1px"]
    names = list(frame.columns)
    assert names.index("accuracy_1px") < names.index("accuracy_3px") < names.index("auc_1px") < names.index("failures")
    assert len(frame) == 4 * 3
    row = frame[(frame["method"] == "sift") & (frame["split"] == "v")].iloc[0]
    assert row["accuracy_3px"] == pytest.approx(cell(summary, "sift", "accuracy_3px", "v")["value"])
    assert row["accuracy_3px_low"] == pytest.approx(cell(summary, "sift", "accuracy_3px", "v")["low"])
    assert math.isnan(row["latency_median_ms"])


def test_from_a_manifest(summary: Summary) -> None:
    manifest = {
        "config": {"bootstrap_draws": 400, "seed": 0},
        "protocol": {"config": asdict(PROTOCOL)},
        "dataset": {"name": "photos", "pairs": ["a"]},
        "methods": {"superpoint_tf": {"info": asdict(INFOS["superpoint_tf"])}},
        "throughput": {"superpoint_tf": {"images_per_s": 12.5, "streams": 2}},
    }
    found = summarise(PAIRS, TIMES, manifest)
    assert cell(found, "superpoint_tf", "throughput_per_s")["value"] == 12.5
    assert cell(found, "superpoint_tf", "throughput_streams")["value"] == 2
    kept = found.table[~found.table["metric"].str.startswith("throughput")].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, summary.table)
    pd.testing.assert_frame_equal(found.differences, summary.differences)
    assert found.published is None


def test_wide_is_a_table_to_read(summary: Summary) -> None:
    table = summary.wide()
    assert table.index.names == ["method", "split"]
    assert len(table) == len(summary.table[["method", "split"]].drop_duplicates())
    assert "accuracy_3px" in table and "latency_median_ms" in table and "order_noise_3px" not in table
    row = cell(summary, "sift", "accuracy_3px")
    assert table.loc[("sift", "all"), "accuracy_3px"] == f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert table.loc[("sift", "i"), "latency_median_ms"] == "–"
    assert list(summary.wide(["nn_map"]).columns) == ["nn_map"]
    with pytest.raises(KeyError):
        summary.wide(["nothing"])
