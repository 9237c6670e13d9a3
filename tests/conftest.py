"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["tests.superpoint_method"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real sequences and models, beside the checkout. Tests that use it skip where it is absent."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("no folder ../shared beside the checkout (real sequences and models)")
    return path
