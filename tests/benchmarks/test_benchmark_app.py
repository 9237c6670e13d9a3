"""What is read from `benchmark_app` and what is made of it; the measurement itself needs a quiet machine."""

from __future__ import annotations

import math

import pytest

from tests.benchmarks.benchmark_app import parsed, verdict
from tests.benchmarks.pairing import Ratio

PRINTED = """
[ INFO ]   NUM_STREAMS: 2
[ INFO ]   INFERENCE_NUM_THREADS: 2
[ INFO ]   OPTIMAL_NUMBER_OF_INFER_REQUESTS: 4
[ INFO ]    Median:        245.10 ms
[ INFO ]    Average:       250.00 ms
[ INFO ] Throughput:   4.08 FPS
"""


def test_the_figures_of_benchmark_app_are_read() -> None:
    assert parsed(PRINTED, False, 2).value == 245.1
    found = parsed(PRINTED, True, 2)
    assert (found.value, found.note) == (4.08, "2 streams, 4 requests")
    with pytest.raises(RuntimeError, match="did not take 1 threads"):
        parsed(PRINTED, True, 1)
    with pytest.raises(RuntimeError, match="printed 0 of"):
        parsed(PRINTED.replace("FPS", ""), True, 2)


@pytest.mark.parametrize(
    ("ratio", "code"),
    [
        (Ratio(1.01, 0.99, 1.02), 0),
        (Ratio(1.05, 1.02, 1.07), 0),
        (Ratio(1.06, 1.04, 1.08), 1),
        (Ratio(0.94, 0.92, 0.96), 1),
        (Ratio(1.0, 0.8, 1.2), 2),
        (Ratio(1.0, -math.inf, math.inf), 2),
    ],
)
def test_the_check_fails_on_what_is_known_to_differ(ratio: Ratio, code: int) -> None:
    assert verdict(ratio) == code
