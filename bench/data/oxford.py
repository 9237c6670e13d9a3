"""Oxford affine covariant regions data set: ``img1`` to ``img6`` and ``H1to2p`` to ``H1to6p`` per sequence.

https://www.robots.ox.ac.uk/~vgg/research/affine/
"""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import DataError
from bench.core.types import DataSet
from bench.data.hpatches import TARGETS, find_image
from bench.data.sequences import Candidate, choose, collect, natural_key
from bench.schema import OxfordConfig

SPLITS = {
    "bark": "v", "boat": "v", "graf": "v", "wall": "v",
    "bikes": "i", "leuven": "i", "trees": "i", "ubc": "i",
}  # fmt: skip
"""``v``: zoom, rotation and viewpoint. ``i``: what changes the picture and hardly moves the camera: blur (bikes,
trees), light (leuven), JPEG compression (ubc). Their homographies are near the identity, exactly so for ubc only."""


def load(config: OxfordConfig, data_root: Path) -> DataSet:
    """Load the sequences found below ``root`` (default: ``<data_root>/oxford_affine``).

    Raises
    ------
    DataError
        If the folder is missing, a file is damaged, or no pair is complete.
    """
    root = Path(config.root) if config.root is not None else data_root / "oxford_affine"
    how = (
        f"folders {', '.join(sorted(SPLITS))} with img1.ppm, img2.ppm and H1to2p in {root} (subset {config.subset}); "
        "unpack the archives of https://www.robots.ox.ac.uk/~vgg/research/affine/ there, "
        "or name the folder with dataset.root=FOLDER"
    )
    if not root.is_dir():
        raise DataError(f"dataset oxford_affine: {root} is not a folder; looked for {how}")
    known = [name for name, split in SPLITS.items() if config.subset in ("all", "no_large", split)]
    present = sorted((name for name in SPLITS if (root / name).is_dir()), key=natural_key)
    names = [name for name in choose(present, config.sequences, root) if name in known]
    candidates = []
    for name in names:
        folder = root / name
        reference = find_image(folder, "img1", name)
        for k in TARGETS:
            target = find_image(folder, f"img{k}", name)
            candidates.append(Candidate(name, SPLITS[name], f"{name}/1-{k}", reference, target, folder / f"H1to{k}p"))
    expected = len(known) if config.sequences is None else len(names)
    return collect(
        "oxford_affine",
        candidates,
        sequences_expected=expected,
        pairs_expected=expected * len(TARGETS),
        looked_for=how,
    )
