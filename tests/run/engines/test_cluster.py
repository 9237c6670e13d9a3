"""A run over the nodes of a cluster equals the run of one host, also where nodes and the driver are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.core.files import read_json
from tests.run.engines.nodes import add_node, cluster

pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = [pytest.mark.extras, pytest.mark.slow]
ROOT = Path(__file__).parents[3]
OVERRIDES = [
    *("dataset=photos", "dataset.height=128", "dataset.width=160", "dataset.viewpoint_sequences=2"),
    *("dataset.illumination_sequences=2", "protocol.image.policy=original", "protocol.estimator.repeats=2"),
    *("methods=classical", "methods.drop=[akaze,brisk,kaze,rootsift]", "threads=1", "bootstrap_draws=100"),
    *("latency=off", "latency.block=1"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with cluster(3) as found:
        yield found


def start(place: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench", "-v", *OVERRIDES, *overrides]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BENCH_CACHE": str(place / "cache")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=place, env=environment, **pipes)  # type: ignore[call-overload,no-any-return]


def finish(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=500)
    assert process.returncode == 0, text
    return text


@pytest.fixture(scope="module")
def local(place: Path) -> pd.DataFrame:
    finish(start(place, "run_dir=local"))
    return pd.read_parquet(place / "local/pairs.parquet")


def when(directory: Path, pattern: str, count: int, act: Callable[[], object]) -> threading.Thread:
    """Act as soon as so many files of a run are there."""

    def watch() -> None:
        for _ in range(5000):
            if len(list(directory.glob(pattern))) >= count:
                act()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def assert_same(local: pd.DataFrame, directory: Path) -> None:
    """Every column but times, bit for bit; and the run is whole."""
    found = pd.read_parquet(directory / "pairs.parquet")
    assert list(found) == list(local) and len(found) == len(local)
    for name in local:
        if not name.endswith("_ms"):
            for ours, theirs in zip(local[name], found[name], strict=True):
                a, b = np.asarray(ours), np.asarray(theirs)
                assert a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name
    manifest = read_json(directory / "manifest.json")
    assert manifest["status"] == "complete" and len(manifest["sessions"]) == 1 and manifest["died"] == []
    times = pd.read_parquet(directory / "times.parquet")
    extracted = times[times["stage"] == "infer"]
    assert not extracted.duplicated(["method", "item"]).any()
    assert set(extracted["method"]) == set(local["method"])


def test_a_run_on_three_nodes_equals_the_local_one(place: Path, local: pd.DataFrame, nodes: Any) -> None:
    finish(start(place, "engine=ray", f"engine.address={nodes.address}", "run_dir=whole"))
    assert_same(local, place / "whole")


def test_nodes_that_are_lost_lose_nothing(place: Path, local: pd.DataFrame, nodes: Any) -> None:
    directory = place / "killed"
    workers = [node for node in nodes.list_all_nodes() if node is not nodes.head_node]
    first = when(directory, "features/*/*/*.npz", 2, lambda: nodes.remove_node(workers[0], allow_graceful=False))
    second = when(directory, "parts/rows/*.parquet", 1, lambda: nodes.remove_node(workers[1], allow_graceful=False))
    text = finish(start(place, "engine=ray", f"engine.address={nodes.address}", f"run_dir={directory}"))
    first.join(1)
    second.join(1)
    assert not first.is_alive() and not second.is_alive(), text
    assert len(nodes.list_all_nodes()) == 1
    assert_same(local, directory)


def test_a_driver_that_is_killed_is_continued(place: Path, local: pd.DataFrame, nodes: Any) -> None:
    for _ in range(2 - len(nodes.list_all_nodes())):
        add_node(nodes)
    directory = place / "driver"
    arguments = ("engine=ray", f"engine.address={nodes.address}", f"run_dir={directory}")
    driver = start(place, *arguments)
    when(directory, "features/*/*/*.npz", 2, lambda: driver.send_signal(signal.SIGKILL)).join(300)
    driver.communicate(timeout=60)
    assert driver.returncode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in directory.glob("features/*/*/*.npz")}
    assert kept and not (directory / "pairs.parquet").exists()
    assert "continuing" in finish(start(place, *arguments))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert_same(local, directory)
