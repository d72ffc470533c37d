"""OTLP over gRPC (opentelemetry-proto, docs/specification.md, "OTLP/gRPC")."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_status import rpc_status

from tracetaxa.errors import IngestError, MalformedRequest, Overloaded
from tracetaxa.receive.signals import METRICS_SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tracetaxa.receive.export import ExportService

HEALTH_SERVICE = "grpc.health.v1.Health"

logger = logging.getLogger(__name__)


class GrpcReceiver:
    """Serves one service a signal and grpc.health.v1 on `endpoint` and nowhere else; gzip is understood.

    Statuses are those that senders act on: INVALID_ARGUMENT and RESOURCE_EXHAUSTED (a request above
    `max_recv_msg_size_mib`, before or after decompression) mean drop, UNAVAILABLE with RetryInfo means keep
    and send again. Metrics are UNIMPLEMENTED. Nothing else is answered on purpose.

    max_connection_age_seconds: connections are renewed so that senders find new replicas.
    retry_after_seconds: what a sender is told after an error that nobody foresaw.
    """

    def __init__(
        self,
        services: Sequence[ExportService[Any, Any]],
        *,
        endpoint: str = "127.0.0.1:4317",
        max_recv_msg_size_mib: int = 64,
        max_connection_age_seconds: float = 300,
        retry_after_seconds: float = 2.0,
    ) -> None:
        self._services = services
        self._endpoint = endpoint
        self._options = (
            # Without this a second process would share the port, and half of the spans would go there.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", max_recv_msg_size_mib * 2**20),
            ("grpc.max_connection_age_ms", int(max_connection_age_seconds * 1000)),
            # SDKs and collectors that ping every ten seconds, also when idle, are no attackers.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        )
        self._retry_after_seconds = retry_after_seconds
        self._stopping = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Listen; returns "host:port" as bound (port 0 in the endpoint means any free port).

        Raises IngestError when the endpoint can't be bound.
        """
        server = grpc.aio.server(options=self._options)
        exports = [_export_methods(service, self._retry_after_seconds) for service in self._services]
        server.add_generic_rpc_handlers((*exports, _metrics_methods(), self._health_methods()))
        try:
            port = server.add_insecure_port(self._endpoint)
        except RuntimeError as error:
            raise IngestError(
                f"can't listen on {self._endpoint} for OTLP over gRPC (receiver.grpc.endpoint): "
                "another process uses this port, or the address is not one of this machine"
            ) from error
        await server.start()
        self._server = server
        return f"{self._endpoint.rpartition(':')[0]}:{port}"

    async def shutdown(self, grace_seconds: float = 10.0) -> None:
        """Take no new request and answer those under way; after `grace_seconds` the rest is cancelled.

        When it returns, no request is acknowledged any more, and what was acknowledged is stored. Safe twice,
        or without start.
        """
        self._stopping.set()
        if self._server is not None:
            await self._server.stop(grace_seconds)

    def _health_methods(self) -> grpc.GenericRpcHandler:
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(
                self._check,
                request_deserializer=HealthCheckRequest.FromString,
                response_serializer=HealthCheckResponse.SerializeToString,
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self._watch,
                request_deserializer=HealthCheckRequest.FromString,
                response_serializer=HealthCheckResponse.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler(HEALTH_SERVICE, methods)

    def _health(self, service: str) -> HealthCheckResponse:
        if service not in ("", *(served.signal.service for served in self._services)):
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        serving = not self._stopping.is_set()
        return HealthCheckResponse(
            status=HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        )

    async def _check(self, request: HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        health = self._health(request.service)
        if health.status == HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} here")
        return health

    async def _watch(
        self, request: HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[HealthCheckResponse]:
        # Ends on shutdown; grpcio's own servicer would keep the server waiting for the whole grace period.
        yield self._health(request.service)
        await self._stopping.wait()
        yield self._health(request.service)


def _export_methods(service: ExportService[Any, Any], retry_after_seconds: float) -> grpc.GenericRpcHandler:
    async def export(message: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await service.export(message)
        except MalformedRequest as error:
            status = Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=str(error))
        except Overloaded as error:
            status = _unavailable(str(error), error.retry_after_seconds)
        except Exception:
            # An exception that leaves here would answer UNKNOWN, and senders drop what they get that for.
            logger.exception("an Export request failed for a reason that nobody foresaw")
            again = f"tracetaxa failed: send the {service.signal.items} again later"
            status = _unavailable(again, retry_after_seconds)
        return await context.abort_with_status(rpc_status.to_status(status))

    # Without a deserializer the bytes arrive as they are: grpcio answers INTERNAL when its own one fails.
    handler = grpc.unary_unary_rpc_method_handler(
        export, response_serializer=service.signal.response.SerializeToString
    )
    return grpc.method_handlers_generic_handler(service.signal.service, {"Export": handler})


def _metrics_methods() -> grpc.GenericRpcHandler:
    async def refuse(message: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            "tracetaxa takes traces and logs, not metrics: send metrics to another receiver",
        )

    handler = grpc.unary_unary_rpc_method_handler(refuse)
    return grpc.method_handlers_generic_handler(METRICS_SERVICE, {"Export": handler})


def _unavailable(message: str, retry_after_seconds: float) -> Status:
    retry_delay = Duration()
    retry_delay.FromNanoseconds(int(retry_after_seconds * 10**9))
    details = AnyMessage()
    details.Pack(RetryInfo(retry_delay=retry_delay))
    return Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message=message, details=[details])
