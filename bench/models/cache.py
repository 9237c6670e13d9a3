"""Folders of derived files (SavedModels, IRs) that appear complete or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.core.errors import ModelError


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
    ModelError
        If the cache cannot be written.
    """
    if entry.is_dir():
        return entry
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with _locked(entry.with_name(f".{entry.name}.lock")):
            if not entry.is_dir():
                scratch = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{entry.name}."))
                try:
                    build(scratch)
                    scratch.chmod(0o755)
                    scratch.rename(entry)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"cannot write the model cache {entry.parent}: {error}; free or choose another folder"
        ) from error
    return entry


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process builds an entry; the lock goes when its holder ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows: two builders do the same work, the second rename fails and is reported
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
