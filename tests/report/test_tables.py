from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.metrics.columns import column
from bench.metrics.text import DASH
from bench.report import tables
from bench.report.lookup import Lookup
from bench.summary.table import Summary
from tests.report.conftest import SimulatedRun
from tests.report.simulation import METHODS, simulated_manifest, simulated_summary, simulated_times

ACCURACY = column("accuracy_3px")


def tidy(rows: dict[str, tuple[float, float, float]], metric: str = "accuracy_3px") -> pd.DataFrame:
    """A summary table of one metric from {method: (value, low, high)}."""
    return pd.DataFrame(
        [
            {
                "method": m,
                "split": "all",
                "metric": metric,
                "value": v,
                "low": low,
                "high": high,
                "unit": "share",
                "n_pairs": 10.0,
                "n_sequences": 5.0,
            }
            for m, (v, low, high) in rows.items()
        ]
    )


def test_marks_are_those_of_the_summary() -> None:
    rows = tidy({"a": (0.9, 0.85, 0.95), "b": (0.5, 0.4, 0.6)}).assign(best=[False, True])
    assert Lookup(rows).best("all", "accuracy_3px") == {"b"}
    assert Lookup(rows).best("i", "accuracy_3px") == set()


def test_main_table_has_a_section_per_split_and_every_promised_column(run: SimulatedRun) -> None:
    table = tables.main_table(run.summary, run.manifest)
    assert [section.title for section in table.sections] == ["All pairs", "Illumination", "Viewpoint"]
    assert [head.key for head in table.heads] == [
        "method",
        "precision",
        "accuracy_1px",
        "accuracy_3px",
        "accuracy_5px",
        "auc_5px",
        "n_keypoints",
        "n_matches",
        "inlier_ratio",
        "failures",
        "latency_median_ms",
        "latency_p90_ms",
        "speedup",
        "peak_memory_mb",
    ]
    assert [row[0].text for row in table.sections[0].rows] == list(run.manifest["methods"])
    assert all(cell.text == "" for row in table.sections[1].rows for cell in row[-4:])


def test_cells_repeat_the_summary(run: SimulatedRun) -> None:
    table = tables.main_table(run.summary, run.manifest)
    rows = run.summary.table.set_index(["method", "split", "metric"])
    at = [head.key for head in table.heads].index("accuracy_3px")
    for row in table.sections[0].rows:
        known = rows.loc[(row[0].text, "all", "accuracy_3px")]
        assert row[at].text == f"{known['value']:.3f}"
        assert row[at].interval == f"[{known['low']:.3f}, {known['high']:.3f}]"
        assert row[at].noise == f"±{rows.loc[(row[0].text, 'all', 'order_noise_3px'), 'value']:.3f}"


def test_a_detector_row_has_dashes_where_homographies_would_be(run: SimulatedRun) -> None:
    pairs = run.pairs.copy()
    detector = pairs["method"] == "orb"
    gone = ["corner_error_px", "n_matches", "n_inliers", "inlier_ratio", *(f"accuracy_{t}px" for t in (1, 3, 5))]
    pairs.loc[detector, gone] = np.nan
    pairs["corner_errors_px"] = pairs["corner_errors_px"].where(~detector, None)
    pairs["mma"] = pairs["mma"].where(~detector, None)
    pairs.loc[detector, "outcome"] = "ok"
    table = tables.main_table(simulated_summary(pairs, run.times, draws=100), run.manifest)
    keys = [head.key for head in table.heads]
    row = table.sections[0].rows[-1]
    assert row[0].text == "orb"
    assert [row[keys.index(k)].text for k in ("accuracy_3px", "auc_5px", "n_matches", "inlier_ratio")] == [DASH] * 4
    assert row[keys.index("latency_median_ms")].text != DASH


def test_a_run_of_detectors_gets_repeatability_as_main_table() -> None:
    table = tables.main_table(Summary(tidy({"fast": (0.5, 0.4, 0.6)}, "repeatability"), pd.DataFrame()), {})
    assert table.title == tables.DETECTOR_TITLE


def test_a_summary_without_any_known_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="main table"):
        tables.main_table(Summary(tidy({}).reindex(columns=tidy({"a": (0, 0, 0)}).columns), pd.DataFrame()), {})


def test_differences_show_interval_p_floor_and_verdict(run: SimulatedRun) -> None:
    table = tables.differences_table(run.summary, run.manifest)
    assert table is not None
    first = next(row for row in table.sections[0].rows if row[0].text == "orb" and row[2].text == "acc@3 px")
    known = run.summary.differences.set_index(["method", "split", "metric"]).loc[("orb", "all", "accuracy_3px")]
    assert first[1].text == "superpoint_tf"
    assert float(first[3].text) == pytest.approx(known["difference"], abs=5e-4)
    assert first[6].text == known["verdict"] == "worse"
    assert tables.differences_table(replace_differences(run.summary, pd.DataFrame()), run.manifest) is None


def replace_differences(summary: Summary, frame: pd.DataFrame) -> Summary:
    return replace(summary, differences=frame)


@pytest.mark.parametrize(("p", "text"), [(None, DASH), (0.0004, "< 0.001"), (0.001, "0.001"), (1.0, "1.000")])
def test_p_values(p: float | None, text: str) -> None:
    assert tables.format_p(p) == text


def test_published_numbers_are_shown_only_where_given() -> None:
    assert tables.published_table(None, {}) is None
    row = {
        "source": "paper, Table 4",
        "method": "sift",
        "split": "all",
        "metric": "accuracy_3px",
        "published": 0.676,
        "ours": 0.7,
        "difference": 0.024,
        "low": -0.01,
        "high": 0.05,
        "status": "verified",
    }
    table = tables.published_table(pd.DataFrame([row]), {})
    assert table is not None
    assert [cell.text for cell in table.sections[0].rows[0]] == [
        "sift",
        "all",
        "acc@3 px",
        "0.700",
        "0.676",
        "+0.024",
        "verified",
        "paper, Table 4",
    ]


def test_compact_differences_have_a_row_a_method(run: SimulatedRun) -> None:
    table = tables.compact_differences(run.summary, run.manifest)
    assert table is not None
    assert [head.key for head in table.heads] == ["method", "accuracy_1px", "accuracy_3px", "accuracy_5px"]
    frame = run.summary.differences
    for section, split in zip(table.sections, ("all", "i", "v"), strict=True):
        assert [row[0].text for row in section.rows] == [m for m in METHODS if m != "superpoint_tf"]
        for cells in section.rows:
            chosen = frame[(frame["method"] == cells[0].text) & (frame["split"] == split)].set_index("metric")
            for head, cell in zip(table.heads[1:], cells[1:], strict=True):
                assert cell.value == chosen.loc[head.key, "difference"]
                assert cell.noise == f"({chosen.loc[head.key, 'verdict']})"


def test_failures_list_kinds_that_occurred(run: SimulatedRun) -> None:
    table = tables.failures_table(run.summary, run.manifest)
    assert table is not None
    assert [head.key for head in table.heads] == [
        "method",
        "failures",
        "failures_too_few_matches",
        "failures_estimation_failed",
    ]
    for row in table.sections[0].rows:
        counted = run.pairs[run.pairs["method"] == row[0].text]["outcome"].value_counts()
        assert [int(cell.text) for cell in row[2:]] == [
            counted.get("too_few_matches", 0),
            counted.get("estimation_failed", 0),
        ]


def test_no_table_of_failures_without_failures(run: SimulatedRun) -> None:
    good = run.pairs[run.pairs["outcome"] == "ok"]
    kept = good.groupby("pair")["method"].transform("nunique") == run.pairs["method"].nunique()
    pairs = good[kept]
    assert tables.failures_table(simulated_summary(pairs, simulated_times(pairs), 100), run.manifest) is None


def test_scenes_average_their_pairs(run: SimulatedRun) -> None:
    table = tables.scene_table(run.pairs, run.manifest)
    assert table is not None
    row = table.sections[0].rows[0]
    scene = run.pairs[(run.pairs["sequence"] == row[0].text) & (run.pairs["method"] == "sift")]
    assert row[2].text == "5"
    assert row[[head.key for head in table.heads].index("sift")].value == pytest.approx(scene["accuracy_3px"].mean())


def caption(**protocol: Any) -> str:
    manifest = simulated_manifest()
    manifest["protocol"]["config"] |= protocol
    return tables.caption(manifest)


def test_caption_names_data_preset_seeds_host_and_model() -> None:
    text = caption()
    for part in (
        "3 of 116 sequences, 15 of 580 pairs",
        "strict v1 (0a1b2c3d4e5f)",
        "Seed 0",
        "10 estimations per pair",
        "AMD EPYC 7763",
        "graph abababababab",
    ):
        assert part in text
    assert "gt_leak" not in text
    assert "Paper-style" not in text


def test_caption_warns_of_leaks_unstated_constants_and_noise() -> None:
    assert "gt_leak" in caption(gt_leak=True)
    assert "Paper-style: the source does not state NMS radius; RANSAC threshold." in caption(
        unstated=["NMS radius", "RANSAC threshold"]
    )
    noisy = simulated_manifest(noise={"noisy": True, "reasons": ["the load average was 2.1 before the run"]})
    assert (
        "Noisy run: the intervals of its times are wider by it (the load average was 2.1 before the run)."
        in tables.caption(noisy)
    )
    assert "Incomplete: 3 of 400 rows." in tables.caption(simulated_manifest(rows_written=3))
    assert "superpoint_tf died" in tables.caption(simulated_manifest(died=["superpoint_tf"]))


def test_an_empty_manifest_gives_an_empty_caption() -> None:
    assert tables.caption({}) == ""


def test_the_main_table_follows_what_the_protocol_measures() -> None:
    def main(*metrics: str) -> list[str]:
        rows = [("sift", "all", name, 0.5, 0.4, 0.6, "", 10.0, 2.0) for name in (*metrics, "latency_median_ms")]
        columns = ["method", "split", "metric", "value", "low", "high", "unit", "n_pairs", "n_sequences"]
        summary = Summary(pd.DataFrame(rows, columns=columns), pd.DataFrame())
        return [head.key for head in tables.main_table(summary, {}).heads]

    assert "accuracy_3px" in main("accuracy_3px", "mma_3px", "repeatability")
    assert "mma_3px" in main("mma_3px", "repeatability")
    assert "repeatability" in main("repeatability")
    assert all("latency_median_ms" in main(name) for name in ("accuracy_3px", "mma_3px", "repeatability"))


def test_the_caption_names_what_was_not_run() -> None:
    left_out = {"superpoint_ov_f16": "this CPU has no f16 units"}
    caption = tables.caption(simulated_manifest(left_out=left_out))
    assert "Not run here: superpoint_ov_f16, this CPU has no f16 units." in caption
