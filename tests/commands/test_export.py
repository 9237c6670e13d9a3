"""What `bench export` writes, `method=imported` reads back bit by bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bench.commands.export import ExportConfig, main
from bench.config import compose
from bench.core.errors import ConfigError, StoreError
from bench.core.files import start_checksums
from bench.core.types import Context, EvaluatedImage
from bench.data import load
from bench.features.base import create
from bench.run.extraction import items_of, prepare_item
from bench.run.manifest import DatasetRecord, Manifest, MethodRecord, ProtocolRecord, read_manifest, write_manifest
from bench.run.store import Extraction, RunStore
from bench.schema import DetectorConfig, ImportedConfig, NmsConfig, OpenCVConfig, RunConfig, SiftConfig

METHODS = ("sift", "orb", "harris")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EvaluatedImage]]:
    """A run directory with the features of three methods and one failed extraction, and its images."""
    place = tmp_path_factory.mktemp("run")
    config = compose(
        [
            "dataset.viewpoint_sequences=1",
            "dataset.illumination_sequences=0",
            "dataset.height=150",
            "dataset.width=210",
            "protocol.image.short_side=125",
            f"data_root={place / 'data'}",
        ]
    )
    assert isinstance(config, RunConfig)
    dataset = load(config.dataset, Path(config.data_root))
    images = [prepare_item(item, config.protocol.image) for item in items_of(dataset, config.protocol.image)]
    store = RunStore(place / "r")
    common = {"max_keypoints": 60, "threads": 1, "nms": NmsConfig()}
    configs = {
        "sift": OpenCVConfig(algorithm="sift", classical_max=None, integer=False, sift=SiftConfig(), **common),
        "orb": OpenCVConfig(algorithm="orb", classical_max=None, integer=False, **common),
        "harris": DetectorConfig(algorithm="harris", **common),
    }
    for name, method in configs.items():
        extractor = create(name, method, Context(1, place, place))
        for image in images:
            store.write_extraction(name, image.key, Extraction(*extractor.extract(image), 0, 0))
    store.write_extraction("broken", images[0].key, Extraction(None, None, 0, 0, "refused"))
    for image in images[1:]:
        store.write_extraction("broken", image.key, store.read_extraction("sift", image.key))
    start_checksums(store.directory, adopt=True)
    manifest = Manifest(
        ProtocolRecord("strict", "0", 1, dataclasses.asdict(config.protocol)),
        DatasetRecord(dataset.name, dataset.digest),
        status="complete",
        config=dataclasses.asdict(config),
        methods={name: MethodRecord() for name in (*METHODS, "broken")},
    )
    write_manifest(store.directory, manifest)
    return store.directory, images


@pytest.mark.parametrize("frame", ["source", "evaluated"])
@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_round_trip_is_bit_equal(
    kind: str, frame: str, finished: tuple[Path, list[EvaluatedImage]], tmp_path: Path
) -> None:
    directory, images = finished
    assert images[0].T_source_to_evaluated[0, 0] != 1  # the frames differ
    config = ExportConfig(run_dir=str(directory), only=list(METHODS), format=kind, frame=frame, output=str(tmp_path))
    assert main(config) == 0
    for method in METHODS:
        path = tmp_path if kind == "npz" else tmp_path / f"{method}.h5"
        reader = create(
            method,
            ImportedConfig(
                format=kind,
                path=str(path),
                suffix=method,
                frame=frame,
                descriptors=method != "harris",
                max_keypoints=0,
                threads=1,
            ),
            Context(1, tmp_path, tmp_path),
        )
        for image in images:
            before = RunStore(directory).read_extraction(method, image.key).features
            after, _ = reader.extract(image)
            assert before is not None
            assert len(before) > 20
            np.testing.assert_array_equal(before.keypoints, after.keypoints)
            np.testing.assert_array_equal(before.scores, after.scores)
            if method == "harris":
                assert after.descriptors is None
            else:
                np.testing.assert_array_equal(before.descriptors, after.descriptors)
                assert before.descriptors is not None
                assert after.descriptors is not None
                assert before.descriptors.dtype == after.descriptors.dtype
        assert reader.info().costs.get("dropped_keypoints") == 0


def test_default_folder_and_names(finished: tuple[Path, list[EvaluatedImage]], capsys: pytest.CaptureFixture) -> None:
    directory, images = finished
    assert main(ExportConfig(run_dir=str(directory), only=["orb"])) == 0
    names = {path.name for path in (directory / "export").rglob("*.orb")}
    assert names == {f"{image.source_path.name}.orb" for image in images if image.source_path}
    assert f"orb: {len(images)} of {len(images)} images, keypoints in the source frame" in capsys.readouterr().out


def test_failed_extractions_are_told_and_left_out(
    finished: tuple[Path, list[EvaluatedImage]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory, images = finished
    main(ExportConfig(run_dir=str(directory), only=["broken"], output=str(tmp_path)))
    assert f"broken: {len(images) - 1} of {len(images)} images" in capsys.readouterr().out
    assert images[0].key in caplog.text
    assert len(list(tmp_path.rglob("*.broken"))) == len(images) - 1


def test_refusals(finished: tuple[Path, list[EvaluatedImage]], tmp_path: Path) -> None:
    directory, _ = finished
    with pytest.raises(ConfigError, match="run_dir is missing"):
        compose([], "export")
    with pytest.raises(ConfigError, match=r"only='surf' is not possible; allowed: sift, orb, harris, broken"):
        main(ExportConfig(run_dir=str(directory), only=["surf"]))
    with pytest.raises(StoreError, match=r"manifest\.json"):
        main(ExportConfig(run_dir=str(tmp_path)))
    start_checksums(tmp_path)
    write_manifest(tmp_path, Manifest(ProtocolRecord("strict", "0"), DatasetRecord("none")))
    with pytest.raises(StoreError, match="not finished"):
        main(ExportConfig(run_dir=str(tmp_path)))


def test_features_that_were_not_kept(finished: tuple[Path, list[EvaluatedImage]], tmp_path: Path) -> None:
    directory, _ = finished
    start_checksums(tmp_path)
    write_manifest(tmp_path, read_manifest(directory))
    with pytest.raises(StoreError, match="no features of sift; repeat the run with keep_features=true"):
        main(ExportConfig(run_dir=str(tmp_path), format="hdf5"))
    assert not list(tmp_path.rglob("*.h5"))


def test_unwritable_output(finished: tuple[Path, list[EvaluatedImage]], tmp_path: Path) -> None:
    directory, _ = finished
    (tmp_path / "file").write_text("")
    for kind in ("npz", "hdf5"):
        with pytest.raises(StoreError, match="cannot write"):
            main(ExportConfig(run_dir=str(directory), format=kind, output=str(tmp_path / "file/below")))


def test_the_command_composes() -> None:
    config = compose(["run_dir=results/x", "only=[sift]", "format=hdf5"], "export")
    assert config == ExportConfig(run_dir="results/x", only=["sift"], format="hdf5")
    with pytest.raises(ConfigError, match="allowed: npz, hdf5"):
        compose(["run_dir=results/x", "format=mat"], "export")
