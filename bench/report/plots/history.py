"""Plots of a history: a metric over runs, with intervals, levels and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.report.plots.style import INK, MUTED, Labels, figure, look, shared_legend, styled

_TICKS = 24


def trend(
    points: pd.DataFrame,
    steps: Sequence[Mapping[str, Any]],
    order: Sequence[tuple[str, str]],
    labels: Labels,
    axis: str,
) -> Figure:
    """Draw one metric over the runs of a history.

    Parameters
    ----------
    points : DataFrame
        Rows of one metric: ``place, method, value, low, high, level``.
    steps : sequence of mapping
        Steps of this metric: ``place`` and ``method``.
    order : sequence of (str, str)
        Label and name of each run.
    labels : mapping
        Method to the name shown.
    axis : str
        What the metric is, with its unit.
    """
    with styled():
        fig, (ax,) = figure(max(7.2, min(14.0, 0.32 * len(order) + 3)), 4.2)
        for method, own in points.groupby("method", sort=False, observed=True):
            shown, style = labels.get(str(method), str(method)), look(str(method))
            x, y = own["place"].to_numpy(np.float64), own["value"].to_numpy(np.float64)
            low, high = own["low"].to_numpy(np.float64), own["high"].to_numpy(np.float64)
            if np.isfinite(low).any():
                ax.fill_between(x, low, high, color=style.colour, alpha=0.12, linewidth=0)
            ax.plot(
                x,
                y,
                color=style.colour,
                marker=style.marker,
                markersize=4.5,
                linewidth=0.8,
                linestyle=style.dash,
                label=shown,
            )
            ax.step(x, own["level"].to_numpy(np.float64), where="mid", color=style.colour, linewidth=2.2, alpha=0.8)
        for step in steps:
            ax.axvline(step["place"] - 0.5, color=INK, linewidth=1.1, linestyle=(0, (4, 3)))
        every = max(1, -(-len(order) // _TICKS))
        places = range(0, len(order), every)
        ax.set_xticks(list(places), [order[place][0] for place in places], rotation=45, ha="right")
        ax.tick_params(axis="x", labelsize=9, color=MUTED)
        ax.set_ylabel(axis)
        ax.margins(x=0.02)
        shared_legend(fig, [ax])
    return fig
