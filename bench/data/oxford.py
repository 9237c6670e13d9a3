"""Oxford affine covariant regions data set: ``img1`` to ``img6`` and ``H1to2p`` to ``H1to6p`` per sequence.

https://www.robots.ox.ac.uk/~vgg/research/affine/
"""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import DataError
from bench.core.types import DataSet
from bench.data.hpatches import TARGETS, find_file, find_image
from bench.data.sequences import Candidate, choose, collect, natural_key
from bench.schema import OxfordConfig

SPLITS = {"bark": "v", "boat": "v", "graf": "v", "wall": "v", "bikes": "i", "leuven": "i", "trees": "i", "ubc": "i"}
"""``v``: zoom, rotation and viewpoint. ``i``: what changes the picture and hardly moves the camera: blur (bikes,
trees), light (leuven), JPEG compression (ubc). Their homographies are near the identity, exactly so for ubc only."""


def _in_layout(folder: Path) -> bool:
    """Whether a folder is one of the eight, or has a first image or a first homography in the layout."""
    if not folder.is_dir():
        return False
    return (
        folder.name.lower() in SPLITS
        or find_image(folder, "img1", "") is not None
        or find_file(folder, "H1to2p").is_file()
    )


def load(config: OxfordConfig, data_root: Path) -> DataSet:
    """Load the sequences found below ``root`` (default: ``<data_root>/oxford_affine``): the eight, and any other folder
    in their layout, whose split is ``-``.

    Raises
    ------
    DataError
        If the folder is missing, a file is damaged, or no pair is complete.
    """
    root = Path(config.root) if config.root is not None else data_root / "oxford_affine"
    how = (
        f"folders such as {', '.join(sorted(SPLITS))} with img1.ppm, img2.ppm and H1to2p in {root} "
        f"(subset {config.subset}); "
        "unpack the archives of https://www.robots.ox.ac.uk/~vgg/research/affine/ there, "
        "or name the folder with dataset.root=FOLDER"
    )
    if not root.is_dir():
        raise DataError(f"dataset oxford_affine: {root} is not a folder; looked for {how}")
    present = sorted((folder.name for folder in root.iterdir() if _in_layout(folder)), key=natural_key)
    chosen = choose(present, config.sequences, root)
    names = [name for name in chosen if config.subset in ("all", "no_large", SPLITS.get(name.lower(), "-"))]
    candidates = []
    for name in names:
        folder = root / name
        reference = find_image(folder, "img1", name)
        for k in TARGETS:
            target = find_image(folder, f"img{k}", name)
            split, homography = SPLITS.get(name.lower(), "-"), find_file(folder, f"H1to{k}p")
            candidates.append(Candidate(name, split, f"{name}/1-{k}", reference, target, homography))
    expected = len(names)
    if config.sequences is None and (not names or any(name.lower() in SPLITS for name in names)):
        known = [name for name, split in SPLITS.items() if config.subset in ("all", "no_large", split)]
        expected += len(set(known) - {name.lower() for name in names})
    return collect(
        "oxford_affine", candidates, sequences_expected=expected, pairs_expected=expected * len(TARGETS), looked_for=how
    )
