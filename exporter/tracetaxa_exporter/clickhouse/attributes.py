"""Serialized OTLP attributes as keys and values of a map of strings, in Native strings."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tracetaxa_exporter.clickhouse.native import string, varint
from tracetaxa_exporter.clickhouse.values import text

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_KNOWN_BYTES: Final = 128
"""Longer attributes are hardly ever the same twice."""

_KEY, _VALUE, _TEXT = 0x0A, 0x12, 0x0A
"""Tags of KeyValue.key, KeyValue.value and AnyValue.string_value."""


class Attributes(dict[bytes, tuple[bytes, bytes]]):
    """Serialized KeyValue → key and value; short ones are remembered, since they return in span after span.

    Use one for the length of a write: what it remembers is then no more than what was written.
    """

    def __missing__(self, attribute: bytes) -> tuple[bytes, bytes]:
        pair = _pair(attribute)
        if len(attribute) <= MAX_KNOWN_BYTES:
            self[attribute] = pair
        return pair

    def map_of(self, attributes: Iterable[bytes]) -> dict[bytes, bytes]:
        """Of two attributes with one key the last counts."""
        return dict(map(self.__getitem__, attributes))


def _pair(attribute: bytes) -> tuple[bytes, bytes]:
    # Nearly every attribute is a short key and a string, as protobuf libraries write it. Then both are Native
    # strings as they stand, and what stands between them follows from the length.
    if len(attribute) > 1 and attribute[0] == _KEY and attribute[1] <= 127:
        end = 2 + attribute[1]
        tags, start = _before_text(len(attribute) - end)
        if tags and attribute.startswith(tags, end):
            return attribute[1:end], attribute[end + start :]
    pair = KeyValue.FromString(attribute)
    return string(pair.key.encode()), string(text(pair.value).encode())


@lru_cache(maxsize=4096)
def _before_text(size: int) -> tuple[bytes, int]:
    """What precedes a text when it and these bytes are `size`, and where the Native string begins in them.

    Nothing when no text makes that size.
    """
    for width in range(1, 6):
        for outer_width in (width, width + 1):
            length = size - 2 - width - outer_width
            if length >= 0:
                native = varint(length)
                outer = varint(1 + len(native) + length)
                if (len(native), len(outer)) == (width, outer_width):
                    return bytes([_VALUE]) + outer + bytes([_TEXT]) + native, 2 + outer_width
    return b"", 0
