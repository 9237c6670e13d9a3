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
from bench.core.names import safe_key
from bench.core.progress import track
from bench.core.types import DataSet, ImageRef, Pair, Transform
from bench.data.images import decode_image, findings, read_bytes
from bench.data.plausible import Thumbnail, impossible, suspicious, thumbnail
from bench.geometry.transforms import is_valid_homography

log = logging.getLogger(__name__)
_PROGRESS_FROM_IMAGES = 120
_HOMOGRAPHY_BYTES = 1 << 16


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
    if path.is_file() and (size := path.stat().st_size) > _HOMOGRAPHY_BYTES:
        raise DataError(f"{path}: {size} bytes are too many for 3x3 numbers; restore it from its source")
    try:
        text = read_bytes(path).decode("ascii")
        rows = [
            [_number(cell) for cell in line.replace(",", " ").split()] for line in text.splitlines() if line.strip()
        ]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file of 3x3 numbers; restore it from its source") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}; a homography file holds 3x3 numbers; restore it from its source") from error
    lengths = [len(row) for row in rows]
    if lengths != [3, 3, 3]:
        raise DataError(
            f"{path}: a homography file holds 3 rows of 3 numbers, this one has {len(rows)} rows "
            f"of lengths {lengths[:6]}; "
            "restore it from its source"
        )
    H = np.array(rows, dtype=np.float64)
    if not np.isfinite(H).all():
        raise DataError(f"{path}: the homography holds NaN or infinity; restore it from its source")
    if not is_valid_homography(H):
        raise DataError(f"{path}: the homography is singular; restore it from its source")
    return H


def _number(cell: str) -> float:
    if "_" in cell:  # Python takes 1_0 for 10
        raise ValueError(f"{cell[:40]!r} is not a number")
    return float(cell)


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


@dataclass(frozen=True, slots=True)
class _Checked:
    """What the checks need to know of an image once it is decoded."""

    sha256: str
    thumbnail: Thumbnail
    warnings: tuple[str, ...]


def _checked_images(paths: Sequence[Path], name: str) -> dict[Path, _Checked]:
    """Decode each file."""
    checked = {}
    for path in paths if len(paths) < _PROGRESS_FROM_IMAGES else track(paths, f"Checking images of {name}"):
        data = read_bytes(path)
        image = decode_image(data, path)
        checked[path] = _Checked(hashlib.sha256(data).hexdigest(), thumbnail(image), tuple(findings(data, path)))
    return checked


def _checked_homography(pair: Pair, path: Path, images: dict[Path, _Checked]) -> list[str]:
    """Warnings about a pair whose homography can be solved."""
    reference, target = (images[ref.path].thumbnail for ref in (pair.reference, pair.target))
    if (reason := impossible(pair.H_ref_to_target, reference.size)) is not None:
        raise DataError(f"{path}: {reason}; no method can solve the pair {pair.name}, correct the file or leave it out")
    reason = suspicious(pair.H_ref_to_target, reference, target)
    return [] if reason is None else [f"{path}: {reason}"]


def collect(
    name: str, candidates: Sequence[Candidate], *, sequences_expected: int, pairs_expected: int, looked_for: str
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
        If no sequence is complete, a file of a complete sequence is damaged, a homography cannot be solved, or a name
        cannot name a file.
    """
    for candidate in candidates:
        safe_key(candidate.name, "the pair", DataError)
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
    images = _checked_images(paths, name)
    warnings = [warning for checked in images.values() for warning in checked.warnings]
    for pair, candidate in zip(pairs, complete, strict=True):
        warnings += _checked_homography(pair, candidate.homography, images)
    digests = {path: checked.sha256 for path, checked in images.items()}
    n_sequences = len({c.sequence for c in complete})
    note = f"{n_sequences} of {sequences_expected} sequences, {len(complete)} of {pairs_expected} pairs"
    return DataSet(name, pairs, sequences_expected, pairs_expected, note, _digest(pairs, digests), tuple(warnings))
