"""What one reads before the first run: help that is quick, complete and true."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from bench import guide
from bench.commands import COMMANDS
from bench.config import compose
from bench.core import presets

HEAVY = ("hydra", "pandas", "numpy", "cv2", "scipy", "pyarrow", "rich", "matplotlib", "tensorflow", "openvino")


def loaded(code: str, *arguments: str) -> set[str]:
    """Modules of `HEAVY` that a fresh Python has after `code`."""
    code = f"import sys\nsys.argv = ['bench', *{list(arguments)}]\n{code}\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}sys.stderr.write(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(HEAVY) & set(done.stderr.split())


CLI = "from bench.cli import main\ntry:\n    main()\nexcept SystemExit as error:\n    assert not error.code"


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["list"], set()),
        (["list", "methods"], set()),
        (["list", "presets"], set()),
        (["run", "--help"], set()),
        (["report", "--help"], set()),
        (["fetch", "--help"], set()),
        (["sweep", "--help"], {"numpy", "rich"}),
        (["check", "--help"], {"numpy"}),
        (["list", "metrics"], {"numpy"}),
    ],
    ids=lambda words: " ".join(words if isinstance(words, list) else sorted(words)),
)
def test_what_only_informs_loads_nothing_heavy(arguments: list[str], allowed: set[str]) -> None:
    assert loaded(CLI, *arguments) <= allowed


@pytest.mark.parametrize("module", ["bench", "bench.run", "bench.schema"])
def test_imports_that_load_nothing_heavy(module: str) -> None:
    assert loaded(f"import {module}") == set()


def test_the_overview_names_every_command_and_its_examples_are_possible() -> None:
    text = guide.overview()
    assert {line.split()[0] for line in text.splitlines() if line.startswith("  ")} >= set(COMMANDS)
    examples = [line for line in text.splitlines() if line.startswith("  bench")]
    assert len(examples) == 3


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.schema])
def test_the_help_of_a_command_explains_every_key_it_has(name: str) -> None:
    text = guide.of_command(name)
    keys = list(guide.own_keys(name))
    assert keys
    for key in keys:
        assert f"  {key.name}=" in text
        assert key.takes
    assert COMMANDS[name].example in text
    for group in presets.chosen(name):
        assert all(re.search(rf"^    {preset}\b", text, re.MULTILINE) for preset in presets.names(group))


@pytest.mark.parametrize(
    ("command", "key", "takes", "default", "meaning"),
    [
        ("run", "threads", "whole number, 0 to", "0", "Threads per method"),
        ("run", "timeouts.load_s", "number, 1 to 604800", "3600", "A method: convert and load its model"),
        ("run", "allow_mixed", "true | false", "false", "Continue a run under another host"),
        ("check", "on_inconclusive", "inconclusive | pass | fail", "inconclusive", "Exit code"),
        ("check", "candidate", "existing folder, or null", "null", "Run directory"),
        ("fetch", "what", "hpatches | sp_v6, or null", "null", "hpatches (1.3 GB)"),
        ("train", "out", "folder", "results/train", ""),
    ],
)
def test_a_key_is_explained_from_its_schema(command: str, key: str, takes: str, default: str, meaning: str) -> None:
    (found,) = (one for one in guide.own_keys(command) if one.name == key)
    assert found.takes.startswith(takes)
    assert default in ("", found.default)
    assert found.meaning.startswith(meaning)


def test_the_defaults_of_the_help_are_those_of_the_composed_configuration() -> None:
    config = compose([], "run")
    for key in guide.own_keys("run"):
        value = config
        for part in key.name.split("."):
            value = getattr(value, part)
        if key.name != "cache" and isinstance(value, int | float) and not isinstance(value, bool):
            assert float(key.default) == value


def test_every_preset_has_a_line_that_says_what_it_is() -> None:
    for group in presets.groups():
        for name in presets.names(group):
            assert len(presets.describe(group, name)) > 8, f"{group}/{name}"
