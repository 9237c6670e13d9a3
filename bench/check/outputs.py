"""Comparison of the outputs themselves on the same images.

Accuracy is a mean over pairs with a noisy estimator; it cannot see a small change of the network, and a decoder that is
off by one pixel in both images can even improve it. The outputs can: the same function on the same image gives the same
keypoints and descriptors up to rounding. A baseline therefore keeps samples: for some images of each sequence the
position of every n-th keypoint by score, and two random projections of its descriptor.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.check.config import IMAGES, KEYPOINTS
from bench.run.store import RunStore

SUBPIXEL = 16
"""Positions are stored in sixteenths of a pixel."""
PROJECTIONS = 2
_RANKS = 0.9  # the last tenth by score is the edge of the budget, where rounding decides who gets in
_FLOAT16_MAX = 65504.0


def sampled_images(features: Path, method: str, images: int) -> list[str]:
    """Keys of about `images` images: as many of each sequence, evenly spread over its sorted images from the first."""
    folder = features / method
    keys = sorted(str(path.relative_to(folder).with_suffix("").as_posix()) for path in folder.rglob("*.npz"))
    sequences: dict[str, list[str]] = {}
    for key in keys:
        sequences.setdefault(sequence_of(key), []).append(key)
    per_sequence = max(1, images // max(1, len(sequences)))
    chosen = []
    for members in sequences.values():
        places = np.linspace(0, len(members) - 1, min(per_sequence, len(members))).round().astype(int)
        chosen += [members[place] for place in places]
    return chosen


def sequence_of(key: str) -> str:
    """Sequence of an image key ``<sequence>/<file stem>``."""
    return key.rpartition("/")[0]


def projections(descriptors: NDArray[Any]) -> NDArray[np.float64]:
    """Two fixed random projections of each descriptor, (N, 2).

    The mean square of the projections of ``a - b`` estimates ``|a - b|^2`` without bias (random signs, Achlioptas
    2003).
    Binary descriptors count as vectors of +1 and -1.
    """
    values = descriptors.astype(np.float64)
    if descriptors.dtype == np.uint8:
        values = np.unpackbits(descriptors, axis=1).astype(np.float64) * 2.0 - 1.0
    signs = np.random.default_rng((0, values.shape[1])).choice([-1.0, 1.0], size=(values.shape[1], PROJECTIONS))
    return np.asarray(np.clip(values @ signs, -_FLOAT16_MAX, _FLOAT16_MAX))


def _read(features: Path, method: str, image: str) -> tuple[NDArray[np.float64], NDArray[Any] | None]:
    """Keypoints (N, 2) and descriptors of an extraction; no keypoints where it failed, or of a pairwise method."""
    store = RunStore(features.parent)
    found = store.read_extraction(method, image).features if store.has_extraction(method, image) else None
    if found is None:
        return np.empty((0, 2)), None
    return found.keypoints.astype(np.float64), found.descriptors


def sample(features: Path, methods: list[str], keypoints: int = KEYPOINTS, images: int = IMAGES) -> pd.DataFrame:
    """Sample the outputs of a run.

    Returns
    -------
    DataFrame
        ``method, image, x, y`` (sixteenths of a pixel), ``p0, p1`` (float16, NaN without descriptors). An image without
        keypoints has no rows.

    Raises
    ------
    StoreError
        If a file of features is damaged, or its arrays break the contract of `Features`.
    """
    frames = []
    for method in methods:
        for key in sampled_images(features, method, images):
            xy, descriptors = _read(features, method, key)
            if not len(xy):
                continue
            last = max(0, round(_RANKS * len(xy)) - 1)
            ranks = np.unique(np.linspace(0, last, min(keypoints, last + 1)).round().astype(int))
            values = np.full((len(ranks), PROJECTIONS), np.nan)
            if descriptors is not None:
                values = projections(descriptors[ranks])
            stored = np.round(xy[ranks] * SUBPIXEL).astype(np.int32)
            frames.append(
                pd.DataFrame(
                    {
                        "method": method,
                        "image": key,
                        "x": stored[:, 0],
                        "y": stored[:, 1],
                        "p0": values[:, 0].astype(np.float16),
                        "p1": values[:, 1].astype(np.float16),
                    }
                )
            )
    if not frames:
        return pd.DataFrame({"method": [], "image": [], "x": [], "y": [], "p0": [], "p1": []})
    return pd.concat(frames, ignore_index=True)


def compare_outputs(samples: pd.DataFrame, features: Path, methods: dict[str, str], keypoint_px: float) -> pd.DataFrame:
    """Look up the baseline's samples in the candidate's features.

    Parameters
    ----------
    samples : DataFrame
        As `sample` returns, of the baseline.
    features : Path
        Feature folder of the candidate run.
    methods : dict
        Candidate method -> baseline method.
    keypoint_px : float

    Returns
    -------
    DataFrame
        ``method`` (candidate's), ``image``, ``sequence``, ``keypoints_found`` (share of the samples with a keypoint
        within `keypoint_px`), ``descriptor_change`` (root-mean-square change of the descriptors of those found,
        relative to the baseline's length; NaN if none was found or there are none).

    Raises
    ------
    StoreError
        If a file of features is damaged, or its arrays break the contract of `Features`.
    """
    rows = [
        {"method": candidate, "image": image, "sequence": sequence_of(str(image)), **values}
        for candidate, baseline in methods.items()
        for image, values in _lookups(samples[samples["method"] == baseline], features, candidate, keypoint_px)
    ]
    return pd.DataFrame(rows, columns=["method", "image", "sequence", "keypoints_found", "descriptor_change"])


def _lookups(
    samples: pd.DataFrame, features: Path, method: str, keypoint_px: float
) -> Iterator[tuple[str, dict[str, float]]]:
    for image, group in samples.groupby("image", sort=True):
        xy, descriptors = _read(features, method, str(image))
        expected = group[["x", "y"]].to_numpy(np.float64) / SUBPIXEL
        stored = group[["p0", "p1"]].to_numpy(np.float64)
        if not len(xy):
            yield str(image), {"keypoints_found": 0.0, "descriptor_change": np.nan}
            continue
        near = ((expected[:, None] - xy[None]) ** 2).sum(axis=2) <= (keypoint_px + 0.5 / SUBPIXEL) ** 2
        found = near.any(axis=1)
        change = np.nan
        if descriptors is not None and found.any() and not np.isnan(stored).any():
            change = _descriptor_change(stored[found], near[found], descriptors)
        yield str(image), {"keypoints_found": float(found.mean()), "descriptor_change": change}


def _descriptor_change(stored: NDArray[np.float64], near: NDArray[np.bool_], descriptors: NDArray[Any]) -> float:
    """Relative root-mean-square change; of several keypoints at one place (orientations), the most similar counts."""
    used = np.nonzero(near.any(axis=0))[0]
    distance = ((stored[:, None] - projections(descriptors[used])[None]) ** 2).sum(axis=2)
    change = np.where(near[:, used], distance, np.inf).min(axis=1)
    return float(np.sqrt(change.sum() / max((stored**2).sum(), np.finfo(float).tiny)))
