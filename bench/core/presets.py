"""Which presets ship with the package, and the line that says what each is, without composing any."""

from __future__ import annotations

import re
from pathlib import Path

from bench.core.resources import resource


def groups() -> list[str]:
    """Names of the groups of presets."""
    return sorted(path.name for path in resource("conf").iterdir() if path.is_dir())


def names(group: str) -> list[str]:
    """Names of a group's presets, sorted."""
    return sorted(path.stem for path in (resource("conf") / group).glob("*.yaml"))


def chosen(command: str) -> dict[str, str]:
    """Groups that a command has, in its order, each with the preset it takes by default (empty: none)."""
    text = (resource("conf") / f"{command}.yaml").read_text(encoding="utf-8")
    found = re.findall(r"^  - (?:optional )?([a-z]+): (\S+)$", text, flags=re.MULTILINE)
    return {group: "" if name == "null" else name for group, name in found}


def describe(group: str, name: str) -> str:
    """One line about a preset: its ``title`` if it has one, else the first sentence of the comment it begins with; a
    protocol in which the ground truth selects keypoints says so."""
    return _line(resource("conf") / group / f"{name}.yaml")


def _line(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    title = re.search(r"^title: (.+)$", text, flags=re.MULTILINE)
    if title:
        leak = re.search(r"^gt_leak: true$", text, flags=re.MULTILINE)
        return title[1].strip("\"'") + ("; leak: the ground truth selects keypoints" if leak else "")
    comment = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            comment.append(line.removeprefix("#").strip())
    sentence = re.match(r"(.+?)(?:\.(?:\s|$)|$)", " ".join(comment))
    return sentence[1] if sentence else ""
