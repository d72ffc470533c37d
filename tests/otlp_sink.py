"""A destination that keeps the bytes it is sent, over gRPC and HTTP, and answers as it is told."""

from __future__ import annotations

import gzip
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
TAKEN = 0
DEADLINE = 30.0


@dataclass(frozen=True)
class Answer:
    """What one request is told: a gRPC status by its number, an HTTP status, or success with a partial success."""

    code: int = TAKEN
    status: int = 200
    message: str = ""
    retry_after: float | None = None
    rejected: int = 0
    lost: bool = False
    """The request was taken all the same: its answer was lost."""

    @property
    def takes(self) -> bool:
        return self.code == TAKEN and self.status == 200

    def body(self) -> bytes:
        if not self.takes:
            return Status(code=self.code, message=self.message).SerializeToString()
        if not (self.rejected or self.message):
            return ExportTraceServiceResponse().SerializeToString()
        partial = ExportTracePartialSuccess(rejected_spans=self.rejected, error_message=self.message)
        return ExportTraceServiceResponse(partial_success=partial).SerializeToString()


@dataclass
class Recorded:
    """Requests that were taken, as bytes, in order; and what came with each request, taken or not."""

    answers: deque[Answer] = field(default_factory=deque)
    """For the next requests; those after them are taken."""
    taken: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    max_bytes: int | None = None
    """Larger requests are too large."""
    repeats: int = 0
    """Requests that were taken and whose answers were lost: they come again."""
    begun: threading.Event = field(default_factory=threading.Event)
    """Set when a request has come."""
    go_on: threading.Event = field(default_factory=threading.Event)
    """Until it is set, nobody gets an answer; it is set at first."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.go_on.set()

    def record(self, request: bytes, headers: dict[str, str]) -> Answer:
        self.begun.set()
        assert self.go_on.wait(DEADLINE)
        with self._lock:
            self.headers.append(headers)
            answer = self.answers.popleft() if self.answers else Answer()
            if self.max_bytes is not None and len(request) > self.max_bytes:
                answer = Answer(8, 413, "too large")
            if answer.takes or answer.lost:
                self.taken.append(request)
            if answer.lost:
                self.repeats += 1
            return answer

    @property
    def resource_spans(self) -> list[ResourceSpans]:
        requests = [ExportTraceServiceRequest.FromString(message) for message in list(self.taken)]
        return [resource for request in requests for resource in request.resource_spans]

    @property
    def spans(self) -> list[Span]:
        return [span for r in self.resource_spans for scope in r.scope_spans for span in scope.spans]

    def by_trace(self) -> dict[int, list[Span]]:
        """By the number that the trace id is."""
        traces: dict[int, list[Span]] = {}
        for span in self.spans:
            traces.setdefault(int.from_bytes(span.trace_id), []).append(span)
        return traces


class GrpcSink(Recorded):
    """`with GrpcSink() as sink:` listens on `sink.endpoint`, a URL."""

    def __init__(
        self, credentials: grpc.ServerCredentials | None = None, port: int = 0, **options: Any
    ) -> None:
        super().__init__(**options)
        self._credentials = credentials
        self._port = port

    def __enter__(self) -> Self:
        self._server = grpc.server(
            ThreadPoolExecutor(4),
            options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)],
        )
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),)
        )
        where = f"127.0.0.1:{self._port}"
        if self._credentials is not None:
            self._port, scheme = self._server.add_secure_port(where, self._credentials), "https"
        else:
            self._port, scheme = self._server.add_insecure_port(where), "http"
        self.port = self._port
        self.endpoint = f"{scheme}://127.0.0.1:{self._port}"
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.go_on.set()
        self._server.stop(grace=0).wait()

    def _export(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        answer = self.record(request, {key: str(value) for key, value in context.invocation_metadata()})
        if answer.takes:
            return answer.body()
        details = []
        if answer.retry_after is not None:
            delay = Duration()
            delay.FromNanoseconds(int(answer.retry_after * 10**9))
            details.append(AnyMessage())
            details[0].Pack(RetryInfo(retry_delay=delay))
        status = Status(code=answer.code, message=answer.message, details=details)
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort raises")


class HttpSink(Recorded):
    """The same over HTTP; `context` makes it HTTPS."""

    def __init__(self, context: ssl.SSLContext | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._context = context

    def __enter__(self) -> Self:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                headers = {key.lower(): value for key, value in self.headers.items()}
                answer = sink.record(body, {**headers, ":path": self.path})
                answered = answer.body()
                self.send_response(answer.status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answered)))
                if answer.retry_after is not None:
                    self.send_header("retry-after", f"{answer.retry_after:g}")
                self.end_headers()
                self.wfile.write(answered)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        scheme = "http"
        if self._context is not None:
            self._server.socket = self._context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.endpoint = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
