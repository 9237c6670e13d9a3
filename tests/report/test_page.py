from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from bench.report import page, tables
from bench.report.figures import Plot
from bench.report.page import Picture, render_page
from tests.report.conftest import SimulatedRun
from tests.report.simulation import simulated_manifest

_VOID = {"meta", "img", "br", "hr", "link", "input"}


class Strict(HTMLParser):
    """Collects tags, attributes and text, and fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


PLOT = Plot("p", "Plot & title", 'alt "quoted"', b"png", b"<svg/>")
PICTURE = Picture("Picture", "two images", b"jpeg", "image/jpeg")


def rendered(run: SimulatedRun, manifest: dict[str, Any] | None = None) -> str:
    known = run.manifest if manifest is None else manifest
    results = [tables.main_table(run.summary, known)]
    scenes = tables.scene_table(run.pairs, known)
    assert scenes is not None
    return render_page(known, results, [scenes], [PLOT], [PICTURE], [("parity report", "parity/a b.html")])


def test_page_is_well_formed_and_asks_for_nothing_outside(run: SimulatedRun) -> None:
    text = rendered(run)
    parsed = Strict(text)
    for tag, attrs in parsed.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attrs.get(name)
            assert value is None or re.match(r"data:|#|parity/a%20b\.html$", value), (tag, name, value)
    style = text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert not parsed.all("link")
    assert "fetch(" not in text
    # Packed scripts and data are base64, in which any four letters may occur.
    assert "http" not in re.sub(r'data:[^"]*|<script type="text/plain".*?</script>', "", text, flags=re.DOTALL)


def test_results_come_before_conditions_and_warnings_before_both(run: SimulatedRun) -> None:
    text = rendered(run, simulated_manifest(noise={"noisy": True, "reasons": ["loud"]}))
    order = [
        text.index(part)
        for part in (
            'class="warning"',
            'id="main"',
            'id="plots"',
            'id="scenes"',
            'id="matches"',
            'class="facts"',
            'id="reading"',
            'id="again"',
        )
    ]
    assert order == sorted(order)


def test_every_protocol_constant_is_listed(run: SimulatedRun) -> None:
    parsed = Strict(rendered(run))
    words = [word.strip() for word in parsed.words]
    at = words.index("estimator.threshold_px")
    assert "2" in words[at + 1 : at + 3]
    assert "Every constant of the protocol" in words


def test_images_have_alternative_texts(run: SimulatedRun) -> None:
    images = Strict(rendered(run)).all("img")
    assert [image["alt"] for image in images] == ['alt "quoted"', "two images"]
    assert str(images[0]["src"]).startswith("data:image/svg+xml;base64,")


@pytest.mark.parametrize(
    "attack", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "</title>"]
)
def test_values_are_escaped_wherever_they_come_from(run: SimulatedRun, attack: str) -> None:
    manifest = simulated_manifest(
        title=attack,
        command=[attack],
        host={"cpu": attack, attack: attack},
        noise={"noisy": True, "reasons": [attack]},
        dataset={"name": attack, "note": attack, "digest": attack},
    )
    manifest["methods"]["sift"]["label"] = attack
    manifest["protocol"]["config"]["unstated"] = [attack]
    text = rendered(run, manifest)
    parsed = Strict(text)
    assert [attrs.get("id") for attrs in parsed.all("script")] == ["table-script", "table-style", None]
    assert all("onerror" not in attrs for _, attrs in parsed.tags)
    assert "49" not in parsed.words[parsed.words.index("Reproduce") :]
    assert attack in "".join(parsed.words)


def test_the_command_can_be_pasted_into_a_shell() -> None:
    assert page.command({"command": ["dataset=hpatches", "title=a b"]}) == "bench dataset=hpatches 'title=a b'"
    assert page.command({}) == "bench"


def test_a_bare_manifest_still_gives_a_page(run: SimulatedRun) -> None:
    Strict(rendered(run, {}))


def test_a_table_has_the_numbers_that_a_sort_uses(run: SimulatedRun) -> None:
    scenes = rendered(run).split('<section id="scenes">')[1].split("</table>")[0]
    scores = [float(v) for v in re.findall(r'data-value="([^"]+)"', scenes)]
    assert len(scores) == run.pairs["sequence"].nunique() * (1 + run.pairs["method"].nunique())


def test_the_verdict_stands_above_everything(run: SimulatedRun) -> None:
    main = tables.main_table(run.summary, run.manifest)
    text = render_page(run.manifest, [main], [], [], [], verdict=["A & B do not differ."])
    assert text.index("<p>A &amp; B do not differ.</p>") < text.index('id="main"')


def test_definitions_cover_the_shown_columns_once(run: SimulatedRun) -> None:
    main = tables.main_table(run.summary, run.manifest)
    found = page.definitions([main, main])
    assert len(found) == len({name for name, _ in found})
    assert dict(found)["acc@3 px"].startswith("Share of pairs whose mean corner error is at most 3 px")


def test_hashes_are_found_at_any_depth() -> None:
    from bench.report.conditions import short_hashes

    assert short_hashes({"graph_sha256": "a" * 64, "more": {"sha256": "0" * 64}, "nms": "box"}) == (
        "graph aaaaaaaaaaaa, sha256 000000000000"
    )
    assert short_hashes(None) == ""


def test_throughput_stands_beside_latency_with_its_conditions(run: SimulatedRun) -> None:
    from bench.summary.table import summarise
    from tests.report.conftest import SimulatedRun as Run

    how = {"requests": 4.0, "seconds": 10.0, "height": 480, "width": 640}
    measured = {
        "superpoint_ov_fp32": {"images_per_s": 12.5, "streams": 2.0, **how},
        "superpoint_ov_fp16": {"images_per_s": 13.5, "streams": 1.0, **how},
    }
    manifest = simulated_manifest(throughput=measured)
    summary = summarise(run.pairs, run.times, manifest)
    table = tables.main_table(summary, manifest)
    place = [head.key for head in table.heads].index("throughput_per_s")
    assert {row[0].text: row[place].text for row in table.sections[0].rows}["superpoint_ov_fp32"] == "12.5"
    note = (
        "images/s: throughput hint for 10 s on images of 480x640, network alone, 2 streams and 4 requests "
        "(superpoint_ov_fp32); 1 stream and 4 requests (superpoint_ov_fp16) in flight"
    )
    assert note[1:] in table.caption
    text = rendered(Run(run.pairs, run.times, summary, manifest))
    assert note in text.split("Throughput")[-1] and "images/s" in text
    costs = tables.metric_table("costs", "Costs", ("throughput_.*",), summary, manifest, ["all"])
    assert costs is not None and [head.text for head in costs.heads[2:]] == ["images/s", "requests", "streams"]
