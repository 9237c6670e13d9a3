"""Names of files and cells of tables that do nothing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import ConfigError, DataError
from bench.core.names import csv_text, safe_key, safe_name, to_csv
from bench.core.types import Features, Size, StageTimes
from bench.run.store import Extraction, RunStore

HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a\nb",
    "a\x00b",
    "a\x1b[2J",
    ".hidden",
    "\udcff",
    "x" * 201,
    "é" * 101,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_leave_their_folder_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^the method '"):
        safe_name(name, "the method")


@pytest.mark.parametrize("name", ["orb", "superpoint (ours), 2.0", "x" * 200, "Größe", "a..b", "[1]=2"])
def test_ordinary_names_pass(name: str) -> None:
    assert safe_name(name, "the method") == name


@pytest.mark.parametrize("key", ["a/../b", "/a", "a//b", "a/", "v_x/.."])
def test_every_part_of_a_key_is_checked(key: str) -> None:
    with pytest.raises(DataError, match="the image"):
        safe_key(key, "the image", DataError)
    assert safe_key("v_x/1", "the image") == "v_x/1"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_run_directory_writes_nothing_outside(name: str, tmp_path: Path) -> None:
    xy = np.zeros((0, 2), np.float32)
    extraction = Extraction(Features(xy, xy[:, 0], None, Size(20, 20)), StageTimes(1, 1, 1), 0, 0)
    store = RunStore(tmp_path / "results" / "run")
    for method, key in ((name, "v_x/1"), ("orb", f"v_x//{name}")):
        with pytest.raises(ConfigError):
            store.write_extraction(method, key, extraction)
    with pytest.raises(ConfigError):
        store.part("rows", name)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("text", ['=HYPERLINK("http://x")', "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1+1"])
def test_formulas_become_text(text: str) -> None:
    assert csv_text(text) == f"'{text}"


@pytest.mark.parametrize("value", ["orb", "-", "-1.5", "+3e-4", "a=b", "", -1.5, np.nan, None, True])
def test_other_cells_stay(value: object) -> None:
    assert csv_text(value) is value


def test_tables_keep_their_numbers() -> None:
    frame = pd.DataFrame({"label": ["=1+1", "orb"], "=x": [-1.25, np.nan], "n": pd.array([1, None], dtype="Int64")})
    text = to_csv(frame)
    assert text.splitlines()[:2] == ["label,'=x,n", "'=1+1,-1.25,1"]
    pd.testing.assert_series_equal(pd.read_csv(io.StringIO(text))["'=x"], frame["=x"], check_names=False)
