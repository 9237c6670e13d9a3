"""The floors of the house: contract, page and code say the same."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]


def floors() -> list[list[str]]:
    """Layers of the import contract, highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    return [[room.strip() for room in layer.split("|")] for layer in contract["layers"]]


def test_the_page_lists_the_floors_of_the_contract_in_their_order() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \|", page, flags=re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == floors()


def test_every_room_has_a_floor() -> None:
    rooms = {path.parent.name for path in (ROOT / "bench").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "bench").glob("*.py")} - {"__init__", "__main__"}
    assert rooms | modules == {room for floor in floors() for room in floor}


def test_data_flows_one_way() -> None:
    # In a process of its own: import-linter silences the loggers of the one it runs in.
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def room(module: str) -> str:
    """The part below ``bench`` of a module's name."""
    return module.partition(".")[2].partition(".")[0]


def test_rooms_know_few_others() -> None:
    graph = grimp.build_graph("bench", cache_dir=None)
    rooms = {path.parent.name for path in (ROOT / "bench").glob("*/__init__.py")}
    imports = {
        (room(module), room(other))
        for module in graph.modules
        for other in graph.find_modules_directly_imported_by(module)
    }
    arrows = sorted((low, high) for low, high in imports if low != high and {low, high} <= rooms)
    assert len(rooms) <= 20 and len(arrows) <= 80, f"{len(rooms)} rooms, {len(arrows)} arrows: {arrows}"
