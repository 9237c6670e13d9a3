"""Summaries and sentences."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bench.parity.compare import Comparison
from bench.parity.summary import frames, layer_summary, percent, sentences, summarise_method, tensor_summary

THRESHOLDS = (1.0, 3.0)


def image_rows(lost: tuple[int, ...], n: int = 100) -> pd.DataFrame:
    rows = []
    for k in lost:
        row: dict[str, float] = {"n_reference": n, "n_other": n, "score_rank_correlation": 1 - k / 100}
        for radius in ("0px", "1px", "2px"):
            row |= {f"shared_{radius}": n - k, f"lost_{radius}": k, f"gained_{radius}": 2 * k, f"moved_{radius}": 0}
        rows.append(row)
    return pd.DataFrame(rows)


def pair_rows(shift: float = 0.2, floor: float = 0.1) -> pd.DataFrame:
    row = {
        "match_jaccard": 0.9,
        "corner_shift_px": shift,
        "noise_floor_px": floor,
        "first_shift_px": shift,
        "flip_1px": 0.5,
        "noise_flip_1px": 0.25,
        "first_flip_1px": -1,
        "flip_3px": 0.0,
        "noise_flip_3px": 0.0,
        "first_flip_3px": 0,
    }
    return pd.DataFrame([row, row | {"match_jaccard": 0.7, "flip_1px": 0.0, "first_flip_1px": 1}])


def test_shares_are_over_all_keypoints_and_medians_over_pairs() -> None:
    cosines = np.array([1.0, 0.5, math.nan])
    row = summarise_method(image_rows((0, 2, 10)), pair_rows(), cosines, THRESHOLDS)
    assert (row["lost_0px"], row["gained_0px"]) == (pytest.approx(0.04), pytest.approx(0.08))
    assert row["score_rank_correlation"] == pytest.approx(0.98)
    assert row["score_rank_correlation_min"] == pytest.approx(0.9)
    assert (row["cosine_p0"], row["cosine_p50"]) == (0.5, 0.75)
    assert (row["match_jaccard"], row["match_jaccard_min"]) == (pytest.approx(0.8), 0.7)
    assert (row["corner_shift_px"], row["noise_floor_px"]) == (0.2, 0.1)
    assert (row["flip_1px"], row["noise_flip_1px"]) == (0.25, 0.25)
    assert (row["first_lost_1px"], row["first_gained_1px"]) == (1, 1)


def test_no_keypoints_and_no_pairs() -> None:
    row = summarise_method(image_rows((0,), n=0), pd.DataFrame(), np.empty(0), THRESHOLDS)
    assert math.isnan(row["lost_0px"]) and math.isnan(row["cosine_p0"])
    assert "match_jaccard" not in row
    assert len(sentences(row)) == 1


@pytest.mark.parametrize(("shift", "count"), [(0.2, 2), (0.1, 0)])
def test_the_sentence_says_how_often_a_shift_is_more_than_noise(shift: float, count: int) -> None:
    row = summarise_method(image_rows((1,)), pair_rows(shift), np.ones(3), THRESHOLDS)
    (said,) = (sentence for sentence in sentences(row) if "corners" in sentence)
    assert f"{shift:.3f} px; " in said and "noise is 0.100 px" in said and f"in {count} of 2 pairs" in said


def test_tensors_and_layers_take_the_worst_maximum_and_the_mean_of_means() -> None:
    common = {"method": "m", "n_not_finite": 0, "max_relative": 0.0, "mean_relative": 0.0, "l2_relative": 0.0}
    tensors = pd.DataFrame(
        [common | {"tensor": "prob", "image": k, "max_abs": k, "mean_abs": k, "p50_abs": k} for k in (1.0, 2.0, 6.0)]
    )
    (row,) = tensor_summary(tensors).to_dict("records")
    assert (row["max_abs"], row["mean_abs"], row["p50_abs"]) == (6.0, 3.0, 2.0)
    named = {"layer": "conv 1", "node": "n", "shape": "1", "joined_by": "name", "precision": "f32", "kernel": "k"}
    layers = pd.DataFrame([common | named | {"max_abs": k, "mean_abs": k} for k in (1.0, 3.0)])
    (row,) = layer_summary(layers).to_dict("records")
    assert (row["max_abs"], row["mean_abs"]) == (3.0, 2.0)
    assert len(tensor_summary(pd.DataFrame())) == len(layer_summary(pd.DataFrame())) == 0


def test_methods_are_summarised_apart() -> None:
    rows = [
        {"method": name} | row for name, lost in (("a", 0), ("b", 5)) for row in image_rows((lost,)).to_dict("records")
    ]
    made = frames(Comparison(images=rows, cosines={"a": [np.ones(2)], "b": [np.zeros(1), np.ones(1)]}), THRESHOLDS)
    assert made.methods["method"].tolist() == ["a", "b"]
    assert made.methods["lost_0px"].tolist() == [0.0, 0.05]
    assert made.methods["cosine_p0"].tolist() == [1.0, 0.0]


def test_a_share_is_never_rounded_to_nothing_or_to_all() -> None:
    assert [percent(x) for x in (0.0, 1e-9, 0.5, 1 - 1e-9, 1.0)] == ["0 %", "< 0.01 %", "50 %", "> 99.99 %", "100 %"]
