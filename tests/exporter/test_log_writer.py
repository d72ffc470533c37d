"""Log records through LogWriter into the real table; what it shares with SpanWriter is in test_writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from captures import NAMES, requests
from otlp import START_NS, log, log_request
from tracetaxa_exporter.clickhouse import LogWriter, WriteFailed, create_tables
from tracetaxa_exporter.clickhouse.values import text, texts

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord


def count(client: Client, table: str = "otel_logs") -> int:
    return int(client.query(f"SELECT count() AS n FROM {table}").first_item["n"])


@pytest.fixture
def tables(client: Client) -> Client:
    create_tables(client, 3650)
    return client


def test_row_reads_back(tables: Client) -> None:
    hostile = "NUL \x00, quote ' \", line\u2028, emoji \U0001f9ea, tab\t"
    record = log(1, 2, name=hostile, body=hostile, attributes={hostile: hostile})
    assert [rejected.count for rejected in LogWriter(tables).write([log_request(record)])] == [0]
    row = tables.query(
        "SELECT toUnixTimestamp64Nano(Timestamp) AS time, TraceId, SpanId, ServiceName, Body, LogAttributes, "
        "EventName FROM otel_logs"
    ).first_item
    assert row == {
        "time": record.observed_time_unix_nano,
        "TraceId": f"{1:032x}",
        "SpanId": f"{2:016x}",
        "ServiceName": "shop",
        "Body": hostile,
        "LogAttributes": {hostile: hostile},
        "EventName": hostile,
    }


def test_one_insert_holds_all_requests_and_leaves_bad_records_out(tables: Client) -> None:
    requests = [log_request(log(1, 1)), log_request(log(1, 2), log(1, 3, time=0)), log_request()]
    assert [rejected.count for rejected in LogWriter(tables).write(requests)] == [0, 1, 0]
    parts = "SELECT count(), sum(rows) FROM system.parts WHERE database = currentDatabase() AND table = 'otel_logs'"
    assert tables.query(parts).result_rows == [(1, 2)]


def test_a_record_that_is_sent_twice_collapses(tables: Client) -> None:
    message = log_request(log(1, 1, attributes={"a": "1", "b": "2"}), log(1, 2))
    for _ in range(3):
        LogWriter(tables).write([message])
    assert count(tables, "otel_logs FINAL") == 2
    tables.command("OPTIMIZE TABLE otel_logs FINAL")
    assert count(tables) == 2


@pytest.mark.parametrize(
    "other",
    [
        log(1, 1, body="b"),
        log(1, 1, name="gen_ai.choice", body="a"),
        log(1, 1, body="a", attributes={"index": 1}),
        log(1, 1, body="a", time=START_NS),
        log(1, 0, body="a", time=START_NS + 10**6 + 1000),
        log(2, 1, body="a"),
    ],
    ids=["body", "name", "attributes", "time", "span", "trace"],
)
def test_records_that_differ_are_both_kept(tables: Client, other: LogRecord) -> None:
    """Clocks are coarse: one moment may have many records."""
    LogWriter(tables).write([log_request(log(1, 1, body="a"), other)])
    tables.command("OPTIMIZE TABLE otel_logs FINAL")
    assert count(tables) == 2


def test_equal_records_of_two_hosts_are_both_kept(tables: Client) -> None:
    one, two = log_request(log(1, 1)), log_request(log(1, 1))
    two.resource_logs[0].resource.attributes.add(key="host.name", value=AnyValue(string_value="b"))
    LogWriter(tables).write([one, two])
    assert count(tables, "otel_logs FINAL") == 2


def test_failures_name_log_records_and_say_whether_to_retry(client: Client) -> None:
    with pytest.raises(WriteFailed, match="UNKNOWN_TABLE") as failure:
        LogWriter(client).write([log_request(log(1, 1))])
    assert failure.value.retryable
    create_tables(client, 3650)
    client.command("ALTER TABLE otel_logs ADD CONSTRAINT no_poison CHECK Body != 'poison'")
    with pytest.raises(WriteFailed, match="no_poison") as failure:
        LogWriter(client).write([log_request(log(1, 1, body="poison"))])
    assert not failure.value.retryable


@pytest.mark.parametrize("name", [name for name in NAMES if requests(name)[1]])
def test_captured_requests_are_stored_whole(tables: Client, name: str) -> None:
    messages = requests(name)[1]
    sent: list[tuple[Any, ...]] = [
        (
            r.observed_time_unix_nano,
            r.event_name,
            r.trace_id.hex(),
            r.span_id.hex(),
            text(r.body),
            texts(r.attributes),
        )
        for message in messages
        for logs in message.resource_logs
        for scope_logs in logs.scope_logs
        for r in scope_logs.log_records
    ]
    assert [rejected.count for rejected in LogWriter(tables).write(messages)] == [0] * len(messages)
    stored = tables.query(
        "SELECT toUnixTimestamp64Nano(Timestamp), EventName, TraceId, SpanId, Body, LogAttributes "
        "FROM otel_logs FINAL ORDER BY Timestamp"
    ).result_rows
    assert [tuple(row) for row in stored] == sorted(sent, key=lambda record: record[0])
