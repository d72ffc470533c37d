"""OTLP logs over gRPC into ClickHouse; what logs share with spans is in test_receive_grpc."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otlp import log, log_request, request, span
from otlp_receiver import DEADLINE, Store, count, retry_delay, serving
from tracetaxa.receive import Room
from tracetaxa_exporter.clickhouse import LogWriter, SpanWriter, WriteFailed, create_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from clickhouse_connect.driver.client import Client
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


@pytest.fixture
def reader(client: Client) -> Client:
    create_tables(client, 3650)
    return client


@pytest.fixture
def store(reader: Client, connect: Callable[[], Client]) -> Store:
    return Store(LogWriter(connect()))


def events(*traces: int, body: str = "") -> ExportLogsServiceRequest:
    return log_request(*(log(trace, 1, body=body) for trace in traces))


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_sdk_events_are_stored_with_their_span(
    store: Store, reader: Client, compression: grpc.Compression
) -> None:
    messages = [{"role": "user", "parts": [{"type": "text", "content": "Where is my order?"}]}]
    with serving(logs=store) as (service, _):
        exporter = OTLPLogExporter(endpoint=service.target, insecure=True, compression=compression)
        provider = LoggerProvider(resource=Resource({"service.name": "shop"}))
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        logger = provider.get_logger("genai", "1.2")
        before_ns = time.time_ns()
        with TracerProvider().get_tracer("test").start_as_current_span("chat") as current:
            logger.emit(
                event_name="gen_ai.client.inference.operation.details",
                attributes={"gen_ai.input.messages": messages, "n": 1},
            )
        logger.emit(body={"role": "user"}, severity_number=SeverityNumber.WARN, severity_text="WARN")
        provider.shutdown()
        assert service.logs.counts.accepted == 2
    event, plain = reader.query(
        "SELECT *, toUnixTimestamp64Nano(Timestamp) AS time FROM otel_logs ORDER BY TraceId DESC"
    ).named_results()
    assert event["EventName"] == "gen_ai.client.inference.operation.details"
    assert event["LogAttributes"] == {
        "gen_ai.input.messages": '[{"parts":[{"content":"Where is my order?","type":"text"}],"role":"user"}]',
        "n": "1",
    }
    assert event["TraceId"] == f"{current.get_span_context().trace_id:032x}"
    assert event["SpanId"] == f"{current.get_span_context().span_id:016x}"
    assert before_ns <= event["time"] <= time.time_ns()
    assert (event["ServiceName"], event["ScopeName"], event["ScopeVersion"]) == ("shop", "genai", "1.2")
    assert (plain["TraceId"], plain["SpanId"], plain["Body"]) == ("", "", '{"role":"user"}')
    assert (plain["SeverityNumber"], plain["SeverityText"]) == (13, "WARN")


def test_acknowledged_means_stored(store: Store, reader: Client) -> None:
    with serving(logs=store) as (service, _):
        for number in range(1, 4):
            assert service.log_sender.send(events(number)) == ExportLogsServiceResponse()
            assert count(reader, "otel_logs") == number
        assert service.log_sender.send(events(3)) == ExportLogsServiceResponse()
    assert count(reader, "otel_logs FINAL") == 3


def test_concurrent_senders_share_an_insert(store: Store, reader: Client) -> None:
    with serving(logs=store, commit={"linger_ms": 60_000, "max_batch_items": 16}) as (service, _):
        answers = [service.log_sender.future(events(2 * n + 1, 2 * n + 2)) for n in range(8)]
        for answer in answers:
            assert answer.result() == ExportLogsServiceResponse()
    assert (count(reader, "otel_logs"), store.writes) == (16, 1)


def test_empty_request_is_fine_and_writes_nothing(store: Store) -> None:
    with serving(logs=store) as (service, _):
        assert service.log_sender.send(b"") == ExportLogsServiceResponse()
        assert service.log_sender.send(log_request()) == ExportLogsServiceResponse()
    assert store.writes == 0


def test_bad_records_are_reported_and_their_neighbours_stored(store: Store, reader: Client) -> None:
    message = events(1, 2, 3)
    message.resource_logs[0].scope_logs[0].log_records[1].trace_id = b"short"
    with serving(logs=store) as (service, _):
        partial = service.log_sender.send(message).partial_success
        assert partial.rejected_log_records == 1
        assert partial.error_message.startswith("rejected log records")
        assert (service.logs.counts.accepted, service.logs.counts.failed) == (2, 1)
        assert service.logs.last_error == partial.error_message
        assert service.traces.last_error == ""
    assert count(reader, "otel_logs") == 2


@pytest.mark.parametrize(
    "message",
    [b"\xff\xff\xff\xff", b'{"resourceLogs": []}', events(1).SerializeToString()[:-3]],
    ids=["noise", "json", "cut off"],
)
def test_malformed_request_must_not_be_sent_again(store: Store, message: bytes) -> None:
    with serving(logs=store) as (service, _):
        error = service.log_sender.refused(message)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "ExportLogsServiceRequest" in error.details()
        assert service.logs.counts.malformed_requests == 1
        assert service.traces.counts.malformed_requests == 0


def test_failing_store_is_unavailable_and_spans_go_on() -> None:
    logs = Store()
    with serving(logs=logs) as (service, spans):
        logs.failure = WriteFailed("connection refused", retryable=True)
        error = service.log_sender.refused(events(1))
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert retry_delay(error) > 0
        assert error.details().startswith("the log records can't be stored now")
        assert (service.logs.counts.refused, service.logs.last_error) == (1, "connection refused")
        spans.send(request(span(1, 1)))
        assert (service.traces.counts.accepted, service.traces.last_error) == (1, "")


def test_poison_beside_good_requests_is_refused_alone(store: Store, reader: Client) -> None:
    reader.command("ALTER TABLE otel_logs ADD CONSTRAINT no_poison CHECK Body != 'poison'")
    with serving(logs=store, commit={"linger_ms": 60_000, "max_batch_items": 4}) as (service, _):
        good = [service.log_sender.future(events(n)) for n in (1, 2, 3)]
        error = service.log_sender.refused(events(4, body="poison"))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "can't hold these log records" in error.details()
        for answer in good:
            assert answer.result() == ExportLogsServiceResponse()
    assert count(reader, "otel_logs FINAL") == 3


def test_spans_and_logs_share_the_room() -> None:
    spans = Store()
    with serving(spans, commit={"room": Room(0.0001), "linger_ms": 0}) as (service, sender):
        spans.go_on.clear()
        waiting = sender.future(request(span(1, 1), span(1, 2)))
        assert spans.begun.wait(DEADLINE)
        assert service.log_sender.refused(events(1)).code() == grpc.StatusCode.UNAVAILABLE
        assert service.logs.counts.refused == 1
        spans.go_on.set()
        waiting.result()
        service.log_sender.send(events(1))
        assert service.logs.counts.accepted == 1


def test_bug_in_the_service_is_unavailable() -> None:
    with serving() as (service, _):

        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        service.logs.export = broken  # type: ignore[method-assign, assignment]
        error = service.log_sender.refused(events(1))
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert error.details() == "tracetaxa failed: send the log records again later"


def test_a_slow_log_insert_does_not_hold_up_spans(connect: Callable[[], Client], reader: Client) -> None:
    logs = Store()
    with serving(Store(SpanWriter(connect())), logs=logs) as (service, sender):
        logs.go_on.clear()
        waiting = service.log_sender.future(events(1))
        assert logs.begun.wait(DEADLINE)
        sender.send(request(span(1, 1)))
        assert count(reader, "otel_traces") == 1
        logs.go_on.set()
        assert waiting.result() == ExportLogsServiceResponse()
