"""Manifests: what is written is read, version 1 is read, and anything else ends in one sentence that names the key."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from bench.config import compose
from bench.core.errors import StoreError
from bench.run.manifest import DatasetRecord, Manifest, MethodRecord, ProtocolRecord, from_dict
from bench.schema.identity import protocol_hash

PROTOCOL = compose([]).protocol
WHOLE = Manifest(
    ProtocolRecord("strict", protocol_hash(PROTOCOL), 1, json.loads(json.dumps(asdict(PROTOCOL)))),
    DatasetRecord("photos", "abc", "2 of 2", 2, 10, ["a-1", "a-2"]),
    status="complete",
    identity={"seed": "0"},
    sessions=[{"host": "h", "schema_version": "2"}],
    config={"bootstrap_draws": 100, "seed": 0, "latency": {"mode": "quick"}},
    methods={"sift": MethodRecord("SIFT", {}, {"precision": {}, "costs": {"load_ms": 1.5}})},
    host={"hash": "h", "isa": ["avx2"], "usable_cores": 2},
    noise={"noisy": False, "reasons": []},
    threads=2,
)


def test_what_is_written_is_read() -> None:
    assert from_dict(json.loads(json.dumps(WHOLE.as_dict())), "m") == WHOLE
    assert WHOLE.protocol_config() == PROTOCOL


def test_version_1_is_read_and_has_one_session() -> None:
    content = WHOLE.as_dict() | {"schema_version": 1, "versions": {"numpy": "2.1"}}
    content["host"]["python"] = "3.11"
    del content["sessions"]
    assert from_dict(content, "m").sessions == [
        {"schema_version": "1", "host": "h", "versions.python": "3.11", "versions.numpy": "2.1"}
    ]


def changed(*path: str, value: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(WHOLE.as_dict()))
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"m: the content is \[\], an object was expected"),
        (None, "m: the content is null, an object was expected"),
        ("text", "an object was expected"),
        ({}, "m lacks the key schema_version"),
        ({"schema_version": 2}, "m lacks the key protocol"),
        (changed("schema_version", value=3), "schema version 3, this version of bench reads 1 to 2"),
        (changed("schema_version", value="2"), 'schema_version is "2", an integer was expected'),
        (changed("schema_version", value=True), "schema_version is true, an integer was expected"),
        (changed("status", value="done"), "status is 'done'"),
        (changed("protocol", value=[]), r"protocol is \[\], an object was expected"),
        (changed("protocol", "hash", value=None), "protocol.hash is null, text was expected"),
        (changed("protocol", "config", "mma_px", value=1), "protocol.config: mma_px is 1, a list was expected"),
        (changed("protocol", "config", "estimator", value=1), "the content is 1, an object was expected"),
        (changed("dataset", "pairs", value=[1]), r"dataset.pairs\[0\] is 1, text was expected"),
        (changed("methods", value=["sift"]), "methods is .*an object was expected"),
        (changed("methods", "sift", value=None), "methods.sift is null"),
        (changed("methods", "sift", "info", value=3), "methods.sift.info is 3"),
        (changed("methods", "sift", "info", "costs", value={"load_ms": "x"}), "methods.sift.info: costs.load_ms"),
        (changed("methods", "sift", "info", "precision", value="f32"), "methods.sift.info: precision"),
        (changed("host", "isa", value="avx2"), "host: isa is"),
        (changed("noise", "noisy", value="no"), 'noise: noisy is "no", true or false was expected'),
        (changed("config", "bootstrap_draws", value="many"), "config: bootstrap_draws"),
        (changed("rows_written", value=1.5), "rows_written is 1.5, an integer was expected"),
        (changed("identity", value={"seed": 0}), "identity.seed is 0, text was expected"),
        (changed("sessions", value=[None]), r"sessions\[0\] is null"),
    ],
)
def test_anything_else_ends_in_one_sentence(content: object, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        from_dict(content, "m")
    assert "\n" not in str(caught.value)


def test_a_protocol_of_another_version_is_named() -> None:
    content = changed("protocol", "config", "unheard_of", value=1)
    with pytest.raises(
        StoreError, match="protocol strict that the run recorded is not one of this version.*unheard_of"
    ):
        from_dict(content, "m").protocol_config()
