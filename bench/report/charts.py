"""The charts of the interactive page: Vega-Lite specifications, written with Altair.

A specification names the data sets that the page's script fills (``points``, ``curve``, ``cut``, ``pairs``, ``bars``);
how anything looks stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair

STAGE_COLOURS = {
    "preprocess": "#bfbfbf",
    "infer": "#0072b2",
    "decode": "#e69f00",
    "match": "#56b4e9",
    "estimate": "#cc79a7",
}
QUADRANTS = {"both": "#6b6b6b", "only A": "#0072b2", "only B": "#d55e00", "neither": "#bdbdbd"}
"""McNemar's quadrants of two methods at one threshold."""
ERRORS_PX = (0.05, 100.0)
"""Range of a chart of corner errors; what lies outside is drawn on its edge."""
_INK, _GRID = "#222222", "#e2e2e2"


def charts(labels: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return {name: Vega-Lite specification} of every chart that follows the controls.

    Parameters
    ----------
    labels : mapping
        Method to the name shown, in the order of legends.
    """
    import altair as alt

    found = {
        "pareto": _pareto(labels),
        "corner_error": _curve(labels),
        "latency": _ecdf(labels),
        "scatter": _scatter(),
        "stages": _stages(len(labels)),
    }
    with alt.data_transformers.enable("default"):
        return {name: plain_chart(chart) for name, chart in found.items()}


def plain_chart(chart: altair.TopLevelMixin) -> dict[str, Any]:
    """Return the specification of a chart in the look of the page."""
    axis = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridColor": _GRID}
    spec: dict[str, Any] = chart.to_dict()
    spec.pop("$schema")
    spec["config"] = {
        "background": "white",
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": axis | {"labelColor": _INK, "titleColor": _INK},
        "legend": {"labelFontSize": 12, "labelLimit": 260, "title": None, "orient": "bottom", "columns": 3},
    }
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


def colour_scale(labels: Mapping[str, str], legend: bool = True) -> Any:
    """Return the colour of each method: the same as in every plot.

    Parameters
    ----------
    labels : mapping
        Method to the name shown, in the order of the legend.
    legend : bool
    """
    import altair as alt

    from bench.report.plots.style import look

    scale = alt.Scale(domain=list(labels.values()), range=[look(name).colour for name in labels])
    return alt.Color("method:N", scale=scale, legend=alt.Legend() if legend else None)


def _dash(labels: Mapping[str, str]) -> Any:
    import altair as alt

    from bench.report.plots.style import look

    dashes = [[1, 0] if look(name).dash == "-" else list(look(name).dash[1]) for name in labels]
    return alt.StrokeDash("method:N", scale=alt.Scale(domain=list(labels.values()), range=dashes), legend=alt.Legend())


def _pareto(labels: Mapping[str, str]) -> altair.TopLevelMixin:
    import altair as alt

    x = alt.X("ms:Q", title="median ms per image", scale=alt.Scale(type="log", nice=False, padding=30))
    y = alt.Y("accuracy:Q", title="accuracy at the threshold", scale=alt.Scale(zero=False))
    base = alt.Chart(alt.NamedData("points")).encode(x=x, y=y, color=colour_scale(labels))
    tip = ["method:N", alt.Tooltip("ms:Q", format=".4~g"), alt.Tooltip("accuracy:Q", format=".3f"), "interval:N"]
    return alt.layer(
        base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_rule(strokeWidth=1.5).encode(x=alt.X("ms_low:Q"), x2="ms_high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(tooltip=tip),
    ).properties(width="container", height=330)


def _curve(labels: Mapping[str, str]) -> altair.TopLevelMixin:
    import altair as alt

    x = alt.X("px:Q", title="threshold of the mean corner error, px", scale=alt.Scale(domain=[0, 10]))
    y = alt.Y("share:Q", title="share of pairs within it", scale=alt.Scale(domain=[0, 1]))
    line = alt.Chart(alt.NamedData("curve")).mark_line(interpolate="step-after", strokeWidth=2)
    cut = alt.Chart(alt.NamedData("cut")).mark_rule(color=_INK, strokeDash=[4, 3]).encode(x="px:Q")
    return alt.layer(line.encode(x=x, y=y, color=colour_scale(labels), strokeDash=_dash(labels)), cut).properties(
        width="container", height=330
    )


def _ecdf(labels: Mapping[str, str]) -> altair.TopLevelMixin:
    import altair as alt

    x = alt.X("ms:Q", title="ms per image", scale=alt.Scale(type="log", nice=False))
    y = alt.Y("share:Q", title="share of timed images", scale=alt.Scale(domain=[0, 1]))
    line = alt.Chart(alt.NamedData("ecdf")).mark_line(interpolate="step-after", strokeWidth=2)
    found = line.encode(x=x, y=y, color=colour_scale(labels), strokeDash=_dash(labels))
    return alt.layer(found).properties(width="container", height=330)


def _scatter() -> altair.TopLevelMixin:
    import altair as alt

    scale = alt.Scale(type="log", domain=list(ERRORS_PX), nice=False, clamp=True)
    x, y = (
        alt.X("a:Q", title="corner error of A, px", scale=scale),
        alt.Y("b:Q", title="corner error of B, px", scale=scale),
    )
    colour = alt.Color(
        "quadrant:N",
        scale=alt.Scale(domain=list(QUADRANTS), range=list(QUADRANTS.values())),
        legend=alt.Legend(columns=4),
    )
    tip = ["pair:N", alt.Tooltip("a_text:N", title="A"), alt.Tooltip("b_text:N", title="B"), "quadrant:N"]
    dots = alt.Chart(alt.NamedData("pairs")).mark_point(filled=True, size=46, opacity=0.75, cursor="pointer")
    cut = alt.Chart(alt.NamedData("cut")).mark_rule(color=_INK, strokeDash=[4, 3])
    ends = alt.InlineData(values=[{"a": ERRORS_PX[0], "b": ERRORS_PX[0]}, {"a": ERRORS_PX[1], "b": ERRORS_PX[1]}])
    diagonal = alt.Chart(ends).mark_line(color="#9a9a9a", strokeWidth=1).encode(x="a:Q", y="b:Q")
    layers = (
        diagonal,
        cut.encode(x=alt.X("px:Q")),
        cut.encode(y=alt.Y("px:Q")),
        dots.encode(x=x, y=y, color=colour, tooltip=tip),
    )
    return alt.layer(*layers).properties(width="container", height=420)


def _stages(n_methods: int) -> altair.TopLevelMixin:
    import altair as alt

    scale = alt.Scale(domain=list(STAGE_COLOURS), range=list(STAGE_COLOURS.values()))
    bars = alt.Chart(alt.NamedData("bars")).mark_bar()
    found = bars.encode(
        y=alt.Y("method:N", sort=None, title=None, axis=alt.Axis(labelLimit=260)),
        x=alt.X("ms:Q", title="median ms per image (preprocess, infer, decode) and per pair (match, estimate)"),
        color=alt.Color("stage:N", scale=scale, legend=alt.Legend(), sort=list(STAGE_COLOURS)),
        order=alt.Order("rank:Q"),
        tooltip=["method:N", "stage:N", alt.Tooltip("ms:Q", format=".4~g")],
    )
    return alt.layer(found).properties(width="container", height=26 * n_methods)
