"""Requests whose only fault are strings that are not UTF-8.

Protobuf refuses such a request as a whole, and its sender drops everything in it for one attribute that was
cut in the middle of a character. Here the bad bytes are replaced, so that the rest is stored.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

MAX_REPAIR_BYTES = 16 * 2**20
"""Larger requests are refused: a repair reads every field in Python."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 100
"""As deep as protobuf itself goes."""


def _question_marks(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "?" * (error.end - error.start), error.end


codecs.register_error("tracetaxa.same_length", _question_marks)


def with_valid_strings(message: bytes, descriptor: Descriptor) -> bytes:
    """The serialized `message` with a question mark for each byte that makes a string invalid UTF-8.

    Lengths stay, so nothing else of the message changes. Raises ValueError for what is no such message.
    """
    repaired = bytearray(message)
    _repair(repaired, 0, len(repaired), descriptor, _MAX_DEPTH)
    return bytes(repaired)


def _repair(message: bytearray, at: int, end: int, descriptor: Descriptor, depth: int) -> None:
    if not depth:
        raise ValueError("nested too deep")
    fields = descriptor.fields_by_number
    while at < end:
        tag, at = _varint(message, at, end)
        wire_type = tag & 7
        if wire_type == _VARINT:
            _, at = _varint(message, at, end)
        elif wire_type == _FIXED64:
            at += 8
        elif wire_type == _FIXED32:
            at += 4
        elif wire_type == _BYTES:
            size, at = _varint(message, at, end)
            if at + size > end:
                raise ValueError("a field is longer than its message")
            field = fields.get(tag >> 3)
            if field is None:
                pass
            elif field.message_type is not None:
                _repair(message, at, at + size, field.message_type, depth - 1)
            elif field.type == FieldDescriptor.TYPE_STRING:
                text = message[at : at + size]
                message[at : at + size] = text.decode("utf-8", "tracetaxa.same_length").encode()
            at += size
        else:
            raise ValueError("an unknown wire type")
    if at != end:
        raise ValueError("a field is longer than its message")


def _varint(message: bytearray, at: int, end: int) -> tuple[int, int]:
    """A number, and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number without an end")
