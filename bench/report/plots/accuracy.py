"""Plots of accuracy: the Pareto front, corner errors, difficulty, matching accuracy, repeatability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.core.frames import records
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

SPLIT_TITLES = {"all": "all pairs", "i": "illumination", "v": "viewpoint"}
ERROR_RANGE_PX = (0.1, 30.0)
_ENDS = ((0, -1.0), (1, 1.0))


def _rows(table: pd.DataFrame, metric: str, split: str = "all") -> dict[str, dict[str, Any]]:
    chosen = table[(table["metric"] == metric) & (table["split"] == split) & table["value"].notna()]
    return {str(row["method"]): row for row in records(chosen)}


def _arms(row: dict[str, Any]) -> NDArray[np.float64]:
    """Distances (2, 1) from the value down to `low` and up to `high`; zero where there is no interval."""
    low, high = (row[key] if pd.notna(row.get(key)) else row["value"] for key in ("low", "high"))
    return np.maximum(np.array([[row["value"] - low], [high - row["value"]]], dtype=np.float64), 0.0)


def pareto(table: pd.DataFrame, labels: Labels, metric: str = "accuracy_3px", split: str = "all") -> Figure:
    """Draw accuracy against median time per image, with 95 % intervals on both axes and the front of best trade-offs.

    Parameters
    ----------
    table : DataFrame
        The summary's tidy table. Methods that lack either number are left out.
    labels : mapping
        Method to the name in the legend, which lies beside the axes in the order of the methods.
    metric, split : str
        What the vertical axis shows.
    """
    accuracy, latency = _rows(table, metric, split), _rows(table, "latency_median_ms")
    methods = [m for m in accuracy if m in latency]
    with styled():
        fig, (ax,) = figure(8.4, 4.8)
        if not methods:
            note_empty(ax, "no method has both an accuracy and a time")
            return fig
        for method in methods:
            seen, style = (latency[method]["value"], accuracy[method]["value"]), look(method)
            ax.errorbar(
                *seen,
                yerr=_arms(accuracy[method]),
                xerr=_arms(latency[method]),
                fmt=style.marker,
                color=style.colour,
                markersize=8,
                markeredgecolor="white",
                markeredgewidth=0.8,
                elinewidth=1.4,
                capsize=2.5,
                zorder=3,
                label=labels.get(method, method),
            )
        points = np.array([(latency[m]["value"], accuracy[m]["value"]) for m in methods])
        _front(ax, points)
        ax.set_xscale("log")
        ax.grid(visible=True, which="minor", axis="x", linewidth=0.35)
        ax.set_xlabel("median time per image (ms, log scale)")
        ax.set_ylabel(f"{_title(metric)}, {SPLIT_TITLES.get(split, split)}")
        span = points[:, 0].max() / points[:, 0].min()
        pad = max(1.6, span**0.14)
        ax.set_xlim(points[:, 0].min() / pad, points[:, 0].max() * pad)
        plain_log_ticks(ax)
        y_low, y_high = (
            points[:, 1] + sign * np.array([_arms(accuracy[m])[k, 0] for m in methods]) for k, sign in _ENDS
        )
        margin = 0.06 * max(y_high.max() - y_low.min(), 0.05)
        ax.set_ylim(y_low.min() - margin, y_high.max() + margin)
        # Names beside the points would collide where methods are alike, which is where they matter.
        fig.legend(loc="outside right upper")
    return fig


def _title(metric: str) -> str:
    return metric.replace("_", " at ").replace("px", " px") if metric.startswith("accuracy_") else metric


def _front(ax: Axes, points: NDArray[np.float64]) -> None:
    """Draw the staircase of points that no other point beats in both time and accuracy."""
    order = np.lexsort((-points[:, 1], points[:, 0]))
    front: list[tuple[float, float]] = []
    for x, y in points[order]:
        if not front or y > front[-1][1]:
            front.append((x, y))
    steps = np.array(front)
    ax.plot(
        steps[:, 0], steps[:, 1], drawstyle="steps-post", color=MUTED, linewidth=1.2, linestyle=(0, (2, 2)), zorder=1
    )


def _splits(pairs: pd.DataFrame) -> list[str]:
    found = set(pairs["split"].astype(str))
    return ["all", *(s for s in ("i", "v") if s in found)]


def _of_split(pairs: pd.DataFrame, split: str) -> pd.DataFrame:
    return pairs if split == "all" else pairs[pairs["split"] == split]


def _methods(frame: pd.DataFrame, column: str, order: Sequence[str] | None) -> list[str]:
    present = list(dict.fromkeys(frame.loc[frame[column].notna(), "method"].astype(str)))
    return [m for m in order if m in present] if order is not None else present


def cumulative_errors(pairs: pd.DataFrame, labels: Labels, order: Sequence[str] | None = None) -> Figure:
    """Draw the share of pairs below each corner error. Failed pairs never enter: a curve ends below 1 by their share.

    Parameters
    ----------
    pairs : DataFrame
        Rows with method, split, corner_error_px (+inf on failure).
    order : sequence of str, optional
        Methods in drawing order.
    """
    splits = _splits(pairs)
    low, high = ERROR_RANGE_PX
    with styled():
        fig, axes = figure(3.7 * len(splits) + 0.4, 4.2, len(splits))
        for ax, split in zip(axes, splits, strict=True):
            part = _of_split(pairs, split)
            for method in _methods(part, "corner_error_px", order):
                errors = np.sort(part.loc[part["method"] == method, "corner_error_px"].dropna().to_numpy(np.float64))
                share = np.arange(1, len(errors) + 1) / len(errors)
                inside = errors <= high
                x = np.concatenate([[low], np.clip(errors[inside], low, None), [high]])
                y = np.concatenate([[0.0], share[inside], share[inside][-1:] if inside.any() else [0.0]])
                style = look(method)
                ax.plot(
                    x,
                    y,
                    drawstyle="steps-post",
                    color=style.colour,
                    linestyle=style.dash,
                    label=labels.get(method, method),
                )
            ax.set(xscale="log", xlim=(low, high), ylim=(0, 1.01), title=SPLIT_TITLES[split])
            ax.set_xlabel("corner error (px, log scale)")
            ax.set_xticks([0.1, 0.3, 1, 3, 10, 30], ["0.1", "0.3", "1", "3", "10", "30"])
            ax.minorticks_off()
        axes[0].set_ylabel("share of pairs")
        shared_legend(fig, axes)
    return fig


def accuracy_by_difficulty(
    pairs: pd.DataFrame, labels: Labels, threshold_px: float = 3.0, order: Sequence[str] | None = None
) -> Figure:
    """Draw accuracy by index of the target image, per split. The index is the last number of the pair's name."""
    column = f"accuracy_{threshold_px:g}px"
    index = pairs["pair"].astype(str).str.extract(r"-(\d+)$")[0]
    rows = pairs.assign(target=pd.to_numeric(index)).dropna(subset=["target", column])
    splits = [s for s in _splits(rows) if s != "all"] or ["all"]
    with styled():
        fig, axes = figure(3.9 * len(splits) + 0.4, 4.0, len(splits))
        for ax, split in zip(axes, splits, strict=True):
            part = _of_split(rows, split)
            for method in _methods(part, column, order):
                _means(ax, part, "target", column, method, labels)
            ax.set(title=SPLIT_TITLES[split], ylim=(-0.02, 1.03), xlabel="target image")
            ax.set_xticks(sorted(rows["target"].unique())[:12])
        axes[0].set_ylabel(f"accuracy at {threshold_px:g} px")
        shared_legend(fig, axes)
    return fig


def _means(ax: Axes, part: pd.DataFrame, by: str, column: str, method: str, labels: Labels) -> None:
    """Draw the mean of a column of one method over the values of another column."""
    means = part[part["method"] == method].groupby(by)[column].mean()
    style = look(method)
    ax.plot(
        means.index,
        means.to_numpy(),
        color=style.colour,
        linestyle=style.dash,
        marker=style.marker,
        markersize=6.5,
        markeredgecolor="white",
        label=labels.get(method, method),
    )


POSE = r"-r(-?[\d.]+)_s([\d.]+)$"
"""End of the name of a pair whose target was turned (degrees) and magnified by given amounts."""


def accuracy_by_pose(
    pairs: pd.DataFrame, labels: Labels, threshold_px: float = 3.0, order: Sequence[str] | None = None
) -> Figure:
    """Draw accuracy over rotation at scale 1 and over scale at rotation 0; combined poses are left out.

    Parameters
    ----------
    pairs : DataFrame
        Rows whose ``pair`` ends with ``-r<rotation_deg>_s<scale>``; others are left out.
    """
    column = f"accuracy_{threshold_px:g}px"
    pose = pairs["pair"].astype(str).str.extract(POSE).astype(np.float64)
    rows = pairs.assign(rotation=pose[0], scale=pose[1]).dropna(subset=["rotation", "scale", column])
    panels = (
        ("rotation", rows[(rows["scale"] == 1) & (rows["rotation"] != 0)], "rotation (degrees)"),
        ("scale", rows[(rows["rotation"] == 0) & (rows["scale"] != 1)], "scale (log scale)"),
    )
    drawn = [panel for panel in panels if len(panel[1])]
    with styled():
        fig, axes = figure(4.6 * max(len(drawn), 1) + 0.4, 4.2, max(len(drawn), 1))
        if not drawn:
            note_empty(axes[0], "no pair is turned alone or magnified alone")
        for ax, (name, part, title) in zip(axes, drawn, strict=False):
            for method in _methods(part, column, order):
                _means(ax, part, name, column, method, labels)
            values = sorted(part[name].unique())
            if name == "scale":
                ax.set_xscale("log")
                ax.minorticks_off()
            ax.set_xticks(values, [f"{value:g}" for value in values])
            ax.set(ylim=(-0.02, 1.03), xlabel=title)
        axes[0].set_ylabel(f"accuracy at {threshold_px:g} px")
        shared_legend(fig, axes)
    return fig


def mma_curves(
    pairs: pd.DataFrame, thresholds_px: Sequence[float], labels: Labels, order: Sequence[str] | None = None
) -> Figure | None:
    """Draw mean matching accuracy over its thresholds, per split; None where no row has it.

    Parameters
    ----------
    pairs : DataFrame
        ``mma`` holds a list per row, one value per threshold.
    """
    if "mma" not in pairs or not pairs["mma"].notna().any():
        return None
    rows = pairs[pairs["mma"].notna()]
    splits = _splits(rows)
    with styled():
        fig, axes = figure(3.7 * len(splits) + 0.4, 4.2, len(splits))
        for ax, split in zip(axes, splits, strict=True):
            part = _of_split(rows, split)
            for method in _methods(part, "mma", order):
                curves = np.stack([np.asarray(c, dtype=np.float64) for c in part.loc[part["method"] == method, "mma"]])
                style = look(method)
                ax.plot(
                    list(thresholds_px),
                    np.nanmean(curves, axis=0),
                    color=style.colour,
                    linestyle=style.dash,
                    label=labels.get(method, method),
                )
            ax.set(title=SPLIT_TITLES[split], ylim=(0, 1.01), xlabel="threshold (px)")
            ax.set_xticks(list(thresholds_px)[:: max(1, len(thresholds_px) // 7)])
        axes[0].set_ylabel("mean matching accuracy")
        shared_legend(fig, axes)
    return fig


def repeatability_bars(table: pd.DataFrame, labels: Labels, order: Sequence[str] | None = None) -> Figure | None:
    """Draw repeatability per method and split with 95 % intervals; None where the summary has none."""
    by_split = {s: _rows(table, "repeatability", s) for s in ("all", "i", "v")}
    splits = [s for s, rows in by_split.items() if rows]
    if not splits:
        return None
    present = list(dict.fromkeys(m for s in splits for m in by_split[s]))
    methods = [m for m in order if m in present] if order is not None else present
    with styled():
        fig, axes = figure(3.1 * len(splits) + 1.6, 0.42 * len(methods) + 1.3, len(splits))
        for ax, split in zip(axes, splits, strict=True):
            for y, method in enumerate(methods):
                row = by_split[split].get(method)
                if row is None:
                    continue
                ax.barh(y, row["value"], height=0.66, color=look(method).colour)
                ax.errorbar(row["value"], y, xerr=_arms(row), color=INK, elinewidth=1.3, capsize=2.5)
            ax.set(title=SPLIT_TITLES[split], xlim=(0, 1), xlabel="repeatability")
            ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
            ax.set_yticks(range(len(methods)), [labels.get(m, m) for m in methods])
            ax.grid(visible=False, axis="y")
        axes[0].invert_yaxis()
    return fig


_MARKERS = "osD^v<>Pp"


def tradeoff(table: pd.DataFrame, metric: str, margin: float, chosen: str | None = None) -> Figure:
    """Draw the metric of configurations against their median time, with 95 % intervals and the best trade-offs.

    Parameters
    ----------
    table : DataFrame
        Columns configuration, method, size, max_keypoints, threads, state, accuracy and latency_ms, the last two with
        ``_low`` and ``_high``. Filled: the reference and what is shown to be non-inferior to it.
    metric : str
        Name of the vertical axis.
    margin : float
        A dashed line lies this much below the reference.
    chosen : str, optional
        Configuration with a ring around it.
    """
    with styled():
        fig, (ax,) = figure(9.2, 5.0)
        if not len(table):
            note_empty(ax, "no configuration has both an accuracy and a time")
            return fig
        settings = list(dict.fromkeys(zip(table["size"], table["max_keypoints"], table["threads"], strict=True)))
        points = table[["latency_ms", "accuracy"]].to_numpy(np.float64)
        for row, point in zip(records(table), points, strict=True):
            filled = row["state"] in ("reference", "non-inferior")
            colour = look(row["method"]).colour
            place = settings.index((row["size"], row["max_keypoints"], row["threads"]))
            threads = f"{row['threads']} thread{'' if row['threads'] == 1 else 's'}"
            ax.errorbar(
                float(point[0]),
                float(point[1]),
                xerr=_arms({"value": point[0], "low": row["latency_ms_low"], "high": row["latency_ms_high"]}),
                yerr=_arms({"value": point[1], "low": row["accuracy_low"], "high": row["accuracy_high"]}),
                fmt=_MARKERS[place % len(_MARKERS)],
                color=colour,
                markersize=8,
                markerfacecolor=colour if filled else "white",
                elinewidth=1.2,
                capsize=2.5,
                zorder=3,
                label=f"{row['method']}, {row['size']}, {row['max_keypoints']}, {threads}",
            )
            if row["configuration"] == chosen:
                ax.plot(*point, "o", markersize=17, markerfacecolor="none", markeredgecolor=INK, zorder=2)
            if row["state"] == "reference":
                ax.axhline(point[1] - margin, color=MUTED, linestyle="--", linewidth=1.0)
        _front(ax, points)
        ax.set_xscale("log")
        ax.set_xlabel("median time per image (ms, log scale)")
        ax.set_ylabel(_title(metric))
        ax.set_xlim(points[:, 0].min() / 1.6, points[:, 0].max() * 1.6)
        plain_log_ticks(ax)
        fig.legend(loc="outside right upper")
    return fig
