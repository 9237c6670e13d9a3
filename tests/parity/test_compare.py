"""Which pairs are compared, which methods are left out, where the report goes."""

from __future__ import annotations

import copy
import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.commands.parity import folder_of
from bench.config import compose
from bench.core.errors import ConfigError, ModelError, StoreError
from bench.core.types import DataSet, ImageRef, Pair
from bench.parity.compare import Comparison, _refuse, choose
from bench.parity.config import ParityConfig
from bench.schema.identity import protocol_hash


def dataset(sequences: int = 7, expected: int = 35) -> DataSet:
    pairs = tuple(
        Pair(
            ImageRef(f"s{s}/1", Path("1.png")),
            ImageRef(f"s{s}/{k}", Path("k.png")),
            np.eye(3),
            f"s{s}",
            "-",
            f"s{s}/1-{k}",
        )
        for s in range(sequences)
        for k in range(2, 7)
    )
    return DataSet("test", pairs, 7, expected, f"{sequences} of 7 sequences", "0" * 64)


def test_sequences_are_spread_evenly() -> None:
    chosen = choose(dataset(), 3, 2)
    assert [pair.name for pair in chosen.pairs] == ["s0/1-2", "s0/1-3", "s3/1-2", "s3/1-3", "s6/1-2", "s6/1-3"]
    assert chosen.note == "3 of 7 sequences and 6 of 35 pairs compared"


def test_everything_is_kept_if_asked_for() -> None:
    whole = dataset()
    for chosen in (choose(whole, None, None), choose(whole, 99, None)):
        assert chosen.pairs == whole.pairs and chosen.note == whole.note


def test_an_incomplete_data_set_says_so() -> None:
    assert choose(dataset(expected=580), 1, 1).note.endswith("; present: 7 of 7 sequences")


@functools.cache
def composed() -> ParityConfig:
    found = compose([], "parity")
    assert isinstance(found, ParityConfig)
    return found


def config(**folders: Path) -> ParityConfig:
    return replace(copy.deepcopy(composed()), **{key: str(folder) for key, folder in folders.items()})


def test_a_method_that_cannot_run_is_left_out_with_its_rows() -> None:
    result = Comparison(images=[{"method": "superpoint_ov_fp32"}, {"method": "superpoint_ov_fp16"}])
    workers = dict.fromkeys(("superpoint_tf", "superpoint_ov_fp32", "superpoint_ov_fp16"))
    _refuse("superpoint_ov_fp32", ModelError("no bf16 here\n  more"), config(), workers, result)  # type: ignore[arg-type]
    assert result.refused == {"superpoint_ov_fp32": "no bf16 here"}
    assert result.images == [{"method": "superpoint_ov_fp16"}]
    assert list(workers) == ["superpoint_tf", "superpoint_ov_fp16"]
    with pytest.raises(ModelError, match="no method is left.*no bf16 here.*nor this"):
        _refuse("superpoint_ov_fp16", ModelError("nor this"), config(), workers, result)  # type: ignore[arg-type]


def test_the_reference_must_run() -> None:
    with pytest.raises(ModelError, match="absent"):
        _refuse("superpoint_tf", ModelError("absent"), config(), {}, Comparison())


def write_manifest(directory: Path, **changes: object) -> None:
    protocol = config().protocol
    manifest = {
        "schema_version": 1,
        "status": "complete",
        "protocol": {"name": "strict", "hash": protocol_hash(protocol)},
        "dataset": {"name": "test"},
    }
    directory.mkdir()
    (directory / "manifest.json").write_text(json.dumps(manifest | changes))


def test_a_new_report_has_a_directory_of_its_own(tmp_path: Path) -> None:
    first = folder_of(config(results=tmp_path), dataset())
    assert first.is_dir() and first.parent == tmp_path and first.name.startswith("parity_")
    assert folder_of(config(results=tmp_path), dataset()) != first


def test_a_report_of_a_run_goes_into_its_directory(tmp_path: Path) -> None:
    write_manifest(tmp_path / "run")
    assert folder_of(config(run_dir=tmp_path / "run"), dataset()) == tmp_path / "run" / "parity"


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"status": "running"}, StoreError, "not finished"),
        ({"dataset": {"name": "hpatches"}}, ConfigError, "on hpatches.*repeat it with the same protocol and dataset"),
        ({"protocol": {"name": "paper", "hash": "f" * 64}}, ConfigError, "protocol paper"),
    ],
)
def test_a_report_of_another_run_is_refused(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], text: str
) -> None:
    write_manifest(tmp_path / "run", **changes)
    with pytest.raises(error, match=text):
        folder_of(config(run_dir=tmp_path / "run"), dataset())


def test_a_run_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="manifest"):
        folder_of(config(run_dir=tmp_path / "none"), dataset())
