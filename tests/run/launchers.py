"""What becomes of a multirun under each launcher: ``python -m tests.run.launchers FOLDER [LAUNCHER ...]`` prints it.

Three small jobs: all go well; the second fails; the process of the second is killed. Under the basic launcher that is
the command itself, so nothing is left to write a page: the same command with hydra.sweep.dir continues.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
    "ray": [
        "hydra/launcher=ray",
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.init.include_dashboard=false",
    ],
}
PLUGINS = {name: f"hydra_plugins.hydra_{name.partition('_')[0]}_launcher" for name in list(LAUNCHERS)[1:]}
FAULTS = ("none", "fail", "kill")
METHOD = """
import os, signal
from pathlib import Path
from bench.core.errors import ModelError
from tests.method_modules import Faulty

class Deadly(Faulty):
    def __init__(self, fault):
        super().__init__("deadly", "none", "no image", None)
        self.told = fault
    def warm_up(self, size):
        if self.told == "kill":
            os.kill(os.getppid(), signal.SIGKILL)
        if self.told == "fail":
            raise ModelError("this method fails; choose another")

def create(name, config, context):
    return Deadly((Path(__file__).parent / "fault").read_text() if context.seed == 1 else "none")
"""
SMALL = [
    "dataset=photos_small",
    "dataset.viewpoint_sequences=1",
    "dataset.illumination_sequences=1",
    "dataset.height=96",
    "dataset.width=128",
    "protocol.image.policy=original",
    "methods=classical",
    "methods.drop=[sift,rootsift,akaze,brisk,kaze]",
    "latency=off",
    "jobs=1",
    "threads=1",
    "bootstrap_draws=100",
    "seed=0,1,2",
]


@dataclass(frozen=True)
class Ended:
    """How a multirun ended."""

    code: int
    output: str
    folder: Path

    @property
    def finished(self) -> int:
        """Runs that are finished."""
        found = [json.loads(path.read_text())["status"] for path in self.folder.glob("seed-*/manifest.json")]
        return found.count("complete")

    @property
    def page(self) -> bool:
        return any(self.folder.glob("comparison/*.html"))

    @property
    def sentence(self) -> str:
        found = re.search(r"^  (job 1 .*)$", self.output, re.MULTILINE)
        return found[1] if found else ""


def available(launcher: str) -> bool:
    """Whether the plugin of a launcher is installed."""
    if launcher == "basic":
        return True
    try:
        return importlib.util.find_spec(PLUGINS[launcher]) is not None
    except ModuleNotFoundError:  # no plug-in at all
        return False


def multirun(place: Path, launcher: str, fault: str, *words: str) -> Ended:
    """Run the three jobs in `place`."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "deadly_method.py").write_text(METHOD)
    (place / "presets/method").mkdir(parents=True, exist_ok=True)
    (place / "presets/method/deadly.yaml").write_text("defaults: [schema_custom, _self_]\nbackend: deadly_method\n")
    (place / "fault").write_text(fault)
    command = [
        *(sys.executable, "-P", "-m", "bench", "-m", *SMALL),
        *(f"hydra.searchpath=[file://{place}/presets]", "+method@methods.deadly=deadly"),
        *(*LAUNCHERS[launcher], *words),
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{place}", "BENCH_TURNS": str(place / "turns")}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=900)
    folders = list((place / "results").glob("multirun_*"))
    assert len(folders) == 1, done.stdout + done.stderr
    return Ended(done.returncode, done.stdout + done.stderr, folders[0])


def main(place: Path, launchers: list[str]) -> None:
    print("| launcher | jobs | exit code | runs finished | table and page | says |\n|---|---|---|---|---|---|")
    for launcher in launchers or LAUNCHERS:
        for fault in FAULTS:
            ended = multirun(place / launcher / fault, launcher, fault)
            (place / launcher / f"{fault}.log").write_text(ended.output)
            page = "yes" if ended.page else "no"
            print(f"| {launcher} | {fault} | {ended.code} | {ended.finished} | {page} | {ended.sentence} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2:])
