"""Rows of the drift report into one summary per method. No files, no plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.metrics.record import threshold_name
from bench.parity.compare import Comparison
from bench.parity.measure import RADII_PX

COSINE_QUANTILES = (0.0, 0.001, 0.01, 0.1, 0.5)
"""The low ends: descriptors that turned most."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Frames:
    """Rows of a comparison as tables.

    Attributes
    ----------
    tensors, layers, images, pairs : DataFrame
        One row per method and tensor and image; layer and image; image; pair.
    methods : DataFrame
        One row per method: :func:`summarise_method`.
    """

    tensors: pd.DataFrame
    layers: pd.DataFrame
    images: pd.DataFrame
    pairs: pd.DataFrame
    methods: pd.DataFrame


def frames(comparison: Comparison, thresholds_px: Sequence[float]) -> Frames:
    """Turn the rows of a comparison into tables and summarise each method."""
    tensors, layers, images, pairs = (
        pd.DataFrame(rows) for rows in (comparison.tensors, comparison.layers, comparison.images, comparison.pairs)
    )
    rows = []
    for name in dict.fromkeys(row["method"] for row in comparison.images):
        own_pairs = pairs[pairs["method"] == name] if len(pairs) else pairs
        cosines = np.concatenate(comparison.cosines.get(name, [np.empty(0)]))
        own = summarise_method(images[images["method"] == name], own_pairs, cosines, thresholds_px)
        rows.append({"method": name} | own)
    return Frames(tensors, layers, images, pairs, pd.DataFrame(rows))


def summarise_method(
    images: pd.DataFrame,
    pairs: pd.DataFrame,
    cosines: np.ndarray[Any, np.dtype[np.float64]],
    thresholds_px: Sequence[float],
) -> Row:
    """Summarise the drift of one method.

    Parameters
    ----------
    images, pairs : DataFrame
        Its rows; `pairs` is empty where the protocol does not match.
    cosines : (K,) float64
        All images together.
    thresholds_px : sequence of float
        Of the verdicts.

    Returns
    -------
    dict
        ``lost_*``, ``gained_*``, ``moved_*``: over all keypoints of the reference. ``score_rank_correlation``: median
        over the images, and the lowest. ``cosine_p*``: quantiles over all keypoints. ``match_jaccard``: mean over the
        pairs, and the lowest. ``corner_shift_px``, ``noise_floor_px``, ``first_shift_px``: medians over the pairs.
        ``n_above_noise``: pairs whose shift is larger than their own noise floor.
        ``flip_*``, ``noise_flip_*``: means over the pairs. ``first_lost_*``, ``first_gained_*``: pairs whose verdict
        changed in the first repeat.
    """
    total = float(images["n_reference"].sum())
    row: Row = {"n_images": len(images), "n_pairs": len(pairs), "n_keypoints": int(total)}
    for radius in RADII_PX:
        for kind in ("lost", "gained", "moved"):
            count = float(images[f"{kind}_{radius:g}px"].sum())
            row[f"{kind}_{radius:g}px"] = count / total if total else math.nan
    row["score_rank_correlation"] = images["score_rank_correlation"].median()
    row["score_rank_correlation_min"] = images["score_rank_correlation"].min()
    finite = cosines[np.isfinite(cosines)]
    for q in COSINE_QUANTILES:
        row[f"cosine_p{100 * q:g}"] = float(np.quantile(finite, q)) if len(finite) else math.nan
    if not len(pairs):
        return row
    row["match_jaccard"], row["match_jaccard_min"] = pairs["match_jaccard"].mean(), pairs["match_jaccard"].min()
    if "corner_shift_px" not in pairs:
        return row
    for name in ("corner_shift_px", "noise_floor_px", "first_shift_px"):
        row[name] = pairs[name].median()
    row["n_above_noise"] = int((pairs["corner_shift_px"] > pairs["noise_floor_px"]).sum())
    for t in thresholds_px:
        for name in ("flip", "noise_flip"):
            row[threshold_name(name, t)] = pairs[threshold_name(name, t)].mean()
        first = pairs[threshold_name("first_flip", t)]
        row[threshold_name("first_lost", t)] = int((first < 0).sum())
        row[threshold_name("first_gained", t)] = int((first > 0).sum())
    return row


def tensor_summary(tensors: pd.DataFrame) -> pd.DataFrame:
    """One row per method and tensor: over the images the largest maximum, the mean of means, the median quantile."""
    if not len(tensors):
        return tensors
    largest = ["max_abs", "max_relative", "n_not_finite"]
    means = ["mean_abs", "mean_relative", "l2_relative"]
    quantiles = [name for name in map(str, tensors) if name.startswith("p") and name.endswith("_abs")]
    how = dict.fromkeys(largest, "max") | dict.fromkeys(means, "mean") | dict.fromkeys(quantiles, "median")
    return tensors.groupby(["method", "tensor"], sort=False, as_index=False).agg(how)


def layer_summary(layers: pd.DataFrame) -> pd.DataFrame:
    """One row per method and layer: the largest maximum and the mean of means over images."""
    if not len(layers):
        return layers
    how = {
        "node": "first",
        "shape": "first",
        "joined_by": "first",
        "precision": "first",
        "kernel": "first",
        "n_not_finite": "max",
        "max_abs": "max",
        "mean_abs": "mean",
        "max_relative": "max",
        "mean_relative": "mean",
        "l2_relative": "mean",
    }
    return layers.groupby(["method", "layer"], sort=False, as_index=False).agg(how)


def sentences(row: Mapping[str, Any]) -> list[str]:
    """Say what one method's summary means.

    Parameters
    ----------
    row : mapping
        From :func:`summarise_method`.
    """
    found = [
        f"{percent(row['lost_0px'])} of the reference's keypoints are lost and {percent(row['gained_0px'])} gained at "
        f"the exact pixel; within 2 px {percent(row['lost_2px'])} and {percent(row['gained_2px'])}."
    ]
    if not math.isnan(row["cosine_p50"]):
        found.append(
            f"Descriptors at the same pixel turn by {degrees(row['cosine_p50'])} (median) and at most "
            f"{degrees(row['cosine_p0'])}."
        )
    if "match_jaccard" in row and not math.isnan(row["match_jaccard"]):
        found.append(f"{percent(row['match_jaccard'])} of all matches are the same (Jaccard index).")
    shift, floor = row.get("corner_shift_px", math.nan), row.get("noise_floor_px", math.nan)
    if not (math.isnan(shift) or math.isnan(floor)):
        found.append(
            f"Estimated corners move by {shift:.3f} px; the estimator's own noise is {floor:.3f} px (medians; more "
            f"than noise in {row['n_above_noise']} of {row['n_pairs']} pairs)."
        )
    flips = [
        f"{name.removeprefix('flip_').removesuffix('px')} px: {percent(value)} ({percent(row[f'noise_{name}'])})"
        for name, value in row.items()
        if name.startswith("flip_") and not math.isnan(value)
    ]
    if flips:
        found.append(f"Verdicts that flip, and in brackets those that the estimator's noise flips: {', '.join(flips)}.")
    return found


def percent(share: float) -> str:
    """Write a share, e.g. ``0.4 %``; a share above zero is never written as zero.

    >>> percent(0.0), percent(0.0042), percent(0.00001), percent(1.0)
    ('0 %', '0.42 %', '< 0.01 %', '100 %')
    """
    if math.isnan(share):
        return "–"
    if 0 < share < 1e-4:
        return "< 0.01 %"
    if 1 - 1e-4 < share < 1:
        return "> 99.99 %"
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + " %"


def angle_deg(cosine: float) -> float:
    """Angle of a cosine similarity in degrees."""
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def degrees(cosine: float) -> str:
    """Write the angle of a cosine similarity; an angle above zero is never written as zero.

    >>> degrees(1.0), degrees(0.5), degrees(0.9999995), degrees(1 - 1e-12)
    ('0°', '60°', '0.0573°', '< 0.001°')
    """
    angle = angle_deg(cosine)
    return "< 0.001°" if 0 < angle < 1e-3 else f"{angle:.3g}°"
