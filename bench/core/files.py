"""Reading and writing files: whole or not at all, with a checksum where the folder has a list of them, on disk when the
call returns, and one sentence where it fails.

A file or folder is made under a temporary name beside its place and renamed. Its maker holds a lock on it, which ends
with the process; what carries such a name and no lock was left by a killed process and is swept away.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import errno
import hashlib
import io
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.core import checksums
from bench.core.checksums import LEDGER
from bench.core.errors import DiskFullError, StoreError

if TYPE_CHECKING:
    import pandas as pd

_TEMPORARY = ".tmp-"
_ASIDE = ".old-"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (*_FULL, errno.EACCES, errno.EPERM, errno.EROFS)
_EXCHANGE = 2
_SYNCED_TOGETHER = 8
_CURRENT_FOLDER = -100


def write_error(path: Path, error: OSError) -> StoreError:
    """The sentence for a failed write."""
    if error.errno in _FULL:
        return DiskFullError(f"the disk is full while writing {path}; free some space and repeat the command")
    where = f" ({error.filename})" if error.filename and Path(error.filename) != path else ""
    return StoreError(
        f"cannot write {path}: {error.strerror or error}{where}; make it writable or choose another folder"
    )


def disk_is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room for another file: less than a megabyte, or no entry for its name."""
    if not hasattr(os, "statvfs"):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize < 1_000_000 or (found.f_files > 0 and found.f_favail == 0)


@contextlib.contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when the block ends without an error.

    Raises
    ------
    StoreError
        If the folder cannot be written or the disk is full; an existing file at `path` is left as it was.
    """
    temporary: Path | None = None
    try:
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path))
        temporary = Path(name)
        with os.fdopen(handle, "r+b") as file:
            _hold(handle)
            yield temporary
            os.fsync(file.fileno())
            temporary.chmod(0o644)
            ledger = None if path.name == LEDGER else checksums.find(path)
            if ledger is not None:
                ledger.append((path.absolute(), checksums.digest_of(temporary)))
            temporary.replace(path)
            temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def staged_folder(target: Path, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder to fill; it becomes `target` when the block ends without an error.

    An existing `target` is exchanged in one step where the system can do that (Linux), so that at every moment either
    the old or the new one stands there, complete. Elsewhere the old one is put aside in between; `recover_folder`,
    which this calls first, takes it back after a kill.

    Raises
    ------
    StoreError
        If `target` exists and `replace` is false, it cannot be written, or the disk is full. An existing one is left as
        it was.
    """
    staging: Path | None = None
    handle = -1
    try:
        make_folder(target.parent)
        recover_folder(target)
        staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target)))
        handle = os.open(staging, os.O_RDONLY)
        _hold(handle)
    except OSError as error:
        raise write_error(target, error) from error
    try:
        yield staging
        _sync_tree(staging)
        staging.chmod(0o755)
        if target.exists() and not replace:
            raise StoreError(f"{target} exists; choose another place")
        if not target.exists():
            staging.rename(target)
        elif not _exchange(staging, target):
            aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target, _ASIDE)))
            target.rename(aside)
            staging.rename(target)
            shutil.rmtree(aside, ignore_errors=True)
        _sync_folder(target.parent)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _REFUSED:
            raise write_error(target, error) from error
        # A library reports a full disk in its own words; asked here, where what it wrote may still be there.
        full = os.strerror(errno.ENOSPC) in str(error) or disk_is_full(staging)
        if full and not isinstance(error, DiskFullError):
            raise write_error(target, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
        raise
    finally:
        os.close(handle)
        shutil.rmtree(staging, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Undo what a killed `staged_folder` left beside `target`: sweep its temporary folders, take the old one back."""
    for folder in sorted(target.parent.glob(f"{_glob(target, _ASIDE)}*")):
        if target.exists():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder.rename(target)
    for folder in target.parent.glob(f"{_glob(target, _TEMPORARY)}*"):
        _remove_dead(folder)


def sweep(directory: Path) -> None:
    """Remove the temporary files of killed writes below a folder; those of living processes stay."""
    for path in sorted(directory.rglob(f".*{_TEMPORARY}*"), reverse=True):
        _remove_dead(path)


def is_leftover(path: Path) -> bool:
    """Whether a file is what a killed first write leaves in an otherwise empty folder."""
    name = path.name
    return name in (LEDGER, LOCK) or _TEMPORARY in name or name.startswith(".manifest.json.")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, on disk when this returns."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        if folder.parent == folder:
            break
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync_folder(each.parent)


def new_directory(parent: Path, prefix: str = "") -> Path:
    """Make ``<parent>/<prefix><date_time>``, or with a number behind it where that exists; no two calls get the same.

    Raises
    ------
    StoreError
        If `parent` cannot be written.
    """
    for path in _stamped(parent, prefix):
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError:
            if not parent.is_dir():
                raise StoreError(f"cannot write {path}: {parent} is a file; choose another folder") from None
        except OSError as error:
            raise write_error(path, error) from error
        else:
            return path
    raise AssertionError("there is always another number")


def new_name(parent: Path) -> Path:
    """Name that :func:`new_directory` would take; nothing is made."""
    return next(path for path in _stamped(parent, "") if not path.exists())


def _stamped(parent: Path, prefix: str) -> Iterator[Path]:
    """Names of new directories: the time, then with a number behind it."""
    stamp = f"{prefix}{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"
    for number in itertools.count(1):
        yield parent / (stamp if number == 1 else f"{stamp}_{number}")


LOCK = ".lock"
"""Name of the lock of a run directory."""


@contextlib.contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path`; it holds this process's id and goes when the block or the process ends, however.

    Parameters
    ----------
    wait : bool
        Wait for another holder instead of refusing.

    Raises
    ------
    StoreError
        If another process holds it, with its id; or if it cannot be made.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no flock; two processes in one folder are then not told apart
        yield
        return
    try:
        make_folder(path.parent)
        while True:
            file = path.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip()
                file.close()
                who = f"process {holder}" if holder else "another process"
                raise StoreError(f"{path.parent} is in use by {who}; wait until it ends, or stop it") from None
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
            file.close()  # its last holder removed the name; take the lock of a new one
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    except OSError as error:
        raise write_error(path, error) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary file in the same folder.

    Raises
    ------
    StoreError
        If the folder cannot be written or the disk is full; an existing file at `path` is left as it was.
    """
    with staged_file(path) as temporary:
        temporary.write_bytes(data)


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write several files as :func:`write_atomic` does, with fewer waits for the disk.

    Their contents are synced side by side, their entries in the list of checksums and their folders once. A kill leaves
    some of them, each whole.

    Raises
    ------
    StoreError
        If a folder cannot be written or the disk is full; files that are there already stay as they were.
    """
    from concurrent.futures import ThreadPoolExecutor

    made: dict[Path, Path] = {}
    handles: list[int] = []
    path = next(iter(files), Path())
    try:
        for folder in dict.fromkeys(path.parent for path in files):
            path = folder
            make_folder(folder)
        for path, data in files.items():
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path))
            handles.append(handle)
            made[path] = Path(name)
            _hold(handle)
            made[path].write_bytes(data)
            made[path].chmod(0o644)
        with ThreadPoolExecutor(_SYNCED_TOGETHER) as pool:
            list(pool.map(os.fsync, handles))
        entries: dict[Path, tuple[checksums.Ledger, list[tuple[Path, str]]]] = {}
        for path in made:
            ledger = checksums.find(path)
            if ledger is not None:
                digest = hashlib.sha256(files[path]).hexdigest()
                entries.setdefault(ledger.root, (ledger, []))[1].append((path.absolute(), digest))
        for ledger, listed in entries.values():
            ledger.append(*listed)
        for path in list(made):
            made[path].replace(path)
            del made[path]
        for folder in dict.fromkeys(path.parent for path in files):
            _sync_folder(folder)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        for handle in handles:
            os.close(handle)
        for temporary in made.values():
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write JSON in the order given (methods keep theirs); infinities and NaN are refused."""
    write_atomic(path, json_bytes(content))


def json_bytes(content: object) -> bytes:
    """JSON as :func:`write_json` writes it."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def plain(value: Any) -> Any:
    """Turn mappings, tuples, arrays and infinities into what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, Path):
        return str(value)
    return value


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    write_atomic(path, buffer.getvalue())


def read_bytes(path: Path) -> bytes:
    """Read a file that bench wrote; where its folder has a list of checksums, its content is compared with it.

    Raises
    ------
    StoreError
        If it is missing, not listed, or not as it was written.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error
    ledger = checksums.find(path)
    if ledger is not None:
        ledger.check(path.absolute(), data)
    return data


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    StoreError
        If the file is missing, not as it was written, or not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"cannot read {path}: {error}") from error


def read_parquet(path: Path, columns: Sequence[str] = (), only: Callable[[str], bool] | None = None) -> pd.DataFrame:
    """Read a Parquet file.

    Parameters
    ----------
    columns : sequence of str
        Columns it must have.
    only : callable, optional
        Says of a column's name whether it is read.

    Raises
    ------
    StoreError
        If the file is missing, not as it was written, not Parquet, or lacks a column.
    """
    import pandas as pd  # a third of a second

    data = read_bytes(path)
    try:
        kept = None
        if only is not None:
            import pyarrow.parquet

            kept = [name for name in pyarrow.parquet.read_schema(io.BytesIO(data)).names if only(name)]
        frame = pd.read_parquet(io.BytesIO(data), columns=kept)
    except Exception as error:  # a damaged file ends in any error of pyarrow: types, keys, memory, not implemented
        raise StoreError(
            f"cannot read {path}: {_first_line(error)}; delete the file and start the run again to rebuild it"
        ) from error
    missing = [name for name in columns if name not in frame]
    if missing:
        raise StoreError(f"{path} has no column {', '.join(missing)}; delete it and start the run again to rebuild it")
    return frame


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an npz file; nothing is unpickled.

    Raises
    ------
    StoreError
        If the file is missing, not as it was written, or not an npz file.
    """
    data = read_bytes(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:  # damage ends in errors of zipfile, zlib, NumPy and the parser of array headers
        raise StoreError(
            f"cannot read {path}: {_first_line(error)}; delete it and start the run again to rebuild it"
        ) from error


def start_checksums(directory: Path, adopt: bool = False) -> None:
    """Begin the list of checksums of a folder; from then on every file written below it is listed.

    Parameters
    ----------
    adopt : bool
        List the files that are there already, as they are.
    """
    path = directory / LEDGER
    if path.is_file():
        return
    names = _files(directory) if adopt else []
    text = "".join(checksums.line(name, checksums.digest_of(directory / name)) for name in names)
    write_atomic(path, text.encode())


def has_checksums(directory: Path) -> bool:
    """Whether a folder has a list of checksums."""
    return (directory / LEDGER).is_file()


def seal(directory: Path, refresh: str = "") -> None:
    """Rewrite the list of checksums: one entry a file, none for files that are gone.

    Parameters
    ----------
    refresh : str
        Name of a folder whose files other programs write; they are listed as they are now.
    """
    if not has_checksums(directory):
        return
    digests = checksums.read(directory).digests
    lines = []
    for name in _files(directory):
        if refresh and name.startswith(f"{refresh}/"):
            lines.append(checksums.line(name, checksums.digest_of(directory / name)))
        elif len(known := digests.get(name, [])) > 1:
            now = checksums.digest_of(directory / name)
            lines.append(checksums.line(name, now if now in known else known[-1]))
        elif known:
            lines.append(checksums.line(name, known[0]))
    with staged_file(directory / LEDGER) as temporary:
        temporary.write_text("".join(lines))


def verify_files(directory: Path) -> tuple[list[str], list[str]]:
    """Compare every file of a folder with its list of checksums.

    Returns
    -------
    wrong : list of str
        A sentence a file that is missing, damaged or changed.
    unlisted : list of str
        Files that bench did not write.

    Raises
    ------
    StoreError
        If the list itself is damaged.
    """
    digests = checksums.read(directory).digests
    there = _files(directory)
    wrong = [f"{name} is missing" for name in sorted(digests) if name not in set(there)]
    for name in there:
        if name in digests and checksums.digest_of(directory / name) not in digests[name]:
            wrong.append(f"{name} is damaged or was changed since it was written")
    return wrong, [name for name in there if name not in digests]


def _files(directory: Path) -> list[str]:
    return sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in (LEDGER, LOCK) and _TEMPORARY not in path.name
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _prefix(path: Path, kind: str = _TEMPORARY) -> str:
    """Beginning of a temporary name; cut, so that it stays a possible name."""
    return f".{path.name[:40] if kind == _TEMPORARY else path.name}{kind}"


def _glob(path: Path, kind: str) -> str:
    import glob

    return glob.escape(_prefix(path, kind))


def _hold(handle: int) -> None:
    """Lock an open file or folder for as long as this process has it open."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_dead(path: Path) -> None:
    """Remove a temporary file or folder unless its maker holds it."""
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        finally:
            os.close(handle)
    except (ImportError, OSError):
        return


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # Windows and some network file systems cannot sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            _sync_folder(path)
    _sync_folder(folder)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two folders in one step; False where the system or its file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    return bool(rename(_CURRENT_FOLDER, os.fsencode(a), _CURRENT_FOLDER, os.fsencode(b), _EXCHANGE) == 0)
