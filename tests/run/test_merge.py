"""Shards merged are the run that was not sharded, bit for bit; what is no such set of shards is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from bench.commands.export import ExportConfig
from bench.commands.export import main as export
from bench.config import compose
from bench.core.errors import ConfigError, StoreError
from bench.core.types import Context, EvaluatedImage, Features, MethodInfo, Size, StageTimes
from bench.data.photos import photograph
from bench.features.base import create
from bench.run import benchmark
from bench.run.benchmark import read, run
from bench.run.engines import local
from bench.run.manifest import Manifest, read_manifest, write_manifest
from bench.run.merge import found_runs, merge
from bench.run.verify import verify
from bench.schema import MethodConfig
from bench.summary.table import TIMED

ROOT = Path(__file__).parents[2]
SEQUENCES = 16
COMMAND = [
    "methods=classical",
    *(f"~methods.{name}" for name in ("sift", "rootsift", "akaze", "brisk", "kaze")),
    "dataset.viewpoint_sequences=8",
    "dataset.illumination_sequences=8",
    "dataset.height=120",
    "dataset.width=160",
    "protocol.image.short_side=120",
    "protocol.estimator.repeats=2",
    "bootstrap_draws=200",
    "estimator_sweep.estimators=[dlt]",
    "estimator_sweep.thresholds_px=[1]",
    "latency.repeats=2",
    "latency.max_images=2",
    "jobs=1",
]


class Here:
    """A method in this process, with the face of :class:`bench.run.worker.Worker`: no process is started for it."""

    def __init__(
        self, name: str, config: MethodConfig, context: Context, log: Path, timeouts: object = None, wait: bool = True
    ) -> None:
        self.name = name
        self._extractor: Any = create(name, config, context)

    def start(self) -> None: ...

    def close(self) -> None: ...

    def hang_up(self) -> None: ...

    def pid(self) -> int:
        return os.getpid()

    def warm_up(self, size: Size) -> None:
        self._extractor.warm_up(size)

    def extract(self, image: EvaluatedImage) -> tuple[Features, StageTimes]:
        found: tuple[Features, StageTimes] = self._extractor.extract(image)
        return found

    def info(self) -> MethodInfo:
        info: MethodInfo = self._extractor.info()
        return replace(info, costs={"peak_memory_mb": 100.0 + np.random.default_rng().random()})


def no_report(directory: Path, *_: object) -> Path:
    return directory / "report.html"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


Measure = Callable[..., Path]


@pytest.fixture(scope="module")
def measure(place: Path) -> Measure:
    """Run the command with some overrides in this process, once for each; the report of shards is left out."""

    def run_here(*overrides: str, name: str, data: Sequence[str] = COMMAND) -> Path:
        directory = place / name
        if not directory.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(local, "Worker", Here)
                patch.setattr(benchmark, "write_report", no_report)
                fixed = [f"run_dir={directory}", f"data_root={place / 'data'}", f"cache={place / 'cache'}"]
                run(compose([*data, *overrides, *fixed]))
        return directory

    return run_here


@pytest.fixture(scope="module")
def whole(measure: Measure) -> Path:
    return measure(name="whole")


@pytest.fixture(scope="module")
def three(measure: Measure) -> list[Path]:
    return [measure(f"dataset.shard={number}/3", name=f"three_{number}") for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def merged(place: Path, three: list[Path]) -> Path:
    return merge(three[::-1], place / "merged", command=["runs=[a]"]).path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merged runs without a page, which takes longer than the rest."""
    monkeypatch.setattr(benchmark, "write_report", no_report)


def same(merged: Path, whole: Path) -> None:
    """Assert that all that is no time has the same bits in the same order."""
    for name in ("pairs", "sweep"):
        ours, theirs = (pd.read_parquet(run / f"{name}.parquet") for run in (merged, whole))
        assert list(ours) == list(theirs) and dict(ours.dtypes) == dict(theirs.dtypes)
        times = [column for column in ours if column.endswith("_ms")]
        pd.testing.assert_frame_equal(ours.drop(columns=times), theirs.drop(columns=times), check_exact=True)
    ours, theirs = (sorted((run / "parts" / "cards").iterdir()) for run in (merged, whole))
    assert [path.name for path in ours] == [path.name for path in theirs] and len(ours) == SEQUENCES
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(ours, theirs, strict=True))
    ours, theirs = (
        {path.relative_to(run): path for path in (run / "features").rglob("*.npz")} for run in (merged, whole)
    )
    assert ours.keys() == theirs.keys() and len(ours) == SEQUENCES * 6
    for name, path in ours.items():
        with np.load(path) as a, np.load(theirs[name]) as b:
            assert a.files == b.files
            assert all(a[key].tobytes() == b[key].tobytes() for key in a.files if key not in ("position", "times_ms"))
    ours, theirs = (pd.read_parquet(run / "times.parquet") for run in (merged, whole))
    first = [table[table["repeat"] == 0].groupby(["method", "item", "stage"]).size() for table in (ours, theirs)]
    assert first[0].drop("calibration").equals(first[1].drop("calibration"))
    a, b = read_manifest(merged), read_manifest(whole)
    assert (a.dataset, a.identity, a.rows_expected, a.rows_written, a.sessions) == (
        b.dataset,
        b.identity,
        b.rows_expected,
        b.rows_written,
        b.sessions,
    )
    tables = [read(run).summary.table for run in (merged, whole)]
    kept = [table[~table["metric"].isin([*TIMED, "peak_memory_mb"])].reset_index(drop=True) for table in tables]
    pd.testing.assert_frame_equal(*kept, check_exact=True)
    assert len(kept[0]) > 20


@pytest.mark.slow
def test_three_shards_merged_are_the_whole(merged: Path, whole: Path) -> None:
    same(merged, whole)


@pytest.mark.slow
@pytest.mark.usefixtures("bare")
def test_sixteen_shards_merged_are_the_whole(place: Path, whole: Path, measure: Measure) -> None:
    for number in range(1, 17):
        measure(f"dataset.shard={number}/16", name=f"sixteen_{number:02d}")
    runs = found_runs([str(place / "sixteen_*")])
    assert len(runs) == 16
    same(merge(runs, place / "merged16").path, whole)


@pytest.mark.slow
def test_a_merged_run_is_a_finished_run(place: Path, merged: Path) -> None:
    found = verify(merged, pairs=5, seed=1)
    assert (found.wrong, found.remarks, found.pairs) == ([], [], 5)
    assert export(ExportConfig(run_dir=str(merged), output=str(place / "exported"))) == 0
    assert len(list((place / "exported").rglob("*.orb"))) == SEQUENCES * 6
    page = (merged / "report.html").read_text()
    assert "Merged from 3 shards" in page and len(list((merged / "plots").glob("matches_*.jpg"))) > 0
    manifest = read_manifest(merged)
    assert [shard.shard for shard in manifest.shards] == ["1/3", "2/3", "3/3"]
    times = pd.read_parquet(merged / "times.parquet")
    machine = times[times["stage"] == "calibration"]
    assert not machine.duplicated(["repeat", "block"]).any()


@pytest.mark.slow
def test_a_finished_merged_run_is_not_measured_again(merged: Path, place: Path) -> None:
    copy = shutil.copytree(merged, place / "again")
    fixed = [f"run_dir={copy}", f"data_root={place / 'data'}", f"cache={place / 'cache'}"]
    before = (copy / "pairs.parquet").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "Worker", None)
        patch.setattr(benchmark, "write_report", no_report)
        run(compose([*COMMAND, *fixed]))
    assert (copy / "pairs.parquet").read_bytes() == before


def edited(source: Path, target: Path, edit: Callable[[Manifest], Manifest]) -> Path:
    """A copy of a run with another manifest."""
    shutil.copytree(source, target)
    write_manifest(target, edit(read_manifest(target)))
    return target


def other_versions(manifest: Manifest) -> Manifest:
    return replace(manifest, sessions=[{**manifest.sessions[0], "versions.numpy": "1.0"}])


def other_host(manifest: Manifest) -> Manifest:
    session = {**manifest.sessions[0], "host": "another"}
    return replace(manifest, sessions=[session], host={**manifest.host, "hash": "another", "cpu": "Other CPU"})


def other_model(manifest: Manifest) -> Manifest:
    method = manifest.methods["orb"]
    found = replace(method, info={**method.info, "fingerprint": {"algorithm": "other"}})
    return replace(manifest, methods={**manifest.methods, "orb": found})


def other_settings(manifest: Manifest) -> Manifest:
    method = manifest.methods["orb"]
    return replace(
        manifest,
        methods={**manifest.methods, "orb": replace(method, config={**method.config, "params": {"nlevels": 3}})},
    )


def other_data(manifest: Manifest) -> Manifest:
    assert manifest.dataset.whole is not None
    whole = replace(manifest.dataset.whole, digest="0" * 64)
    return replace(manifest, dataset=replace(manifest.dataset, whole=whole))


CHANGES: dict[str, tuple[Callable[[Manifest], Manifest], str]] = {
    "versions": (other_versions, r"versions\.numpy \(.* in .*three_1, 1\.0 in .*allow_mixed=true"),
    "model": (other_model, r"methods\.orb\.fingerprint\.algorithm \(orb in .*, other in .*repeat the shards"),
    "settings": (other_settings, r"methods\.orb\.params"),
    "data": (other_data, r"dataset\.digest \("),
    "seed": (lambda found: replace(found, seeds={"run": 5}), r"seed \(0 in .*, 5 in"),
    "protocol": (lambda found: replace(found, protocol=replace(found.protocol, hash="1234")), r"protocol \(strict"),
    "commit": (lambda found: replace(found, git={"commit": "abc"}), r"git\.commit \(.*allow_mixed=true"),
    "draws": (lambda found: replace(found, config={**found.config, "bootstrap_draws": 300}), r"bootstrap_draws \(200"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("change", CHANGES)
def test_shards_that_differ_are_refused_with_the_keys(change: str, tmp_path: Path, three: list[Path]) -> None:
    edit, message = CHANGES[change]
    other = edited(three[1], tmp_path / "other", edit)
    with pytest.raises(StoreError, match=message):
        merge([three[0], other, three[2]], tmp_path / "out")
    assert not (tmp_path / "out").exists() and sorted(path.name for path in tmp_path.iterdir()) == ["other"]


@pytest.mark.slow
@pytest.mark.usefixtures("bare")
def test_other_versions_are_merged_where_it_is_asked_for_and_every_row_says_so(
    tmp_path: Path, three: list[Path]
) -> None:
    other = edited(three[1], tmp_path / "other", other_versions)
    found = merge([three[0], other, three[2]], tmp_path / "out", allow_mixed=True)
    of_other = set(read_manifest(other).dataset.pairs)
    assert len(found.manifest["sessions"]) == 2
    assert all((row.pair in of_other) == (row.session == 1) for row in found.pairs.itertuples())
    assert verify(tmp_path / "out", 0, 0).wrong == []
    assert found.summary.hosts is None


@pytest.mark.slow
def test_times_of_several_hosts_are_medians_of_each(tmp_path: Path, three: list[Path]) -> None:
    other = edited(three[1], tmp_path / "other", other_host)
    found = merge([three[0], other, three[2]], tmp_path / "out")
    hosts = found.summary.hosts
    assert hosts is not None and set(found.summary.table["metric"]).isdisjoint(TIMED)
    times = found.times[(found.times["method"] == "orb") & found.times["stage"].isin(["preprocess", "infer", "decode"])]
    for session, host in enumerate(each["host"] for each in found.manifest["sessions"]):
        here = times[times["session"] == session].groupby(["item", "repeat", "block"])["ms"].sum()
        row = hosts[(hosts["host"] == host) & (hosts["metric"] == "latency_median_ms")].iloc[0]
        assert row["value"] == pytest.approx(np.median(here), rel=1e-12)
        assert row["n_images"] == here.index.get_level_values("item").nunique()
    assert hosts.loc[hosts["host"] == "another", "n_images"].iloc[0] == 6 * len(
        {name.split("/")[0] for name in read_manifest(other).dataset.pairs}
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Times on each class of hosts" in page and "Other CPU" in page and "on hosts of 2 classes" in page
    assert "Other CPU" in (tmp_path / "out" / "summary.md").read_text()
    same_numbers = read(three[0])  # a run on one host keeps its times in the table
    assert "latency_median_ms" in set(same_numbers.summary.table["metric"])


@pytest.mark.slow
@pytest.mark.usefixtures("bare")
def test_gaps_overlaps_and_what_is_no_shard_are_refused(
    tmp_path: Path, three: list[Path], whole: Path, measure: Measure
) -> None:
    target = tmp_path / "out"
    with pytest.raises(StoreError, match=r"shards 2/3 are missing; run them with dataset\.shard=2/3"):
        merge([three[0], three[2]], target)
    copy = shutil.copytree(three[0], tmp_path / "copy")
    with pytest.raises(StoreError, match="shard 1/3 is there twice"):
        merge([*three, copy], target)
    with pytest.raises(StoreError, match="is no run of a shard"):
        merge([*three, whole], target)
    with pytest.raises(StoreError, match=r"dataset\.shard \(one of 3 in .*, one of 16 in"):
        merge([*three[:2], measure("dataset.shard=3/16", name="sixteen_03")], target)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="holds no run"):
        merge([*three[:2], tmp_path / "empty"], target)
    write_manifest(copy, replace(read_manifest(copy), status="running"))
    with pytest.raises(StoreError, match="not finished"):
        merge([copy, *three[1:]], target)
    target.mkdir()
    with pytest.raises(StoreError, match="exists; choose another run_dir"):
        merge(three, target)
    with pytest.raises(ConfigError, match=r"runs: .*none_\* matches no run"):
        found_runs([str(tmp_path / "none_*")])
    with pytest.raises(ConfigError, match="is no folder"):
        found_runs([str(tmp_path / "none")])


@pytest.mark.slow
@pytest.mark.usefixtures("bare")
def test_a_damaged_or_missing_file_of_a_shard_is_named_and_nothing_is_left(tmp_path: Path, three: list[Path]) -> None:
    copy = shutil.copytree(three[0], tmp_path / "copy")
    path = next((copy / "features").rglob("*.npz"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="is damaged or was changed"):
        merge([copy, *three[1:]], tmp_path / "out")
    path.write_bytes(next((three[0] / "features").rglob(path.name)).read_bytes())
    next((copy / "parts" / "rows").iterdir()).unlink()
    with pytest.raises(StoreError, match=r"parts/rows, .* are needed"):
        merge([copy, *three[1:]], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@pytest.mark.slow
@pytest.mark.usefixtures("bare")
def test_a_killed_merge_leaves_no_run_and_the_next_one_sweeps(place: Path, three: list[Path], tmp_path: Path) -> None:
    runs = ",".join(map(str, three))
    command = [sys.executable, "-m", "bench", "merge", f"runs=[{runs}]", f"run_dir={tmp_path / 'out'}"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".out.tmp-*/features/*/*/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "out").exists() and len(list(tmp_path.glob(".out.tmp-*"))) == 1
    merge(three, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
@pytest.mark.usefixtures("bare")
def test_features_may_be_left_behind(tmp_path: Path, three: list[Path], whole: Path) -> None:
    found = merge(three, tmp_path / "out", keep_features=False)
    assert not (tmp_path / "out" / "features").exists()
    ours = found.pairs.drop(columns=[name for name in found.pairs if name.endswith("_ms")])
    theirs = pd.read_parquet(whole / "pairs.parquet")[list(ours)]
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert "not kept" not in json.dumps(found.manifest["notes"])


@pytest.mark.slow
@pytest.mark.usefixtures("bare")
def test_images_of_several_shards_are_kept_once(place: Path, measure: Measure) -> None:
    """Pairs that take turns between three sequences, which share images."""
    images = place / "shared"
    images.mkdir()
    for number, name in enumerate(("coffee.png", "rocket.jpg", "chelsea.png", "camera.png")):
        cv2.imwrite(str(images / f"{number}.png"), cv2.resize(photograph(name), (320, 240)))
    (images / "H").write_text("1 0 2\n0 1 3\n0 0 1\n")
    rows = ["0.png,1.png,H", "1.png,2.png,H", "0.png,3.png,H", "2.png,3.png,H,v", "1.png,3.png,H"]
    (images / "pairs.csv").write_text("\n".join(rows))
    data = [word for word in COMMAND if not word.startswith("dataset.")]
    data += ["dataset=folder", f"dataset.csv={images / 'pairs.csv'}"]
    runs = [measure(f"dataset.shard={k}/3", name=f"turns_{k}", data=data) for k in (1, 2, 3)]
    found = merge(runs, place / "turns")
    expected = pd.read_parquet(measure(name="turns_whole", data=data) / "pairs.parquet")
    times = [name for name in expected if name.endswith("_ms")]
    pd.testing.assert_frame_equal(found.pairs.drop(columns=times), expected.drop(columns=times), check_exact=True)
    own = found.times[
        (found.times["method"] == "orb") & found.times["stage"].isin(["infer"]) & (found.times["repeat"] == 0)
    ]
    assert sorted(own["item"]) == [f"pairs/{number}" for number in range(4)]
    assert verify(place / "turns", 5, 0).wrong == []
