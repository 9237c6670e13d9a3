"""Match drawings of a run: pairs among its best and its worst, solved again from the stored features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from bench.core.types import DataSet
from bench.data.prepare import prepare_pair
from bench.geometry.solve import estimate_repeatedly
from bench.report.matches import MatchDrawing, MatchInput, draw_all
from bench.run.evaluation import Entry, solve_stored
from bench.run.extraction import items_of, prepare_item
from bench.run.store import RunStore
from bench.schema import ProtocolConfig


def draw_run(
    dataset: DataSet,
    pairs: pd.DataFrame,
    methods: Mapping[str, Entry],
    protocol: ProtocolConfig,
    store: RunStore,
    seed: int,
) -> list[MatchDrawing]:
    """Draw one of the best and one of the worst pairs of each method with matches and estimated outline.

    Parameters
    ----------
    pairs : DataFrame
        Rows of pairs.parquet.
    seed : int
        Of the run.
    """
    if "corner_error_px" not in pairs:
        return []

    def load(method: str, name: str) -> MatchInput | None:
        return solve_again(dataset, method, methods[method], name, protocol, store, seed)

    return draw_all(pairs, list(methods), load)


def solve_again(
    dataset: DataSet, method: str, entry: Entry, name: str, protocol: ProtocolConfig, store: RunStore, seed: int
) -> MatchInput | None:
    """Matches and first estimate of a pair, as its row was measured.

    Parameters
    ----------
    method, name : str
        Of the row: method and pair.
    entry : Entry
        Of the method.
    seed : int
        Of the run.

    Returns
    -------
    MatchInput or None
        None where an extraction failed.
    """
    pair = next(pair for pair in dataset.pairs if pair.name == name)
    keys = pair.reference.key, pair.target.key
    items = {item.key: item for item in items_of(dataset, protocol.image)}
    image_ref, image_target = (prepare_item(items[key], protocol.image) for key in keys)
    prepared = prepare_pair(pair, image_ref, image_target, protocol.image)
    solved, failed = solve_stored(prepared, method, entry, protocol, store)
    if failed:
        return None
    found = estimate_repeatedly(solved, replace(protocol.estimator, repeats=1), seed)
    H = found.homographies[0] if found is not None else None
    return MatchInput(image_ref.grey, image_target.grey, solved.xy_ref, solved.xy_target, prepared.H_ref_to_target, H)
