"""`bench verify run_dir=results/<run>`: is a finished run, or a baseline, what it was when it was written?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from omegaconf import MISSING

from bench.schema.values import FinishedRun, Range, Seed


@dataclass
class VerifyConfig:
    """`bench verify`: compare all files with their checksums, count rows, compute a sample of them again."""

    run_dir: FinishedRun = MISSING
    """Directory of a finished run, or a baseline."""
    pairs: Annotated[int, Range(0, 1_000_000, "more pairs than any data set has")] = 10
    """Pairs whose rows are computed again from the stored features, with every method; 0: none."""
    seed: Seed = 0
    """Of the draw of those pairs."""


def main(config: VerifyConfig) -> int:
    """Verify and say what is wrong; 0 if nothing is, else 1."""
    from bench.check.evidence import load
    from bench.core.files import has_checksums, verify_files
    from bench.run.verify import Verified, verify

    directory = Path(config.run_dir)
    if (directory / "baseline.json").is_file():
        load(directory)
        result = Verified()
        if has_checksums(directory):
            result.wrong, result.remarks = verify_files(directory)
            result.files = len(list(directory.iterdir())) - 1 - len(result.remarks)
        else:
            result.remarks.append(f"{directory} has no checksums: damage to its files would not be noticed")
    else:
        result = verify(directory, config.pairs, config.seed)
    for text in result.wrong:
        print(f"wrong: {text}")
    for text in result.remarks:
        print(f"note: {text}")
    verdict = f"{len(result.wrong)} findings" if result.wrong else "intact"
    print(f"{directory}: {verdict}; {result.files} files compared, {result.pairs} pairs computed again")
    return 1 if result.wrong else 0
