"""Repair of requests with strings that are not UTF-8."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otlp import CHAT, request, span
from tracetaxa.receive.utf8 import with_valid_strings

DESCRIPTOR = ExportTraceServiceRequest.DESCRIPTOR
WHOLE = request(span(1, 1, attributes=CHAT), span(1, 2, attributes=CHAT)).SerializeToString()


def repaired(message: bytes) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(with_valid_strings(message, DESCRIPTOR))


def test_a_good_request_stays_as_it_is() -> None:
    assert with_valid_strings(WHOLE, DESCRIPTOR) == WHOLE
    assert with_valid_strings(b"", DESCRIPTOR) == b""


@given(bad=st.binary(min_size=1, max_size=40))
def test_only_bad_bytes_are_replaced(bad: bytes) -> None:
    mark = b"MARK:" + b"M" * len(bad)
    marked = request(
        span(1, 1, name=mark.decode(), attributes={"key": mark.decode(), "next": "é"}), span(1, 2)
    )
    made = repaired(marked.SerializeToString().replace(mark, b"MARK:" + bad))
    first, second = made.resource_spans[0].scope_spans[0].spans
    assert first.attributes[0].value.string_value == first.name
    prefix, _, text = first.name.partition(":")
    assert (prefix, len(text.encode())) == ("MARK", len(bad))
    assert text.replace("?", "") == bad.decode("utf-8", "ignore").replace("?", "")
    assert first.attributes[1].value.string_value == "é"
    assert (first.trace_id, second.span_id) == ((1).to_bytes(16), (2).to_bytes(8))


@given(message=st.binary(max_size=60), at=st.integers(0, len(WHOLE) - 1), cut=st.booleans())
def test_anything_else_is_a_value_error(message: bytes, at: int, cut: bool) -> None:
    for body in (message, WHOLE[:at] if cut else WHOLE[:at] + message + WHOLE[at:]):
        try:
            made = with_valid_strings(body, DESCRIPTOR)
        except ValueError:
            continue
        assert len(made) == len(body)


def test_depth_is_limited() -> None:
    deep = b""
    for _ in range(2000):
        deep = (
            b"\x2a" + _varint(len(deep) + 1 + len(_varint(len(deep)))) + b"\x0a" + _varint(len(deep)) + deep
        )
    for number in (2, 9, 2, 2, 1):
        deep = bytes([number << 3 | 2]) + _varint(len(deep)) + deep
    with pytest.raises(ValueError, match="deep"):
        with_valid_strings(deep, DESCRIPTOR)


def _varint(number: int) -> bytes:
    made = b""
    while number > 127:
        made += bytes([number & 127 | 128])
        number >>= 7
    return made + bytes([number])
