"""Jobs of a multirun: what they are called, what they leave, what a sweeper optimises."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from bench import cli
from bench.config import compose, rewritten
from bench.core.errors import BenchError, ConfigError
from bench.core.files import new_directory
from bench.run import multirun
from bench.run.multirun import Job, check_objective, direction, jobs_of, objective_of


def test_a_job_is_called_by_what_tells_it_from_the_others() -> None:
    common = ["dataset", "~methods.orb"]
    words = ["dataset=photos", "~methods.orb=null", "protocol=strict", "seed=1"]
    assert multirun.job_name(words, common) == "protocol-strict_seed-1"
    assert multirun.job_name(words[:2], common) == "run"
    # What is left out or cut does not make two jobs one.
    one, other = (multirun.job_name([f"title='a{mark}b'"], []) for mark in ("/", "|"))
    assert one != other and "/" not in one + other
    long = [multirun.job_name([f"key={'x' * 300}{end}"], []) for end in "ab"]
    assert long[0] != long[1] and max(map(len, long)) < 100


def job(name: str, number: int, **changes: object) -> Job:
    return replace(Job(name, number, [name], "i"), **changes)  # type: ignore[arg-type]


def test_a_job_that_holds_no_lock_and_has_not_ended_was_killed(tmp_path: Path) -> None:
    with multirun.entered(tmp_path, job("b", 1)) as begun:
        multirun.ended(tmp_path, begun, 0, objective={"accuracy_3px": 0.5, "infinite": float("inf")})
    with multirun.entered(tmp_path, job("a", 2)) as begun:
        multirun.ended(tmp_path, begun, 4, "it is wrong")
    with multirun.entered(tmp_path, job("c", 0)):
        assert [each.code for each in jobs_of(tmp_path)] == [None, 0, 4]
    killed, fine, wrong = jobs_of(tmp_path)
    assert (killed.name, killed.code) == ("c", 1) and "it was killed" in killed.error
    assert fine.objective == {"accuracy_3px": 0.5} and fine.line() == "job 1 (b): accuracy_3px = 0.5"
    assert wrong.line() == "job 2 (a): exit code 4: it is wrong"


def test_what_a_job_prints_elsewhere_goes_to_its_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with multirun.output_to(tmp_path / "jobs/a.log", 20):
        print("by Python")
        subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
        multirun.logging.getLogger("bench.x").info("by a logger")
    print("after")
    said = (tmp_path / "jobs/a.log").read_text()
    assert all(line in said for line in ("by Python", "by a child", "by a logger"))
    assert capfd.readouterr().out == "after\n"


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("accuracy_3px", "maximize"),
        ("-accuracy_3px", "minimize"),
        ("latency_median_ms", "minimize"),
        ("-latency_median_ms", "maximize"),
        ("n_keypoints", None),
    ],
)
def test_an_objective_knows_its_direction(text: str, way: str | None) -> None:
    assert direction(text) == way


def given(*words: str) -> dict[str, object]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return {each.key_or_group: each for each in OverridesParser.create().parse_overrides(rewritten(words))}


def test_optuna_is_told_the_direction() -> None:
    sweeper = "hydra/sweeper=optuna"
    one = cli._for_plugins(given(sweeper, "objective=accuracy_3px"))
    assert one == ["hydra.sweeper.direction=maximize"]
    both = cli._for_plugins(given(sweeper, "objective=[accuracy_3px,latency_median_ms]"))
    assert both == ["hydra.sweeper.direction=[maximize,minimize]"]
    assert cli._for_plugins(given(sweeper, "objective=-accuracy_3px", "hydra.sweeper.direction=minimize")) == []
    assert cli._for_plugins(given(sweeper, "objective=n_keypoints", "hydra.sweeper.direction=minimize")) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "objective=accuracy_3px"),
        (["objective=accuracy_9"], "there is no such metric"),
        (["objective=n_keypoints"], "hydra.sweeper.direction=maximize or minimize"),
        (
            ["objective=accuracy_3px", "hydra.sweeper.direction=minimize"],
            r"accuracy_3px: maximize.*objective=\[-NAME\]",
        ),
        (
            ["objective=accuracy_3px", "hydra.sweeper.direction=[maximize,minimize]"],
            "is not what the objective asks for",
        ),
        (["objective=accuracy_3px,nn_map"], r"objective=\[accuracy_3px,nn_map\]"),
    ],
)
def test_what_a_sweeper_would_optimise_wrongly_is_refused(words: list[str], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        cli._for_plugins(given("hydra/sweeper=optuna", *words))


def test_ray_chooses_its_memory_itself() -> None:
    word = "hydra.launcher.ray.init.object_store_memory"
    assert cli._for_plugins(given("hydra/launcher=ray")) == [f"+{word}=null"]
    assert cli._for_plugins(given("hydra/launcher=ray", f"+{word}=100000000")) == []
    assert cli._for_plugins(given("hydra/launcher=joblib")) == []


def test_an_objective_that_no_run_has_is_refused_before_it() -> None:
    config = compose(["dataset=photos_small", "methods=classical", "latency=off", "objective=latency_median_ms"])
    with pytest.raises(ConfigError, match="latency=off measures none"):
        check_objective(config)
    config.objective = ["nonsense"]
    with pytest.raises(ConfigError, match="bench list metrics"):
        check_objective(config)
    config.objective, config.objective_method = ["accuracy_3px"], "superpoint"
    with pytest.raises(ConfigError, match="none of the methods: sift, rootsift"):
        check_objective(config)


def test_the_values_are_those_of_the_table() -> None:
    config = compose(["dataset=photos_small", "methods=classical", "objective=[accuracy_3px,-latency_median_ms]"])
    rows = [("orb", "accuracy_3px", 0.8), ("orb", "latency_median_ms", 12.0), ("sift", "accuracy_3px", 0.9)]
    table = pd.DataFrame([{"method": m, "split": "all", "metric": k, "value": v} for m, k, v in rows])
    summary = SimpleNamespace(table=table, reference="orb")
    assert objective_of(config, summary) == ("orb", {"accuracy_3px": 0.8, "-latency_median_ms": -12.0})
    config.objective_method = "sift"
    with pytest.raises(BenchError, match="sift has no such value in this run; it has accuracy_3px"):
        objective_of(config, summary)


def test_processes_that_start_in_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from bench.core.files import new_directory as new\n"
    code += "for _ in range(20): print(new(Path(sys.argv[1])))"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "results")], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    made = [line for process in processes for line in process.communicate()[0].splitlines()]
    assert len(made) == len(set(made)) == 120
    assert new_directory(tmp_path / "results") not in map(Path, made)
