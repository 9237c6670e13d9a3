"""Cards of pairs: small images, outlines and a sample of the matches of every pair, packed for the page.

Coordinates are quantised: a match to ``2 ** (8 * coordinate_bytes)`` steps of the sides of its evaluated image, the
corner of an outline to 1/4096 of the sides of the target image. The matches of a pair are a sample over the whole
ranking, not the best; which of them is correct was decided before they were quantised.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.core.types import EvaluatedImage, Transform
from bench.geometry.solve import Solved
from bench.geometry.transforms import corners, transform_points
from bench.report.conditions import Manifest, get, label

if TYPE_CHECKING:
    import pandas as pd

CORRECT_PX = 3.0
"""Largest distance from the truth of a match that is drawn as correct, as in `bench.report.matches`."""
NOTHING_MATCHED, NOT_STORED = -1, -2
"""In place of a number of matches: of a method that matches nothing, and of features that are gone."""
NO_OUTLINE = -32768
_CORNER_STEPS = 4096
_ROWS, _BYTES = (325.0, 6960.0), (1.35e6, 1.95e6)
"""Rows of a small and of a large run and the bytes of their cards; in base64 they are a third larger."""
_MATCH_SHARE = 0.34
_MOST_MATCHES, _FEWEST_MATCHES = 60, 8
_ROW_BYTES = 29  # error, outcome, two counts and the estimated outline
_JPEGS = (
    *((320, quality) for quality in (70, 60)),
    *((240, quality) for quality in (75, 65, 55)),
    *((200, quality) for quality in (65, 50)),
    *((160, quality) for quality in (65, 55, 45, 35)),
    *((128, quality) for quality in (50, 35)),
    *((96, quality) for quality in (50, 35)),
    (64, 40),
)
"""Long side in pixels and quality, best first."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one card may hold, so that the page of all of them stays small.

    Attributes
    ----------
    matches : int
        Most matches of a method on a pair.
    coordinate_bytes : int
        Of each of the four coordinates of a match: 1 or 2.
    image_bytes : int
        Of an image, in the mean over a sequence.
    """

    matches: int
    coordinate_bytes: int
    image_bytes: int


def card_bytes(n_rows: int) -> int:
    """Bytes of all cards before base64: 1.35 MB up to 325 rows (65 pairs x 5 methods), 1.95 MB from 6960 on."""
    return int(np.interp(n_rows, _ROWS, _BYTES))


def budget(n_images: int, n_pairs: int, n_methods: int) -> Budget:
    """Share the bytes of the cards between matches and images.

    Matches take a third at most: 60 of 2-byte coordinates where they fit, else as many of 1-byte coordinates as fit.
    """
    rows = max(1, n_pairs * n_methods)
    total = card_bytes(rows) - rows * _ROW_BYTES
    each = _MATCH_SHARE * total / rows
    coordinate_bytes = 2 if each >= _MOST_MATCHES * 8.125 else 1
    matches = int(np.clip(each / (4 * coordinate_bytes + 0.125), _FEWEST_MATCHES, _MOST_MATCHES))
    images = total - rows * matches * (4 * coordinate_bytes + 0.125)
    return Budget(matches, coordinate_bytes, max(1, int(images / max(1, n_images))))


@dataclass(frozen=True, slots=True)
class Cards:
    """Cards of P pairs of M methods with I images.

    Attributes
    ----------
    images : tuple of I str
        Keys.
    sizes : (I, 2) int32
        Width and height of the evaluated images in pixels.
    jpegs : tuple of I bytes
        Grey, smaller than the evaluated images.
    pairs, methods : tuple of P and of M str
    ends : (P, 2) int32
        Rows in `images` of the reference and the target image.
    outlines : (P, 4, 2) int16
        Corners of the reference frame under the truth, in 1/4096 of the target's sides; order of
        :func:`bench.geometry.transforms.corners`. All `NO_OUTLINE` where a corner lies at infinity.
    estimates : (P, M, 4, 2) int16
        The same under the estimates; all `NO_OUTLINE` without one.
    counts : (P, M, 2) int32
        Matches, and correct ones among them; or twice `NOTHING_MATCHED` or `NOT_STORED`.
    matches : (S, 4) uint8 or uint16
        x and y in the reference, x and y in the target; of all pairs, then methods, in order.
    correct : (S,) bool
    most : int
        Of a method on a pair.
    """

    images: tuple[str, ...]
    sizes: NDArray[np.int32]
    jpegs: tuple[bytes, ...]
    pairs: tuple[str, ...]
    methods: tuple[str, ...]
    ends: NDArray[np.int32]
    outlines: NDArray[np.int16]
    estimates: NDArray[np.int16]
    counts: NDArray[np.int32]
    matches: NDArray[Any]
    correct: NDArray[np.bool_]
    most: int

    @property
    def drawn(self) -> NDArray[np.int64]:
        """(P, M) int64 matches stored of each method on each pair."""
        return np.clip(self.counts[..., 0], 0, self.most).astype(np.int64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a file holds of it; nothing needs unpickling."""
        return {
            "images": np.array(self.images, dtype=np.str_),
            "sizes": self.sizes,
            "jpegs": np.frombuffer(b"".join(self.jpegs), np.uint8),
            "jpeg_bytes": np.array([len(data) for data in self.jpegs], np.int64),
            "pairs": np.array(self.pairs, dtype=np.str_),
            "methods": np.array(self.methods, dtype=np.str_),
            "ends": self.ends,
            "outlines": self.outlines,
            "estimates": self.estimates,
            "counts": self.counts,
            "matches": self.matches,
            "correct": self.correct,
            "most": np.array(self.most),
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Cards:
        """Undo `arrays`.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or they do not fit each other.
        """
        ends = np.cumsum(arrays["jpeg_bytes"])
        data = arrays["jpegs"].tobytes()
        found = Cards(
            images=tuple(map(str, arrays["images"])),
            sizes=arrays["sizes"],
            jpegs=tuple(data[end - n : end] for n, end in zip(arrays["jpeg_bytes"], ends, strict=True)),
            pairs=tuple(map(str, arrays["pairs"])),
            methods=tuple(map(str, arrays["methods"])),
            ends=arrays["ends"],
            outlines=arrays["outlines"],
            estimates=arrays["estimates"],
            counts=arrays["counts"],
            matches=arrays["matches"],
            correct=arrays["correct"],
            most=int(arrays["most"]),
        )
        n, m, stored = len(found.pairs), len(found.methods), len(found.matches)
        shapes = {
            "ends": (n, 2),
            "outlines": (n, 4, 2),
            "estimates": (n, m, 4, 2),
            "counts": (n, m, 2),
            "matches": (stored, 4),
            "correct": (stored,),
        }
        if any(arrays[name].shape != shape for name, shape in shapes.items()) or found.drawn.sum() != stored:
            raise ValueError("its arrays do not fit each other")
        return found


def merge(parts: Sequence[Cards]) -> Cards:
    """Put the cards of several sequences after one another; an image of several is kept once.

    Raises
    ------
    ValueError
        If there are none, or they are of different methods or budgets.
    """
    if len({(part.methods, part.most, part.matches.dtype) for part in parts}) != 1:
        raise ValueError("cards of different methods or budgets")
    place: dict[str, int] = {}
    sizes: list[NDArray[np.int32]] = []
    jpegs: list[bytes] = []
    ends = []
    for part in parts:
        for key, size, jpeg in zip(part.images, part.sizes, part.jpegs, strict=True):
            if key not in place:
                place[key] = len(place)
                sizes.append(size)
                jpegs.append(jpeg)
        ends.append(np.array([place[key] for key in part.images], np.int32)[part.ends])
    return Cards(
        images=tuple(place),
        sizes=np.array(sizes, np.int32).reshape(-1, 2),
        jpegs=tuple(jpegs),
        pairs=tuple(pair for part in parts for pair in part.pairs),
        methods=parts[0].methods,
        ends=np.concatenate(ends),
        outlines=np.concatenate([part.outlines for part in parts]),
        estimates=np.concatenate([part.estimates for part in parts]),
        counts=np.concatenate([part.counts for part in parts]),
        matches=np.concatenate([part.matches for part in parts]),
        correct=np.concatenate([part.correct for part in parts]),
        most=parts[0].most,
    )


@dataclass
class Packer:
    """Packs the cards of one sequence, a pair after another and each with all methods in order."""

    methods: tuple[str, ...]
    budget: Budget
    seed: int
    _images: dict[str, EvaluatedImage] = field(default_factory=dict)
    _pairs: list[tuple[str, str, str]] = field(default_factory=list)
    _outlines: list[NDArray[np.int16]] = field(default_factory=list)
    _estimates: list[NDArray[np.int16]] = field(default_factory=list)
    _counts: list[tuple[int, int]] = field(default_factory=list)
    _matches: list[NDArray[Any]] = field(default_factory=list)
    _correct: list[NDArray[np.bool_]] = field(default_factory=list)

    def begin(self, pair: str, image_ref: EvaluatedImage, image_target: EvaluatedImage, H_true: Transform) -> None:
        """Begin the card of a pair."""
        for image in (image_ref, image_target):
            self._images.setdefault(image.key, image)
        self._pairs.append((pair, image_ref.key, image_target.key))
        self._outlines.append(self._outline(H_true))

    def add(self, method: str, solved: Solved | None, H_estimated: Transform | None) -> None:
        """Add what one method found on the pair.

        Parameters
        ----------
        solved : Solved or None
            None where its features are gone.
        H_estimated : (3, 3) float64 or None
            The first estimate of the row; None for a failure.
        """
        self._estimates.append(self._outline(H_estimated))
        steps = 256**self.budget.coordinate_bytes
        chosen = np.zeros(0, np.intp)
        correct = np.zeros(0, np.bool_)
        if solved is None or solved.correspondences is None:
            self._counts.append((NOT_STORED if solved is None else NOTHING_MATCHED,) * 2)
            points = np.zeros((0, 4))
        else:
            correct = solved.errors_px <= CORRECT_PX
            self._counts.append((len(correct), int(correct.sum())))
            chosen = self._sample(method, solved.correspondences.scores)
            points = np.hstack([solved.xy_ref[chosen], solved.xy_target[chosen]]).astype(np.float64)
        _, *keys = self._pairs[-1]
        sides = [side for key in keys for side in (self._images[key].size.width, self._images[key].size.height)]
        quantised = np.clip((points + 0.5) / sides * steps, 0, steps - 1)
        self._matches.append(quantised.astype(np.uint8 if steps == 256 else np.uint16))
        self._correct.append(correct[chosen])

    def finish(self) -> Cards:
        """Return the cards of all pairs that were added."""
        keys = list(self._images)
        n, m = len(self._pairs), len(self.methods)
        sizes = [(image.size.width, image.size.height) for image in self._images.values()]
        return Cards(
            tuple(keys),
            np.array(sizes, np.int32).reshape(-1, 2),
            _encode([image.grey for image in self._images.values()], self.budget.image_bytes),
            tuple(pair for pair, _, _ in self._pairs),
            self.methods,
            np.array([[keys.index(key) for key in ends] for _, *ends in self._pairs], np.int32).reshape(-1, 2),
            np.array(self._outlines, np.int16).reshape(n, 4, 2),
            np.array(self._estimates, np.int16).reshape(n, m, 4, 2),
            np.array(self._counts, np.int32).reshape(n, m, 2),
            np.concatenate(self._matches),
            np.concatenate(self._correct),
            self.budget.matches,
        )

    def _sample(self, method: str, scores: NDArray[np.float32]) -> NDArray[np.intp]:
        """Indices of one match of each of K equal parts of the ranking, drawn at random; all where there are fewer."""
        ranking = np.argsort(-scores, kind="stable")
        n = min(len(scores), self.budget.matches)
        if n == len(scores):
            return ranking
        entropy = [self.seed, *(zlib.crc32(name.encode()) for name in (self._pairs[-1][0], method))]
        edges = np.linspace(0, len(scores), n + 1)
        place = edges[:-1] + np.random.default_rng(entropy).random(n) * np.diff(edges)
        return ranking[np.minimum(place.astype(np.intp), len(scores) - 1)]

    def _outline(self, H: Transform | None) -> NDArray[np.int16]:
        _, key_ref, key_target = self._pairs[-1]
        nothing = np.full((4, 2), NO_OUTLINE, np.int16)
        if H is None:
            return nothing
        xy = transform_points(H, corners(self._images[key_ref].size))
        if not np.isfinite(xy).all():
            return nothing
        size = self._images[key_target].size
        steps = np.rint((xy + 0.5) / [size.width, size.height] * _CORNER_STEPS)
        return np.clip(steps, NO_OUTLINE + 1, -NO_OUTLINE - 1).astype(np.int16)


def _encode(greys: Sequence[NDArray[Any]], bytes_each: int) -> tuple[bytes, ...]:
    """Encode images as the best JPEGs that together keep to the budget, the smallest where none does."""
    import cv2

    made: list[bytes] = []
    levels = [grey if grey.dtype == np.uint8 else np.rint(grey * 255).astype(np.uint8) for grey in greys]
    small = levels
    last = 0
    for side, quality in _JPEGS:
        if side != last:
            small = [_reduced(grey, side) for grey in levels]
            last = side
        flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        made = [cv2.imencode(".jpg", grey, flags)[1].tobytes() for grey in small]
        if sum(map(len, made)) <= bytes_each * len(made):
            break
    return tuple(made)


def _reduced(grey: NDArray[np.uint8], long_side: int) -> NDArray[np.uint8]:
    import cv2

    height, width = grey.shape
    scale = long_side / max(height, width)
    if scale >= 1:
        return grey
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def page_data(cards: Cards | None, pairs: pd.DataFrame, manifest: Manifest, missing: str = "") -> str | None:
    """What the page's script reads, as JSON that may stand inside a script element.

    Where all cards together are larger than :func:`card_bytes` allows, pairs drawn at random keep only their errors.

    Parameters
    ----------
    cards : Cards or None
        None: errors only.
    pairs : DataFrame
        Rows of pairs.parquet.
    manifest : mapping
        See `bench.report.conditions`.
    missing : str
        Why there are no cards, or why some have no pictures.

    Returns
    -------
    str or None
        None where there are no corner errors to show.
    """
    if "corner_error_px" not in pairs or not pairs["corner_error_px"].notna().any():
        return None
    methods = list(get(manifest, "methods", default={})) or list(dict.fromkeys(pairs["method"]))
    names = list(dict.fromkeys(pairs["pair"]))
    table = pairs.drop_duplicates(["pair", "method"]).set_index(["pair", "method"])
    rows = table.reindex([(name, method) for name in names for method in methods])
    outcomes = sorted(set(table["outcome"].astype(str)))
    first = pairs.drop_duplicates("pair").set_index("pair")
    kept = [] if cards is None else _kept(cards, len(names) * len(methods))
    numbers: list[NDArray[Any]] = [
        rows["corner_error_px"].to_numpy("<f4"),
        np.array([outcomes.index(str(o)) if o in outcomes else 255 for o in rows["outcome"]], np.uint8),
    ]
    images: dict[int, int] = {}
    content: dict[str, Any] = {}
    if cards is not None:
        taken = np.zeros((len(cards.pairs), len(cards.methods)), bool)
        taken[kept] = True
        stored = np.repeat(taken.ravel(), cards.drawn.ravel())
        for number in cards.ends[kept].ravel().tolist():
            images.setdefault(number, len(images))
        numbers += [
            cards.outlines[kept].astype("<i2"),
            cards.estimates[kept].astype("<i2"),
            cards.counts[kept].astype("<i4"),
            cards.matches[stored].astype(cards.matches.dtype.newbyteorder("<")),
            np.packbits(cards.correct[stored], bitorder="little"),
        ]
        content = {
            "carded": [cards.pairs[k] for k in kept],
            "card_methods": list(cards.methods),
            "ends": [[images[end] for end in ends] for ends in cards.ends[kept].tolist()],
            "sizes": cards.sizes[list(images)].tolist(),
            "most": cards.most,
            "coordinate_bytes": cards.matches.dtype.itemsize,
            "images": [_base64(cards.jpegs[number]) for number in images],
        }
    content = {
        "pairs": names,
        "sequences": first.loc[names, "sequence"].astype(str).tolist(),
        "methods": methods,
        "labels": [label(manifest, method) for method in methods],
        "outcomes": outcomes,
        "thresholds": list(get(manifest, "protocol", "config", "homography", "thresholds_px", default=[3.0])),
        "correct_px": CORRECT_PX,
        "missing": missing,
        **content,
        "numbers": _base64(b"".join(np.ascontiguousarray(array).tobytes() for array in numbers)),
    }
    # Inside a script element only `</script` and `<!--` end or change anything.
    return json.dumps(content, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")


def _kept(cards: Cards, rows: int) -> list[int]:
    """Pairs whose cards fit the page: all, or drawn at random until it is full."""
    left = card_bytes(rows) - rows * _ROW_BYTES
    match_bytes = cards.drawn.sum(axis=1) * (4 * cards.matches.dtype.itemsize + 0.125)
    seen: set[int] = set()
    kept = []
    for number in np.random.default_rng(0).permutation(len(cards.pairs)).tolist():
        new = set(cards.ends[number].tolist()) - seen
        size = match_bytes[number] + sum(len(cards.jpegs[image]) for image in new)
        if size <= left:
            left -= size
            seen |= new
            kept.append(number)
    return sorted(kept)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
