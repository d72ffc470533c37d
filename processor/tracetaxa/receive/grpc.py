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
from tracetaxa.receive.room import Room
from tracetaxa.receive.signals import METRICS_SERVICE, NO_METRICS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tracetaxa.receive.auth import Credential
    from tracetaxa.receive.export import ExportService
    from tracetaxa.receive.tls import Tls

HEALTH_SERVICE = "grpc.health.v1.Health"

logger = logging.getLogger(__name__)


class GrpcReceiver:
    """Serves one service a signal and grpc.health.v1 on `endpoint` and nowhere else; gzip is understood.
    There is no reflection.

    Statuses are those that senders act on: INVALID_ARGUMENT and RESOURCE_EXHAUSTED (a request above
    `max_recv_msg_size_mib`, before or after decompression) mean drop, UNAVAILABLE with RetryInfo means keep
    and send again. Metrics are UNIMPLEMENTED. With a `credential`, requests without it are UNAUTHENTICATED
    before anything of them is read; health answers everyone. Nothing else is answered on purpose.

    room: counts requests that are under way; one of its own when not given.
    max_concurrent_streams: requests that one connection may have under way; its others wait at the sender.
    max_connection_age_seconds: connections are renewed so that senders find new replicas.
    read_seconds: a request must have come this long after it began, or it is cut off.
    handshake_seconds: how long TLS and HTTP/2 may take to get ready.
    ping_seconds: a connection that is silent for this long is asked whether it still lives.
    retry_after_seconds: what a sender is told when there is no place or after an error that nobody foresaw.
    farewell_seconds: on shutdown, for how long new requests are still told to come again later: those that
        wait to be looked at when grpcio stops are CANCELLED, and some senders drop what they get that for.
    """

    def __init__(
        self,
        services: Sequence[ExportService[Any, Any]],
        *,
        endpoint: str = "127.0.0.1:4317",
        tls: Tls | None = None,
        credential: Credential | None = None,
        room: Room | None = None,
        max_recv_msg_size_mib: int = 64,
        max_concurrent_streams: int = 100,
        max_connection_age_seconds: float = 300,
        read_seconds: float = 30,
        handshake_seconds: float = 10,
        ping_seconds: float = 60,
        retry_after_seconds: float = 2.0,
        farewell_seconds: float = 0.2,
    ) -> None:
        self._services = services
        self._endpoint = endpoint
        self._tls = tls
        self._credential = credential
        self._room = room or Room()
        self._read_seconds = read_seconds
        self._options = (
            # Without this a second process would share the port, and half of the spans would go there.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", max_recv_msg_size_mib * 2**20),
            ("grpc.max_concurrent_streams", max_concurrent_streams),
            ("grpc.max_connection_age_ms", int(max_connection_age_seconds * 1000)),
            # Requests under way when a connection is renewed have this long.
            ("grpc.max_connection_age_grace_ms", int(max_connection_age_seconds * 1000)),
            ("grpc.server_handshake_timeout_ms", int(handshake_seconds * 1000)),
            ("grpc.keepalive_time_ms", int(ping_seconds * 1000)),
            # SDKs and collectors that ping every ten seconds, also when idle, are no attackers.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        )
        self._retry_after_seconds = retry_after_seconds
        self._farewell_seconds = farewell_seconds
        self._stopping = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Listen; returns "host:port" as bound (port 0 in the endpoint means any free port).

        Raises IngestError when the endpoint can't be bound, ConfigError for certificates that can't be used.
        """
        interceptors = [_Authentication(self._credential)] if self._credential is not None else []
        server = grpc.aio.server(options=self._options, interceptors=interceptors)
        exports = [self._export_methods(service) for service in self._services]
        server.add_generic_rpc_handlers((*exports, _metrics_methods(), self._health_methods()))
        credentials = self._tls.grpc_credentials() if self._tls is not None else None
        try:
            if credentials is not None:
                port = server.add_secure_port(self._endpoint, credentials)
            else:
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
        first = not self._stopping.is_set()
        self._stopping.set()
        if self._server is None:
            return
        if first:
            farewell = min(self._farewell_seconds, grace_seconds)
            await asyncio.sleep(farewell)
            grace_seconds -= farewell
        await self._server.stop(grace_seconds)

    def _export_methods(self, service: ExportService[Any, Any]) -> grpc.GenericRpcHandler:
        async def export(messages: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                if self._stopping.is_set():
                    raise Overloaded("tracetaxa is shutting down", self._retry_after_seconds)
                with self._room.place(self._retry_after_seconds) as place:
                    return await service.export(await self._read(context), place=place)
            except MalformedRequest as error:
                status = Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=str(error))
            except Overloaded as error:
                status = _unavailable(str(error), error.retry_after_seconds)
            except Exception:
                # An exception that leaves here would answer UNKNOWN, and senders drop what they get that for.
                logger.exception("an Export request failed for a reason that nobody foresaw")
                again = f"tracetaxa failed: send the {service.signal.items} again later"
                status = _unavailable(again, self._retry_after_seconds)
            try:
                return await context.abort_with_status(rpc_status.to_status(status))
            except grpc.aio.InternalError:  # nobody is there any more to be told
                raise asyncio.CancelledError from None

        # A stream of one message is the same on the wire, and lets us say when to read and for how long.
        # Without a deserializer the bytes arrive as they are: grpcio answers INTERNAL when its own one fails.
        handler = grpc.stream_unary_rpc_method_handler(
            export, response_serializer=service.signal.response.SerializeToString
        )
        return grpc.method_handlers_generic_handler(service.signal.service, {"Export": handler})

    async def _read(self, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        try:
            async with asyncio.timeout(self._read_seconds):
                message = await context.read()
        except TimeoutError:
            raise Overloaded(
                f"the request had not come after {self._read_seconds:g} seconds: send it again",
                self._retry_after_seconds,
            ) from None
        if message is grpc.aio.EOF:  # or it was too large, and grpcio has answered already
            raise MalformedRequest("there was no message in the request: do not send it again")
        return bytes(message)

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


class _Authentication(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls without the credential on their headers alone, before a message is read."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], call: grpc.HandlerCallDetails
    ) -> Any:
        if call.method.startswith(f"/{HEALTH_SERVICE}/") or self._credential.admits(call.invocation_metadata):
            return await continuation(call)
        return _refusal(
            grpc.StatusCode.UNAUTHENTICATED,
            f"the header {self._credential.header!r} does not have what tracetaxa expects (receiver.auth)",
        )


def _metrics_methods() -> grpc.GenericRpcHandler:
    refusal = _refusal(grpc.StatusCode.UNIMPLEMENTED, NO_METRICS)
    return grpc.method_handlers_generic_handler(METRICS_SERVICE, {"Export": refusal})


def _refusal(code: grpc.StatusCode, reason: str) -> grpc.RpcMethodHandler:
    async def refuse(messages: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(code, reason)

    # As a stream it is called before a message has come; on the wire there is no difference.
    return grpc.stream_stream_rpc_method_handler(refuse)


def _unavailable(message: str, retry_after_seconds: float) -> Status:
    retry_delay = Duration()
    retry_delay.FromNanoseconds(int(retry_after_seconds * 10**9))
    details = AnyMessage()
    details.Pack(RetryInfo(retry_delay=retry_delay))
    return Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message=message, details=[details])
