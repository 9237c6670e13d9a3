"""Write a complete data set in the shape of HPatches from the photographs of scikit-image: real names, small images.

    python -m tests.full_size.make_hpatches FOLDER [--height 96] [--seed 0]

57 ``i_*`` and 59 ``v_*`` sequences with the names of HPatches, ``1.ppm`` to ``6.ppm`` in five shapes around `height`,
and ``H_1_2`` to ``H_1_6``. Every sequence shows its own part of a photograph; illumination and viewpoint change more
from target to target. Same seed, same bytes. The numbers of a run on it say nothing about HPatches.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from bench.core.types import Size
from bench.data.hpatches import TARGETS
from bench.data.photos import PHOTOGRAPHS, photograph
from bench.data.warp import Image, draw_camera, limited, reference_view, relight, render

NAMES = tuple((Path(__file__).parent / "hpatches_names.txt").read_text(encoding="ascii").split())
"""The 116 sequences of HPatches, as its folders are called."""

# Height and width relative to the height asked for: landscape, portrait, square, sides that are no multiples of 8.
_SHAPES = ((1.0, 4 / 3), (1.25, 5 / 3), (1.4, 1.05), (1.1, 1.1), (1.13, 1.61))
_MAX_ROTATION_DEG, _MAX_SCALE = 25.0, 1.4
_SMALLEST_PART = 0.55


def size_of(number: int, height: int) -> Size:
    """Size of the images of sequence `number`."""
    tall, wide = _SHAPES[number % len(_SHAPES)]
    return Size(round(height * tall), round(height * wide))


def part(photo: Image, rng: np.random.Generator) -> Image:
    """A part of a photograph, at least 0.55 of each side, mirrored or not."""
    height, width = (round(side * rng.uniform(_SMALLEST_PART, 1.0)) for side in photo.shape[:2])
    y, x = (int(rng.integers(0, whole - own + 1)) for whole, own in zip(photo.shape, (height, width), strict=False))
    cut = photo[y : y + height, x : x + width]
    return np.ascontiguousarray(cut[:, ::-1] if rng.random() < 0.5 else cut)


def write_sequence(folder: Path, name: str, number: int, height: int, seed: int) -> None:
    """Write the six images and five homographies of one sequence."""
    rng = np.random.default_rng((seed, number))
    size = size_of(number, height)
    source = limited(part(photograph(PHOTOGRAPHS[number % len(PHOTOGRAPHS)]), rng), size)
    T_source_to_ref = reference_view(Size(*source.shape[:2]), size, max_magnification=2.0)
    folder.mkdir(parents=True)
    _write(folder / "1.ppm", relight(render(source, T_source_to_ref, size), rng, 0.0))
    for k in TARGETS:
        severity = 0.8 * ((k - 1) / len(TARGETS)) ** 0.6
        H = np.eye(3)
        if name.startswith("v_"):
            H = draw_camera(rng, size, severity, _MAX_ROTATION_DEG, _MAX_SCALE).H_ref_to_target
        view = render(source, H @ T_source_to_ref, size)
        _write(folder / f"{k}.ppm", relight(view, rng, severity if name.startswith("i_") else 0.3 * severity))
        np.savetxt(folder / f"H_1_{k}", H, fmt="%.10g")


def _write(path: Path, image: Image) -> None:
    colour = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    _, data = cv2.imencode(".ppm", colour)
    path.write_bytes(data.tobytes())


def make(root: Path, height: int = 96, seed: int = 0) -> Path:
    """Write the whole data set below `root`, which must not hold it yet."""
    for number, name in enumerate(NAMES):
        write_sequence(root / name, name, number, height, seed)
    return root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    make(chosen.folder, chosen.height, chosen.seed)


if __name__ == "__main__":
    main()
