"""False-alarm and detection rate of the noise verdict, and checks of runs against themselves, on this machine.

    python -m tests.benchmarks.noise_verdict FOLDER [--runs 3]

Runs the default command with two classical methods on the small embedded data set: alone (`quiet`), beside a process
that keeps one core busy (`neighbour`), and with all its processes stopped for half of the time (`throttled`). Each run
is then compared with itself and with the first quiet run. Of every condition it prints how many runs were marked noisy,
what was taken, and the exit codes. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

BENCH = [sys.executable, "-P", "-m", "bench"]
RUN = ["methods=classical", "dataset=photos_small"]
PERIOD_S = 0.1


def spin() -> subprocess.Popen[bytes]:
    """A process that is not a child of the run and never rests."""
    return subprocess.Popen([sys.executable, "-c", "while True: pass"])


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    process = spin()
    try:
        yield
    finally:
        process.kill()
        process.wait()


def duty_cycle(process: subprocess.Popen[bytes], done: threading.Event) -> None:
    """Stop the process group of a run for half of each period, as a quota of the control group does."""
    number, stopped = signal.SIGSTOP, False
    while not done.wait(PERIOD_S / 2):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        stopped = number == signal.SIGSTOP
        number = signal.SIGCONT if stopped else signal.SIGSTOP
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)


def run(folder: Path, condition: str, overrides: list[str]) -> dict[str, object]:
    """One run under a condition; the noise entry of its manifest."""
    with (
        folder.with_suffix(".log").open("wb") as log,
        neighbour() if condition == "neighbour" else contextlib.nullcontext(),
    ):
        process = subprocess.Popen(
            [*BENCH, *overrides, f"run_dir={folder}"], stdout=log, stderr=log, start_new_session=True
        )
        done = threading.Event()
        throttle = threading.Thread(target=duty_cycle, args=(process, done))
        if condition == "throttled":
            throttle.start()
        code = process.wait()
        done.set()
        if throttle.ident is not None:
            throttle.join()
    if code:
        raise SystemExit(f"{condition}: the run ended with {code}, see {folder.with_suffix('.log')}")
    return dict(json.loads((folder / "manifest.json").read_text())["noise"])


def check(candidate: Path, baseline: Path) -> tuple[int, dict[str, str]]:
    """Exit code of `bench check`, and the verdict of each median latency."""
    command = [*BENCH, "check", f"candidate={candidate}", f"baseline={baseline}", f"output={candidate}-check"]
    code = subprocess.run(command, capture_output=True).returncode
    content = json.loads(Path(f"{candidate}-check/check.json").read_text())
    medians = [one for one in content["comparisons"] if one["metric"] == "latency_median_ms"]
    return code, {one["method"]: f"{one['change']:+.0%} {one['verdict']}" for one in medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("overrides", nargs="*", default=RUN)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    conditions = ("quiet", "neighbour", "throttled")
    marked = dict.fromkeys(conditions, 0)
    first = given.folder.resolve() / "quiet_0"
    for number in range(given.runs):  # conditions take turns, so that a slow hour does not fall on one alone
        for condition in conditions:
            folder = given.folder.resolve() / f"{condition}_{number}"
            begun = time.monotonic()
            noise = run(folder, condition, given.overrides)
            marked[condition] += bool(noise["noisy"])
            itself, _ = check(folder, folder)
            other, latency = check(folder, first)
            measured = {
                key: noise[key] for key in ("calibration_drift", "calibration_spread", "taken_median", "taken_p90")
            }
            print(
                f"{condition} {number}: noisy {noise['noisy']} {measured} {time.monotonic() - begun:.0f} s", flush=True
            )
            print(f"  against itself: exit {itself}; against quiet 0: exit {other}, {latency}", flush=True)
    for condition in conditions:
        print(f"{condition}: {marked[condition]} of {given.runs} marked noisy")


if __name__ == "__main__":
    main()
