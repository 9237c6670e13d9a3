"""A data set from outside the package, for tests of shards."""

from __future__ import annotations

from pathlib import Path

from bench.core.types import DataSet
from bench.data import load as load_known
from bench.schema import CustomDatasetConfig, HPatchesConfig


def load(config: CustomDatasetConfig, root: Path) -> DataSet:
    return load_known(HPatchesConfig(root=config.root, subset="all"), root)
