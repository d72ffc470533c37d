"""Protobuf's wire format, as far as messages are put together and taken apart unread.

(protobuf.dev, "Encoding".) A message is a sequence of fields; what is cut out of it, and what is appended to
it, leaves every other byte as it was sent: order, unknown fields and all.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_GROUP: Final = 3
_GROUP_END: Final = 4
_FIXED32: Final = 5
_MAX_DEPTH: Final = 100
"""Of groups in groups, as protobuf's own parsers."""


class Field(NamedTuple):
    """Where a field of a message is: `start` to `end`, its value from `value` on."""

    number: int
    start: int
    value: int
    end: int
    is_bytes: bool
    """A string, bytes or a message."""


@lru_cache(maxsize=65_536)
def varint(number: int) -> bytes:
    """LEB128, the integer that tags and lengths are written in."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def field(number: int, value: bytes) -> bytes:
    """`value`, a string or a message, as the field `number` of a message."""
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a message in their order. Raises ValueError where it is no message."""
    at, end = 0, len(message)
    while at < end:
        start = at
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _BYTES:
            length, value = _read_varint(message, at)
            at = value + length
        else:
            value, at = at, _skip(message, number, kind, at, 0)
        if at > end or not number:
            raise ValueError("not a protobuf message")
        yield Field(number, start, value, at, kind == _BYTES)


def _skip(message: bytes, number: int, kind: int, at: int, depth: int) -> int:
    """Where a value that begins at `at` ends."""
    if kind == _VARINT:
        return _read_varint(message, at)[1]
    if kind == _FIXED64:
        return at + 8
    if kind == _FIXED32:
        return at + 4
    if kind == _BYTES:
        length, at = _read_varint(message, at)
        return at + length
    if kind == _GROUP and depth < _MAX_DEPTH:
        while True:
            tag, at = _read_varint(message, at)
            if tag & 7 == _GROUP_END:
                if tag >> 3 != number:
                    break
                return at
            at = _skip(message, tag >> 3, tag & 7, at, depth + 1)
    raise ValueError("not a protobuf message")


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    try:
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number, at
            shift += 7
            if shift > 63:
                break
    except IndexError:
        pass
    raise ValueError("not a protobuf message")
