"""Columns in ClickHouse's Native format, from values that are bytes already.

The format: https://clickhouse.com/docs/interfaces/formats/Native, and for LowCardinality
SerializationLowCardinality.cpp in ClickHouse. "A Native string" here is one value of a String column: its
length as a varint, then its bytes. Protobuf writes strings in the same way, so that most pass through whole.
"""

from __future__ import annotations

import sys
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

LOW_CARDINALITY_VERSION: Final = (1).to_bytes(8, "little")
"""Stands before everything else of a column that has LowCardinality anywhere inside."""

_NEW_DICTIONARY: Final = 1 << 9 | 1 << 10
_INDEX_TYPES: Final = ((0, "B"), (1, "H"), (2, "I"))
_ONE_BYTE_LENGTHS: Final = tuple(bytes([length]) for length in range(128))


def varint(number: int) -> bytes:
    """LEB128, the integer that lengths are written in."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def string(value: bytes) -> bytes:
    """`value` as a Native string."""
    length = len(value)
    return (_ONE_BYTE_LENGTHS[length] if length < 128 else varint(length)) + value


def integers(code: str, values: Iterable[int]) -> bytes:
    """A column of fixed-width integers; `code` as in the array module."""
    column = array(code, values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def offsets(lengths: Iterable[int]) -> bytes:
    """Where each array ends, as a column of arrays or maps begins."""
    return integers("Q", accumulate(lengths))


def low_cardinality(strings: Sequence[bytes]) -> bytes:
    """Native strings as LowCardinality(String), without the version."""
    if not strings:
        return b""
    index = {string: number for number, string in enumerate(dict.fromkeys(strings))}
    kind, code = next((kind, code) for kind, code in _INDEX_TYPES if len(index) <= 256 ** (1 << kind))
    return b"".join(
        (
            integers("Q", (_NEW_DICTIONARY | kind, len(index))),
            *index,
            integers("Q", (len(strings),)),
            integers(code, map(index.__getitem__, strings)),
        )
    )


def maps(lengths: Iterable[int], keys: Sequence[bytes], values: Iterable[bytes]) -> bytes:
    """Native strings as Map(LowCardinality(String), String), without the version."""
    return b"".join((offsets(lengths), low_cardinality(keys), *values))


def block(columns: Mapping[str, bytes], types: Mapping[str, str], names: Collection[str], rows: int) -> bytes:
    """Columns `names` as one block of Native, in their order."""
    parts = [varint(len(names)), varint(rows)]
    for name in names:
        parts += (string(name.encode()), string(types[name].encode()), columns[name])
    return b"".join(parts)
