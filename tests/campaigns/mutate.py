"""OTLP requests that nobody should send, made from those that instrumentations sent.

Bytes are damaged with the wire format in mind (protobuf.dev/programming-guides/encoding), messages by values that
are legal on the wire and absurd.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    Chance = random.Random

_MAX_DEPTH = 12
_TIMES = (0, 1, 10**18, 2**63 - 1, 2**63, 2**64 - 1, 915_148_800 * 10**9, 4_102_444_800 * 10**9)
_TEXTS = (
    "",
    "\0",
    "'",
    "\\",
    '"',
    "\u2028",
    "\U0010ffff",
    "{",
    "[1,",
    "NaN",
    "x" * 5000,
    "{}",
    "null",
    "; DROP",
)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Value and the place behind it. Raises IndexError."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes, start: int, end: int, depth: int = 0) -> Iterator[tuple[int, int, int, int]]:
    """(place of the tag, of the length or value, of the content, of the end) of each field, those inside of
    length-delimited ones too, as far as they read as fields.
    """
    found = []
    at = start
    while at < end:
        try:
            tag, value_at = _read_varint(data, at)
            kind = tag & 7
            if kind == 0:
                _, stop = _read_varint(data, value_at)
                content = value_at
            elif kind in (1, 5):
                content, stop = value_at, value_at + (8 if kind == 1 else 4)
            elif kind == 2:
                size, content = _read_varint(data, value_at)
                stop = content + size
            else:
                return
        except IndexError:
            return
        if not tag >> 3 or stop > end:
            return
        found.append((at, value_at, content, stop))
        at = stop
    for field in found:
        yield field
        at, _, content, stop = field
        if data[at] & 7 == 2 and depth < _MAX_DEPTH:
            yield from fields(data, content, stop, depth + 1)


# ------------------------------------------------------------------------------------------------- bytes


def flip_bits(data: bytes, chance: Chance) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def truncate(data: bytes, chance: Chance) -> bytes:
    return data[: chance.randrange(len(data))]


def insert_noise(data: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.choice((1, 4, 100))) + data[at:]


def repeat_a_part(data: bytes, chance: Chance) -> bytes:
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:last] + data[first:]


def damage_a_length(data: bytes, chance: Chance) -> bytes:
    at, value_at, content, _ = _a_field(data, chance, kind=2)
    size = chance.choice((0, 1, content - at, 127, 128, 65_536, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1))
    return data[:value_at] + varint(size) + data[content:]


def huge_varint(data: bytes, chance: Chance) -> bytes:
    _, value_at, content, _ = _a_field(data, chance)
    number = chance.choice(
        (b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\x80" * 30 + b"\x01", b"\x80" * 9 + b"\x00")
    )
    return data[:value_at] + number + data[max(content, value_at + 1) :]


def other_wire_type(data: bytes, chance: Chance) -> bytes:
    at, *_ = _a_field(data, chance)
    return data[:at] + bytes([data[at] & 0xF8 | chance.randrange(8)]) + data[at + 1 :]


def other_field_number(data: bytes, chance: Chance) -> bytes:
    at, value_at, *_ = _a_field(data, chance)
    number = chance.choice((0, 1, 2, 3, 15, 16, 18_999, 2**29 - 1, 2**32))
    return data[:at] + varint(number << 3 | data[at] & 7) + data[value_at:]


def bad_utf8(data: bytes, chance: Chance) -> bytes:
    _, _, content, stop = _a_field(data, chance, kind=2)
    bad = chance.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80"))
    return data[:content] + (bad * (stop - content))[: stop - content] + data[stop:]


def nest_deeply(data: bytes, chance: Chance) -> bytes:
    """An attribute value in as many lists as it takes to make readers give up, or nearly."""
    value = AnyValue(string_value="deep").SerializeToString()
    for _ in range(chance.choice((5, 20, 40, 45, 48, 50, 100, 1000))):
        if chance.random() < 0.5:  # AnyValue.array_value.values
            value = b"\x0a" + varint(len(value)) + value
            value = b"\x2a" + varint(len(value)) + value
        else:  # AnyValue.kvlist_value.values, its value
            value = b"\x0a\x01k\x12" + varint(len(value)) + value
            value = b"\x0a" + varint(len(value)) + value
            value = b"\x32" + varint(len(value)) + value
    pair = b"\x0a\x04deep\x12" + varint(len(value)) + value
    resource = b"\x0a" + varint(len(pair)) + pair
    inner = b"\x0a" + varint(len(resource)) + resource
    # Merged into what is there: a second resource_spans with the same spans' bytes behind it.
    return data + b"\x0a" + varint(len(inner)) + inner


def endless_groups(data: bytes, chance: Chance) -> bytes:
    return data + b"\x1b" * chance.choice((1, 50, 99, 100, 101, 50_000))


def _a_field(data: bytes, chance: Chance, kind: int | None = None) -> tuple[int, int, int, int]:
    some = [field for field in fields(data, 0, len(data)) if kind is None or data[field[0]] & 7 == kind]
    return chance.choice(some) if some else (0, 1, min(2, len(data)), len(data))


BYTES: Sequence[Callable[[bytes, Chance], bytes]] = (
    flip_bits,
    truncate,
    insert_noise,
    repeat_a_part,
    damage_a_length,
    huge_varint,
    other_wire_type,
    other_field_number,
    bad_utf8,
    nest_deeply,
    endless_groups,
)


# ------------------------------------------------------------------------------------------------- messages


def _ids(one: Any, chance: Chance) -> None:
    name = chance.choice([n for n in ("trace_id", "span_id", "parent_span_id") if hasattr(one, n)])
    setattr(
        one, name, chance.choice((b"", b"\0" * 8, b"\0" * 16, b"\1", b"\1" * 15, b"\1" * 17, b"\xff" * 100))
    )


def _times(one: Any, chance: Chance) -> None:
    names = ("start_time_unix_nano", "end_time_unix_nano", "time_unix_nano", "observed_time_unix_nano")
    setattr(one, chance.choice([n for n in names if hasattr(one, n)]), chance.choice(_TIMES))


def _texts(one: Any, chance: Chance) -> None:
    name = chance.choice(
        [n for n in ("name", "trace_state", "severity_text", "event_name") if hasattr(one, n)]
    )
    setattr(one, name, chance.choice(_TEXTS))


def _large_attribute(one: Any, chance: Chance) -> None:
    one.attributes.add(key="large", value=AnyValue(string_value="x" * chance.choice((2**16, 2**20))))


def _many_attributes(one: Any, chance: Chance) -> None:
    for number in range(chance.choice((100, 3000))):
        one.attributes.add(key=f"k{number % 500}", value=AnyValue(int_value=number))


def _odd_values(one: Any, chance: Chance) -> None:
    odd = (
        AnyValue(),
        AnyValue(int_value=-(2**63)),
        *(AnyValue(double_value=number) for number in (float("nan"), float("inf"), -0.0, 5e-324, 1e300)),
        AnyValue(double_value=struct.unpack("d", b"\x01\0\0\0\0\0\xf0\x7f")[0]),
        AnyValue(bytes_value=bytes(range(256))),
        AnyValue(array_value={"values": [AnyValue(), AnyValue(double_value=float("nan"))]}),
        AnyValue(kvlist_value={"values": [KeyValue(key="k"), KeyValue(key="k"), KeyValue()]}),
        *(AnyValue(string_value=text) for text in _TEXTS),
    )
    keys = [attribute.key for attribute in one.attributes] or ["gen_ai.input.messages"]
    keys += [
        "",
        "\0",
        "gen_ai.usage.input_tokens",
        "gen_ai.operation.name",
        "session.id",
        "service.name",
        "x" * 9999,
    ]
    for _ in range(chance.randrange(1, 9)):
        one.attributes.add(key=chance.choice(keys)).value.CopyFrom(chance.choice(odd))


def _many_events(one: Any, chance: Chance) -> None:
    if isinstance(one, Span):
        for number in range(chance.choice((100, 5000))):
            one.events.add(name=f"e{number % 7}", time_unix_nano=chance.choice(_TIMES))


def _many_links(one: Any, chance: Chance) -> None:
    if isinstance(one, Span):
        for _ in range(chance.choice((10, 1000))):
            one.links.add(trace_id=chance.randbytes(chance.choice((0, 1, 16))), span_id=chance.randbytes(8))


def _numbers(one: Any, chance: Chance) -> None:
    if isinstance(one, Span):
        one.kind = chance.choice((-1, 6, 2**31 - 1, -(2**31)))  # type: ignore[assignment]
        one.status.code = chance.choice((-1, 3, 2**31 - 1))
        one.flags = chance.choice((0, 2**32 - 1))
    else:
        one.severity_number = chance.choice((-1, 25, 256, 2**31 - 1))
        one.flags = 2**32 - 1


def _own_parent(one: Any, chance: Chance) -> None:
    if isinstance(one, Span):
        one.parent_span_id = one.span_id


_ITEM: Sequence[Callable[[Any, Chance], None]] = (
    *(_ids, _ids, _times, _times, _texts, _large_attribute, _many_attributes, _odd_values, _odd_values),
    *(_many_events, _many_links, _numbers, _own_parent),
)


def restructure(data: bytes, chance: Chance, kind: type[Any]) -> bytes:
    """Absurd values in a message that still is one."""
    message = kind.FromString(data)
    items = list(_items(message))
    if chance.random() < 0.8:
        trace_id = chance.randbytes(16)
        for item in items:
            item.trace_id = trace_id
    for _ in range(chance.randrange(1, 4)):
        chance.choice(_ITEM)(chance.choice(items), chance)
    match chance.randrange(8):
        case 0:
            _odd_values(_first(message).resource, chance)
        case 1:
            message.MergeFrom(kind.FromString(data))
        case 2:
            _first(message).Clear()
    result: bytes = message.SerializeToString()
    return result


def _first(message: Any) -> Any:
    return _groups(message)[0]


def _items(message: Any) -> Iterator[Any]:
    for group in _groups(message):
        for scope in _scopes(group):
            yield from _list(scope)


def mutant(corpus: Sequence[bytes], chance: Chance, kind: type[Any]) -> bytes:
    """One damaged request of this kind of message."""
    data = chance.choice(corpus)
    if chance.random() < 0.4:
        data = restructure(data, chance, kind)
        if chance.random() < 0.7:
            return data
    if chance.random() < 0.1:
        other = chance.choice(corpus)
        data = data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = chance.choice(BYTES)(data or b"\0", chance)
    return data


_ODD_JSON = (
    *(None, True, 0, -1, 1e308, 2**64, -(2**63), "", "0", "1e3", "-1", "NaN", "zz", "\ud800", "x" * 70_000),
    *(
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"stringValue": 1, "intValue": "1"},
        {"kvlistValue": {}},
        {"bytesValue": "?"},
    ),
)


def json_mutant(corpus: Sequence[bytes], chance: Chance, kind: type[Any]) -> bytes:
    """One request in OTLP/JSON with odd values or keys, or with damaged text."""
    value = MessageToDict(kind.FromString(chance.choice(corpus)))
    _hex_ids(value)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        places = list(_places(value))
        holder, key = chance.choice(places)
        if isinstance(holder, dict) and chance.random() < 0.2:
            holder[chance.choice((key.upper(), key + "_", "traceId", "value", ""))] = holder.pop(key)
        else:
            holder[key] = deepcopy(chance.choice(_ODD_JSON))
    text = json.dumps(value).encode()
    if chance.random() < 0.1:
        text = text[:-1] + b',"deep":' + b"[" * chance.choice((100, 1000, 100_000))
    if chance.random() < 0.3:
        text = chance.choice((flip_bits, truncate, insert_noise, repeat_a_part))(text, chance)
    return text


def _hex_ids(value: Any) -> None:
    """Protobuf's JSON has ids in base64, OTLP's in hex."""
    for holder, key in _places(value):
        if key in ("traceId", "spanId", "parentSpanId"):
            holder[key] = b64decode(holder[key]).hex()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def corpus(requests: Sequence[Any], most_items: int = 4) -> list[bytes]:
    """Requests, the large ones in several, so that damage has a chance to hit what is in them."""
    found = []
    for request in requests:
        for group, scope in [(one, scope) for one in _groups(request) for scope in _scopes(one)]:
            for start in range(0, len(_list(scope)), most_items):
                part = type(request)()
                _groups(part).add().CopyFrom(group)
                scopes = _scopes(_groups(part)[0])
                del scopes[:]
                scopes.add().CopyFrom(scope)
                items = _list(scopes[0])
                del items[start + most_items :]
                del items[:start]
                found.append(part.SerializeToString())
    return found


def _groups(message: Any) -> Any:
    return message.resource_spans if isinstance(message, ExportTraceServiceRequest) else message.resource_logs


def _scopes(group: Any) -> Any:
    return group.scope_spans if hasattr(group, "scope_spans") else group.scope_logs


def _list(scope: Any) -> Any:
    return scope.spans if hasattr(scope, "spans") else scope.log_records


KINDS = {"traces": ExportTraceServiceRequest, "logs": ExportLogsServiceRequest}
