"""The data set that a finished run was made of, loaded again."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import DataError, DiskFullError, StoreError
from bench.core.types import DataSet
from bench.data import load
from bench.data.download import ELSEWHERE
from bench.run.manifest import Manifest
from bench.schema import DATASET_CONFIGS, CustomDatasetConfig, DatasetConfig


def recorded_dataset(directory: Path, manifest: Manifest, download: bool = True) -> DataSet:
    """Load the data set of a run.

    Parameters
    ----------
    download : bool
        Whether data that is gone may be downloaded again.

    Raises
    ------
    StoreError
        If it is not one of this version of bench, or has changed since.
    DataError
        If it cannot be read, or not be made again.
    DiskFullError
        If it must be made again and the disk is full.
    """
    recorded = dict(manifest.config.get("dataset", {}))
    if not download and "download" in recorded:
        recorded["download"] = False
    try:
        config: DatasetConfig = DATASET_CONFIGS.get(recorded["kind"], CustomDatasetConfig)(**recorded)
    except (KeyError, TypeError) as error:
        raise StoreError(f"the manifest's data set {recorded} is not of this version of bench ({error})") from error
    root = Path(manifest.config.get("data_root", "datasets"))
    try:
        dataset = load(config, root)
    except (DataError, DiskFullError) as error:
        # What opens a finished run has no key `data_root`: the folder is the one the run recorded.
        before, elsewhere, _ = str(error).partition(ELSEWHERE)
        if not elsewhere:
            raise
        before = before.rstrip("; ").removesuffix(" or").rstrip(",")
        raise type(error)(f"{before}; the run recorded data_root={root}") from error
    if dataset.digest != manifest.dataset.digest:
        raise StoreError(f"the data set {dataset.name} has changed since {directory} was made; restore it")
    return dataset
