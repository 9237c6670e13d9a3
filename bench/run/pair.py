"""One pair, one method: features in, one row of ``pairs.parquet`` out."""

from __future__ import annotations

from bench.core.types import Features, Outcome, PreparedPair
from bench.geometry.solve import Estimates, Solved, estimate_repeatedly, solve
from bench.metrics.columns import metrics_of
from bench.schema import ProtocolConfig

Row = dict[str, object]


def evaluate_pair(
    prepared: PreparedPair, f_ref: Features, f_target: Features, protocol: ProtocolConfig, seed: int
) -> Row:
    """Match, estimate and measure one pair by one protocol: :func:`bench.geometry.solve.solve`, then :func:`row_of`."""
    return row_of(solve(prepared, f_ref, f_target, protocol), seed)


def row_of(solved: Solved, seed: int) -> Row:
    """Row of a matched pair: :func:`measure_pair` without the estimates."""
    return measure_pair(solved, seed)[0]


def measure_pair(solved: Solved, seed: int) -> tuple[Row, Estimates | None]:
    """Estimate and measure a matched pair.

    Parameters
    ----------
    solved : Solved
    seed : int
        Of the run; see :func:`bench.geometry.solve.order_seed`.

    Returns
    -------
    row : dict
        Pair, sequence, split, outcome, counts, and the columns of the protocol's metrics (docs/metrics.md). A failure
        is an outcome and an infinite error. None: the column does not apply (detectors have no matching columns).
        NaN: undefined for this pair.
    estimates : Estimates or None
        None where the protocol's metrics need none or nothing is matched.

    Raises
    ------
    ConfigError
        If errors are asked for in source pixels and the pair carries no transform of its target image.
    """
    protocol, pair, given = solved.protocol, solved.prepared.pair, solved.correspondences
    counts = [None if found is None else len(found) for found in (solved.f_ref, solved.f_target)]
    metrics = metrics_of(protocol)
    estimates = None
    if any("estimates" in metric.needs for metric in metrics):
        estimates = estimate_repeatedly(solved, protocol.estimator, seed)
    outcome = Outcome.OK if estimates is None else estimates.outcome
    if 0 in counts:
        outcome = Outcome.NO_KEYPOINTS
    row: Row = {
        "pair": pair.name,
        "sequence": pair.sequence,
        "split": pair.split,
        "outcome": str(outcome),
        "n_keypoints_ref": counts[0],
        "n_keypoints_target": counts[1],
        "n_matches": None if given is None else len(given),
        "match_ms": solved.match_ms,
    }
    has = {"keypoints": None not in counts, "matches": given is not None, "estimates": estimates is not None}
    for metric in metrics:
        row |= dict.fromkeys(metric.row_names(protocol))
        if all(has[need] for need in metric.needs):
            row |= metric.measure(solved, estimates)
    return row, estimates
