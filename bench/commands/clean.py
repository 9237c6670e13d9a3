"""`bench clean`: delete runs that were not finished, stored features, or the cache; say first what that would be."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

from omegaconf import MISSING

from bench.core.errors import BenchError, StoreError
from bench.core.files import LOCK, locked, seal
from bench.core.usage import unused
from bench.run.inventory import FINISHED, UNFINISHED, cache_entries, listed, megabytes, runs_in
from bench.run.manifest import read_manifest
from bench.run.store import RunStore
from bench.schema.options import Cleaned
from bench.schema.values import Folder, Items


@dataclass
class CleanConfig:
    """`bench clean`: delete what was not finished, features, or the cache; nothing goes before you agree."""

    what: Annotated[list[Cleaned], Items(1)] = field(default_factory=lambda: [Cleaned.unfinished])
    """unfinished (runs that were killed or failed) | features (keypoints and descriptors of finished runs, which `bench
    export` needs) | cache (rendered data sets, exported and converted models, which are made again when needed)."""
    results: Folder = "results"
    """Where the runs lie."""
    cache: Folder = MISSING
    """Folder of the cache."""
    yes: bool = False
    """Delete without asking; without it, and without a terminal to ask in, nothing is deleted."""


@dataclass(frozen=True)
class _Item:
    what: str
    path: Path
    size: int
    why: str
    delete: Callable[[], None]


def main(config: CleanConfig) -> int:
    """List what would go, ask, delete; 1 if something could not be deleted.

    Links are not followed; a run whose lock another process holds, a damaged one, a cache that is in use, and whatever
    bench does not recognise as its own stay.
    """
    items = list(_items(config))
    if not items:
        print(f"nothing to clean: {', '.join(config.what)}")
        return 0
    for item in items:
        print(f"{megabytes(item.size):>7} MB  {item.what:<11} {item.path}  ({item.why})")
    total = f"{len(items)} entr{'y' if len(items) == 1 else 'ies'}, {megabytes(sum(item.size for item in items))} MB"
    if not (config.yes or _agreed(total)):
        print(f"nothing was deleted: {total}; yes=true deletes them")
        return 0
    kept = 0
    for item in items:
        try:
            item.delete()
        except (BenchError, OSError) as error:
            kept += 1
            print(f"kept {item.path}: {error}")
    print(f"deleted {len(items) - kept} of {total}")
    return 1 if kept else 0


def _agreed(total: str) -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input(f"delete {total}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _items(config: CleanConfig) -> Iterator[_Item]:
    results, cache = Path(config.results), Path(config.cache)
    wanted = {Cleaned.unfinished, Cleaned.features} & set(config.what)
    for found in runs_in(results) if wanted else []:
        said = f"{found.dataset}, {found.protocol}, started {found.date} UTC"
        if Cleaned.unfinished in config.what and found.status == UNFINISHED and found.ours:
            yield _Item("unfinished", found.path, found.size, said, partial(_delete_run, found.path, results))
        if Cleaned.features in config.what and found.status == FINISHED and found.ours and found.features:
            remove = partial(_delete_features, found.path, results)
            yield _Item("features", found.path / "features", found.features, said, remove)
    if Cleaned.cache in config.what:
        for entry in cache_entries(cache):
            said = f"{entry.kind}, {entry.changed} UTC"
            yield _Item("cache", entry.path, entry.size, said, partial(_delete_entry, cache, entry.path))


def _delete_run(path: Path, results: Path) -> None:
    _still(path, results, UNFINISHED)
    with locked(path / LOCK):  # nobody continues it meanwhile
        if read_manifest(path).complete:
            raise StoreError("it is finished by now")
        _remove(path)


def _delete_features(path: Path, results: Path) -> None:
    _still(path, results, FINISHED)
    if (path / "features").is_symlink():
        raise StoreError("its features are a link")
    with locked(path / LOCK):
        RunStore(path).drop_features()
        seal(path)


def _delete_entry(cache: Path, path: Path) -> None:
    with unused(cache):
        _remove(path)


def _still(path: Path, results: Path, status: str) -> None:
    """Time has passed since it was listed, and somebody was asked."""
    found = listed(path, results)
    if found.status != status or not found.ours:
        raise StoreError(f"it is {found.status} by now")


def _remove(folder: Path) -> None:
    """Take a folder away in one step, so that no half of it is ever found, then delete it."""
    if folder.is_symlink() or not folder.is_dir():
        raise StoreError("it is a link, or no folder any more")
    aside = folder.with_name(f".{folder.name[:40]}.tmp-deleted")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(aside)
