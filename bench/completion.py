"""Completion in bash, zsh and fish: commands, options, keys, their values, presets and runs, without Hydra.

argcomplete speaks with the shells; this file says what can follow.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.commands import COMMANDS
from bench.core import presets
from bench.guide import OPTIONS, own_keys


def shell_code(shell: str) -> str:
    """Code that a shell evaluates to complete ``bench``: ``eval "$(bench --completion bash)"``."""
    from argcomplete.shell_integration import shellcode

    return shellcode(["bench"], shell=shell)


def answer() -> None:
    """Answer the shell that asks through argcomplete's environment variables, and leave the process."""
    import argcomplete

    parser = argparse.ArgumentParser(prog="bench", add_help=False, prefix_chars="\0")
    action = parser.add_argument("words", nargs="*")
    action.completer = lambda prefix, parsed_args, **_: candidates(parsed_args.words or [], prefix)  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, always_complete_options=False)


def candidates(before: Sequence[str], word: str) -> list[str]:
    """What `word` can become.

    Parameters
    ----------
    before : sequence of str
        Words between ``bench`` and it.
    word : str
        Up to the cursor.
    """
    name = before[0] if before and before[0] in COMMANDS else "run"
    found: Iterable[str]
    key, equals, value = word.partition("=")
    if word.startswith("-"):
        found = OPTIONS
    elif not COMMANDS[name].schema:
        from bench.commands.list import WHAT

        found = WHAT if len(before) == 1 else ()
    elif equals:
        found = (f"{key}={one}" for one in _values(name, key, value))
    else:
        found = _words(name, first=not before)
    return [one for one in found if one.startswith(word)]


def _words(name: str, first: bool) -> list[str]:
    groups = list(presets.chosen(name))
    added = ["methods.add=", "methods.drop="] if "methods" in groups else []
    commands = list(COMMANDS) if first else []
    return [*commands, *(f"{group}=" for group in groups), *added, *(f"{key.name}=" for key in own_keys(name))]


def _values(name: str, key: str, value: str) -> Iterable[str]:
    group = "method" if key.startswith("+method@") else key
    if key in ("methods.add", "methods.drop"):
        begun = value[: max(value.rfind("["), value.rfind(",")) + 1]
        return [f"{begun}{one}" for one in presets.names("method")]
    if group == "method" or group in presets.chosen(name):
        return presets.names(group)
    found = next((one for one in own_keys(name) if one.name == key), None)
    if found is None:
        return ()
    if found.words:
        return found.words
    return _paths(value) if found.path else ()


def _paths(begun: str) -> list[str]:
    folder, _, _ = begun.rpartition("/")
    try:
        entries = sorted(Path(folder or ("/" if begun.startswith("/") else ".")).iterdir())
    except OSError:
        return []
    before = f"{folder}/" if "/" in begun else ""
    return [f"{before}{entry.name}{'/' if entry.is_dir() else ''}" for entry in entries]
