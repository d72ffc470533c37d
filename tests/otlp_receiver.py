"""A receiver to send to: real server on loopback, real or scripted stores behind it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tracetaxa.receive import LOGS, TRACES, ExportService, GroupCommit, GrpcReceiver, HttpReceiver, Room
from tracetaxa.web import ConnectionLimits, WebServer
from tracetaxa_exporter.clickhouse import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clickhouse_connect.driver.client import Client

    from tracetaxa.receive import Signal

DEADLINE = 30.0


def request(*numbers: int, name: str = "chat") -> ExportTraceServiceRequest:
    """Spans that ended now, each a trace of its own."""
    now = time.time_ns()
    spans = [
        Span(
            trace_id=number.to_bytes(16),
            span_id=number.to_bytes(8),
            name=name,
            start_time_unix_nano=now - 10**9,
            end_time_unix_nano=now,
        )
        for number in numbers
    ]
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])


def count(reader: Client, table: str = "otel_traces") -> int:
    """Rows, of `table` or of what is written after its name."""
    return int(reader.query(f"SELECT count() AS n FROM {table}").first_item["n"])


class Writer(Protocol):
    def write(self, requests: Sequence[Any]) -> list[Rejected]: ...


class Store:
    """A writer's interface around a real one, if any: counts writes, fails or waits when told to."""

    def __init__(self, writer: Writer | None = None) -> None:
        self.writer = writer
        self.writes = 0
        self.failure: Exception | None = None
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def write(self, requests: Sequence[Any]) -> list[Rejected]:
        self.writes += 1
        self.begun.set()
        assert self.go_on.wait(DEADLINE)
        if self.failure:
            raise self.failure
        return self.writer.write(requests) if self.writer else [Rejected("things") for _ in requests]


class Sender:
    """A raw gRPC channel to the receiver, for requests of one signal."""

    def __init__(self, target: str, signal: Signal[Any, Any] = TRACES) -> None:
        self.signal = signal
        self.channel = grpc.insecure_channel(target, options=[("grpc.max_send_message_length", -1)])
        self._export = self.channel.unary_unary(f"/{signal.service}/Export")

    def send(self, message: Any, **options: Any) -> Any:
        return self.future(message, **options).result()

    def future(self, message: Any, **options: Any) -> Answer:
        if not isinstance(message, bytes):
            message = message.SerializeToString()
        return Answer(self._export.future(message, timeout=DEADLINE, **options), self.signal)

    def refused(self, message: Any, **options: Any) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as refusal:
            self.send(message, **options)
        return refusal.value


class Answer:
    def __init__(self, call: Any, signal: Signal[Any, Any]) -> None:
        self.call = call
        self.signal = signal

    def result(self) -> Any:
        return self.signal.response.FromString(self.call.result())


class Service:
    """Receivers of both signals over both transports, in a loop of its own thread."""

    def __init__(
        self,
        spans: Store,
        logs: Store,
        commit: dict[str, Any],
        receiver: dict[str, Any],
        http: dict[str, Any],
        limits: dict[str, Any],
    ) -> None:
        self.stores = (spans, logs)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.run(self._start(commit, receiver, http, limits))
        self.span_sender = Sender(self.target, TRACES)
        self.log_sender = Sender(self.target, LOGS)

    async def _start(
        self,
        commit: dict[str, Any],
        receiver: dict[str, Any],
        http: dict[str, Any],
        limits: dict[str, Any],
    ) -> None:
        self.room = commit.get("room") or Room()
        self.commits = [
            GroupCommit(store.write, items=signal.items, **{"linger_ms": 1, "room": self.room, **commit})
            for store, signal in zip(self.stores, (TRACES, LOGS), strict=True)
        ]
        self.traces = ExportService(TRACES, self.commits[0], getattr(self.stores[0].writer, "read", None))
        self.logs = ExportService(LOGS, self.commits[1])
        services = (self.traces, self.logs)
        shared = {"room": self.room, **receiver}
        self.receiver = GrpcReceiver(
            services, **{"endpoint": "127.0.0.1:0", "farewell_seconds": 0.0, **shared}
        )
        self.target = await self.receiver.start()
        context = http.pop("context", None)
        app = HttpReceiver(services, **{"room": self.room, **http})
        self.web = WebServer(
            app, "127.0.0.1:0", "http", DEADLINE, context=context, limits=ConnectionLimits(**limits)
        )
        self.http_target = await self.web.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE)

    def stop(self) -> None:
        for sender in (self.span_sender, self.log_sender):
            sender.channel.close()
        for store in self.stores:
            store.go_on.set()
        self.run(self.receiver.shutdown(DEADLINE))
        self.run(self.web.shutdown())
        for commit in self.commits:
            self.run(commit.drain(DEADLINE))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE)
        self.loop.close()


@contextmanager
def serving(
    spans: Store | None = None,
    *,
    logs: Store | None = None,
    commit: dict[str, Any] | None = None,
    receiver: dict[str, Any] | None = None,
    http: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
) -> Iterator[tuple[Service, Sender]]:
    """The service, and who sends spans to it."""
    parts = [dict(options or {}) for options in (commit, receiver, http, limits)]
    service = Service(spans or Store(), logs or Store(), *parts)
    try:
        yield service, service.span_sender
    finally:
        service.stop()


def accepts_connections(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def retry_delay(error: grpc.RpcError) -> float:
    status = rpc_status.from_call(error)
    assert status is not None
    retry = RetryInfo()
    assert status.details[0].Unpack(retry)
    return float(retry.retry_delay.ToNanoseconds() / 1e9)
