"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["tests.superpoint_method"]

# Runs of two processes of this suite, or of two suites, do not take turns with each other.
os.environ["BENCH_TURNS"] = tempfile.mkdtemp(prefix="bench-turns-")

# Tests start many interpreters; without bytecode, which images of containers forbid, each compiles the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for the whole suite; named files run in this one, where starting others costs more than it saves.

    No test asserts a time; the benchmarks, which do, are named.
    """
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of networks first: one process gets them, and the other does not import TensorFlow."""
    networks = {"builtin", "superpoint", "make"}

    def elsewhere(item: pytest.Item) -> bool:
        return item.path.parent.name != "models" and networks.isdisjoint(getattr(item, "fixturenames", ()))

    items.sort(key=elsewhere)


def pytest_collection_finish() -> None:
    """What is imported stays: the collector need not look at it again."""
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real sequences and models, beside the checkout. Tests that use it skip where it is absent."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("no folder ../shared beside the checkout (real sequences and models)")
    return path
