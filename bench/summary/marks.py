"""Which methods of a column stand out: those that no method is better than beyond noise.

Each method is compared with the best of the column on the same pairs (or timing blocks), not with the reference. The
best is picked by its value, so that any of the K (K - 1) / 2 pairs of methods might have been the one compared: Holm's
family has that size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.metrics.record import Column
from bench.metrics.text import format_value
from bench.stats import Comparison

Compare = Callable[[str, str], tuple[Comparison, float] | None]
"""(best, method) -> their comparison and its noise floor; None where they cannot be compared."""


def told_apart(comparisons: Mapping[str, Comparison], family: int, null: float = 0.0, alpha: float = 0.05) -> set[str]:
    """Names of the comparisons that differ from `null`, by Holm's procedure for a family of this size.

    Parameters
    ----------
    comparisons : mapping
    family : int
        At least the number of comparisons.
    null : float
        0 for differences, 1 for ratios.
    alpha : float
        Probability that any is named although none differs.
    """
    found: set[str] = set()
    left = {name: one for name, one in comparisons.items() if one.leaves_out(null, alpha)}
    while new := {name for name, one in left.items() if one.leaves_out(null, alpha / (family - len(found)))}:
        found |= new
        left = {name: one for name, one in left.items() if name not in new}
    return found


def marked(values: Mapping[str, float], column: Column, compare: Compare, null: float = 0.0) -> set[str]:
    """Methods of a column that no method is better than beyond noise.

    Parameters
    ----------
    values : mapping
        Method to its value; none is NaN.
    column : Column
        Says which direction is better.
    compare : callable
    null : float
        What equal methods have in a comparison.

    Returns
    -------
    set of str
        Empty where no method is told from the best. Methods whose numbers are written alike are marked alike.
    """
    if column.better == "neither" or len(values) < 2:
        return set()
    best = (max if column.better == "higher" else min)(values, key=lambda method: values[method])
    comparisons = {}
    for method in values:
        found = compare(best, method) if method != best else None
        if found is not None and abs(found[0].value - null) > found[1]:
            comparisons[method] = found[0]
    worse = told_apart(comparisons, len(values) * (len(values) - 1) // 2, null)
    if not worse:
        return set()
    texts = {format_value(column.unit, values[method]) for method in values if method not in worse}
    return {method for method in values if format_value(column.unit, values[method]) in texts}
