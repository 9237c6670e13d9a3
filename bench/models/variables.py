"""The variables of a SavedModel, read without TensorFlow: all there, as they were written, and finite.

TensorFlow compares checksums when it loads them, OpenVINO does not; here every runtime gets the same answer. The index
is a table of LevelDB whose values are ``BundleEntryProto`` of TensorFlow (``tensor_bundle.proto``, from which the field
numbers are); the data files are the tensors one after the other, each with its CRC-32C.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ModelError
from bench.models.wire import Value, fields, integer, message, messages, varint

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
FLOATS = {1: "<f4", 2: "<f8", 19: "<f2"}
"""TensorFlow's number of a type -> NumPy's name; other types hold no weights."""
BFLOAT16 = 14
_STRING = 7


def check_variables(directory: Path) -> None:
    """Refuse a SavedModel whose variables are missing, cut off, changed, or not finite.

    Raises
    ------
    ModelError
    """
    for _ in _tensors(directory):
        pass


def read_variables(directory: Path) -> dict[str, NDArray[np.float32]]:
    """The floating-point variables of a SavedModel by name.

    Raises
    ------
    ModelError
        As :func:`check_variables`.
    """
    found = {}
    for key, facts, content in _tensors(directory):
        dtype = integer(facts.get(1, 0))
        if dtype in FLOATS or dtype == BFLOAT16:
            sides = messages(message(facts.get(2, memoryview(b""))), 2)
            shape = [next((integer(value) for part, value in fields(side) if part == 1), 0) for side in sides]
            values = floats(content, dtype).astype(np.float32)
            if values.size != math.prod(shape):
                raise ModelError(f"{directory}: {key} has {values.size} numbers, its shape is {shape}")
            found[key] = values.reshape(shape)
    return found


def _tensors(directory: Path) -> Iterator[tuple[str, dict[int, Value], memoryview]]:
    """Name, description and bytes of each variable, checked."""
    folder = directory / "variables"
    try:
        index = (folder / "variables.index").read_bytes()
        entries = dict(_entries(index))
        shards = _shards(entries.pop(b"", memoryview(b"")))
        files = [folder / f"variables.data-{number:05d}-of-{shards:05d}" for number in range(shards)]
        data = [file.read_bytes() for file in files]
        for key, entry in entries.items():
            facts = dict(fields(entry))
            shard, offset, size = (integer(facts.get(number, 0)) for number in (3, 4, 5))
            content = memoryview(data[shard])[offset : offset + size]
            if len(content) != size or offset < 0:
                raise ModelError(
                    f"{files[shard]}: cut off: {key.decode(errors='replace')} ends at byte {offset + size}, the file "
                    f"has {len(data[shard])}; fetch or export the SavedModel again"
                )
            _check(key.decode(errors="replace"), facts, content, files[shard])
            yield key.decode(errors="replace"), facts, content
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise ModelError(f"{folder}: no {missing}; the SavedModel is incomplete, fetch or export it again") from error
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read: {error.strerror}") from error
    except (ValueError, IndexError, struct.error) as error:
        raise ModelError(
            f"{folder / 'variables.index'}: damaged ({error}); fetch or export the SavedModel again"
        ) from error


def _check(key: str, facts: Mapping[int, Value], content: memoryview, file: Path) -> None:
    dtype = integer(facts.get(1, 0))
    if dtype == _STRING:
        return  # descriptions of objects; their checksum is taken of another form
    if 6 in facts and _masked(crc32c(content)) != struct.unpack("<I", message(facts[6]))[0]:
        raise ModelError(
            f"{file}: {key} is not as it was written (its checksum differs); fetch or export the SavedModel again"
        )
    if dtype not in FLOATS and dtype != BFLOAT16:
        return
    if not np.isfinite(floats(content, dtype)).all():
        raise ModelError(f"{file}: {key} holds NaN or infinity; training diverged or it is damaged")


def floats(content: bytes | memoryview, dtype: int) -> NDArray[np.float32] | NDArray[np.float64] | NDArray[np.float16]:
    """Numbers of a tensor's bytes; `dtype` is in :data:`FLOATS` or :data:`BFLOAT16`."""
    if dtype == BFLOAT16:
        return (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(content, FLOATS[dtype])


def _entries(table: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of a table of LevelDB."""
    data = memoryview(table)
    if len(data) < _FOOTER_BYTES or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise ValueError("it is cut off or no index of variables")
    footer = data[-_FOOTER_BYTES:]
    _, position = varint(footer, 0)  # of the block of statistics: where, how long
    _, position = varint(footer, position)
    start, position = varint(footer, position)
    length, _ = varint(footer, position)
    for _, handle in _block(data, start, length):
        start, position = varint(handle, 0)
        length, _ = varint(handle, position)
        yield from _block(data, start, length)


def _block(data: memoryview, start: int, length: int) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of a block; a key is written as what differs from the one before."""
    end = start + length
    kind, checksum = struct.unpack("<BI", data[end : end + 5])
    if kind != 0:
        raise ValueError("it is compressed")
    if _masked(crc32c(data[start : end + 1])) != checksum:
        raise ValueError("its checksum differs")
    (restarts,) = struct.unpack("<I", data[end - 4 : end])
    end -= 4 * (restarts + 1)
    key, position = b"", start
    while position < end:
        shared, position = varint(data, position)
        added, position = varint(data, position)
        size, position = varint(data, position)
        key = key[:shared] + bytes(data[position : position + added])
        position += added
        yield key, data[position : position + size]
        position += size


def _shards(header: memoryview) -> int:
    """Number of data files."""
    facts: dict[int, Value] = dict(fields(header))
    if 2 in facts and integer(facts[2]) != 0:
        raise ValueError("its numbers are big-endian")
    return integer(facts.get(1, 1)) or 1


def _masked(crc: int) -> int:
    """A CRC as LevelDB and TensorFlow store it: of data that holds CRCs, a CRC of its own is no good check."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _table() -> NDArray[np.uint32]:
    """Register after one byte (Castagnoli's polynomial, bits reflected)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table.astype(np.uint32)


@functools.cache
def _shift(length: int) -> list[list[int]]:
    """What `length` zero bytes make of the register, for each value of each of its four bytes."""
    state = (np.arange(256, dtype=np.uint32)[None, :] << np.array([[0], [8], [16], [24]], np.uint32)).astype(np.uint32)
    table = _table()
    for _ in range(length):
        state = table[state & 0xFF] ^ (state >> 8)
    found: list[list[int]] = state.tolist()
    return found


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of some bytes.

    The data is cut into pieces of one length, whose registers advance together. A CRC is linear: the register of the
    whole is the sum of theirs, each moved by the bytes behind it.

    >>> hex(crc32c(b"123456789")), hex(crc32c(b"a"))
    ('0xe3069283', '0xc1d04330')
    """
    if len(data) < 4:
        register = 0xFFFFFFFF
        for byte in data:
            register = int(_table()[(register ^ byte) & 0xFF]) ^ (register >> 8)
        return register ^ 0xFFFFFFFF
    length = 1 << max(len(data).bit_length() // 2, 2)
    pieces = -(-len(data) // length)
    # Zeros in front leave an empty register empty; the initial value of the register is a change of the first bytes.
    padded = np.zeros(pieces * length, np.uint8)
    start = len(padded) - len(data)
    padded[start:] = np.frombuffer(data, np.uint8)
    padded[start : start + 4] ^= 0xFF
    columns = np.ascontiguousarray(padded.reshape(pieces, length).T)
    registers = np.zeros(pieces, np.uint32)
    table = _table()
    for column in columns:
        registers = table[(registers ^ column) & 0xFF] ^ (registers >> 8)
    a, b, c, d = _shift(length)
    total = 0
    for register in registers.tolist():
        total = a[total & 0xFF] ^ b[total >> 8 & 0xFF] ^ c[total >> 16 & 0xFF] ^ d[total >> 24] ^ register
    return total ^ 0xFFFFFFFF
