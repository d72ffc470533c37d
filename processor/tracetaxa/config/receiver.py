"""How spans and logs come in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    model_validator,
)

from tracetaxa.config.section import Section
from tracetaxa.config.values import MOST, MOST_MIB, Endpoint, HeaderName, Positive


class TlsConfig(Section):
    cert_file: Path
    """Certificate of this server and its chain, in PEM; read at the start."""
    key_file: Path
    """Its key, in PEM and not encrypted."""
    client_ca_file: Path | None = None
    """Mutual TLS: only clients with a certificate from these authorities (PEM) get in."""


class HttpTlsConfig(TlsConfig):
    min_version: Annotated[Literal["1.2", "1.3"], BeforeValidator(str)] = "1.2"
    """Oldest TLS version that is spoken."""


class GrpcConfig(Section):
    endpoint: Endpoint = "127.0.0.1:4317"
    """Where OTLP over gRPC is accepted."""
    tls: TlsConfig | None = None
    """TLS (1.2 or newer) for this endpoint; unset is plain text."""
    max_recv_msg_size_mib: int = Field(default=64, ge=1, le=1024)
    """Largest request, before and after decompression."""
    max_concurrent_streams: int = Field(default=100, ge=1, le=MOST)
    """Requests that one connection may have under way; its others wait at the sender."""


class HttpConfig(Section):
    endpoint: Endpoint = "127.0.0.1:4318"
    """Where OTLP over HTTP is accepted: /v1/traces and /v1/logs, protobuf or JSON."""
    tls: HttpTlsConfig | None = None
    """TLS for this endpoint; unset is plain text."""
    max_body_mib: int = Field(default=64, ge=1, le=1024)
    """Largest request, before and after decompression."""
    max_connections: int = Field(default=1024, ge=1, le=MOST)
    """Connections beyond these are closed at once."""
    header_seconds: Positive = 10.0
    """The headers of a request must come within this long."""
    idle_seconds: Positive = 120.0
    """A connection without a request is closed after this long; shorter than the pauses between a sender's
    batches makes it connect anew for each."""


class HeaderAuthConfig(Section):
    name: HeaderName
    """A header, such as `x-api-key`."""
    value_file: Path
    """File with the value that it must have; read at the start."""


class ReceiverAuthConfig(Section):
    bearer_token_file: Path | None = None
    """File with the token that senders must give as `Authorization: Bearer TOKEN`; read at the start."""
    header: HeaderAuthConfig | None = None
    """A header of another name instead."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.bearer_token_file is not None and self.header is not None:
            raise ValueError("set `bearer_token_file` or `header`, not both")
        return self


class ReceiverConfig(Section):
    enabled: bool = True
    """Off: take no spans here; a collector or another tracetaxa process fills the tables (docs/attach.md)."""
    grpc: GrpcConfig = GrpcConfig()
    http: HttpConfig = HttpConfig()
    auth: ReceiverAuthConfig = ReceiverAuthConfig()
    linger_ms: int = Field(default=50, ge=0, le=10_000)
    """How long a request may wait for others to share its insert; more means fewer, larger inserts."""
    max_batch_spans: int = Field(default=20_000, ge=1, le=MOST)
    """A group of requests is committed early when it holds this many spans."""
    max_writes: int = Field(default=2, ge=1, le=64)
    """Groups of spans that may be written at the same time; each but one is full. More uses more cores and
    memory."""
    max_in_flight_mib: int = Field(default=256, ge=1, le=MOST_MIB)
    """Request bytes that may wait for their commit; beyond it senders are told to come back."""
    max_concurrent_requests: int = Field(default=1024, ge=1, le=MOST)
    """Requests under way at once; beyond it senders are told to come back."""
    read_seconds: Positive = 30.0
    """A request must have come this long after its headers, or it is cut off."""
    retry_after_seconds: Positive = 2.0
    """What senders are told when there is no room or no ClickHouse."""
    shutdown_seconds: Positive = 10.0
    """How long requests under way may take to finish on shutdown."""
