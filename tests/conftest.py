"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["tests.superpoint_method"]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for the whole suite; named files run in this one, where starting others costs more than it saves.

    No test asserts a time; the benchmarks, which do, are named.
    """
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real sequences and models, beside the checkout. Tests that use it skip where it is absent."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("no folder ../shared beside the checkout (real sequences and models)")
    return path
