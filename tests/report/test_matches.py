from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.report.matches import (
    CORRECT_RGB,
    ESTIMATED_RGB,
    TRUE_RGB,
    WRONG_RGB,
    MatchInput,
    choose_pairs,
    draw_all,
    draw_matches,
)


def points(xy: list[tuple[float, float]]) -> np.ndarray:
    return np.array(xy, np.float32).reshape(-1, 2)


def given(shift: tuple[float, float], ref: list[tuple[float, float]], target: list[tuple[float, float]]) -> MatchInput:
    grey = np.full((120, 160), 90, np.uint8)
    H = np.array([[1.0, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    return MatchInput(grey, grey, points(ref), points(target), H, None)


def has(image: np.ndarray, rgb: tuple[int, int, int]) -> bool:
    return bool((np.abs(image.astype(int) - rgb).max(axis=-1) < 12).any())


def test_matches_are_judged_by_ground_truth_up_to_and_including_three_pixels() -> None:
    ref = [(20.0, 20.0), (40.0, 40.0), (60.0, 60.0)]
    target = [(30.0, 20.0), (53.0, 40.0), (73.5, 60.0)]  # errors 0, 3 and 3.5 px after a shift of 10 px
    image, n_correct = draw_matches(given((10, 0), ref, target))
    assert n_correct == 2
    assert image.dtype == np.uint8
    assert image.shape == (120, 160 + 6 + 160, 3)
    assert has(image, CORRECT_RGB)
    assert has(image, WRONG_RGB)


def test_outlines_show_truth_and_estimate() -> None:
    without = given((20, 15), [], [])
    image, n_correct = draw_matches(without)
    assert n_correct == 0
    assert has(image[:, 170:], TRUE_RGB)
    assert not has(image, ESTIMATED_RGB)
    fields = {name: getattr(without, name) for name in MatchInput.__slots__}
    other = MatchInput(**{**fields, "H_estimated": np.array([[1.0, 0, 40], [0, 1, 40], [0, 0, 1]])})
    assert has(draw_matches(other)[0], ESTIMATED_RGB)


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_wild_estimates_are_drawn_without_error(scale: float) -> None:
    base = given((0, 0), [(5.0, 5.0)], [(5.0, 5.0)])
    fields = {name: getattr(base, name) for name in MatchInput.__slots__}
    wild = np.array([[scale, 3.0, -7.0], [2.0, -scale, 1.0], [0.5, -0.5, 1.0]])
    draw_matches(MatchInput(**{**fields, "H_estimated": wild}))


def test_float_images_and_unequal_sizes_fit_on_one_canvas() -> None:
    grey = np.full((48, 64), 0.5, np.float32), np.full((100, 80), 0.5, np.float32)
    image, _ = draw_matches(MatchInput(*grey, points([(1.0, 1.0)]), points([(2.0, 2.0)]), np.eye(3), np.eye(3)))
    assert image.shape == (100, 64 + 6 + 80, 3)
    assert (image[80, 10] == 255).all()
    assert abs(int(image[40, 50, 0]) - round(0.75 * 127.5 + 32)) <= 1


def rows(errors: list[float], outcomes: list[str], n_matches: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": "sift",
            "pair": [f"s/1-{i + 2}" for i in range(len(errors))],
            "sequence": "s",
            "corner_error_px": errors,
            "outcome": outcomes,
            "n_matches": n_matches,
        }
    )


def test_best_and_worst_pairs() -> None:
    pairs = rows(
        [2.0, 0.5, np.inf, np.inf, np.inf],
        ["ok", "ok", "too_few_matches", "estimation_failed", "extraction_failed"],
        [50, 60, 3, 40, 0],
    )
    assert choose_pairs(pairs, "sift") == [("s/1-3", "best"), ("s/1-5", "worst")]
    assert choose_pairs(pairs, "orb") == []
    assert choose_pairs(pairs.iloc[:1], "sift") == [("s/1-2", "best")]


def test_pictures_are_of_scenes_not_shown_yet_and_say_their_rank() -> None:
    errors = [0.1, 0.2, 0.3, 0.4, 0.5, 4.0, 5.0, 6.0, 7.0, np.inf]
    pairs = rows(errors, ["ok"] * 9 + ["estimation_failed"], [10] * 10)
    pairs["sequence"] = list("aabbcddeef")
    assert choose_pairs(pairs, "sift") == [("s/1-2", "best"), ("s/1-11", "worst")]
    assert choose_pairs(pairs, "sift", {"a", "f"}) == [("s/1-4", "3rd best"), ("s/1-10", "2nd worst")]
    assert choose_pairs(pairs, "sift", set("abcdef")) == [("s/1-2", "best"), ("s/1-11", "worst")]
    two = pd.concat([pairs, pairs.assign(method="orb")])
    one = given((0, 0), [(5.0, 5.0)], [(5.0, 5.0)])
    drawn = draw_all(two, ["sift", "orb"], lambda method, pair: one)
    assert [(d.method, d.pair) for d in drawn] == [
        ("sift", "s/1-2"),
        ("sift", "s/1-11"),
        ("orb", "s/1-4"),
        ("orb", "s/1-10"),
    ]


def test_draw_all_keeps_to_its_limit_and_skips_what_is_gone() -> None:
    pairs = rows([2.0, 0.5], ["ok", "ok"], [50, 60])
    one = given((0, 0), [(5.0, 5.0)], [(5.0, 5.0)])
    drawn = draw_all(pairs, ["sift"], lambda method, pair: one)
    assert [(d.pair, d.role, d.n_correct, d.corner_error_px) for d in drawn] == [
        ("s/1-3", "best", 1, 0.5),
        ("s/1-2", "worst", 1, 2.0),
    ]
    assert len(draw_all(pairs, ["sift"], lambda method, pair: one, limit=1)) == 1
    assert draw_all(pairs, ["sift"], lambda method, pair: None) == []
