"""From candidate pairs to a checked data set: which pairs are complete, do they decode, what is their digest."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.core.errors import DataError
from bench.core.types import DataSet, ImageRef, Pair, Transform
from bench.data.images import decode_image, read_bytes
from bench.geometry.transforms import is_valid_homography

log = logging.getLogger(__name__)
_PROGRESS_FROM_IMAGES = 120


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair that exists if its three files do.

    Attributes
    ----------
    sequence, split, name : str
        As in :class:`bench.core.types.Pair`.
    reference, target : ImageRef or None
        None where the image file is missing.
    homography : Path
        Text file; missing: the sequence is incomplete.
    """

    sequence: str
    split: str
    name: str
    reference: ImageRef | None
    target: ImageRef | None
    homography: Path


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``img2`` before ``img10``."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|\D+", text))


def read_homography(path: Path) -> Transform:
    """Read nine numbers from a text file of three rows.

    Parameters
    ----------
    path : Path
        Numbers separated by blanks or commas.

    Returns
    -------
    (3, 3) float64
        Maps pixels of the reference image to pixels of the target image.

    Raises
    ------
    DataError
        If the file is missing, not text, not 3x3, not finite, or the matrix is singular.
    """
    try:
        text = read_bytes(path).decode("ascii")
        rows = [[float(cell) for cell in line.replace(",", " ").split()] for line in text.splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file of 3x3 numbers; restore it from its source") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}; a homography file holds 3x3 numbers; restore it from its source") from error
    lengths = [len(row) for row in rows]
    if lengths != [3, 3, 3]:
        raise DataError(
            f"{path}: a homography file holds 3 rows of 3 numbers, this one has {len(rows)} rows of lengths {lengths}; "
            "restore it from its source"
        )
    H = np.array(rows, dtype=np.float64)
    if not np.isfinite(H).all():
        raise DataError(f"{path}: the homography holds NaN or infinity; restore it from its source")
    if not is_valid_homography(H):
        raise DataError(f"{path}: the homography is singular; restore it from its source")
    return H


def complete_sequences(candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[str]]:
    """Split candidates into those of complete sequences and the names of sequences that lack a file.

    A sequence runs as a whole or not at all: its pairs are one cluster of the statistics, and its five targets are of
    growing difficulty, so a part of it would be neither.
    """
    lacking = {c.sequence for c in candidates if not (c.reference and c.target and c.homography.is_file())}
    incomplete = [name for name in dict.fromkeys(c.sequence for c in candidates) if name in lacking]
    return [c for c in candidates if c.sequence not in lacking], incomplete


def choose(names: Sequence[str], wanted: Sequence[str] | None, where: Path | str) -> list[str]:
    """Restrict sequence names to those asked for.

    Raises
    ------
    DataError
        If a name asked for is not there.
    """
    if wanted is None:
        return list(names)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"dataset.sequences: {', '.join(missing)} not found in {where}; there: {', '.join(names) or 'none'}"
        )
    return [name for name in names if name in set(wanted)]


def _digest(pairs: Sequence[Pair], image_digests: dict[Path, str]) -> str:
    total = hashlib.sha256()
    for pair in sorted(pairs, key=lambda p: p.name):
        H = np.ascontiguousarray(pair.H_ref_to_target, dtype="<f8")
        images = f"{image_digests[pair.reference.path]} {image_digests[pair.target.path]}"
        total.update(f"{pair.name}\n{images}\n".encode())
        total.update(H.tobytes())
    return total.hexdigest()


def _checked_images(paths: Sequence[Path], name: str) -> dict[Path, str]:
    """SHA-256 of each file, after decoding it."""
    from rich.console import Console
    from rich.progress import track

    quiet = len(paths) < _PROGRESS_FROM_IMAGES
    digests = {}
    for path in track(
        paths, description=f"Checking images of {name}", console=Console(stderr=True), transient=True, disable=quiet
    ):
        data = read_bytes(path)
        decode_image(data, path)
        digests[path] = hashlib.sha256(data).hexdigest()
    return digests


def collect(
    name: str,
    candidates: Sequence[Candidate],
    *,
    sequences_expected: int,
    pairs_expected: int,
    looked_for: str,
) -> DataSet:
    """Build the data set of all complete sequences; every image is read and decoded once.

    Parameters
    ----------
    name : str
        Of the data set.
    candidates : sequence of Candidate
        In the order of evaluation.
    sequences_expected, pairs_expected : int
        Of a complete copy.
    looked_for : str
        What was looked for, where, and how to get it; ends the error of an empty set.

    Raises
    ------
    DataError
        If no sequence is complete, or a file of a complete sequence is damaged.
    """
    complete, incomplete = complete_sequences(candidates)
    if incomplete:
        log.warning("%s: %s incomplete, left out", name, ", ".join(incomplete))
    if not complete:
        raise DataError(f"dataset {name}: no complete sequence; looked for {looked_for}")
    pairs = tuple(
        Pair(c.reference, c.target, read_homography(c.homography), c.sequence, c.split, c.name)
        for c in complete
        if c.reference and c.target
    )
    paths = list(dict.fromkeys(ref.path for pair in pairs for ref in (pair.reference, pair.target)))
    digests = _checked_images(paths, name)
    n_sequences = len({c.sequence for c in complete})
    note = f"{n_sequences} of {sequences_expected} sequences, {len(complete)} of {pairs_expected} pairs"
    return DataSet(name, pairs, sequences_expected, pairs_expected, note, _digest(pairs, digests))
