"""The public face: light to import, complete, typed; one pair in this process equals the pair of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.config import compose
from bench.core.errors import DataError, StoreError
from bench.core.types import Features, Size
from bench.data import load
from bench.data.images import read_image
from bench.data.prepare import prepare_image
from bench.features.select import to_uint8
from bench.run.benchmark import run

ROOT = Path(__file__).parents[1]
SMALL = [
    "dataset.viewpoint_sequences=1",
    "dataset.illumination_sequences=1",
    "dataset.height=240",
    "dataset.width=320",
    "protocol.estimator.repeats=2",
    "bootstrap_draws=100",
    "methods=classical",
    "~methods.kaze",
    "~methods.akaze",
    "~methods.brisk",
    "~methods.rootsift",
]


def photographs(folder: Path) -> bench.DataSet:
    return load(compose([*SMALL, f"data_root={folder}"]).dataset, folder)


def test_every_public_name_can_be_imported_and_is_documented() -> None:
    for name in bench.__all__:
        found = getattr(bench, name)
        assert name == "__version__" or found.__doc__, name
    assert set(bench.__all__) == set(dir(bench))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bench.nothing  # noqa: B018
    assert (ROOT / "bench/py.typed").is_file()


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import bench, sys; print(*sorted({'numpy', 'pandas', 'cv2', 'hydra', 'scipy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.slow
def test_one_pair_in_this_process_equals_the_row_of_a_run(tmp_path: Path) -> None:
    dataset = photographs(tmp_path)
    pair = dataset.pairs[0]
    from bench.core.files import read_parquet

    config = compose([*SMALL, f"data_root={tmp_path}", f"run_dir={tmp_path}/run", "latency=off", "keep_features=true"])
    config.protocol.estimator.repeats = 10  # as the preset, so that every column can be compared
    found = run(config)
    row = found.pairs.set_index(["method", "pair"]).loc[("sift", pair.name)]
    own = bench.evaluate(pair.reference.path, pair.target.path, pair.H_ref_to_target, "sift")
    for name in ("n_keypoints_ref", "n_matches", "repeatability", "nn_map", "corner_error_px", "dlt_corner_error_px"):
        assert own[name] == row[name], name
    rgb = [read_image(image.path)[..., ::-1] for image in (pair.reference, pair.target)]
    assert bench.evaluate(*rgb, pair.H_ref_to_target, "sift")["corner_error_px"] == own["corner_error_px"]
    again = bench.load(tmp_path / "run")
    assert again.pairs.equals(read_parquet(tmp_path / "run/pairs.parquet"))
    assert again.summary.table.equals(found.summary.table)
    assert again.report.is_file()


def test_a_function_and_a_pairwise_method_are_methods() -> None:
    rng = np.random.default_rng(1)
    image = np.kron(rng.integers(0, 255, (30, 40)), np.ones((8, 8))).astype(np.uint8)
    xy = rng.uniform([10, 10], [300, 220], (60, 2)).astype(np.float32)

    def detector(given: bench.EvaluatedImage) -> Features:
        assert to_uint8(given.grey).shape == (480, 640)
        return Features(2 * xy, np.linspace(1, 0, 60, dtype=np.float32), np.eye(60, dtype=np.float32), given.size)

    row = bench.evaluate(image, image, np.eye(3), detector)
    assert (row["n_matches"], row["accuracy_1px"]) == (60, 1.0)

    class Pairwise:
        def warm_up(self, size: Size) -> None: ...

        def correspond(
            self, image_ref: bench.EvaluatedImage, image_target: bench.EvaluatedImage
        ) -> tuple[bench.Correspondences, bench.StageTimes]:
            return bench.Correspondences(2 * xy, 2 * xy, np.ones(60, np.float32)), bench.StageTimes(0, 0, 0)

        def info(self) -> bench.MethodInfo:
            return bench.MethodInfo("pairs", "test", False, pairwise=True)

    row = bench.evaluate(image, image, np.eye(3), Pairwise())
    assert (row["n_matches"], row["accuracy_1px"], row["match_precision_1px"]) == (60, 1.0, 1.0)
    assert row["n_keypoints_ref"] is row["repeatability"] is row["nn_map"] is None


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    image = np.zeros((64, 64), np.uint8)
    with pytest.raises(DataError, match=r"\(3, 3\)"):
        bench.evaluate(image, image, np.eye(2), "sift")
    with pytest.raises(DataError, match="uint8"):
        bench.evaluate(image.astype(np.float64), image, np.eye(3), "sift")  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        bench.load(tmp_path)
    with pytest.raises(TypeError, match="list of str"):
        bench.benchmark("methods=classical")


def test_colour_lies_on_the_grey_image(tmp_path: Path) -> None:
    import cv2

    config = compose(["protocol=strict"]).protocol.image
    rng = np.random.default_rng(0)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.kron(rng.integers(0, 255, (33, 41, 3)), np.ones((20, 20, 1))).astype(np.uint8))
    image = prepare_image(bench.ImageRef("a", path), config)
    assert image.colour.shape == (*image.grey.shape, 3) and image.colour.dtype == np.uint8
    grey = cv2.cvtColor(image.colour, cv2.COLOR_RGB2GRAY).astype(int)
    assert np.abs(grey - image.grey).max() <= 2
    path.unlink()
    with pytest.raises(DataError):
        image.colour  # noqa: B018
    with pytest.raises(ValueError, match="no colour"):
        bench.EvaluatedImage("b", image.grey, np.eye(3)).colour  # noqa: B018
