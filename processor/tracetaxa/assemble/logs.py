"""Rows of `otel_logs` → LogRecords, grouped by trace."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tracetaxa.records import LogRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.protocols import Database

BEFORE_SECONDS = 3_600
"""Events this long before the first span are found: clocks differ, and spans may be missing."""
AFTER_SECONDS = 7 * 86_400
"""Events this long after the start of the last span are found: people and nightly jobs evaluate late."""


async def load_logs(
    db: Database,
    trace_ids: Sequence[str],
    *,
    before_seconds: int = BEFORE_SECONDS,
    after_seconds: int = AFTER_SECONDS,
) -> dict[str, list[LogRecord]]:
    """GenAI events by trace id, in time order; traces without events or without spans are absent.

    The event's name is the record's own, else its attribute `event.name`, as senders wrote
    it before OTLP had a field for it. The bounds are those of all the traces together: they keep the
    read off the rest of the table.
    """
    found = await db.records(
        "logs_of_traces",
        LogRecord,
        trace_ids=list(trace_ids),
        before_seconds=before_seconds,
        after_seconds=after_seconds,
    )
    grouped: dict[str, list[LogRecord]] = defaultdict(list)
    for record in found:
        grouped[record.trace_id].append(record)
    return dict(grouped)
