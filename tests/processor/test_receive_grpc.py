"""OTLP over gRPC into ClickHouse: real server, real clients, real engine."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_status import rpc_status
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otlp_receiver import DEADLINE, Sender, Store, accepts_connections, count, request, retry_delay, serving
from tracetaxa.errors import IngestError
from tracetaxa.receive import LOGS, TRACES, ExportService, GroupCommit, GrpcReceiver, Room
from tracetaxa_exporter.clickhouse import SpanWriter, WriteFailed, create_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from clickhouse_connect.driver.client import Client


@pytest.fixture
def reader(client: Client) -> Client:
    create_tables(client, 30)
    return client


@pytest.fixture
def store(reader: Client, connect: Callable[[], Client]) -> Store:
    return Store(SpanWriter(connect()))


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a protobuf message, as on the wire."""
    length, size = b"", len(payload)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + payload


# ------------------------------------------------------------------------------------------------- storing


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_sdk_spans_of_every_attribute_type_are_stored(
    store: Store, reader: Client, compression: grpc.Compression
) -> None:
    with serving(store) as (service, _):
        exporter = OTLPSpanExporter(endpoint=service.target, insecure=True, compression=compression)
        provider = TracerProvider(resource=Resource({"service.name": "shop"}))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("test", "1.2")
        with tracer.start_as_current_span("invoke_agent", kind=trace.SpanKind.SERVER) as root:
            root.set_attributes(
                {
                    "s": "text",
                    "i": 42,
                    "f": 0.25,
                    "b": True,
                    "ss": ["a", "b"],
                    "ii": [1, 2],
                    "ff": [1.0],
                    "bb": [False],
                }
            )
            root.add_event("said", {"n": 1})
            root.set_status(trace.StatusCode.ERROR, "broken")
            link = trace.Link(root.get_span_context(), {"why": "test"})
            with tracer.start_as_current_span("chat", links=[link]):
                pass
        provider.shutdown()
    row, child = reader.query(
        "SELECT SpanKind, ServiceName, ScopeName, ScopeVersion, SpanAttributes, StatusCode, StatusMessage, "
        "SpanId, ParentSpanId, `Events.Name`, `Events.Attributes`, `Links.SpanId`, `Links.Attributes` "
        "FROM otel_traces FINAL ORDER BY ParentSpanId"
    ).named_results()
    assert row["SpanAttributes"] == {
        "s": "text",
        "i": "42",
        "f": "0.25",
        "b": "true",
        "ss": '["a","b"]',
        "ii": "[1,2]",
        "ff": "[1]",
        "bb": "[false]",
    }
    assert (row["SpanKind"], row["StatusCode"], row["StatusMessage"]) == ("Server", "Error", "broken")
    assert (row["ServiceName"], row["ScopeName"], row["ScopeVersion"]) == ("shop", "test", "1.2")
    assert (row["Events.Name"], row["Events.Attributes"]) == (["said"], [{"n": "1"}])
    assert child["ParentSpanId"] == row["SpanId"]
    assert (child["Links.SpanId"], child["Links.Attributes"]) == ([row["SpanId"]], [{"why": "test"}])


def test_acknowledged_means_stored(store: Store, reader: Client) -> None:
    with serving(store) as (service, sender):
        for number in range(1, 6):
            assert sender.send(request(number)) == ExportTraceServiceResponse()
            assert count(reader) == number
        assert service.traces.counts.accepted == 5


def test_concurrent_senders_share_inserts(store: Store, reader: Client) -> None:
    with serving(store, commit={"linger_ms": 60_000, "max_batch_items": 64}) as (service, _):

        def send(number: int) -> None:
            sender = Sender(service.target)
            sender.send(request(2 * number + 1, 2 * number + 2))
            sender.channel.close()

        with ThreadPoolExecutor(32) as senders:
            list(senders.map(send, range(32)))
        assert count(reader) == 64
        assert store.writes == 1


def test_request_sent_twice_counts_once(store: Store, reader: Client) -> None:
    message = request(1, 2, 3)
    with serving(store) as (_, sender):
        sender.send(message)
        sender.send(message)
    assert count(reader, "otel_traces FINAL") == 3


def test_bad_spans_are_reported_and_their_neighbours_stored(store: Store, reader: Client) -> None:
    message = request(1, 2, 3)
    message.resource_spans[0].scope_spans[0].spans[1].trace_id = b"short"
    with serving(store) as (service, sender):
        partial = sender.send(message).partial_success
        assert partial.rejected_spans == 1
        assert "trace id" in partial.error_message
        assert count(reader) == 2
        assert (service.traces.counts.accepted, service.traces.counts.failed) == (2, 1)


def test_spans_older_than_the_retention_are_reported(connect: Callable[[], Client], reader: Client) -> None:
    writer = SpanWriter(connect(), max_age_seconds=30 * 86_400)
    message = request(1, 2)
    message.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano -= 31 * 86_400 * 10**9
    with serving(Store(writer)) as (_, sender):
        partial = sender.send(message).partial_success
    assert partial.rejected_spans == 1
    assert "older than the retention of 30 days" in partial.error_message
    assert count(reader) == 1


def test_last_error_lasts_until_a_request_is_stored_whole(store: Store) -> None:
    bad = request(1, 2)
    bad.resource_spans[0].scope_spans[0].spans[0].trace_id = b"short"
    with serving(store) as (service, sender):
        sender.send(bad)
        assert "trace id" in service.traces.last_error
        sender.send(request())  # without spans: says nothing about storing them
        assert "trace id" in service.traces.last_error
        sender.send(request(3))
        assert service.traces.last_error == ""
        sender.refused(b"\xff\xff")
        assert "not OTLP" in service.traces.last_error
        sender.send(request(4))
        assert service.traces.last_error == ""


def test_empty_request_is_fine_and_writes_nothing(store: Store) -> None:
    with serving(store) as (_, sender):
        assert sender.send(b"") == ExportTraceServiceResponse()
        assert sender.send(request()) == ExportTraceServiceResponse()
    assert store.writes == 0


# ------------------------------------------------------------------------------------------------- refusing


@pytest.mark.parametrize(
    "message",
    [
        b"\xff\xff\xff\xff",
        b'{"resourceSpans": []}',
        request(1).SerializeToString()[:-3],
        b"\x0a\x06" * 500,
    ],
    ids=["noise", "json", "cut off", "bad lengths"],
)
def test_malformed_request_must_not_be_sent_again(store: Store, reader: Client, message: bytes) -> None:
    with serving(store) as (service, sender):
        error = sender.refused(message)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "do not send it again" in error.details()
        assert service.traces.counts.malformed_requests == 1
    assert count(reader) == 0


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_too_large_request_is_exhausted_without_retry(
    store: Store, reader: Client, compression: grpc.Compression
) -> None:
    with serving(store, receiver={"max_recv_msg_size_mib": 1}) as (_, sender):
        error = sender.refused(request(1, name="a" * 2**21), compression=compression)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert rpc_status.from_call(error) is None
        sender.send(request(2, name="a" * 2**19), compression=compression)
    assert count(reader) == 1


def test_no_room_is_unavailable_with_a_delay_and_accepted_later(store: Store, reader: Client) -> None:
    limits = {"room": Room(0.0001), "retry_after_seconds": 1.5, "linger_ms": 0}
    with serving(store, commit=limits) as (service, sender):
        store.go_on.clear()
        first = sender.future(request(1, 2))
        assert store.begun.wait(DEADLINE)
        error = sender.refused(request(3))
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert retry_delay(error) == 1.5
        store.go_on.set()
        first.result()
        sender.send(request(3))
        assert count(reader) == 3
        counts = service.traces.counts
        assert (counts.accepted, counts.refused, counts.failed) == (3, 1, 0)


@pytest.mark.parametrize(
    "failure",
    [WriteFailed("connection refused", retryable=True), KeyError("a bug")],
    ids=["store away", "unforeseen"],
)
def test_failing_store_is_unavailable(failure: Exception) -> None:
    store = Store()
    with serving(store) as (service, sender):
        store.failure = failure
        error = sender.refused(request(1))
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert retry_delay(error) > 0
        assert str(failure) not in error.details()
        assert service.traces.last_error == str(failure)
        assert service.traces.counts.refused == 1
        store.failure = None
        sender.send(request(1))
        assert service.traces.counts.accepted == 1


def test_missing_table_is_unavailable(client: Client, connect: Callable[[], Client]) -> None:
    with serving(Store(SpanWriter(connect()))) as (_, sender):
        assert sender.refused(request(1)).code() == grpc.StatusCode.UNAVAILABLE
        create_tables(client, 30)
        sender.send(request(1))
    assert count(client) == 1


def test_poison_beside_good_requests_is_refused_alone(store: Store, reader: Client) -> None:
    reader.command("ALTER TABLE otel_traces ADD CONSTRAINT no_poison CHECK SpanName != 'poison'")
    with serving(store, commit={"linger_ms": 60_000, "max_batch_items": 8}) as (service, sender):
        answers = [sender.future(request(n, name="poison" if n == 5 else "chat")) for n in range(1, 9)]
        with pytest.raises(grpc.RpcError) as refusal:
            answers.pop(4).result()
        assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        for answer in answers:
            assert answer.result() == ExportTraceServiceResponse()
        assert (service.traces.counts.accepted, service.traces.counts.failed) == (7, 1)
        assert "no_poison" in service.traces.last_error
    assert count(reader, "otel_traces FINAL") == 7


def test_bug_in_the_service_is_unavailable() -> None:
    with serving(Store()) as (service, sender):

        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        service.traces.export = broken  # type: ignore[method-assign, assignment]
        error = sender.refused(request(1))
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert retry_delay(error) > 0


def test_deeply_nested_values_harm_nobody(store: Store, reader: Client) -> None:
    value = AnyValue(string_value="x")
    for _ in range(40):
        outer = AnyValue()
        outer.array_value.values.append(value)
        value = outer
    message = request(1)
    message.resource_spans[0].scope_spans[0].spans[0].attributes.append(KeyValue(key="deep", value=value))
    bomb = b""
    for _ in range(10_000):
        bomb = field(5, field(1, bomb))  # AnyValue.array_value, ArrayValue.values
    bomb = field(9, field(2, bomb))  # Span.attributes, KeyValue.value
    bomb += request(2).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    for number in (2, 2, 1):  # up to the request
        bomb = field(number, bomb)
    with serving(store) as (_, sender):
        sender.send(message)
        assert sender.refused(bomb).code() == grpc.StatusCode.INVALID_ARGUMENT
    assert count(reader) == 1


def test_metrics_are_unimplemented_and_told_so() -> None:
    with serving() as (_, sender), pytest.raises(grpc.RpcError) as refusal:
        MetricsServiceStub(sender.channel).Export(ExportMetricsServiceRequest(), timeout=DEADLINE)
    assert refusal.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "takes traces and logs, not metrics" in refusal.value.details()


# ------------------------------------------------------------------------------------------------- lifecycle


def test_shutdown_answers_what_is_under_way(store: Store, reader: Client) -> None:
    with serving(store, commit={"linger_ms": 0}) as (service, sender):
        store.go_on.clear()
        under_way = sender.future(request(1, 2))
        assert store.begun.wait(DEADLINE)
        stopping = asyncio.run_coroutine_threadsafe(service.receiver.shutdown(DEADLINE), service.loop)
        host, port = service.target.split(":")
        deadline = time.monotonic() + DEADLINE
        while accepts_connections(host, int(port)):
            assert time.monotonic() < deadline
        store.go_on.set()
        assert under_way.result() == ExportTraceServiceResponse()
        stopping.result(DEADLINE)
        assert count(reader) == 2
        assert sender.refused(request(3)).code() == grpc.StatusCode.UNAVAILABLE


def test_shutdown_tells_every_sender_to_come_again() -> None:
    """CANCELLED, which grpcio says to what it has not looked at, makes some collectors drop their data."""

    def send_until_refused(sender: Sender, number: int) -> grpc.StatusCode:
        while True:
            try:
                sender.send(request(number))
            except grpc.RpcError as refusal:
                return refusal.code()

    with (
        serving(Store(), commit={"linger_ms": 1}, receiver={"farewell_seconds": 1.0}) as (service, sender),
        ThreadPoolExecutor(16) as threads,
    ):
        refusals = [threads.submit(send_until_refused, sender, number) for number in range(16)]
        deadline = time.monotonic() + DEADLINE
        while service.traces.counts.accepted < 100:
            assert time.monotonic() < deadline
        service.run(service.receiver.shutdown(DEADLINE))
        assert {refusal.result(DEADLINE) for refusal in refusals} == {grpc.StatusCode.UNAVAILABLE}


def test_shutdown_acknowledges_nothing_that_is_not_stored() -> None:
    store = Store()
    with serving(store, commit={"linger_ms": 0}) as (service, sender):
        store.go_on.clear()
        under_way = sender.future(request(1))
        assert store.begun.wait(DEADLINE)
        service.run(service.receiver.shutdown(0))
        with pytest.raises(grpc.RpcError):
            under_way.result()


def test_shutdown_twice_or_without_start() -> None:
    async def scenario() -> None:
        traces = ExportService(TRACES, GroupCommit(Store().write))
        receiver = GrpcReceiver([traces], endpoint="127.0.0.1:0")
        await receiver.shutdown(0)
        receiver = GrpcReceiver([traces], endpoint="127.0.0.1:0")
        await receiver.start()
        await receiver.shutdown(0)
        await receiver.shutdown(0)

    asyncio.run(scenario())


def test_port_that_is_taken_is_a_clear_error() -> None:
    async def second(target: str) -> None:
        await GrpcReceiver([ExportService(TRACES, GroupCommit(Store().write))], endpoint=target).start()

    with serving(Store()) as (service, _), pytest.raises(IngestError, match=r"receiver\.grpc\.endpoint"):
        service.run(second(service.target))


def test_health_follows_the_receiver() -> None:
    with serving(Store()) as (service, sender):
        health = HealthStub(sender.channel)
        for name in ("", TRACES.service, LOGS.service):
            answer = health.Check(HealthCheckRequest(service=name), timeout=DEADLINE)
            assert answer.status == HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refusal:
            health.Check(HealthCheckRequest(service="nobody"), timeout=DEADLINE)
        assert refusal.value.code() == grpc.StatusCode.NOT_FOUND
        watch = health.Watch(HealthCheckRequest(), timeout=DEADLINE)
        assert next(watch).status == HealthCheckResponse.SERVING
        service.run(service.receiver.shutdown(DEADLINE))
        assert [answer.status for answer in watch] == [HealthCheckResponse.NOT_SERVING]
        assert watch.code() == grpc.StatusCode.OK
