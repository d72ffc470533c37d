"""Where an import goes: the OTLP endpoint of a running service, or the tables themselves."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from tracetaxa.errors import MalformedRequest, StoreUnavailable
from tracetaxa_exporter.clickhouse import WriteFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from tracetaxa_exporter.clickhouse import LogWriter, SpanWriter

Request = ExportTraceServiceRequest | ExportLogsServiceRequest

_LATER = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes after which OTLP senders try again (opentelemetry-proto, docs/specification.md)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How many spans or log records were not taken, and why."""

    count: int = 0
    reason: str = ""


class Sink(Protocol):
    def send(self, request: Request) -> Refusal:
        """Stored when it returns, but for the refusal. Sending again what is stored changes nothing.

        Raises MalformedRequest when nothing of it can ever be stored, StoreUnavailable when it can't be now.
        """


class ServiceSink:
    """A running service's OTLP/gRPC endpoint, without TLS.

    metadata: headers of each request, such as a credential; request_seconds: one try;
    give_up_seconds: how long a service that can't take more is asked again.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        metadata: Sequence[tuple[str, str]] = (),
        request_seconds: float = 60.0,
        first_delay_seconds: float = 0.5,
        max_delay_seconds: float = 30.0,
        give_up_seconds: float = 300.0,
    ) -> None:
        self._endpoint = endpoint
        self._metadata = tuple(metadata)
        self._request_seconds = request_seconds
        self._first_delay_seconds = first_delay_seconds
        self._max_delay_seconds = max_delay_seconds
        self._give_up_seconds = give_up_seconds
        unlimited = [("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(endpoint, options=unlimited)
        self._export_traces: Callable[..., Any] = TraceServiceStub(self._channel).Export  # type: ignore[no-untyped-call]
        self._export_logs: Callable[..., Any] = LogsServiceStub(self._channel).Export  # type: ignore[no-untyped-call]

    def __enter__(self) -> ServiceSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._channel.close()

    def send(self, request: Request) -> Refusal:
        logs = isinstance(request, ExportLogsServiceRequest)
        export = self._export_logs if logs else self._export_traces
        delay = self._first_delay_seconds
        deadline = time.monotonic() + self._give_up_seconds
        while True:
            try:
                answer = export(request, timeout=self._request_seconds, metadata=self._metadata)
                partial = answer.partial_success
            except grpc.RpcError as error:
                told = _retry_delay(error)
                exhausted = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                if error.code() not in _LATER and not (exhausted and told):
                    raise MalformedRequest(f"the service refuses it: {error.details()}") from error
                wait = min(told or delay, self._max_delay_seconds)
                if time.monotonic() + wait > deadline:
                    raise StoreUnavailable(
                        f"the service at {self._endpoint} does not take spans: {error.details()}; "
                        "what was sent is stored, so import the same files again later"
                    ) from error
                time.sleep(wait)
                delay = min(2 * delay, self._max_delay_seconds)
            else:
                return Refusal(
                    partial.rejected_log_records if logs else partial.rejected_spans, partial.error_message
                )


class TableSink:
    """The tables, through the writers that the receiver uses as well."""

    def __init__(
        self, spans: SpanWriter, logs: LogWriter, *, attempts: int = 4, delay_seconds: float = 0.5
    ) -> None:
        self._spans = spans
        self._logs = logs
        self._attempts = attempts
        self._delay_seconds = delay_seconds

    def send(self, request: Request) -> Refusal:
        for attempt in range(self._attempts):
            try:
                if isinstance(request, ExportLogsServiceRequest):
                    rejected = self._logs.write([request])[0]
                else:
                    rejected = self._spans.write([request])[0]
            except WriteFailed as error:
                if not error.retryable:
                    raise MalformedRequest(str(error)) from error
                if attempt + 1 == self._attempts:
                    raise StoreUnavailable(str(error)) from error
                time.sleep(self._delay_seconds * 2**attempt)
            else:
                return Refusal(rejected.count, rejected.message)
        raise AssertionError("unreachable")


def post_feedback(
    endpoint: str, token: str | None, items: Sequence[Mapping[str, Any]], *, timeout_seconds: float = 60.0
) -> dict[int, str]:
    """Give feedback to a running service; returns why it refused which items.

    Raises StoreUnavailable when it does not answer, MalformedRequest when it refuses them all at once.
    """
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(endpoint, timeout=timeout_seconds)
    try:
        connection.request("POST", "/v1/feedback", json.dumps({"feedback": list(items)}), headers)
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StoreUnavailable(f"the service at {endpoint} does not answer: {error}") from error
    finally:
        connection.close()
    if "refused" not in answer:
        raise MalformedRequest(str(answer.get("error", answer))[:500])
    return {refused["index"]: refused["error"] for refused in answer["refused"]}


def _retry_delay(error: grpc.RpcError) -> float | None:
    """Seconds that the service asks to wait."""
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        if detail.Is(RetryInfo.DESCRIPTOR):
            info = RetryInfo()
            detail.Unpack(info)
            return float(info.retry_delay.ToNanoseconds() / 1e9)
    return None
