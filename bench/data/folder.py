"""The user's own images: warped and relit like `photos`, or pairs with their homographies listed in a CSV file."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from functools import partial
from pathlib import Path

from bench.core.errors import ConfigError, DataError
from bench.core.types import DataSet, ImageRef, Size
from bench.data.generated import Recipe, Settings, build
from bench.data.hpatches import load_layout
from bench.data.images import EXTENSIONS, read_bytes, read_image
from bench.data.sequences import Candidate, choose, collect, natural_key, read_homography
from bench.schema import FolderConfig
from bench.schema.options import Subset

MAX_MAGNIFICATION = 4.0


def _slug(path: Path, root: Path) -> str:
    """Name of a file for keys: its path below `root` without extension, other characters as ``_``."""
    relative = path.relative_to(root)
    return re.sub(r"[^A-Za-z0-9.-]+", "_", relative.with_suffix("").as_posix())


def _absolute(path: Path) -> Path:
    """The path without `..`, links not followed: names are what the user called the files, not where links lead."""
    return Path(os.path.normpath(Path.cwd() / path))


def _unique(paths: list[Path], root: Path) -> dict[Path, str]:
    """Slug of each path; where two collide, a digest of the path below `root` is appended."""
    slugs = {path: _slug(path, root) for path in paths}
    taken = list(slugs.values())
    return {
        path: f"{slug}_{hashlib.sha256(os.fsencode(path.relative_to(root))).hexdigest()[:8]}"
        if taken.count(slug) > 1
        else slug
        for path, slug in slugs.items()
    }


def _load_warped(config: FolderConfig, root: Path) -> DataSet:
    paths = sorted(
        (p for p in root.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file()),
        key=lambda p: natural_key(str(p.relative_to(root))),
    )
    how = f"images ({', '.join(EXTENSIONS)}) in {root} and its subfolders; name another folder with dataset.root=FOLDER"
    if not paths:
        raise DataError(f"dataset folder: no images; looked for {how}")
    names = _unique(paths, root)
    recipes = []
    for number, path in enumerate(paths):
        digest = hashlib.sha256(read_bytes(path)).hexdigest()
        read_image(path)
        recipes += [Recipe(f"{split}_{names[path]}", digest, partial(read_image, path), number) for split in "iv"]
    settings = Settings(
        Size(config.height, config.width), config.seed, config.max_rotation_deg, config.max_scale, MAX_MAGNIFICATION
    )
    made = build("folder", sorted(recipes, key=lambda r: natural_key(r.name)), settings, None)
    expected = sum(config.subset in ("all", "no_large", recipe.name[0]) for recipe in recipes)
    return load_layout("folder", made, config.subset, config.sequences, expected, how)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Numbered rows of the CSV file without blank lines, comments and the header."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
        rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(text.splitlines()), 1)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    rows = [(number, row) for number, row in rows if any(row) and not row[0].startswith("#")]
    if rows and rows[0][1][0].lower() == "image1":
        rows = rows[1:]
    return rows


def _load_csv(config: FolderConfig, path: Path) -> DataSet:
    rows = _rows(path)
    base = _absolute(path.parent)
    files: list[tuple[int, Path, Path, Path, str]] = []
    readable: set[Path] = set()
    for number, row in rows:
        if len(row) not in (3, 4):
            raise DataError(
                f"{path}, line {number}: {len(row)} cells; a row is image1,image2,H-file and, if wanted, "
                "the split i or v"
            )
        split = row[3] if len(row) == 4 and row[3] else "-"
        if split not in ("i", "v", "-"):
            raise DataError(f"{path}, line {number}: split {split!r} is not possible; allowed: i, v or nothing")
        image1, image2, homography = (_absolute(base / cell) for cell in row[:3])
        for file, what in ((image1, "image1"), (image2, "image2"), (homography, "the H-file")):
            if not file.is_file():
                raise DataError(
                    f"{path}, line {number}: {what} {file} does not exist; paths are relative to the CSV file"
                )
        try:
            read_homography(homography)
            for image in {image1, image2} - readable:
                read_image(image)
                readable.add(image)
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        files.append((number, image1, image2, homography, split))
    images = list(dict.fromkeys(p for _, a, b, _, _ in files for p in (a, b)))
    # Names must not tell where the files lie: below the CSV file, or else below the folder that all images share.
    if images and not all(image.is_relative_to(base) for image in images):
        base = Path(os.path.commonpath([image.parent for image in images]))
    keys = _unique(images, base)
    choose(list(dict.fromkeys(keys[image1] for _, image1, _, _, _ in files)), config.sequences, path)
    candidates: dict[str, tuple[int, Candidate]] = {}
    for number, image1, image2, homography, split in files:
        if config.subset in (Subset.i, Subset.v) and split != config.subset:
            continue
        # Pairs that share their reference image are one cluster.
        sequence, name = keys[image1], f"{keys[image1]}/{keys[image2]}"
        if config.sequences is not None and sequence not in config.sequences:
            continue
        if name in candidates:
            raise DataError(f"{path}, line {number}: the pair of line {candidates[name][0]} again; remove one of them")
        reference = ImageRef(f"{path.stem}/{keys[image1]}", image1)
        target = ImageRef(f"{path.stem}/{keys[image2]}", image2)
        candidates[name] = (number, Candidate(sequence, split, name, reference, target, homography))
    needed = f" whose fourth cell is {config.subset}" if config.subset in (Subset.i, Subset.v) else ""
    chosen = [candidate for _, candidate in candidates.values()]
    return collect(
        "folder",
        chosen,
        sequences_expected=len({c.sequence for c in chosen}),
        pairs_expected=len(chosen),
        looked_for=f"rows image1,image2,H-file{needed} in {path}; name another file with dataset.csv=FILE",
    )


def load(config: FolderConfig, data_root: Path) -> DataSet:
    """Load the user's images.

    With ``csv``: a row per pair, ``image1,image2,H-file[,split]``; paths relative to the file, an optional header
    starting with ``image1``, lines starting with ``#`` ignored. Without: every image below ``root`` becomes a viewpoint
    and an illumination sequence, made below `data_root` on first use.

    Raises
    ------
    ConfigError
        If neither ``root`` nor ``csv`` is given.
    DataError
        If a row, image or homography is missing or damaged (named with its line), or there is no pair.
    """
    if config.csv is not None:
        return _load_csv(config, Path(config.csv))
    if config.root is None:
        raise ConfigError("dataset.root or dataset.csv must be given with dataset=folder, e.g. dataset.root=my_images")
    root = Path(config.root)
    if not root.is_dir():
        raise DataError(f"dataset folder: {root} is not a folder; name a folder of images with dataset.root=FOLDER")
    return _load_warped(config, root)
