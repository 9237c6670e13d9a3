"""What lies in a folder of results and in the cache: for lists, and for what may be deleted."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import StoreError
from bench.core.files import LOCK
from bench.core.resources import DATASETS
from bench.core.usage import is_locked
from bench.run.manifest import NAME, Manifest, read_manifest

PREFIX = "multirun_"
"""Of the folder of a multirun."""
FINISHED, UNFINISHED, DAMAGED, RUNNING = "finished", "unfinished", "damaged", "running"
KINDS = {
    DATASETS: "rendered data set",
    "ir": "OpenVINO model",
    "mnn": "MNN model",
    "ncnn": "ncnn model",
    "tflite": "LiteRT model",
    "onnx": "ONNX model",
    "savedmodels": "SavedModel",
    "weights": "weights",
}
"""Folder in the cache -> what its entries are."""
_KEYED = re.compile(r"(.+-)?[0-9a-f]{12,}(-.+)?")


@dataclass(frozen=True)
class Listed:
    """A folder with a manifest.

    Attributes
    ----------
    path : Path
    name : str
        Relative to the folder of results.
    status : str
        ``finished`` | ``unfinished`` (killed or failed; it can be continued) | ``damaged`` | ``running`` (a living
        process holds its lock), or what else it is: a sweep or a parity report.
    dataset, protocol, date : str
    methods : tuple of str
    size, features : int
        Bytes, links not followed.
    ours : bool
        Whether it may be deleted: a folder, no link, with a manifest and checksums that can be read.
    process : int or None
        Of a running one.
    """

    path: Path
    name: str
    status: str
    dataset: str = ""
    protocol: str = ""
    date: str = ""
    methods: tuple[str, ...] = ()
    size: int = 0
    features: int = 0
    ours: bool = False
    process: int | None = None


@dataclass(frozen=True)
class CacheEntry:
    """A folder in the cache: what it is, its bytes, and the time of its last change."""

    path: Path
    kind: str
    size: int
    changed: str


def runs_in(results: Path) -> list[Listed]:
    """Runs of a folder and of the multiruns in it, the oldest first."""
    found = [listed(path.parent, results) for path in results.glob(f"*/{NAME}")]
    found += [listed(path.parent, results) for path in results.glob(f"{PREFIX}*/*/{NAME}")]
    return sorted(found, key=lambda each: (each.date, each.name))


def listed(path: Path, results: Path) -> Listed:
    """What one folder with a manifest is."""
    name, size, features = path.relative_to(results).as_posix(), size_of(path), size_of(path / "features")
    holder = is_locked(path / LOCK)
    try:
        raw = json.loads((path / NAME).read_bytes())
        if not isinstance(raw, dict) or "schema_version" not in raw:
            kind = str(raw.get("kind") or ("sweep" if "table" in raw or "sweep" in path.name else "other"))
            date = str(raw.get("started") or _changed(path))[:16].replace("T", " ")
            return Listed(path, name, kind, date=date, size=size)
        manifest = read_manifest(path)
    except (OSError, ValueError, AttributeError, StoreError):
        return Listed(path, name, DAMAGED, date=_changed(path), size=size, process=holder)
    missing = [each for each in ("pairs.parquet", "times.parquet") if not (path / each).is_file()]
    status = DAMAGED if manifest.complete and missing else FINISHED if manifest.complete else UNFINISHED
    return Listed(
        path,
        name,
        RUNNING if holder is not None else status,
        _data(manifest),
        manifest.protocol.name,
        str(manifest.started or "")[:16].replace("T", " "),
        tuple(manifest.methods or manifest.config.get("methods") or ()),
        size,
        features,
        not (path.is_symlink() or path.parent.is_symlink()),
        holder,
    )


def _data(manifest: Manifest) -> str:
    """Name of a run's data set, and which shard of it, or of how many it was merged."""
    name = manifest.dataset.name
    if manifest.dataset.whole is not None:
        return f"{name} (shard {manifest.dataset.whole.shard})"
    return f"{name} (merged from {len(manifest.shards)})" if manifest.shards else name


def cache_entries(cache: Path) -> Iterator[CacheEntry]:
    """Entries of the cache that bench made: folders named by a digest in a folder of :data:`KINDS`; no links."""
    for folder, kind in KINDS.items():
        if (cache / folder).is_symlink() or not (cache / folder).is_dir():
            continue
        for path in sorted((cache / folder).iterdir()):
            if _KEYED.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                yield CacheEntry(path, kind, size_of(path), _changed(path))


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder; links are not followed."""
    if folder.is_symlink():
        return 0
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += (Path(place) / name).lstat().st_size
            except OSError:  # gone since it was listed
                continue
    return total


def megabytes(size: int) -> str:
    """Size for a table: ``0.4``, ``12``."""
    return f"{size / 1e6:.1f}" if size < 10e6 else f"{size / 1e6:.0f}"


def _changed(path: Path) -> str:
    return datetime.datetime.fromtimestamp(path.lstat().st_mtime, datetime.UTC).strftime("%Y-%m-%d %H:%M")
