"""Metrics and logs services that record what they are sent, on a real gRPC server on loopback."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord


class SignalsRecorder:
    """`metrics` has the sorted values of each, `events` the log records, `keys` the `x-api-key` headers."""

    def __init__(self) -> None:
        self.metrics: dict[str, list[float]] = {}
        self.events: list[LogRecord] = []
        self.keys: set[str] = set()

    def __enter__(self) -> Self:
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2))
        add_MetricsServiceServicer_to_server(_Metrics(self), self._server)
        add_LogsServiceServicer_to_server(_Logs(self), self._server)
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._server.stop(grace=0).wait()

    def note(self, context: grpc.ServicerContext) -> None:
        self.keys |= {str(value) for key, value in context.invocation_metadata() if key == "x-api-key"}


class _Metrics(MetricsServiceServicer):
    def __init__(self, recorder: SignalsRecorder) -> None:
        self._recorder = recorder

    def Export(self, request: Any, context: grpc.ServicerContext) -> ExportMetricsServiceResponse:
        self._recorder.note(context)
        for resource in request.resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                points = getattr(metric, metric.WhichOneof("data")).data_points
                values = [getattr(point, point.WhichOneof("value")) for point in points]
                self._recorder.metrics[metric.name] = sorted(values)
        return ExportMetricsServiceResponse()


class _Logs(LogsServiceServicer):
    def __init__(self, recorder: SignalsRecorder) -> None:
        self._recorder = recorder

    def Export(self, request: Any, context: grpc.ServicerContext) -> ExportLogsServiceResponse:
        self._recorder.note(context)
        for resource in request.resource_logs:
            self._recorder.events += [record for scope in resource.scope_logs for record in scope.log_records]
        return ExportLogsServiceResponse()
