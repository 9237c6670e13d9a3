"""The estimator sweep: its grid, agreement with the headline row, and its table."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.config import compose
from bench.core.errors import ConfigError
from bench.geometry.solve import solve
from bench.run.estimators import grid, summarise_sweep, sweep_pair
from bench.run.pair import evaluate_pair
from bench.schema import EstimatorConfig, EstimatorSweepConfig, ProtocolConfig, check
from tests.run.test_pair import translated_pair

PROTOCOL = ProtocolConfig(name="test", estimator=EstimatorConfig(name="usac_magsac", threshold_px=2.0, repeats=3))
SWEEP = EstimatorSweepConfig(
    estimators=["usac_magsac", "opencv_ransac", "opencv_lmeds", "dlt"], thresholds_px=[1.0, 2.0]
)


def test_grid() -> None:
    cells = grid(SWEEP, PROTOCOL.estimator)
    assert [(c.name, c.threshold_px) for c in cells] == [
        ("usac_magsac", 1.0),
        ("usac_magsac", 2.0),
        ("opencv_ransac", 1.0),
        ("opencv_ransac", 2.0),
        ("opencv_lmeds", 1.0),
        ("dlt", 1.0),
    ]
    assert [c.repeats for c in cells] == [3, 3, 3, 3, 3, 1]
    assert {c.max_iterations for c in cells} == {PROTOCOL.estimator.max_iterations}
    assert grid(EstimatorSweepConfig(), PROTOCOL.estimator) == []


def test_the_protocols_own_cell_is_the_headline_row() -> None:
    case = translated_pair(seed=5)
    row = evaluate_pair(*case, PROTOCOL, seed=9)
    cells = [r for r in sweep_pair("any", solve(*case, PROTOCOL), SWEEP, seed=9) if r.estimator == "usac_magsac"]
    own = next(r.cells() for r in cells if r.threshold_px == 2.0)
    for key in ("pair", "sequence", "split", "outcome", "n_matches", "n_inliers", "corner_errors_px"):
        assert own[key] == row[key], key


def test_detectors_have_no_sweep() -> None:
    prepared, ref, target = translated_pair()
    assert sweep_pair("any", solve(prepared, replace(ref, descriptors=None), target, PROTOCOL), SWEEP, seed=0) == []


def test_table() -> None:
    rows = []
    for seed in range(4):
        prepared, ref, target = translated_pair(seed=seed)
        pair = replace(prepared.pair, name=f"s{seed}/1-2", sequence=f"s{seed}", split="iv"[seed % 2])
        found = sweep_pair("sift", solve(replace(prepared, pair=pair), ref, target, PROTOCOL), SWEEP, seed=0)
        rows += [row.cells() for row in found]
    table = summarise_sweep(pd.DataFrame(rows), PROTOCOL, draws=100)
    assert len(table) == 6 * 3
    assert (table["accuracy_3px"] == 1.0).all()
    assert (table["auc_1px"] > 0.99).all()
    assert (table.loc[table["split"] == "all", "n_pairs"] == 4).all()
    assert table.loc[table["estimator"] == "opencv_lmeds", "threshold_px"].isna().all()
    assert table.loc[table["estimator"] == "dlt", "order_noise_3px"].isna().all()
    assert summarise_sweep(pd.DataFrame(rows).iloc[:0], PROTOCOL).empty


def test_a_failure_counts_against_the_cell() -> None:
    errors = [[0.5, 0.5], [math.inf, 4.0]]
    rows = pd.DataFrame(
        {
            "method": "m",
            "estimator": "opencv_rho",
            "threshold_px": 3.0,
            "split": "-",
            "sequence": ["a", "b"],
            "pair": ["a/1", "b/1"],
            "outcome": ["ok", "estimation_failed"],
            "corner_errors_px": errors,
            "estimate_ms": [1.0, 3.0],
        }
    )
    found = summarise_sweep(rows, PROTOCOL, draws=100).iloc[0]
    assert (found["failures"], found["accuracy_1px"], found["accuracy_5px"]) == (1, 0.5, 0.75)
    assert found["auc_5px"] == pytest.approx(np.mean([0.9, 0.9, 0.0, 0.2]))
    assert found["estimate_ms"] == 2.0


def test_preset_composes_and_leaves_the_protocol_alone() -> None:
    from bench.schema.identity import protocol_hash

    plain, sweep = compose([]), compose(["experiment=ransac_sweep"])
    assert plain.estimator_sweep.estimators == []
    assert len(grid(sweep.estimator_sweep, sweep.protocol.estimator)) == 7 * 6 + 2
    assert protocol_hash(plain.protocol) == protocol_hash(sweep.protocol)


def test_impossible_values() -> None:
    with pytest.raises(ConfigError, match=r"estimator_sweep\.estimators"):
        check(EstimatorSweepConfig(estimators=["none"]), "estimator_sweep")
    with pytest.raises(ConfigError, match="thresholds_px"):
        check(EstimatorSweepConfig(thresholds_px=[0.0]), "estimator_sweep")
