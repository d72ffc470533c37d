"""A TraceService that records what it is sent, on a real gRPC server on loopback."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn, Self

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span


class OtlpRecorder(TraceServiceServicer):
    """`failures` are status codes answered, one a request, before any request is taken."""

    def __init__(self, failures: tuple[grpc.StatusCode, ...] = ()) -> None:
        self._failures = deque(failures)
        self._lock = threading.Lock()
        self.requests: list[ExportTraceServiceRequest] = []
        self.refused = 0

    def __enter__(self) -> Self:
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=4), options=[("grpc.max_receive_message_length", 64 << 20)]
        )
        add_TraceServiceServicer_to_server(self, self._server)
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._server.stop(grace=0).wait()

    def Export(
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        with self._lock:
            if self._failures:
                self.refused += 1
                self._fail(self._failures.popleft(), context)
            self.requests.append(request)
        return ExportTraceServiceResponse()

    def _fail(self, code: grpc.StatusCode, context: grpc.ServicerContext) -> NoReturn:
        if code is grpc.StatusCode.UNAVAILABLE:
            info = RetryInfo(retry_delay=Duration(nanos=10_000_000))
            context.set_trailing_metadata((("google.rpc.retryinfo-bin", info.SerializeToString()),))
        context.abort(code, "as the test asks")
        raise AssertionError("abort raises")

    @property
    def resource_spans(self) -> list[ResourceSpans]:
        return [resource for request in self.requests for resource in request.resource_spans]

    @property
    def spans(self) -> list[Span]:
        return [span for r in self.resource_spans for scope in r.scope_spans for span in scope.spans]

    def by_trace(self) -> dict[str, list[Span]]:
        traces: dict[str, list[Span]] = {}
        for span in self.spans:
            traces.setdefault(span.trace_id.hex(), []).append(span)
        return traces


def attributes(holder: Any) -> dict[str, Any]:
    """Attributes of a span, resource or event as plain values."""
    return {pair.key: _plain(pair.value) for pair in holder.attributes}


def _plain(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which == "array_value":
        return tuple(_plain(item) for item in value.array_value.values)
    return getattr(value, which)
