"""What a card holds, read back as the page's script reads it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from bench.core.types import Correspondences, EvaluatedImage, ImageRef, Pair, PreparedPair, Size
from bench.geometry.solve import Solved, solve_correspondences
from bench.geometry.transforms import corners, transform_points
from bench.report.cards import NO_OUTLINE, NOTHING_MATCHED, Budget, Cards, Packer, budget, card_bytes, merge, page_data
from bench.schema import ProtocolConfig

SIZE = Size(240, 320)
PAGE_BYTES = {(65, 5): 1.85e6, (580, 12): 2.65e6}
"""What the cards may add to the page of 65 pairs x 5 methods, and of 580 x 12, in base64."""


def image(key: str, size: Size = SIZE, seed: int = 0) -> EvaluatedImage:
    """Texture that a JPEG cannot make small."""
    noise = np.random.default_rng(seed).integers(0, 256, (size.height // 4, size.width // 4), np.uint8)
    return EvaluatedImage(key, cv2.resize(noise, (size.width, size.height), interpolation=cv2.INTER_CUBIC), np.eye(3))


def solved(name: str, n: int, seed: int = 0, shift: float = 10.0) -> Solved:
    """`n` matches under a shift to the right, each off by up to 6 px."""
    rng = np.random.default_rng(seed)
    ref, target = ImageRef(f"{name}/1", Path("1")), ImageRef(f"{name}/2", Path("2"))
    H = np.array([[1.0, 0, shift], [0, 1, 0], [0, 0, 1]])
    pair = Pair(ref, target, H, name, "v", f"{name}/1-2")
    xy = rng.uniform([0, 0], [SIZE.width - 30, SIZE.height - 1], (n, 2))
    found = xy + np.array([shift, 0]) + rng.uniform(-6, 6, (n, 2))
    given = Correspondences(xy.astype(np.float32), found.astype(np.float32), rng.random(n).astype(np.float32))
    return solve_correspondences(PreparedPair(pair, H, SIZE, SIZE), given, ProtocolConfig(name="test"))


def packed(name: str, methods: dict[str, Solved | None], allowed: Budget, H: np.ndarray | None = None) -> Cards:
    packer = Packer(tuple(methods), allowed, seed=5)
    truth = np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]])
    packer.begin(f"{name}/1-2", image(f"{name}/1"), image(f"{name}/2", seed=1), truth)
    for method, found in methods.items():
        packer.add(method, found, H)
    return packer.finish()


def rows(names: Sequence[str], methods: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"method": method, "pair": f"{name}/1-2", "sequence": name, "outcome": "ok", "corner_error_px": 1.0 + k}
        for name in names
        for k, method in enumerate(methods)
    )


def read(text: str) -> dict[str, Any]:
    """The page's JSON with its numbers taken apart."""
    data: dict[str, Any] = json.loads(text)
    raw = base64.b64decode(data["numbers"])
    at = 0

    def take(dtype: str, *shape: int) -> np.ndarray:
        nonlocal at
        found = np.frombuffer(raw, dtype, int(np.prod(shape)), at).reshape(shape)
        at += found.nbytes
        return found

    n, m = len(data["pairs"]), len(data["methods"])
    data["errors"], data["ended"] = take("<f4", n, m), take("u1", n, m)
    if "images" in data:
        n, m = len(data["carded"]), len(data["card_methods"])
        data["outlines"], data["estimates"] = take("<i2", n, 4, 2), take("<i2", n, m, 4, 2)
        data["counts"] = take("<i4", n, m, 2)
        stored = int(np.clip(data["counts"][..., 0], 0, data["most"]).sum())
        data["matches"] = take("u1" if data["coordinate_bytes"] == 1 else "<u2", stored, 4)
        data["correct"] = np.unpackbits(take("u1", -(-stored // 8)), bitorder="little")[:stored].astype(bool)
    assert at == len(raw)
    return data


def test_page_data_gives_every_match_back_within_the_quantisation() -> None:
    given = solved("a", 40)
    for coordinate_bytes, tolerance in ((1, 320 / 512), (2, 320 / 131072)):
        cards = packed("a", {"sift": given}, Budget(60, coordinate_bytes, 20000))
        text = page_data(cards, rows(["a"], ["sift"]), {"methods": {"sift": {}}})
        assert text is not None
        data = read(text)
        steps = 256**coordinate_bytes
        xy = (data["matches"] + 0.5) / steps * [320, 240, 320, 240] - 0.5
        ranking = np.argsort(-given.correspondences.scores, kind="stable")  # type: ignore[union-attr]
        expected = np.hstack([given.xy_ref, given.xy_target])[ranking]
        inside = ((expected >= -0.5) & (expected < np.array([320, 240, 320, 240]) - 0.5)).all(axis=1)
        assert inside.sum() > 30
        assert np.abs(xy - expected)[inside].max() <= tolerance + 1e-4
        assert data["correct"].tolist() == (given.errors_px <= 3)[ranking].tolist()
        assert data["counts"][0, 0].tolist() == [40, int((given.errors_px <= 3).sum())]


def test_matches_are_a_sample_of_the_whole_ranking_not_its_best() -> None:
    given = solved("a", 600)
    cards = packed("a", {"sift": given}, Budget(60, 2, 20000))
    assert cards.counts[0, 0].tolist() == [600, int((given.errors_px <= 3).sum())]
    assert len(cards.matches) == 60
    sides = np.array([320, 240, 320, 240])
    xy = (cards.matches + 0.5) / 65536 * sides - 0.5
    distance = np.abs(np.hstack([given.xy_ref, given.xy_target])[None] - xy[:, None]).max(axis=2)
    index = distance.argmin(axis=1)
    scores = given.correspondences.scores  # type: ignore[union-attr]
    place = np.argsort(np.argsort(-scores, kind="stable"))[index]
    assert (place // 10 == np.arange(60)).all()  # one of each tenth of a hundred and so on, in order
    share = (given.errors_px <= 3).mean()
    assert abs(cards.correct.mean() - share) < 4 * np.sqrt(share * (1 - share) / 60)
    assert cards.matches.tolist() == packed("a", {"sift": given}, Budget(60, 2, 20000)).matches.tolist()


def test_outlines_are_the_corners_of_the_reference_frame() -> None:
    H = np.array([[0.9, 0.05, 12], [-0.1, 1.1, -4], [1e-4, 2e-4, 1]])
    cards = packed("a", {"sift": solved("a", 9)}, Budget(60, 1, 20000), H)
    expected = transform_points(H, corners(SIZE))
    found = cards.estimates[0, 0] / 4096 * [320, 240] - 0.5
    assert np.abs(found - expected).max() <= 320 / 8192 + 1e-9
    assert (
        np.abs(cards.outlines[0] / 4096 * [320, 240] - 0.5 - (corners(SIZE) + np.array([10, 0]))).max()
        <= 320 / 8192 + 1e-9
    )


def test_failures_detectors_and_missing_features_are_told_apart() -> None:
    nothing = replace(solved("a", 3), correspondences=None)
    cards = packed("a", {"failed": solved("a", 0), "detector": nothing, "gone": None}, Budget(60, 1, 20000))
    assert cards.counts[0, :, 0].tolist() == [0, NOTHING_MATCHED, -2]
    assert (cards.estimates == NO_OUTLINE).all()
    assert len(cards.matches) == 0


def test_a_file_gives_the_cards_back_and_refuses_arrays_that_do_not_fit() -> None:
    cards = packed("a", {"sift": solved("a", 90), "orb": solved("a", 7, 1)}, Budget(60, 2, 20000), np.eye(3))
    again = Cards.from_arrays(cards.arrays())
    for name in ("images", "jpegs", "pairs", "methods", "most"):
        assert getattr(again, name) == getattr(cards, name)
    for name, array in cards.arrays().items():
        assert (again.arrays()[name] == array).all()
    with pytest.raises(ValueError, match="do not fit"):
        Cards.from_arrays({**cards.arrays(), "matches": cards.matches[1:]})


def test_merging_keeps_order_and_an_image_once() -> None:
    allowed = Budget(20, 1, 20000)
    a, b = (packed(name, {"sift": solved(name, n)}, allowed) for name, n in (("a", 30), ("b", 4)))
    both = merge([a, b, a])
    assert both.pairs == ("a/1-2", "b/1-2", "a/1-2")
    assert both.images == ("a/1", "a/2", "b/1", "b/2")
    assert both.ends.tolist() == [[0, 1], [2, 3], [0, 1]]
    assert both.drawn.ravel().tolist() == [20, 4, 20]
    assert [both.jpegs[end] for end in both.ends[1]] == list(b.jpegs)
    with pytest.raises(ValueError, match="different"):
        merge([a, packed("b", {"orb": solved("b", 4)}, allowed)])


@pytest.mark.parametrize(("n_pairs", "n_methods"), [(65, 5), (580, 12)])
def test_cards_of_a_run_keep_to_their_share_of_the_page(n_pairs: int, n_methods: int) -> None:
    n_sequences = n_pairs // 5
    allowed = budget(6 * n_sequences, n_pairs, n_methods)
    assert allowed.matches >= 20
    methods = [f"method_{k}" for k in range(n_methods)]
    found = solved("a", 500)
    # Two sequences of noise, the worst case of a JPEG, stand for all: what is the same is not encoded again.
    parts = []
    for number in range(n_sequences):
        if number < 2:
            packer = Packer(tuple(methods), allowed, seed=number)
            images = [image(f"{number}/{k}", Size(480, 640), seed=6 * number + k) for k in range(6)]
            for k in range(1, 6):
                packer.begin(f"{number}/1-{k + 1}", images[0], images[k], np.eye(3))
                for method in methods:
                    packer.add(method, found, np.eye(3))
            parts.append(packer.finish())
        else:
            like = parts[number % 2]
            keys = tuple(f"{number}/{key.split('/')[1]}" for key in like.images)
            parts.append(replace(like, images=keys, pairs=tuple(f"{number}/1-{k}" for k in range(2, 7))))
    cards = merge(parts)
    table = pd.DataFrame(
        {"method": m, "pair": pair, "sequence": pair.split("/")[0], "outcome": "ok", "corner_error_px": 1.0}
        for pair in cards.pairs
        for m in methods
    )
    text = page_data(cards, table, {"methods": {name: {} for name in methods}})
    assert text is not None
    data = read(text)
    assert len(data["carded"]) == n_pairs
    assert 0.5 * PAGE_BYTES[n_pairs, n_methods] < len(text) <= PAGE_BYTES[n_pairs, n_methods]


def test_what_does_not_fit_is_left_out_by_whole_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = Budget(60, 2, 20000)
    cards = merge([packed(name, {"sift": solved(name, 100)}, allowed) for name in "abcdef"])
    size = len(cards.jpegs[0]) + len(cards.jpegs[1]) + 60 * 8.125 + 29
    monkeypatch.setattr("bench.report.cards.card_bytes", lambda n_rows: int(3.5 * size))
    text = page_data(cards, rows("abcdef", ["sift"]), {"methods": {"sift": {}}})
    assert text is not None
    data = read(text)
    assert len(data["pairs"]) == 6
    assert len(data["carded"]) == 3
    assert len(data["images"]) == 6
    for name, ends in zip(data["carded"], data["ends"], strict=True):
        number = cards.pairs.index(name)
        expected = [cards.jpegs[end] for end in cards.ends[number]]
        assert [base64.b64decode(data["images"][end]) for end in ends] == expected


def test_without_cards_the_errors_remain_and_without_errors_nothing_does() -> None:
    table = rows(["a", "b"], ["sift", "orb"])
    table.loc[0, ["corner_error_px", "outcome"]] = [np.inf, "estimation_failed"]
    text = page_data(None, table, {"methods": {"sift": {}, "orb": {"config": {"label": "</script>"}}}}, "moved")
    assert text is not None
    assert "<" not in text
    data = read(text)
    assert data["missing"] == "moved"
    assert data["errors"].tolist() == [[np.inf, 2.0], [1.0, 2.0]]
    assert [data["outcomes"][k] for k in data["ended"].ravel()] == ["estimation_failed", "ok", "ok", "ok"]
    assert page_data(None, table.assign(corner_error_px=np.nan), {}) is None
    assert page_data(None, table.drop(columns="corner_error_px"), {}) is None


def test_bytes_grow_from_a_small_run_to_a_large_one_and_no_further() -> None:
    assert card_bytes(1) == card_bytes(325) == 1_350_000
    assert card_bytes(325) < card_bytes(3000) < card_bytes(6960) == card_bytes(100_000)
    assert budget(78, 65, 5).matches == 60
    assert budget(78, 65, 5).coordinate_bytes == 2
