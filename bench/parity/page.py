"""The files of the drift report: tables, plots, the page and ``parity.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.files import plain, write_atomic, write_json
from bench.core.frames import records
from bench.core.names import to_csv
from bench.parity.compare import Comparison
from bench.parity.drift import partners
from bench.parity.summary import Frames, layer_summary, sentences, tensor_summary
from bench.parity.tables import pairs_table, result_tables
from bench.report import precision
from bench.report.conditions import get, label, precision_label
from bench.report.figures import Plot
from bench.report.page import render_page
from bench.report.render import escape_markdown, to_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READING = (
    "Everything is a difference to the reference on the same images; nothing here says that the reference is right.",
    "Scores and descriptors are compared at keypoints at exactly the same pixel; a keypoint that moved is counted as "
    "lost and gained at 0 px and as moved at 1 and 2 px.",
    "A maximum over all pixels is one pixel. Quantiles and the noise-to-signal ratio say how usual it is.",
    "Robust estimation depends on the order of its matches. The noise floor is the distance between estimates of the "
    "reference from differently ordered, but equal matches; a shift of that size is no effect of precision.",
    "With the same features on both sides the shift equals the noise floor exactly.",
    "A model with FP16 weights need not compute in FP16: the executed precision is read from the runtime.",
    "Layers are those of the running program: a convolution with all that the runtime fused into it.",
)


def words(frames: Frames, comparison: Comparison, manifest: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What the report says in sentences: (heading, sentences)."""
    isa = get(manifest, "host", "isa", default=[])
    host = precision.host_sentence(isa)
    found = [("This processor", [host])] if host else []
    rows = {row["method"]: row for row in records(frames.methods)}
    for name, method in manifest["methods"].items():
        config, executed = method["config"], get(method, "info", "precision", "executed", default={})
        text = [precision.explain(config["weights"], config["inference_precision"], executed, isa)]
        role = "reference" if name == manifest["reference"] else precision_label(manifest, name)
        found.append((f"{label(manifest, name)} ({role})", text + (sentences(rows[name]) if name in rows else [])))
    if comparison.refused:
        found.append(("Not compared", [f"{name}: {reason}" for name, reason in comparison.refused.items()]))
    return found


def draw(frames: Frames, comparison: Comparison, manifest: Mapping[str, Any]) -> list[Plot]:
    """Draw layers, cosines, keypoints and scores of every method."""
    from bench.report.plots.style import to_bytes

    plots = []
    for name, title, alt, figure in _figures(frames, comparison, manifest):
        wide = bool(figure.get_figwidth() > 2 * figure.get_figheight())
        plots.append(Plot(name, title, alt, to_bytes(figure, "png"), to_bytes(figure, "svg"), wide))
    return plots


def _figures(
    frames: Frames, comparison: Comparison, manifest: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, Figure]]:
    from bench.report.plots import parity

    layers = layer_summary(frames.layers)
    reference = label(manifest, manifest["reference"])
    if len(layers):
        labels = {name: label(manifest, name) for name in dict.fromkeys(layers["method"])}
        yield (
            "layers",
            "Where the error enters",
            f"Lines of the noise-to-signal ratio after each layer of {', '.join(labels.values())}, on a log scale. The "
            "values are in the table of layers.",
            parity.drift_by_layer_of_methods(layers, labels),
        )
    for name in frames.methods["method"]:
        shown = label(manifest, name)
        own = layers[layers["method"] == name] if len(layers) else layers
        if len(own):
            yield (
                f"layers_{name}",
                f"{shown}: drift by layer",
                f"Lines of the maximum and mean relative difference after each of {len(own)} layers of {shown}, on a "
                "log scale. The values are in the table of layers.",
                parity.drift_by_layer(own),
            )
        cosines = np.concatenate(comparison.cosines[name])
        if len(cosines):
            yield (
                f"cosines_{name}",
                f"{shown}: descriptors",
                f"Histogram of 1 - cosine similarity of {len(cosines)} descriptors of {shown} and {reference} at the "
                "same pixels, on a log scale. The quantiles are in the table of descriptors.",
                parity.cosine_histogram(cosines),
            )
        picture = comparison.illustrations[name]
        a, b = picture.reference, picture.other
        same = partners(a.keypoints, b.keypoints, 0.0)
        lost = np.delete(a.keypoints, same.reference, axis=0)
        gained = np.delete(b.keypoints, same.other, axis=0)
        yield (
            f"keypoints_{name}",
            f"{shown}: keypoints on {picture.key}, where most changed",
            f"Image with {len(same.reference)} keypoints that {shown} and {reference} share, {len(lost)} lost and "
            f"{len(gained)} gained at the exact pixel.",
            parity.keypoint_agreement(picture.grey, a.keypoints[same.reference], lost, gained),
        )
        yield (
            f"scores_{name}",
            f"{shown}: scores on {picture.key}",
            f"Scatter plot of the change of the scores of shared keypoints from {reference} to {shown}, in percent.",
            parity.score_shift(a.scores[same.reference], b.scores[same.other]),
        )


def write_report(
    folder: Path,
    manifest: dict[str, Any],
    comparison: Comparison,
    frames: Frames,
    thresholds_px: Sequence[float],
    related: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write parity.json, the tables as CSV and Markdown, plots/ and parity.html.

    Parameters
    ----------
    folder : Path
    manifest : mapping
        Conditions, see `bench.report.conditions`, and ``reference``.
    related : sequence of (str, str)
        Title and relative path of pages to link to.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    results = result_tables(frames, manifest, thresholds_px)
    details = [table for table in (pairs_table(frames, manifest),) if table is not None]
    lead = words(frames, comparison, manifest)
    plots = draw(frames, comparison, manifest)
    tables = {
        "summary": frames.methods,
        "tensors": tensor_summary(frames.tensors),
        "layers": layer_summary(frames.layers),
        "images": frames.images,
        "pairs": frames.pairs,
    }
    for name, frame in tables.items():
        if len(frame):
            write_atomic(folder / f"{name}.csv", to_csv(frame).encode())
    text = [f"# {escape_markdown(manifest['title'])}", ""]
    for heading, said in lead:
        text += [f"## {escape_markdown(heading)}", "", *(f"- {escape_markdown(sentence)}" for sentence in said), ""]
    text += [to_markdown(table) for table in results]
    write_atomic(folder / "parity.md", "\n".join(text).encode())
    kept = set()
    for plot in plots:
        for kind, data in (("png", plot.png), ("svg", plot.svg)):
            path = folder / "plots" / f"{plot.name}.{kind}"
            write_atomic(path, data)
            kept.add(path)
    for path in (folder / "plots").glob("*"):
        if path not in kept:
            path.unlink()
    rows_of = {name: records(frame) for name, frame in tables.items()}
    write_json(folder / "parity.json", plain(manifest | {"refused": comparison.refused, "words": lead} | rows_of))
    page = folder / "parity.html"
    write_atomic(page, render_page(manifest, results, details, plots, [], related, lead, READING).encode())
    return page
