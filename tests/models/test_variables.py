"""Variables of a SavedModel: damage and values that are not finite end in one sentence, whatever the runtime."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.models.variables import check_variables, crc32c
from tests.superpoint_method import Make

DATA = "variables.data-00000-of-00001"


def save(directory: Path, **variables: np.ndarray) -> Path:
    """A SavedModel with the signature of MagicPoint and the variables given."""
    tf = pytest.importorskip("tensorflow")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, [None, None, None, 1], name="superpoint/image")
        for name, value in variables.items():
            v1.get_variable(name, initializer=tf.constant(value), use_resource=False)
        prob = tf.identity(tf.reduce_mean(image, -1), name="superpoint/prob")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(directory), {"image": image}, {"prob": prob})
    return directory


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    tf = pytest.importorskip("tensorflow")
    return save(
        tmp_path_factory.mktemp("intact") / "model",
        kernel=rng.normal(size=(3, 3, 8, 16)).astype(np.float32),
        half=rng.normal(size=5).astype(np.float16),
        brain=rng.normal(size=7).astype(tf.bfloat16.as_numpy_dtype),
        step=np.array(12, np.int64),
        double=rng.normal(size=9),
    )


@pytest.fixture
def model(intact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(intact, tmp_path / "model")


def plain_crc32c(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_the_checksum_is_that_of_its_definition() -> None:
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(b"\xff" * 32) == 0x62A8AB43  # RFC 3720, B.4
    rng = np.random.default_rng(1)
    for length in [*range(70), 255, 256, 257, 1000, 4099]:
        data = rng.bytes(length)
        assert crc32c(data) == plain_crc32c(data), length


def test_intact_variables_pass(intact: Path) -> None:
    check_variables(intact)


def test_the_published_graphs_pass(shared: Path) -> None:
    for name in ("sp_v6_graph_int8_weights", "magic-point_02-12-2018"):
        check_variables(shared / "models" / name)


@pytest.mark.parametrize("name", [DATA, "variables.index"])
def test_a_missing_file_is_named(model: Path, name: str) -> None:
    (model / "variables" / name).unlink()
    with pytest.raises(ModelError, match=f"no {name}; the SavedModel is incomplete"):
        check_variables(model)


def test_a_missing_folder_is_named(model: Path) -> None:
    shutil.rmtree(model / "variables")
    with pytest.raises(ModelError, match="no variables.index"):
        check_variables(model)


def test_every_cut_is_noticed(model: Path) -> None:
    for name, what in ((DATA, "cut off"), ("variables.index", "damaged")):
        path = model / "variables" / name
        whole = path.read_bytes()
        for length in {0, 1, 8, len(whole) // 2, len(whole) - 49, len(whole) - 1}:
            path.write_bytes(whole[:length])
            with pytest.raises(ModelError, match=what) as raised:
                check_variables(model)
            assert "\n" not in str(raised.value)
        path.write_bytes(whole)


def test_every_flipped_bit_of_a_value_is_noticed(model: Path) -> None:
    path = model / "variables" / DATA
    whole = path.read_bytes()
    for bit in np.random.default_rng(2).choice(8 * len(whole), 100, replace=False):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(ModelError, match="not as it was written"):
            check_variables(model)


def test_every_flipped_bit_of_the_index_is_one_sentence_or_changes_nothing(model: Path) -> None:
    """Only the padding of the footer and what locates the statistics may change unseen: neither is read."""
    path = model / "variables/variables.index"
    whole = path.read_bytes()
    unseen = []
    for bit in np.random.default_rng(3).choice(8 * len(whole), 400, replace=False):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            check_variables(model)
        except ModelError as error:
            assert "\n" not in str(error)
        else:
            unseen.append(bit // 8)
    # The empty block of statistics, 13 bytes before the block of handles, and the footer.
    handles = len(whole) - 48
    assert all(byte >= handles - 60 for byte in unseen)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, dtype: str, value: float) -> None:
    tf = pytest.importorskip("tensorflow")
    array = np.ones(40).astype(tf.as_dtype(dtype).as_numpy_dtype)
    array[17] = value
    directory = save(tmp_path / "model", kernel=array)
    with pytest.raises(ModelError, match="kernel holds NaN or infinity"):
        check_variables(directory)


def test_every_runtime_refuses_them_alike(make: Make, tmp_path: Path) -> None:
    directory = save(tmp_path / "model", kernel=np.full(4, np.nan, np.float32))
    said = set()
    for backend in ("tensorflow", "openvino"):
        with pytest.raises(ModelError, match="NaN or infinity") as raised:
            make(backend, directory)
        said.add(str(raised.value))
    assert len(said) == 1
