"""One attempt to hand a request over, by gRPC or HTTP."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import grpc
import httpx2
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tracetaxa_exporter.otlp.outcome import ExportFailed, Taken, failure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PATH: Final = "/v1/traces"
MAX_RESPONSE_BYTES: Final = 4 * 2**20
"""The specification's limit for what a server answers."""
_STATUS_DETAILS: Final = "grpc-status-details-bin"
_MAX_MESSAGE_CHARS: Final = 500
_GZIP_LEVEL: Final = 1
"""Telemetry repeats itself: higher levels take several times as long for a few per cent."""


class ExportClient(Protocol):
    """A destination. `close` may be called twice."""

    async def export(self, request: bytes) -> Taken:
        """Hand a serialized ExportTraceServiceRequest over, in one attempt.

        Raises ExportFailed when the same request may be taken later, ExportRefused when it must not be sent
        again.
        """

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM files. Raises OSError (ssl.SSLError among them) when they can't be used."""

    ca_file: Path | None = None
    """Authorities that the destination's certificate must be from; the system's when None."""
    cert_file: Path | None = None
    """Certificate to show, with `key_file`."""
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def channel_credentials(self) -> grpc.ChannelCredentials:
        self.context()  # grpcio takes whatever it is given, and fails at each call
        ca, key, cert = (
            path.read_bytes() if path else None for path in (self.ca_file, self.key_file, self.cert_file)
        )
        if ca is None:
            ca = (
                "".join(
                    ssl.DER_cert_to_PEM_cert(der)
                    for der in ssl.create_default_context().get_ca_certs(binary_form=True)
                ).encode()
                or None
            )
        return grpc.ssl_channel_credentials(ca, key, cert)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to and how. The endpoint is `http://host:port`, or `https://` for TLS; HTTP may have a path, to
    which /v1/traces is added.
    """

    endpoint: str
    protocol: str = "grpc"
    """`grpc` or `http`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: ClientTls = ClientTls()
    compress: bool = True
    timeout_seconds: float = 10.0
    """Of one attempt."""
    reconnect_seconds: float = 5.0
    """Longest pause before gRPC tries to connect again."""
    user_agent: str = "tracetaxa"

    def client(self) -> ExportClient:
        """Connects when it is first used. Raises OSError for TLS files that can't be used."""
        return GrpcClient(self) if self.protocol == "grpc" else HttpClient(self)


class GrpcClient:
    """OTLP/gRPC. It belongs to the event loop in which it is first used."""

    def __init__(self, to: Destination) -> None:
        self._to = to
        url = urlsplit(to.endpoint)
        self._target = url.netloc
        self._credentials = to.tls.channel_credentials() if url.scheme == "https" else None
        self._channel: grpc.aio.Channel | None = None
        self._metadata = tuple((name.lower(), value) for name, value in to.headers.items())

    async def export(self, request: bytes) -> Taken:
        if self._channel is None:
            self._channel = self._open()
        call = self._channel.unary_unary(EXPORT)
        compression = grpc.Compression.Gzip if self._to.compress else grpc.Compression.NoCompression
        try:
            answer = await call(
                request,
                timeout=self._to.timeout_seconds,
                metadata=self._metadata,
                compression=compression,
            )
        except grpc.aio.AioRpcError as error:
            name = error.code().name
            raise failure(name, f"{name}: {_short(error.details())}", _retry_delay(error)) from error
        return _taken(answer)

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()

    def _open(self) -> grpc.aio.Channel:
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
            ("grpc.primary_user_agent", self._to.user_agent),
            # A destination that comes back is found soon; by default gRPC waits up to two minutes.
            ("grpc.min_reconnect_backoff_ms", 200),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", round(self._to.reconnect_seconds * 1000)),
        ]
        if self._credentials is not None:
            return grpc.aio.secure_channel(self._target, self._credentials, options=options)
        return grpc.aio.insecure_channel(self._target, options=options)


class HttpClient:
    """OTLP/HTTP with protobuf bodies. It belongs to the event loop in which it is first used."""

    def __init__(self, to: Destination) -> None:
        self._to = to
        self._url = to.endpoint.rstrip("/") + PATH
        verify = to.tls.context() if to.endpoint.startswith("https:") else True
        self._client = httpx2.AsyncClient(
            verify=verify,
            timeout=to.timeout_seconds,
            headers={
                **to.headers,
                "content-type": "application/x-protobuf",
                "user-agent": to.user_agent,
                **({"content-encoding": "gzip"} if to.compress else {}),
            },
        )

    async def export(self, request: bytes) -> Taken:
        body = await asyncio.to_thread(gzip.compress, request, _GZIP_LEVEL) if self._to.compress else request
        try:
            async with (
                asyncio.timeout(self._to.timeout_seconds),
                self._client.stream("POST", self._url, content=body) as response,
            ):
                answer = await _body(response)
        except TimeoutError as error:
            raise ExportFailed(f"no answer within {self._to.timeout_seconds:g} seconds") from error
        except (httpx2.HTTPError, OSError) as error:  # TLS errors pass it as they are
            raise ExportFailed(_short(str(error)) or type(error).__name__) from error
        if response.status_code == 200:
            return _taken(answer)
        reason = f"HTTP {response.status_code}: {_short(_reason(answer) or response.reason_phrase)}"
        raise failure(response.status_code, reason, _retry_after(response.headers.get("retry-after")))

    async def close(self) -> None:
        await self._client.aclose()


async def _body(response: httpx2.Response) -> bytes:
    """As much of it as an answer may have; the rest is left."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            break
    return body


def _taken(answer: bytes) -> Taken:
    try:
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:  # it was taken all the same
        return Taken(message="its answer is not OTLP")
    return Taken(max(0, partial.rejected_spans), _short(partial.error_message))


def _reason(answer: bytes) -> str:
    try:
        return str(Status.FromString(answer).message)
    except DecodeError:
        return ""


def _retry_delay(error: grpc.aio.AioRpcError) -> float | None:
    """RetryInfo among the details of a status, in seconds."""
    for key, value in error.trailing_metadata() or ():
        if key != _STATUS_DETAILS:
            continue
        try:
            details = Status.FromString(value).details
            for detail in details:
                info: Any = RetryInfo()
                if detail.Unpack(info):
                    return max(0.0, float(info.retry_delay.ToNanoseconds()) / 1e9)
        except (DecodeError, ValueError):
            return None
    return None


def _retry_after(header: str | None) -> float | None:
    """Seconds, or a date (RFC 9110, section 10.2.3)."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _short(text: str | None) -> str:
    """What somebody else says, on one line of a log."""
    return " ".join((text or "").split())[:_MAX_MESSAGE_CHARS]
