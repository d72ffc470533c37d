"""ClickHouse's Native format for clients that name a protocol version, as Grafana's driver does.

With `client_protocol_version` a server writes each block with a header and, from 54454 on, a byte per column.
The embedded engine has no such option. Its format Buffers holds the same column data with their sizes, so the
blocks are put together from that and from the names and types of the columns.

Source: NativeWriter::write in ClickHouse's src/Formats/NativeWriter.cpp, and BlockInfo::write.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CUSTOM_SERIALIZATION = 54454
"""DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION: a byte says whether a column is stored sparsely."""

_BLOCK_INFO = b"\x01\x00" + b"\x02" + struct.pack("<i", -1) + b"\x00"
"""Field 1: no overflow rows; field 2: no bucket; end."""


def native_blocks(buffers: bytes, columns: Sequence[tuple[str, str]], revision: int) -> bytes:
    """Native for protocol `revision`, from the same answer in the format Buffers.

    buffers: per block UInt64 columns, UInt64 rows, then per column UInt64 size and data.
    columns: (name, type) of each.
    """
    heads = [_string(name) + _string(kind) for name, kind in columns]
    if revision >= CUSTOM_SERIALIZATION:
        heads = [head + b"\x00" for head in heads]
    # Without rows the engine writes nothing; a block of no rows still tells the columns.
    view, position = memoryview(buffers or struct.pack("<QQ", len(columns), 0) + bytes(8 * len(columns))), 0
    out: list[bytes | memoryview] = []
    while position < len(view):
        width, rows = struct.unpack_from("<QQ", view, position)
        if width != len(heads):
            raise ValueError(f"a block has {width} columns, the query {len(heads)}")
        position += 16
        out += [_BLOCK_INFO, _varint(width), _varint(rows)]
        for head in heads:
            (size,) = struct.unpack_from("<Q", view, position)
            position += 8
            out += [head, view[position : position + size]]
            position += size
    return b"".join(out)


def _string(text: str) -> bytes:
    data = text.encode()
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
