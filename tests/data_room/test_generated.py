"""The embedded photographs and the user's images."""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.core.errors import ConfigError, DataError
from bench.core.resources import resource
from bench.core.types import Size
from bench.data import generated, load
from bench.data.generated import Recipe, Settings, build
from bench.data.images import read_image
from bench.data.photos import PHOTOGRAPHS, photograph
from bench.schema import FolderConfig, PhotosConfig

from .layouts import IDENTITY, picture

SMALL = Settings(Size(96, 128), 0, 30.0, 1.5, 4.0)


def _recipes() -> list[Recipe]:
    return [Recipe(f"{s}_p", "0" * 64, partial(picture, 1, height=120, width=160), 0) for s in "iv"]


def _content(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()
    }


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    first = build("test", _recipes(), SMALL, tmp_path / "a")
    second = build("test", _recipes(), SMALL, tmp_path / "b")
    assert _content(first) == _content(second)
    assert first.name == second.name
    assert {p.name for p in first.iterdir()} == {"i_p", "v_p", "index.json"}
    assert len(list(first.glob("*/*.png"))) == 12


def test_another_seed_or_setting_is_another_folder(tmp_path: Path) -> None:
    names = {
        build("test", _recipes(), settings, tmp_path).name
        for settings in (SMALL, Settings(Size(96, 128), 1, 30.0, 1.5, 4.0), Settings(Size(96, 128), 0, 10.0, 1.5, 4.0))
    }
    assert len(names) == 3


def _remove(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("damage", [_remove, _cut])
@pytest.mark.parametrize("name", ["v_p/3.png", "v_p/H_1_3", "index.json"])
def test_a_damaged_folder_is_made_again(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    root = build("test", _recipes(), SMALL, tmp_path)
    before = _content(root)
    damage(root / name)
    assert build("test", _recipes(), SMALL, tmp_path) == root
    assert _content(root) == before
    assert [p.name for p in tmp_path.iterdir()] == [root.name]


def test_an_intact_folder_is_not_touched(tmp_path: Path) -> None:
    root = build("test", _recipes(), SMALL, tmp_path)
    stamp = (root / "v_p" / "1.png").stat().st_mtime_ns
    build("test", _recipes(), SMALL, tmp_path)
    assert (root / "v_p" / "1.png").stat().st_mtime_ns == stamp


def _build_into(root: Path) -> str:
    return str(build("test", _recipes(), SMALL, root))


def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        folders = pool.map(_build_into, [tmp_path] * 4, chunksize=1)
    assert len(set(folders)) == 1
    assert generated._intact(Path(folders[0]))
    assert [p.name for p in tmp_path.iterdir()] == [Path(folders[0]).name]


def test_an_unwritable_root_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(DataError, match="dataset.root=FOLDER"):
        build("test", _recipes(), SMALL, blocked)
    monkeypatch.setenv("BENCH_CACHE", str(blocked))
    with pytest.raises(DataError, match="BENCH_CACHE=FOLDER in the environment"):
        build("test", _recipes(), SMALL, None)


def test_every_working_directory_shares_one_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    config = PhotosConfig(subset="all", viewpoint_sequences=1, illumination_sequences=0, height=64, width=96)
    made = load(config, tmp_path / "data")
    (folder,) = (tmp_path / "cache/datasets").glob("photos-*")
    assert made.pairs[0].reference.path.is_relative_to(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(config, Path("datasets")).digest == made.digest
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert [path.name for path in tmp_path.iterdir() if path.name != "elsewhere"] == ["cache"]


def test_photographs_are_in_the_wheel_and_are_the_ones_listed() -> None:
    card = json.loads((resource("datasets") / "photos.json").read_text())
    assert [entry["file"] for entry in card["photographs"]] == list(PHOTOGRAPHS)
    for name in PHOTOGRAPHS:
        image = photograph(name)
        assert image.dtype == np.uint8 and min(image.shape[:2]) >= 288


def test_two_photo_sequences(tmp_path: Path) -> None:
    config = PhotosConfig(subset="all", viewpoint_sequences=1, illumination_sequences=1)
    started = time.process_time()
    data = load(config, tmp_path)
    assert time.process_time() - started < 15
    assert data.note == "2 of 2 sequences, 10 of 10 pairs"
    assert [pair.split for pair in data.pairs] == ["i"] * 5 + ["v"] * 5
    for pair in data.pairs:
        identical = np.array_equal(pair.H_ref_to_target, np.eye(3))
        assert identical == (pair.split == "i")
        assert read_image(pair.target.path).shape == (480, 640, 3)
    assert load(config, tmp_path).digest == data.digest
    viewpoint = load(PhotosConfig(subset="v", viewpoint_sequences=1, illumination_sequences=1), tmp_path)
    assert viewpoint.note == "1 of 1 sequences, 5 of 5 pairs"


def test_pixels_agree_with_the_homography(tmp_path: Path) -> None:
    data = load(PhotosConfig(subset="v", viewpoint_sequences=1, illumination_sequences=0), tmp_path)
    pair = data.pairs[0]
    ref, target = (
        cv2.GaussianBlur(read_image(r.path), (0, 0), 2).astype(float).mean(axis=2)
        for r in (pair.reference, pair.target)
    )
    H = pair.H_ref_to_target
    back = cv2.warpPerspective(target, H, (640, 480), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    seen = (
        cv2.warpPerspective(np.ones_like(target), H, (640, 480), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) > 0.999
    )
    assert seen.mean() > 0.5
    assert np.corrcoef(ref[seen], back[seen])[0, 1] > 0.8
    assert np.corrcoef(ref[seen], target[seen])[0, 1] < np.corrcoef(ref[seen], back[seen])[0, 1] - 0.1


def test_more_sequences_than_photographs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="viewpoint_sequences=14.*0 to 13"):
        load(PhotosConfig(subset="all", viewpoint_sequences=14), tmp_path)


@pytest.mark.slow
def test_the_default_has_thirteen_sequences_of_thirteen_photographs(tmp_path: Path) -> None:
    data = load(PhotosConfig(subset="all"), tmp_path)
    assert len(data.pairs) == 65
    assert len({pair.sequence[2:] for pair in data.pairs}) == 13


def _user_images(folder: Path) -> Path:
    for name in ("a/x.png", "b/x.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), picture(len(name), ord(name[0]), height=90, width=120))
    return folder


def test_a_folder_of_images_is_warped_and_relit(tmp_path: Path) -> None:
    config = FolderConfig(root=str(_user_images(tmp_path / "mine")), subset="all", height=96, width=128)
    data = load(config, tmp_path / "data")
    assert sorted({pair.sequence for pair in data.pairs}) == ["i_a_x", "i_b_x", "v_a_x", "v_b_x"]
    assert data.note == "4 of 4 sequences, 20 of 20 pairs"
    assert (
        load(FolderConfig(root=config.root, subset="v", height=96, width=128), tmp_path / "data").pairs_expected == 10
    )


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.csv"):
        load(FolderConfig(subset="all"), tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        load(FolderConfig(root=str(tmp_path / "nowhere"), subset="all"), tmp_path)
    with pytest.raises(DataError, match="no images"):
        load(FolderConfig(root=str(tmp_path), subset="all"), tmp_path)
    with pytest.raises(DataError, match=r"i_a_x.*too small"):
        load(FolderConfig(root=str(_user_images(tmp_path / "mine")), subset="all"), tmp_path / "data")


@pytest.fixture
def pairs_csv(tmp_path: Path) -> Path:
    root = _user_images(tmp_path / "mine")
    (root / "H.txt").write_text(IDENTITY)
    (root / "bad.txt").write_text("1 2 3\n")
    (root / "text.png").write_text("not an image")
    return root / "pairs.csv"


def write_rows(path: Path, *rows: list[str]) -> FolderConfig:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return FolderConfig(csv=str(path), subset="all")


def test_a_csv_lists_pairs(pairs_csv: Path) -> None:
    rows = [
        ["image1", "image2", "H-file"],
        ["a/x.png", "b/x.png", "H.txt"],
        ["# comment"],
        ["b/x.png", "a/x.png", "H.txt"],
    ]
    data = load(write_rows(pairs_csv, *rows), pairs_csv.parent)
    assert [pair.name for pair in data.pairs] == ["a_x/b_x", "b_x/a_x"]
    assert {pair.split for pair in data.pairs} == {"-"}
    assert len({r.key for pair in data.pairs for r in (pair.reference, pair.target)}) == 2
    with_split = load(write_rows(pairs_csv, ["a/x.png", "b/x.png", "H.txt", "v"]), pairs_csv.parent)
    assert with_split.pairs[0].split == "v"


@pytest.mark.parametrize("written", ["relative", "absolute", "elsewhere"])
def test_names_do_not_tell_where_the_files_lie(tmp_path: Path, written: str) -> None:
    found = []
    for place in ("here", "far/away/2"):
        root = _user_images(tmp_path / place / "mine")
        (root / "H.txt").write_text(IDENTITY)
        cells = ["a/x.png", "b/x.png", "H.txt"]
        if written != "relative":
            cells = [str(root / cell) for cell in cells]
        folder = root if written != "elsewhere" else tmp_path / place / "lists"
        folder.mkdir(exist_ok=True)
        data = load(write_rows(folder / "pairs.csv", cells), tmp_path)
        found.append(([pair.name for pair in data.pairs], data.digest))
    assert found[0] == found[1]
    assert found[0][0] == ["a_x/b_x"]


def test_a_csv_without_what_was_asked_for_says_so(pairs_csv: Path) -> None:
    config = write_rows(pairs_csv, ["a/x.png", "b/x.png", "H.txt"])
    config.sequences = ["zebra"]
    with pytest.raises(DataError, match=r"zebra not found in .*pairs\.csv; there: a_x"):
        load(config, pairs_csv.parent)
    config.sequences, config.subset = None, "v"
    with pytest.raises(DataError, match="rows image1,image2,H-file whose fourth cell is v in"):
        load(config, pairs_csv.parent)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["a/x.png", "b/x.png"], "line 2: 2 cells"),
        (["a/x.png", "nowhere.png", "H.txt"], "line 2: image2 .*nowhere.png does not exist"),
        (["a/x.png", "b/x.png", "nowhere.txt"], "line 2: the H-file .*nowhere.txt"),
        (["a/x.png", "b/x.png", "bad.txt"], "line 2: .*3 rows of 3 numbers"),
        (["a/x.png", "text.png", "H.txt"], "line 2: .*text.png: not a complete image"),
        (["a/x.png", "b/x.png", "H.txt", "x"], "line 2: split 'x'"),
        (["a/x.png", "b/x.png", "H.txt"], "line 2: the pair of line 1 again"),
    ],
)
def test_csv_errors_name_the_line(pairs_csv: Path, row: list[str], message: str) -> None:
    config = write_rows(pairs_csv, ["a/x.png", "b/x.png", "H.txt"], row)
    with pytest.raises(DataError, match=message):
        load(config, pairs_csv.parent)


def test_an_empty_csv_is_refused(pairs_csv: Path) -> None:
    with pytest.raises(DataError, match="no complete sequence"):
        load(write_rows(pairs_csv, ["image1", "image2", "H-file"]), pairs_csv.parent)
    shutil.rmtree(pairs_csv.parent)
    with pytest.raises(DataError, match="no such file"):
        load(FolderConfig(csv=str(pairs_csv), subset="all"), pairs_csv.parent)
