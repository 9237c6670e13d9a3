"""`bench fetch`: download and verify HPatches or the sp_v6 weights before a run needs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from hydra.core.config_store import ConfigStore

from bench.schema.values import Folder, OneOf

DOWNLOADS = ("hpatches", "sp_v6")


@dataclass
class FetchConfig:
    """`bench fetch`: download, verify and unpack."""

    what: Annotated[str, OneOf(DOWNLOADS)] = "hpatches"
    """hpatches (1.3 GB) | sp_v6 (weights published with rpautrat/SuperPoint)."""
    data_root: Folder = "datasets"
    """Downloads land here."""


def register(store: ConfigStore) -> None:
    """Put the schema of ``conf/fetch.yaml`` into Hydra's ConfigStore."""
    store.store(name="fetch_schema", node=FetchConfig)


def main(config: FetchConfig) -> int:
    """Fetch and print the folder; returns the exit status 0.

    Raises
    ------
    DataError
        If the download fails or is refused.
    """
    from bench.data.download import fetch, read_lock

    lock = read_lock(config.what)
    folder = fetch(lock, Path(config.data_root))
    print(f"{lock.name}: verified, in {folder}\nsource: {lock.source}\nlicence: {lock.licence}")
    return 0
