"""HPatches and Oxford layouts: subsets, incomplete copies, damaged files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import ConfigError, DataError
from bench.core.types import DataSet
from bench.data import load
from bench.data.hpatches import LARGE, SEQUENCES_EXPECTED
from bench.data.sequences import natural_key, read_homography
from bench.schema import CustomDatasetConfig, DatasetConfig, HPatchesConfig, OxfordConfig

from .layouts import write_hpatches, write_oxford


def hpatches(root: Path, subset: str = "all", sequences: list[str] | None = None) -> DataSet:
    return load(HPatchesConfig(root=str(root), subset=subset, sequences=sequences), root)


def test_a_folder_in_the_layout_gives_all_pairs(tmp_path: Path) -> None:
    data = hpatches(write_hpatches(tmp_path, ["v_a", "i_b"]))
    assert [pair.name for pair in data.pairs] == [f"{s}/1-{k}" for s in ("i_b", "v_a") for k in range(2, 7)]
    first = data.pairs[0]
    assert (first.split, first.sequence, first.reference.key, first.target.key) == ("i", "i_b", "i_b/1", "i_b/2")
    np.testing.assert_array_equal(first.H_ref_to_target, [[1, 0, 2], [0, 1, -2], [0, 0, 1]])
    assert (data.sequences_expected, data.pairs_expected) == (116, 580)
    assert data.note == "2 of 116 sequences, 10 of 580 pairs"


@pytest.mark.parametrize(
    ("subset", "expected", "found"),
    [("all", (116, 580), 3), ("no_large", (108, 540), 2), ("i", (57, 285), 1), ("v", (59, 295), 2)],
)
def test_subsets(tmp_path: Path, subset: str, expected: tuple[int, int], found: int) -> None:
    data = hpatches(write_hpatches(tmp_path, ["v_a", "i_b", "v_talent"]), subset)
    assert (data.sequences_expected, data.pairs_expected) == expected
    assert len({pair.sequence for pair in data.pairs}) == found


def test_the_large_sequences_are_eight() -> None:
    assert len(set(LARGE)) == SEQUENCES_EXPECTED["all"] - SEQUENCES_EXPECTED["no_large"] == 8
    assert SEQUENCES_EXPECTED["i"] + SEQUENCES_EXPECTED["v"] == SEQUENCES_EXPECTED["all"]


def test_sequences_can_be_named(tmp_path: Path) -> None:
    write_hpatches(tmp_path, ["v_a", "i_b", "v_c"])
    data = hpatches(tmp_path, sequences=["v_c"])
    assert data.note == "1 of 1 sequences, 5 of 5 pairs"
    with pytest.raises(DataError, match="v_missing not found.*i_b, v_a, v_c"):
        hpatches(tmp_path, sequences=["v_missing"])


def test_incomplete_sequences_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_hpatches(tmp_path, ["v_a", "v_b", "v_c", "v_d"])
    (tmp_path / "v_a" / "3.ppm").unlink()
    (tmp_path / "v_b" / "1.ppm").unlink()
    (tmp_path / "v_d" / "H_1_5").unlink()
    data = hpatches(tmp_path)
    assert {pair.sequence for pair in data.pairs} == {"v_c"}
    assert data.note == "1 of 116 sequences, 5 of 580 pairs"
    assert "v_a, v_b, v_d incomplete, left out" in caplog.text


def test_no_pair_says_what_was_looked_for_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="bench fetch what=hpatches") as caught:
        hpatches(tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(DataError, match="is not a folder"):
        hpatches(tmp_path / "nowhere")
    with pytest.raises(DataError, match="bench fetch"):
        load(HPatchesConfig(subset="all", download=False), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0\n0 1\n", "3 rows of 3 numbers"),
        ("1 0 0\n0 1 0\n", "3 rows of 3 numbers"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n", "3 rows of 3 numbers"),
        ("1 0 0\n0 one 0\n0 0 1\n", "could not convert"),
        ("1 0 0\n0 nan 0\n0 0 1\n", "NaN or infinity"),
        ("1 0 0\n0 inf 0\n0 0 1\n", "NaN or infinity"),
        ("1 2 3\n2 4 6\n0 0 1\n", "singular"),
        ("0 0 0\n0 0 0\n0 0 0\n", "singular"),
        ("", "empty"),
        ("1_0 0 0\n0 1 0\n0 0 1\n", "'1_0' is not a number"),
        ("1 0 0\n0 1 0\n0 0 1\n" + " " * 70000, "70018 bytes are too many"),
        ("-1 0 47\n0 1 0\n0 0 1\n", "mirrors the image"),
        ("1 0 0\n0 1 0\n-0.1 0 1\n", "maps a corner of the 32x48 .* to infinity"),
    ],
)
def test_damaged_homographies_are_named(tmp_path: Path, text: str, message: str) -> None:
    write_hpatches(tmp_path, ["v_a"])
    (tmp_path / "v_a" / "H_1_4").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        hpatches(tmp_path)
    assert str(tmp_path / "v_a" / "H_1_4") in str(caught.value)


def test_binary_homography_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "H_1_2"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="not a text file"):
        read_homography(path)


@pytest.mark.parametrize("content", [b"a text file", b"P6\n48 32\n255\n" + bytes(100)])
def test_a_corrupt_image_is_found_before_any_work(tmp_path: Path, content: bytes) -> None:
    write_hpatches(tmp_path, ["v_a", "v_b"])
    (tmp_path / "v_b" / "6.ppm").write_bytes(content)
    with pytest.raises(DataError, match="not a complete image") as caught:
        hpatches(tmp_path)
    assert str(tmp_path / "v_b" / "6.ppm") in str(caught.value)


def test_the_digest_follows_images_homographies_and_names(tmp_path: Path) -> None:
    digests = {hpatches(write_hpatches(tmp_path / "a", ["v_a"])).digest}
    assert hpatches(write_hpatches(tmp_path / "copy", ["v_a"])).digest in digests
    digests.add(hpatches(write_hpatches(tmp_path / "b", ["v_b"])).digest)
    (tmp_path / "a" / "v_a" / "H_1_2").write_text("1 0 2\n0 1 -2.0001\n0 0 1\n")
    digests.add(hpatches(tmp_path / "a").digest)
    (tmp_path / "a" / "v_a" / "2.ppm").write_bytes((tmp_path / "a" / "v_a" / "3.ppm").read_bytes())
    digests.add(hpatches(tmp_path / "a").digest)
    assert len(digests) == 4


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    write_hpatches(tmp_path, ["v_a"])
    (tmp_path / "v_a").rename(tmp_path / os.fsdecode(b"v_\xff"))
    with pytest.raises(DataError, match="not valid UTF-8"):
        hpatches(tmp_path)


def test_homographies_of_any_scale_and_sign_are_the_same(tmp_path: Path) -> None:
    write_hpatches(tmp_path, ["v_a"])
    (tmp_path / "v_a" / "H_1_4").write_text("-2 0 -8\n0 -2 8\n0 0 -2\n")
    assert len(hpatches(tmp_path).pairs) == 5


def test_any_folder_in_the_oxford_layout_loads(tmp_path: Path) -> None:
    write_oxford(tmp_path, ["kitchen", "Graf"])
    for k in range(1, 7):
        (tmp_path / "kitchen" / f"img{k}.ppm").rename(tmp_path / "kitchen" / f"IMG{k}.PPM")
        if k > 1:
            (tmp_path / "kitchen" / f"H1to{k}p").rename(tmp_path / "kitchen" / f"H1to{k}P")
    (tmp_path / "notes").mkdir()
    data = load(OxfordConfig(root=str(tmp_path), subset="all"), tmp_path)
    assert data.note == "2 of 9 sequences, 10 of 45 pairs"
    assert {pair.sequence: pair.split for pair in data.pairs} == {"Graf": "v", "kitchen": "-"}
    assert {pair.reference.key for pair in data.pairs} == {"Graf/img1", "kitchen/img1"}
    shutil.rmtree(tmp_path / "Graf")
    assert load(OxfordConfig(root=str(tmp_path), subset="all"), tmp_path).note == "1 of 1 sequences, 5 of 5 pairs"


def test_oxford_layout_and_splits(tmp_path: Path) -> None:
    write_oxford(tmp_path, ["graf", "leuven", "bikes"])
    data = load(OxfordConfig(root=str(tmp_path), subset="all"), tmp_path)
    assert data.note == "3 of 8 sequences, 15 of 40 pairs"
    assert {pair.sequence: pair.split for pair in data.pairs} == {"graf": "v", "leuven": "i", "bikes": "i"}
    assert data.pairs[0].name == "bikes/1-2" and data.pairs[0].reference.key == "bikes/img1"
    viewpoint = load(OxfordConfig(root=str(tmp_path), subset="v"), tmp_path)
    assert viewpoint.note == "1 of 4 sequences, 5 of 20 pairs"
    with pytest.raises(DataError, match=r"robots\.ox\.ac\.uk"):
        load(OxfordConfig(subset="all"), tmp_path / "nowhere")


def test_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="allowed: photos, .*, folder, an entry point"):
        load(DatasetConfig(kind="coco", subset="all"), tmp_path)


def test_a_module_outside_the_package_gives_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_hpatches(tmp_path / "data", ["v_a"])
    (tmp_path / "my_pairs.py").write_text(
        "from dataclasses import replace\n"
        "from bench.data.hpatches import load_layout\n"
        "def load(config, root):\n"
        "    found = load_layout('mine', root / 'data', 'all', None, 1, 'nothing')\n"
        "    return replace(found, name=config.params['name'])\n"
        "def nothing(config, root):\n"
        "    return None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = CustomDatasetConfig(kind="my_pairs", subset="all", params={"name": "theirs"})
    assert (load(config, tmp_path).name, len(load(config, tmp_path).pairs)) == ("theirs", 5)
    config.kind = "my_pairs:nothing"
    with pytest.raises(ConfigError, match="load gave NoneType, expected a DataSet"):
        load(config, tmp_path)


def test_natural_order() -> None:
    names = ["img10", "img2", "a", "img1", "²", "b2c10", "b2c9"]
    assert sorted(names, key=natural_key) == ["a", "b2c9", "b2c10", "img1", "img2", "img10", "²"]


def test_real_sequences(shared: Path) -> None:
    data = hpatches(shared / "data" / "hpatches")
    assert data.note == "3 of 116 sequences, 15 of 580 pairs"
    oxford = load(OxfordConfig(root=str(shared / "data" / "oxford_affine"), subset="all"), shared)
    assert oxford.note == "4 of 8 sequences, 20 of 40 pairs"
