"""Where ClickHouse is."""

from __future__ import annotations

from pydantic import (
    Field,
)

from tracetaxa.config.section import Section
from tracetaxa.config.values import MOST_DAYS, Name


class StoreConfig(Section):
    dsn: str = "chdb://./tracetaxa-data"
    """Where ClickHouse is: `chdb://path` (embedded), `clickhouse://user:password@host:8123`, or
    `clickhouses://…` (TLS)."""
    database: Name = "otel"
    """Database that holds every table."""
    cluster: str | None = Field(default=None, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*|\{[a-z_]+\})$")
    """Name of the ClickHouse cluster, or a macro such as `{cluster}`, whose servers share the tables
    (docs/cluster.md); none: one server."""
    retention_days: int = Field(default=30, ge=1, le=MOST_DAYS)
    """Spans, traces and labels older than this are dropped."""
    readers: int = Field(default=4, ge=1, le=64)
    """Reading connections; more lets more questions run at once."""
