"""The training loop: it learns, it can be killed at any time, and it refuses to mix settings."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import ConfigError, ModelError
from bench.models.weights import load_weights
from bench.train.config import OptimizerConfig, SyntheticShapesConfig
from bench.train.data import Batch, magicpoint_batch
from bench.train.loop import Cadence, Stage, fit

SHAPES = SyntheticShapesConfig(height=32, width=32, shapes=["checkerboard"])


def make_stage(
    steps: int, batches: list[np.ndarray] | None = None, learning_rate: float = 0.002, **changes: Any
) -> Stage:
    import keras

    from bench.models.network import build_network
    from bench.train.losses import detector_loss

    keras.utils.set_random_seed(0)

    def batch(step: int) -> Batch:
        images, targets = magicpoint_batch(5, step, 2, SHAPES)
        if batches is not None:
            batches.append(images)
        return images, targets

    def losses(targets: Any, outputs: Any) -> dict[str, Any]:
        return {"detector": detector_loss(outputs["logits"], targets["cells"], targets["mask"])}

    arguments: dict[str, Any] = {
        "name": "test",
        "network": build_network(descriptors=False),
        "batch": batch,
        "losses": losses,
        "loss_names": ("detector",),
        "steps": steps,
        "optimizer": OptimizerConfig(learning_rate=learning_rate),
        "compile": False,
        "settings": {"steps": steps},
    }
    return Stage(**{**arguments, **changes})


def log(directory: Path) -> list[dict[str, str]]:
    with (directory / "log.csv").open() as file:
        return list(csv.DictReader(file))


SCRIPT = """
import hashlib, sys
from pathlib import Path
import keras
from bench.train.backend import limit_threads
from bench.train.loop import Cadence, fit
from tests.train.test_loop import make_stage

# One thread adds in one order, so that two trainings can be compared to the last bit.
limit_threads(1)
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
folder, digests = Path(sys.argv[1]), Path(sys.argv[2]).open("w")

class Recorded(list):
    def append(self, images):
        print(hashlib.sha256(images.tobytes()).hexdigest(), file=digests, flush=True)

fit(make_stage(12, Recorded()), folder, Cadence(1, 0.0))
"""


def start_training(folder: Path, digests: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(digests)], env=environment)


@pytest.mark.slow
def test_a_killed_training_continues_with_the_same_batches_to_the_same_weights(tmp_path: Path) -> None:
    assert start_training(tmp_path / "whole", tmp_path / "whole.txt").wait(240) == 0
    batches = (tmp_path / "whole.txt").read_text().splitlines()
    assert len(set(batches)) == 12

    killed = tmp_path / "killed"
    process = start_training(killed, tmp_path / "killed.txt")
    deadline = time.monotonic() + 240
    while not (killed / "log.csv").is_file() or len(log(killed)) < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with np.load(killed / "checkpoint.npz", allow_pickle=False) as checkpoint:
        done = int(checkpoint["step"])
    assert 3 <= done < 12
    assert not (killed / "weights.npz").exists()

    assert start_training(killed, tmp_path / "rest.txt").wait(240) == 0
    assert (tmp_path / "rest.txt").read_text().splitlines() == batches[done:]
    assert [row["step"] for row in log(killed)] == [str(i + 1) for i in range(12)]
    expected, found = load_weights(tmp_path / "whole" / "weights.npz"), load_weights(killed / "weights.npz")
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_a_finished_training_is_not_run_again_and_other_settings_are_refused(tmp_path: Path) -> None:
    batches: list[np.ndarray] = []
    weights = fit(make_stage(2, batches), tmp_path, Cadence(1, 1e9))
    assert len(batches) == 2
    before = weights.stat().st_mtime_ns
    assert fit(make_stage(2, batches), tmp_path, Cadence(1, 1e9)) == weights
    assert len(batches) == 2
    assert weights.stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="made with other settings: steps=2, now 3"):
        fit(make_stage(3), tmp_path, Cadence(1, 1e9))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.npz", "log.csv", "losses.png", "weights.npz"}
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_diverging_training_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    def poisoned(step: int) -> Batch:
        images, targets = magicpoint_batch(5, step, 2, SHAPES)
        return (images if step < 2 else images * np.float32(np.nan)), targets

    with pytest.raises(ModelError, match="not finite at step 3; lower test.optimizer.learning_rate.*checkpoint.npz"):
        fit(make_stage(5, batch=poisoned), tmp_path, Cadence(1, 0.0))
    with np.load(tmp_path / "checkpoint.npz", allow_pickle=False) as checkpoint:
        assert int(checkpoint["step"]) == 2
        assert all(np.isfinite(checkpoint[name]).all() for name in checkpoint.files if name.startswith("network/"))


def test_the_learning_rate_rises_to_the_peak_and_falls_to_zero(tmp_path: Path) -> None:
    from bench.train.loop import _make_learner

    schedule = _make_learner(make_stage(100, learning_rate=0.01)).optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(101)]
    assert rates[0] < 0.1 * 0.01
    assert max(rates) == pytest.approx(0.01, rel=0.01)
    assert np.argmax(rates) == 15
    assert rates[100] == pytest.approx(0, abs=1e-9)
    assert all(np.diff(rates[:15]) > 0)
    assert all(np.diff(rates[15:]) < 0)
