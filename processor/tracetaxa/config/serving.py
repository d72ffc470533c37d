"""What people and programs reach."""

from __future__ import annotations

from pathlib import Path

from pydantic import (
    Field,
)

from tracetaxa.config.section import Section
from tracetaxa.config.values import Endpoint


class ApiConfig(Section):
    endpoint: Endpoint = "127.0.0.1:8080"
    """Report pages and the JSON API."""
    token_file: Path | None = None
    """File with the bearer token; needed when the API or SQL endpoint listens beyond localhost."""


class SqlConfig(Section):
    enabled: bool = True
    """Serve the embedded database read-only over ClickHouse's HTTP interface."""
    endpoint: Endpoint = "127.0.0.1:8123"
    max_execution_seconds: int = Field(default=30, ge=1)
    """Longest time one question may take."""
    max_memory_mib: int = Field(default=2048, ge=64)
    """Most memory one question may take."""
    max_result_mib: int = Field(default=256, ge=1)
    """Largest answer."""
    max_concurrency: int = Field(default=4, ge=1)
    """Questions answered at once; others wait."""


class HealthConfig(Section):
    enabled: bool = True
    endpoint: Endpoint = "127.0.0.1:13133"
    """`/` answers 200 only when ingest works."""
