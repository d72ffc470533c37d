"""Attributes on raw spans, and requests taken apart and put together: no other byte changes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from captures import NAMES, requests
from otlp_recorder import attributes
from tracetaxa_exporter.clickhouse.rows import TimeLimits
from tracetaxa_exporter.clickhouse.spans import SpanRows
from tracetaxa_exporter.otlp import Stamp, read_text
from tracetaxa_exporter.raw import envelopes, joined
from tracetaxa_exporter.wire import field, fields, varint

if TYPE_CHECKING:
    from collections.abc import Callable

ADDED = {"tracetaxa.a.category": "Orders", "tracetaxa.a.confidence": 0.5, "tracetaxa.a.taxonomy_version": 3}
ANY_TIME = TimeLimits(0, 2**63 - 1)

values = st.one_of(
    st.builds(lambda v: AnyValue(string_value=v), st.text()),
    st.builds(lambda v: AnyValue(int_value=v), st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda v: AnyValue(bytes_value=v), st.binary()),
    st.builds(lambda v: AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=v)])), st.text()),
    st.just(AnyValue()),
)
keys = st.sampled_from(["k", "tracetaxa.a.category", "tracetaxa.a.confidence", "tracetaxa.other", ""])
unknown = st.one_of(
    st.builds(lambda n, v: field(n, v), st.integers(17, 5000), st.binary(max_size=20)),
    st.builds(lambda n, v: varint(n << 3) + varint(v), st.integers(17, 5000), st.integers(0, 2**63)),
    st.builds(lambda n, v: varint(n << 3 | 1) + v, st.integers(17, 5000), st.binary(min_size=8, max_size=8)),
    st.builds(lambda n, v: varint(n << 3 | 5) + v, st.integers(17, 5000), st.binary(min_size=4, max_size=4)),
    # A group, with a field in it.
    st.builds(
        lambda n, v: varint(n << 3 | 3) + field(1, v) + varint(n << 3 | 4),
        st.integers(17, 99),
        st.binary(max_size=9),
    ),
)
pieces = st.one_of(
    st.builds(lambda key, value: field(9, KeyValue(key=key, value=value).SerializeToString()), keys, values),
    unknown,
    st.sampled_from([field(1, b"t" * 16), field(2, b"s" * 8), field(5, b"chat"), field(4, b"p" * 8)]),
)


@given(st.lists(pieces, max_size=12))
def test_only_the_keys_in_question_change(parts: list[bytes]) -> None:
    def replaced(part: bytes) -> bool:
        if part[0] != 9 << 3 | 2:
            return False
        (found,) = fields(part)
        return KeyValue.FromString(part[found.value :]).key in ADDED

    stamp = Stamp(ADDED)
    stamped = stamp(b"".join(parts))
    assert stamped == b"".join(part for part in parts if not replaced(part)) + stamp.added
    assert stamp(stamped) == stamped
    read = Span.FromString(stamped)
    assert {k: v for k, v in attributes_of(read).items() if k in ADDED} == ADDED


def attributes_of(span: Span) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "string_value") for a in span.attributes}


@pytest.mark.parametrize("value", ["text", "", 7, -1, 2**62, 0.25, True, False])
def test_values_keep_their_types(value: str | float | bool) -> None:
    (found,) = attributes(Span.FromString(Stamp({"k": value})(b""))).values()
    assert found == value
    assert type(found) is type(value)


def test_no_attributes_change_nothing() -> None:
    assert Stamp({})(b"\x2a\x04chat") == b"\x2a\x04chat"


def test_reading_one_attribute() -> None:
    span = Stamp({"other": "tracetaxa.instance", "tracetaxa.instance": "a,b"})(field(5, b"chat"))
    assert read_text(span, "tracetaxa.instance") == "a,b"
    assert read_text(span, "tracetaxa") is None
    assert read_text(Stamp({"tracetaxa.instance": 7})(b""), "tracetaxa.instance") == ""


@pytest.mark.parametrize(
    "broken", [b"\x80", b"\x0a\x05ab", b"\x00", b"\x0b\x0a\x01a", b"\x0c", b"\x09abc", b"\x80" * 11, b"\x0f"]
)
def test_what_is_no_message_is_told(broken: bytes) -> None:
    with pytest.raises(ValueError, match="not a protobuf message"):
        list(fields(broken))


@given(st.binary(max_size=60))
def test_whatever_protobuf_takes_is_taken_apart_whole(message: bytes) -> None:
    try:
        Span.FromString(message)
    except Exception:
        return
    assert b"".join(message[found.start : found.end] for found in fields(message)) == message


# ------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize("name", NAMES)
def test_real_requests_come_out_as_they_went_in(name: str) -> None:
    for sent in requests(name)[0]:
        message = sent.SerializeToString()
        rows = SpanRows(message, ANY_TIME, keep_raw=True)
        again = joined((raw.resource, raw.scope, raw.span) for raw in rows.raw)
        assert ordered(ExportTraceServiceRequest.FromString(again)) == ordered(sent)


def ordered(request: ExportTraceServiceRequest) -> list[tuple[bytes, bytes, bytes]]:
    return sorted(
        (
            r.resource.SerializeToString(),
            s.scope.SerializeToString() + s.schema_url.encode(),
            span.SerializeToString(),
        )
        for r in request.resource_spans
        for s in r.scope_spans
        for span in s.spans
    )


def test_every_level_keeps_what_nobody_knows() -> None:
    span = field(1, b"t" * 16) + field(2, b"s" * 8) + field(77, b"span")
    scope = field(1, field(1, b"lib")) + field(78, b"scope") + field(3, b"https://schema")
    # In an order that no encoder uses, and with the spans of one scope in two places.
    message = field(
        1,
        field(79, b"before")
        + field(2, field(2, span) + scope + field(2, span))
        + field(1, field(80, b"resource")),
    )
    (envelope,) = envelopes(message)
    assert envelope == (field(79, b"before") + field(1, field(80, b"resource")), scope)
    raw = SpanRows(message, ANY_TIME, keep_raw=True).raw
    assert [(one.span, one.resource, one.scope) for one in raw] == [(span, *envelope)] * 2
    assert joined([(*envelope, span)] * 2) == field(
        1, envelope[0] + field(2, scope + field(2, span) + field(2, span))
    )


def test_spans_of_one_origin_share_its_envelopes() -> None:
    draw = random.Random(1)
    spans = [(b"r%d" % (n % 2), b"", field(5, b"%d" % n)) for n in range(10)]
    spans = [(field(79, r), s, span) for r, s, span in spans]
    draw.shuffle(spans)
    found = ExportTraceServiceRequest.FromString(joined(spans))
    assert sorted(len(r.scope_spans[0].spans) for r in found.resource_spans) == [5, 5]
    assert joined([]) == b""


@pytest.mark.parametrize("take", [lambda m: list(envelopes(m)), lambda m: Stamp({"a": 1})(m + b"a")])
def test_garbage_is_an_error(take: Callable[[bytes], object]) -> None:
    with pytest.raises(ValueError, match="not a protobuf message"):
        take(b"\x0a\xff")
