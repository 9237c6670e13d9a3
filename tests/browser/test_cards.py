"""Cards and gallery of pairs in a real browser, opened from disk without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.report.cards import Budget, Cards, Packer, merge, page_data
from bench.report.page import render_page
from tests.report.test_cards import image, solved

pytestmark = pytest.mark.slow
METHODS = ("sift", "orb", "fast")
SEQUENCES = ("a", "b", "c", "d", "e")
MOST = 20


def cards_of_runs() -> Cards:
    """Three pairs of each of five sequences; `orb` has no estimate and `fast` matches nothing."""
    parts = []
    for s, sequence in enumerate(SEQUENCES):
        packer = Packer(METHODS, Budget(MOST, 2, 4000), seed=1)
        images = [image(f"{sequence}/{k}", seed=10 * s + k) for k in range(4)]
        for k in range(1, 4):
            H = np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]])
            packer.begin(f"{sequence}/1-{k + 1}", images[0], images[k], H)
            packer.add("sift", solved("x", 50, seed=k), np.array([[1.0, 0, 15], [0, 1, 0], [0, 0, 1]]))
            packer.add("orb", solved("x", 8, seed=10 + k), None)
            packer.add("fast", None, None)
        parts.append(packer.finish())
    return merge(parts)


CARDS = cards_of_runs()


def table() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    rows = []
    for pair in CARDS.pairs:
        for method in METHODS:
            error = float(rng.lognormal(1, 1)) if method == "sift" else np.inf if method == "orb" else np.nan
            outcome = "estimation_failed" if method == "orb" else "ok"
            rows.append((method, pair, pair.split("/")[0], outcome, error))
    return pd.DataFrame(rows, columns=["method", "pair", "sequence", "outcome", "corner_error_px"])


TABLE = table()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    manifest = {"title": "Cards", "methods": {name: {} for name in METHODS}}
    path = tmp_path_factory.mktemp("page") / "report.html"
    cards = page_data(CARDS, TABLE, manifest)
    path.write_text(render_page(manifest, [], [], [], [], cards=cards), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def tab(chromium: Any, address: str) -> Iterator[Any]:
    yield from opened(chromium, address)


def opened(chromium: Any, address: str, **settings: Any) -> Iterator[Any]:
    """A tab with the page; fails on anything the console calls an error."""
    context = chromium.new_context(offline=True, **{"viewport": {"width": 1200, "height": 900}, **settings})
    tab = context.new_page()
    errors: list[str] = []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(address)
    yield tab
    context.close()
    assert errors == []


def fire(tab: Any, name: str, **detail: Any) -> None:
    tab.evaluate("([name, detail]) => document.dispatchEvent(new CustomEvent(name, {detail}))", [name, detail])


def in_gallery(tab: Any) -> list[str]:
    tab.locator("#pairs").scroll_into_view_if_needed()
    tab.wait_for_selector("#cards-gallery button")
    found: list[str] = tab.eval_on_selector_all("#cards-gallery button", "all => all.map(one => one.dataset.pair)")
    return found


def lines(tab: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the drawn matches in pixels of the images, and which are drawn as correct."""
    drawn = tab.eval_on_selector_all(
        "#card-view > .match", "all => all.map(one => [one.getAttribute('d'), one.classList.contains('right')])"
    )
    ends = np.array([[float(v) for v in re.findall(r"[\d.]+", d)] for d, _ in drawn]).reshape(-1, 4)
    # Each image is 500 wide and 375 high, the second one 510 to the right.
    xy = (ends - [0, 0, 510, 0]) / [500, 375, 500, 375] * [320, 240, 320, 240] - 0.5
    return xy, np.array([right for _, right in drawn], bool)


def test_a_card_draws_the_packed_matches_in_their_colours(tab: Any) -> None:
    fire(tab, "bench:pair", pair="b/1-3", method="sift")
    number = CARDS.pairs.index("b/1-3")
    starts = np.concatenate([[0], np.cumsum(CARDS.drawn.ravel())])
    place = number * len(METHODS)
    stored = slice(starts[place], starts[place + 1])
    expected = (CARDS.matches[stored] + 0.5) / 65536 * [320, 240, 320, 240] - 0.5
    xy, right = lines(tab)
    assert len(xy) == MOST
    for ends, correct in zip(expected, CARDS.correct[stored], strict=True):
        nearest = np.abs(xy - ends).max(axis=1)
        assert nearest.min() < 0.02
        assert right[nearest.argmin()] == correct
    n, n_correct = CARDS.counts[number, 0]
    words = tab.inner_text("#card-words")
    assert f"sift: {MOST} of {n} matches drawn, spread evenly over the ranking; {n_correct} of {n} are correct" in words
    assert tab.locator("#card-view .true").count() == tab.locator("#card-view .estimated").count() == 1
    points = tab.get_attribute("#card-view .true", "points")
    assert [float(v) for v in re.split("[ ,]", points)][:2] == pytest.approx([10.5 / 320, 0.5 / 240], abs=2e-4)
    assert all(tab.eval_on_selector_all("#card-view image", "all => all.map(one => one.href.baseVal.length > 500)"))
    tab.uncheck("#card-wrong")
    assert lines(tab)[1].all()


def test_a_card_has_the_errors_of_all_methods_and_changes_between_them(tab: Any) -> None:
    fire(tab, "bench:pair", pair="a/1-2")
    cells = tab.eval_on_selector_all("#card-rows tr", "all => all.map(row => [...row.cells].map(c => c.textContent))")
    error = TABLE.loc[(TABLE["pair"] == "a/1-2") & (TABLE["method"] == "sift"), "corner_error_px"].item()
    n, n_correct = CARDS.counts[0, 0]
    assert cells[0] == ["sift", f"{error:.2f}" if error < 10 else f"{error:.1f}", "ok", str(n), str(n_correct)]
    assert cells[1][:4] == ["orb", "∞", "estimation failed", "8"]
    assert cells[2] == ["fast", "–", "ok", "–", "–"]
    tab.click("#card-rows button >> text=orb")
    assert "orb: 8 of 8 matches drawn" in tab.inner_text("#card-words")
    assert "no estimated outline: estimation failed" in tab.inner_text("#card-words")
    assert tab.locator("#card-view .estimated").count() == 0
    tab.click("#card-rows button >> text=fast")
    assert "did not keep its features" in tab.inner_text("#card-words")


def test_keyboard_alone_opens_steps_and_closes(tab: Any) -> None:
    shown = in_gallery(tab)
    tab.focus("#cards-gallery button")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#card[open]")
    assert tab.inner_text("#card-title") == shown[0]
    assert tab.evaluate("location.hash") == f"#pair={shown[0]}"
    for key, pair in (("ArrowRight", shown[1]), ("ArrowLeft", shown[0]), ("ArrowLeft", shown[-1])):
        tab.keyboard.press(key)
        assert tab.inner_text("#card-title") == pair
        assert tab.evaluate("location.hash") == f"#pair={pair}"
    for _ in range(12):  # the focus stays inside
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement === document.body || card.contains(document.activeElement)")
    tab.keyboard.press("Escape")
    tab.wait_for_function("!card.open && location.hash === ''")
    assert tab.evaluate("document.activeElement.dataset.pair") == shown[0]


def test_a_link_opens_its_pair_and_keeps_what_else_is_in_the_address(chromium: Any, address: str) -> None:
    for tab in opened(chromium, f"{address}#split=v&pair=c/1-2"):
        assert tab.inner_text("#card-title") == "c/1-2"
        tab.keyboard.press("ArrowRight")
        assert tab.evaluate("location.hash") == "#split=v&pair=c/1-3"
        tab.click("#card-close")
        tab.wait_for_function("location.hash === '#split=v'")
        tab.evaluate("location.hash = '#split=v&pair=d/1-4'")
        tab.wait_for_selector("#card[open]")
        assert tab.inner_text("#card-title") == "d/1-4"
    for tab in opened(chromium, f"{address}#reading"):
        assert not tab.evaluate("card.open")
        assert tab.evaluate("location.hash") == "#reading"


def test_the_gallery_shows_the_worst_and_the_most_discordant_pairs_of_the_filter(tab: Any) -> None:
    sift = TABLE[TABLE["method"] == "sift"].set_index("pair")["corner_error_px"]

    def expected(errors: pd.Series, ascending: bool) -> list[str]:
        ordered = errors.sort_values(ascending=ascending)
        return list(dict.fromkeys(ordered.index.str[0]))

    # orb fails everywhere: the smaller the error of sift, the more the two differ.
    right = sift[sift <= 3]
    assert [pair[0] for pair in in_gallery(tab)] == expected(right, True)
    assert tab.inner_text("#cards-count").startswith(f"{len(right)} of {len(sift)} pairs have a method within 3 px")
    tab.select_option("#cards-list", label="the worst of sift")
    assert [pair[0] for pair in in_gallery(tab)] == expected(sift[sift > 3], False)
    kept = [pair for pair in sift.index if pair[0] in "bd"]
    fire(tab, "bench:filter", pairs=kept)
    tab.wait_for_function(f"document.querySelector('#cards-count').textContent.includes('of {len(kept)} pairs')")
    assert [pair[0] for pair in in_gallery(tab)] == expected(sift[kept][sift[kept] > 3], False)
    fire(tab, "bench:threshold", px=0.5)
    tab.wait_for_function("document.querySelector('#cards-count').textContent.includes('within 0.5 px')")
    assert tab.eval_on_selector_all("#cards-px option", "all => all.map(one => one.value)") == ["0.5", "3"]
    assert [pair[0] for pair in in_gallery(tab)] == expected(sift[kept][sift[kept] > 0.5], False)
    fire(tab, "bench:filter", pairs=kept, methods=["orb"])
    tab.wait_for_function("document.querySelector('#cards-list').value === '1'")
    assert tab.eval_on_selector_all("#cards-list option", "all => all.map(o => o.textContent)") == ["the worst of orb"]
    assert len(in_gallery(tab)) == 2
    fire(tab, "bench:pair", pair="b/1-2")
    assert tab.inner_text("#card-place") == f"1 of {len(kept)}"
    assert tab.eval_on_selector_all("#cards-gallery svg", "all => all.every(one => one.querySelector('image'))")


def test_pictures_are_decoded_when_they_come_near(chromium: Any, address: str, tmp_path: Path) -> None:
    text = Path(address.removeprefix("file://")).read_text(encoding="utf-8")
    far = tmp_path / "far.html"
    far.write_text(text.replace('<section id="pairs"', '<div style="height: 9000px"></div><section id="pairs"'))
    for tab in opened(chromium, far.as_uri()):
        tab.wait_for_timeout(300)
        assert tab.locator("#cards-gallery button").count() == 0
        assert in_gallery(tab)
        tab.wait_for_selector("#cards-gallery image")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_card_fits_a_phone_and_has_no_serious_fault_of_access(chromium: Any, address: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python.sync_playwright").Axe()
    for tab in opened(chromium, address, viewport={"width": 390, "height": 800}, color_scheme=scheme):
        in_gallery(tab)
        for is_open in (False, True):
            if is_open:
                fire(tab, "bench:pair", pair="a/1-2")
            assert tab.evaluate("document.documentElement.scrollWidth") <= 390
            found = axe.run(tab)["violations"]
            assert [
                (one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")
            ] == []
        assert tab.evaluate("card.scrollWidth <= card.clientWidth")
