"""The charts of a history: static for files and print, Vega-Lite for the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bench.core.frames import records
from bench.metrics.columns import column
from bench.metrics.text import format_interval, format_value
from bench.report.charts import colour_scale, plain_chart
from bench.report.columns import heading
from bench.report.conditions import label
from bench.report.figures import Plot
from bench.report.lookup import number
from bench.summary.comparison import RunComparison
from bench.summary.history import RunHistory

if TYPE_CHECKING:
    import pandas as pd


def _labels(comparison: RunComparison) -> dict[str, str]:
    """Method to the name shown, as the newest run has it."""
    found: dict[str, str] = {}
    for run in comparison.runs:
        found |= {method: label(run.manifest, method) for method in run.methods}
    return found


def _metrics(history: RunHistory) -> list[str]:
    return [str(metric) for metric in dict.fromkeys(history.points["metric"])]


def _name(metric: str) -> str:
    return "history_" + re.sub(r"[^a-z0-9_]", "_", metric.lower())


def draw(history: RunHistory, comparison: RunComparison) -> list[Plot]:
    """Draw every metric of a history."""
    from bench.report.plots.history import trend
    from bench.report.plots.style import to_bytes

    labels, plots = _labels(comparison), []
    for metric in _metrics(history):
        points = history.points[history.points["metric"] == metric]
        steps = [step for step in records(history.steps) if step["metric"] == metric]
        shown = heading(column(metric))
        figure = trend(points, steps, history.order, labels, shown)
        at = ", ".join(f"{step['label']} ({labels[step['method']]})" for step in steps)
        names = ", ".join(labels.values())
        alt = f"Lines of {shown} over {len(history.order)} runs, with 95 percent intervals: {names}. "
        alt += f"Steps at {at}." if steps else "No step."
        plots.append(
            Plot(_name(metric), f"{shown} over the runs", alt, to_bytes(figure, "png"), to_bytes(figure, "svg"), True)
        )
    return plots


def chart_specs(history: RunHistory, comparison: RunComparison) -> dict[str, dict[str, Any]]:
    """Return {name of the plot: Vega-Lite specification with its data} of every metric of a history."""
    import altair as alt

    labels, found = _labels(comparison), {}
    for metric in _metrics(history):
        points = history.points[history.points["metric"] == metric]
        steps = [step for step in records(history.steps) if step["metric"] == metric]
        with alt.data_transformers.enable("default"):
            found[_name(metric)] = plain_chart(_trend(points, steps, history, labels, metric))
    return found


def _trend(
    points: pd.DataFrame, steps: list[dict[str, Any]], history: RunHistory, labels: dict[str, str], metric: str
) -> Any:
    import altair as alt

    unit = column(metric).unit
    names = [label for label, _ in history.order]
    rows = [
        {
            "place": int(row["place"]),
            "run": row["run"],
            "label": row["label"],
            "method": labels[row["method"]],
            "value": number(row["value"]),
            "low": number(row["low"]),
            "high": number(row["high"]),
            "level": number(row["level"]),
            "text": f"{format_value(unit, number(row['value']))} "
            f"{format_interval(unit, number(row['low']), number(row['high']))}".strip(),
            "changed": number(row["pairs_changed"]),
        }
        for row in records(points)
    ]
    present = {method: shown for method, shown in labels.items() if method in set(points["method"])}
    marks = [
        {"at": step["place"] - 0.5, "text": f"{step['label']}: {labels[step['method']]} {step['verdict']}"}
        for step in steps
    ]
    axis = alt.Axis(
        title=None,
        labelExpr=f"{names!r}[round(datum.value)] || ''" if all("'" not in n and "\\" not in n for n in names) else "",
        labelAngle=-45,
        tickMinStep=1,
        grid=False,
        labelLimit=120,
    )
    x = alt.X("place:Q", axis=axis, scale=alt.Scale(domain=[-0.5, len(names) - 0.5], nice=False))
    y = alt.Y("value:Q", title=heading(column(metric)), scale=alt.Scale(zero=False), axis=alt.Axis(format=".4~g"))
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=x, color=colour_scale(present).legend(symbolOpacity=1))
    band = base.mark_area(opacity=0.12).encode(y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(strokeWidth=1, opacity=0.7).encode(y=y)
    level = base.mark_line(strokeWidth=2.5, interpolate="step").encode(y=alt.Y("level:Q"))
    tip = [
        "label:N",
        "run:N",
        "method:N",
        alt.Tooltip("text:N", title=metric),
        alt.Tooltip("changed:Q", title="pairs changed"),
    ]
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(y=y, tooltip=tip)
    rule = alt.Chart(alt.InlineData(values=marks)).mark_rule(color="#222222", strokeDash=[4, 3], strokeWidth=1.5)
    step = rule.encode(x=alt.X("at:Q"), tooltip=[alt.Tooltip("text:N", title="step")])
    return alt.layer(band, line, level, dots, step).properties(width="container", height=300)
