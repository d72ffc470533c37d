"""What has been delivered, as rows.

They are written when the destination has it, so that a restart repeats at most what was under way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.protocols import Database


@dataclass(frozen=True, slots=True)
class Delivery:
    """Row of `forward_deliveries`."""

    destination: str
    trace_id: str
    revision: int
    outcome: Literal["sent", "refused"]
    span_ids: tuple[bytes, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Row of `forward_events`."""

    event: Literal["started", "delivered"]
    destination: str
    instance: str
    trace_id: str = ""
    revision: int = 0
    closed_ns: int = 0
    labels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the destination has of a trace already."""

    span_ids: frozenset[bytes] = frozenset()
    labels: frozenset[int] = frozenset()


async def load_earlier(db: Database, destination: str, trace_ids: Sequence[str]) -> dict[str, Earlier]:
    """By trace; one of which nothing was delivered is absent."""
    if not trace_ids:
        return {}
    rows = await db.rows("forward/delivered", destination=destination, trace_ids=list(trace_ids))
    return {row["TraceId"]: Earlier(frozenset(row["SpanIds"]), frozenset(row["Labels"])) for row in rows}


@dataclass(frozen=True, slots=True)
class Start:
    """When forwarding to a destination began, and as which deployment."""

    since_ns: int
    now_ns: int
    instance: str


async def begin(db: Database, destination: str, new_instance: str) -> Start:
    """The deployment's name is that of its first process, and `new_instance` when there was none."""
    for _ in range(2):
        (row,) = await db.rows("forward/started", destination=destination)
        if row["Known"]:
            break
        known: dict[str, Any] = {"instance": row["Instance"] or new_instance}
        await db.insert("forward_events", [Event("started", destination, **known)])
    return Start(row["Since"], row["CurrentTime"], row["Instance"])
