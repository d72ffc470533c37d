"""OTLP in JSON (opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding") as protobuf messages.

It differs from protobuf's own JSON in its ids, which are hexadecimal; base64 is understood as well. Unknown
fields are ignored, enums may be numbers or names, and 64-bit integers numbers or strings. The reader of the
protobuf package takes three times as long.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

M = TypeVar("M", bound="Message")

_ID_BYTES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
_BAD_ID = b"?"
_MAX_DEPTH = 60
"""Messages within messages; protobuf itself reads 100."""

_RESOURCES = ("resourceSpans", "resource_spans", "resourceLogs", "resource_logs")
_SCOPES = ("scopeSpans", "scope_spans", "scopeLogs", "scope_logs")
_ITEMS = {"spans": Span, "logRecords": LogRecord, "log_records": LogRecord}


def parse_otlp(value: Any, kind: type[M]) -> M:
    """Parsed JSON as a message. Raises ValueError for what is not OTLP.

    A span or record with a bad id keeps an id that is out of shape, so that the store can say so of each.
    """
    try:
        return kind(**_arguments(value, cast("Descriptor", kind.DESCRIPTOR), _MAX_DEPTH))
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)[:200]) from None
    except UnicodeEncodeError:
        raise ValueError("half a character (a lone surrogate)") from None


def remove_bad_items(value: Mapping[str, Any]) -> list[str]:
    """Take spans and log records out of parsed JSON that are the fault of its refusal; says why of each.

    A number that no 64-bit integer can hold is enough, and JavaScript writes such.
    """
    reasons = []
    for items, kind in _lists_of_items(value):
        good = []
        for item in items:
            try:
                parse_otlp(item, kind)
                good.append(item)
            except ValueError as error:
                reasons.append(str(error))
        items[:] = good
    return reasons


def _lists_of_items(value: Mapping[str, Any]) -> Iterator[tuple[list[Any], type[Span | LogRecord]]]:
    for resources in _RESOURCES:
        for resource in _objects(value.get(resources)):
            for scopes in _SCOPES:
                for scope in _objects(resource.get(scopes)):
                    for name, kind in _ITEMS.items():
                        if isinstance(scope.get(name), list):
                            yield scope[name], kind


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


# ------------------------------------------------------------------------------------------------ one message


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    repeated: bool
    message: Descriptor | None
    read: Callable[[Any], Any]
    """A value that is not a message; raises ValueError, TypeError."""


def _arguments(value: Any, descriptor: Descriptor, depth: int) -> dict[str, Any]:
    """What the constructor of a message takes."""
    if not isinstance(value, dict):
        raise ValueError(f"{descriptor.name} is not an object")
    if not depth:
        raise ValueError("nested too deep")
    known = _fields(descriptor)
    arguments: dict[str, Any] = {}
    for key, given in value.items():
        field = known.get(key)
        if field is None or given is None:
            continue
        try:
            if field.message is not None:
                inner, less = field.message, depth - 1
                arguments[field.name] = (
                    [_arguments(item, inner, less) for item in _list(given)]
                    if field.repeated
                    else _arguments(given, inner, less)
                )
            else:
                read = field.read
                arguments[field.name] = (
                    [read(item) for item in _list(given)] if field.repeated else read(given)
                )
        except (TypeError, OverflowError):
            raise ValueError(f"{descriptor.name}.{field.name} can't be {str(given)[:40]!r}") from None
    return arguments


@cache
def _fields(descriptor: Descriptor) -> dict[str, _Field]:
    """By the names that they have in JSON, and by their own."""
    known = {}
    for field in descriptor.fields:
        made = _Field(field.name, field.is_repeated, field.message_type, _reader(field))
        known[field.name] = known[field.json_name] = made
    return known


def _reader(field: FieldDescriptor) -> Callable[[Any], Any]:
    kind = field.type
    if kind == FieldDescriptor.TYPE_STRING:
        return _text
    if kind == FieldDescriptor.TYPE_BYTES:
        size = _ID_BYTES.get(field.name)
        return _bytes if size is None else lambda value: _id(value, size)
    if kind == FieldDescriptor.TYPE_BOOL:
        return _bool
    if field.enum_type is not None:
        numbers = {value.name: value.number for value in field.enum_type.values}
        return lambda value: numbers[value] if value in numbers else _integer(value, 32)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _double
    bits = 32 if field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
    signed = field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
    return lambda value: _integer(value, bits, signed=signed)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _integer(value: Any, bits: int, *, signed: bool = True) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError
    try:
        number = int(value)
    except ValueError:
        raise TypeError from None
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if not least <= number <= most:
        raise OverflowError
    return number


def _double(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    try:
        return float(value)  # JSON has NaN and Infinity as text
    except ValueError:
        raise TypeError from None


def _bytes(value: Any) -> bytes:
    text = _text(value).translate(_URL_SAFE)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise TypeError from None


def _id(value: Any, size: int) -> bytes:
    try:
        if len(value) == 2 * size:
            return bytes.fromhex(value)
        decoded = _bytes(value)
    except (TypeError, ValueError):
        return _BAD_ID
    return decoded if len(decoded) in (0, size) else _BAD_ID


_URL_SAFE = str.maketrans("-_", "+/")
