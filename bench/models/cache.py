"""Folders of derived files (SavedModels, IRs) that appear complete or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.core.errors import DiskFullError, ModelError, StoreError
from bench.core.files import disk_is_full, locked, staged_folder


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
    if entry.is_dir():
        return entry
    try:
        # One process builds an entry, the others wait for it.
        with locked(entry.with_name(f".{entry.name}.lock"), wait=True):
            if not entry.is_dir():
                with staged_folder(entry) as scratch:
                    _build(build, scratch, entry)
    except DiskFullError as error:
        raise DiskFullError(f"{error}, or choose another folder with cache=DIR") from error
    except StoreError as error:
        raise ModelError(f"cannot write the model cache: {error} with cache=DIR") from error
    return entry


def _build(build: Callable[[Path], None], scratch: Path, entry: Path) -> None:
    try:
        build(scratch)
    except (ModelError, OSError) as error:
        # A framework in a process of its own reports a full disk in its own words.
        if disk_is_full(scratch):
            raise DiskFullError(
                f"the disk is full while writing {entry}; free some space and repeat the command"
            ) from error
        raise


def run_python(function: str, *arguments: str) -> None:
    """Call ``module:function`` with string arguments in a process of its own.

    Exports and conversions run there, so that a method's worker never loads a second framework and its peak memory is
    that of the method.

    Raises
    ------
    ModelError
        With the last line of the error output, if the process fails.
    """
    module, _, name = function.partition(":")
    code = f"import sys; from {module} import {name}; {name}(*sys.argv[1:])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise ModelError(reason.removeprefix("bench.core.errors.ModelError: "))
