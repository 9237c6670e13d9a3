"""The interactive page in a real browser, opened from disk without a network: its numbers are NumPy's and pandas'."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from bench.report.write import write_report
from tests.report.simulation import simulated_manifest, simulated_pairs, simulated_summary, simulated_times

pytestmark = pytest.mark.slow
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    return simulated_pairs(scenes=6)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, pairs: pd.DataFrame) -> str:
    times = simulated_times(pairs)
    folder = tmp_path_factory.mktemp("run")
    return write_report(folder, simulated_manifest(), pairs, times, simulated_summary(pairs, times)).as_uri()


def opened(chromium: Any, address: str, viewport: dict[str, int] = DESKTOP, **options: Any) -> Any:
    context = chromium.new_context(viewport=viewport, offline=True, **options)
    page = context.new_page()
    page.problems = []
    page.requests = []
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(address)
    page.wait_for_selector("html[data-ready=yes]", state="attached")
    return page


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    found = opened(chromium, address)
    yield found
    assert found.problems == []
    found.context.close()


def set_threshold(page: Any, t: float) -> None:
    page.evaluate(
        """t => { const slider = document.querySelector("#threshold"); slider.value = t;
        slider.dispatchEvent(new Event("input", {bubbles: true})); }""",
        t,
    )
    page.wait_for_function("t => document.querySelector('#threshold-text').textContent === t", arg=f"{t:.1f} px")


def show_chart(page: Any, name: str) -> None:
    page.evaluate("name => document.querySelector(`[data-chart=${name}]`).parentElement.scrollIntoView()", name)
    page.wait_for_selector(f"[data-chart={name}].ready")


def choose(page: Any, key: str, *values: str) -> None:
    page.click(f"[data-chosen={key}]")
    for value in values:
        page.check(f"[data-filter={key}] input[value='{value}']")
    page.keyboard.press("Escape")
    page.wait_for_function("key => location.hash.includes(key)", arg=key)


def column(page: Any, name: str) -> dict[tuple[str, str], float]:
    """Shown rows of the headline table: (split, method) to the number that a sort uses."""
    rows = page.evaluate(
        """name => [...document.querySelectorAll("#main tbody tr[data-method]")].map(row => {
        const at = [...document.querySelectorAll("#main thead th")].findIndex(head => head.dataset.key === name);
        return [row.dataset.split, row.dataset.method, row.cells[at].dataset.value]; })""",
        name,
    )
    return {(split, method): float(value) for split, method, value in rows}


def numpy_accuracy(pairs: pd.DataFrame, method: str, split: str, t: float) -> float:
    rows = pairs[(pairs["method"] == method) & ((split == "all") | (pairs["split"] == split))]
    return float(np.mean([np.mean(np.asarray(errors) <= t) for errors in rows["corner_errors_px"]]))


def test_the_page_asks_for_nothing_outside(page: Any) -> None:
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(300)
    assert {url.split(":")[0] for url in page.requests} <= {"file", "data", "blob"}


@pytest.mark.parametrize("t", [0.0, 1.7, 3.0, 10.0])
def test_the_slider_gives_the_accuracy_that_numpy_gives(page: Any, pairs: pd.DataFrame, t: float) -> None:
    if t != 3.0:
        set_threshold(page, t)
    found = column(page, "live")
    assert len(found) == 3 * pairs["method"].nunique()
    for (split, method), value in found.items():
        assert value == pytest.approx(numpy_accuracy(pairs, method, split, t), abs=1e-12)


def test_an_interval_is_shown_only_where_it_was_computed(page: Any) -> None:
    intervals = "document.querySelectorAll('#main td.live .interval').length"
    assert page.evaluate(intervals) == 15
    set_threshold(page, 1.7)
    assert page.evaluate(intervals) == 0
    assert "No interval is shown at 1.7 px" in page.text_content("#filter-note")
    set_threshold(page, 5.0)
    assert page.evaluate(intervals) == 15
    choose(page, "target", "2")
    accuracies = """[...document.querySelectorAll("#main thead th")].flatMap((head, i) => /^acc/.test(head.dataset.key)
        ? [...document.querySelectorAll("#main tbody tr[data-method]")].map(row => row.cells[i]) : [])"""
    assert page.evaluate(f"{accuracies}.length") == 45
    assert page.evaluate(f"{accuracies}.filter(cell => cell.querySelector('.interval')).length") == 0
    assert page.evaluate(intervals) == 0


def test_charts_follow_the_slider(page: Any) -> None:
    show_chart(page, "pareto")
    points = "document.querySelectorAll('[data-chart=pareto] [aria-roledescription=point]')"
    drawn = f"[...{points}].map(point => point.ariaLabel).join()"
    before = page.evaluate(drawn)
    set_threshold(page, 1.0)
    page.wait_for_timeout(300)
    assert before
    assert page.evaluate(drawn) != before
    assert page.is_hidden("figure[data-plot=pareto] img")


def test_filters_leave_the_pairs_that_pandas_leaves(page: Any, pairs: pd.DataFrame) -> None:
    choose(page, "sequence", "i_scene00", "v_scene03")
    choose(page, "target", "2", "5")
    rows = pairs[pairs["sequence"].isin(["i_scene00", "v_scene03"]) & pairs["pair"].str.contains("-[25]$")]
    assert page.text_content("#count") == "4 of 30 pairs, 5 of 5 methods"
    for (split, method), value in column(page, "live").items():
        assert value == pytest.approx(numpy_accuracy(rows, method, split, 3.0), abs=1e-12)
    matches = column(page, "failures")
    for method, group in rows.groupby("method"):
        assert matches["all", method] == (group["outcome"] != "ok").sum()
    choose(page, "split", "v")
    assert {split for split, _ in column(page, "live")} == {"v"}
    choose(page, "method", "sift", "orb")
    assert set(column(page, "live")) == {("v", "sift"), ("v", "orb")}
    assert page.text_content("#count") == "2 of 30 pairs, 2 of 5 methods"
    page.click("text=Reset")
    page.wait_for_function("document.querySelector('#count').textContent.startsWith('30 of 30')")


def test_the_address_holds_the_view(chromium: Any, address: str, page: Any) -> None:
    set_threshold(page, 1.7)
    choose(page, "split", "v")
    again = opened(chromium, page.url)
    assert again.text_content("#count") == page.text_content("#count") == "15 of 30 pairs, 5 of 5 methods"
    assert column(again, "live") == column(page, "live")
    again.context.close()


def test_a_heading_sorts_each_section_as_pandas_does(page: Any, pairs: pd.DataFrame) -> None:
    page.click("#main th[data-key=live]")
    page.wait_for_selector("#main th[data-key=live][aria-sort=ascending]")
    found = pd.DataFrame([(*key, value) for key, value in column(page, "live").items()], columns=["split", "m", "v"])
    assert found["split"].drop_duplicates().tolist() == ["all", "i", "v"]
    for split, rows in found.groupby("split"):
        ours = pd.Series({m: numpy_accuracy(pairs, m, str(split), 3.0) for m in rows["m"]})
        assert rows["v"].round(12).tolist() == ours.sort_values().round(12).tolist()


def test_scenes_follow_the_slider_and_the_filters(page: Any, pairs: pd.DataFrame) -> None:
    set_threshold(page, 1.7)
    choose(page, "split", "v")
    page.click("#scenes summary")
    page.wait_for_function("document.querySelectorAll('#scenes tbody tr').length === 3")
    assert page.text_content("#scenes h2") == "Accuracy at 1.7 px by scene"
    found = page.evaluate(
        """() => { const heads = [...document.querySelectorAll("#scenes thead th")];
        const at = heads.findIndex(head => head.dataset.key === "orb");
        return [...document.querySelectorAll("#scenes tbody tr")].map(row =>
        [row.cells[0].textContent, row.cells[at].dataset.value]); }"""
    )
    for scene, value in found:
        rows = pairs[pairs["sequence"] == scene]
        assert float(value) == pytest.approx(numpy_accuracy(rows, "orb", "all", 1.7), abs=1e-12)


def test_columns_can_be_chosen(page: Any) -> None:
    assert page.query_selector("#main th[data-key=n_matches]") is None
    page.click("#main .buttons-colvis")
    page.click(".dt-button-collection >> text=matches")
    assert page.query_selector("#main th[data-key=n_matches]") is not None


def test_quadrants_are_mcnemars(page: Any, pairs: pd.DataFrame) -> None:
    page.select_option("#method-a", "superpoint_tf")
    page.select_option("#method-b", "orb")
    page.wait_for_timeout(100)
    first = pairs.assign(ok=[errors[0] <= 3.0 for errors in pairs["corner_errors_px"]])
    ok = first.pivot(index="pair", columns="method", values="ok")
    a, b = ok["superpoint_tf"], ok["orb"]
    expected = {"both": a & b, "only A": a & ~b, "only B": ~a & b, "neither": ~a & ~b}
    for name, pairs_in in expected.items():
        assert page.text_content(f"[data-quadrant='{name}']") == str(int(pairs_in.sum()))


def test_a_click_on_a_pair_or_a_point_names_it(page: Any, pairs: pd.DataFrame) -> None:
    page.evaluate("document.addEventListener('bench:pair', event => { window.asked = event.detail.pair; })")
    button = page.locator("button.pair").nth(3)
    button.click()
    assert page.evaluate("window.asked") == button.text_content() == sorted(pairs["pair"].unique())[3]
    show_chart(page, "scatter")
    point = page.locator("#scatter [aria-roledescription=point]").nth(7)
    point.dispatch_event("click")
    assert f"pair: {page.evaluate('window.asked')};" in point.get_attribute("aria-label")


def test_a_phone_scrolls_down_only(chromium: Any, address: str) -> None:
    page = opened(chromium, address, PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


def test_the_headline_table_fits_a_desktop(page: Any) -> None:
    right = page.evaluate("document.querySelector('#main table').getBoundingClientRect().right")
    assert right <= 1280


def test_dark_mode_is_dark_everywhere(chromium: Any, address: str) -> None:
    page = opened(chromium, address, color_scheme="dark")
    assert (
        light_on_dark(page, "#main td.live") and light_on_dark(page, "#pair-table td") and light_on_dark(page, "p.note")
    )
    page.context.close()


def light_on_dark(page: Any, selector: str) -> bool:
    """Whether text is light and the first painted background behind it dark."""
    return bool(
        page.evaluate(
            """selector => { const lightness = colour => { const c = colour.match(/[\\d.]+/g).map(Number);
            return c.length > 3 && c[3] === 0 ? null : (c[0] + c[1] + c[2]) / 3; };
            let at = document.querySelector(selector); const ink = lightness(getComputedStyle(at).color);
            let behind = null;
            for (; at && behind === null; at = at.parentElement)
                behind = lightness(getComputedStyle(at).backgroundColor);
            return ink > 140 && behind < 80; }""",
            selector,
        )
    )


def test_the_keyboard_reaches_everything(page: Any) -> None:
    page.focus("#threshold")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#threshold-text').textContent === '3.1 px'")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('details').open")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_function("location.hash.includes('split=i')")
    page.keyboard.press("Escape")
    head = page.locator("#main th[data-key=live] [tabindex='0'], #main th[data-key=live][tabindex='0']").first
    head.focus()
    assert page.is_visible("#tip")
    assert page.text_content("#tip").startswith("Share of pairs")
    page.keyboard.press("Escape")
    assert page.is_hidden("#tip")
    page.keyboard.press("Enter")
    page.wait_for_selector("#main th[data-key=live][aria-sort]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium: Any, address: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python")
    page = opened(chromium, address, color_scheme=scheme)
    show_chart(page, "pareto")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    # The charts are turned to dark by a filter, which axe does not see. Only colours differ between the two.
    rules = {} if scheme == "light" else {"runOnly": ["color-contrast"]}
    found = page.evaluate("rules => axe.run({exclude: [['.chart']]}, rules).then(result => result.violations)", rules)
    serious = [
        (each["id"], each["nodes"][0]["html"][:200], len(each["nodes"]))
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
    page.context.close()


def test_print_shows_all_conditions(page: Any) -> None:
    page.emulate_media(media="print")
    assert page.evaluate(
        """[...document.querySelectorAll("#conditions td, #conditions dd, #all_differences td, #scenes td")]
        .every(cell => cell.checkVisibility() && cell.getBoundingClientRect().height > 0)"""
    )
    assert page.is_hidden("#controls")


def test_without_javascript_the_page_is_complete(chromium: Any, address: str) -> None:
    context = chromium.new_context(viewport=DESKTOP, java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.is_hidden("#controls") and page.is_hidden("#versus")
    assert page.locator("#main tbody tr").count() == 3 * 6
    assert page.is_visible("figure[data-plot=pareto] img")
    context.close()


VIEWS: dict[str, dict[str, Any]] = {
    "desktop": {},
    "phone": {"viewport": PHONE},
    "dark": {"color_scheme": "dark"},
    "print": {},
}


@pytest.mark.parametrize("name", list(VIEWS))
def test_a_picture_of_each_view_is_kept(name: str, chromium: Any, address: str, screenshots: Path) -> None:
    page = opened(chromium, address, **VIEWS[name])
    if name == "print":
        page.emulate_media(media="print")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(500)
    path = screenshots / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None and pixels.shape[0] > 2000
    # Most of a page is background: bright, or dark in dark mode.
    assert (np.median(pixels) < 64) == (name == "dark")
    page.context.close()
