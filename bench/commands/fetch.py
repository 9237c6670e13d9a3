"""`bench fetch`: download and verify HPatches or the sp_v6 weights before a run needs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from bench.schema.values import Folder, OneOf

DOWNLOADS = ("hpatches", "sp_v6")


@dataclass
class FetchConfig:
    """`bench fetch`: download, verify and unpack."""

    what: Annotated[str, OneOf(DOWNLOADS)] | None = None
    """hpatches (1.3 GB) | sp_v6 (weights published with rpautrat/SuperPoint); null: say what there is, download
    nothing."""
    data_root: Folder = "datasets"
    """Downloads land here."""


def main(config: FetchConfig) -> int:
    """Fetch and print the folder, or without ``what`` print what can be fetched; returns the exit status 0.

    Raises
    ------
    DataError
        If the download fails or is refused.
    """
    from bench.data.download import fetch, is_complete, read_lock

    root = Path(config.data_root)
    if config.what is None:
        for lock in map(read_lock, DOWNLOADS):
            size = "size not published" if lock.size_bytes is None else f"{lock.size_bytes / 1e9:.2f} GB"
            at_most = f"{size}, unpacked at most {lock.unpacked_max_bytes / 1e9:.1f} GB"
            there = f"there already, in {root / lock.name}" if is_complete(root / lock.name, lock) else "not here yet"
            print(f"bench fetch what={lock.name}\n  {lock.file}: {at_most}; {there}")
            print(f"  licence: {lock.licence}\n  source: {lock.source}")
        return 0
    lock = read_lock(config.what)
    folder = fetch(lock, root)
    print(f"{lock.name}: verified, in {folder}\nsource: {lock.source}\nlicence: {lock.licence}")
    return 0
