"""`bench recommend`: measure a grid of configurations and say which one to ship."""

from __future__ import annotations

import sys

from bench.report.recommend import print_report
from bench.run.recommend import recommend
from bench.schema import RecommendConfig


def main(config: RecommendConfig) -> int:
    """Recommend, print the table and the answer, and say where the report is."""
    found = recommend(config, sys.argv[1:])
    print_report(found.table, found.answer)
    print(f"report: {found.report.resolve()}")
    return 0
