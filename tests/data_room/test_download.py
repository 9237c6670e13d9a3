"""Downloads from a real HTTP server on this machine."""

from __future__ import annotations

import errno
import functools
import hashlib
import http.server
import io
import json
import os
import shutil
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.commands.fetch import FetchConfig, main
from bench.config import compose
from bench.core.errors import ConfigError, DataError, DiskFullError
from bench.core.resources import resource
from bench.data.download import Lock, disk_errors, fetch, parse_lock, read_lock, verify
from bench.schema import check


class Handler(http.server.SimpleHTTPRequestHandler):
    """Counts requests; ``/cut/<file>`` promises all bytes and sends half of them."""

    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path.startswith("/cut/"):
            content = (Path(self.directory) / self.path[5:]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        del format, args


class Server:
    def __init__(self, url: str, folder: Path, requests: list[str]) -> None:
        self.url, self.folder, self.requests = url, folder, requests


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "www"
    folder.mkdir()
    requests: list[str] = []
    handler = functools.partial(type("H", (Handler,), {"requests": requests}), directory=str(folder))
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield Server(f"http://127.0.0.1:{httpd.server_address[1]}", folder, requests)
    httpd.shutdown()
    httpd.server_close()


def make_zip(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner/data.txt", "payload")
        archive.writestr("inner/sub/more.txt", "more" * 1000)
    return path.read_bytes()


def lock_for(server: Server, content: bytes, **changes: object) -> Lock:
    lock = Lock(
        name="thing",
        urls=(f"{server.url}/thing.zip",),
        file="thing.zip",
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        git_blob=None,
        folder="inner",
        requires=("data.txt",),
        unpacked_max_bytes=1_000_000,
        licence="none",
        source="here",
    )
    return replace(lock, **changes)  # type: ignore[arg-type]


def test_a_download_is_verified_unpacked_and_kept(server: Server, tmp_path: Path) -> None:
    lock = lock_for(server, make_zip(server.folder / "thing.zip"))
    root = tmp_path / "data"
    folder = fetch(lock, root)
    assert folder == root / "thing"
    assert (folder / "data.txt").read_text() == "payload" and (folder / "sub/more.txt").is_file()
    assert fetch(lock, root) == folder
    assert len(server.requests) == 1
    assert [p.name for p in root.iterdir() if p.name.startswith(".")] == []
    assert list((root / "downloads").iterdir()) == []


def test_mirrors_are_tried_in_order(server: Server, tmp_path: Path) -> None:
    content = make_zip(server.folder / "thing.zip")
    (server.folder / "wrong.zip").write_bytes(content[:-1] + b"x")
    urls = tuple(f"{server.url}/{name}" for name in ("missing.zip", "cut/thing.zip", "wrong.zip", "thing.zip", "never"))
    assert fetch(lock_for(server, content, urls=urls), tmp_path / "data").is_dir()
    assert server.requests == ["/missing.zip", "/cut/thing.zip", "/wrong.zip", "/thing.zip"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [("thing.zip", "sha256"), ("cut/thing.zip", "ChunkedEncodingError"), ("missing.zip", "status 404")],
)
def test_failures_name_url_reason_and_next_step(server: Server, tmp_path: Path, url: str, reason: str) -> None:
    content = make_zip(server.folder / "thing.zip")
    lock = lock_for(server, content, urls=(f"{server.url}/{url}",))
    if url == "thing.zip":
        lock = replace(lock, sha256="0" * 64)
    with pytest.raises(DataError, match=reason) as caught:
        fetch(lock, tmp_path / "data")
    message = str(caught.value)
    assert message.startswith(f"Download {server.url}/{url} by other means, put the file at ") and len(message) < 600
    assert str(tmp_path / "data" / "downloads" / "thing.zip") in message
    assert list((tmp_path / "data" / "downloads").iterdir()) == []
    assert not (tmp_path / "data" / "thing").exists()


def test_wrong_size_is_refused(server: Server, tmp_path: Path) -> None:
    content = make_zip(server.folder / "thing.zip")
    with pytest.raises(DataError, match="size"):
        fetch(lock_for(server, content, size_bytes=len(content) + 1), tmp_path / "data")


def test_no_network_says_how_to_go_on(server: Server, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lock = lock_for(server, b"x", urls=(f"http://127.0.0.1:{port}/thing.zip",))
    with pytest.raises(DataError, match=r"^Download http.* by other means.* \(127.*ConnectionError\)"):
        fetch(lock, tmp_path / "data")


def test_an_archive_put_there_by_hand_needs_no_network(server: Server, tmp_path: Path) -> None:
    content = make_zip(tmp_path / "mine.zip")
    lock = lock_for(server, content)
    downloads = tmp_path / "data" / "downloads"
    downloads.mkdir(parents=True)
    shutil.copy(tmp_path / "mine.zip", downloads / "thing.zip")
    assert (fetch(lock, tmp_path / "data") / "data.txt").is_file()
    assert server.requests == []


def test_a_wrong_archive_put_there_by_hand_is_refused_and_kept(server: Server, tmp_path: Path) -> None:
    content = make_zip(tmp_path / "mine.zip")
    downloads = tmp_path / "data" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / "thing.zip").write_bytes(content[:-10])
    with pytest.raises(DataError, match="wrong checksum.*delete it"):
        fetch(lock_for(server, content), tmp_path / "data")
    assert (downloads / "thing.zip").is_file()


def test_git_blob_identifies_a_tar(server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("inner/data.txt")
        info.size = 7
        archive.addfile(info, io.BytesIO(b"payload"))
    content = buffer.getvalue()
    (server.folder / "thing.zip").write_bytes(content)
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    lock = lock_for(server, content, sha256=None, size_bytes=None, git_blob=blob)
    assert (fetch(lock, tmp_path / "data") / "data.txt").read_text() == "payload"
    with pytest.raises(DataError, match="git blob"):
        fetch(replace(lock, git_blob="0" * 40), tmp_path / "other")


def test_an_archive_cannot_leave_its_folder(server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("../../evil")
        archive.addfile(info, io.BytesIO(b""))
    (server.folder / "thing.zip").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="not a zip or tar archive"):
        fetch(lock_for(server, buffer.getvalue()), tmp_path / "data")
    assert list(tmp_path.rglob("evil")) == []


def test_git_blob_of_a_known_object(tmp_path: Path, server: Server) -> None:
    # `echo hello | git hash-object --stdin`
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    lock = lock_for(server, b"", size_bytes=None, sha256=None, git_blob="ce013625030ba8dba906f756967f9e9ca394464a")
    assert verify(path, lock) is None


def test_missing_content_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    lock = lock_for(server, make_zip(server.folder / "thing.zip"), requires=("saved_model.pb",))
    with pytest.raises(DataError, match=r"saved_model\.pb is not in it"):
        fetch(lock, tmp_path / "data")
    assert {p.name for p in (tmp_path / "data").iterdir()} == {"downloads"}


def test_an_unverified_folder_is_not_overwritten(server: Server, tmp_path: Path) -> None:
    mine = tmp_path / "data" / "thing"
    mine.mkdir(parents=True)
    (mine / "data.txt").write_text("mine")
    with pytest.raises(DataError, match="move it away"):
        fetch(lock_for(server, make_zip(server.folder / "thing.zip")), tmp_path / "data")
    assert (mine / "data.txt").read_text() == "mine"


def test_too_little_space_is_found_before_downloading(server: Server, tmp_path: Path) -> None:
    needed = shutil.disk_usage(tmp_path).free * 2
    lock = lock_for(server, make_zip(server.folder / "thing.zip"), unpacked_max_bytes=needed)
    with pytest.raises(DiskFullError, match="free some space"):
        fetch(lock, tmp_path / "data")
    assert server.requests == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_may_be_tried_again(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(DiskFullError, match="free some space or choose another folder") as caught,
        disk_errors(tmp_path),
    ):
        raise OSError(number, os.strerror(number))
    assert caught.value.exit_code == 1


def test_an_unwritable_root_is_named(server: Server, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(DataError, match="cannot be written.*data_root"):
        fetch(lock_for(server, make_zip(server.folder / "thing.zip")), blocked / "data")


def test_shipped_locks() -> None:
    hpatches, sp_v6 = read_lock("hpatches"), read_lock("sp_v6")
    assert hpatches.sha256 is not None and len(bytes.fromhex(hpatches.sha256)) == 32
    assert sp_v6.git_blob == "13c14a8f927ec585a8edeb0300631f008a604c2e"
    assert all("1411bbd68c50163555d39c1b26e9e046ebd48f27" in url for url in sp_v6.urls)
    assert all(url.startswith("https://") for lock in (hpatches, sp_v6) for url in lock.urls)
    with pytest.raises(DataError, match="hpatches, sp_v6"):
        read_lock("coco")


def test_a_lock_without_a_checksum_is_refused() -> None:
    raw = json.loads((resource("datasets") / "sp_v6.json").read_text())
    with pytest.raises(DataError, match="without a checksum"):
        parse_lock(json.dumps(raw | {"git_blob": None}), "here")
    with pytest.raises(DataError, match="not a lock file"):
        parse_lock("{}", "here")


def test_fetch_alone_says_what_there_is_and_downloads_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(compose([f"data_root={tmp_path}"], "fetch")) == 0
    shown = capsys.readouterr().out
    for lock in map(read_lock, ("hpatches", "sp_v6")):
        assert f"bench fetch what={lock.name}" in shown
        assert lock.licence in shown
    assert "1.28 GB" in shown
    assert list(tmp_path.iterdir()) == []


def test_fetch_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="hpatches, sp_v6"):
        check(FetchConfig(what="coco"))
    # A verified folder is used without the network.
    lock = read_lock("sp_v6")
    for name in lock.requires:
        path = tmp_path / "sp_v6" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "sp_v6" / ".verified.json").write_text(json.dumps({"sha256": None, "git_blob": lock.git_blob}))
    assert main(FetchConfig(what="sp_v6", data_root=str(tmp_path))) == 0
    assert str(tmp_path / "sp_v6") in capsys.readouterr().out
