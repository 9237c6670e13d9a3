"""``bench train`` from nothing through all stages on photographs that scikit-image installs."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.models.weights import has_descriptors, load_weights

PHOTOGRAPHS = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "rocket")


def losses(out: Path, stage: str, name: str) -> list[float]:
    with (out / stage / "log.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def bench_train(*overrides: str) -> None:
    command = [sys.executable, "-m", "bench", "train", "train=tiny", *overrides]
    subprocess.run(command, check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, timeout=600)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import skimage.data

    folder = tmp_path_factory.mktemp("photographs")
    for name in PHOTOGRAPHS:
        cv2.imwrite(str(folder / f"{name}.png"), np.asarray(getattr(skimage.data, name)()))
    return folder


@pytest.mark.slow
def test_all_stages_run_from_nothing_and_improve_their_losses(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    bench_train(f"data={data}", f"out={out}")
    assert (out / "synthetic_shapes" / "preview.png").is_file()
    assert len(list((out / "adapt").glob("*.npz"))) == len(PHOTOGRAPHS)
    # The first phase of superpoint ends with the eighth entry; larger crops have other losses.
    for stage, name, end, factor in (
        ("magicpoint", "detector", 10, 0.92),
        ("superpoint", "detector", 8, 0.97),
        ("superpoint", "descriptor", 8, 0.85),
    ):
        values = losses(out, stage, name)
        assert np.mean(values[end - 2 : end]) < factor * np.mean(values[:2]), (stage, name, values)
    assert not has_descriptors(load_weights(out / "magicpoint" / "weights.npz"))
    weights = load_weights(out / "superpoint" / "weights.npz")
    assert has_descriptors(weights)
    start = load_weights(out / "magicpoint" / "weights.npz")["superpoint/vgg/conv1_1/conv/kernel"]
    assert np.abs(weights["superpoint/vgg/conv1_1/conv/kernel"] - start).max() > 1e-3

    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    bench_train(f"data={data}", f"out={out}")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")} == times


@pytest.mark.slow
def test_superpoint_trains_with_the_hinge_loss_and_from_given_weights(data: Path, tmp_path: Path) -> None:
    from bench.models.weights import BUILTIN_SUPERPOINT

    out = tmp_path / "run"
    common = (f"data={data}", f"out={out}")
    bench_train(*common, "stage=adapt")
    bench_train(
        *common,
        "stage=superpoint",
        "superpoint.descriptor_loss.kind=hinge",
        f"superpoint.init_weights={BUILTIN_SUPERPOINT}",
        "superpoint.phases=[{steps: 20, crop_px: 64, batch: 2, points: 8}]",
        "superpoint.optimizer.learning_rate=0.0005",
    )
    values = losses(out, "superpoint", "descriptor")
    assert len(values) == 4
    assert values[-1] < values[0]
