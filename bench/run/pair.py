"""One pair, one method: features in, one row of ``pairs.parquet`` out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.core.types import Features, Outcome, PreparedPair
from bench.geometry.solve import Estimates, Solved, estimate_repeatedly, solve
from bench.metrics.columns import metrics_of
from bench.schema import ProtocolConfig


@dataclass(frozen=True, slots=True)
class Row:
    """What one method gave on one pair.

    Attributes
    ----------
    pair, sequence, split : str
    outcome : Outcome
        A failure is an outcome and an infinite error.
    n_keypoints_ref, n_keypoints_target : int or None
        Those that count; None for pairwise methods.
    n_matches : int or None
        None for detectors.
    match_ms : float or None
        None where nothing was to be matched.
    measured : mapping
        Columns of the protocol's metrics (docs/metrics.md) by name, of the types their records say. None: the column
        does not apply (detectors have no matching columns). NaN: undefined for this pair.
    method : str or None
        None where there is one only.
    """

    pair: str
    sequence: str
    split: str
    outcome: Outcome
    n_keypoints_ref: int | None
    n_keypoints_target: int | None
    n_matches: int | None
    match_ms: float | None
    measured: Mapping[str, object] = field(default_factory=dict)
    method: str | None = None

    def cells(self) -> dict[str, object]:
        """Columns of ``pairs.parquet``, in their order."""
        return {
            **({} if self.method is None else {"method": self.method}),
            "pair": self.pair,
            "sequence": self.sequence,
            "split": self.split,
            "outcome": str(self.outcome),
            "n_keypoints_ref": self.n_keypoints_ref,
            "n_keypoints_target": self.n_keypoints_target,
            "n_matches": self.n_matches,
            "match_ms": self.match_ms,
            **self.measured,
        }


def evaluate_pair(
    prepared: PreparedPair, f_ref: Features, f_target: Features, protocol: ProtocolConfig, seed: int
) -> dict[str, object]:
    """Cells of the row of one pair: :func:`bench.geometry.solve.solve`, then :func:`measure_pair`."""
    return measure_pair(solve(prepared, f_ref, f_target, protocol), seed)[0].cells()


def measure_pair(solved: Solved, seed: int) -> tuple[Row, Estimates | None]:
    """Estimate and measure a matched pair.

    Parameters
    ----------
    solved : Solved
    seed : int
        Of the run; see :func:`bench.geometry.solve.order_seed`.

    Returns
    -------
    row : Row
    estimates : Estimates or None
        None where the protocol's metrics need none or nothing is matched.

    Raises
    ------
    ConfigError
        If errors are asked for in source pixels and the pair carries no transform of its target image.
    """
    protocol, pair, given = solved.protocol, solved.prepared.pair, solved.correspondences
    n_ref, n_target = (None if found is None else len(found) for found in (solved.f_ref, solved.f_target))
    metrics = metrics_of(protocol)
    estimates = None
    if any("estimates" in metric.needs for metric in metrics):
        estimates = estimate_repeatedly(solved, protocol.estimator, seed)
    outcome = Outcome.OK if estimates is None else estimates.outcome
    if 0 in (n_ref, n_target):
        outcome = Outcome.NO_KEYPOINTS
    has = {"keypoints": None not in (n_ref, n_target), "matches": given is not None, "estimates": estimates is not None}
    measured: dict[str, object] = {}
    for metric in metrics:
        measured |= dict.fromkeys(metric.row_names(protocol))
        if all(has[need] for need in metric.needs):
            measured |= metric.measure(solved, estimates)
    n_matches = None if given is None else len(given)
    row = Row(pair.name, pair.sequence, pair.split, outcome, n_ref, n_target, n_matches, solved.match_ms, measured)
    return row, estimates
