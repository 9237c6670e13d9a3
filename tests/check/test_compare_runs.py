"""`bench compare`: runs that agree, runs that do not, histories with planted steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.check.compare_runs import Compared, compare_runs
from bench.core.errors import ConfigError, StoreError
from bench.core.files import verify_files
from tests.check.simulate import LEVELS, UNCHANGED, Change, World, write_run

WORLD = World(sequences=24, pairs=3, repeats=2)
HISTORY = ("accuracy_3px", "latency_median_ms")


def run(path: Path, change: Change = UNCHANGED, world: World = WORLD, seed: int = 1, **changes: Any) -> Path:
    """A simulated run directory; `changes` are entries of its manifest."""
    write_run(path, world, change, seed)
    pairs = pd.read_parquet(path / "pairs.parquet")
    shares = [name for name in LEVELS if name != "localisation_error_px"]
    pairs[shares] = pairs[shares].clip(0, 1)
    pairs.to_parquet(path / "pairs.parquet", index=False)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["noise"] = {"noisy": False, "kernel": "simulated"}
    manifest["protocol"]["config"]["name"] = "simulated"
    for key, value in changes.items():
        manifest[key] = {**manifest[key], **value} if isinstance(value, dict) and key in manifest else value
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def compared(tmp_path: Path, *runs: Path, **options: Any) -> Compared:
    return compare_runs(runs, results=tmp_path / "results", draws=200, **options)


def differences(found: Compared, metric: str) -> pd.DataFrame:
    frame = found.comparison.differences
    return frame[(frame["split"] == "all") & (frame["metric"] == metric)].reset_index(drop=True)


def test_a_difference_is_the_mean_of_paired_differences(tmp_path: Path) -> None:
    a = run(tmp_path / "a")
    b = run(tmp_path / "b", Change(metrics={"repeatability": -0.05, "matching_score": 0.0}))
    found = compared(tmp_path, a, b)
    rows = [pd.read_parquet(path / "pairs.parquet").set_index("pair")["repeatability"] for path in (a, b)]
    row = differences(found, "repeatability").iloc[0]
    assert row["difference"] == pytest.approx(float((rows[1] - rows[0]).mean()))
    assert row["low"] <= row["difference"] <= row["high"] < 0
    assert row["verdict"] == "worse"
    assert (row["run"], row["reference_run"], row["reference_method"]) == ("b", "a", "superpoint")
    assert differences(found, "accuracy_3px").iloc[0]["verdict"] == "identical"
    back = compared(tmp_path, a, b, reference="b")
    assert differences(back, "repeatability").iloc[0]["difference"] == pytest.approx(-row["difference"])


def test_the_values_are_those_of_the_runs_own_summary(tmp_path: Path) -> None:
    import bench

    a, b = run(tmp_path / "a"), run(tmp_path / "b", Change(log_error=0.2))
    found = compared(tmp_path, a, b).comparison.values
    own = bench.load(b).summary.table
    for metric in ("accuracy_3px", "repeatability", "latency_median_ms", "n_matches"):
        ours = found[(found["run"] == "b") & (found["metric"] == metric) & (found["split"] == "all")].iloc[0]
        theirs = own[(own["metric"] == metric) & (own["split"] == "all")].iloc[0]
        numbers = [[float(row[key]) for key in ("value", "low", "high")] for row in (ours, theirs)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-4), metric


@pytest.mark.slow
def test_holms_family_is_every_run(tmp_path: Path) -> None:
    a = run(tmp_path / "a")
    others = [run(tmp_path / f"b{i}", Change(pair_noise=1.0), seed=10 + i) for i in range(4)]
    alone = differences(compared(tmp_path, a, others[0]), "repeatability").iloc[0]["p_value"]
    family = differences(compared(tmp_path, a, *others), "repeatability")
    assert len(family) == 4 and family.iloc[0]["p_value"] >= alone


def test_runs_that_do_not_agree_are_refused_with_the_keys(tmp_path: Path) -> None:
    a = run(tmp_path / "a")
    b = run(tmp_path / "b", protocol={"name": "other", "hash": "1", "config": {"estimator": {"repeats": 3}}})
    with pytest.raises(
        ConfigError, match=r"protocol simulated 0 \(a\), other 1 \(b\) \[protocol.estimator.repeats 2 \| 3"
    ):
        compared(tmp_path, a, b)
    assert not (tmp_path / "results").exists()


def test_side_by_side_says_so_and_takes_no_difference(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, protocol={"name": name, "hash": name}) for name in ("p1", "p2", "p3")]
    found = compared(tmp_path, *runs, side_by_side=True)
    assert found.comparison.differences.empty and len(found.comparison.groups) == 3
    page = found.written.page.read_text()
    for text in (page, (found.written.folder / "compare.md").read_text(), " ".join(found.written.sentences)):
        assert "side by side" in text.lower()
    assert "protocol" in found.written.printed[0].title
    assert json.loads((found.written.folder / "compare.json").read_text())["side_by_side"] is True
    # Without being asked, where the caller leaves it open.
    assert compared(tmp_path, *runs, side_by_side=None).comparison.side_by_side


def test_runs_of_one_group_are_compared_beside_others(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b", Change(log_error=0.5))
    c = run(tmp_path / "c", world=World(sequences=10, pairs=3, repeats=2, seed=3))
    found = compared(tmp_path, a, c, b, side_by_side=True)
    assert found.comparison.groups == (("a", "b"), ("c",))
    assert set(found.comparison.differences["run"]) == {"b"}


@pytest.mark.slow
def test_five_precisions_with_a_method_each_are_compared_with_the_first(tmp_path: Path) -> None:
    names = ("tf", "fp32", "fp16", "bf16", "int8")
    runs = []
    for i, name in enumerate(names):
        path = run(tmp_path / name, Change(log_error=0.6 if name == "int8" else 0.0))
        for file in ("pairs.parquet", "times.parquet"):
            frame = pd.read_parquet(path / file)
            frame["method"] = frame["method"].replace("superpoint", name)
            frame.to_parquet(path / file, index=False)
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["methods"] = {name: manifest["methods"]["superpoint"] | {"label": f"SuperPoint {name}"}}
        (path / "manifest.json").write_text(json.dumps(manifest))
        runs.append(path)
        assert i < 5
    found = compared(tmp_path, *runs)
    rows = differences(found, "accuracy_3px")
    assert rows["reference_method"].tolist() == ["tf"] * 4
    assert rows["verdict"].tolist() == ["identical"] * 3 + ["worse"]


@pytest.mark.slow
def test_times_are_compared_on_one_quiet_host_only(tmp_path: Path) -> None:
    a = run(tmp_path / "a")
    same, slow = run(tmp_path / "same", seed=2), run(tmp_path / "slow", Change(latency=1.2), seed=3)
    other = run(tmp_path / "other", host={"hash": "elsewhere", "cpu": "another"})
    noisy = run(tmp_path / "noisy", noise={"noisy": True, "reasons": ["a neighbour"]})
    threads = run(tmp_path / "threads", threads=4)
    rows = differences(compared(tmp_path, a, same, slow, other, noisy, threads), "latency_median_ms").set_index("run")
    assert rows["verdict"].to_dict() == {
        "same": "not distinguishable",
        "slow": "slower",
        "other": "not comparable",
        "noisy": "not comparable",
        "threads": "not comparable",
    }
    assert rows.loc["slow", "difference"] == pytest.approx(0.2, abs=0.03)
    assert "hosts differ: another elsewher, simulated host" in rows.loc["other", "reason"]
    assert "a neighbour" in rows.loc["noisy", "reason"] and "threads differ: 4, 2" in rows.loc["threads", "reason"]


def test_only_what_differs_is_a_column(tmp_path: Path) -> None:
    a = run(tmp_path / "a", config={"seed": 0, "bootstrap_draws": 300})
    b = run(tmp_path / "b", config={"seed": 1, "bootstrap_draws": 300}, versions={"openvino": "2026.1"})
    found = compared(tmp_path, a, b)
    assert found.comparison.conditions == {"seed": {"a": "0", "b": "1"}, "versions.openvino": {"a": "–", "b": "2026.1"}}
    heads = [head.text for head in found.written.printed[0].heads]
    assert heads[:4] == ["run", "seed", "openvino", "method"]
    table = pd.read_parquet(found.written.folder / "compare.parquet")
    assert table.groupby("run")["seed"].first().to_dict() == {"a": "0", "b": "1"}


def test_unfinished_and_damaged_runs_are_listed_or_refused(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    a = run(root / "a")
    unfinished = run(root / "b", status="running")
    damaged = run(root / "c")
    (damaged / "pairs.parquet").write_bytes(b"PAR1")
    (root / "d").mkdir()
    found = compare_runs([root / "*"], results=tmp_path / "results", draws=200)
    assert {one.path: one.status for one in found.left_out} == {"b": "unfinished", "c": "damaged", "d": "no run"}
    text = found.written.page.read_text()
    assert all(word in text for word in ("unfinished", "damaged", "no run"))
    with pytest.raises(StoreError, match="not finished"):
        compared(tmp_path, a, unfinished)
    assert [one.path for one in compared(tmp_path, a, unfinished, list_unreadable=True).left_out] == ["b"]
    with pytest.raises(StoreError, match="no finished run"):
        compared(tmp_path, unfinished, list_unreadable=True)


def test_a_run_equals_its_own_baseline(tmp_path: Path) -> None:
    from bench.check.baseline import write_baseline
    from bench.check.config import BaselineConfig

    a = run(tmp_path / "a")
    base = write_baseline(BaselineConfig(run=str(a), name="base", baselines=str(tmp_path / "baselines"), keypoints=0))
    found = compared(tmp_path, base, a).comparison.differences
    words = found[found["metric"] != "latency_median_ms"].groupby("metric")["verdict"].first()
    assert words["accuracy_3px"] == words["repeatability"] == "identical"


def test_the_folder_is_made_for_one_comparison_and_sealed(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    out = tmp_path / "deep" / "out"
    found = compared(tmp_path, a, b, out=out)
    assert verify_files(out) == ([], [])
    wanted = {
        "compare.html",
        "compare.csv",
        "compare.parquet",
        "compare.md",
        "compare.tex",
        "compare.json",
        "bench.sha256",
    }
    assert wanted <= {path.name for path in out.iterdir()} and found.written.folder == out
    with pytest.raises(ConfigError, match="exists"):
        compared(tmp_path, a, b, out=out)
    first, second = (compared(tmp_path, a, b).written.folder for _ in range(2))
    assert first != second and first.name.startswith("compare_")


def releases(root: Path, planted: bool, n: int = 20, seed: int = 0) -> Path:
    """`n` releases: the estimator is re-rolled twice, times vary by 1 %; planted: accuracy at 8, time at 13."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        change = Change(
            log_error=0.35 if planted and i >= 8 else 0.0,
            latency=(1.12 if planted and i >= 13 else 1.0) * float(np.exp(rng.normal(0, 0.01))),
        )
        rolled = 1 + (i >= 4) + (i >= 16)
        run(
            root / f"r{i:02d}",
            change,
            seed=rolled,
            versions={"superpoint-bench": f"1.{i}.0"},
            started=f"2026-01-{i + 1:02d}",
        )
    return root


@pytest.mark.slow
def test_planted_steps_are_found_where_they_are_and_no_others(tmp_path: Path) -> None:
    root = releases(tmp_path / "runs", planted=True)
    found = compare_runs([root / "*"], results=tmp_path / "results", by="version", metrics=HISTORY, draws=200)
    assert found.history is not None
    steps = found.history.steps
    assert steps[["metric", "label", "run", "verdict"]].to_numpy().tolist() == [
        ["accuracy_3px", "1.8.0", "r08", "worse"],
        ["latency_median_ms", "1.13.0", "r13", "worse"],
    ]
    assert steps["low"].iloc[1] <= 0.12 <= steps["high"].iloc[1]
    # 1.10 comes after 1.9, and a release that changes no value of any pair says so.
    assert [label for label, _ in found.history.order][9:11] == ["1.9.0", "1.10.0"]
    points = found.history.points
    changed = points[points["metric"] == "accuracy_3px"].set_index("place")["pairs_changed"]
    assert sorted(changed[changed > 0].index) == [4, 8, 16]
    page = found.written.page.read_text()
    assert "1.8.0 (r08) is the first run after a change" in page and 'id="own-charts"' in page
    assert (found.written.folder / "plots" / "history_accuracy_3px.svg").is_file()


@pytest.mark.slow
def test_a_history_without_a_change_has_no_step(tmp_path: Path) -> None:
    root = releases(tmp_path / "runs", planted=False)
    found = compare_runs([root / "*"], results=tmp_path / "results", by="date", draws=200)
    assert found.history is not None and found.history.steps.empty
    assert "no steps" in found.written.sentences[0]


def test_an_order_that_is_not_recorded_is_refused(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    with pytest.raises(ConfigError, match="version_of=..., of: numpy"):
        compared(tmp_path, a, b, by="version")
    with pytest.raises(ConfigError, match="no commit"):
        compared(tmp_path, a, b, by="commit")
    with pytest.raises(ConfigError, match="no date"):
        compared(tmp_path, a, b, by="date")
    with pytest.raises(ConfigError, match="none of the runs compared; they are: a, b"):
        compared(tmp_path, a, b, reference="c")
    with pytest.raises(ConfigError, match="these runs have no accuracy_7px"):
        compared(tmp_path, a, b, metrics=["accuracy_7px"])
    with pytest.raises(ConfigError, match="no folder fits"):
        compare_runs([tmp_path / "x*"], results=tmp_path / "results")
    with pytest.raises(ConfigError, match="stands twice"):
        compared(tmp_path, a, a)
    assert not (tmp_path / "results").exists()
