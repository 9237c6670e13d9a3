"""Colours, markers, sizes and files shared by all plots. The only room that knows how plots look."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

Labels = Mapping[str, str]
"""Method key to the name shown; a method without an entry is shown by its key."""

INK, GRID, MUTED = "#222222", "#d8d8d8", "#6b6b6b"
CORRECT, WRONG = "#0072b2", "#d55e00"
_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "legend.fontsize": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "svg.fonttype": "path",
    "svg.hashsalt": "superpoint-bench",
    "path.simplify": True,
    "axes.prop_cycle": cycler(color=["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]),
}


@dataclass(frozen=True, slots=True)
class Look:
    """How one method is drawn. Colour, marker and dash together tell methods apart without colour vision."""

    colour: str
    marker: str
    dash: Any


_SOLID, _DASHED, _DOTTED, _DASHDOT = "-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 2, 1.2, 2))
# Okabe-Ito colours and darker shades of them: SuperPoint blue and green, classical warm.
_LOOKS = {
    "superpoint_tf": Look("#003f66", "o", _SOLID),
    "superpoint_ov_fp32": Look("#0072b2", "s", _DASHED),
    "superpoint_ov_fp16": Look("#56b4e9", "D", _DOTTED),
    "superpoint_ov_bf16": Look("#009e73", "P", _DASHDOT),
    "superpoint_ov_f16": Look("#00694d", "X", _DASHED),
    "superpoint_ov_int8": Look("#7a4fa3", "v", _DOTTED),
    "magicpoint": Look("#5b5b9e", "^", _DASHDOT),
    "sift": Look("#d55e00", "^", _SOLID),
    "rootsift": Look("#8f3f00", "<", _DASHED),
    "orb": Look("#e69f00", "v", _SOLID),
    "akaze": Look("#cc79a7", ">", _SOLID),
    "brisk": Look("#8a4f6f", "p", _DASHED),
    "kaze": Look("#b0922e", "h", _DOTTED),
    "harris": Look("#d55e00", "p", _DASHED),
    "shi_tomasi": Look("#e69f00", "h", _DASHED),
    "fast": Look("#cc79a7", "*", _DOTTED),
    "random": Look("#7f7f7f", "x", _DOTTED),
}
_SPARE_COLOURS = ("#117733", "#882255", "#44aa99", "#999933", "#aa4499", "#332288", "#661100", "#6699cc")
_SPARE_MARKERS, _SPARE_DASHES = "osD^v<>Pphd", (_SOLID, _DASHED, _DOTTED, _DASHDOT)


def look(method: str) -> Look:
    """Return a method's colour, marker and dash: the same in every plot and every run, also for unknown names."""
    if method in _LOOKS:
        return _LOOKS[method]
    digest = hashlib.sha256(method.encode()).digest()
    return Look(
        _SPARE_COLOURS[digest[0] % len(_SPARE_COLOURS)],
        _SPARE_MARKERS[digest[1] % len(_SPARE_MARKERS)],
        _SPARE_DASHES[digest[2] % len(_SPARE_DASHES)],
    )


@contextmanager
def styled() -> Iterator[None]:
    """Apply the house style, and nothing of the user's matplotlibrc, while a figure is built or saved."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def figure(
    width_in: float = 7.2, height_in: float = 4.4, columns: int = 1, sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes in one row. Sizes in inches."""
    fig = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(1, columns, squeeze=False, sharey=sharey)
    return fig, list(axes[0])


def note_empty(ax: Axes, reason: str) -> None:
    """Say inside an axes why it shows nothing."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, reason, ha="center", va="center", color=MUTED, transform=ax.transAxes)


def plain_log_ticks(ax: Axes, axis: str = "x") -> None:
    """Write the ticks of a log axis as plain numbers (0.1, 1, 10), not as powers.

    Call it after the data and the limits: an axis of less than two decades also gets ticks at 2 and 5.
    """
    target, (low, high) = (ax.xaxis, ax.get_xlim()) if axis == "x" else (ax.yaxis, ax.get_ylim())
    decades = np.log10(max(high, low) / min(high, low))
    target.set_major_locator(LogLocator(subs=(1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.7 else "all"))
    target.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    target.set_minor_formatter(NullFormatter())


def shared_legend(fig: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend for all axes below the figure, each name once, in as many columns as fit the width."""
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    if entries:
        entry_in = 0.085 * max(map(len, entries)) + 0.65
        fig.legend(
            list(entries.values()),
            list(entries),
            loc="outside lower center",
            ncols=int(np.clip(fig.get_figwidth() / entry_in, 1, len(entries))),
            handlelength=2.8,
        )


def to_bytes(fig: Figure, kind: str) -> bytes:
    """Return the figure as ``png`` (160 dpi) or ``svg``. The same figure gives the same bytes: no dates, fixed ids."""
    buffer = BytesIO()
    metadata: dict[str, Any] = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with styled():
        fig.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    # The layout does not depend on the format: it is found once and kept.
    fig.set_layout_engine("none")
    return buffer.getvalue()
