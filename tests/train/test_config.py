"""The configuration of ``bench train``: presets compose; wrong keys and values fail before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.commands.train import main
from bench.config import compose
from bench.core.errors import ConfigError
from bench.core.resources import resource
from bench.train.config import TrainConfig


def train_config(*overrides: str) -> TrainConfig:
    config = compose(["data=photographs", "out=run", *overrides], "train")
    assert isinstance(config, TrainConfig)
    return config


@pytest.mark.parametrize("preset", sorted(path.stem for path in (resource("conf") / "train").glob("*.yaml")))
def test_every_preset_composes(preset: str) -> None:
    config = train_config(f"train={preset}")
    assert config.superpoint.steps == sum(phase.steps for phase in config.superpoint.phases) > 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage=magicpont", "stage='magicpont' is not possible; allowed: all, synthetic_shapes, magicpoint"),
        ("dtype=float16", "dtype='float16' is not possible; allowed: float32, mixed_bfloat16"),
        ("seed=-1", "seed=-1 is not possible; allowed: 0 to 4294967295"),
        ("magicpoint.stepz=3", "unknown key magicpoint.stepz"),
        ("magicpoint.steps=0", "magicpoint.steps=0 is not possible"),
        ("magicpoint.steps=many", "magicpoint.steps"),
        ("magicpoint.optimizer.learning_rate=0", "magicpoint.optimizer.learning_rate=0"),
        ("synthetic_shapes.height=100", "synthetic_shapes.height=100 is not possible; allowed: multiples of 8"),
        ("synthetic_shapes.shapes=[circles]", "synthetic_shapes.shapes='circles' is not possible; allowed: checker"),
        ("adapt.detector=sift", "adapt.detector='sift' is not possible; allowed: magicpoint, shi_tomasi, harris, both"),
        ("adapt.min_views=99", "adapt.min_views=99 is not possible; allowed: 1 to 40"),
        ("adapt.warp.scale_max=0.1", "adapt.warp.scale_max=0.1 is not possible; allowed: 0.7 to 10"),
        ("superpoint.phases=[]", "superpoint.phases is empty"),
        ("superpoint.phases.0.crop_px=100", r"superpoint.phases\[0\].crop_px=100 is not possible"),
        (
            "superpoint.descriptor_loss.kind=triplet",
            "descriptor_loss.kind='triplet' is not possible; allowed: info_nce",
        ),
        ("superpoint.photometric.noise=2", "superpoint.photometric.noise=2.0 is not possible; allowed: 0 to 1"),
        ("data=null", "stage=all needs photographs; give data=DIR"),
    ],
)
def test_impossible_values_name_key_value_and_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_config(override)


def test_stages_say_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    places = [f"data={tmp_path / 'data'}", f"out={tmp_path / 'out'}", "train=tiny"]
    for overrides, message in (
        (
            ["stage=adapt", "adapt.detector=magicpoint"],
            "needs detector weights, none at .*; run stage=magicpoint first",
        ),
        (["stage=superpoint"], "needs labels, none at .*; run stage=adapt first"),
    ):
        with pytest.raises(ConfigError, match=message):
            main(train_config(*places, *overrides))


def test_the_preview_shows_every_shape(tmp_path: Path) -> None:
    import cv2

    overrides = ["train=tiny", "stage=synthetic_shapes", f"out={tmp_path}", "synthetic_shapes.preview_columns=3"]
    assert main(train_config(*overrides)) == 0
    preview = cv2.imread(str(tmp_path / "synthetic_shapes" / "preview.png"))
    assert preview.shape == (9 * 128, 3 * 128, 3)
    red = (preview[..., 2] > 200) & (preview[..., 0] < 60)
    assert red.any(axis=(1))[:128].any()
