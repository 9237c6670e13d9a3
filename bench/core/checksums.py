"""The SHA-256 of every file of a folder, in one text file that ``sha256sum --check`` reads.

An entry is appended before the file it belongs to is renamed into place, so that a file never stands without one, at
whatever moment a process is killed. A file that is written again gets a second entry; until the list is rewritten both
are right, since a kill may leave either version.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import StoreError

LEDGER = "bench.sha256"
"""Name of the list, in the folder whose files it covers."""
_LINE = re.compile(r"(\\?)([0-9a-f]{64})  (.+)")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def line(name: str, digest: str) -> str:
    """An entry as ``sha256sum`` writes it: names with a line break or a backslash are escaped and marked."""
    escaped = "".join(_ESCAPES.get(character, character) for character in name)
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


@dataclass
class Ledger:
    """The list of one folder.

    Attributes
    ----------
    root : Path
        The folder.
    digests : dict
        Path relative to `root`, with ``/`` -> digests, oldest first.
    """

    root: Path
    digests: dict[str, list[str]]
    _signature: tuple[int, int, int] = field(default=(0, 0, 0), repr=False)

    @property
    def path(self) -> Path:
        return self.root / LEDGER

    def name_of(self, path: Path) -> str:
        """Name of a file in the list."""
        return path.relative_to(self.root).as_posix()

    def known(self, path: Path) -> list[str]:
        """Digests that a file may have; empty if it is not listed."""
        return self.digests.get(self.name_of(path), [])

    def append(self, *entries: tuple[Path, str]) -> None:
        """List files that are about to appear, with their digests; on disk when this returns."""
        names = [(self.name_of(path), digest) for path, digest in entries]
        data = "".join(line(name, digest) for name, digest in names).encode()
        current = _signature(self.path) == self._signature
        with self.path.open("r+b") as file:
            if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                file.seek(0)
                file.truncate(_whole(file.read()))  # what a killed writer left of a line
                file.seek(0, os.SEEK_END)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        for name, digest in names:
            self.digests.setdefault(name, []).append(digest)
        # Another process may have appended, too: then the list is read again.
        self._signature = _signature(self.path) if current else (0, 0, 0)

    def check(self, path: Path, data: bytes) -> None:
        """Compare the content of a file with the list.

        Raises
        ------
        StoreError
            If the file is not listed or differs.
        """
        known = self.known(path)
        if not known:
            raise StoreError(f"{path} is not listed in {self.path}, so bench did not write it; move it away")
        if hashlib.sha256(data).hexdigest() not in known:
            raise StoreError(
                f"{path} is damaged or was changed: its SHA-256 is not the one in {LEDGER}; restore it from a copy, or "
                "delete it and repeat the command that wrote it"
            )


_KEPT = 4
_ledgers: dict[Path, Ledger] = {}


def find(path: Path) -> Ledger | None:
    """Read the list that covers a file: that of the nearest folder above it that has one.

    Raises
    ------
    StoreError
        If the list itself is damaged.
    """
    for root in path.absolute().parents:
        if (root / LEDGER).is_file():
            return read(root)
    return None


def read(root: Path) -> Ledger:
    """Read the list of a folder; the last one read is kept in memory until it changes on disk.

    Raises
    ------
    StoreError
        If a line is not an entry or the file cannot be read.
    """
    path = root.absolute() / LEDGER
    try:
        signature = _signature(path)
        kept = _ledgers.get(path)
        if kept is not None and kept._signature == signature:
            return kept
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    ledger = Ledger(path.parent, parse(data, path), signature)
    if len(_ledgers) >= _KEPT:
        _ledgers.clear()
    _ledgers[path] = ledger
    return ledger


def parse(data: bytes, path: Path) -> dict[str, list[str]]:
    """Names and digests of a list; what stands after the last line break is the rest of a killed write.

    Raises
    ------
    StoreError
        If a line is not an entry.
    """
    found: dict[str, list[str]] = {}
    for number, raw in enumerate(data[: _whole(data)].split(b"\n")[:-1], start=1):
        try:
            entry = _LINE.fullmatch(raw.decode())
        except UnicodeDecodeError:
            entry = None
        if entry is None:
            raise StoreError(
                f"{path} is damaged: line {number} is no checksum; restore it from a copy, or repeat the command that "
                "wrote the folder"
            )
        escaped, digest, name = entry.groups()
        found.setdefault(_unescaped(name) if escaped else name, []).append(digest)
    return found


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), name)


def _whole(data: bytes) -> int:
    return data.rfind(b"\n") + 1


def _signature(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
