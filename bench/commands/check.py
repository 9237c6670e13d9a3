"""`bench check candidate=results/<run> baseline=NAME`: pass, regression, inconclusive or not comparable."""

from __future__ import annotations

from bench.check import console, report
from bench.check.config import CheckConfig
from bench.check.gate import check


def main(config: CheckConfig) -> int:
    """Run the check, write and print its report, and return the exit code."""
    result = check(config)
    folder = report.write(result)
    console.print_report(result)
    print(f"report: {folder}")
    return result.code
