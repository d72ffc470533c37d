"""Attributes on a span that stays otherwise byte for byte as it was sent.

`Span.attributes` is field 9 and repeated: one more is a field appended to the message, and nothing has to be
read or written again. Only a span that has one of the keys already is gone through, to take that one out.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tracetaxa_exporter.wire import field, fields

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Value = str | int | float | bool

_ATTRIBUTES: Final = 9
_KEY: Final = 1


class Stamp:
    """Puts `attributes` on spans; those of the same keys that a span has already are replaced."""

    def __init__(self, attributes: Mapping[str, Value]) -> None:
        self._keys = frozenset(key.encode() for key in attributes)
        self._prefix = _shared_prefix(self._keys)
        self.added = b"".join(field(_ATTRIBUTES, message) for message in key_values(attributes))
        """What a span grows by."""

    def __call__(self, span: bytes) -> bytes:
        """A Span message, stamped. Raises ValueError for what is none."""
        if self._keys and self._prefix in span:
            span = b"".join(
                span[found[1] : found[3]] for found in fields(span) if not self._replaces(span, *found)
            )
        return span + self.added

    def _replaces(self, span: bytes, number: int, start: int, value: int, end: int, is_message: bool) -> bool:
        return number == _ATTRIBUTES and is_message and _key(span[value:end]) in self._keys


def _shared_prefix(keys: Collection[bytes]) -> bytes:
    """What all keys begin with, so that one search rules a span out."""
    first, last = min(keys, default=b""), max(keys, default=b"")
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return bytes(byte for byte, _ in same)


def key_values(attributes: Mapping[str, Value]) -> list[bytes]:
    """KeyValue messages."""
    return [
        KeyValue(key=key, value=_any_value(value)).SerializeToString() for key, value in attributes.items()
    ]


def read_text(span: bytes, key: str) -> str | None:
    """The string attribute `key` of a Span message, None when it has none. Raises ValueError."""
    name = key.encode()
    if name not in span:
        return None
    found = None
    for number, _, value, end, is_message in fields(span):
        if number == _ATTRIBUTES and is_message and _key(span[value:end]) == name:
            found = KeyValue.FromString(span[value:end]).value.string_value
    return found


def _key(key_value: bytes) -> bytes:
    key = b""
    for number, _, value, end, is_string in fields(key_value):
        if number == _KEY and is_string:
            key = key_value[value:end]
    return key


def _any_value(value: Value) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=value)
