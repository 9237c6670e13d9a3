"""Files that must be refused: what they hold, how they are given, and the sentence."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.check.baseline import write_baseline
from bench.check.config import BaselineConfig
from bench.config import compose
from bench.core.files import start_checksums
from bench.run.benchmark import run
from tests.bad_inputs.runner import Case

QUICK = ("methods=classical", "latency=off")
IDENTITY = "1 0 0\n0 1 0\n0 0 1\n"


@dataclass(frozen=True)
class FileCase:
    """Files made by `make` in ``{tmp}``, and what is typed."""

    name: str
    make: Callable[[Path], object]
    case: Case

    def __str__(self) -> str:
        return self.name


def image(path: Path) -> None:
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(rng.integers(0, 255, (12, 16), np.uint8), (320, 240)))


def pair(folder: Path, homography: str | bytes = IDENTITY, csv: str = "a.png,b.png,H\n") -> None:
    image(folder / "a.png")
    image(folder / "b.png")
    (folder / "H").write_bytes(homography if isinstance(homography, bytes) else homography.encode())
    (folder / "pairs.csv").write_bytes(csv.encode("utf-8", "surrogateescape"))


def _homography(name: str, text: str | bytes, sentence: str = "H") -> FileCase:
    case = Case(["dataset=folder", "dataset.csv={tmp}/pairs.csv", *QUICK], sentence)
    return FileCase(f"homography {name}", lambda folder: pair(folder, text), case)


def _csv(name: str, text: str, sentence: str = "pairs.csv") -> FileCase:
    case = Case(["dataset=folder", "dataset.csv={tmp}/pairs.csv", *QUICK], sentence)
    return FileCase(f"csv {name}", lambda folder: pair(folder, csv=text), case)


def _image(name: str, content: bytes, sentence: str = "a.png") -> FileCase:
    def make(folder: Path) -> None:
        pair(folder)
        (folder / "a.png").write_bytes(content)

    return FileCase(f"image {name}", make, Case(["dataset=folder", "dataset.csv={tmp}/pairs.csv", *QUICK], sentence))


def _weights(name: str, write: Callable[[Path], object], sentence: str = "weights.npz") -> FileCase:
    typed = ["convert", "model=path", "model.path={tmp}/weights.npz", "output={tmp}/models", "cache={tmp}/cache"]
    return FileCase(f"weights {name}", lambda folder: write(folder / "weights.npz"), Case(typed, sentence))


def _manifest(name: str, content: str) -> list[FileCase]:
    def make(folder: Path) -> None:
        (folder / "run").mkdir()
        (folder / "run" / "manifest.json").write_text(content)

    found = []
    for typed in (
        ["report", "run_dir={tmp}/run"],
        ["export", "run_dir={tmp}/run"],
        ["check", "candidate={tmp}/run", "baseline={tmp}/run"],
        ["baseline", "run={tmp}/run", "name=x", "baselines={tmp}/baselines"],
    ):
        found.append(FileCase(f"{typed[0]}: manifest {name}", make, Case(typed, "run")))
    return found


def _baseline(name: str, content: str) -> FileCase:
    def make(folder: Path) -> None:
        (folder / "base").mkdir()
        (folder / "base" / "baseline.json").write_text(content)

    return FileCase(f"baseline {name}", make, Case(["check", "candidate={tmp}/base", "baseline={tmp}/base"], "base"))


def _preset(name: str, group: str, content: str, typed: list[str], sentence: str) -> FileCase:
    def make(folder: Path) -> None:
        (folder / "presets" / group).mkdir(parents=True)
        (folder / "presets" / group / "mine.yaml").write_text(content)

    return FileCase(f"preset {name}", make, Case(["hydra.searchpath=[file://{tmp}/presets]", *typed], sentence))


def _folder(name: str, make: Callable[[Path], object], *typed: str, sentence: str) -> FileCase:
    return FileCase(f"folder {name}", make, Case([*typed, *QUICK], sentence))


@functools.cache
def _finished() -> Path:
    """A folder with a small real run ``run`` and its baseline ``base/b``."""
    place = Path(tempfile.mkdtemp(prefix="bad-inputs-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    run(
        compose(
            [
                "methods=classical",
                *(f"~methods.{name}" for name in ("sift", "rootsift", "brisk", "akaze", "kaze")),
                "dataset=photos_small",
                "dataset.viewpoint_sequences=1",
                "dataset.illumination_sequences=1",
                "dataset.height=96",
                "dataset.width=128",
                "protocol.image.short_side=96",
                "protocol.estimator.repeats=2",
                "bootstrap_draws=100",
                "latency=off",
                "keep_features=true",
                f"run_dir={place / 'run'}",
                f"data_root={place / 'data'}",
            ]
        )
    )
    write_baseline(BaselineConfig(run=str(place / "run"), name="b", baselines=str(place / "base")))
    return place


RUN_COMMANDS = {
    "report": ("report", "run_dir={tmp}/run"),
    "verify": ("verify", "run_dir={tmp}/run", "pairs=100"),
    "export": ("export", "run_dir={tmp}/run", "output={tmp}/out"),
    "check": ("check", "candidate={tmp}/run", "baseline={tmp}/base/b"),
    "baseline": ("baseline", "run={tmp}/run", "name=x", "baselines={tmp}/baselines"),
}


def _run_file(
    name: str, file: str, edit: Callable[[Path], object], commands: str, sentence: str, adopt: bool = True
) -> list[FileCase]:
    """A file of a finished run is edited; with `adopt`, its checksums are of the edited file."""

    def make(folder: Path) -> None:
        shutil.copytree(_finished() / "run", folder / "run")
        shutil.copytree(_finished() / "base", folder / "base")
        edit(folder / "run" / file)
        if adopt:
            (folder / "run/bench.sha256").unlink()
            start_checksums(folder / "run", adopt=True)

    return [
        FileCase(f"{command}: {name}", make, Case(RUN_COMMANDS[command], sentence, 1 if adopt is False else 4))
        for command in commands.split()
    ]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _features(name: str, key: str, edit: Callable[[Any], Any], sentence: str) -> list[FileCase]:
    """Every command that reads features refuses edited ones; `report` reads none."""

    def rewrite(path: Path) -> None:
        arrays = dict(np.load(path))
        np.savez(path, **(arrays | {key: edit(arrays[key])}))

    file = "features/orb/i_camera/1.npz"
    return _run_file(f"features {name}", file, rewrite, "verify export check baseline", sentence)


def _with_first(values: Any, row: Any) -> Any:
    values = values.copy()
    values[0] = row
    return values


def _thin(folder: Path) -> None:
    pair(folder)
    cv2.imwrite(str(folder / "a.png"), np.random.default_rng(0).integers(0, 255, (16, 30000), np.uint8))


SINGULAR = "1 2 3\n2 4 6\n3 6 9\n"
MANIFESTS = {
    "empty": "",
    "no json": "{",
    "null": "null",
    "a list": "[]",
    "a number": "3",
    "text": '"run"',
    "empty object": "{}",
    "unfinished": '{"schema_version": 1, "status": "running"}',
    "of the future": '{"schema_version": 99, "status": "complete", "methods": {}, "protocol": {}}',
    "of wrong types": '{"schema_version": 1, "status": "complete", "methods": 3, "protocol": [], "dataset": null}',
    "without content": '{"schema_version": 1, "status": "complete"}',
    "binary": "\x00\x01\x02",
    "deep": "[" * 5000,
}
CASES = [
    _homography("empty", ""),
    _homography("text", "identity\n"),
    _homography("two rows", "1 0 0\n0 1 0\n"),
    _homography("two columns", "1 0\n0 1\n0 0\n"),
    _homography("four rows", IDENTITY + "0 0 0\n"),
    _homography("nan", "nan 0 0\n0 1 0\n0 0 1\n"),
    _homography("infinite", "inf 0 0\n0 1 0\n0 0 1\n"),
    _homography("zero", "0 0 0\n0 0 0\n0 0 0\n"),
    _homography("singular", SINGULAR),
    _homography("h33 of zero", "1 0 0\n0 1 0\n0 0 0\n"),
    _homography("a corner at infinity", "1 0 0\n0 1 0\n1 0 0\n"),
    _homography("mirrored", "-1 0 319\n0 1 0\n0 0 1\n"),
    _homography("overflow", "1e400 0 0\n0 1 0\n0 0 1\n"),
    _homography("binary", bytes(range(256))),
    _homography("UTF-16", IDENTITY.encode("utf-16")),
    _homography("with commas in words", "1;0;0\n0;1;0\n0;0;1\n"),
    _homography("hexadecimal", "0x1 0 0\n0 1 0\n0 0 1\n"),
    _homography("underscores", "1_0 0 0\n0 1 0\n0 0 1\n"),
    _homography("ragged", "1 0 0\n0 1\n0 0 1\n"),
    _csv("empty", ""),
    _csv("header only", "image1,image2,H\n"),
    _csv("two columns", "a.png,b.png\n"),
    _csv("four columns", "a.png,b.png,H,x\n"),
    _csv("of another separator", "a.png;b.png;H\n"),
    _csv("absent image", "absent.png,b.png,H\n", "absent.png"),
    _csv("absent homography", "a.png,b.png,absent\n", "absent"),
    _csv("empty cells", ",,\n"),
    _csv("long cell", "a" * 3000 + ",b.png,H\n", "File name too long"),
    _csv("a folder as image", ".,b.png,H\n"),
    _csv("NUL", "a\0.png,b.png,H\n"),
    _csv("open quote", '"a.png,b.png,H\n'),
    _csv("twice", "a.png,b.png,H\na.png,b.png,H\n"),
    _csv("bytes that are no UTF-8", "a\udcff.png,b.png,H\n"),
    _csv("homography as image", "H,b.png,H\n"),
    _image("empty", b""),
    _image("text", b"not an image"),
    _image("a truncated PNG", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    _image("a JPEG header", b"\xff\xd8\xff\xe0\0\x10JFIF\0"),
    _image("HTML", b"<html>404</html>"),
    _image("a PGM without pixels", b"P5 100 100 255\n"),
    _image("a PGM of no size", b"P5 0 0 255\n"),
    FileCase("image of 16 x 30000 px", _thin, Case(["dataset=folder", "dataset.csv={tmp}/pairs.csv", *QUICK], "a.png")),
    *_run_file("pairs.parquet truncated", "pairs.parquet", _truncate, "report check baseline", "pairs.parquet"),
    *_run_file("pairs.parquet truncated, listed", "pairs.parquet", _truncate, "verify", "pairs.parquet"),
    *_features("of another type", "keypoints", lambda a: a.astype(np.float64), "float64"),
    *_features("of text", "keypoints", lambda a: a.astype(str), "float32, got"),
    *_features("of three columns", "keypoints", lambda a: np.c_[a, a[:, :1]], r"float32, got \(\d+, 3\)"),
    *_features("of one dimension", "keypoints", np.ravel, "float32, got"),
    *_features("at NaN", "keypoints", lambda a: _with_first(a, np.nan), "NaN"),
    *_features("outside the image", "keypoints", lambda a: _with_first(a, 5000), "outside the image"),
    *_features("with a score less", "scores", lambda a: a[:-1], "scores must be"),
    *_features("with scores of NaN", "scores", lambda a: _with_first(a, np.nan), "NaN"),
    *_features("with a descriptor less", "descriptors", lambda a: a[:-1], "descriptors must be"),
    *_features("of another size", "size", lambda a: a * 0, "1.npz"),
    _weights("empty", lambda path: path.write_bytes(b"")),
    _weights("text", lambda path: path.write_text("weights")),
    _weights("no arrays", lambda path: np.savez(path)),
    _weights("other arrays", lambda path: np.savez(path, a=np.zeros(3))),
    _weights("an npy", lambda path: np.save(path.open("wb"), np.zeros(3))),
    _weights("pickled", lambda path: np.savez(path, a=np.array([{}], dtype=object))),
    _weights("a folder", lambda path: path.mkdir()),
    _weights("a pipe", lambda path: os.mkfifo(path)),
    *(case for name, content in MANIFESTS.items() for case in _manifest(name, content)),
    *(_baseline(name, content) for name, content in MANIFESTS.items()),
    _preset("no YAML", "protocol", "a: [1", ["protocol=mine"], "mine"),
    _preset("unknown key", "protocol", "defaults: [schema, _self_]\nname: mine\nfoo: 1\n", ["protocol=mine"], "foo"),
    _preset(
        "wrong type", "protocol", "defaults: [schema, _self_]\nname: mine\nversion: one\n", ["protocol=mine"], "one"
    ),
    _preset(
        "out of range", "protocol", "defaults: [schema, _self_]\nname: mine\nmma_px: []\n", ["protocol=mine"], "mma_px"
    ),
    _preset("empty", "protocol", "", ["protocol=mine"], "protocol"),
    _preset("without schema", "method", "backend: opencv\n", ["+method@methods.m=mine"], "methods.m has no schema"),
    _preset("a list", "method", "- 1\n", ["+method@methods.m=mine"], "mine|methods"),
    _preset("data set without schema", "dataset", "kind: folder\n", ["dataset=mine"], "dataset"),
    _preset("unknown default", "dataset", "defaults: [absent]\n", ["dataset=mine"], "absent"),
    _preset(
        "interpolation to nothing",
        "protocol",
        "defaults: [schema, _self_]\nname: ${absent}\n",
        ["protocol=mine"],
        "absent",
    ),
    _preset(
        "of a backend that is none",
        "method",
        "defaults: [schema_custom, _self_]\nbackend: absent_module\n",
        ["+method@methods.m=mine"],
        "absent_module",
    ),
    _folder(
        "empty", lambda folder: (folder / "data").mkdir(), "dataset=folder", "dataset.root={tmp}/data", sentence="data"
    ),
    _folder(
        "of text",
        lambda folder: [(folder / "data").mkdir(), (folder / "data/a.txt").write_text("x")],
        "dataset=folder",
        "dataset.root={tmp}/data",
        sentence="data",
    ),
    _folder(
        "empty HPatches",
        lambda folder: (folder / "data").mkdir(),
        "dataset=hpatches",
        "dataset.root={tmp}/data",
        sentence="data",
    ),
    _folder(
        "HPatches without images",
        lambda folder: (folder / "data/i_x").mkdir(parents=True),
        "dataset=hpatches",
        "dataset.root={tmp}/data",
        sentence="data",
    ),
    _folder(
        "empty Oxford",
        lambda folder: (folder / "data").mkdir(),
        "dataset=oxford_affine",
        "dataset.root={tmp}/data",
        sentence="data",
    ),
    _folder(
        "sequence that is none",
        lambda folder: image(folder / "data/a.png"),
        "dataset=folder",
        "dataset.root={tmp}/data",
        "dataset.sequences=[absent]",
        sentence="absent",
    ),
    _folder("neither root nor csv", lambda folder: None, "dataset=folder", sentence="dataset.csv|dataset.root"),
    _folder(
        "run_dir of something else",
        lambda folder: [(folder / "run").mkdir(), (folder / "run/x").write_text("x")],
        "dataset=photos_small",
        "data_root={tmp}/data",
        "run_dir={tmp}/run",
        sentence="holds no run",
    ),
    _folder(
        "imported features absent",
        lambda folder: [(folder / "f").mkdir(), pair(folder)],
        "dataset=folder",
        "dataset.csv={tmp}/pairs.csv",
        "+method@methods.m=imported",
        "methods.m.path={tmp}/f",
        "methods.m.suffix=x",
        sentence="methods? m|\\.x",
    ),
    _folder(
        "imported HDF5 that is text",
        lambda folder: [(folder / "f.h5").write_text("x"), pair(folder)],
        "dataset=folder",
        "dataset.csv={tmp}/pairs.csv",
        "+method@methods.m=imported_hdf5",
        "methods.m.path={tmp}/f.h5",
        sentence="f.h5",
    ),
]
