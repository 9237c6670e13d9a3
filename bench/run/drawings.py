"""Match drawings of a run: its best and worst pairs, matched and estimated again from the stored features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from bench.core.types import DataSet
from bench.data.prepare import prepare_pair
from bench.geometry.estimation import estimate
from bench.matching.nearest import match
from bench.run.extraction import items_of, prepare_item
from bench.run.pair import keep_shared, order_seed
from bench.run.store import RunStore
from bench.schema import ProtocolConfig

if TYPE_CHECKING:
    from bench.report.matches import MatchDrawing, MatchInput


def draw_run(
    dataset: DataSet, pairs: pd.DataFrame, methods: list[str], protocol: ProtocolConfig, store: RunStore, seed: int
) -> list[MatchDrawing]:
    """Draw the best and the worst pair of each method with matches and estimated outline.

    Parameters
    ----------
    pairs : DataFrame
        Rows of pairs.parquet.
    seed : int
        Of the run: the estimate drawn is the one that was measured.
    """
    from bench.report.matches import MatchInput, draw_all

    if "corner_error_px" not in pairs:
        return []
    items = {item.key: item for item in items_of(dataset, protocol.image)}
    by_name = {pair.name: pair for pair in dataset.pairs}

    def load(method: str, name: str) -> MatchInput | None:
        pair = by_name[name]
        found = [store.read_extraction(method, image.key).features for image in (pair.reference, pair.target)]
        if found[0] is None or found[1] is None:
            return None
        image_ref, image_target = (
            prepare_item(items[image.key], protocol.image) for image in (pair.reference, pair.target)
        )
        prepared = prepare_pair(pair, image_ref, image_target, protocol.image)
        f_ref, f_target = found[0], found[1]
        if protocol.keypoints.gt_filter:
            f_ref, f_target = keep_shared(prepared, f_ref, f_target, protocol.keypoints.max, protocol.shared_region)
        matches = match(f_ref, f_target, protocol.matcher)
        xy_ref, xy_target = f_ref.keypoints[matches.indices[:, 0]], f_target.keypoints[matches.indices[:, 1]]
        order = order_seed(seed, name, 0)
        estimated = estimate(xy_ref, xy_target, protocol.estimator, order, scores=-matches.distances)
        return MatchInput(
            image_ref.grey, image_target.grey, f_ref, f_target, matches, prepared.H_ref_to_target, estimated.H
        )

    return draw_all(pairs, methods, load)
