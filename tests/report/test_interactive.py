"""What the page's script gets: exact accuracies at any threshold, whatever the floats."""

from __future__ import annotations

import base64
import gzip
import json

import numpy as np
import pandas as pd
import pytest

from bench.metrics.homography import accuracy
from bench.report import interactive, tables
from tests.report.conftest import SimulatedRun


@pytest.mark.parametrize("t", [0.1, 0.3, 1.7, 2.3, 3.0, 5.0, 9.9])
def test_codes_answer_as_the_errors_do_at_and_beside_a_threshold(t: float) -> None:
    errors = np.array([[t, np.nextafter(t, 0), t - 1e-4, t + 1e-4, t + 1e-6, 0.0, 70.0, np.inf]])
    codes = np.array(interactive.error_codes(errors))
    assert (codes <= round(t * 1000)).mean() == accuracy(errors, t) == 0.5


def test_codes_tell_a_large_error_from_no_homography() -> None:
    assert interactive.error_codes(np.array([[65.5331, 1e9, np.inf]])) == [[65534, 65534, 65535]]


def test_page_data_hold_every_pair_of_every_method(run: SimulatedRun) -> None:
    main = tables.main_table(run.summary, run.manifest)
    data = interactive.live_data(run.manifest, run.pairs, run.times, run.summary, main)
    assert data is not None
    assert data["pairs"] == sorted(run.pairs["pair"].unique())
    for method in data["methods"]:
        rows = run.pairs[run.pairs["method"] == method["name"]]
        codes = [np.array(codes) for codes in method["errors"]]
        for t in data["thresholds"]:
            shares = [float((found <= 1000 * t).mean()) for found in codes]
            table = run.summary.table.set_index(["method", "split", "metric"])["value"]
            ours = table[method["name"], "all", f"accuracy_{t:g}px"]
            assert np.mean(shares) == pytest.approx(ours, abs=1e-12)
        assert sum(method["columns"]["failures"]) == (rows["outcome"] != "ok").sum()


def test_a_run_without_errors_has_no_controls(run: SimulatedRun) -> None:
    main = tables.main_table(run.summary, run.manifest)
    pairs = run.pairs.drop(columns="corner_errors_px")
    assert interactive.live_data(run.manifest, pairs, run.times, run.summary, main) is None


def test_packed_text_unpacks_and_is_the_same_every_time() -> None:
    packed = interactive.pack_json({"a": [1, None]})
    assert json.loads(gzip.decompress(base64.b64decode(packed))) == {"a": [1, None]}
    assert packed == interactive.pack_json({"a": [1, None]})


def test_times_are_thinned_to_quantiles_that_occurred() -> None:
    rows = [("m", str(i), 0, stage, ms) for i in range(1000) for stage, ms in (("infer", float(i)), ("decode", 1.0))]
    times = pd.DataFrame(rows, columns=["method", "item", "repeat", "stage", "ms"])
    found = interactive._ecdf(times, "m")
    assert len(found) == 200
    assert found[0] == 5.0
    assert found[-1] == 1000.0
