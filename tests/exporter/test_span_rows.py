"""OTLP spans as rows, one rule at a time; what ClickHouse makes of the rows is in test_writer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tracetaxa_exporter.clickhouse.rows import DAY_NS, YEAR_2000_NS, Rejected, TimeLimits
from tracetaxa_exporter.clickhouse.spans import SPAN_COLUMNS, append_span_rows

NOW = 1_790_000_000 * 10**9
GOOD: dict[str, Any] = {
    "trace_id": bytes(range(16)),
    "span_id": bytes(range(8)),
    "name": "chat",
    "start_time_unix_nano": NOW - 5_000_000_000,
    "end_time_unix_nano": NOW - 3_000_000_000,
}


def request(*spans: Span) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])


def convert(message: ExportTraceServiceRequest) -> tuple[list[dict[str, Any]], Rejected]:
    rows: list[tuple[Any, ...]] = []
    rejected = append_span_rows(rows, message, TimeLimits.at(NOW))
    return [dict(zip(SPAN_COLUMNS, row, strict=True)) for row in rows], rejected


def one(**changes: Any) -> dict[str, Any]:
    (row,), rejected = convert(request(Span(**{**GOOD, **changes})))
    assert rejected.count == 0
    assert rejected.message == ""
    return row


def attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def test_span_becomes_a_row() -> None:
    span = Span(
        **GOOD,
        parent_span_id=b"\xab" * 8,
        trace_state="ot=th:8",
        kind=Span.SPAN_KIND_CLIENT,
        attributes=[attribute("gen_ai.operation.name", "chat")],
        status=Status(code=Status.STATUS_CODE_ERROR, message="timeout"),
        events=[Span.Event(time_unix_nano=NOW, name="exception", attributes=[attribute("k", "v")])],
        links=[Span.Link(trace_id=b"\x01" * 16, span_id=b"\x02" * 8, trace_state="a=b")],
    )
    message = request(span)
    message.resource_spans[0].resource.CopyFrom(Resource(attributes=[attribute("service.name", "shop")]))
    message.resource_spans[0].scope_spans[0].scope.name = "openai"
    message.resource_spans[0].scope_spans[0].scope.version = "1.0"
    rows, _ = convert(message)
    assert rows == [
        {
            "Timestamp": NOW - 5_000_000_000,
            "TraceId": "000102030405060708090a0b0c0d0e0f",
            "SpanId": "0001020304050607",
            "ParentSpanId": "abababababababab",
            "TraceState": "ot=th:8",
            "SpanName": "chat",
            "SpanKind": "Client",
            "ServiceName": "shop",
            "ResourceAttributes": {"service.name": "shop"},
            "ScopeName": "openai",
            "ScopeVersion": "1.0",
            "SpanAttributes": {"gen_ai.operation.name": "chat"},
            "Duration": 2_000_000_000,
            "StatusCode": "Error",
            "StatusMessage": "timeout",
            "Events.Timestamp": [NOW],
            "Events.Name": ["exception"],
            "Events.Attributes": [{"k": "v"}],
            "Links.TraceId": ["01" * 16],
            "Links.SpanId": ["02" * 8],
            "Links.TraceState": ["a=b"],
            "Links.Attributes": [{}],
        }
    ]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [*enumerate(["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer", ""]), (-1, "")],
)
def test_span_kind(kind: int, expected: str) -> None:
    assert one(kind=kind)["SpanKind"] == expected


@pytest.mark.parametrize(("code", "expected"), [(0, "Unset"), (1, "Ok"), (2, "Error"), (3, ""), (-1, "")])
def test_status_code(code: int, expected: str) -> None:
    assert one(status={"code": code})["StatusCode"] == expected


@pytest.mark.parametrize("parent", [b"", bytes(8)])
def test_root_has_no_parent(parent: bytes) -> None:
    assert one(parent_span_id=parent)["ParentSpanId"] == ""


@pytest.mark.parametrize(
    ("end", "duration"),
    [
        (GOOD["start_time_unix_nano"] + 1, 1),
        (GOOD["start_time_unix_nano"] - 1, 0),
        (0, 0),
        (2**64 - 1, DAY_NS + 5_000_000_000),
    ],
)
def test_duration_is_never_negative_and_never_reaches_far_into_the_future(end: int, duration: int) -> None:
    assert one(end_time_unix_nano=end)["Duration"] == duration


def test_wild_event_time_fits_the_column() -> None:
    assert one(events=[Span.Event(time_unix_nano=2**64 - 1)])["Events.Timestamp"] == [2**63 - 1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trace_id": b""}, "trace id"),
        ({"trace_id": bytes(16)}, "trace id"),
        ({"trace_id": b"x" * 15}, "trace id"),
        ({"span_id": b""}, "span id"),
        ({"span_id": bytes(8)}, "span id"),
        ({"span_id": b"x" * 16}, "span id"),
        ({"parent_span_id": b"x" * 4}, "parent span id"),
        ({"start_time_unix_nano": 0}, "before the year 2000"),
        ({"start_time_unix_nano": YEAR_2000_NS - 1}, "before the year 2000"),
        ({"start_time_unix_nano": NOW + DAY_NS + 1}, "too far in the future"),
        ({"start_time_unix_nano": 2**64 - 1}, "too far in the future"),
    ],
)
def test_bad_span_is_rejected_and_its_neighbours_are_kept(changes: dict[str, Any], reason: str) -> None:
    good = Span(**GOOD)
    rows, rejected = convert(request(good, Span(**{**GOOD, **changes}), good))
    assert len(rows) == 2
    assert rejected.count == 1
    assert reason in rejected.message


@pytest.mark.parametrize("start", [YEAR_2000_NS, NOW + DAY_NS])
def test_limits_of_the_start_time_are_good(start: int) -> None:
    assert one(start_time_unix_nano=start)["Timestamp"] == start


@pytest.mark.parametrize(
    ("age_ns", "max_age_ns", "reason"),
    [
        (DAY_NS, DAY_NS, ""),
        (DAY_NS + 1, DAY_NS, "older than the retention of 1 day (1)"),
        (10**9, 10**9 // 2, "older than the retention of 0.5 seconds (1)"),
        (DAY_NS * 2, DAY_NS * 3 // 2, "older than the retention of 1.5 days (1)"),
        (DAY_NS * 9000, None, ""),
        (NOW - 1, DAY_NS, "before the year 2000 (1)"),
        (NOW - YEAR_2000_NS, DAY_NS * 30_000, ""),
    ],
)
def test_age_is_limited_by_the_retention(age_ns: int, max_age_ns: int | None, reason: str) -> None:
    rows: list[tuple[Any, ...]] = []
    message = request(Span(**{**GOOD, "start_time_unix_nano": NOW - age_ns}))
    rejected = append_span_rows(rows, message, TimeLimits.at(NOW, max_age_ns=max_age_ns))
    assert (len(rows), rejected.count) == ((0, 1) if reason else (1, 0))
    assert rejected.message.endswith(reason)


def test_rejections_are_counted_by_reason() -> None:
    _, rejected = convert(request(Span(), Span(), Span(**{**GOOD, "start_time_unix_nano": 1})))
    assert sorted(rejected.reasons.values()) == [1, 2]
    assert rejected.count == 3
    assert "all zero (2)" in rejected.message
    assert "before the year 2000 (1)" in rejected.message


def test_spans_of_one_resource_share_its_map() -> None:
    message = request(Span(**GOOD), Span(**GOOD))
    message.resource_spans[0].resource.attributes.append(attribute("host.name", "a"))
    rows, _ = convert(message)
    assert rows[0]["ResourceAttributes"] is rows[1]["ResourceAttributes"]
    assert rows[0]["ServiceName"] == ""


spans = st.builds(
    Span,
    trace_id=st.binary(max_size=20) | st.just(GOOD["trace_id"]),
    span_id=st.binary(max_size=10) | st.just(GOOD["span_id"]),
    parent_span_id=st.binary(max_size=9),
    start_time_unix_nano=st.integers(0, 2**64 - 1) | st.just(NOW),
    end_time_unix_nano=st.integers(0, 2**64 - 1),
    kind=st.integers(-(2**31), 2**31 - 1),
    status=st.builds(Status, code=st.integers(-(2**31), 2**31 - 1)),
    events=st.lists(st.builds(Span.Event, time_unix_nano=st.integers(0, 2**64 - 1)), max_size=2),
    links=st.lists(
        st.builds(Span.Link, trace_id=st.binary(max_size=20), span_id=st.binary(max_size=9)), max_size=2
    ),
)


@given(st.lists(spans, max_size=5))
def test_every_span_becomes_a_row_within_bounds_or_is_counted(batch: list[Span]) -> None:
    rows, rejected = convert(request(*batch))
    assert len(rows) + rejected.count == len(batch)
    for row in rows:
        assert len(row["TraceId"]) == 32
        assert YEAR_2000_NS <= row["Timestamp"] <= row["Timestamp"] + row["Duration"] <= NOW + DAY_NS
        assert all(0 <= time < 2**63 for time in row["Events.Timestamp"])
