"""The signals of OTLP that are taken, and what differs between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

METRICS_SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
METRICS_PATH = "/v1/metrics"
NO_METRICS = "tracetaxa takes traces and logs, not metrics: send metrics to another receiver"


class Message(Protocol):
    """A protobuf message."""

    DESCRIPTOR: Any

    @classmethod
    def FromString(cls, message: bytes) -> Any: ...  # noqa: N802

    def SerializeToString(self) -> bytes: ...  # noqa: N802


Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Signal(Generic[Request, Response]):
    items: str
    """What a request holds, for messages to people."""
    service: str
    """Full name of the gRPC service."""
    path: str
    """Where OTLP/HTTP takes it."""
    request: type[Request]
    response: type[Response]
    count: Callable[[Request], int]
    """How many items a request holds."""
    partial: Callable[[int, str], Response]
    """The answer when so many items were rejected, with the reason."""


def _count_spans(request: ExportTraceServiceRequest) -> int:
    return sum(
        len(scope_spans.spans)
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
    )


def _some_spans(rejected: int, message: str) -> ExportTraceServiceResponse:
    return ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    )


def _count_logs(request: ExportLogsServiceRequest) -> int:
    return sum(
        len(scope_logs.log_records)
        for resource_logs in request.resource_logs
        for scope_logs in resource_logs.scope_logs
    )


def _some_logs(rejected: int, message: str) -> ExportLogsServiceResponse:
    return ExportLogsServiceResponse(
        partial_success=ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
    )


TRACES = Signal(
    "spans",
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "/v1/traces",
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
    _count_spans,
    _some_spans,
)
LOGS = Signal(
    "log records",
    "opentelemetry.proto.collector.logs.v1.LogsService",
    "/v1/logs",
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
    _count_logs,
    _some_logs,
)
