"""The wire format of protocol buffers, without their library: field numbers and values.

Everything raises ValueError or IndexError where the bytes are no message.
"""

from __future__ import annotations

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
