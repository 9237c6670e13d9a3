"""Every preset composes, its constants are pinned by a hash, and the constants that define it are as published."""

from __future__ import annotations

import dataclasses
import functools

import pytest

from bench.config import compose
from bench.core.errors import ConfigError
from bench.core.resources import resource
from bench.schema import (
    EstimatorConfig,
    HomographyMetricConfig,
    ImageConfig,
    KeypointsConfig,
    MatcherConfig,
    ProtocolConfig,
    SiftConfig,
    presets,
)
from bench.schema.identity import protocol_from, protocol_hash

# A changed hash means changed constants: results under the old and the new preset must not be compared. Raise `version`
# where the meaning of a constant changes in the code, and write the new hash here.
HASHES = {
    "strict": "8365865b33b550ae",
    "paper": "6c904f8706d53636",
    "paper_repeatability": "4a3796923f2a03b1",
    "paper_repeatability_nms8": "b144e0af5eec65e0",
    "rpautrat": "6ab53a3e6c7f6d6f",
    "rpautrat_repeatability": "e51aa1d56ced967c",
    "gluefactory": "1cde1253b2c9bc09",
    "gluefactory_poselib": "e7ce5327baa4ea35",
    "silk": "c1bea7490d968c2a",
    "d2net": "3c56eec16028a560",
    "pytorch_superpoint": "9a66431ffaf166d4",
    "alike": "a3aec251eebe95f7",
    "alike_magsac": "1328fbd42adbbf71",
    "xfeat": "bdad8c8aa05762f5",
    "loftr": "44041bd8d407b1d6",
    "roma": "a0065cea4bb21265",
    "dad": "c2d91c9cf069cd7b",
}

# Presets as they were before keys were added to and removed from the schema: what differs, and the hash of that time.
NO_SIFT = (
    "protocol.keypoints.sift.contrast_threshold=0.04",
    "protocol.keypoints.sift.octave_layers=3",
    "protocol.keypoints.sift.precise_upscale=false",
)
FIRST = {
    "strict": ("9f7a1720819281c7", NO_SIFT),
    "rpautrat": ("e3a760e0938fa8d8", ("protocol.matcher.order=best_first",)),
    "gluefactory": ("c1de695c211a42b9", (*NO_SIFT, "protocol.dlt_solver=svd")),
    "gluefactory_poselib": ("edeab7c941166869", (*NO_SIFT, "protocol.dlt_solver=svd")),
    "pytorch_superpoint": (
        "062d8c224c51f52d",
        (
            *NO_SIFT,
            "protocol.image.crop_first=false",
            "protocol.image.grey=bt601",
            "protocol.keypoints.max=1000",
            "protocol.matcher.max_distance=0.7",
            "protocol.repeatability_empty=drop",
        ),
    ),
}


@functools.cache
def preset(name: str, *overrides: str) -> ProtocolConfig:
    if not overrides:
        return presets.preset(name)  # what Hydra composes, as test_presets.py shows
    found: ProtocolConfig = compose([f"protocol={name}", *overrides]).protocol
    return found


def test_every_file_is_pinned() -> None:
    assert {path.stem for path in (resource("conf") / "protocol").glob("*.yaml")} == set(HASHES)


@pytest.mark.parametrize("name", sorted(HASHES))
def test_constants_are_pinned(name: str) -> None:
    found = preset(name)
    assert found.name == name
    assert found.title
    assert found.source
    assert protocol_hash(found) == HASHES[name]


@pytest.mark.parametrize("name", sorted(HASHES))
def test_manifest_round_trip(name: str) -> None:
    found = preset(name)
    again = protocol_from(dataclasses.asdict(found))
    assert again == found
    assert protocol_hash(again) == HASHES[name]


def test_presets_are_different_protocols() -> None:
    assert len(set(HASHES.values())) == len(HASHES)


def test_the_hash_ignores_prose_and_number_types_only() -> None:
    base = ProtocolConfig(name="a")
    assert protocol_hash(base) == protocol_hash(ProtocolConfig(name="b", title="t", source="s", unstated=["u"]))
    assert protocol_hash(base) == protocol_hash(ProtocolConfig(name="a", repeatability_px=3))
    for changes in ({"repeatability_px": 3.5}, {"version": 2}, {"gt_leak": True}, {"metrics": ["mma"]}):
        assert protocol_hash(base) != protocol_hash(ProtocolConfig(name="a", **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(FIRST))
def test_keys_that_came_later_change_no_hash_at_their_defaults(name: str) -> None:
    old, undone = FIRST[name]
    assert protocol_hash(preset(name, "protocol.version=1", *undone)) == old
    assert preset(name).version == 2


def test_every_added_key_changes_the_hash_once_it_is_used() -> None:
    base = protocol_hash(ProtocolConfig(name="a"))
    used = [
        ProtocolConfig(name="a", dlt_solver="lu"),
        ProtocolConfig(name="a", matcher=MatcherConfig(order="best_last")),
        ProtocolConfig(name="a", matcher=MatcherConfig(max_matches=1000)),
        ProtocolConfig(name="a", estimator=EstimatorConfig(per_short_side_px=480)),
        ProtocolConfig(name="a", homography=HomographyMetricConfig(per_short_side_px=480)),
        ProtocolConfig(name="a", image=ImageConfig(policy="cover_crop", crop_first=True)),
        ProtocolConfig(name="a", image=ImageConfig(policy="cover_crop")),
        *(
            ProtocolConfig(name="a", keypoints=KeypointsConfig(sift=SiftConfig(**{key: value})))  # type: ignore[arg-type]
            for key, value in (
                ("contrast_threshold", 0.01),
                ("edge_threshold", 5.0),
                ("octave_layers", 4),
                ("precise_upscale", True),
            )
        ),
    ]
    assert len({base, *map(protocol_hash, used)}) == 1 + len(used)


def test_a_manifest_of_an_older_schema_is_read() -> None:
    for name, failure in (("paper", "inf"), ("silk", "threshold_plus_one")):
        values = dataclasses.asdict(preset(name))
        values["homography"]["failure"] = failure
        for group, key in (("image", "crop_first"), ("keypoints", "sift"), ("matcher", "order")):
            del values[group][key]
        del values["dlt_solver"]
        assert protocol_from(values) == preset(name)


def test_crop_first_needs_a_policy_that_cuts() -> None:
    with pytest.raises(ConfigError, match="cover_crop, cover_topleft"):
        preset("strict", "protocol.image.crop_first=true")


@pytest.mark.parametrize("key", ["contrast_threshold=2", "edge_threshold=-1", "edge_threshold=inf", "octave_layers=0"])
def test_parameters_of_sift_have_ranges(key: str) -> None:
    with pytest.raises(ConfigError, match=r"sift\.\w+=.* is not possible"):
        preset("strict", f"protocol.keypoints.sift.{key}")


def test_a_method_can_have_its_own_sift() -> None:
    config = compose(["methods.sift.sift.precise_upscale=false"])
    assert not config.methods["sift"].sift.precise_upscale
    assert config.protocol.keypoints.sift.precise_upscale
    assert protocol_hash(config.protocol) == HASHES["strict"]


def test_an_override_changes_the_hash() -> None:
    assert protocol_hash(preset("strict", "protocol.estimator.threshold_px=1.5")) != HASHES["strict"]
    assert protocol_hash(preset("strict", "protocol.title=other")) == HASHES["strict"]


def test_only_rpautrat_leaks_and_says_so() -> None:
    leaky = {name for name in HASHES if preset(name).gt_leak}
    assert leaky == {name for name in HASHES if preset(name).keypoints.gt_filter} == {"rpautrat"}
    with pytest.raises(ConfigError, match="gt_leak"):
        preset("strict", "protocol.keypoints.gt_filter=true")


def test_sequence_sets() -> None:
    reduced = {name for name in HASHES if preset(name).subset == "no_large"}
    assert reduced == {"gluefactory", "gluefactory_poselib", "d2net", "alike", "xfeat", "loftr", "roma"}
    assert {name for name in HASHES if preset(name).subset == "v"} == {"dad"}


def test_variants_differ_only_where_they_say() -> None:
    def flat(config: object, prefix: str = "") -> dict[str, object]:
        result: dict[str, object] = {}
        for field in dataclasses.fields(config):  # type: ignore[arg-type]
            value = getattr(config, field.name)
            key = prefix + field.name
            result |= flat(value, key + ".") if dataclasses.is_dataclass(value) else {key: value}
        return result

    def changed(a: str, b: str) -> set[str]:
        one, two = flat(preset(a)), flat(preset(b))
        return {key for key in one if one[key] != two[key]} - {"name", "title", "source", "unstated"}

    assert changed("paper_repeatability", "paper_repeatability_nms8") == {"keypoints.nms.size"}
    assert changed("gluefactory", "gluefactory_poselib") == {
        "estimator.name",
        "estimator.threshold_px",
        "estimator.max_iterations",
        "estimator.confidence",
    }


def test_constants_of_the_sources() -> None:
    rpautrat, silk, glue = preset("rpautrat"), preset("silk"), preset("gluefactory")
    assert (rpautrat.image.grey, rpautrat.image.kernel, rpautrat.image.rounding) == (
        "bt601_swapped",
        "tf1_bilinear",
        "truncate",
    )
    assert (rpautrat.keypoints.nms.kind, rpautrat.keypoints.nms.size, rpautrat.keypoints.nms.iou) == ("box", 8, 0.1)
    assert (rpautrat.keypoints.max, rpautrat.keypoints.classical_max) == (1000, 1500)
    for found in (rpautrat, silk, preset("paper"), preset("pytorch_superpoint")):
        estimator = found.estimator
        assert (estimator.name, estimator.threshold_px, estimator.max_iterations, estimator.confidence) == (
            "opencv_ransac",
            3.0,
            2000,
            0.995,
        )
        assert estimator.repeats == 1
    assert silk.homography.thresholds_px == [1.0, 2.0, 3.0]
    assert silk.image.target_size == "reference"
    assert (glue.homography.corners, glue.homography.auc, glue.homography.aggregate) == ("size", "trapezoid", "median")
    assert (glue.precision_strict, glue.precision_error) == (True, "symmetric")
    assert preset("d2net").mma_px == [float(t) for t in range(1, 16)]
    assert preset("paper").matcher.kind == "nn"
    torch = preset("pytorch_superpoint")
    assert (torch.matcher.kind, torch.matcher.max_distance, torch.keypoints.max, torch.repeatability_max) == (
        "mutual_nn",
        None,
        0,
        1000,
    )
    assert (torch.image.crop_first, torch.image.grey, torch.repeatability_empty) == (True, "bt601_swapped_cv2", "zero")
    assert glue.dlt_solver == preset("gluefactory_poselib").dlt_solver == "lu"
    assert {name for name in HASHES if preset(name).dlt_solver == "lu"} == {"gluefactory", "gluefactory_poselib"}
    assert {name for name in HASHES if preset(name).matcher.order == "best_last"} == {"rpautrat"}
    assert {name for name in HASHES if preset(name).keypoints.sift.precise_upscale} == {"strict"}
    for name in ("alike", "alike_magsac", "xfeat", "roma", "dad"):
        assert preset(name).image.policy == "original", name
    assert {name for name in HASHES if preset(name).homography.per_short_side_px} == {"roma", "dad"}
    assert {name for name in HASHES if preset(name).estimator.per_short_side_px} == {"roma"}
    assert {preset(name).matcher.max_matches for name in HASHES} == {None, 1000, 5000}
    assert (preset("loftr").matcher.max_matches, preset("loftr").homography.thresholds_px) == (1000, [3.0, 5.0, 10.0])
    assert preset("alike").homography.thresholds_px == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert (preset("dad").estimator.name, preset("dad").estimator.repeats) == ("poselib", 5)
    strict = preset("strict")
    assert (strict.estimator.repeats, strict.unstated, strict.gt_leak) == (10, [], False)


def test_errors_of_the_source_image_are_not_scaled() -> None:
    with pytest.raises(ConfigError, match="per_short_side_px .* frame=source"):
        preset("strict", "protocol.homography.per_short_side_px=480", "protocol.homography.frame=source")


def test_paper_presets_list_what_is_unstated() -> None:
    assert all(preset(name).unstated for name in HASHES if name.startswith("paper"))
