"""What lies beside a model that is written for use elsewhere: ``model.json``, which says what the numbers mean, and an
example that needs nothing of this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from bench.core.errors import ConfigError
from bench.features.decode import CELL_PX, Decoding
from bench.features.nms import box_footprint, square_footprint
from bench.models.fingerprint import Fingerprint
from bench.schema.options import ModelFile, NmsKind

CARD, EXAMPLE = "model.json", "example.py"


def card(
    files: Sequence[Path],
    file: ModelFile,
    fingerprint: Fingerprint,
    outputs: Mapping[str, Sequence[int]],
    image: Sequence[int | None],
    weights: str,
    graph: str,
    decoding: Decoding,
) -> dict[str, object]:
    """Content of ``model.json``.

    Parameters
    ----------
    files : sequence of Path
        Of the model; their SHA-256 are taken.
    file : ModelFile
    fingerprint : Fingerprint
        Of the SavedModel it was made from.
    outputs : mapping of str to sequence of int
        Name -> sides, -1 is free; the names are those of the signature.
    image : sequence of int or None
        Batch, height and width of the input; None is free.
    weights, graph : str
    decoding : Decoding
        With suppression by a footprint: none, box or square.

    Returns
    -------
    dict
        JSON-able. ``decode.nms.footprint`` holds the rows of :func:`bench.features.nms.box_footprint`: 1 where a kept
        keypoint in the centre suppresses.

    Raises
    ------
    ConfigError
        If the suppression has no footprint.
    """
    return {
        "made_by": f"superpoint-bench {version('superpoint-bench')}",
        "file": files[0].name,
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "made_from": {"graph_sha256": fingerprint.graph_sha256, "variables_sha256": fingerprint.variables_sha256},
        "weights": weights,
        "graph": graph,
        "input": {
            "name": "image",
            "type": "float32",
            "layout": "NCHW" if file == ModelFile.onnx else "NHWC",
            "batch": image[0],
            "height": image[1],
            "width": image[2],
            "channels": 1,
            "white": fingerprint.input_scale,
        },
        "outputs": {name: list(sides) for name, sides in outputs.items()},
        "decode": {
            "cell_px": CELL_PX,
            "min_probability": decoding.min_probability,
            "nms": {
                "kind": str(decoding.nms.kind),
                "size": decoding.nms.size,
                "iou": decoding.nms.iou,
                "footprint": _footprint(decoding),
            },
            "border_px": decoding.border_px,
            "max_keypoints": decoding.max_keypoints,
            "order": "falling score, then row, then column",
            "descriptors": "bilinear between cells at (x / 8, y / 8), clamped at the right and lower edge, L2 norm 1",
        },
    }


def _footprint(decoding: Decoding) -> list[str]:
    nms = decoding.nms
    if nms.kind == NmsKind.maxpool:
        raise ConfigError(
            "nms.kind=maxpool is no suppression by a footprint, which is all that model.json describes; use box, "
            "square or none"
        )
    size = 0 if nms.kind == NmsKind.none else nms.size
    rows = box_footprint(size, nms.iou) if nms.kind == NmsKind.box else square_footprint(size)
    return ["".join(map(str, row)) for row in rows.tolist()]


def example(file: ModelFile) -> str:
    """A Python program that finds the keypoints and descriptors of an image with a model and its ``model.json``."""
    imports, run = _RUNTIMES[file]
    return _EXAMPLE.replace("@imports@", imports).replace("@run@", run.strip())


_RUNTIMES = {
    ModelFile.ir: (
        "import openvino",
        """
model = openvino.Core().read_model(folder / card["file"])
model.reshape(image.shape)
results = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)
outputs = {name: results[name][0] for name in ("prob", "descriptors_raw") if name in card["outputs"]}
""",
    ),
    ModelFile.onnx: (
        "import onnxruntime",
        """
session = onnxruntime.InferenceSession(folder / card["file"], providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
outputs = {name: array[0] for name, array in zip(names, session.run(names, {card["input"]["name"]: image}))}
""",
    ),
}
_EXAMPLE = '''"""Keypoints and descriptors of an image by the model in this folder: python example.py IMAGE OUT.npz"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
@imports@

folder = Path(__file__).resolve().parent
card = json.loads((folder / "model.json").read_text())
takes, decode, cell = card["input"], card["decode"], card["decode"]["cell_px"]
grey = cv2.imread(sys.argv[1], cv2.IMREAD_GRAYSCALE)
if takes["height"]:  # the model is built for one size
    grey = cv2.resize(grey, (takes["width"], takes["height"]), interpolation=cv2.INTER_AREA)
height, width = (side // cell * cell for side in grey.shape)
image = np.divide(grey[:height, :width], np.float32(255 / takes["white"]), dtype=np.float32)
image = image[None, None] if takes["layout"] == "NCHW" else image[None, :, :, None]
image = np.repeat(image, takes["batch"] or 1, axis=0)
@run@

# From the best pixel to the worst, ties in row order: what is kept suppresses the footprint around it.
prob, border = outputs["prob"], decode["border_px"]
footprint = np.array([[bit == "1" for bit in row] for row in decode["nms"]["footprint"]])
free, kept = np.ones(np.add(prob.shape, len(footprint) - 1), bool), []
ys, xs = np.nonzero(prob >= np.float32(decode["min_probability"]))
for best in np.argsort(-prob[ys, xs], kind="stable"):
    y, x = ys[best], xs[best]
    if free[y + len(footprint) // 2, x + len(footprint) // 2]:
        free[y : y + len(footprint), x : x + len(footprint)] &= ~footprint
        if border <= y < height - border and border <= x < width - border:
            kept.append((x, y))
    if len(kept) == decode["max_keypoints"] > 0:
        break
x, y = np.array(kept, int).reshape(-1, 2).T
found = {"keypoints": np.stack([x, y], axis=1).astype(np.float32), "scores": prob[y, x]}
if "descriptors_raw" in outputs:
    raw = outputs["descriptors_raw"]
    left, top = x // cell, y // cell
    right, below = np.minimum(left + 1, raw.shape[1] - 1), np.minimum(top + 1, raw.shape[0] - 1)
    wx, wy = (np.float32(part % cell)[:, None] / np.float32(cell) for part in (x, y))
    upper = raw[top, left] + (raw[top, right] - raw[top, left]) * wx
    lower = raw[below, left] + (raw[below, right] - raw[below, left]) * wx
    mixed = upper + (lower - upper) * wy
    found["descriptors"] = mixed / np.sqrt(np.maximum((mixed * mixed).sum(axis=1, keepdims=True), 1e-12))
np.savez(sys.argv[2], **found)
print(f"{len(x)} keypoints in {sys.argv[2]}")
'''
