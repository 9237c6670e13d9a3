"""The run directory. Every file is written to a temporary name and renamed, so a killed run leaves whole files only.

Layout::

    manifest.json                       configuration, seeds, versions, host, methods, counts; `bench.run.manifest`
    bench.sha256                        SHA-256 of every file, as sha256sum writes it
    pairs.parquet  times.parquet        written at the end from the parts below
    features/<method>/<image key>.npz   features and stage times of the evaluated extraction; see `pack`
    features/<method>/<pair>.npz        correspondences and stage times, of pairwise methods
    features/<method>/<image key>.json  reason, where the extraction failed
    parts/rows/<sequence>.parquet       finished sequences
    parts/cards/<sequence>.npz          images, outlines and sampled matches for the page; `bench.report.cards.Cards`
    parts/stages/<sequence>.parquet     their extractions' stage times, as the features' files hold them
    parts/times/<pass>-<block>.parquet  calibration time of a block; in later timing passes the block's times as well
    logs/<method>.log                   output of the worker process
    logs/phases.json                    seconds of each phase of the command that finished the run
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.errors import FeatureError, StoreError
from bench.core.files import (
    is_leftover,
    json_bytes,
    read_json,
    read_npz,
    read_parquet,
    start_checksums,
    sweep,
    write_atomic,
    write_parquet,
    write_together,
)
from bench.core.names import safe_key, safe_name
from bench.core.records import record
from bench.core.types import Correspondences, Features, Size, StageTimes
from bench.metrics.columns import current
from bench.report.cards import Cards
from bench.run.manifest import NAME, RUN, SCHEMA_VERSION, Manifest, of_host, read_manifest, write_manifest

PAIR_COLUMNS = ("method", "pair", "sequence", "split", "outcome")
TIME_COLUMNS = ("method", "item", "stage", "repeat", "block", "ms")
_WHOLE = "descriptors_float32"
_TIME_FIELDS = ("preprocess_ms", "infer_ms", "decode_ms")


def pack(descriptors: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Arrays of a file that hold descriptors: as they are, or a byte a number where they are whole numbers below 256 in
    single precision, as OpenCV's SIFT gives them.

    Compression is left out: it takes 16 % off unit vectors of single precision and doubles the time to read them.
    """
    if descriptors.dtype == np.float32:
        with np.errstate(invalid="ignore"):
            small = descriptors.astype(np.uint8)
        # Bits and not values: -0.0 equals 0.0.
        if (small.astype(np.float32).view(np.uint32) == np.ascontiguousarray(descriptors).view(np.uint32)).all():
            return {_WHOLE: small}
    return {"descriptors": descriptors}


def unpack(arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
    """Descriptors from the arrays of a file, as :func:`pack` got them; None where there are none."""
    if _WHOLE in arrays:
        return arrays[_WHOLE].astype(np.float32)
    return arrays.get("descriptors")


@dataclass(frozen=True, slots=True)
class Extraction:
    """Features of one image, or correspondences of one pair, by one method, or the reason why there are none."""

    features: Features | None
    times: StageTimes | None
    block: int
    order: int
    failure: str | None = None
    session: int = 0
    """Place in the manifest's sessions."""
    correspondences: Correspondences | None = None
    size: Size | None = None
    """Of the evaluated image, or of the evaluated reference image of a pair."""


@dataclass(frozen=True)
class _Failure:
    """Content of ``features/<method>/<image key>.json``."""

    failure: str
    block: int
    order: int
    session: int = 0


@dataclass(frozen=True)
class Finished:
    """A finished run as its files hold it.

    Attributes
    ----------
    path : Path
        The run directory.
    manifest : Manifest
    pairs : DataFrame
        A row per method and pair.
    times : DataFrame
        A row per method, image or pair, and stage; times in milliseconds.
    """

    path: Path
    manifest: Manifest
    pairs: pd.DataFrame
    times: pd.DataFrame


def finished_manifest(directory: Path) -> Manifest:
    """Read the manifest of a finished run.

    Raises
    ------
    StoreError
        If `directory` holds no run, one that is not finished, or a damaged one.
    """
    manifest = read_manifest(directory)
    if manifest.kind != RUN:
        raise StoreError(f"{directory} holds a {manifest.kind}, not a run; its report is in it, and it is not compared")
    if not manifest.complete:
        raise StoreError(f"{directory} holds a run that is not finished; continue it with `bench run_dir={directory}`")
    return manifest


def open_finished(directory: Path) -> Finished:
    """Read a finished run.

    Raises
    ------
    StoreError
        If `directory` holds no run, one that is not finished, or a damaged one.
    """
    manifest = finished_manifest(directory)
    pairs = current(read_parquet(directory / "pairs.parquet", PAIR_COLUMNS))
    times = read_parquet(directory / "times.parquet", TIME_COLUMNS)
    if manifest.rows_written is not None and len(pairs) != manifest.rows_written:
        raise StoreError(
            f"{directory / 'pairs.parquet'} has {len(pairs)} rows, the manifest says {manifest.rows_written}; delete "
            "the file and start the run again to rebuild it"
        )
    return Finished(directory, manifest, pairs, times)


class RunStore:
    """Reads and writes one run directory.

    Attributes
    ----------
    directory : Path
    session : int
        Place of what is measured now in the manifest's sessions; rows of later sessions carry it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.session = 0

    def _feature_path(self, method: str, key: str) -> Path:
        method, key = safe_name(method, "the method"), safe_key(key, "the image")
        return self.directory / "features" / method / f"{key}.npz"

    def extraction_file(self, method: str, key: str) -> Path:
        """The file that holds an extraction, or the reason why there is none."""
        path = self._feature_path(method, key)
        reason = path.with_suffix(".json")
        return reason if reason.is_file() else path

    def has_extraction(self, method: str, key: str) -> bool:
        path = self._feature_path(method, key)
        return path.is_file() or path.with_suffix(".json").is_file()

    def write_extraction(self, method: str, key: str, extraction: Extraction, session: int | None = None) -> None:
        """Write what became of an image or a pair.

        Parameters
        ----------
        session : int, optional
            Under which conditions it was measured, where these are not the store's.
        """
        self.write_extractions([(method, key, extraction)], session)

    def write_extractions(self, extractions: Sequence[tuple[str, str, Extraction]], session: int | None = None) -> None:
        """Write what became of several images or pairs: method, key and extraction of each."""
        files = dict(self._packed(*each, session) for each in extractions)
        if len(files) == 1:
            write_atomic(*next(iter(files.items())))
        elif files:
            write_together(files)

    def _packed(self, method: str, key: str, extraction: Extraction, session: int | None) -> tuple[Path, bytes]:
        """The file of an extraction and its content."""
        path = self._feature_path(method, key)
        number = self.session if session is None else session
        position = {"block": extraction.block, "order": extraction.order, "session": number}
        if extraction.failure is not None:
            return path.with_suffix(".json"), json_bytes({"failure": extraction.failure, **position})
        features, correspondences = extraction.features, extraction.correspondences
        size = extraction.size if features is None else features.size
        assert extraction.times is not None and size is not None
        arrays: dict[str, Any] = {
            "size": np.array([size.height, size.width], dtype=np.int32),
            "times_ms": np.array([getattr(extraction.times, name) for name in _TIME_FIELDS]),
            "position": np.array([*position.values()], dtype=np.int32),
        }
        if features is not None:
            arrays |= {"keypoints": features.keypoints, "scores": features.scores}
            if features.descriptors is not None:
                arrays |= pack(features.descriptors)
        if correspondences is not None:
            arrays |= {name: getattr(correspondences, name) for name in ("xy_ref", "xy_target", "scores")}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return path, buffer.getvalue()

    def read_extraction(self, method: str, key: str) -> Extraction:
        """Read what `write_extraction` wrote.

        Raises
        ------
        StoreError
            If it is missing or damaged.
        """
        path = self._feature_path(method, key)
        reason = path.with_suffix(".json")
        if reason.is_file():
            found = record(_Failure, read_json(reason), str(reason))
            return Extraction(None, None, found.block, found.order, found.failure, found.session)
        arrays = read_npz(path)
        try:
            size = Size(*map(int, arrays["size"]))
            features = correspondences = None
            if "xy_ref" in arrays:
                correspondences = Correspondences(arrays["xy_ref"], arrays["xy_target"], arrays["scores"])
            else:
                features = Features(arrays["keypoints"], arrays["scores"], unpack(arrays), size)
            times = StageTimes(*map(float, arrays["times_ms"]))
            block, order, *session = map(int, arrays["position"])
        except (ValueError, KeyError, TypeError, OverflowError, FeatureError) as error:
            raise StoreError(f"cannot read {path}: {error}; delete it and start the run again to rebuild it") from error
        return Extraction(features, times, block, order, None, sum(session[:1]), correspondences, size)

    def drop_features(self) -> None:
        """Delete all stored features (``keep_features=false``)."""
        for path in sorted((self.directory / "features").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    def part(self, kind: str, name: str) -> Path:
        """Path of a finished part; `kind` is ``rows``, ``sweep``, ``stages`` or ``times``."""
        return self.directory / "parts" / kind / f"{safe_name(name, 'the part')}.parquet"

    def write_part(
        self, kind: str, name: str, rows: Sequence[Mapping[str, object]], session: int | None = None
    ) -> None:
        """Write a finished part; rows of a session after the first say so, unless they do already.

        Parameters
        ----------
        session : int, optional
            Of the rows, where it is not the store's.
        """
        frame = pd.DataFrame(rows)
        number = self.session if session is None else session
        if number and "session" not in frame:
            frame["session"] = number
        write_parquet(self.part(kind, name), frame)

    def read_parts(self, kind: str) -> pd.DataFrame:
        """Concatenate all finished parts of a kind in name order; empty if there are none."""
        frames = [current(read_parquet(path)) for path in sorted((self.directory / "parts" / kind).glob("*.parquet"))]
        frames = [frame for frame in frames if len(frame)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def cards_part(self, name: str) -> Path:
        """Path of the cards of a sequence."""
        return self.directory / "parts" / "cards" / f"{safe_name(name, 'the part')}.npz"

    def write_cards(self, name: str, cards: Cards) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **cards.arrays())  # type: ignore[arg-type]
        write_atomic(self.cards_part(name), buffer.getvalue())

    def read_cards(self) -> list[Cards]:
        """Cards of all sequences that have some, in name order.

        Raises
        ------
        StoreError
            If a file is damaged.
        """
        found = []
        for path in sorted((self.directory / "parts" / "cards").glob("*.npz")):
            try:
                found.append(Cards.from_arrays(read_npz(path)))
            except (KeyError, ValueError, TypeError) as error:
                raise StoreError(f"cannot read {path}: {error}; delete it and write the report again") from error
        return found

    def blocks_begun(self) -> list[int]:
        """Numbers of the blocks of the first pass that have a calibration time."""
        names = [path.stem[4:] for path in (self.directory / "parts" / "times").glob("000-*.parquet")]
        return [int(name) for name in names if name.isdigit()]

    def has_measurements(self) -> bool:
        """Whether anything was extracted, here or in a store inside this one."""
        return any(path.is_file() for path in self.directory.glob("**/features/**/*"))

    def open(self, manifest: Manifest, allow_mixed: bool = False, any_host: bool = False) -> Manifest:
        """Start a run, or continue the one in the directory; the caller holds the directory's lock.

        What killed writes left is swept. Files of an older schema version are listed with their checksums as they are.

        Parameters
        ----------
        manifest : Manifest
            Of the run that is wanted, with a session for each of the conditions it will be measured under.
        allow_mixed : bool
            Continue under other conditions; the rows then say of which session they are.
        any_host : bool
            Other hosts are no other conditions: the run is measured by several, and its rows say by which.

        Returns
        -------
        Manifest
            The earlier one where a run is continued, with the session of this command; else `manifest`.

        Raises
        ------
        StoreError
            If the directory holds a run of another configuration, data set or, without `allow_mixed`, of other
            conditions; holds other files; or cannot be written.
        """
        sweep(self.directory)
        if not (self.directory / NAME).is_file():
            try:
                strange = any(not is_leftover(path) for path in self.directory.iterdir())
            except OSError as error:
                raise StoreError(f"cannot read {self.directory}: {error.strerror}") from error
            if strange:
                raise StoreError(f"{self.directory} is not empty and holds no run; choose another run_dir")
            for session in manifest.sessions[1:]:
                self._check_conditions(manifest.sessions[:1], session, allow_mixed, any_host)
            start_checksums(self.directory)
            write_manifest(self.directory, manifest)
            return manifest
        earlier = read_manifest(self.directory)
        if earlier.kind != manifest.kind:
            raise StoreError(f"{self.directory} holds a {earlier.kind}, not a {manifest.kind}; choose another run_dir")
        changed = _differences(earlier.identity, manifest.identity)
        if changed:
            raise StoreError(
                f"{self.directory} holds a run that differs in {', '.join(changed)}; "
                "leave run_dir out to start a new run, or repeat the command that started this one"
            )
        if earlier.complete:
            return earlier
        for session in manifest.sessions:
            if session in earlier.sessions:
                continue
            self._check_conditions(earlier.sessions, session, allow_mixed, any_host)
            earlier = replace(earlier, sessions=[*earlier.sessions, session])
        self.session = earlier.sessions.index(manifest.sessions[0])
        start_checksums(self.directory, adopt=True)
        earlier = replace(earlier, schema_version=SCHEMA_VERSION)
        write_manifest(self.directory, earlier)
        return earlier

    def _check_conditions(
        self, known: Sequence[Mapping[str, str]], found: Mapping[str, str], allow_mixed: bool, any_host: bool
    ) -> None:
        """Refuse conditions beside the known ones, unless they may be mixed."""
        last = known[-1] if known else {}
        changed = [key for key in _differences(last, found) if not (any_host and of_host(key))]
        if allow_mixed or (any_host and not changed):
            return
        texts = ", ".join(f"{key} ({last.get(key)}, here {found.get(key)})" for key in changed)
        if any_host:
            raise StoreError(
                f"the hosts of this run differ in more than their hardware: {texts}; install the same versions on all "
                "of them, or mix them with allow_mixed=true, which marks every row"
            )
        raise StoreError(
            f"{self.directory} holds a run that was measured under other conditions: {texts}; continue it where it was "
            "started, start a new run, or mix them with allow_mixed=true, which marks every row"
        )


def _differences(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    return sorted(key for key in {*a, *b} if a.get(key) != b.get(key))
