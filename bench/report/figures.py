"""Which plots a run has, with their names, titles and descriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report.conditions import Manifest, get, label
from bench.report.tables import method_order

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn plot: `name` is the file stem, `alt` says in words what it shows, `wide` asks for the full width."""

    name: str
    title: str
    alt: str
    png: bytes
    svg: bytes
    wide: bool = False


def draw_plots(manifest: Manifest, pairs: pd.DataFrame, times: pd.DataFrame, summary: Any) -> list[Plot]:
    """Draw every plot for which the run has rows.

    Parameters
    ----------
    manifest : mapping
        See `bench.report.conditions`.
    pairs, times : DataFrame
        Rows of pairs.parquet and times.parquet.
    summary : bench.summary.table.Summary
    """
    from bench.report.plots.style import to_bytes

    drawn = []
    for name, title, alt, make in _plots(manifest, pairs, times, summary):
        figure = make()
        if figure is not None:
            wide = figure.get_figwidth() > 2 * figure.get_figheight()
            drawn.append(Plot(name, title, alt, to_bytes(figure, "png"), to_bytes(figure, "svg"), bool(wide)))
    return drawn


def _plots(
    manifest: Manifest, pairs: pd.DataFrame, times: pd.DataFrame, summary: Any
) -> Iterator[tuple[str, str, str, Callable[[], Figure | None]]]:
    from bench.report.plots import accuracy, latency

    order = method_order(manifest, (str(m) for m in summary.table["method"]))
    labels = {method: label(manifest, method) for method in order}
    names = ", ".join(labels.values())
    metrics = set(summary.table["metric"].astype(str))
    timed = len(times) > 0 and bool((times["stage"] == "infer").any())
    headline = (
        "accuracy_3px"
        if "accuracy_3px" in metrics
        else next((m for m in sorted(metrics) if m.startswith("accuracy_")), None)
    )
    if headline and "latency_median_ms" in metrics:
        yield (
            "pareto",
            "Accuracy against time",
            f"Scatter plot of homography accuracy against median milliseconds per image with 95 percent intervals: "
            f"{names}. The values are in the main table.",
            lambda: accuracy.pareto(summary.table, labels, headline),
        )
    if headline:
        threshold = float(headline.removeprefix("accuracy_").removesuffix("px"))
        yield (
            "corner_error",
            "Cumulative corner error",
            f"Curves of the share of pairs below each corner error from 0.1 to 30 pixels, per split: {names}. "
            "Failed pairs are missing from the top of each curve.",
            lambda: accuracy.cumulative_errors(pairs, labels, order),
        )
        if pairs["pair"].astype(str).str.contains(r"-\d+$").any() and f"accuracy_{threshold:g}px" in pairs:
            yield (
                "difficulty",
                "Accuracy by target image",
                f"Lines of accuracy at {threshold:g} pixels for each target image of a sequence, per split: {names}.",
                lambda: accuracy.accuracy_by_difficulty(pairs, labels, threshold, order),
            )
        posed = pairs["pair"].astype(str).str.extract(accuracy.POSE)[0].notna().any()
        if posed and f"accuracy_{threshold:g}px" in pairs:
            yield (
                "rotation_scale",
                "Accuracy by rotation and scale",
                f"Lines of accuracy at {threshold:g} pixels over rotation and over scale of the target: {names}.",
                lambda: accuracy.accuracy_by_pose(pairs, labels, threshold, order),
            )
    mma_px = [float(t) for t in get(manifest, "protocol", "config", "mma_px", default=range(1, 16))]
    yield (
        "mma",
        "Mean matching accuracy",
        f"Curves of the share of correct matches over thresholds from {mma_px[0]:g} to {mma_px[-1]:g} pixels: {names}.",
        lambda: accuracy.mma_curves(pairs, mma_px, labels, order),
    )
    yield (
        "repeatability",
        "Repeatability",
        f"Bars of repeatability per split with 95 percent intervals: {names}.",
        lambda: accuracy.repeatability_bars(summary.table, labels, order),
    )
    if timed:
        yield (
            "stages",
            "Time by stage",
            f"Stacked bars of median milliseconds per image and per pair by stage: {names}. The values are in the "
            "table of costs.",
            lambda: latency.stage_breakdown(summary.table, labels, order),
        )
        yield (
            "latency",
            "Distribution of time per image",
            f"Box plots of milliseconds per image on a log scale: {names}.",
            lambda: latency.latency_distribution(times, labels, order),
        )
