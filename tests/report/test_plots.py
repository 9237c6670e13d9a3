from __future__ import annotations

import itertools
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from bench.metrics.text import format_value
from bench.report.figures import draw_plots
from bench.report.plots import accuracy, latency, parity
from bench.report.plots.style import look, to_bytes
from tests.report.conftest import SimulatedRun
from tests.report.simulation import METHODS, simulated_pairs, simulated_summary, simulated_times


def texts(fig: Figure) -> list[str]:
    return [t.get_text() for ax in fig.axes for t in ax.texts]


def test_importing_the_report_does_not_import_matplotlib() -> None:
    code = (
        "import sys, bench.report.write, bench.report.tables, bench.report.render;"
        "sys.exit('matplotlib' in sys.modules or 'cv2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_a_run_has_its_plots(run: SimulatedRun) -> None:
    drawn = draw_plots(run.manifest, run.pairs, run.times, run.summary)
    assert [plot.name for plot in drawn] == [
        "pareto",
        "corner_error",
        "difficulty",
        "mma",
        "repeatability",
        "stages",
        "latency",
    ]
    for plot in drawn:
        assert plot.png.startswith(b"\x89PNG")
        assert b"<dc:date>" not in plot.svg
        assert len(plot.svg) < 400_000
        assert plot.alt


def test_plots_ignore_and_keep_the_users_settings(run: SimulatedRun) -> None:
    with mpl.rc_context({"font.size": 31}):
        changed = to_bytes(accuracy.pareto(run.summary.table, {}), "svg")
        assert mpl.rcParams["font.size"] == 31
    assert changed == to_bytes(accuracy.pareto(run.summary.table, {}), "svg")


def test_methods_have_one_look_each() -> None:
    looks = [look(method) for method in METHODS]
    assert len({(m.colour, m.marker) for m in looks}) == len(METHODS)
    assert look("my_method") == look("my_method")


def test_cumulative_curves_end_at_the_share_of_pairs_below_30_px() -> None:
    errors = [0.05, 0.5, 2.0, 2.0, 40.0, np.inf, np.inf, np.inf]
    pairs = pd.DataFrame({"method": "sift", "split": "v", "corner_error_px": errors})
    fig = accuracy.cumulative_errors(pairs, {})
    (line,) = fig.axes[0].get_lines()
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    assert y[-1] == pytest.approx(4 / 8)
    for limit, share in ((0.1, 1 / 8), (1.0, 2 / 8), (3.0, 4 / 8)):
        assert y[x <= limit][-1] == pytest.approx(share)
    assert len(fig.axes) == 2


def test_a_method_that_always_fails_lies_on_the_axis() -> None:
    pairs = pd.DataFrame({"method": "orb", "split": "-", "corner_error_px": [np.inf, np.inf]})
    (line,) = accuracy.cumulative_errors(pairs, {}).axes[0].get_lines()
    assert np.all(np.asarray(line.get_ydata(), float) == 0)


def test_difficulty_averages_each_target_image() -> None:
    pairs = pd.DataFrame(
        {"method": "sift", "split": "i", "pair": ["a/1-2", "b/1-2", "a/1-10"], "accuracy_3px": [1.0, 0.0, 0.25]}
    )
    (line,) = accuracy.accuracy_by_difficulty(pairs, {}).axes[0].get_lines()
    assert list(line.get_xdata()) == [2, 10]
    assert list(line.get_ydata()) == [0.5, 0.25]


def test_poses_are_split_into_rotation_and_scale() -> None:
    poses = ["r0_s1", "r30_s1", "r30_s1", "r-45_s1", "r0_s0.5", "r30_s1.5"]
    pairs = pd.DataFrame(
        {
            "method": "sift",
            "split": "v",
            "pair": [f"v_a/1-{pose}" for pose in poses] + ["v_a/1-2"],
            "accuracy_3px": [1.0, 1.0, 0.5, 0.25, 0.75, 0.0, 0.0],
        }
    )
    fig = accuracy.accuracy_by_pose(pairs, {})
    (rotation,), (scale,) = (ax.get_lines() for ax in fig.axes)
    assert (list(rotation.get_xdata()), list(rotation.get_ydata())) == ([-45, 30], [0.25, 0.75])
    assert (list(scale.get_xdata()), list(scale.get_ydata())) == ([0.5], [0.75])
    assert len(accuracy.accuracy_by_pose(pairs[pairs["pair"] == "v_a/1-r0_s0.5"], {}).axes) == 1
    assert not accuracy.accuracy_by_pose(pairs[pairs["pair"] == "v_a/1-2"], {}).axes[0].get_lines()


def test_mma_is_left_out_where_no_row_has_it(run: SimulatedRun) -> None:
    assert accuracy.mma_curves(run.pairs.drop(columns="mma"), [1.0], {}) is None
    assert accuracy.repeatability_bars(run.summary.table.iloc[:0], {}) is None


def test_pareto_front_takes_the_points_nothing_beats() -> None:
    rows = [("a", 10.0, 0.3), ("b", 20.0, 0.2), ("c", 30.0, 0.8), ("d", 40.0, 0.8), ("e", 50.0, 0.9)]
    table = pd.DataFrame(
        [
            {"method": m, "split": "all", "metric": metric, "value": v, "low": np.nan, "high": np.nan}
            for m, ms, share in rows
            for metric, v in (("latency_median_ms", ms), ("accuracy_3px", share))
        ]
    )
    fig = accuracy.pareto(table, {"a": "Method A"})
    ax = fig.axes[0]
    front = next(line for line in ax.get_lines() if line.get_drawstyle() == "steps-post")
    assert list(front.get_xdata()) == [10.0, 30.0, 50.0]
    assert "Method A" in [t.get_text() for t in fig.legends[0].get_texts()]


def text_boxes(fig: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, with its box in pixels."""
    fig.canvas.draw()
    found = [t for t in fig.findobj(Text) if t.get_visible() and t.get_text()]
    return [(t.get_text(), t.get_window_extent()) for t in found]


@pytest.mark.parametrize("n_methods", [5, 12])
@pytest.mark.parametrize("kind", ["pareto", "corner_error", "mma", "difficulty"])
def test_no_text_covers_another(run: SimulatedRun, kind: str, n_methods: int) -> None:
    source = list(METHODS)
    names = [f"{source[i % 5]}{'_full' * (i // 5)}" for i in range(n_methods)]
    pairs = pd.concat([run.pairs[run.pairs["method"] == source[i % 5]].assign(method=m) for i, m in enumerate(names)])
    table = run.summary.table
    table = pd.concat([table[table["method"] == source[i % 5]].assign(method=m) for i, m in enumerate(names)])
    fig = {
        "pareto": lambda: accuracy.pareto(table, {}),
        "corner_error": lambda: accuracy.cumulative_errors(pairs, {}),
        "mma": lambda: accuracy.mma_curves(pairs, [float(t) for t in range(1, 16)], {}),
        "difficulty": lambda: accuracy.accuracy_by_difficulty(pairs, {}),
    }[kind]()
    assert fig is not None
    boxes = text_boxes(fig)
    assert set(names) <= {text for text, _ in boxes}
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = min(a.x1, b.x1) <= max(a.x0, b.x0) or min(a.y1, b.y1) <= max(a.y0, b.y0)
        assert apart, f"{one} covers {other}"
    frame = fig.axes[0].get_window_extent()
    legend = fig.legends[0].get_window_extent()
    assert legend.x0 >= frame.x1 or legend.y1 <= frame.y0


def test_stage_bars_end_at_the_sum_of_medians(run: SimulatedRun) -> None:
    fig = latency.stage_breakdown(run.summary.table, {}, ["sift"])
    values = run.summary.table.set_index(["method", "split", "metric"])["value"]
    total = sum(values["sift", "all", f"{stage}_ms"] for stage in latency.IMAGE_STAGES)
    assert format_value("ms", total) in texts(fig)


def test_time_plots_say_so_where_nothing_was_timed(run: SimulatedRun) -> None:
    assert texts(latency.latency_distribution(run.times.iloc[:0], {})) == ["no times were measured"]
    assert "no times were measured" in texts(latency.stage_breakdown(run.summary.table.iloc[:0], {}))


def test_boxes_hold_the_sum_of_the_stages() -> None:
    rows = [
        ("sift", f"s/{i}", stage, 0, ms) for i in range(3) for stage, ms in (("infer", 10.0 * (i + 1)), ("decode", 1.0))
    ]
    times = pd.DataFrame(rows, columns=["method", "item", "stage", "repeat", "ms"])
    ax = latency.latency_distribution(times, {}).axes[0]
    medians = [line for line in ax.get_lines() if set(line.get_xdata()) == {21.0}]
    assert medians


def sweep() -> pd.DataFrame:
    rows = [
        ("sift", h, w, t, h * w / t / 1e3, np.nan, np.nan)
        for h, w in ((240, 320), (720, 1280), (1280, 720))
        for t in (1, 2)
    ]
    return pd.DataFrame(rows, columns=["method", "height", "width", "threads", "median_ms", "low", "high"])


def test_sizes_are_written_height_first() -> None:
    frame = sweep()
    ax = latency.by_resolution(frame[frame["threads"] == 1], {}).axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["240×320", "1280×720\n720×1280"]


def test_ideal_thread_line_is_the_first_time_divided() -> None:
    frame = sweep()
    ax = latency.by_threads(frame[frame["height"] == 240], {}).axes[0]
    ideal = next(line for line in ax.get_lines() if "ideal" in str(line.get_label()))
    y = np.asarray(ideal.get_ydata(), float)
    assert y[0] / y[-1] == pytest.approx(2.0)


def test_drift_plots_draw_and_survive_nothing() -> None:
    layers = pd.DataFrame(
        {"layer": ["net/conv1/Conv", "net/conv2/Conv"], "mean_relative": [0.0, 1e-4], "max_relative": [1e-4, 1e-2]}
    )
    ax = parity.drift_by_layer(layers).axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["conv1", "conv2"]
    none = np.empty((0, 2))
    assert texts(parity.cosine_histogram(np.array([]))) == ["the two models share no keypoint"]
    assert texts(parity.drift_by_layer(layers.iloc[:0])) == ["the two models share no layer names"]
    assert texts(parity.score_shift(np.array([]), np.array([]))) == ["the two models share no keypoint"]
    for fig in (
        parity.cosine_histogram(np.array([1.0, 1.0])),
        parity.keypoint_agreement(np.zeros((48, 64), np.uint8), none, none, np.array([[3.0, 4.0]])),
        parity.score_shift(np.array([0.1, 0.2]), np.array([0.1, 0.3])),
    ):
        assert to_bytes(fig, "png").startswith(b"\x89PNG")


@pytest.mark.slow
def test_plots_of_a_full_size_run_take_less_than_ten_seconds_of_one_core() -> None:
    import time

    pairs = simulated_pairs(scenes=116)
    times = simulated_times(pairs, repeats=1)
    summary = simulated_summary(pairs, times, 100)
    start = time.process_time()
    drawn = draw_plots({}, pairs, times, summary)
    assert time.process_time() - start < 10
    assert max(len(plot.svg) for plot in drawn) < 600_000
