"""The tables of the drift report. No number is computed here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from bench.core.frames import records
from bench.metrics.text import DASH
from bench.parity.measure import RADII_PX
from bench.parity.summary import COSINE_QUANTILES, Frames, angle_deg, degrees, layer_summary, percent, tensor_summary
from bench.report.conditions import Manifest, caption, label, precision_label
from bench.report.tables import Cell, Head, Section, Table, precision_table

Row = dict[str, Any]


def number(value: Any) -> Cell:
    """Three significant digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell(DASH)
    return Cell(f"{value:.3g}" if isinstance(value, float) else str(value), value=float(value))


def share(value: float) -> Cell:
    return Cell(percent(value), value=None if math.isnan(value) else value)


def angle(cosine: float) -> Cell:
    return Cell(DASH) if math.isnan(cosine) else Cell(degrees(cosine), value=1 - cosine)


def pixels(value: float) -> Cell:
    return Cell(DASH) if math.isnan(value) else Cell(f"{value:.3f}", value=value)


def beside(value: float, noise: float) -> Cell:
    """A share with the share that noise alone gives."""
    return Cell(percent(value), f"(noise {percent(noise)})", value=None if math.isnan(value) else value)


def result_tables(frames: Frames, manifest: Manifest, thresholds_px: Sequence[float]) -> list[Table]:
    """Tables that the page shows open: the summary first."""
    tables = [main_table(frames, manifest, thresholds_px), precision_table(manifest), tensors_table(frames, manifest)]
    tables += [layers_table(frames, manifest), keypoints_table(frames, manifest), cosines_table(frames, manifest)]
    tables.append(verdicts_table(frames, manifest, thresholds_px))
    return [table for table in tables if table is not None]


def _names(row: Row, manifest: Manifest) -> tuple[Cell, Cell]:
    return Cell(label(manifest, row["method"])), Cell(precision_label(manifest, row["method"]))


_METHOD = (Head("method", "method", False), Head("precision", "precision", False))


def main_table(frames: Frames, manifest: Manifest, thresholds_px: Sequence[float]) -> Table:
    """One row per method: from keypoints to verdicts."""
    heads = (
        *_METHOD,
        Head("lost_0px", "lost", True, "Keypoints of the reference that have no partner at the same pixel."),
        Head(
            "gained_0px",
            "gained",
            True,
            "Keypoints without a partner in the reference at the same pixel, over the keypoints of the reference.",
        ),
        Head("lost_2px", "lost, 2 px", True, "Keypoints of the reference without a partner within 2 px, one to one."),
        Head(
            "rank",
            "rank corr.",
            True,
            "Spearman's rank correlation of the scores of keypoints at the same pixel; median over the images.",
        ),
        Head("turn", "turn, median", True, "Angle between the descriptors of keypoints at the same pixel."),
        Head("turn_max", "turn, max", True, "The largest such angle."),
        Head(
            "jaccard",
            "same matches",
            True,
            "Jaccard index of the matches, as pairs of coordinates; mean over the pairs.",
        ),
        Head(
            "shift",
            "corner shift",
            True,
            "Distance in pixels between the image corners under the estimates of "
            "reference and method, different orders of the matches; medians.",
        ),
        Head("floor", "noise floor", True, "The same between estimates of the reference itself."),
        *(
            Head(
                f"flip_{t:g}px",
                f"flips@{t:g} px",
                True,
                f"Probability that reference and method disagree whether the "
                f"corner error is at most {t:g} px; below it the same within the reference.",
            )
            for t in thresholds_px
        ),
    )
    rows = []
    for row in records(frames.methods):
        flips = (
            beside(row[f"flip_{t:g}px"], row[f"noise_flip_{t:g}px"]) if f"flip_{t:g}px" in row else Cell(DASH)
            for t in thresholds_px
        )
        rows.append(
            (
                *_names(row, manifest),
                share(row["lost_0px"]),
                share(row["gained_0px"]),
                share(row["lost_2px"]),
                Cell(_six(row["score_rank_correlation"])),
                angle(row["cosine_p50"]),
                angle(row["cosine_p0"]),
                share(row.get("match_jaccard", math.nan)),
                pixels(row.get("corner_shift_px", math.nan)),
                pixels(row.get("noise_floor_px", math.nan)),
                *flips,
            )
        )
    reference = label(manifest, str(manifest["reference"]))
    note = (
        f"Everything is relative to {reference}. A shift or a flip rate that does not exceed its noise says nothing "
        "about the precision: the robust estimator varies as much when the same matches come in another order."
    )
    return Table("drift", f"Drift from {reference}", caption(manifest), note, heads, (Section("", tuple(rows)),))


def _six(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.6f}"


def _by_method(frame: pd.DataFrame, manifest: Manifest, cells: Any) -> tuple[Section, ...]:
    sections = []
    for name in dict.fromkeys(frame["method"]):
        title = f"{label(manifest, str(name))}: {precision_label(manifest, str(name))}"
        rows = tuple(tuple(cells(row)) for row in records(frame[frame["method"] == name]))
        sections.append(Section(title, rows))
    return tuple(sections)


_RELATIVE = (
    Head("max_relative", "max rel.", True, "Largest absolute difference over the largest magnitude of the reference."),
    Head("mean_relative", "mean rel.", True, "Mean absolute difference over the largest magnitude of the reference."),
    Head("l2_relative", "noise/signal", True, "Euclidean norm of the difference over that of the reference."),
    Head("n_not_finite", "not finite", True, "Values that are infinite or not a number in one of the two."),
)


def _relative(row: Row) -> Iterable[Cell]:
    return (number(row[head.key]) for head in _RELATIVE)


def tensors_table(frames: Frames, manifest: Manifest) -> Table | None:
    """Differences of the output tensors."""
    if not len(frames.tensors):
        return None
    summary = tensor_summary(frames.tensors)
    quantiles = [name for name in map(str, summary) if name.startswith("p")]
    heads = (
        Head("tensor", "tensor", False),
        Head("max_abs", "max", True, "Largest absolute difference of all images."),
        Head("mean_abs", "mean", True, "Mean absolute difference."),
        *(
            Head(
                q,
                f"{q[1:].removesuffix('_abs')} %",
                True,
                "Quantile of the absolute difference; median over the images.",
            )
            for q in quantiles
        ),
        *_RELATIVE,
    )

    def cells(row: Row) -> Iterable[Cell]:
        absolute = (number(row[name]) for name in ("max_abs", "mean_abs", *quantiles))
        return Cell(row["tensor"]), *absolute, *_relative(row)

    return Table("tensors", "Output tensors", caption(manifest), "", heads, _by_method(summary, manifest, cells))


def layers_table(frames: Frames, manifest: Manifest) -> Table | None:
    """Differences after each kernel, in the order of execution."""
    if not len(frames.layers):
        return None
    heads = (
        Head("layer", "layer", False),
        Head("node", "node", False),
        Head("precision", "precision", False),
        Head("kernel", "kernel", False),
        *_RELATIVE,
    )

    def cells(row: Row) -> Iterable[Cell]:
        return *(Cell(str(row[key])) for key in ("layer", "node", "precision", "kernel")), *_relative(row)

    note = (
        "Output of each kernel against the same kernel of the FP32 IR computed in f32, both fed with the image: errors "
        "of earlier layers are included. Kernels are joined by the friendly name of their last node. The FP32 IR "
        "itself has no rows, and neither has TensorFlow, whose kernels have other borders."
    )
    sections = _by_method(layer_summary(frames.layers), manifest, cells)
    return Table("layers", "Where the error enters", caption(manifest), note, heads, sections)


def keypoints_table(frames: Frames, manifest: Manifest) -> Table:
    """Lost, gained and moved keypoints at each radius."""
    heads = (
        *_METHOD,
        *(
            Head(f"{kind}_{r:g}px", f"{kind}, {r:g} px", True, _KINDS[kind])
            for r in RADII_PX
            for kind in ("lost", "gained", "moved")
            if kind != "moved" or r
        ),
        Head("keypoints", "keypoints", True, "Keypoints of the reference in all images."),
    )
    rows = tuple(
        (*_names(row, manifest), *(share(row[head.key]) for head in heads[2:-1]), number(row["n_keypoints"]))
        for row in records(frames.methods)
    )
    note = "Shares of the reference's keypoints. Partners are assigned one to one, nearest first."
    return Table("keypoints", "Keypoints", caption(manifest), note, heads, (Section("", rows),))


_KINDS = {
    "lost": "Keypoints of the reference without a partner within the distance.",
    "gained": "Keypoints without a partner in the reference within the distance.",
    "moved": "Keypoints whose partner is within the distance, but not at the same pixel.",
}


def cosines_table(frames: Frames, manifest: Manifest) -> Table | None:
    """Quantiles of the cosine similarity."""
    if frames.methods["cosine_p50"].isna().all():
        return None
    names = [f"cosine_p{100 * q:g}" for q in COSINE_QUANTILES]
    heads = (
        *_METHOD,
        *(
            Head(
                name,
                "min" if name == "cosine_p0" else f"{name[8:]} %",
                True,
                "Quantile of the cosine similarity of descriptors at the same pixel; as an angle below it.",
            )
            for name in names
        ),
        Head("rank_min", "lowest rank corr.", True, "Lowest rank correlation of scores in an image."),
    )
    rows = tuple(
        (
            *_names(row, manifest),
            *(Cell(f"{row[name]:.7f}", f"{angle_deg(row[name]):.3g}°", value=row[name]) for name in names),
            Cell(_six(row["score_rank_correlation_min"])),
        )
        for row in records(frames.methods)
    )
    return Table("cosines", "Descriptors and scores", caption(manifest), "", heads, (Section("", rows),))


def verdicts_table(frames: Frames, manifest: Manifest, thresholds_px: Sequence[float]) -> Table | None:
    """Verdicts of the first estimate, as a user who estimates once sees them."""
    if "first_shift_px" not in frames.methods:
        return None
    heads = (
        *_METHOD,
        Head(
            "first_shift_px",
            "corner shift",
            True,
            "Distance of the corners under the first estimates, in pixels; median over the pairs.",
        ),
        *(
            Head(f"first_{kind}_{t:g}px", f"{kind}@{t:g} px", True, "Pairs whose first verdict changed.")
            for t in thresholds_px
            for kind in ("lost", "gained")
        ),
        Head("n_pairs", "pairs"),
    )
    rows = tuple(
        (
            *_names(row, manifest),
            pixels(row["first_shift_px"]),
            *(number(int(row[head.key])) for head in heads[3:-1]),
            number(row["n_pairs"]),
        )
        for row in records(frames.methods)
    )
    note = "One estimate per pair, matches in the matcher's order. Compare with the flips that noise alone gives."
    return Table("verdicts", "First estimates", caption(manifest), note, heads, (Section("", rows),))


def pairs_table(frames: Frames, manifest: Manifest) -> Table | None:
    """One row per pair and method."""
    if not len(frames.pairs):
        return None
    keys = [
        key
        for key in (
            "n_matches_reference",
            "n_matches_other",
            "match_jaccard",
            "corner_shift_px",
            "noise_floor_px",
            "first_shift_px",
        )
        if key in frames.pairs
    ]
    texts = ("matches, reference", "matches", "same matches", "corner shift", "noise floor", "first shift")
    heads = (
        Head("method", "method", False),
        Head("pair", "pair", False),
        *(Head(key, text) for key, text in zip(keys, texts, strict=False)),
    )
    write = {"match_jaccard": share, "n_matches_reference": number, "n_matches_other": number}
    rows = tuple(
        (
            Cell(label(manifest, row["method"])),
            Cell(str(row["pair"])),
            *(write.get(key, pixels)(row[key]) for key in keys),
        )
        for row in records(frames.pairs)
    )
    return Table("pairs", "Every pair", caption(manifest), "", heads, (Section("", rows),))
