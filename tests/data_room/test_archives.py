"""Hostile and damaged archives."""

from __future__ import annotations

import errno
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import DataError
from bench.data.archives import disk_errors, unpack

MEGABYTE = 1_000_000


def zip_with(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def tar_with(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def refused(archive: Path, tmp_path: Path, match: str, max_bytes: int = MEGABYTE) -> None:
    """The archive is refused and nothing appears outside the target folder."""
    folder = tmp_path / "jail" / "target"
    folder.mkdir(parents=True)
    before = {p for p in tmp_path.rglob("*") if folder not in p.parents}
    with pytest.raises(DataError, match=match):
        unpack(archive, folder, max_bytes)
    assert {p for p in tmp_path.rglob("*") if folder not in p.parents} == before
    assert not any(p.is_symlink() for p in folder.rglob("*"))


def test_good_archives_are_unpacked(tmp_path: Path) -> None:
    files = {"a/b.txt": b"b", "c.bin": bytes(70_000)}
    archives = [
        zip_with(tmp_path / "good.zip", *files.items()),
        tar_with(tmp_path / "good.tgz", *((member(name), content) for name, content in files.items())),
    ]
    for archive in archives:
        folder = tmp_path / f"{archive.name}.out"
        folder.mkdir()
        unpack(archive, folder, MEGABYTE)
        assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == files


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:\\evil", "C:evil"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_outside_the_folder_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "zip":
        archive = zip_with(tmp_path / "evil.zip", ("fine", b"1"), (name, b"2"))
    else:
        archive = tar_with(tmp_path / "evil.tgz", (member("fine"), b"1"), (member(name), b"2"))
    refused(archive, tmp_path, "outside the target folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tar_with(tmp_path / "evil.tgz", (member("way", kind, "../outside"), b""), (member("way/evil"), b"x"))
    refused(archive, tmp_path, "link or a device")


def test_links_in_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("way")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    refused(zip_with(tmp_path / "evil.zip", (info, b"../outside")), tmp_path, "link or a device")


def test_bombs_stop_at_the_size_cap(tmp_path: Path) -> None:
    refused(zip_with(tmp_path / "bomb.zip", ("zeros", bytes(2 * MEGABYTE))), tmp_path, "more than 1000000 bytes")


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    archive = zip_with(tmp_path / "many.zip", *((str(i), b"") for i in range(20_001)))
    refused(archive, tmp_path, "more than 20000 entries")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_entries_are_refused(tmp_path: Path) -> None:
    refused(zip_with(tmp_path / "twice.zip", ("a", b"1"), ("a", b"2")), tmp_path, "occurs twice")


def _tgz(path: Path) -> Path:
    noise = bytes((i * i * 7919 + i) % 251 for i in range(50_000))
    return tar_with(path, (member("a"), noise), (member("b"), noise[::-1]))


def _zip(path: Path) -> Path:
    return zip_with(path, ("a", bytes((i * i * 7919 + i) % 251 for i in range(50_000))))


@pytest.mark.parametrize("make", [_tgz, _zip])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9])
def test_truncated_archives_are_refused(tmp_path: Path, make: Callable[[Path], Path], fraction: float) -> None:
    archive = make(tmp_path / "cut")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * fraction)])
    refused(archive, tmp_path, "not a complete")


@pytest.mark.parametrize("make", [_tgz, _zip])
def test_flipped_bytes_are_found(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    archive = make(tmp_path / "flipped")
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(bytes(content))
    refused(archive, tmp_path, "not a complete")


def test_other_files_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "page.html"
    archive.write_text("<html>404</html>")
    refused(archive, tmp_path, "not a complete")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_named() -> None:
    with (
        pytest.raises(DataError, match="no space left") as caught,
        disk_errors(Path("data")),
        Path("/dev/full").open("wb") as f,
    ):
        f.write(b"x")
        f.flush()
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ENOSPC
