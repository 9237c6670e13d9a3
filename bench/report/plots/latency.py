"""Plots of time: stages, distribution, resolution and threads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.metrics.text import format_value
from bench.report.plots.style import (
    INK,
    MUTED,
    Labels,
    figure,
    look,
    note_empty,
    plain_log_ticks,
    shared_legend,
    styled,
)

IMAGE_STAGES = ("preprocess", "infer", "decode")
PAIR_STAGES = ("match", "estimate")
# Stages differ in lightness and hatch, so that the order survives grey printing.
_STAGE_LOOKS = {
    "preprocess": ("#bfbfbf", ""),
    "infer": ("#0072b2", ""),
    "decode": ("#e69f00", "//"),
    "match": ("#56b4e9", ""),
    "estimate": ("#cc79a7", "\\\\"),
}


def _values(table: pd.DataFrame, metric: str) -> dict[str, float]:
    rows = table[(table["metric"] == metric) & (table["split"] == "all") & table["value"].notna()]
    return {str(method): float(value) for method, value in zip(rows["method"], rows["value"], strict=True)}


def stage_breakdown(table: pd.DataFrame, labels: Labels, order: Sequence[str] | None = None) -> Figure:
    """Draw the medians of the stages stacked: per image on the left, per pair on the right.

    The whisker ends at the 90th percentile of the whole image's time. A stack of medians is close to the median of the
    sum, not equal to it.

    Parameters
    ----------
    table : DataFrame
        The summary's tidy table with ``<stage>_ms`` and ``latency_p90_ms``.
    """
    stages = {stage: _values(table, f"{stage}_ms") for stage in (*IMAGE_STAGES, *PAIR_STAGES)}
    p90 = _values(table, "latency_p90_ms")
    present = list(dict.fromkeys(str(m) for m in table["method"]))
    methods = [m for m in (order or present) if any(m in values for values in stages.values())]
    with styled():
        fig, (image, pair) = figure(8.6, 0.46 * max(len(methods), 3) + 1.6, 2)
        if not methods:
            note_empty(image, "no times were measured")
            note_empty(pair, "")
            return fig
        for ax, names in ((image, IMAGE_STAGES), (pair, PAIR_STAGES)):
            ends = [_stack(ax, y, method, names, stages) for y, method in enumerate(methods)]
            whiskers = [p90.get(m, 0.0) if ax is image else 0.0 for m in methods]
            limit = max([*ends, *whiskers]) or 1.0
            for y, (end, whisker) in enumerate(zip(ends, whiskers, strict=True)):
                if whisker > end > 0:
                    ax.errorbar(end, y, xerr=np.array([[0.0], [whisker - end]]), color=INK, elinewidth=1.3, capsize=3)
                if end > 0:
                    ax.text(max(end, whisker) + 0.02 * limit, y, format_value("ms", end), va="center", fontsize=10)
            ax.set_xlim(0, 1.17 * limit)
            ax.grid(visible=False, axis="y")
        image.set_yticks(range(len(methods)), [labels.get(m, m) for m in methods])
        image.invert_yaxis()
        image.set_xlabel("ms per image (median; whisker: p90)")
        pair.set_xlabel("ms per pair (median)")
        shared_legend(fig, [image, pair])
    return fig


def _stack(ax: Axes, y: int, method: str, names: Sequence[str], stages: dict[str, dict[str, float]]) -> float:
    """Draw one stacked bar and return where it ends."""
    left = 0.0
    for stage in names:
        value = stages[stage].get(method, 0.0)
        colour, hatch = _STAGE_LOOKS[stage]
        label = stage if y == 0 else None
        ax.barh(
            y, value, left=left, height=0.62, color=colour, hatch=hatch, edgecolor="white", linewidth=0, label=label
        )
        left += value
    return left


def latency_distribution(times: pd.DataFrame, labels: Labels, order: Sequence[str] | None = None) -> Figure:
    """Draw the time per image (its stages added) of every timed extraction: box, median, whiskers p5 to p95, points.

    Parameters
    ----------
    times : DataFrame
        Rows of times.parquet: method, item, stage, repeat, ms.
    """
    rows = times[times["stage"].isin(IMAGE_STAGES)]
    totals = rows.groupby(["method", "item", "repeat"], sort=False, observed=True)["ms"].sum().reset_index()
    present = list(dict.fromkeys(totals["method"].astype(str)))
    methods = [m for m in (order or present) if m in present]
    with styled():
        fig, (ax,) = figure(7.2, 0.5 * max(len(methods), 3) + 1.2)
        if not methods:
            note_empty(ax, "no times were measured")
            return fig
        for y, method in enumerate(methods):
            ms = totals.loc[totals["method"] == method, "ms"].to_numpy(np.float64)
            colour = look(method).colour
            spread = np.random.default_rng((0, y)).uniform(-0.2, 0.2, len(ms))
            # Many points as one picture keep the SVG small.
            many = len(ms) > 300
            ax.scatter(ms, y + spread, s=7, color=colour, alpha=0.35, linewidths=0, zorder=2, rasterized=many)
            ax.boxplot(
                ms,
                positions=[y],
                orientation="horizontal",
                widths=0.55,
                whis=(5, 95),
                showfliers=False,
                zorder=3,
                boxprops={"color": colour, "linewidth": 1.5},
                medianprops={"color": INK, "linewidth": 2},
                whiskerprops={"color": colour, "linewidth": 1.5},
                capprops={"color": colour, "linewidth": 1.5},
            )
        ax.set_yticks(range(len(methods)), [labels.get(m, m) for m in methods])
        ax.set_xscale("log")
        plain_log_ticks(ax)
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.set_xlabel("time per image (ms, log scale; box: quartiles, whiskers: p5 to p95)")
    return fig


def by_resolution(sweep: pd.DataFrame, labels: Labels, order: Sequence[str] | None = None) -> Figure:
    """Draw median time against the number of pixels, both log, with the line of time proportional to pixels.

    Parameters
    ----------
    sweep : DataFrame
        Columns method, height, width, threads, median_ms, low, high. Sizes are written HEIGHTxWIDTH.
    """
    megapixels = sweep["height"].astype(float) * sweep["width"].astype(float) / 1e6
    sizes = (sweep["height"].astype(int).astype(str) + "×" + sweep["width"].astype(int).astype(str)).to_numpy()
    rows = sweep.assign(x=megapixels)
    with styled():
        fig, (ax,) = figure(7.2, 4.6)
        _sweep_lines(ax, rows, labels, order, slope=1.0)
        # The tick of a size stands for every shape with that many pixels.
        names: dict[float, list[str]] = {}
        for x, size in zip(megapixels, sizes, strict=True):
            if size not in names.setdefault(float(x), []):
                names[float(x)].append(size)
        ticks = sorted(names)
        ax.set_xticks(ticks, ["\n".join(sorted(names[x])) for x in ticks])
        ax.minorticks_off()
        ax.set_xlabel("image size (height×width, log scale in pixels)")
        shared_legend(fig, [ax])
    return fig


def by_threads(sweep: pd.DataFrame, labels: Labels, order: Sequence[str] | None = None) -> Figure:
    """Draw median time against threads, both log, with the line of perfect scaling from each method's first point.

    Parameters
    ----------
    sweep : DataFrame
        As in `by_resolution`; one image size.
    """
    rows = sweep.assign(x=sweep["threads"].astype(float))
    with styled():
        fig, (ax,) = figure(6.4, 4.4)
        _sweep_lines(ax, rows, labels, order, slope=-1.0)
        ticks = sorted(rows["x"].unique())
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
        ax.minorticks_off()
        ax.set_xlabel("threads (log scale)")
        shared_legend(fig, [ax])
    return fig


def _sweep_lines(ax: Axes, rows: pd.DataFrame, labels: Labels, order: Sequence[str] | None, slope: float) -> None:
    present = list(dict.fromkeys(rows["method"].astype(str)))
    ideal = "proportional to pixels" if slope > 0 else "ideal (time / threads)"
    for method in [m for m in (order or present) if m in present]:
        part = rows[rows["method"] == method].sort_values(["x", "height"], kind="stable")
        x, y = part["x"].to_numpy(np.float64), part["median_ms"].to_numpy(np.float64)
        arms = np.abs(part[["low", "high"]].to_numpy(np.float64).T - y)
        style = look(method)
        ax.errorbar(
            x,
            y,
            yerr=np.nan_to_num(arms),
            color=style.colour,
            linestyle=style.dash,
            marker=style.marker,
            markersize=6.5,
            markeredgecolor="white",
            capsize=2.5,
            elinewidth=1.2,
            label=labels.get(method, method),
        )
        ax.plot(x, y[0] * (x / x[0]) ** slope, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), label=ideal, zorder=1)
    ax.set(xscale="log", yscale="log")
    plain_log_ticks(ax, "y")
    ax.set_ylabel("median time per image (ms, log scale)")
