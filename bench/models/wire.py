"""The wire format of protocol buffers, read and written without their library: field numbers and values.

Every reader raises ValueError or IndexError where the bytes are no message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

Value = int | memoryview


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """An integer of variable length, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Field numbers and values of one message: integers for varints, bytes for everything else."""
    position, end = 0, len(data)
    while position < end:
        tag, position = varint(data, position)
        if tag >> 32 or not tag >> 3:
            raise ValueError("impossible field number")  # parsers differ in what they make of it
        wire = tag & 7
        if wire == 0:
            value, position = varint(data, position)
            yield tag >> 3, value
            continue
        length = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            length, position = varint(data, position)
        if length is None:
            raise ValueError(f"wire type {wire}")
        if position + length > end:
            raise ValueError("truncated")
        yield tag >> 3, data[position : position + length]
        position += length


def message(value: Value) -> memoryview:
    """The bytes of a field that is not a number; ValueError if it is one."""
    if isinstance(value, int):
        raise ValueError("number instead of a message")
    return value


def text(value: Value) -> str:
    """A field as UTF-8 text."""
    return bytes(message(value)).decode()


def integer(value: Value) -> int:
    """A field as a signed integer; ValueError if it is a message."""
    if not isinstance(value, int):
        raise ValueError("message instead of a number")
    return value - (1 << 64) if value >> 63 else value


def messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    """Messages in field `wanted`."""
    return (message(value) for number, value in fields(data) if number == wanted)


def number(field: int, value: int) -> bytes:
    """A field that holds an integer, as bytes.

    >>> number(1, 150).hex(), number(1, -1).hex()
    ('089601', '08ffffffffffffffffff01')
    """
    return _varint(field << 3) + _varint(value % (1 << 64))


def content(field: int, value: bytes | str) -> bytes:
    """A field that holds bytes, text, or another message, as bytes.

    >>> content(2, "testing").hex()
    '120774657374696e67'
    """
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def single(field: int, value: float) -> bytes:
    """A field that holds a float of 32 bits, as bytes."""
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
