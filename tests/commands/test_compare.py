"""`bench compare` as typed: keys, exit codes, what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.commands.compare import CompareConfig, main
from bench.config import compose
from bench.core.errors import ConfigError
from tests.check.simulate import Change
from tests.check.test_compare_runs import run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for name, change in (("a", Change()), ("b", Change()), ("worse", Change(log_error=0.8))):
        run(root / name, change, versions={"superpoint-bench": f"1.0.{ord(name[0])}"})
    return root


@pytest.mark.slow
def test_the_exit_code_is_what_was_asked_for(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)

    def code(*words: str) -> int:
        return main(compose([*words, f"results={tmp_path}", "draws=200", "metrics=[accuracy_3px]"], "compare"))

    assert code("runs=[a,worse]") == 0
    printed = capsys.readouterr().out
    assert "is worse than superpoint in a" in printed and "comparison: " in printed
    assert code("runs=[a,worse]", "fail_on=difference") == 1
    assert code("runs=[a,b]", "fail_on=difference") == 0
    assert code("runs=*", "by=version", "fail_on=step") == 1
    assert code("runs=[a,b]", "by=version", "fail_on=step") == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"runs": ["a"], "fail_on": "step"}, "fail_on=step needs a history"),
        ({"runs": ["a"], "by": "date", "side_by_side": True}, "not possible together"),
    ],
)
def test_wrong_keys_are_refused(values: dict[str, object], message: str) -> None:
    from bench.schema.options import FailOn, HistoryOrder

    made = dict(values)
    if "fail_on" in made:
        made["fail_on"] = FailOn(str(made["fail_on"]))
    if "by" in made:
        made["by"] = HistoryOrder(str(made["by"]))
    with pytest.raises(ConfigError, match=message):
        CompareConfig(**made)  # type: ignore[arg-type]


def test_one_pattern_needs_no_list() -> None:
    assert compose(["runs=results/*"], "compare").runs == ["results/*"]
    assert compose(["runs=a,b"], "compare").runs == ["a", "b"]


def test_the_python_function_takes_folders(runs: Path, tmp_path: Path) -> None:
    found = bench.compare([runs / "a", runs / "b"], results=tmp_path, draws=200, metrics=["accuracy_3px"])
    assert found.written.page.is_file() and found.comparison.differences["verdict"].unique().tolist() == ["identical"]
    with pytest.raises(TypeError, match="list of folders"):
        bench.compare("results/a")
    with pytest.raises(TypeError, match=r"bench\.benchmark"):
        bench.compare(["methods=classical"])
