"""Every key has a range; what is out of it is named with its key, its value and what is allowed."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore

from bench.commands import COMMANDS, schema_of
from bench.config import compose
from bench.core.doors import Door
from bench.core.errors import ConfigError
from bench.core.machine import processors
from bench.schema import ImageConfig, LatencyConfig, NmsConfig, ProtocolConfig, RunConfig, check, inputs, register
from bench.schema.checks import Constraint, Form, Found, Items, OneOf, Range, Shard, Text, fields_of
from bench.schema.identity import protocol_from
from bench.schema.options import Option
from bench.schema.values import max_side


def schemas() -> dict[str, type]:
    """Every dataclass that a key of a command can lead to, by its name."""
    register()
    store = ConfigStore.instance()
    todo = [node for node in walk(store.repo) if isinstance(node, type)]
    todo += [schema_of(name) for name, command in COMMANDS.items() if command.schema]
    found: dict[str, type] = {}
    while todo:
        schema = todo.pop()
        if f"{schema.__module__}.{schema.__qualname__}" in found or not dataclasses.is_dataclass(schema):
            continue
        found[f"{schema.__module__}.{schema.__qualname__}"] = schema
        todo += [part for hint in fields_of(schema).values() for part in parts(hint) if isinstance(part, type)]
        todo += schema.__subclasses__()
    return found


def walk(node: Any) -> Iterator[Any]:
    from omegaconf import OmegaConf

    if isinstance(node, dict):
        for item in node.values():
            yield from walk(item)
    else:
        yield OmegaConf.get_type(node.node)


def parts(hint: Any) -> Iterator[Any]:
    yield hint
    for inner in typing.get_args(hint):
        yield from parts(inner)


def constraints(hint: Any) -> list[Any]:
    return [part for part in parts(hint) if isinstance(part, Constraint)]


SCHEMAS = {name: schema for name, schema in schemas().items() if name.startswith("bench.")}
FREE = {"options", "params", "combined", "dataset", "methods", "metrics", "shapes"}
"""What another library or a check of its own judges."""


def test_all_commands_are_covered() -> None:
    names = {name.rpartition(".")[2] for name in SCHEMAS}
    wanted = """RunConfig CheckConfig BaselineConfig ParityConfig SweepConfig ConvertConfig ExportConfig FetchConfig
    TrainConfig ReportConfig PhaseConfig MetricGate PhotosConfig OpenCVConfig TimeoutsConfig"""
    assert set(wanted.split()) <= names


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_key_says_what_it_may_be(name: str) -> None:
    for key, hint in fields_of(SCHEMAS[name]).items():
        types = list(parts(hint))
        found = constraints(hint)
        if int in types or float in types:
            assert any(isinstance(one, Range | OneOf) for one in found), f"{name}.{key} has no range"
        if str in types and key not in FREE:
            assert any(isinstance(one, OneOf | Text | Form | Found | Shard | Door) for one in found), f"{name}.{key}"
        if any(typing.get_origin(part) is list for part in types) and key != "phases" and key != "unstated":
            assert any(isinstance(one, Items) for one in found), f"{name}.{key}: a list without a length"
        for one in found:
            if isinstance(one, Range):
                high = one.high() if callable(one.high) else one.high
                assert math.isfinite(one.low) and math.isfinite(high) and one.low < high


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 1e300, True, "3"])
def test_a_range_refuses(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"key=.* is not possible; allowed: "):
        Range(0, 10).check("key", value)


@pytest.mark.parametrize(
    ("range_", "good", "bad"),
    [
        (Range(0, 1), (0, 1, 0.5), (1.0000001,)),
        (Range(0, 1, above=True), (1e-9, 1), (0,)),
        (Range(16, 64, multiple=8), (16, 24, 64), (17, 8, 72)),
        (Range(0, lambda: 3.0), (3,), (4,)),
    ],
)
def test_ends_of_a_range(range_: Range, good: tuple[float, ...], bad: tuple[float, ...]) -> None:
    for value in good:
        range_.check("key", value)
    for value in bad:
        with pytest.raises(ConfigError):
            range_.check("key", value)


def test_the_reason_is_given_above_the_range_only() -> None:
    with pytest.raises(ConfigError, match=r"^threads=9 is not possible; allowed: 0 to 8 \(why\)$"):
        Range(0, 8, "why").check("threads", 9)
    with pytest.raises(ConfigError, match=r"^threads=-1 is not possible; allowed: 0 to 8$"):
        Range(0, 8, "why").check("threads", -1)


@pytest.mark.parametrize("value", ["a\nb", "\x1b[31m", "\udcff", "x" * 201, "", "  "])
def test_text_refuses(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^label"):
        Text(200, False, "a name").check("label", value)


@pytest.mark.parametrize("value", ["SuperPoint", "é", "日本", "a b", "👩‍💻"])
def test_text_takes_what_can_be_read(value: str) -> None:
    Text(200, False, "a name").check("label", value)


def test_lists() -> None:
    for value, message in (
        ([], "is empty"),
        ([1, 1], "1 stands twice"),
        (list(range(11)), "at most 10"),
        (3, "a list"),
    ):
        with pytest.raises(ConfigError, match=message):
            Items(1, 10).check("key", value)
    Items(1, 10).check("key", [1, 2])


def test_check_names_the_whole_key_and_the_outermost_first() -> None:
    protocol = ProtocolConfig(name="x")
    protocol.keypoints.nms.size = 0
    with pytest.raises(ConfigError, match=r"^protocol\.keypoints\.nms\.size=0 "):
        check(protocol, "protocol")
    config = RunConfig(protocol=protocol, latency=LatencyConfig(), cache="x", threads=-1)
    with pytest.raises(ConfigError, match=r"^threads=-1 "):
        check(config)


def test_unresolved_and_missing_values_are_passed_over() -> None:
    check(NmsConfig(size="${protocol.keypoints.nms.size}"))  # type: ignore[arg-type]
    check(ProtocolConfig())


def test_inputs_are_listed() -> None:
    from bench.schema import FolderConfig

    assert [(key, path, found.kind) for key, path, found in inputs(FolderConfig(root="a", csv="b"), "dataset")] == [
        ("dataset.root", "a", "folder"),
        ("dataset.csv", "b", "file"),
    ]


def test_bounds_of_this_machine() -> None:
    config = RunConfig(protocol=ProtocolConfig(name="x"), latency=LatencyConfig(), cache="x", threads=4 * processors())
    check(config)
    config.threads += 1
    with pytest.raises(ConfigError, match="four times the processors"):
        check(config)
    assert 2000 < max_side() < 1e6


def options() -> list[type[Option]]:
    return [each for each in Option.__subclasses__() if each.__module__.startswith("bench.")]


def test_name_and_value_of_an_option_are_one_word() -> None:
    # OmegaConf reads members by name; files, hashes and tables hold their values.
    assert len(options()) > 30
    for option in options():
        assert [each.name for each in option] == [each.value for each in option], option


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("protocol.image.grey=bt60", "protocol.image.grey='bt60' is not possible; allowed: bt601, bt601_swapped"),
        ("protocol.image.grey=1.5", "protocol.image.grey=1.5 is not possible; allowed: bt601, bt601_swapped"),
        ("protocol.image={grey: x}", "protocol.image.grey='x' is not possible; allowed: bt601, bt601_swapped"),
        ("protocol.subset=large", "protocol.subset='large' is not possible; allowed: all, no_large, i, v"),
        ("methods.sift.algorithm=null", "methods.sift.algorithm=null is not possible; allowed: a value, not null"),
    ],
)
def test_a_wrong_word_is_answered_with_the_words_there_are(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([override])
    assert str(caught.value).startswith(message)


def test_a_wrong_word_in_a_preset_or_in_python_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "protocol").mkdir()
    text = "defaults: [strict, _self_]\nname: mine\nimage: {kernel: cubic}\n"
    (tmp_path / "protocol/mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match="kernel='cubic' is not possible; allowed: area, linear, tf1_bilinear"):
        compose([f"hydra.searchpath=[{tmp_path}]", "protocol=mine"])
    with pytest.raises(ConfigError, match="image.kernel='cubic' is not possible; allowed: area, linear"):
        check(ImageConfig(kernel="cubic"), "image")  # type: ignore[arg-type]
    values = dataclasses.asdict(ProtocolConfig("mine", image=ImageConfig(kernel="cubic")))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="protocol.image.kernel='cubic' is not possible; allowed: area, linear"):
        protocol_from(values)
