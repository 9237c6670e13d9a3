"""Unpacking of downloaded archives: nothing is written outside the folder given, nothing but files and folders."""

from __future__ import annotations

import contextlib
import errno
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from bench.core.errors import DataError

_CHUNK_BYTES = 1 << 20
_MAX_MEMBERS = 20_000
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn write errors into DataError with the next step.

    Raises
    ------
    DataError
        If the disk is full, a quota is exceeded, or `folder` cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DataError(
                f"{folder}: no space left ({error.strerror}); free some space or choose another folder "
                "with data_root=FOLDER"
            ) from error
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}); check its rights or choose another folder with "
            "data_root=FOLDER"
        ) from error


def _safe_name(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name or not path.parts
    if unsafe:
        raise DataError(
            f"{archive}: refused, the entry {name!r} would be written outside the target folder; delete the archive "
            "and download it from the source named in docs/datasets.md"
        )
    return path


def _refuse(archive: Path, name: str, what: str) -> DataError:
    return DataError(
        f"{archive}: refused, the entry {name!r} is {what}; only files and folders are unpacked; delete the archive "
        "and download it from the source named in docs/datasets.md"
    )


def _too_many(archive: Path) -> DataError:
    return DataError(f"{archive}: refused, it holds more than {_MAX_MEMBERS} entries; check its source")


def _zip_entries(archive: Path, zipped: zipfile.ZipFile) -> Iterator[tuple[PurePosixPath, IO[bytes] | None]]:
    if len(zipped.infolist()) > _MAX_MEMBERS:
        raise _too_many(archive)
    for info in zipped.infolist():
        path = _safe_name(info.filename, archive)
        mode = stat.S_IFMT(info.external_attr >> 16)
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refuse(archive, info.filename, "a link or a device")
        if info.flag_bits & 0x1:
            raise _refuse(archive, info.filename, "encrypted")
        if info.is_dir():
            yield path, None
        else:
            with zipped.open(info) as stream:
                yield path, stream


def _tar_entries(archive: Path, tar: tarfile.TarFile) -> Iterator[tuple[PurePosixPath, IO[bytes] | None]]:
    for member in tar:
        if member.isdir() and PurePosixPath(member.name).parts in ((), (".",)):
            continue
        path = _safe_name(member.name, archive)
        if member.isdir():
            yield path, None
        elif member.isreg():
            stream = tar.extractfile(member)
            if stream is not None:
                yield path, stream
        else:
            raise _refuse(archive, member.name, "a link or a device")


def _write_all(
    entries: Iterator[tuple[PurePosixPath, IO[bytes] | None]], archive: Path, folder: Path, max_bytes: int
) -> None:
    total = 0
    for number, (name, stream) in enumerate(entries):
        if number >= _MAX_MEMBERS:
            raise _too_many(archive)
        target = folder / name
        with disk_errors(folder):
            (target if stream is None else target.parent).mkdir(parents=True, exist_ok=True)
        if stream is None:
            continue
        try:
            file = target.open("xb")
        except FileExistsError as error:
            raise DataError(f"{archive}: refused, the entry {str(name)!r} occurs twice; check its source") from error
        with file:
            # Counted while writing: the sizes an archive declares can lie.
            while chunk := stream.read(_CHUNK_BYTES):
                total += len(chunk)
                if total > max_bytes:
                    raise DataError(f"{archive}: refused, it unpacks to more than {max_bytes} bytes; check its source")
                with disk_errors(folder):
                    file.write(chunk)
            with disk_errors(folder):
                file.flush()


def unpack(archive: Path, folder: Path, max_bytes: int) -> None:
    """Unpack a zip or (compressed) tar archive into an empty folder.

    Parameters
    ----------
    archive : Path
    folder : Path
        Exists and is empty; after an error its content is undefined, so unpack into a temporary folder.
    max_bytes : int
        Largest sum of file sizes.

    Raises
    ------
    DataError
        If the archive is truncated, damaged or of another type; if an entry is absolute, contains ``..``, a backslash
        or a colon, is a link, a device or encrypted, or occurs twice; if there are too many entries or bytes; if the
        disk is full.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                _write_all(_zip_entries(archive, zipped), archive, folder, max_bytes)
        else:
            with tarfile.open(archive) as tar:
                _write_all(_tar_entries(archive, tar), archive, folder, max_bytes)
                # The compressor's checksum is compared only when its stream is read to the end.
                while tar.fileobj is not None and tar.fileobj.read(_CHUNK_BYTES):
                    pass
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError, OSError) as error:
        raise DataError(
            f"{archive}: not a complete zip or tar archive ({error}); delete it and run again to download it anew"
        ) from error
