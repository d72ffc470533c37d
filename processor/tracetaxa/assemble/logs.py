"""Rows of `otel_logs` → LogRecords, grouped by trace."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tracetaxa.assemble.ids import in_parts
from tracetaxa.assemble.times import load_times
from tracetaxa.records import LogRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.assemble.times import Times
    from tracetaxa.protocols import Database

BEFORE_SECONDS = 3_600
"""Events this long before the first span are found: clocks differ, and spans may be missing."""
AFTER_SECONDS = 7 * 86_400
"""Events this long after the start of the last span are found: people and nightly jobs evaluate late."""
MAX_EVENTS = 20_000
"""Of the events of one trace the first are read."""
MAX_BYTES = 64 * 1024 * 1024
"""Of the events of one trace as many are read as this holds, the first ones."""


async def load_logs(
    db: Database,
    trace_ids: Sequence[str],
    times: Times | None = None,
    *,
    before_seconds: int = BEFORE_SECONDS,
    after_seconds: int = AFTER_SECONDS,
    max_events: int = MAX_EVENTS,
    max_bytes: int = MAX_BYTES,
) -> dict[str, list[LogRecord]]:
    """GenAI events by trace id, in time order; traces without events or without spans are absent.

    The event's name is the record's own, else its attribute `event.name`, as senders wrote
    it before OTLP had a field for it. The bounds of time are those of all the traces together: they keep the
    read off the rest of the table. Unknown `times` are looked up.
    """
    grouped: dict[str, list[LogRecord]] = defaultdict(list)
    times = times or await load_times(db, trace_ids)
    if times is None:
        return {}
    for ids in in_parts(trace_ids):
        for record in await db.records(
            "assembly/logs_of_traces",
            LogRecord,
            trace_ids=ids,
            before_seconds=before_seconds,
            after_seconds=after_seconds,
            max_events=max_events,
            max_bytes=max_bytes,
            **times.parameters(),
        ):
            grouped[record.trace_id].append(record)
    return dict(grouped)
