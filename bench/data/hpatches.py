"""HPatches full image sequences, and every folder in their layout.

``i_<name>/`` and ``v_<name>/`` hold images ``1`` to ``6`` and text files ``H_1_2`` to ``H_1_6`` that map pixels of
image 1 to pixels of image k (https://github.com/hpatches/hpatches-dataset).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import DataError
from bench.core.types import DataSet, ImageRef
from bench.data.download import fetch, read_lock
from bench.data.images import EXTENSIONS
from bench.data.sequences import Candidate, choose, collect, natural_key
from bench.schema import HPatchesConfig

LARGE = (
    "i_contruction",
    "i_crownnight",
    "i_dc",
    "i_pencils",
    "i_whitebuilding",
    "v_artisans",
    "v_astronautis",
    "v_talent",
)
"""Sequences with images above 1600x1200, left out by D2-Net, glue-factory and others; spelled as on disk."""

SEQUENCES_EXPECTED = {"all": 116, "no_large": 108, "i": 57, "v": 59}
TARGETS = (2, 3, 4, 5, 6)
_ARCHIVE_FOLDER = "hpatches-sequences-release"


def sequence_names(root: Path, subset: str) -> list[str]:
    """Names of the sequence folders of a subset, naturally sorted."""
    names = [p.name for p in root.iterdir() if p.is_dir() and p.name.startswith(("i_", "v_"))]
    if subset == "no_large":
        names = [name for name in names if name not in LARGE]
    elif subset in ("i", "v"):
        names = [name for name in names if name.startswith(f"{subset}_")]
    return sorted(names, key=natural_key)


def find_image(folder: Path, stem: str, sequence: str) -> ImageRef | None:
    """Image `stem` of a folder with any known extension, in any case; PPM first, where there are several."""
    for extension in EXTENSIONS:
        path = find_file(folder, f"{stem}{extension}")
        if path.is_file():
            return ImageRef(f"{sequence}/{stem}", path)
    return None


def find_file(folder: Path, name: str) -> Path:
    """File of a folder whose name differs in case at most; `name` itself where it exists or none does."""
    path = folder / name
    if path.is_file() or not folder.is_dir():
        return path
    return next((other for other in sorted(folder.iterdir()) if other.name.lower() == name.lower()), path)


def candidates(root: Path, names: Sequence[str]) -> list[Candidate]:
    """All pairs 1-k of the named sequences, complete or not."""
    found = []
    for sequence in names:
        folder = root / sequence
        reference = find_image(folder, "1", sequence)
        for k in TARGETS:
            target = find_image(folder, str(k), sequence)
            name = f"{sequence}/1-{k}"
            found.append(Candidate(sequence, sequence[0], name, reference, target, find_file(folder, f"H_1_{k}")))
    return found


def load_layout(
    name: str, root: Path, subset: str, wanted: Sequence[str] | None, sequences_expected: int, looked_for: str
) -> DataSet:
    """Load a folder in the HPatches layout; see :func:`bench.data.sequences.collect`."""
    names = choose(sequence_names(root, "all"), wanted, root)
    in_subset = sequence_names(root, subset)
    names = [sequence for sequence in names if sequence in in_subset]
    expected = len(names) if wanted is not None else sequences_expected
    return collect(
        name,
        candidates(root, names),
        sequences_expected=expected,
        pairs_expected=expected * len(TARGETS),
        looked_for=looked_for,
    )


def load(config: HPatchesConfig, data_root: Path) -> DataSet:
    """Load HPatches; without ``root`` it is downloaded below `data_root` once.

    Raises
    ------
    DataError
        If the folder or the download is missing or damaged, or no pair is complete.
    """
    if config.root is None:
        root = data_root / "hpatches"
        if config.download:
            root = fetch(read_lock("hpatches"), data_root)
    else:
        root = Path(config.root)
    if (root / _ARCHIVE_FOLDER).is_dir():
        root = root / _ARCHIVE_FOLDER
    how = (
        f"folders i_*/ and v_*/ with 1.ppm, 2.ppm and H_1_2 in {root} (subset {config.subset}); "
        "`bench fetch what=hpatches` downloads HPatches, dataset.root=FOLDER names another place"
    )
    if not root.is_dir():
        raise DataError(f"dataset hpatches: {root} is not a folder; looked for {how}")
    return load_layout("hpatches", root, config.subset, config.sequences, SEQUENCES_EXPECTED[config.subset], how)
