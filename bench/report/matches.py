"""Drawings of matches: what was right and wrong by ground truth, and where the reference frame landed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.core.types import Outcome, Size, Transform
from bench.geometry.ground_truth import reprojection_error_px
from bench.geometry.transforms import corners, transform_points

if TYPE_CHECKING:
    import pandas as pd

CORRECT_RGB, WRONG_RGB = (86, 180, 233), (213, 94, 0)
TRUE_RGB, ESTIMATED_RGB = (255, 255, 255), (240, 228, 66)
_GAP_PX = 6


@dataclass(frozen=True, slots=True)
class MatchInput:
    """What one drawing is made from.

    Attributes
    ----------
    grey_ref, grey_target : (H, W) uint8, or float32 in [0, 1]
        The evaluated images.
    xy_ref, xy_target : (M, 2) float32
        Matched keypoints.
    H_true : (3, 3) float64
        Reference to target, between the evaluated frames.
    H_estimated : (3, 3) float64 or None
        None where estimation failed.
    """

    grey_ref: NDArray[Any]
    grey_target: NDArray[Any]
    xy_ref: NDArray[np.float32]
    xy_target: NDArray[np.float32]
    H_true: Transform
    H_estimated: Transform | None


@dataclass(frozen=True, slots=True)
class MatchDrawing:
    """A finished drawing: `image` is (H, W, 3) uint8 RGB, `role` is ``best``, ``worst`` or a rank (``3rd worst``)."""

    method: str
    pair: str
    role: str
    image: NDArray[np.uint8]
    n_matches: int
    n_correct: int
    corner_error_px: float
    outcome: str


def choose_pairs(pairs: pd.DataFrame, method: str, shown: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return a pair with a small and one with a large corner error as (pair, role).

    The role is ``best``, ``worst`` or the rank, as in ``3rd worst``: among the fifth of the pairs with the smallest and
    the largest errors (at least five) the first one of a sequence that is not in `shown` is taken, so that pictures do
    not show one scene over and over. Among failed pairs the one with the most matches is the worst: it shows the most.
    Pairs whose images could not be described are skipped. Ties go to the first name.

    Parameters
    ----------
    pairs : DataFrame
        Rows of pairs.parquet.
    method : str
    shown : collection of str
        Sequences that have a picture.
    """
    rows = pairs[(pairs["method"] == method) & pairs["corner_error_px"].notna()]
    rows = rows[rows["outcome"] != Outcome.EXTRACTION_FAILED].sort_values("pair")
    near = max(5, len(rows) // 5)
    chosen: list[tuple[str, str]] = []
    seen = set(shown)
    for role, order in (("best", [True, True]), ("worst", [False, False])):
        ordered = rows.sort_values(["corner_error_px", "n_matches"], ascending=order, kind="stable")
        ordered = ordered[~ordered["pair"].isin([pair for pair, _ in chosen])]
        if not len(ordered):
            break
        head = ordered.iloc[:near]
        fresh = head[~head["sequence"].isin(seen)]
        row = (fresh if len(fresh) else head).iloc[0]
        error = row["corner_error_px"]
        ahead = rows["corner_error_px"] < error if role == "best" else rows["corner_error_px"] > error
        rank = int(ahead.sum()) + 1
        chosen.append((str(row["pair"]), role if rank == 1 else f"{_ordinal(rank)} {role}"))
        seen.add(str(row["sequence"]))
    return chosen


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def draw_all(
    pairs: pd.DataFrame, methods: Sequence[str], load: Callable[[str, str], MatchInput | None], limit: int = 10
) -> list[MatchDrawing]:
    """Draw one of the best and one of the worst pairs of each method, of sequences as different as possible.

    Parameters
    ----------
    pairs : DataFrame
        Rows of pairs.parquet.
    load : callable (method, pair name) -> MatchInput or None
        None where the features are gone; that pair is left out.
    limit : int
        Most drawings made.
    """
    drawings: list[MatchDrawing] = []
    shown: set[str] = set()
    for method in methods:
        for pair, role in choose_pairs(pairs, method, shown):
            given = load(method, pair) if len(drawings) < limit else None
            if given is None:
                continue
            row = pairs[(pairs["method"] == method) & (pairs["pair"] == pair)].iloc[0]
            image, n_correct = draw_matches(given)
            error, outcome = float(row["corner_error_px"]), str(row["outcome"])
            shown.add(str(row["sequence"]))
            drawings.append(MatchDrawing(method, pair, role, image, len(given.xy_ref), n_correct, error, outcome))
    return drawings


def draw_matches(given: MatchInput, correct_px: float = 3.0, max_lines: int = 150) -> tuple[NDArray[np.uint8], int]:
    """Draw the two images side by side with their matches and the outline of the reference frame in the target.

    A match is correct if the reference keypoint, mapped by the true homography, lies within `correct_px` of its target
    keypoint. At most `max_lines` matches are drawn, evenly over the matches, wrong ones first and correct ones above.
    The true outline is white, the estimated one yellow and dashed.

    Returns
    -------
    (H, W, 3) uint8
        RGB.
    int
        Correct matches among all matches.
    """
    import cv2

    left, right = _rgb(given.grey_ref), _rgb(given.grey_target)
    shift = np.array([left.shape[1] + _GAP_PX, 0.0])
    canvas = np.full((max(len(left), len(right)), int(shift[0]) + right.shape[1], 3), 255, np.uint8)
    canvas[: len(left), : left.shape[1]] = left
    canvas[: len(right), int(shift[0]) :] = right
    start, end = given.xy_ref.astype(np.float64), given.xy_target.astype(np.float64)
    correct = reprojection_error_px(start, end, given.H_true) <= correct_px
    shown = np.unique(np.linspace(0, len(start) - 1, min(len(start), max_lines)).round().astype(int))
    for k in sorted(shown, key=lambda k: bool(correct[k])):
        colour = CORRECT_RGB if correct[k] else WRONG_RGB
        _line(canvas, start[k], end[k] + shift, colour, 1)
        for point in (start[k], end[k] + shift):
            cv2.circle(canvas, _fixed(point), 2 << _BITS, colour, -1, cv2.LINE_AA, _BITS)
    frame = corners(Size(*given.grey_ref.shape), "size_minus_one")
    window = canvas[: len(right), int(shift[0]) :]
    _outline(window, transform_points(given.H_true, frame), TRUE_RGB, dashed=False)
    if given.H_estimated is not None:
        _outline(window, transform_points(given.H_estimated, frame), ESTIMATED_RGB, dashed=True)
    return canvas, int(correct.sum())


_BITS = 4


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    """Return xy in OpenCV's fixed-point drawing coordinates, so that lines keep sub-pixel ends."""
    x, y = np.clip(np.round(point * 2**_BITS), -(2**28), 2**28)
    return int(x), int(y)


def _line(canvas: NDArray[np.uint8], a: NDArray[np.float64], b: NDArray[np.float64], colour: Any, width: int) -> None:
    import cv2

    cv2.line(canvas, _fixed(a), _fixed(b), colour, width, cv2.LINE_AA, _BITS)


def _outline(window: NDArray[np.uint8], xy: NDArray[np.float64], colour: Any, *, dashed: bool) -> None:
    """Draw a closed quadrilateral, the solid one with a dark casing.

    Corners come in the order of `bench.geometry.transforms.corners`. Nothing is drawn where a corner lies at infinity.
    """
    if not np.isfinite(xy).all():
        return
    ring = xy[[0, 1, 3, 2]]
    for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        n = max(1, int(np.linalg.norm(np.clip(b, -4000, 4000) - np.clip(a, -4000, 4000)) // 24)) if dashed else 1
        steps = np.linspace(0, 1, 2 * n if dashed else 2)
        for t0, t1 in zip(steps[::2], steps[1::2], strict=True):
            if not dashed:
                _line(window, a + t0 * (b - a), a + t1 * (b - a), (0, 0, 0), 6)
            _line(window, a + t0 * (b - a), a + t1 * (b - a), colour, 3)


def _rgb(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a dimmed grey image as (H, W, 3) uint8, so that lines stand out."""
    level = grey.astype(np.float64) * (1.0 if grey.dtype == np.uint8 else 255.0)
    return np.repeat((0.75 * level + 32).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
