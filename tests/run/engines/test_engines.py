"""What is refused before a cluster is asked, and what travels to its nodes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import ConfigError, DataError, StoreError, WorkerError
from bench.core.types import DataSet, ImageRef, Pair
from bench.run.engines import Host, Sessions, distinct, engine_of
from bench.run.engines.node import Packed, answered, packed, packed_model, place_images, unpack
from bench.run.extraction import items_of
from bench.run.manifest import DatasetRecord, Manifest, ProtocolRecord
from bench.run.store import RunStore
from bench.schema import EngineConfig, ImageConfig, ImportedConfig
from bench.schema.options import EngineKind

HERE = {"schema_version": "2", "host": "a", "versions.numpy": "2"}


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'superpoint-bench\[ray\]'"):
        engine_of(EngineConfig(kind=EngineKind.ray), 1, {})


def test_features_of_the_users_files_do_not_travel() -> None:
    with pytest.raises(ConfigError, match=r"methods\.lift .* engine\.data=shared"):
        engine_of(EngineConfig(kind=EngineKind.ray), 1, {"lift": ImportedConfig()})


@pytest.mark.parametrize("address", ["nowhere", "host:", ":6379", "host:0", "host:70000", "ray://host:10001"])
def test_an_address_is_local_auto_or_a_host_with_its_port(address: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.address"):
        EngineConfig(address=address)


def manifest(*sessions: dict[str, str]) -> Manifest:
    return Manifest(ProtocolRecord("p", "h"), DatasetRecord("d"), sessions=list(sessions))


def test_hosts_of_a_cluster_may_differ_and_versions_may_not(tmp_path: Path) -> None:
    other = HERE | {"host": "b"}
    store = RunStore(tmp_path / "run")
    store.directory.mkdir()
    store.open(manifest(HERE, other), any_host=True)
    third = HERE | {"host": "c"}
    assert store.open(manifest(third), any_host=True).sessions == [HERE, other, third]
    assert store.session == 2
    with pytest.raises(StoreError, match=r"versions\.numpy \(2, here 3\).*allow_mixed=true"):
        store.open(manifest(HERE | {"versions.numpy": "3"}), any_host=True)
    with pytest.raises(StoreError, match=r"other conditions: host"):
        store.open(manifest(HERE | {"host": "d"}))


def test_a_session_is_listed_before_a_row_names_it() -> None:
    written: list[list[dict[str, str]]] = []
    sessions = Sessions([HERE], added=written.append)
    assert [sessions.place(None), sessions.place(dict(HERE)), written] == [0, 0, []]
    assert sessions.place(HERE | {"host": "b"}) == 1
    assert written == [[HERE, HERE | {"host": "b"}]]


def test_hosts_of_equal_conditions_are_one() -> None:
    a, b, c = (Host({"hash": name, "kernel": kernel}, {"numpy": "2"}) for name, kernel in ("xy", "xz", "yz"))
    assert distinct([a, b, c]) == [a, c]


def test_a_model_travels_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("net.xml", "net.bin", "other.bin"):
        (tmp_path / "a" / name).write_text(name)
    sent, place = packed_model(tmp_path / "a/net.xml")
    assert set(sent.files) == {"net.xml", "net.bin"} and place.endswith("/net.xml")
    unpack(sent, tmp_path / "node")
    assert (tmp_path / "node" / place).read_text() == "net.xml"
    assert (tmp_path / "node" / place).with_suffix(".bin").read_text() == "net.bin"
    again, elsewhere = packed_model(tmp_path / "a/net.xml")
    assert (again, elsewhere) == (sent, place)
    (tmp_path / "a/net.bin").write_text("changed")
    assert packed_model(tmp_path / "a/net.xml")[1] != place


def test_an_entry_of_the_cache_travels_as_it_is(tmp_path: Path) -> None:
    entry = tmp_path / "cache/ir/k-f32"
    (entry / "deep").mkdir(parents=True)
    (entry / "model.xml").write_bytes(b"x")
    (entry / "deep/v.bin").write_bytes(b"yz")
    sent = packed(entry, "cache/ir/k-f32")
    assert sent == Packed("cache/ir/k-f32", {"deep/v.bin": b"yz", "model.xml": b"x"}) and sent.size == 3
    target = unpack(sent, tmp_path / "node")
    assert (target / "deep/v.bin").read_bytes() == b"yz"
    (target / "model.xml").write_bytes(b"kept")
    assert (unpack(sent, tmp_path / "node") / "model.xml").read_bytes() == b"kept"


def test_an_image_is_written_once_whatever_its_name(tmp_path: Path) -> None:
    places = place_images({"/d/a.png": b"1", "/d/b.png": b"1", "/d/c.ppm": b"2"}, tmp_path)
    assert places["/d/a.png"] == places["/d/b.png"] != places["/d/c.ppm"]
    assert places["/d/c.ppm"].read_bytes() == b"2" and places["/d/c.ppm"].suffix == ".ppm"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2


def test_an_error_of_a_node_is_the_same_here() -> None:
    def fails(error: Exception) -> None:
        raise error

    with pytest.raises(DataError, match=r"^/d/a\.png: is empty$"):
        answered(lambda: fails(DataError("/node/1.png: is empty")), names={"/node/1.png": "/d/a.png"}).get()
    with pytest.raises(WorkerError, match=r"KeyError: 'x'"):
        answered(lambda: fails(KeyError("x"))).get()


@pytest.mark.extras
def test_short_sequences_go_out_together_and_long_ones_first() -> None:
    pytest.importorskip("ray", reason="needs the extra ray")
    from bench.run.engines.cluster import _bunches
    from bench.run.evaluation import Entry, Task
    from bench.schema import EstimatorSweepConfig, ProtocolConfig

    def task(count: int) -> Task:
        refs = [ImageRef(f"s/{number}", Path(f"{number}.png")) for number in range(count + 1)]
        pairs = tuple(Pair(refs[0], ref, np.eye(3), "s", "-", f"s/{ref.key}") for ref in refs[1:])
        items = {item.key: item for item in items_of(DataSet("s", pairs, 1, count, "", ""), ImageConfig())}
        entries = {"a": Entry(True), "b": Entry(True)}
        return Task(pairs, items, entries, ProtocolConfig(name="p"), EstimatorSweepConfig(), Path(), 0)

    tasks = {Path(str(number)): task(count) for number, count in enumerate([5, 300, 40, 60, 10])}
    assert [[path.name for path in bunch] for bunch in _bunches(tasks)] == [["1"], ["3", "2"], ["4", "0"]]
    assert [[path.name for path in bunch] for bunch in _bunches(tasks, 4)] == [["1"], ["3"], ["2"], ["4", "0"]]
