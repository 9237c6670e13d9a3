"""The data set of a finished run, loaded again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench.core.errors import DataError, StoreError
from bench.data import load
from bench.run.manifest import DatasetRecord, Manifest, ProtocolRecord
from bench.run.recorded import recorded_dataset
from bench.schema import HPatchesConfig, PhotosConfig


def manifest(data_root: Path, digest: str = "0") -> Manifest:
    photos = PhotosConfig(viewpoint_sequences=1, illumination_sequences=0, height=64, width=96)
    recorded = {"dataset": dataclasses.asdict(photos), "data_root": str(data_root)}
    return Manifest(ProtocolRecord("strict", "0", 1, {}), DatasetRecord("photos", digest), config=recorded)


def test_it_is_made_again_and_must_be_the_same(tmp_path: Path) -> None:
    made = load(PhotosConfig(viewpoint_sequences=1, illumination_sequences=0, height=64, width=96), tmp_path / "a")
    assert recorded_dataset(tmp_path, manifest(tmp_path / "b", made.digest)).digest == made.digest
    with pytest.raises(StoreError, match="has changed since"):
        recorded_dataset(tmp_path, manifest(tmp_path / "b"))


def test_a_folder_that_cannot_be_written_is_named_without_a_key_of_another_command(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recorded = {"dataset": dataclasses.asdict(HPatchesConfig(subset="all")), "data_root": str(tmp_path / "file")}
    downloaded = Manifest(ProtocolRecord("strict", "0", 1, {}), DatasetRecord("hpatches", "0"), config=recorded)
    with pytest.raises(DataError, match=r"cannot be written .*; the run recorded data_root=") as caught:
        recorded_dataset(tmp_path, downloaded)
    assert "choose" not in str(caught.value)


def test_a_kind_of_data_set_that_is_none_is_named(tmp_path: Path) -> None:
    strange = dataclasses.replace(manifest(tmp_path), config={"dataset": {"width": 3}})
    with pytest.raises(StoreError, match="is not of this version of bench"):
        recorded_dataset(tmp_path, strange)
