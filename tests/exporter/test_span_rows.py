"""OTLP spans as rows, as ClickHouse reads and writes them: one rule at a time, and against rows built in a plain
way. The table of these tests keeps rows in their order and has no views; the real one is in test_writer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from captures import NAMES, requests
from databases import Databases, get_client
from span_rows import span_rows
from tracetaxa.store.dsn import Dsn
from tracetaxa_exporter.clickhouse import OWN_SPAN_COLUMNS, SPAN_COLUMNS, Rejected, SpanWriter
from tracetaxa_exporter.clickhouse.rows import DAY_NS, YEAR_2000_NS, TimeLimits
from tracetaxa_exporter.clickhouse.spans import SpanRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

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


@dataclass
class Table:
    """What a writer made of requests, row by row."""

    client: Client

    def convert(self, *messages: ExportTraceServiceRequest | bytes) -> tuple[list[dict[str, Any]], Rejected]:
        """The rows, and what was rejected of the last request."""
        rejected = SpanWriter(self.client, now_ns=lambda: NOW).write(messages)[-1]
        return self.take(), rejected

    def take(self) -> list[dict[str, Any]]:
        found = self.client.query("SELECT * FROM otel_traces", query_formats={"DateTime64*": "int"})
        if found.row_count:
            self.client.command("TRUNCATE TABLE otel_traces")
        return [dict(row) for row in found.named_results()]

    def one(self, **changes: Any) -> dict[str, Any]:
        (row,), rejected = self.convert(request(Span(**{**GOOD, **changes})))
        assert rejected.count == 0
        assert rejected.message == ""
        return row

    def assert_rows(self, messages: Sequence[ExportTraceServiceRequest], now_ns: int = NOW) -> int:
        """How many they are, after they were compared with rows that were made in the plain way."""
        limits = TimeLimits.at(now_ns)
        SpanWriter(self.client, now_ns=lambda: now_ns).write(messages)
        rows = self.take()
        assert rows == [row for message in messages for row in span_rows(message, limits)]
        return len(rows)


@pytest.fixture(scope="module")
def table(chdb_path: Path) -> Iterator[Table]:
    databases = Databases(Dsn(path=chdb_path))
    name = databases.make()
    client = get_client(databases.dsn, name)
    columns = ", ".join(f"`{name}` {kind}" for name, kind in (SPAN_COLUMNS | OWN_SPAN_COLUMNS).items())
    client.command(f"CREATE TABLE otel_traces ({columns}) ENGINE = Memory")
    yield Table(client)
    client.close()
    databases.drop(name)


def attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def test_span_becomes_a_row(table: Table) -> None:
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
    rows, _ = table.convert(message)
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
            "ParentIsRemote": False,
        }
    ]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [*enumerate(["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer", ""]), (-1, "")],
)
def test_span_kind(table: Table, kind: int, expected: str) -> None:
    assert table.one(kind=kind)["SpanKind"] == expected


@pytest.mark.parametrize(("code", "expected"), [(0, "Unset"), (1, "Ok"), (2, "Error"), (3, ""), (-1, "")])
def test_status_code(table: Table, code: int, expected: str) -> None:
    assert table.one(status={"code": code})["StatusCode"] == expected


@pytest.mark.parametrize("parent", [b"", bytes(8)])
def test_root_has_no_parent(table: Table, parent: bytes) -> None:
    assert table.one(parent_span_id=parent)["ParentSpanId"] == ""


@pytest.mark.parametrize(
    ("flags", "remote"), [(0, False), (0x01, False), (0x100, False), (0x200, False), (0x301, True)]
)
def test_parent_is_remote_when_the_sender_says_so(table: Table, flags: int, remote: bool) -> None:
    assert table.one(flags=flags)["ParentIsRemote"] is remote


@pytest.mark.parametrize(
    ("end", "duration"),
    [
        (GOOD["start_time_unix_nano"] + 1, 1),
        (GOOD["start_time_unix_nano"] - 1, 0),
        (0, 0),
        (2**64 - 1, DAY_NS + 5_000_000_000),
    ],
)
def test_duration_is_never_negative_and_never_reaches_far_into_the_future(
    table: Table, end: int, duration: int
) -> None:
    assert table.one(end_time_unix_nano=end)["Duration"] == duration


def test_wild_event_time_fits_the_column(table: Table) -> None:
    assert table.one(events=[Span.Event(time_unix_nano=2**64 - 1)])["Events.Timestamp"] == [2**63 - 1]


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
def test_bad_span_is_rejected_and_its_neighbours_are_kept(
    table: Table, changes: dict[str, Any], reason: str
) -> None:
    good = Span(**GOOD)
    rows, rejected = table.convert(request(good, Span(**{**GOOD, **changes}), good))
    assert len(rows) == 2
    assert rejected.count == 1
    assert reason in rejected.message


@pytest.mark.parametrize("start", [YEAR_2000_NS, NOW + DAY_NS])
def test_limits_of_the_start_time_are_good(table: Table, start: int) -> None:
    assert table.one(start_time_unix_nano=start)["Timestamp"] == start


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
    message = request(Span(**{**GOOD, "start_time_unix_nano": NOW - age_ns}))
    rows = SpanRows(message.SerializeToString(), TimeLimits.at(NOW, max_age_ns=max_age_ns))
    assert (len(rows), rows.rejected.count, rows.count) == ((0, 1, 1) if reason else (1, 0, 1))
    assert rows.rejected.message.endswith(reason)


def test_rejections_are_counted_by_reason(table: Table) -> None:
    _, rejected = table.convert(request(Span(), Span(), Span(**{**GOOD, "start_time_unix_nano": 1})))
    assert sorted(rejected.reasons.values()) == [1, 2]
    assert rejected.count == 3
    assert "all zero (2)" in rejected.message
    assert "before the year 2000 (1)" in rejected.message


def test_spans_of_one_resource_have_its_attributes(table: Table) -> None:
    message = request(Span(**GOOD), Span(), Span(**GOOD))
    message.resource_spans[0].resource.attributes.append(attribute("host.name", "a"))
    rows, _ = table.convert(message)
    assert [row["ResourceAttributes"] for row in rows] == [{"host.name": "a"}] * 2
    assert rows[0]["ServiceName"] == ""


texts = st.text(max_size=5) | st.sampled_from(
    ["", "service.name", "k", "k\x00", "\u2028\U0001f9ea", "long" * 50]
)
values = st.recursive(
    st.one_of(
        st.just(AnyValue()),
        st.builds(AnyValue, string_value=texts | st.text(min_size=120, max_size=132)),
        st.builds(AnyValue, bool_value=st.booleans()),
        st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
        st.builds(AnyValue, double_value=st.floats()),
        st.builds(AnyValue, bytes_value=st.binary(max_size=5)),
        st.builds(AnyValue, string_value_strindex=st.integers(0, 9)),
    ),
    lambda inner: (
        st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(inner, max_size=3)))
        | st.builds(
            AnyValue,
            kvlist_value=st.builds(
                KeyValueList, values=st.lists(st.builds(KeyValue, key=texts, value=inner), max_size=3)
            ),
        )
    ),
    max_leaves=5,
)
attributes = st.lists(st.builds(KeyValue, key=texts, value=values) | st.builds(KeyValue), max_size=4)
spans = st.builds(
    Span,
    trace_id=st.just(GOOD["trace_id"]) | st.binary(max_size=20),
    span_id=st.just(GOOD["span_id"]) | st.binary(max_size=10),
    parent_span_id=st.sampled_from([b"", bytes(8), b"\x10" * 8]) | st.binary(max_size=9),
    trace_state=texts,
    flags=st.integers(0, 0x3FF),
    name=texts,
    start_time_unix_nano=st.just(NOW) | st.integers(0, 2**64 - 1),
    end_time_unix_nano=st.integers(0, 2**64 - 1),
    attributes=attributes,
    kind=st.integers(0, 6) | st.integers(-(2**31), 2**31 - 1),
    status=st.builds(Status, code=st.integers(0, 3) | st.integers(-(2**31), 2**31 - 1), message=texts),
    events=st.lists(
        st.builds(Span.Event, time_unix_nano=st.integers(0, 2**64 - 1), name=texts, attributes=attributes),
        max_size=2,
    ),
    links=st.lists(
        st.builds(
            Span.Link,
            trace_id=st.binary(max_size=20),
            span_id=st.binary(max_size=9),
            trace_state=texts,
            attributes=attributes,
        ),
        max_size=2,
    ),
)
scopes = st.builds(
    ScopeSpans,
    scope=st.builds(InstrumentationScope, name=texts, version=texts),
    spans=st.lists(spans, max_size=3),
)
requests_ = st.builds(
    ExportTraceServiceRequest,
    resource_spans=st.lists(
        st.builds(
            ResourceSpans,
            resource=st.builds(Resource, attributes=attributes),
            scope_spans=st.lists(scopes, max_size=2),
        ),
        max_size=2,
    ),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(requests_, max_size=10))
def test_rows_are_those_of_the_plain_way(table: Table, messages: list[ExportTraceServiceRequest]) -> None:
    table.assert_rows(messages)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_captured_requests(table: Table, name: str) -> None:
    assert table.assert_rows(requests(name)[0], time.time_ns()) > 0


@pytest.mark.parametrize("count", [1, 256, 257, 65_536, 65_537])
def test_any_number_of_different_keys(table: Table, count: int) -> None:
    keys = [attribute(str(number), "v") for number in range(count)]
    table.assert_rows([request(Span(**GOOD, attributes=keys), Span(**GOOD, attributes=keys[:3]))])


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 128, 129, 16_379, 16_380, 16_383, 16_384, 2_100_000])
@pytest.mark.parametrize("key", ["", "k", "k" * 127, "k" * 128])
def test_attribute_of_any_length(table: Table, key: str, length: int) -> None:
    value = ("é" * length).encode()[:length].decode(errors="replace") if length < 200 else "x" * length
    table.assert_rows([request(Span(**GOOD, attributes=[attribute(key, value)]))])


KEY, TEXT = b"\x0a\x01k", b"\x12\x03\x0a\x01v"


@pytest.mark.parametrize(
    "wire",
    [
        KEY + TEXT,
        TEXT + KEY,
        KEY,
        TEXT,
        b"",
        KEY + KEY + TEXT,
        KEY + TEXT + TEXT,
        KEY + b"\x12\x83\x00\x0a\x01v",
        b"\x0a\x81\x00k" + TEXT,
        KEY + b"\x12\x04\x0a\x82\x00v",
        KEY + b"\x12\x06\x0a\x01v\x0a\x01w",
        KEY + b"\x12\x05\x0a\x01v\x18\x07",
        KEY + TEXT + b"\x18\x07",
        KEY + TEXT + b"\xfa\x01\x01x",
    ],
)
def test_attribute_in_any_wire_form(table: Table, wire: bytes) -> None:
    """Senders may order, repeat and pad fields as they like."""
    span = Span(**GOOD).SerializeToString() + b"\x4a" + bytes([len(wire)]) + wire
    scope_spans = b"\x12" + bytes([len(span)]) + span
    resource_spans = b"\x12" + bytes([len(scope_spans)]) + scope_spans
    message = b"\x0a" + bytes([len(resource_spans)]) + resource_spans
    try:
        expected = ExportTraceServiceRequest.FromString(message)
    except DecodeError:
        with pytest.raises(DecodeError):
            SpanRows(message, TimeLimits.at(NOW))
        return
    assert table.convert(message)[0] == list(span_rows(expected, TimeLimits.at(NOW)))


@settings(deadline=None, max_examples=50)
@given(st.lists(spans, max_size=10))
def test_every_span_becomes_a_row_within_bounds_or_is_counted(table: Table, batch: list[Span]) -> None:
    rows, rejected = table.convert(request(*batch))
    assert len(rows) + rejected.count == len(batch)
    for row in rows:
        assert len(row["TraceId"]) == 32
        assert YEAR_2000_NS <= row["Timestamp"] <= row["Timestamp"] + row["Duration"] <= NOW + DAY_NS
        assert all(0 <= time < 2**63 for time in row["Events.Timestamp"])
