"""A real small run and its baseline: verified, damaged bit by bit, continued when it is finished."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.check.baseline import write_baseline
from bench.check.config import BaselineConfig
from bench.check.evidence import load
from bench.commands.verify import VerifyConfig, main
from bench.config import compose
from bench.core.errors import ConfigError, DataError, ModelError, StoreError
from bench.core.files import LOCK, locked, verify_files, write_parquet
from bench.run.benchmark import render, run
from bench.run.store import RunStore, open_finished
from bench.run.verify import verify

pytestmark = pytest.mark.slow
FLIPS = 1200
SMALL = [
    "methods=classical",
    "~methods.sift",
    "~methods.rootsift",
    "~methods.brisk",
    "~methods.kaze",
    "dataset.viewpoint_sequences=1",
    "dataset.illumination_sequences=1",
    "dataset.height=96",
    "dataset.width=128",
    "protocol.image.short_side=96",
    "protocol.estimator.repeats=2",
    "bootstrap_draws=100",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run ``run`` and its baseline ``baselines/b``."""
    path = tmp_path_factory.mktemp("place")
    run(compose([*SMALL, f"run_dir={path / 'run'}", f"data_root={path / 'data'}"]))
    write_baseline(BaselineConfig(run=str(path / "run"), name="b", baselines=str(path / "baselines")))
    return path


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """A copy of the run to change."""
    return Path(shutil.copytree(place / "run", tmp_path / "run"))


def test_an_intact_run_and_its_baseline(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = verify(place / "run", pairs=4, seed=1)
    assert (found.wrong, found.remarks, found.pairs) == ([], [], 4)
    assert found.files > 50
    assert main(VerifyConfig(run_dir=str(place / "baselines/b"))) == 0
    assert "intact; 4 files compared" in capsys.readouterr().out


def test_damage_is_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "plots/matches_01.jpg").unlink()
    (copy / "notes.txt").write_text("mine")
    with (copy / "parts/rows/00000.parquet").open("ab") as file:
        file.write(b"x")
    assert main(VerifyConfig(run_dir=str(copy))) == 1
    said = capsys.readouterr().out
    for text in ("matches_01.jpg is missing", "00000.parquet is damaged", "notes.txt was not written by bench"):
        assert text in said


def test_rows_that_do_not_follow_from_the_features_are_named(copy: Path) -> None:
    pairs = pd.read_parquet(copy / "pairs.parquet")
    pairs.loc[:, "n_matches"] += 1
    write_parquet(copy / "pairs.parquet", pairs)  # with the right checksum
    found = verify(copy, pairs=10, seed=0)
    assert len(found.wrong) == len(pairs)
    assert "n_matches is" in found.wrong[0]
    write_parquet(copy / "pairs.parquet", pd.concat([pairs.iloc[1:], pairs.iloc[-1:]]))
    assert "is missing" in verify(copy, 0, 0).wrong[0]
    assert "is there twice" in verify(copy, 0, 0).wrong[1]


def content(value: object) -> str:
    return hashlib.sha256(pickle.dumps(value)).hexdigest()


def readers(place: Path, name: str) -> list[Callable[[], object]]:
    """What reads a file of the run or the baseline as numbers."""
    store = RunStore(place / "run")
    side = place / ("baselines/b" if name.startswith("baselines") else "run")
    found: list[Callable[[], object]] = []
    if side.name == "b":
        found.append(lambda: content((load(side).header, load(side).pairs, load(side).times, load(side).keypoints)))
    elif "/features/" in name:
        method, _, key = name.removeprefix("run/features/").partition("/")
        found.append(lambda: content(store.read_extraction(method, key.removesuffix(".npz"))))
    elif "/parts/" in name:
        found.append(lambda: content([store.read_parts(kind) for kind in ("rows", "times")]))
    else:
        found.append(lambda: content(dataclasses.astuple(open_finished(side))))
    return found


def test_no_flipped_bit_is_read_as_another_number(place: Path) -> None:
    rng = random.Random(0)
    files = [path for side in ("run", "baselines") for path in (place / side).rglob("*") if path.is_file()]
    silent, read_otherwise = [], []
    expected: dict[str, list[object]] = {}
    for _ in range(FLIPS):
        path = rng.choice(files)
        name = path.relative_to(place).as_posix()
        whole = path.read_bytes()
        if not whole:
            continue
        if name not in expected:
            expected[name] = [read() for read in readers(place, name)]
        data = bytearray(whole)
        bit = rng.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            for read, before in zip(readers(place, name), expected[name], strict=True):
                try:
                    if read() != before:
                        read_otherwise.append((name, bit))
                except StoreError as error:
                    assert "\n" not in str(error)
            try:
                side = place / ("baselines/b" if name.startswith("baselines") else "run")
                wrong, unlisted = verify_files(side)
                if not wrong and not unlisted:
                    silent.append((name, bit))
            except StoreError:
                pass
        finally:
            path.write_bytes(whole)
    assert not read_otherwise and not silent


def test_a_finished_run_is_not_measured_again(copy: Path, place: Path) -> None:
    before = {name: (copy / name).read_bytes() for name in ("pairs.parquet", "times.parquet")}
    for keep in (False, False, True):  # the first drops the features, the others find none
        again = run(compose([*SMALL, f"run_dir={copy}", f"data_root={place / 'data'}", f"keep_features={keep}"]))
        assert len(again.pairs) == 20
        assert {name: (copy / name).read_bytes() for name in before} == before
    assert not list((copy / "features").rglob("*.npz"))
    assert verify(copy, 5, 0).remarks == ["rows not computed again: the run did not keep its features"]
    (copy / "times.parquet").unlink()
    with pytest.raises(StoreError, match=r"times\.parquet is missing and the features"):
        run(compose([*SMALL, f"run_dir={copy}", f"data_root={place / 'data'}"]))


def test_a_run_directory_in_use_is_refused(copy: Path, place: Path) -> None:
    with locked(copy / LOCK):
        with pytest.raises(StoreError, match="in use by process"):
            run(compose([*SMALL, f"run_dir={copy}", f"data_root={place / 'data'}"]))
        with pytest.raises(StoreError, match="in use by process"):
            render(copy)


def test_a_run_without_checksums_is_read_with_a_remark(copy: Path) -> None:
    import json

    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 1}))
    (copy / "bench.sha256").unlink()
    assert "no checksums" in verify(copy, 2, 0).remarks[0]
    assert "no checksums" in load(copy).remarks[0]
    assert np.isfinite(open_finished(copy).times["ms"]).all()


def test_a_failure_before_any_measurement_leaves_no_folder(tmp_path: Path, place: Path) -> None:
    wrong = ["model=path", f"model.path={tmp_path / 'nowhere'}", "+method@methods.sp=superpoint_ov_fp32"]
    with pytest.raises((ModelError, ConfigError, DataError)):
        run(compose([*SMALL, *wrong, f"results={tmp_path / 'results'}", f"data_root={place / 'data'}"]))
    assert not list((tmp_path / "results").glob("*"))
