"""Pages that are made from the files that define them; run by mkdocs (plugin gen-files), see mkdocs.yml.

The README becomes the first page, CONTRIBUTING and CHANGELOG pages of their own. Each YAML of `conf/` is a section of
the page of presets, the table of commands comes from :data:`bench.commands.COMMANDS`, the pictures of the glossary from
:mod:`pictures` beside this file.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import mkdocs_gen_files

import bench
from bench.commands import COMMANDS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from pictures import pictures  # noqa: E402

FILES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
GROUPS = {
    "protocol": "Protocols",
    "dataset": "Data sets",
    "methods": "Sets of methods",
    "method": "Methods",
    "model": "Models",
    "latency": "How latency is measured",
    "experiment": "Experiments",
    "train": "Training",
}
"""Folder of `conf/` -> heading."""


def relocated(text: str) -> str:
    """Links of a file of the repository's top folder, as seen from the site: `docs/x.md` is `x.md`."""
    for name, page in FILES.items():
        text = text.replace(f"]({name})", f"]({page})")
    return re.sub(r"\]\(docs/", "](", text)


def write(page: str, text: str | bytes) -> None:
    """Add a page or a picture to the site."""
    with mkdocs_gen_files.open(page, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def header(text: str) -> str:
    """The comment at the top of a YAML as prose."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def presets() -> str:
    """One section a group, one subsection a preset: its comment and its YAML."""
    parts = [
        "# Presets",
        "Every preset is a YAML in `conf/`: `bench GROUP=NAME` takes it, `bench --cfg job GROUP=NAME` prints it.",
    ]
    for folder, title in GROUPS.items():
        parts.append(f"## {title}")
        for path in sorted((ROOT / "conf" / folder).glob("*.yaml")):
            if path.stem.startswith("schema"):
                continue
            text = path.read_text(encoding="utf-8")
            parts.append(f"### `{folder}={path.stem}` {{ #{folder}-{path.stem} }}")
            parts.append(header(text))
            body = [line for line in text.splitlines() if line.startswith("# @package") or not line.startswith("#")]
            parts.append("\n".join(["```yaml", *body, "```"]))
    return "\n\n".join(part for part in parts if part) + "\n"


def commands() -> str:
    """The table of commands, and the primary configuration of each."""
    parts = ["# Commands", "`bench COMMAND --help` prints the keys of a command; here are their values as shipped."]
    for name, command in COMMANDS.items():
        path = ROOT / "conf" / f"{name}.yaml"
        parts.append(f"## `bench{'' if name == 'run' else ' ' + name}` {{ #{name} }}")
        parts.append(f"{command.text[0].upper()}{command.text[1:]}.\n\n```\n{command.example}\n```")
        if path.is_file():
            parts.append(f"```yaml\n{path.read_text(encoding='utf-8').strip()}\n```")
    return "\n\n".join(parts) + "\n"


def api() -> str:
    """The public face: every name of `bench.__all__`."""
    names = sorted(bench.__all__, key=lambda name: (not name[0].islower(), name))
    return (
        "\n\n".join(["# Python", "`import bench` gives these names."] + [f"::: bench.{name}" for name in names]) + "\n"
    )


for source, target in FILES.items():
    write(target, relocated((ROOT / source).read_text(encoding="utf-8")))
write("presets.md", presets())
write("commands.md", commands())
write("api.md", api())
for name, content in pictures().items():
    write(f"images/glossary/{name}.svg", content)
