"""Published numbers: the files are valid, add up as their README says, and are shown only where they may be."""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from hydra import initialize_config_dir

from bench.config import compose
from bench.core.errors import DataError
from bench.core.resources import resource
from bench.schema import ProtocolConfig
from bench.summary import published
from bench.summary.published import COMPARISON, compare, family, load

FILES = load()
SHARE = {"i": 285 / 580, "v": 295 / 580}
ROUNDING = 0.0011  # three decimals in the splits and in the total


def one(source: str, method: str, split: str, metric: str, commit: str | None = None) -> float:
    rows = FILES[
        FILES["source"].str.startswith(source)
        & (FILES["method"] == method)
        & (FILES["split"] == split)
        & (FILES["metric"] == metric)
    ]
    if commit:
        rows = rows[rows["commit_or_table"] == commit]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


def test_every_protocol_is_a_preset() -> None:
    presets = {path.stem for path in (resource("conf") / "protocol").glob("*.yaml")}
    assert set(FILES["protocol"]) <= presets


def test_no_number_is_given_twice() -> None:
    key = ["source", "commit_or_table", "protocol", "split", "method", "metric"]
    assert not FILES.duplicated(key).any()


@pytest.mark.parametrize(
    ("method", "commit", "adds_up"),
    [
        ("superpoint", "26dabe6", True),
        ("superpoint", "8d480f3", True),
        ("sift", "1411bbd", True),
        ("orb", "1411bbd", True),
        ("superpoint_magicleap", "1411bbd", False),
    ],
)
def test_splits_add_up_to_all_pairs(method: str, commit: str, adds_up: bool) -> None:
    name = "rpautrat"
    parts = sum(SHARE[s] * one(name, method, s, "accuracy_3px", commit) for s in "iv")
    total = one(name, method, "all", "accuracy_3px", commit)
    assert (abs(parts - total) <= ROUNDING) is adds_up


@pytest.mark.parametrize("method", sorted(FILES[FILES["source"] == "ALIKE evaluation cache"]["method"].unique()))
@pytest.mark.parametrize("metric", ["accuracy_1px", "accuracy_3px", "accuracy_5px", "mma_3px"])
def test_splits_of_the_alike_cache_add_up_to_its_540_pairs(method: str, metric: str) -> None:
    name = "ALIKE evaluation cache"
    parts = (260 * one(name, method, "i", metric) + 280 * one(name, method, "v", metric)) / 540
    assert one(name, method, "all", metric) == pytest.approx(parts, abs=1.1e-4)


def test_accuracies_of_580_pairs_are_shares_of_580() -> None:
    rows = FILES[(FILES["protocol"] == "alike_magsac") & FILES["metric"].str.startswith("accuracy_")]
    assert len(rows) == 15
    of_580 = (rows["value"] * 580 - (rows["value"] * 580).round()).abs()
    assert (of_580 < 0.03).all()  # two decimals of a percentage are .029 of a pair


def test_known_values() -> None:
    assert one("ALIKE", "superpoint", "all", "accuracy_3px") == 0.7019
    assert one("LightGlue paper", "superpoint_lightglue", "all", "auc_5px") == 0.796
    assert one("RaCo", "raco_lightglue", "all", "auc_1px") == 0.447
    assert one("XFeat", "xfeat", "v", "accuracy_3px") == 0.686
    assert one("LoFTR paper", "loftr_ds", "all", "auc_10px") == 0.846
    assert one("SuperPoint paper", "superpoint", "all", "accuracy_3px") == 0.684
    assert one("SuperPoint paper", "sift", "all", "accuracy_1px") == 0.424
    assert one("rpautrat", "superpoint", "i", "accuracy_3px", "26dabe6") == 0.965
    assert SHARE["i"] * 0.965 + SHARE["v"] * 0.712 == pytest.approx(0.8363, abs=5e-5)


def test_known_defects_are_marked() -> None:
    def status(**key: str) -> set[str]:
        rows = FILES
        for name, value in key.items():
            rows = rows[rows[name] == value]
        assert len(rows)
        return set(rows["status"])

    assert status(source="XFeat paper", method="xfeat", split="v") == {"disputed"}
    assert status(source="ALIKED") == {"secondary"}
    assert status(protocol="alike", method="superpoint") == {"other_weights"}
    assert status(method="sift", metric="accuracy_5px", commit_or_table="1411bbd") == {"stale"}
    assert status(protocol="rpautrat", commit_or_table="4f8bb8d") == {"stale"}
    assert status(method="superpoint_magicleap", metric="accuracy_3px", commit_or_table="1411bbd", split="all") == {
        "inconsistent"
    }
    assert status(protocol="paper", method="superpoint") == {"other_weights"}
    assert status(protocol="pytorch_superpoint", metric="nn_map") == {"inconsistent"}


GOOD = dict(
    zip(
        published.COLUMNS,
        ("s", "w", "t", "paper", "hpatches", "all", "sift", "accuracy_3px", "0.5", "share", "verified", ""),
        strict=True,
    )
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "rumour"}, "status='rumour' is not possible"),
        ({"split": "x"}, "split='x' is not possible"),
        ({"metric": "accuracy"}, "no column"),
        ({"value": "high"}, "could not convert"),
        ({"value": "67.6"}, "no share between 0 and 1"),
        ({"unit": "px"}, "the unit of accuracy_3px is share"),
        ({"source": ""}, "must be given"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, change: dict[str, str], message: str) -> None:
    pd.DataFrame([GOOD | change]).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path)
    assert "x.csv, line 2" in str(caught.value)


def test_wrong_columns_are_refused(tmp_path: Path) -> None:
    pd.DataFrame([{"a": 1}]).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(DataError, match="columns must be"):
        load(tmp_path)


def test_an_empty_folder_holds_no_numbers(tmp_path: Path) -> None:
    assert load(tmp_path).empty


def test_families() -> None:
    assert family("superpoint_ov_fp16") == family("superpoint") == "superpoint"
    assert family("magicpoint_tf") == "magicpoint"
    assert family("sift") == "sift"


@functools.cache
def preset_config(*overrides: str) -> ProtocolConfig:
    found: ProtocolConfig = compose([f"protocol={overrides[0]}", *overrides[1:]]).protocol
    return found


def case(preset: str = "rpautrat", data: str = "hpatches", n: int = 580, *overrides: str) -> pd.DataFrame | None:
    protocol = preset_config(preset, *overrides)
    table = pd.DataFrame(
        [
            {"method": m, "split": "all", "metric": "accuracy_3px", "value": v, "low": v - 0.03, "high": v + 0.02}
            for m, v in (("superpoint_tf", 0.8), ("sift", 0.7), ("akaze", 0.6))
        ]
    )
    manifest = {
        "dataset": {"name": data, "pairs": [str(k) for k in range(n)]},
        "protocol": {"config": asdict(protocol)},
    }
    return compare(table, manifest, protocol)


def test_shown_where_preset_and_data_match() -> None:
    found = case()
    assert found is not None
    assert tuple(found.columns) == COMPARISON
    sift = found[(found["method"] == "sift") & (found["published"] == 0.786)].iloc[0]
    assert sift["difference"] == pytest.approx(-0.086)
    assert (sift["low"], sift["high"]) == pytest.approx((-0.116, -0.066))
    assert "akaze" not in set(found["method"])
    assert {0.836, 0.807} <= set(found[found["method"] == "superpoint_tf"]["published"])


def test_they_are_found_while_hydra_is_active() -> None:
    expected = case()
    with initialize_config_dir(str(resource("conf")), version_base="1.3"):
        found = case()
    assert found is not None and expected is not None
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    "differs",
    [
        ("rpautrat", "photos", 580),
        ("rpautrat", "hpatches", 15),
        ("strict", "hpatches", 580),
        ("rpautrat", "hpatches", 580, "protocol.estimator.threshold_px=2"),
        ("rpautrat", "hpatches", 580, "protocol.name=mine"),
    ],
)
def test_nothing_is_shown_where_they_do_not(differs: tuple[str, str, int]) -> None:
    assert case(*differs) is None
