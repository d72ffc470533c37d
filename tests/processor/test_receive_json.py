"""OTLP in JSON, against the protobuf package's own writer and reader."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tracetaxa.otlp_json import parse_otlp, remove_bad_items

uint64 = st.integers(0, 2**64 - 1)
text = st.text(max_size=8)
values: st.SearchStrategy[AnyValue] = st.recursive(
    st.one_of(
        st.builds(AnyValue),
        st.builds(AnyValue, string_value=text),
        st.builds(AnyValue, bool_value=st.booleans()),
        st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
        st.builds(AnyValue, double_value=st.floats(allow_nan=False)),
        st.builds(AnyValue, bytes_value=st.binary(max_size=5)),
    ),
    lambda inner: st.one_of(
        st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(inner, max_size=3))),
        st.builds(
            AnyValue,
            kvlist_value=st.builds(
                KeyValueList, values=st.lists(st.builds(KeyValue, key=text, value=inner), max_size=3)
            ),
        ),
    ),
    max_leaves=6,
)
attributes = st.lists(st.builds(KeyValue, key=text, value=values), max_size=3)
trace_ids, span_ids = st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8)
spans = st.builds(
    Span,
    trace_id=trace_ids,
    span_id=span_ids,
    parent_span_id=span_ids | st.just(b""),
    name=text,
    kind=st.integers(0, 5),
    flags=st.integers(0, 2**32 - 1),
    start_time_unix_nano=uint64,
    end_time_unix_nano=uint64,
    attributes=attributes,
    events=st.lists(
        st.builds(Span.Event, name=text, time_unix_nano=uint64, attributes=attributes), max_size=2
    ),
    links=st.lists(
        st.builds(Span.Link, trace_id=trace_ids, span_id=span_ids, attributes=attributes), max_size=2
    ),
    status=st.builds(Status, code=st.integers(0, 2), message=text),
)
records = st.builds(
    LogRecord,
    trace_id=trace_ids | st.just(b""),
    span_id=span_ids | st.just(b""),
    time_unix_nano=uint64,
    severity_number=st.integers(0, 24),
    body=values,
    attributes=attributes,
    event_name=text,
)
resources = st.builds(Resource, attributes=attributes)
scopes = st.builds(InstrumentationScope, name=text, version=text, attributes=attributes)
trace_requests = st.builds(
    lambda resource, scope, items: ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(scope=scope, spans=items)])]
    ),
    resources,
    scopes,
    st.lists(spans, max_size=2),
)
log_requests = st.builds(
    lambda resource, scope, items: ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(resource=resource, scope_logs=[ScopeLogs(scope=scope, log_records=items)])
        ]
    ),
    resources,
    scopes,
    st.lists(records, max_size=2),
)


def with_hex_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [with_hex_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    ids = {"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"}
    return {k: base64.b64decode(v).hex() if k in ids else with_hex_ids(v) for k, v in value.items()}


@given(
    message=trace_requests | log_requests,
    numbers=st.booleans(),
    own_names=st.booleans(),
    in_hex=st.booleans(),
)
def test_what_protobuf_writes_is_read_as_it_was(
    message: ExportTraceServiceRequest | ExportLogsServiceRequest,
    numbers: bool,
    own_names: bool,
    in_hex: bool,
) -> None:
    written = json_format.MessageToDict(
        message, use_integers_for_enums=numbers, preserving_proto_field_name=own_names
    )
    value = json.loads(json.dumps(with_hex_ids(written) if in_hex else written))
    assert parse_otlp(value, type(message)) == message


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["1", "-1", "NaN", "Infinity", "SPAN_KIND_CLIENT", "\ud800", "1" * 5000]),
)
keys = st.sampled_from(
    [
        "resourceSpans",
        "scopeSpans",
        "spans",
        "traceId",
        "kind",
        "attributes",
        "key",
        "value",
        "intValue",
        "doubleValue",
        "bytesValue",
        "arrayValue",
        "values",
        "startTimeUnixNano",
        "flags",
        "status",
        "code",
        "unheardOf",
    ]
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(value=anything)
def test_anything_is_read_or_a_value_error(value: Any) -> None:
    for kind in (ExportTraceServiceRequest, Span, AnyValue):
        try:
            message = parse_otlp(value, kind)
        except ValueError:
            continue
        assert kind.FromString(message.SerializeToString()).ByteSize() == message.ByteSize()


@pytest.mark.parametrize("integer", [7, "7", 7.0, "07", " 7"])
def test_integers_are_numbers_or_strings(integer: Any) -> None:
    assert parse_otlp({"intValue": integer}, AnyValue).int_value == 7


@pytest.mark.parametrize(
    "value", [True, 7.5, "seven", "", [7], {}, 2**63, "9223372036854775808", 1e21, float("inf")]
)
def test_what_is_no_integer_is_told(value: Any) -> None:
    with pytest.raises(ValueError, match=r"AnyValue\.int_value can't be"):
        parse_otlp({"intValue": value}, AnyValue)


@pytest.mark.parametrize("identity", ["short", "x" * 32, "e" * 31, 7, [], {}])
def test_bad_id_stays_bad(identity: Any) -> None:
    assert len(parse_otlp({"traceId": identity}, Span).trace_id) not in (0, 16)


def test_nesting_has_an_end() -> None:
    value: Any = {"intValue": 1}
    for _ in range(200):
        value = {"arrayValue": {"values": [value]}}
    with pytest.raises(ValueError, match="too deep"):
        parse_otlp(value, AnyValue)


def test_bad_items_are_removed_wherever_they_are() -> None:
    good, bad = {"name": "good"}, {"name": 7}
    value = {
        "resourceSpans": [
            {"scopeSpans": [{"spans": [good, bad, None]}, {"spans": [bad]}]},
            {"scopeSpans": [{"spans": [good]}]},
        ]
    }
    reasons = remove_bad_items(value)
    assert len(reasons) == 3
    assert "Span.name can't be '7'" in reasons
    message = parse_otlp(value, ExportTraceServiceRequest)
    assert [len(s.spans) for r in message.resource_spans for s in r.scope_spans] == [1, 0, 1]
    assert remove_bad_items(value) == []
    assert remove_bad_items({"resourceSpans": 7}) == []
