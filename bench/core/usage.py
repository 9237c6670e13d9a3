"""Whether a folder is used: by locks that several processes hold at once, and that end with them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import StoreError
from bench.core.files import make_folder

_NAME = ".in-use"


@contextlib.contextmanager
def using(folder: Path) -> Iterator[None]:
    """Say that a folder is used until the block ends. One that cannot be written is used without saying so."""
    handle = None
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        make_folder(folder)
        handle = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def unused(folder: Path) -> Iterator[None]:
    """Keep others from using a folder until the block ends.

    Raises
    ------
    StoreError
        If somebody uses it.
    """
    try:
        import fcntl
    except ImportError as error:
        raise StoreError(f"whether {folder} is used cannot be known on this system; delete it by hand") from error
    try:
        handle = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise StoreError(f"a command of bench uses {folder}; wait until it ends") from error
    finally:
        os.close(handle)


def is_locked(path: Path) -> int | None:
    """Process id of the holder of a lock file (0 if it is not told); None if nobody holds it."""
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.read(handle, 20).strip()
        return int(said) if said.isdigit() else 0
    finally:
        os.close(handle)
    return None
