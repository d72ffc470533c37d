"""What is forwarded, when, and how much at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Rules:
    """See `exporter.otlp` and `label` in the configuration."""

    destination: str = "downstream"
    """Its name in the tables."""
    spooled: bool = True
    """Whether spans are forwarded, and not their labels alone."""
    spans: Literal["root", "all"] = "root"
    """Which spans of a trace get its labels."""
    analyses: Mapping[str, bool] = field(default_factory=dict)
    """Those whose labels traces wait for; whether they label traces with agent or model spans alone."""
    timeout_seconds: float = 10.0
    """How long a closed trace waits for them."""
    max_age_seconds: float = 86_400.0
    """What was not delivered this long after it was closed is given up."""
    max_batch_bytes: int = 3 * 2**20
    """Of spans in one request; a single larger span goes alone."""
    consumers: int = 2
    """Requests under way at once."""
    batch_traces: int = 1000
    """Traces that are planned together."""
    max_pending: int = 20_000
    """Traces that one tick looks at."""
