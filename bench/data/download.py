"""Downloads: fetched once, verified against a lock file that ships with the package before they are unpacked."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from bench.core.errors import DataError, DiskFullError, DownloadError, StoreError
from bench.core.files import locked, staged_folder
from bench.core.progress import quiet
from bench.core.resources import resource

_MARKER = ".verified.json"
_TIMEOUT_S = 60
ELSEWHERE = "choose another folder with data_root=FOLDER"
"""What a sentence about a folder that cannot be written ends in."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn write errors into one sentence with the next step.

    Raises
    ------
    DiskFullError
        If the disk is full or a quota is exceeded.
    DataError
        If `folder` cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DiskFullError(
                f"{folder}: no space left ({error.strerror}); free some space or {ELSEWHERE}"
            ) from error
        reason = f"cannot be written ({error.strerror or error}); check its rights or {ELSEWHERE}"
        raise DataError(f"{folder}: {reason}") from error


@dataclass(frozen=True, slots=True)
class Lock:
    """Identity of one download (``datasets/<name>.json``).

    Attributes
    ----------
    name : str
        Folder below the data root.
    urls : tuple of str
        Tried in this order; all serve the same bytes.
    file : str
        File name of the archive.
    size_bytes : int or None
    sha256 : str or None
        Of the archive.
    git_blob : str or None
        SHA-1 over ``blob <size>\\0`` and the archive, as git names it.
    folder : str
        Folder inside the archive that becomes ``<data_root>/<name>``.
    requires : tuple of str
        Files that must be in it.
    unpacked_max_bytes : int
    licence, source : str
    """

    name: str
    urls: tuple[str, ...]
    file: str
    size_bytes: int | None
    sha256: str | None
    git_blob: str | None
    folder: str
    requires: tuple[str, ...]
    unpacked_max_bytes: int
    licence: str
    source: str


def parse_lock(text: str, where: str) -> Lock:
    """Read a lock file.

    Raises
    ------
    DataError
        If a key is missing, or neither ``sha256`` nor ``git_blob`` is given.
    """
    try:
        raw = json.loads(text)
        raw = {key: raw[key] for key in Lock.__dataclass_fields__}
        lock = Lock(**(raw | {"urls": tuple(raw["urls"]), "requires": tuple(raw["requires"])}))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: not a lock file ({error!r}); reinstall the package") from error
    if lock.sha256 is None and lock.git_blob is None:
        raise DataError(f"{where}: neither sha256 nor git_blob is given; a download without a checksum is refused")
    return lock


def read_lock(name: str) -> Lock:
    """Read the lock of `name` (``hpatches``, ``sp_v6``) that ships with the package.

    Raises
    ------
    DataError
        If there is none.
    """
    path = resource("datasets") / f"{name}.json"
    if not path.is_file():
        raise DataError(f"{path}: no lock file for {name!r}; downloads known: hpatches, sp_v6")
    return parse_lock(path.read_text(encoding="utf-8"), str(path))


def verify(path: Path, lock: Lock) -> str | None:
    """Compare an archive with its lock.

    Returns
    -------
    str or None
        None if size and checksums agree, else what differs.
    """
    size = path.stat().st_size
    if lock.size_bytes is not None and size != lock.size_bytes:
        return f"size {size} bytes, expected {lock.size_bytes}"
    sha256, blob = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            blob.update(chunk)
    for kind, expected, found in (
        ("sha256", lock.sha256, sha256.hexdigest()),
        ("git blob", lock.git_blob, blob.hexdigest()),
    ):
        if expected is not None and found != expected:
            return f"{kind} {found}, expected {expected}"
    return None


class _Bar:
    """A rich progress bar with rate and ETA behind the interface pooch expects of tqdm."""

    def __init__(self, description: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=quiet(),
        )
        self._task = self._progress.add_task(description, total=None)

    @property
    def total(self) -> float | None:
        return self._progress.tasks[0].total

    @total.setter
    def total(self, value: int) -> None:
        self._progress.update(self._task, total=value or None)

    def update(self, n: int) -> None:
        self._progress.update(self._task, advance=n)

    def reset(self) -> None:
        total = self._progress.tasks[0].total
        self._progress.reset(self._task, total=total)

    def close(self) -> None:
        self._progress.stop()

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def by_hand(lock: Lock, downloads: Path) -> str:
    """How to get the archive without this program; begins a sentence."""
    return f"download {lock.urls[0]} by other means, put the file at {downloads / lock.file} and run again"


def _download(lock: Lock, path: Path) -> None:
    """Download from the first URL that gives the right bytes."""
    import pooch
    import requests

    failures = []
    for url in lock.urls:
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with disk_errors(path.parent), _Bar(f"Downloading {lock.file}") as bar:
                downloader: Any = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 20, timeout=_TIMEOUT_S)
                try:
                    downloader(url, str(part), None)
                except (requests.RequestException, ValueError) as error:
                    failures.append(f"{urlsplit(url).netloc}: {_reason(error)}")
                    continue
            difference = verify(part, lock)
            if difference is None:
                part.replace(path)
                return
            failures.append(f"{urlsplit(url).netloc}: {difference}")
        finally:
            part.unlink(missing_ok=True)
    hint = by_hand(lock, path.parent)
    raise DownloadError(f"{hint[0].upper()}{hint[1:]}: {lock.name} could not be downloaded ({'; '.join(failures)})")


def _reason(error: Exception) -> str:
    """The innermost cause in a few words; urllib3 wraps it in several layers."""
    response = getattr(error, "response", None)
    return f"status {response.status_code}" if response is not None else f"{type(error).__name__}"


def _check_space(lock: Lock, root: Path, *, archive_there: bool) -> None:
    needed = lock.unpacked_max_bytes + (0 if archive_there else lock.size_bytes or 0)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DiskFullError(
            f"{root}: {lock.name} needs up to {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; "
            f"free some space or {ELSEWHERE}"
        )


def is_complete(target: Path, lock: Lock) -> bool:
    """Whether `target`, ``<data_root>/<name>``, holds the unpacked and verified download."""
    try:
        marker = json.loads((target / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    identity = {"sha256": lock.sha256, "git_blob": lock.git_blob}
    return marker == identity and all((target / name).is_file() for name in lock.requires)


def _in_the_way(target: Path, lock: Lock) -> DataError:
    return DataError(
        f"{target}: exists but is not a complete download of {lock.name}; move it away, or use it as it is "
        f"({'model=path model.path' if lock.name == 'sp_v6' else 'dataset.root'}={target})"
    )


def _unpack(archive: Path, folder: Path, lock: Lock) -> None:
    """Unpack a verified archive; its checksum says what is in it, and the standard library keeps it in the folder."""
    with disk_errors(folder):
        try:
            if zipfile.is_zipfile(archive):
                shutil.unpack_archive(archive, folder, "zip")
            else:
                with tarfile.open(archive) as tar:
                    tar.extractall(folder, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise DataError(
                f"{archive}: not a zip or tar archive ({error}); check datasets/{lock.name}.json"
            ) from error


def _unpack_into(archive: Path, target: Path, lock: Lock) -> None:
    try:
        with locked(target.with_name(f".{lock.name}.lock"), wait=True):
            if is_complete(target, lock):  # another process finished first
                return
            if target.exists():
                raise _in_the_way(target, lock)
            with staged_folder(target) as work:
                _unpack_checked(archive, work, lock)
    except DiskFullError as error:
        raise DiskFullError(f"{error}, or {ELSEWHERE}") from error
    except StoreError as error:
        raise DataError(f"{error} with data_root=FOLDER") from error


def _unpack_checked(archive: Path, work: Path, lock: Lock) -> None:
    """Unpack into `work`, look for the required files, bring the wanted folder's content to the top, mark it."""
    inside = work / ".unpacked"
    with disk_errors(work.parent):
        inside.mkdir()
    _unpack(archive, inside, lock)
    folder = inside / lock.folder if (inside / lock.folder).is_dir() else inside
    missing = [name for name in lock.requires if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{archive}: unpacked, but {', '.join(missing)} is not in it; check datasets/{lock.name}.json")
    with disk_errors(work.parent):
        for item in folder.iterdir():
            item.rename(work / item.name)
        shutil.rmtree(inside)
        marker = {"sha256": lock.sha256, "git_blob": lock.git_blob}
        (work / _MARKER).write_text(json.dumps(marker), encoding="utf-8")


def fetch(lock: Lock, root: Path) -> Path:
    """Return the folder of a verified download, downloading and unpacking it on first use.

    An archive at ``<root>/downloads/<file>`` is used instead of the network if its checksum is right; it is deleted
    once it is unpacked.

    Parameters
    ----------
    lock : Lock
    root : Path
        Data root; the result is ``<root>/<lock.name>``.

    Raises
    ------
    DataError
        If no URL gives the right bytes, the archive lacks a file, or `root` cannot be written.
    DiskFullError
        If there is not enough space for it.
    """
    target = root / lock.name
    if is_complete(target, lock):
        return target
    if target.exists():
        raise _in_the_way(target, lock)
    downloads = root / "downloads"
    with disk_errors(root):
        downloads.mkdir(parents=True, exist_ok=True)
    archive = downloads / lock.file
    _check_space(lock, root, archive_there=archive.is_file())
    if archive.is_file():
        difference = verify(archive, lock)
        if difference is not None:
            raise DataError(
                f"{archive}: wrong checksum: {difference}; delete it and run again to download it, "
                f"or {by_hand(lock, downloads)}"
            )
    else:
        _download(lock, archive)
    _unpack_into(archive, target, lock)
    archive.unlink(missing_ok=True)
    return target
