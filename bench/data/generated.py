"""Data sets made from photographs: written once in the HPatches layout, verified whenever they are used again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bench.core.errors import DataError, DiskFullError, StoreError
from bench.core.files import locked, staged_folder
from bench.core.progress import track
from bench.core.resources import CACHE, DATASETS, cache_folder
from bench.core.types import Size, Transform
from bench.data.warp import Image, draw_camera, limited, orbit, reference_view, relight, render

TARGETS = 5
VERSION = 1
"""Raised whenever the same recipe would give other pixels."""
_INDEX = "index.json"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One sequence to make.

    Attributes
    ----------
    name : str
        ``v_<name>`` or ``i_<name>``.
    source_sha256 : str
        Of the photograph's file.
    source : callable
        Returns the photograph, (H, W) or (H, W, 3) uint8 BGR.
    number : int
        Position of the photograph; with the data set's seed it determines all random numbers.
    """

    name: str
    source_sha256: str
    source: Callable[[], Image]
    number: int


@dataclass(frozen=True, slots=True)
class Pose:
    """A view straight from the front: content turned about the view's centre (from x towards y) and magnified."""

    rotation_deg: float
    scale: float

    @property
    def name(self) -> str:
        """``r<rotation_deg>_s<scale>``, the stem of the image."""
        return f"r{self.rotation_deg:g}_s{self.scale:g}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What determines the images besides the photographs.

    Attributes
    ----------
    poses : tuple of Pose
        The targets; without any, five targets are drawn.
    """

    size: Size
    seed: int
    max_rotation_deg: float
    max_scale: float
    max_magnification: float
    poses: tuple[Pose, ...] = ()


def _write_png(path: Path, image: Image) -> str:
    ok, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise DataError(f"{path}: OpenCV could not encode the image as PNG; check the installation of opencv")
    content = data.tobytes()
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _target_view(rng: np.random.Generator, settings: Settings, image: int, severity: float) -> Transform:
    """Homography from the reference to viewpoint target `image`, from 1: its pose, or a drawn camera."""
    if not settings.poses:
        return draw_camera(rng, settings.size, severity, settings.max_rotation_deg, settings.max_scale).H_ref_to_target
    pose = settings.poses[image - 1]
    H = orbit(settings.size, 0.0, 0.0, np.deg2rad(pose.rotation_deg), pose.scale)
    return np.asarray(H / H[2, 2])


def make_sequence(recipe: Recipe, settings: Settings, folder: Path) -> dict[str, str]:
    """Render one sequence into `folder`: image 1 and its targets.

    Drawn target image k + 1 has severity (k / 5) ** 0.6; targets of given poses have the reference's light.

    Returns
    -------
    dict
        SHA-256 of every file written, by name.
    """
    kind = recipe.name[0]
    split_code = {"i": 0, "v": 1}[kind]
    source = limited(recipe.source(), settings.size)
    try:
        T_source_to_ref = reference_view(Size(*source.shape[:2]), settings.size, settings.max_magnification)
    except DataError as error:
        raise DataError(f"{recipe.name}: {error}") from error
    folder.mkdir(parents=True)
    reference = render(source, T_source_to_ref, settings.size)
    digests = {}
    stems = [pose.name for pose in settings.poses] or [str(k + 1) for k in range(1, TARGETS + 1)]
    for image, stem in enumerate(["1", *stems]):
        rng = np.random.default_rng((settings.seed, VERSION, split_code, recipe.number, image))
        severity = 0.0 if settings.poses else (image / TARGETS) ** 0.6
        H = np.eye(3)
        if image == 0:
            view = relight(reference, rng, 0.0)
        elif kind == "i":
            view = relight(reference, rng, severity)
        else:
            H = _target_view(rng, settings, image, severity)
            # The light changes a little with the viewpoint, as it does between two real photographs.
            view = relight(render(source, H @ T_source_to_ref, settings.size), rng, 0.5 * severity)
        digests[f"{stem}.png"] = _write_png(folder / f"{stem}.png", view)
        if image > 0:
            text = "\n".join(" ".join(repr(float(value)) for value in row) for row in H) + "\n"
            (folder / f"H_1_{stem}").write_text(text, encoding="ascii")
            digests[f"H_1_{stem}"] = hashlib.sha256(text.encode()).hexdigest()
    return digests


def _intact(root: Path) -> bool:
    """Whether every file listed in the index is there with its digest."""
    try:
        index = json.loads((root / _INDEX).read_text(encoding="utf-8"))
        return all(
            hashlib.sha256((root / name).read_bytes()).hexdigest() == digest for name, digest in index["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def build(kind: str, recipes: Sequence[Recipe], settings: Settings, parent: Path | None) -> Path:
    """Return the folder of a generated data set, making it if it is missing or damaged.

    The folder's name holds a digest of everything that determines the images. It is written beside its place and
    renamed, so that two processes may build it at once and an interrupted one leaves nothing half done.

    Parameters
    ----------
    kind : str
        First part of the folder's name.
    recipes : sequence of Recipe
    settings : Settings
    parent : Path or None
        Where that folder lies; None: ``datasets`` in the cache of this machine, whatever the working directory.

    Returns
    -------
    Path
        Folder in the HPatches layout, with ``index.json``: digests of all files, settings, versions.

    Raises
    ------
    DataError
        If a photograph is unsuitable, or the folder cannot be written.
    """
    described = {
        "version": VERSION,
        "size": str(settings.size),
        "seed": settings.seed,
        "max_rotation_deg": settings.max_rotation_deg,
        "max_scale": settings.max_scale,
        "max_magnification": settings.max_magnification,
        "sequences": [[r.name, r.source_sha256, r.number] for r in recipes],
        **({"poses": [pose.name for pose in settings.poses]} if settings.poses else {}),
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    root = (cache_folder() / DATASETS if parent is None else parent) / f"{kind}-{digest[:12]}"
    elsewhere = f"{CACHE}=FOLDER in the environment" if parent is None else "dataset.root=FOLDER"
    if _intact(root):
        return root
    try:
        # One process makes it, the others wait; one that was damaged is replaced whole.
        with locked(root.with_name(f".{root.name}.lock"), wait=True):
            if not _intact(root):
                with staged_folder(root, replace=True) as work:
                    _write(work, kind, recipes, settings, described)
    except DiskFullError as error:
        raise DiskFullError(f"{error}, or choose another folder with {elsewhere}") from error
    except StoreError as error:
        raise DataError(f"{error} with {elsewhere}") from error
    return root


def _write(
    folder: Path, kind: str, recipes: Sequence[Recipe], settings: Settings, described: Mapping[str, object]
) -> None:
    files = {}
    for recipe in track(recipes, f"Making image pairs ({kind})"):
        for name, file_digest in make_sequence(recipe, settings, folder / recipe.name).items():
            files[f"{recipe.name}/{name}"] = file_digest
    index = {"recipe": described, "made_with": {"opencv": cv2.__version__, "numpy": np.__version__}, "files": files}
    (folder / _INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
