"""Plots of the drift page: where two precisions of one model part, and what that does to the features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.report.plots.style import (
    CORRECT,
    INK,
    MUTED,
    WRONG,
    Labels,
    figure,
    look,
    note_empty,
    plain_log_ticks,
    styled,
)


def drift_by_layer(layers: pd.DataFrame) -> Figure:
    """Draw the relative difference after each layer, in the order of execution.

    Parameters
    ----------
    layers : DataFrame
        Columns layer (str), mean_relative, max_relative (>= 0), e.g. mean and maximum of |a - b| over the reference's
        largest magnitude. One row per layer that both models share, in execution order.
    """
    with styled():
        fig, (ax,) = figure(0.26 * min(len(layers), 40) + 3.2, 4.6)
        if not len(layers):
            note_empty(ax, "the two models share no layer names")
            return fig
        x = np.arange(len(layers))
        series = (("max_relative", "maximum", WRONG, "^"), ("mean_relative", "mean", CORRECT, "o"))
        for column, name, colour, marker in series:
            # A difference of exactly zero has no place on a log axis; the gap in the line is the message.
            y = layers[column].to_numpy(np.float64).copy()
            y[y <= 0] = np.nan
            ax.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1.4, label=name)
        _layer_axes(ax, layers["layer"].astype(str).tolist(), "difference / largest value")
        fig.legend(loc="outside upper left", ncols=2)
    return fig


def drift_by_layer_of_methods(layers: pd.DataFrame, labels: Labels) -> Figure:
    """Draw the noise-to-signal ratio after each layer, one line per method, in the order of execution.

    Parameters
    ----------
    layers : DataFrame
        Columns method, layer (str), l2_relative (>= 0); every method has the same layers in the same order.
    labels : mapping
        Method key -> name shown.
    """
    names = list(dict.fromkeys(layers["layer"].astype(str)))
    with styled():
        fig, (ax,) = figure(0.26 * min(len(names), 40) + 4.2, 4.8)
        for method in dict.fromkeys(layers["method"]):
            y = layers.loc[layers["method"] == method, "l2_relative"].to_numpy(np.float64).copy()
            y[y <= 0] = np.nan
            style = look(method)
            ax.plot(
                np.arange(len(y)),
                y,
                color=style.colour,
                marker=style.marker,
                linestyle=style.dash,
                markersize=5,
                linewidth=1.4,
                label=labels.get(method, method),
            )
        _layer_axes(ax, names, "noise / signal")
        fig.legend(loc="outside upper left", ncols=2)
    return fig


def _layer_axes(ax: Axes, names: list[str], ylabel: str) -> None:
    ax.set_yscale("log")
    ax.set_xticks(
        np.arange(len(names)), _short_names(names), rotation=60, ha="right", rotation_mode="anchor", fontsize=8
    )
    ax.set_ylabel(ylabel)


def _short_names(names: list[str]) -> list[str]:
    """Drop the leading and trailing parts that all names share, parts being separated by slashes."""
    parts = [name.split("/") for name in names]
    if len(parts) < 2:
        return names
    shared = min(len(p) for p in parts) - 1
    first = next((i for i in range(shared) if len({p[i] for p in parts}) > 1), shared)
    last = next((i for i in range(shared - first) if len({p[-1 - i] for p in parts}) > 1), shared - first)
    return ["/".join(p[first : len(p) - last]) for p in parts]


def cosine_histogram(cosines: NDArray[np.floating[Any]]) -> Figure:
    """Draw how far descriptors of the same keypoint turn: 1 - cosine similarity, log scale.

    Parameters
    ----------
    cosines : (N,) float
        Cosine similarity of descriptors at keypoints that both models found.
    """
    turned = 1.0 - np.asarray(cosines, dtype=np.float64)
    turned = turned[np.isfinite(turned)]
    with styled():
        fig, (ax,) = figure(6.4, 3.8)
        if not len(turned):
            note_empty(ax, "the two models share no keypoint")
            return fig
        # The cosine of float32 vectors, summed in float64, is exact to about 1e-15; equal ones land in the first bin.
        clipped = np.clip(turned, 1e-15, None)
        low, high = np.floor(np.log10(clipped.min())), np.ceil(np.log10(clipped.max()))
        ax.hist(clipped, bins=np.logspace(low, max(high, low + 2), 60).tolist(), color=CORRECT)
        for value, name in ((np.median(clipped), "median"), (np.percentile(clipped, 99), "99 %")):
            ax.axvline(value, color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
            ax.annotate(
                name,
                (value, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                va="bottom",
                ha="right" if name == "median" else "left",
                fontsize=10,
            )
        ax.set_xscale("log")
        ax.set_xlabel("1 - cosine similarity (log scale)")
        ax.set_ylabel("keypoints")
    return fig


def keypoint_agreement(grey: NDArray[Any], shared: NDArray[Any], lost: NDArray[Any], gained: NDArray[Any]) -> Figure:
    """Draw keypoints that both models find, that only the reference finds (lost), that only the other finds (gained).

    Parameters
    ----------
    grey : (H, W) uint8, or float32 in [0, 1]
    shared, lost, gained : (N, 2) float
        xy in the image.
    """
    height, width = grey.shape[:2]
    with styled():
        fig, (ax,) = figure(7.2, 7.2 * height / width + 0.6)
        # Dimmed, so that marks stay readable on bright and on dark regions.
        ax.imshow(
            grey, cmap="gray", vmin=0, vmax=255 if grey.dtype == np.uint8 else 1, alpha=0.6, interpolation="nearest"
        )
        for points, name, colour, marker, size in (
            (shared, "both", CORRECT, ".", 22),
            (lost, "lost", WRONG, "x", 46),
            (gained, "gained", "#e69f00", "+", 64),
        ):
            xy = np.asarray(points, dtype=np.float64).reshape(-1, 2)
            ax.scatter(xy[:, 0], xy[:, 1], s=size, c=colour, marker=marker, linewidths=1.4, label=f"{name}: {len(xy)}")
        ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        ax.set_xlabel("x (px)")
        ax.set_ylabel("y (px)")
        ax.grid(visible=False)
        fig.legend(loc="outside lower center", ncols=3)
    return fig


def score_shift(reference: NDArray[Any], other: NDArray[Any]) -> Figure:
    """Draw how the scores of shared keypoints change, in percent of the reference's score, over that score.

    Parameters
    ----------
    reference, other : (N,) float
        Scores of the same keypoints, above 0.
    """
    with styled():
        fig, (ax,) = figure(6.4, 3.8)
        if not len(reference):
            note_empty(ax, "the two models share no keypoint")
            return fig
        change = 100 * (np.asarray(other, dtype=np.float64) / np.asarray(reference, dtype=np.float64) - 1)
        ax.axhline(0, color=MUTED, linewidth=1, zorder=1)
        ax.scatter(reference, change, s=9, color=CORRECT, alpha=0.45, linewidths=0)
        ax.set(xscale="log", xlabel="score, reference (log scale)", ylabel="change of score (%)")
        plain_log_ticks(ax)
    return fig
