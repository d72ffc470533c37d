"""What people and programs reach."""

from __future__ import annotations

from pathlib import Path

from pydantic import (
    Field,
)

from tracetaxa.config.section import Section
from tracetaxa.config.values import MOST, MOST_MIB, Duration, Endpoint, Positive, Url


class ApiConfig(Section):
    endpoint: Endpoint = "127.0.0.1:8080"
    """Report pages and the JSON API."""
    token_file: Path | None = None
    """File with the bearer token; needed when the API or SQL endpoint listens beyond localhost."""


class SqlConfig(Section):
    enabled: bool = True
    """Serve the embedded database read-only over ClickHouse's HTTP interface."""
    endpoint: Endpoint = "127.0.0.1:8123"
    max_execution_seconds: int = Field(default=30, ge=1, le=86_400)
    """Longest time one question may take."""
    max_memory_mib: int = Field(default=2048, ge=64, le=MOST_MIB)
    """Most memory one question may take."""
    max_result_mib: int = Field(default=256, ge=1, le=MOST_MIB)
    """Largest answer."""
    max_concurrency: int = Field(default=4, ge=1, le=MOST)
    """Questions answered at once; others wait."""


class HealthConfig(Section):
    enabled: bool = True
    endpoint: Endpoint = "127.0.0.1:13133"
    """`/` answers 200 only when ingest works."""


class MetricsOtlpConfig(Section):
    endpoint: Url
    """Where to, such as http://collector:4317 (gRPC). https uses TLS."""
    interval_seconds: Positive = 60.0
    """How often metrics are sent."""
    timeout_seconds: Positive = 10.0
    """How long one attempt may take."""
    headers_file: Path | None = None
    """File with one `name: value` a line, sent with each request: tokens stay out of the configuration."""


class MetricsConfig(Section):
    enabled: bool = True
    """Serve Prometheus, tell of new categories, and send both over OTLP where that is set."""
    endpoint: Endpoint = "127.0.0.1:8888"
    """Prometheus `/metrics` (docs/metrics.md)."""
    window: Duration = "1h"
    """The metrics of labels are about traces that started within the last so long."""
    refresh_seconds: Positive = 15.0
    """How often the database is asked for the figures."""
    max_categories: int = Field(default=50, ge=1, le=1000)
    """Most categories of an analysis that have series of their own; the rest counts as `other_categories`."""
    otlp: MetricsOtlpConfig | None = None
    """Also send metrics, and a log event for each new category, over OTLP."""
