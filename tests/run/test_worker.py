"""A method in a process of its own: results, named errors, death and restart."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench.config import compose
from bench.core.errors import ConfigError, FeatureError, ModelError, WorkerError
from bench.core.types import Context, EvaluatedImage, Size
from bench.features.base import HasTensors
from bench.run.worker import Worker
from bench.schema import CustomConfig, TimeoutsConfig, check

IMAGE = EvaluatedImage("seq/1", np.random.default_rng(0).integers(0, 255, (64, 96)).astype(np.uint8), np.eye(3))


def worker(
    tmp_path: Path, fault: str, backend: str = "tests.method_modules", timeouts: TimeoutsConfig | None = None
) -> Worker:
    config = CustomConfig(backend=backend, max_keypoints=0, threads=1, params={"fault": fault})
    return Worker("grid", config, Context(1, tmp_path, tmp_path), tmp_path / "logs/grid.log", timeouts)


def test_a_worker_returns_what_the_method_returns(tmp_path: Path) -> None:
    process = worker(tmp_path, "none")
    process.warm_up(Size(64, 96))
    features, times = process.extract(IMAGE)
    assert features.size == Size(64, 96)
    assert times.total_ms == 1.0
    info = process.info()
    assert info.backend == "test"
    assert 1 < info.costs["peak_memory_mb"] < 5000
    process.close()
    process.close()


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("nan", FeatureError, "method grid: descriptors contain NaN"),
        ("raise", WorkerError, "RuntimeError: the method broke"),
    ],
)
def test_errors_keep_their_kind_and_the_worker_lives(
    tmp_path: Path, fault: str, error: type[Exception], message: str
) -> None:
    process = worker(tmp_path, fault)
    for _ in range(2):
        with pytest.raises(error, match=message):
            process.extract(IMAGE)
    process.close()


@pytest.mark.slow
def test_the_worker_that_exports_the_model_keeps_to_its_threads(tmp_path: Path) -> None:
    """Of an empty cache, too: TensorFlow takes no limit once it has started its threads."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core limits by itself")
    method = compose(["methods=default"]).methods["superpoint_tf"]
    process = Worker("tf", method, Context(1, tmp_path, tmp_path), tmp_path / "logs/tf.log")
    process.warm_up(Size(480, 640))
    assert process.info().threads["intra_op"] == 1
    image = EvaluatedImage("noise", np.random.default_rng(0).integers(0, 255, (480, 640)).astype(np.uint8), np.eye(3))
    busy = psutil.Process(process.pid())
    before = {thread.id: thread.user_time for thread in busy.threads()}
    for _ in range(4):
        process.extract(image)
    # Seconds of each thread: of two that compute none has more than about half.
    spent = [thread.user_time - before.get(thread.id, 0.0) for thread in busy.threads()]
    assert max(spent) > 0.8 * sum(spent) > 0.5
    process.close()


def test_a_model_error_keeps_its_sentence(tmp_path: Path) -> None:
    process = worker(tmp_path, "model")
    with pytest.raises(ModelError, match="cannot run at 64x96; choose another size"):
        process.warm_up(Size(64, 96))
    process.close()


def test_a_killed_worker_is_named_and_can_be_restarted(tmp_path: Path) -> None:
    process = worker(tmp_path, "crash")
    for _ in range(2):
        with pytest.raises(WorkerError, match="killed by SIGKILL during extract.*memory"):
            process.extract(IMAGE)
        with pytest.raises(WorkerError, match="not running"):
            process.extract(IMAGE)
        process.start()
    process.close()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("die_in_reply", "was killed by SIGKILL during extract"),
        ("stop_in_reply", "did not answer extract within 1 s and was stopped"),
        ("silent", "did not answer extract within 1 s and was stopped"),
    ],
)
def test_a_worker_that_ends_or_hangs_within_its_reply_can_be_restarted(
    tmp_path: Path, fault: str, message: str
) -> None:
    process = worker(tmp_path, fault, timeouts=TimeoutsConfig(load_s=60, call_s=1))
    for _ in range(2):
        pid = process.pid()
        start = time.monotonic()
        with pytest.raises(WorkerError, match=message):
            process.extract(IMAGE)
        assert time.monotonic() - start < 5
        assert not Path(f"/proc/{pid}").exists()
        process.start()
        assert process.info().backend == "test"
    process.close()


def test_an_ability_the_method_lacks_is_an_error_that_names_it(tmp_path: Path) -> None:
    process = worker(tmp_path, "none")
    with pytest.raises(WorkerError, match="no attribute 'tensors'"):
        process.call(HasTensors.tensors, IMAGE)
    process.extract(IMAGE)
    process.close()


@pytest.mark.parametrize(("key", "value"), [("load_s", 0.0), ("call_s", 1e6), ("evaluate_s", float("nan"))])
def test_time_limits_have_a_range(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"timeouts.{key}"):
        check(TimeoutsConfig(**{key: value}), "timeouts")


def test_an_unknown_backend_says_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="allowed: tensorflow, openvino, onnxruntime"):
        worker(tmp_path, "none", backend="no_such_module")
