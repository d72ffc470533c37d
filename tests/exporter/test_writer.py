"""Spans through SpanWriter into the real table, and what it says when that fails."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files
from threading import Thread
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
from google.protobuf.descriptor import FieldDescriptor
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from captures import NAMES, requests
from tracetaxa_exporter import wire
from tracetaxa_exporter.clickhouse import (
    ServerTooOld,
    SpanWriter,
    SpanWriters,
    WriteFailed,
    create_tables,
    writer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clickhouse_connect.driver.client import Client

NOW = time.time_ns()
DAY = 86_400 * 10**9


def span(number: int, start_ns: int = NOW, **fields: Any) -> Span:
    return Span(
        trace_id=number.to_bytes(16),
        span_id=number.to_bytes(8),
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + 1,
        **fields,
    )


def request(*spans: Span) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])


def count(client: Client, table: str = "otel_traces") -> int:
    return int(client.query(f"SELECT count() AS n FROM {table}").first_item["n"])


@pytest.fixture
def tables(client: Client) -> Client:
    create_tables(client, 30)
    return client


def test_row_reads_back(tables: Client) -> None:
    hostile = "NUL \x00, quote ' \", line\u2028, emoji \U0001f9ea, tab\t"
    good = span(
        1,
        name=hostile,
        attributes=[KeyValue(key=hostile, value=AnyValue(string_value=hostile))],
        events=[Span.Event(time_unix_nano=NOW + 7, name="e")],
        links=[Span.Link(trace_id=b"\x01" * 16, span_id=b"\x02" * 8)],
    )
    assert [rejected.count for rejected in SpanWriter(tables).write([request(good)])] == [0]
    row = tables.query(
        "SELECT toUnixTimestamp64Nano(Timestamp) AS start, TraceId, SpanName, SpanAttributes, Duration, "
        "arrayMap(t -> toUnixTimestamp64Nano(t), `Events.Timestamp`) AS event_times, `Links.SpanId` "
        "FROM otel_traces"
    ).first_item
    assert row == {
        "start": NOW,
        "TraceId": f"{1:032x}",
        "SpanName": hostile,
        "SpanAttributes": {hostile: hostile},
        "Duration": 1,
        "event_times": [NOW + 7],
        "Links.SpanId": ["02" * 8],
    }


def test_one_insert_holds_all_requests_and_leaves_bad_spans_out(tables: Client) -> None:
    writer = SpanWriter(tables)
    rejected = writer.write(
        [request(span(1)), request(span(2), span(3, start_ns=0)), request(), request(span(4))]
    )
    assert [r.count for r in rejected] == [0, 1, 0, 0]
    assert count(tables) == 3
    parts = (
        "SELECT count() AS n FROM system.parts WHERE database = currentDatabase() AND table = 'otel_traces'"
    )
    assert tables.query(parts).first_item["n"] == 1


def test_nothing_good_is_no_insert(tables: Client) -> None:
    assert [r.count for r in SpanWriter(tables).write([request(Span()), request()])] == [1, 0]
    assert count(tables) == 0


def test_duplicates_collapse(tables: Client) -> None:
    writer = SpanWriter(tables)
    for _ in range(3):
        writer.write([request(span(1), span(2))])
    assert count(tables, "otel_traces FINAL") == 2


def test_duplicates_within_one_insert_collapse(tables: Client) -> None:
    tables.command("SYSTEM STOP MERGES otel_traces")
    SpanWriter(tables).write([request(span(1), span(2), span(1)), request(span(1)).SerializeToString()])
    assert count(tables, "otel_traces FINAL") == 2


def test_spans_of_many_days_fit_one_write(client: Client) -> None:
    create_tables(client, 365)
    SpanWriter(client).write([request(*(span(day + 1, NOW - day * DAY) for day in range(130)))])
    assert count(client) == 130


def test_unusual_spans_are_stored_with_their_neighbours_and_so_is_what_follows(tables: Client) -> None:
    writer = SpanWriter(tables)
    numbers = KeyValue(key="k", value=AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=7)])))
    writer.write([request(span(1)), request(span(2), span(3, attributes=[numbers]))])
    writer.write([request(span(4, attributes=[numbers, numbers]), span(5))])
    writer.write([request(span(6))])
    found = tables.query("SELECT SpanId, SpanAttributes FROM otel_traces").result_rows
    assert dict(found) == {f"{n:016x}": {"k": "[7]"} if n in (3, 4) else {} for n in range(1, 7)}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (b"\x10\x63", "true"),  # a bool of 99
        (b"\x0a\x01a\x18\x07", "7"),  # two members of the oneof: the last counts
        (b"\x18\x07\x0a\x01a", "a"),
        (b"\xf8\x07\x01", ""),  # a member of tomorrow
    ],
)
def test_spelling_that_only_protobuf_takes(tables: Client, value: bytes, stored: str) -> None:
    odd = span(2).SerializeToString() + wire.field(9, wire.field(1, b"k") + wire.field(2, value))
    message = request(span(1)).SerializeToString() + wire.field(1, wire.field(2, wire.field(2, odd)))
    SpanWriter(tables).write([message])
    found = tables.query("SELECT SpanId, SpanAttributes FROM otel_traces").result_rows
    assert dict(found) == {f"{1:016x}": {}, f"{2:016x}": {"k": stored}}


def test_value_that_is_nested_too_deep_is_refused_without_loss(tables: Client) -> None:
    deep = b""
    for _ in range(200):
        deep = wire.field(5, wire.field(1, deep))
    bad = span(2).SerializeToString() + wire.field(9, wire.field(1, b"k") + wire.field(2, deep))
    message = request(span(1)).SerializeToString()
    message += wire.field(1, wire.field(2, wire.field(2, bad)))
    writer = SpanWriter(tables)
    read = writer.read(message)
    for _ in range(2):
        with pytest.raises(WriteFailed) as failure:
            writer.write([read])
        assert not failure.value.retryable
    assert count(tables) == 0


def test_several_writers_write_at_the_same_time(connect: Callable[[], Client]) -> None:
    reader = connect()
    create_tables(reader, 30)
    writers = SpanWriters([SpanWriter(connect()) for _ in range(2)])
    batches = [
        [writers.read(request(span(10 * n + 1), span(10 * n + 2)).SerializeToString())] for n in range(8)
    ]
    with ThreadPoolExecutor(4) as threads:
        rejected = list(threads.map(writers.write, batches))
    assert [r.count for [r] in rejected] == [0] * 8
    assert count(reader) == 16


def test_server_that_is_too_old_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    SpanWriter(client).check()
    monkeypatch.setattr(writer, "_NEEDED_SETTINGS", ("a_setting_of_next_year",))
    with pytest.raises(ServerTooOld, match=r"25\.6 or newer"):
        SpanWriter(client).check()


def test_schema_has_the_numbers_of_otlp() -> None:
    """By the order of its fields, since its names are shorter."""
    messages = {"Span": Span, "Status": Status, "KeyValue": KeyValue, "AnyValue": AnyValue}
    schema = (files(writer.__package__) / "sql" / "spans.proto").read_text("utf-8")
    for name, message in messages.items():
        body = re.split(r"^message |^}", schema.split(f"message {name} {{")[1], flags=re.MULTILINE)[0]
        found = re.findall(r"(\w+) \w+ = (\d+);", body)
        kinds = {"string", "bytes", "bool", "int32", "int64", "double", "fixed64", "fixed32"}
        for kind, number in found:
            field = message.DESCRIPTOR.fields_by_number[int(number)]
            told = {v: k[5:].lower() for k, v in vars(FieldDescriptor).items() if k.startswith("TYPE_")}[
                field.type
            ]
            if kind in kinds and (kind, told) not in {("int32", "enum"), ("bytes", "message")}:
                assert kind == told, (name, number)
        assert found, name


def test_times_of_a_trace_are_looked_up(tables: Client) -> None:
    SpanWriter(tables).write([request(span(5), span(5, NOW + 3 * 10**9, name="later"))])
    found = tables.query(
        "SELECT TraceId, toUnixTimestamp(min(Start)) AS s, toUnixTimestamp(max(End)) AS e "
        "FROM otel_traces_trace_id_ts GROUP BY TraceId"
    ).result_rows
    assert found == [(f"{5:032x}", NOW // 10**9, (NOW + 3 * 10**9) // 10**9)]


def test_clock_decides_what_the_future_is(tables: Client) -> None:
    writer = SpanWriter(tables, max_future_seconds=10, now_ns=lambda: NOW - 60 * 10**9)
    (rejected,) = writer.write([request(span(1))])
    assert "too far in the future" in rejected.message


def test_spans_older_than_the_retention_are_rejected_and_not_lost_in_silence(tables: Client) -> None:
    old, good = span(1, NOW - 31 * DAY), span(2, NOW - 29 * DAY)
    (rejected,) = SpanWriter(tables, max_age_seconds=30 * 86_400).write([request(old, good)])
    assert rejected.reasons == {"the start time is older than the retention of 30 days": 1}
    assert "30 days (1)" in rejected.message
    assert tables.query("SELECT TraceId FROM otel_traces").result_rows == [(f"{2:032x}",)]


def test_without_a_limit_no_age_is_rejected(tables: Client) -> None:
    tables.command("ALTER TABLE otel_traces REMOVE TTL")
    requests = [request(span(1, NOW - 31 * DAY), span(2, NOW - 5000 * DAY))]
    assert [rejected.count for rejected in SpanWriter(tables).write(requests)] == [0]
    assert count(tables) == 2


def test_failures_that_somebody_can_repair_are_retryable(client: Client) -> None:
    with pytest.raises(WriteFailed, match="UNKNOWN_TABLE") as failure:
        SpanWriter(client).write([request(span(1))])
    assert failure.value.retryable


def test_closed_client_is_retryable(tables: Client) -> None:
    tables.close()
    with pytest.raises(WriteFailed) as failure:
        SpanWriter(tables).write([request(span(1))])
    assert failure.value.retryable


def test_data_that_the_table_can_not_hold_is_not_retryable(tables: Client) -> None:
    tables.command("ALTER TABLE otel_traces ADD CONSTRAINT no_poison CHECK SpanName != 'poison'")
    with pytest.raises(WriteFailed) as failure:
        SpanWriter(tables).write([request(span(1, name="poison"))])
    assert not failure.value.retryable
    SpanWriter(tables).write([request(span(2))])
    assert count(tables) == 1


class Gateway(BaseHTTPRequestHandler):
    """ClickHouse over HTTP, as far as a client needs it to connect; it answers no insert but 503."""

    engine: Client

    def do_POST(self) -> None:
        body = (
            self.rfile.read(int(self.headers["Content-Length"])) if "Content-Length" in self.headers else b""
        )
        if not body.startswith(b"SELECT"):
            self.send_error(503)
            return
        answer = self.engine.raw_query(body.decode(), fmt="Native" if b"FORMAT" not in body else None)
        self.send_response(200)
        self.send_header("X-ClickHouse-Format", "Native")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway(client: Client) -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (Gateway,), {"engine": client}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("away", [False, True], ids=["503", "no answer"])
def test_server_that_is_away_is_retryable(gateway: HTTPServer, away: bool) -> None:
    remote = clickhouse_connect.get_client(host="127.0.0.1", port=gateway.server_port)
    if away:
        gateway.shutdown()
        gateway.server_close()
        remote.close_connections()
    with pytest.raises(WriteFailed) as failure:
        SpanWriter(remote).write([request(span(1))])
    assert failure.value.retryable


@pytest.mark.parametrize("name", NAMES)
def test_captured_requests_are_stored_whole(tables: Client, name: str) -> None:
    messages = requests(name)[0]
    spans = [s for m in messages for rs in m.resource_spans for ss in rs.scope_spans for s in ss.spans]
    tables.command("ALTER TABLE otel_traces REMOVE TTL")
    assert [rejected.count for rejected in SpanWriter(tables).write(messages)] == [0] * len(messages)
    attributes = "SELECT SpanId, length(SpanAttributes) FROM otel_traces FINAL"
    assert dict(tables.query(attributes).result_rows) == {
        s.span_id.hex(): len({a.key for a in s.attributes}) for s in spans
    }
