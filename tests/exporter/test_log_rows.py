"""OTLP log records as rows, one rule at a time; what ClickHouse makes of the rows is in test_log_writer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from tracetaxa_exporter.clickhouse.logs import LOG_COLUMNS, append_log_rows
from tracetaxa_exporter.clickhouse.rows import DAY_NS, YEAR_2000_NS, Rejected, TimeLimits

NOW = 1_790_000_000 * 10**9
GOOD: dict[str, Any] = {
    "trace_id": bytes(range(16)),
    "span_id": bytes(range(8)),
    "time_unix_nano": NOW - 5,
    "event_name": "gen_ai.choice",
}


def request(*records: LogRecord) -> ExportLogsServiceRequest:
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])])


def convert(
    message: ExportLogsServiceRequest, max_age_ns: int | None = None
) -> tuple[list[dict[str, Any]], Rejected]:
    rows: list[tuple[Any, ...]] = []
    rejected = append_log_rows(rows, message, TimeLimits.at(NOW, max_age_ns=max_age_ns))
    return [dict(zip(LOG_COLUMNS, row, strict=True)) for row in rows], rejected


def one(**changes: Any) -> dict[str, Any]:
    (row,), rejected = convert(request(LogRecord(**{**GOOD, **changes})))
    assert (rejected.count, rejected.message) == (0, "")
    return row


def attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def test_record_becomes_a_row() -> None:
    record = LogRecord(
        **GOOD,
        observed_time_unix_nano=NOW,
        severity_number=9,
        severity_text="INFO",
        body=AnyValue(string_value="said"),
        attributes=[attribute("gen_ai.system", "openai")],
        flags=0x303,
    )
    message = request(record)
    logs = message.resource_logs[0]
    logs.schema_url = "https://opentelemetry.io/schemas/1.30.0"
    logs.resource.attributes.append(attribute("service.name", "shop"))
    logs.scope_logs[0].schema_url = "https://opentelemetry.io/schemas/1.37.0"
    logs.scope_logs[0].scope.name = "openai"
    logs.scope_logs[0].scope.version = "1.0"
    logs.scope_logs[0].scope.attributes.append(attribute("short_name", "o"))
    rows, _ = convert(message)
    assert rows == [
        {
            "Timestamp": NOW - 5,
            "TraceId": "000102030405060708090a0b0c0d0e0f",
            "SpanId": "0001020304050607",
            "TraceFlags": 3,
            "SeverityText": "INFO",
            "SeverityNumber": 9,
            "ServiceName": "shop",
            "Body": "said",
            "ResourceSchemaUrl": "https://opentelemetry.io/schemas/1.30.0",
            "ResourceAttributes": {"service.name": "shop"},
            "ScopeSchemaUrl": "https://opentelemetry.io/schemas/1.37.0",
            "ScopeName": "openai",
            "ScopeVersion": "1.0",
            "ScopeAttributes": {"short_name": "o"},
            "LogAttributes": {"gen_ai.system": "openai"},
            "EventName": "gen_ai.choice",
        }
    ]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (AnyValue(), ""),
        (AnyValue(string_value="plain {text}"), "plain {text}"),
        (AnyValue(int_value=0), "0"),
        (AnyValue(bool_value=False), "false"),
        (AnyValue(bytes_value=b"\x00\x01"), "AAE="),
        (AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="a"), AnyValue()])), '["a",null]'),
        (
            AnyValue(
                kvlist_value=KeyValueList(values=[attribute("role", "tool"), attribute("content", "é")])
            ),
            '{"content":"é","role":"tool"}',
        ),
    ],
)
def test_body_is_text_as_attributes_are(body: AnyValue, text: str) -> None:
    assert one(body=body)["Body"] == text
    row = one(attributes=[KeyValue(key="k", value=body)])
    assert row["LogAttributes"] == {"k": text}


@pytest.mark.parametrize(
    ("happened", "observed", "time"),
    [(NOW - 9, NOW - 1, NOW - 9), (0, NOW - 1, NOW - 1), (NOW - 9, 0, NOW - 9)],
)
def test_time_is_when_it_happened_or_else_when_it_was_observed(
    happened: int, observed: int, time: int
) -> None:
    assert one(time_unix_nano=happened, observed_time_unix_nano=observed)["Timestamp"] == time


@pytest.mark.parametrize(("trace_id", "span_id"), [(b"", b""), (bytes(16), bytes(8)), (bytes(16), b"")])
def test_records_need_no_trace(trace_id: bytes, span_id: bytes) -> None:
    row = one(trace_id=trace_id, span_id=span_id)
    assert (row["TraceId"], row["SpanId"]) == ("", "")


@pytest.mark.parametrize(
    ("severity", "stored"), [(0, 0), (24, 24), (255, 255), (256, 0), (-1, 0), (2**31 - 1, 0)]
)
def test_severity_fits_the_column(severity: int, stored: int) -> None:
    assert one(severity_number=severity)["SeverityNumber"] == stored


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trace_id": b"x" * 15}, "the trace id is not 16 bytes (1)"),
        ({"trace_id": b"x" * 32}, "the trace id is not 16 bytes (1)"),
        ({"span_id": b"x" * 16}, "the span id is not 8 bytes (1)"),
        ({"time_unix_nano": 0}, "there is no time (1)"),
        ({"time_unix_nano": YEAR_2000_NS - 1}, "the time is before the year 2000 (1)"),
        ({"time_unix_nano": 0, "observed_time_unix_nano": 1}, "the time is before the year 2000 (1)"),
        ({"time_unix_nano": NOW - 31 * DAY_NS}, "the time is older than the retention of 30 days (1)"),
        ({"time_unix_nano": NOW + DAY_NS + 1}, "the time is too far in the future (1)"),
        ({"time_unix_nano": 2**64 - 1}, "the time is too far in the future (1)"),
    ],
)
def test_bad_record_is_rejected_and_its_neighbours_are_kept(changes: dict[str, Any], reason: str) -> None:
    good = LogRecord(**GOOD)
    message = request(good, LogRecord(**{**GOOD, **changes}), good)
    rows, rejected = convert(message, max_age_ns=30 * DAY_NS)
    assert (len(rows), rejected.count) == (2, 1)
    assert rejected.message == f"rejected log records, which must not be sent again: {reason}"


records = st.builds(
    LogRecord,
    trace_id=st.binary(max_size=20) | st.just(GOOD["trace_id"]),
    span_id=st.binary(max_size=10) | st.just(GOOD["span_id"]),
    time_unix_nano=st.integers(0, 2**64 - 1) | st.sampled_from([0, NOW]),
    observed_time_unix_nano=st.integers(0, 2**64 - 1) | st.just(NOW),
    severity_number=st.integers(-(2**31), 2**31 - 1),
    flags=st.integers(0, 2**32 - 1),
    event_name=st.text(max_size=5),
)


@given(st.lists(records, max_size=5))
def test_every_record_becomes_a_row_within_bounds_or_is_counted(batch: list[LogRecord]) -> None:
    rows, rejected = convert(request(*batch))
    assert len(rows) + rejected.count == len(batch)
    for row in rows:
        assert (len(row["TraceId"]), len(row["SpanId"])) in {(0, 0), (0, 16), (32, 0), (32, 16)}
        assert YEAR_2000_NS <= row["Timestamp"] <= NOW + DAY_NS
        assert 0 <= row["SeverityNumber"] < 256
        assert 0 <= row["TraceFlags"] < 256
