"""Every column of the tables: name, unit, direction of better, definition. Tables, plots and the gate read it here.

``{t}`` in a name stands for a threshold in pixels: ``accuracy_3px`` is the column ``accuracy_{t}px`` at 3 px.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the summary table.

    Attributes
    ----------
    name : str
        Metric name in ``Summary.table``, with ``{t}`` for a threshold.
    label : str
        Heading in printed tables.
    unit : str
        ``share`` (0 to 1), ``px``, ``ms``, ``MB``, ``1/s``, ``count`` or ``ratio``.
    better : {"higher", "lower", "neither"}
    definition : str
    pair_column : str or None
        Column of ``pairs.parquet`` that the value is made from.
    """

    name: str
    label: str
    unit: str
    better: Better
    definition: str
    pair_column: str | None = None

    @property
    def higher_is_better(self) -> bool | None:
        """True, False, or None where neither direction is better."""
        return None if self.better == "neither" else self.better == "higher"


_COLUMNS = (
    Column(
        "accuracy_{t}px", "acc@{t}", "share", "higher",
        "Share of pairs whose mean corner error is at most {t} px; with repeated estimation the mean over pairs of the "
        "share of repeats. A failed pair counts as wrong.", "corner_errors_px",
    ),
    Column(
        "order_noise_{t}px", "±order@{t}", "share", "lower",
        "Order noise of accuracy_{t}px: 1.96 standard deviations that re-ordering the same matches alone gives the "
        "reported accuracy (square root of the mean within-pair variance over repeats, over pairs times repeats).",
        "corner_errors_px",
    ),
    Column(
        "flip_share_{t}px", "flips@{t}", "share", "lower",
        "Share of pairs whose verdict at {t} px is not the same in all repeats.", "corner_errors_px",
    ),
    Column(
        "auc_{t}px", "AUC@{t}", "share", "higher",
        "Area under the cumulative curve of corner errors up to {t} px, divided by {t}: exact mean(max(0, 1 - e/{t})), "
        "or by the trapezoid rule where the protocol says so.", "corner_errors_px",
    ),
    Column(
        "corner_error_median_px", "median error", "px", "lower",
        "Median over pairs and repeats of the mean corner error; failures are infinite.", "corner_errors_px",
    ),
    Column(
        "dlt_accuracy_{t}px", "DLT acc@{t}", "share", "higher",
        "Accuracy at {t} px of the least-squares homography on all matches (normalised DLT, no robust estimator).",
        "dlt_corner_error_px",
    ),
    Column(
        "dlt_auc_{t}px", "DLT AUC@{t}", "share", "higher",
        "AUC at {t} px of the least-squares homography on all matches.", "dlt_corner_error_px",
    ),
    Column(
        "dlt_corner_error_median_px", "DLT median error", "px", "lower",
        "Median over pairs of the corner error of the least-squares homography on all matches.", "dlt_corner_error_px",
    ),
    Column(
        "n_keypoints", "keypoints", "count", "neither",
        "Keypoints per image, mean of the two images of a pair, mean over pairs.", "n_keypoints_ref",
    ),
    Column("n_matches", "matches", "count", "neither", "Putative matches per pair.", "n_matches"),
    Column("n_inliers", "inliers", "count", "neither", "Inliers of the estimated homography per pair.", "n_inliers"),
    Column(
        "inlier_ratio", "inlier ratio", "share", "higher",
        "Inliers of the estimated homography divided by putative matches; 0 without matches.", "inlier_ratio",
    ),
    Column(
        "repeatability", "rep.", "share", "higher",
        "Keypoints in the shared region with a keypoint of the other image within the protocol's distance of their "
        "ground-truth warp, both images together, divided by all keypoints in the shared region; many-to-one.",
        "repeatability",
    ),
    Column(
        "repeatability_one_to_one", "rep. 1:1", "share", "higher",
        "As repeatability, but every keypoint is used at most once: twice the largest number of disjoint pairs within "
        "the distance, divided by all keypoints in the shared region.", "repeatability_one_to_one",
    ),
    Column(
        "localisation_error_px", "loc. error", "px", "lower",
        "Mean distance of repeated keypoints to the nearest keypoint of the other image, both directions; undefined "
        "(left out of the mean, see n_pairs) for a pair without a repeated keypoint.", "localisation_error_px",
    ),
    Column(
        "nn_map", "NN mAP", "share", "higher",
        "Average precision of nearest-neighbour matches ranked by descriptor distance; recall is relative to the "
        "correct nearest-neighbour matches; mean of both directions.", "nn_map",
    ),
    Column(
        "matching_score", "M. score", "share", "higher",
        "Correct matches of the protocol's matcher divided by the keypoints in the shared region; mean of both "
        "directions.", "matching_score",
    ),
    Column(
        "mma_{t}px", "MMA@{t}", "share", "higher",
        "Share of a pair's matches with a reprojection error of at most {t} px, mean over pairs; 0 without matches. "
        "Read it beside the number of matches: few matches can score high.", "mma",
    ),
    Column(
        "match_precision_{t}px", "precision@{t}", "share", "higher",
        "Share of a pair's matches with an error of at most {t} px (below {t} px, or the symmetric error, where the "
        "protocol says so); 0 without matches.", "match_precision_{t}px",
    ),
    Column(
        "match_recall_{t}px", "recall@{t}", "share", "higher",
        "Correct matches divided by reference keypoints that have a correct partner at {t} px; undefined where there "
        "is none.", "match_recall_{t}px",
    ),
    Column("failures", "failures", "count", "lower", "Pairs without a homography, any kind, first repeat.", "outcome"),
    Column(
        "failures_no_keypoints", "no keypoints", "count", "lower", "Pairs with an image without keypoints.", "outcome",
    ),
    Column("failures_too_few_matches", "few matches", "count", "lower", "Pairs with fewer than 4 matches.", "outcome"),
    Column(
        "failures_estimation_failed", "estimation failed", "count", "lower",
        "Pairs for which the estimator returned no homography.", "outcome",
    ),
    Column(
        "failures_degenerate", "degenerate", "count", "lower",
        "Pairs for which the estimated matrix is no usable homography.", "outcome",
    ),
    Column(
        "failures_extraction_failed", "extraction failed", "count", "lower",
        "Pairs with an image whose extraction raised an error or broke the contract.", "outcome",
    ),
    Column(
        "failed_repeat_share", "failed repeats", "share", "lower",
        "Share of all estimations, over pairs and repeats, that gave no homography.", "n_failed_repeats",
    ),
    Column(
        "latency_median_ms", "ms median", "ms", "lower",
        "Median time of one image: preprocess + infer + decode. Reading and resizing the file are common to all "
        "methods and not included.",
    ),
    Column("latency_p90_ms", "ms p90", "ms", "lower", "90th percentile of the time of one image."),
    Column(
        "latency_p99_ms", "ms p99", "ms", "lower",
        "Upper 99 % confidence bound of the 99th percentile of the time of one image (MLPerf's early-stopping "
        "estimate); absent below 662 samples.",
    ),
    Column(
        "speedup", "speed-up", "ratio", "higher",
        "Median time per image of the reference method divided by this method's, same run.",
    ),
    Column("throughput_per_s", "images/s", "1/s", "higher", "Images per second with several requests in flight."),
    Column("preprocess_ms", "preprocess", "ms", "lower", "Median time of turning the evaluated image into the input."),
    Column("infer_ms", "infer", "ms", "lower", "Median time of the network or of the OpenCV call."),
    Column("decode_ms", "decode", "ms", "lower", "Median time of everything after it: NMS, budget, descriptors."),
    Column("match_ms", "match", "ms", "lower", "Median time of matching one pair.", "match_ms"),
    Column(
        "estimate_ms", "estimate", "ms", "lower", "Median time of one homography estimation (first repeat).",
        "estimate_ms",
    ),
    Column("load_ms", "load", "ms", "lower", "Time to load the model, once."),
    Column("compile_ms", "compile", "ms", "lower", "Time to compile the model for the first image size."),
    Column("compile_cold_ms", "compile cold", "ms", "lower", "Time to compile with an empty model cache."),
    Column("compile_cached_ms", "compile cached", "ms", "lower", "Time to compile with a filled model cache."),
    Column("first_inference_ms", "first inference", "ms", "lower", "Time of the first inference, not in the medians."),
    Column("peak_memory_mb", "peak MB", "MB", "lower", "Peak resident memory of the method's process."),
)  # fmt: skip

COLUMNS: dict[str, Column] = {column.name: column for column in _COLUMNS}
"""Columns by name, in the order of the tables."""


def column(metric: str) -> Column:
    """Return the definition of a metric of the summary table.

    Parameters
    ----------
    metric : str
        For example ``accuracy_3px`` or ``nn_map``.

    Returns
    -------
    Column
        With the threshold filled in.

    Raises
    ------
    KeyError
        If there is no such column.

    Examples
    --------
    >>> column("accuracy_3px").label, column("localisation_error_px").higher_is_better
    ('acc@3', False)
    """
    if metric in COLUMNS:
        return COLUMNS[metric]
    found = re.fullmatch(r"(.+)_(\d+(?:\.\d+)?)px", metric)
    template = COLUMNS.get(f"{found[1]}_{{t}}px") if found else None
    if found is None or template is None:
        raise KeyError(f"no column {metric!r}; columns: {', '.join(COLUMNS)}")

    def fill(text: str | None) -> str | None:
        return None if text is None else text.replace("{t}", found[2])

    return Column(
        metric, fill(template.label) or "", template.unit, template.better,
        fill(template.definition) or "", fill(template.pair_column),
    )  # fmt: skip


def threshold_name(prefix: str, threshold_px: float) -> str:
    """Join a prefix and a threshold: ``threshold_name("auc", 3.0)`` is ``auc_3px``."""
    return f"{prefix}_{threshold_px:g}px"
