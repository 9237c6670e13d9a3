"""Rows of the drift report: features of the reference and of another method in, dictionaries out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.types import Features, PreparedPair, Transform
from bench.geometry.solve import estimate_repeatedly, solve
from bench.metrics.record import threshold_name
from bench.parity import drift
from bench.parity.drift import Floats, Partners
from bench.schema import ProtocolConfig

RADII_PX = (0.0, 1.0, 2.0)
Row = dict[str, Any]


def tensor_rows(reference: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> list[Row]:
    """Compare the tensors that both models give, in the order of the reference.

    Parameters
    ----------
    reference, other : mapping
        Tensor name -> values for one image.

    Returns
    -------
    list of dict
        ``tensor``, ``shape`` and the fields of :class:`bench.parity.drift.TensorDrift`, quantiles as ``p50_abs`` ...
    """
    rows = []
    for name in reference:
        if name in other:
            found = drift.tensor_drift(reference[name], other[name])
            rows.append({"tensor": name, "shape": "x".join(map(str, reference[name].shape)), **flat(found)})
    return rows


def flat(found: drift.TensorDrift) -> Row:
    """A TensorDrift as columns."""
    row = dataclasses.asdict(found)
    quantiles = row.pop("quantiles_abs")
    return row | {f"p{100 * q:g}_abs": value for q, value in zip(drift.QUANTILES, quantiles, strict=False)}


@dataclass(frozen=True)
class ImageDrift:
    """Drift of the features of one image.

    Attributes
    ----------
    row : dict
        Counts by radius, rank correlation of scores, quantiles of cosines.
    found : Partners
        Up to the largest of :data:`RADII_PX`.
    cosines : (K,) float64
        Cosine similarity of the descriptors at keypoints at the same place; empty without descriptors.
    """

    row: Row
    found: Partners
    cosines: Floats


def image_drift(reference: Features, other: Features) -> ImageDrift:
    """Compare the features of one image.

    Scores and descriptors are compared at keypoints at exactly the same place, so that a moved keypoint does not count
    as a turned descriptor.
    """
    found = drift.partners(reference.keypoints, other.keypoints, max(RADII_PX))
    row: Row = {"n_reference": len(reference), "n_other": len(other)}
    for radius in RADII_PX:
        counts = drift.agreement(found, len(reference), len(other), radius)
        for kind in ("shared", "lost", "gained", "moved"):
            row[f"{kind}_{radius:g}px"] = getattr(counts, f"n_{kind}")
    same = found.within(0.0)
    row["score_rank_correlation"] = drift.rank_correlation(reference.scores[same.reference], other.scores[same.other])
    cosines = np.empty(0)
    if reference.descriptors is not None and other.descriptors is not None:
        cosines = drift.cosine_similarities(reference.descriptors[same.reference], other.descriptors[same.other])
    row["cosine_min"] = _quantile(cosines, 0.0)
    row["cosine_median"] = _quantile(cosines, 0.5)
    return ImageDrift(row, found, cosines)


def _quantile(values: Floats, q: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, q)) if len(finite) else math.nan


@dataclass(frozen=True)
class PairResult:
    """Matches and repeated estimates of one method on one pair.

    Attributes
    ----------
    matches : set
        Matched coordinates.
    homographies : list of R (3, 3) float64 or None
        Empty where the protocol estimates nothing.
    errors_px : (R,) float64
        Corner errors against the ground truth.
    """

    matches: set[drift.MatchKey]
    homographies: list[Transform | None]
    errors_px: Floats


def solve_pair(
    prepared: PreparedPair, f_ref: Features, f_target: Features, protocol: ProtocolConfig, seed: int, repeats: int
) -> PairResult | None:
    """Match a pair and estimate its homography `repeats` times, as a run does.

    Returns
    -------
    PairResult or None
        None where the protocol does not match or the features have no descriptors.
    """
    solved = solve(prepared, f_ref, f_target, protocol)
    if solved.matches is None or solved.f_ref is None or solved.f_target is None:
        return None
    keys = drift.match_keys(solved.f_ref, solved.f_target, solved.matches)
    found = estimate_repeatedly(solved, replace(protocol.estimator, repeats=repeats), seed)
    if found is None:
        return PairResult(keys, [], np.empty(0))
    return PairResult(keys, found.homographies, np.array(found.errors_px))


def pair_row(prepared: PreparedPair, reference: PairResult, other: PairResult, protocol: ProtocolConfig) -> Row:
    """Compare what two methods made of one pair.

    Returns
    -------
    dict
        Jaccard index of the matches; ``corner_shift_px`` (median distance between the corners under different repeats
        of the two methods), ``noise_floor_px`` (the same within the reference), ``first_shift_px`` (first repeats
        only); for each threshold ``flip_*`` (probability that different repeats disagree about success),
        ``noise_flip_*`` (the same within the reference) and ``first_flip_*`` (1: success gained in the first repeat,
        -1: lost, 0: same).
    """
    row: Row = {
        "pair": prepared.pair.name,
        "sequence": prepared.pair.sequence,
        "split": prepared.pair.split,
        "n_matches_reference": len(reference.matches),
        "n_matches_other": len(other.matches),
        "match_jaccard": drift.jaccard(reference.matches, other.matches),
    }
    if not reference.homographies:
        return row
    size, convention = prepared.size_ref, protocol.homography.corners
    shifts = drift.corner_shifts_px(reference.homographies, other.homographies, size, convention)
    noise = drift.corner_shifts_px(reference.homographies, reference.homographies, size, convention)
    row["corner_shift_px"] = _quantile(drift.off_diagonal(shifts), 0.5)
    row["noise_floor_px"] = _quantile(drift.off_diagonal(noise), 0.5)
    row["first_shift_px"] = float(shifts[0, 0])
    row["n_failed_reference"] = sum(H is None for H in reference.homographies)
    row["n_failed_other"] = sum(H is None for H in other.homographies)
    for t in protocol.homography.thresholds_px:
        a, b = reference.errors_px <= t, other.errors_px <= t
        row[threshold_name("accuracy_reference", t)] = float(a.mean())
        row[threshold_name("accuracy_other", t)] = float(b.mean())
        row[threshold_name("flip", t)] = drift.flip_rate(reference.errors_px, other.errors_px, t)
        row[threshold_name("noise_flip", t)] = drift.flip_rate(reference.errors_px, reference.errors_px, t)
        row[threshold_name("first_flip", t)] = int(b[0]) - int(a[0])
    return row
