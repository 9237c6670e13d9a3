"""The examples in the docstrings of metrics and statistics run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import bench.metrics
import bench.stats

MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (bench.metrics, bench.stats)
    for module in pkgutil.iter_modules(package.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    counts = [sum(bool(t.examples) for t in finder.find(importlib.import_module(name))) for name in MODULES]
    assert sum(counts) >= 10
