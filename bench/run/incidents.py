"""What happened to the workers of a run, on disk from the moment it happened, so that a kill does not hide it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import StoreError
from bench.core.files import read_json, write_json


@dataclass
class Incidents:
    """Deaths of workers.

    Attributes
    ----------
    path : Path
        JSON file that holds the lists.
    died : list of str
        Methods of which a worker's death lost an extraction.
    notes : list of str
        Deaths that lost nothing, a sentence each.
    """

    path: Path
    died: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, directory: Path) -> Incidents:
        """Those of a run directory so far.

        Raises
        ------
        StoreError
            If the file is damaged.
        """
        path = directory / "parts/incidents.json"
        if not path.is_file():
            return cls(path)
        try:
            content = read_json(path)
            return cls(path, [str(name) for name in content["died"]], [str(note) for note in content["notes"]])
        except (KeyError, TypeError) as error:
            raise StoreError(f"cannot read {path}: no lists of deaths and notes; start a new run") from error

    def lost(self, method: str) -> None:
        """A death of `method`'s worker lost an extraction."""
        if method not in self.died:
            self.died.append(method)
            self._write()

    def note(self, text: str) -> None:
        """A death lost nothing."""
        self.notes.append(text)
        self._write()

    def _write(self) -> None:
        write_json(self.path, {"died": self.died, "notes": self.notes})
