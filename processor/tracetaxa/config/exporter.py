"""Where closed traces and their labels go on to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from tracetaxa.config.section import Misplaced, Section
from tracetaxa.config.values import Duration, HeaderName, Name, Positive


def _base_url(text: str) -> str:
    if "@" in text:  # what stands before it is not repeated
        raise ValueError("credentials belong into `headers` or `headers_file`, not into the address")
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", text):
        raise ValueError(f"{text!r} is not an address such as http://collector:4317, or https://… for TLS")
    try:
        port = urlsplit(text).port
    except ValueError:
        port = 0
    if not port:
        raise ValueError(f"{text!r} names no port from 1 to 65535, such as http://collector:4317")
    return text


class ClientTlsConfig(Section):
    ca_file: Path | None = None
    """Authorities (PEM) that the destination's certificate must be from; unset: those of the system."""
    cert_file: Path | None = None
    """Mutual TLS: the certificate to show, and its chain, in PEM."""
    key_file: Path | None = None
    """Its key, in PEM and not encrypted."""

    @model_validator(mode="after")
    def _is_pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("`cert_file` and `key_file` belong together")
        return self


class RetryConfig(Section):
    initial_seconds: Positive = 1.0
    """The first pause after a failed attempt is at most this long; each next one may be twice as long."""
    max_seconds: Positive = 30.0
    """Longest pause, also where the destination asks for one (RetryInfo, Retry-After)."""
    max_elapsed_seconds: Positive = 60.0
    """After so long a request is planned anew, with what came meanwhile. Nothing is given up by that."""


class QueueConfig(Section):
    max_age: Duration = "24h"
    """What could not be delivered this long after its trace was closed is given up; the log says so."""
    max_mib: Positive = 4096.0
    """Most that waiting spans may take on disk, compressed."""
    when_full: Literal["refuse", "drop_oldest"] = "refuse"
    """`refuse`: senders are told to keep their spans and come back, so that nothing is lost, and nothing is
    stored meanwhile. `drop_oldest`: the oldest quarter of an hour is not forwarded any more."""


class OtlpConfig(Section):
    endpoint: Annotated[str, AfterValidator(_base_url)]
    """Where to, such as http://collector:4317; https uses TLS. For HTTP, /v1/traces is added."""
    protocol: Literal["grpc", "http"] = "grpc"
    """OTLP over gRPC, or over HTTP in protobuf."""
    name: Name = "downstream"
    """What this destination is called in the tables: what was delivered is known by it. With a new name, what
    closes from then on is delivered."""
    headers: dict[HeaderName, SecretStr] = Field(default={})
    """Headers sent with each request. Tokens are better kept in `headers_file`."""
    headers_file: Path | None = None
    """File with more of them, one `name: value` a line; read at the start."""
    tls: ClientTlsConfig = ClientTlsConfig()
    compression: Literal["gzip", "none"] = "gzip"
    """How requests are compressed."""
    timeout_seconds: Positive = 10.0
    """How long one attempt may take."""
    max_batch_mib: Positive = 3.0
    """Size of a request before compression; receivers of gRPC often take 4. A larger span goes alone."""
    consumers: int = Field(default=2, ge=1, le=64)
    """Requests under way at once; each costs some times `max_batch_mib` of memory."""
    tick_seconds: Positive = 0.5
    """How often closed traces and new labels are looked for."""
    shutdown_seconds: Positive = 10.0
    """How long requests under way may take to finish on shutdown."""
    retry: RetryConfig = RetryConfig()
    queue: QueueConfig = QueueConfig()

    @model_validator(mode="after")
    def _grpc_has_no_path(self) -> Self:
        if self.protocol == "grpc" and urlsplit(self.endpoint).path.strip("/"):
            raise Misplaced("gRPC has no paths: leave it out, or set `protocol: http`", "endpoint")
        return self


class ExporterConfig(Section):
    otlp: OtlpConfig | None = None
    """Forward closed traces with their labels (docs/forwarding.md); unset: nothing is forwarded."""
