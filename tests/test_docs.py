"""Commands and links of the documentation: each command composes, each link leads somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bench.commands import COMMANDS
from bench.commands.list import WHAT
from bench.config import compose

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
MADE = ("index.md", "presets.md", "commands.md", "api.md", "contributing.md", "changelog.md", "images/glossary/")
"""Pages and pictures that docs/site/pages.py writes."""
OUTSIDE = ("searchpath", "=mine", "...", "GROUP=", "key=", "dataset=NAME")
"""Commands with one of these need a file or a word of the reader's."""

PLUGINS = ("hydra/launcher=", "hydra/sweeper=", "hydra.launcher.", "hydra.sweeper.")
"""Words of launchers and sweepers, which come with extras."""


def commands(page: Path) -> list[str]:
    """Command lines of ``bench`` in blocks without a language, and commands with overrides in a line of text; comments
    and assignments before them removed."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += [line for line in re.findall(r"`([^`\n]*)`", text) if "=" in line]
    found = []
    for line in lines:
        command = re.sub(r"^(\w+=\S+ )+", "", line).split("  #")[0].strip()
        if re.match(r"bench ", command) and not any(part in command for part in OUTSIDE):
            found.append(command)
    return found


ALL = sorted({command for page in PAGES for command in commands(page)})


def test_the_pages_have_commands() -> None:
    assert len(ALL) >= 40


@pytest.mark.parametrize("command", ALL)
def test_a_command_composes(command: str) -> None:
    _, *words = shlex.split(command.replace("<run>", "RUN").replace("<date_time>", "DATE"))
    words = [word for word in words if not word.startswith(("-", *PLUGINS))]
    name = words.pop(0) if words and words[0] in COMMANDS else "run"
    if not COMMANDS[name].schema:
        assert words[0] in WHAT
        return
    if " -m " in command:
        words = [word.split(",")[0] if "[" not in word else word for word in words]
    compose(words, name)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_a_link_leads_to_a_file(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")) if "://" not in link]
    missing = [
        link for link in links if not (page.parent / link).exists() and not link.removeprefix("../").startswith(MADE)
    ]
    assert missing == []
