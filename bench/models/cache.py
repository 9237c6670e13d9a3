"""Folders of derived files (SavedModels, IRs) that appear complete or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.core.errors import DiskFullError, ModelError, StoreError, WorkerError
from bench.core.files import locked, staged_folder
from bench.core.processes import call_in_child

_used: list[Path] = []


def used() -> list[str]:
    """Entries that this process asked for so far, absolute; what has to be elsewhere for a method to load there."""
    return [str(entry.absolute()) for entry in dict.fromkeys(_used)]


def cached(entry: Path, build: Callable[[Path], None]) -> Path:
    """Return `entry`, after building it if it is absent.

    Parameters
    ----------
    entry : Path
        Folder whose name is a key of its content.
    build : callable
        Writes the content into the empty folder it is given.

    Raises
    ------
    DiskFullError
        If the disk of the cache is full.
    ModelError
        If the cache cannot be written.
    """
    _used.append(entry)
    if entry.is_dir():
        return entry
    try:
        # One process builds an entry, the others wait for it.
        with locked(entry.with_name(f".{entry.name}.lock"), wait=True):
            if not entry.is_dir():
                with staged_folder(entry) as scratch:
                    build(scratch)
    except DiskFullError as error:
        raise DiskFullError(
            f"the disk is full while writing the model cache {entry.parent}; free some space and repeat the command, "
            "or choose another folder with cache=DIR"
        ) from error
    except StoreError as error:
        raise ModelError(f"cannot write the model cache: {error} with cache=DIR") from error
    return entry


def run_python(function: str, *arguments: str) -> None:
    """Call ``module:function`` with string arguments in a process of its own.

    Exports and conversions run there, so that a method's worker never loads a second framework and its peak memory is
    that of the method.

    Raises
    ------
    BenchError
        As raised by the function; ModelError with one line for any other failure of the process.
    """
    try:
        call_in_child(function, *arguments, title=f"the process of {function.rpartition(':')[2]}")
    except WorkerError as error:
        raise ModelError(str(error).strip().splitlines()[0]) from error
