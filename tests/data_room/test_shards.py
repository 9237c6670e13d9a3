"""Shards: whole sequences, balanced, the same everywhere, of every kind of data set."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.core.errors import ConfigError
from bench.data import load
from bench.data.images import pixel_count
from bench.data.shards import assign, costs
from bench.schema import (
    CustomDatasetConfig,
    DatasetConfig,
    FolderConfig,
    HPatchesConfig,
    OxfordConfig,
    PhotosConfig,
    RotationScaleConfig,
    check,
)
from tests.data_room.layouts import picture, write_hpatches, write_oxford

SMALL = {"subset": "all", "height": 64, "width": 80}


def configs(place: Path) -> dict[str, tuple[DatasetConfig, int]]:
    """A data set of every kind and its number of sequences."""
    write_hpatches(place / "hpatches", ["i_a", "i_b", "v_c", "v_d"])
    write_oxford(place / "oxford", ["graf", "wall", "ubc"])
    images = place / "images"
    images.mkdir()
    for number in range(4):
        assert cv2.imwrite(str(images / f"{number}.png"), picture(number, height=200, width=300))
    (images / "H").write_text("1 0 2\n0 1 3\n0 0 1\n")
    # An image of several sequences, and sequences that take turns.
    rows = ["0.png,1.png,H", "1.png,2.png,H", "0.png,3.png,H", "2.png,3.png,H,v"]
    (images / "pairs.csv").write_text("\n".join(rows))
    return {
        "hpatches": (HPatchesConfig(root=str(place / "hpatches"), subset="all"), 4),
        "oxford": (OxfordConfig(root=str(place / "oxford"), subset="all"), 3),
        "csv": (FolderConfig(csv=str(images / "pairs.csv"), subset="all"), 3),
        "folder": (FolderConfig(root=str(images), **SMALL), 8),
        "photos": (PhotosConfig(viewpoint_sequences=2, illumination_sequences=2, **SMALL), 4),
        "rotation_scale": (RotationScaleConfig(photographs=3, rotations_deg=[0.0, 30.0], **SMALL), 3),
        "custom": (
            CustomDatasetConfig(kind="tests.data_room.custom_kind", root=str(place / "hpatches"), subset="all"),
            4,
        ),
    }


@pytest.mark.parametrize("kind", ["hpatches", "oxford", "csv", "folder", "photos", "rotation_scale", "custom"])
def test_shards_of_every_kind_are_a_partition_of_whole_sequences(kind: str, tmp_path: Path) -> None:
    config, n_sequences = configs(tmp_path)[kind]
    whole = load(config, tmp_path)
    assert whole.whole is None
    order = [pair.name for pair in whole.pairs]
    for count in {1, 2, n_sequences}:
        shards = []
        for number in range(1, count + 1):
            config.shard = f"{number}/{count}"
            shards.append(load(config, tmp_path))
        seen = [pair for shard in shards for pair in shard.pairs]
        assert sorted(pair.name for pair in seen) == sorted(order)
        sequences = [{pair.sequence for pair in shard.pairs} for shard in shards]
        assert all(not a & b for a, b in itertools.combinations(sequences, 2)) and all(sequences)
        for shard in shards:
            assert shard.whole is not None and shard.whole.digest == whole.digest
            assert [pair.name for pair in shard.whole.pairs] == order
            names = [pair.name for pair in shard.pairs]
            assert names == [name for name in order if name in names]
        assert len({shard.digest for shard in shards} | {whole.digest}) == count + 1
    config.shard = f"1/{n_sequences + 1}"
    with pytest.raises(ConfigError, match=f"has {n_sequences} sequences .* allowed: up to {n_sequences} shards"):
        load(config, tmp_path)


def test_the_most_expensive_first_to_the_emptiest() -> None:
    # By hand: 7 -> 1, 5 -> 2, 4 -> 2 (9), 3 -> 1 (10), 3 -> 2 (12), 1 -> 1 (11).
    given = {"f": 1, "a": 7, "b": 5, "d": 3, "c": 4, "e": 3}
    assert assign(given, 2) == {"a": 1, "b": 2, "c": 2, "d": 1, "e": 2, "f": 1}


def test_ties_are_broken_by_name_and_number_whatever_the_order() -> None:
    names = [f"s{number:02d}" for number in range(10)]
    expected = {name: number % 3 + 1 for number, name in enumerate(names)}
    assert assign(dict.fromkeys(names, 5), 3) == assign(dict.fromkeys(reversed(names), 5), 3) == expected


@pytest.mark.parametrize("seed", range(20))
def test_no_shard_is_much_fuller_than_it_must_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = {str(n): int(cost) for n, cost in enumerate(rng.lognormal(10, 1, 116))}
    for count in (2, 3, 16, 116):
        found = assign(given, count)
        totals = np.bincount([found[name] for name in given], weights=list(given.values()), minlength=count + 1)[1:]
        assert totals.max() <= 4 / 3 * max(sum(given.values()) / count, max(given.values()))
        assert totals.min() > 0


def test_a_sequence_costs_its_images_once_and_both_images_of_each_pair(tmp_path: Path) -> None:
    whole = load(HPatchesConfig(root=str(write_hpatches(tmp_path, ["i_a", "v_b"])), subset="all"), tmp_path)
    assert costs(whole) == dict.fromkeys(("i_a", "v_b"), 32 * 48 * (6 + 2 * 5))


def test_pixels_of_an_image_that_only_opencv_reads(tmp_path: Path) -> None:
    for suffix in (".png", ".ppm", ".jpg"):
        path = tmp_path / f"a{suffix}"
        assert cv2.imwrite(str(path), picture(1, height=40, width=70))
        assert pixel_count(path) == 2800


@pytest.mark.parametrize("text", ["1/1", "3/16", "100000/100000"])
def test_a_shard_is_a_number_and_a_count(text: str) -> None:
    check(HPatchesConfig(shard=text, subset="all"), "dataset")


@pytest.mark.parametrize(
    "text", ["0/3", "4/3", "3", "1/0", "-1/2", "1/100001", "01/2", "1/2/3", "a/b", "", "½", "1 / 2"]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.shard=.* allowed: K/N"):
        check(HPatchesConfig(shard=text, subset="all"), "dataset")
