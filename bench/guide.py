"""What there is to type: `bench --help`, `bench COMMAND --help` and completion. Composes nothing, imports no Hydra."""

from __future__ import annotations

import itertools
import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.commands import COMMANDS, schema_of
from bench.core import presets
from bench.core.resources import resource

if TYPE_CHECKING:
    from bench.schema.describe import Key

OPTIONS = (
    "--help",
    "-h",
    "--version",
    "-V",
    "--quiet",
    "-q",
    "--verbose",
    "-v",
    "--cfg",
    "-c",
    "--resolve",
    "--package",
    "-p",
    "--multirun",
    "-m",
    "--run",
    "-r",
    "--config-dir",
    "-cd",
    "--info",
    "-i",
    "--hydra-help",
    "--completion",
)
"""Options of the command line. Hydra's --experimental-rerun is not among them: it unpickles a file."""
_PIPE_WIDTH = 100


def overview() -> str:
    """Text of ``bench --help``: the commands by purpose, three examples, where to read on."""
    lines = ["usage: bench [COMMAND] [KEY=VALUE ...] [OPTION ...]", ""]
    lines += ["Homography benchmark: accuracy and time of SuperPoint (TensorFlow, OpenVINO), SIFT, ORB and others."]
    for purpose, group in itertools.groupby(COMMANDS.items(), lambda item: item[1].purpose):
        lines += ["", f"{purpose}:", *(_entry(name, command.text, 10) for name, command in group)]
    return "\n".join(
        [
            *lines,
            "",
            "Examples:",
            "  bench                                        the main comparison on photographs of the package",
            "  bench methods.add=[akaze] methods.drop=[orb] with another method, without ORB",
            "  bench check candidate=results/RUN baseline=photos",
            "",
            "Options:",
            "  --help, -h      of a command: its keys, their values and meaning, its presets",
            "  --cfg job       print the composed configuration as YAML and end",
            "  --multirun, -m  a run for each of comma-separated values: bench -m protocol=strict,paper",
            "  --quiet, -q     results and warnings only: no progress, no information",
            "  --verbose, -v   more of what is done, with times",
            '  --completion SHELL  of bash, zsh or fish: eval "$(bench --completion bash)" in its start-up file',
            "  --version, -V",
        ]
    )


def of_command(name: str) -> str:
    """Text of ``bench COMMAND --help``: what it does, an example, its keys and its presets."""
    from bench.schema.describe import summary

    command = COMMANDS[name]
    typed = "bench" if name == "run" else f"bench {name}"
    if not command.schema:
        return f"usage: {typed} WHAT\n\n{_sentence(command.text)}\n\nExample:\n  {command.example}"
    groups = presets.chosen(name)
    about = summary(schema_of(name)).partition(": ")[2]
    lines = [f"usage: {typed} [KEY=VALUE ...]", "", *_wrapped(_sentence(command.text), "")]
    lines += _wrapped(_sentence(about), "") if about else []
    lines += ["", "Example:", f"  {command.example}", "", "Keys:"]
    lines += [line for key in own_keys(name) for line in _key(key)]
    if "methods" in groups:
        lines += ["  methods.add=[NAME,...]  methods.drop=[NAME,...]"]
        lines += _wrapped("Adds rows to the set of methods, takes rows out; `bench list methods` names them.", "      ")
    if groups:
        lines += ["", "Presets (GROUP=NAME fills all keys GROUP.*; `bench list keys` lists those):"]
    for group, default in groups.items():
        lines.append(f"  {group}{f' (default {default})' if default else ''}")
        width = max(map(len, presets.names(group)))
        lines += [_entry(preset, presets.describe(group, preset), width, "    ") for preset in presets.names(group)]
    lines += ["", f"The whole configuration as YAML: {typed} --cfg job"]
    return "\n".join(lines)


def own_keys(name: str) -> Iterator[Key]:
    """Keys of a command that no preset fills, with the defaults of its primary config."""
    from dataclasses import replace

    from omegaconf import DictConfig, OmegaConf

    from bench.schema.describe import keys

    primary = OmegaConf.load(resource("conf") / f"{name}.yaml")
    assert isinstance(primary, DictConfig)
    filled = tuple(presets.chosen(name))
    for key in keys(schema_of(name), without=tuple(group for group in filled if group != "train")):
        value = "the user's cache folder" if key.name == "cache" else OmegaConf.select(primary, key.name)
        yield replace(key, default=str(value)) if value is not None else key


def _key(key: Key) -> list[str]:
    required = not key.default or key.meaning.endswith("required.")
    head = f"  {key.name}=... (required)" if required else f"  {key.name}={key.default}"
    return [head, *_wrapped(f"{key.takes}. {key.meaning}".strip(), "      ")]


def _entry(name: str, text: str, width: int, indent: str = "  ") -> str:
    room = _width() - len(indent) - width - 1
    return f"{indent}{name:<{width}} {textwrap.shorten(text, max(room, 20), placeholder=' ...')}".rstrip()


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _width(), initial_indent=indent, subsequent_indent=indent, break_long_words=False)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "?")) else ".")


def _width() -> int:
    return shutil.get_terminal_size((_PIPE_WIDTH, 24)).columns - 1
