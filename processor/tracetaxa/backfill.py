"""`tracetaxa backfill`: traces whose spans were stored before tracetaxa's views were there to tell of them.

It writes arrivals into `trace_activity`, as the views would have, and no more: whoever assembles finds them
like any others. What is missing follows from the tables, one stretch of time after another, newest first; so
a killed backfill goes on where it was, and one that is repeated finds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.results.document import rfc3339
from tracetaxa.assemble.spans import SPANS_LEFT_OUT

if TYPE_CHECKING:
    from tracetaxa.protocols import Database, Progress

SLICE_SECONDS = 3600
"""Looked at as one: longer means fewer questions, and more memory for each in ClickHouse."""
MAX_ROWS = 20_000
"""Traces told of with one insert; more costs memory here."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What `trace_activity` says of a trace: something of it arrived."""

    seen_at_ns: int
    trace_id: str
    has_root: bool
    has_remote_parent: bool


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What was found in the window [start, end)."""

    window_start_ns: int
    window_end_ns: int
    traces: int
    """Traces that will be assembled, for the first time or again."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "window_start": rfc3339(self.window_start_ns),
            "window_end": rfc3339(self.window_end_ns),
            "traces": self.traces,
        }


async def backfill(
    db: Database,
    start_ns: int,
    end_ns: int,
    progress: Progress,
    *,
    slice_seconds: int = SLICE_SECONDS,
    max_rows: int = MAX_ROWS,
) -> Backfilled:
    """Have every trace assembled that has spans in [start, end) and is not known by all of them.

    GenAI log events that came after the revision of their trace, unseen, count too. Raises StoreError.
    """
    slice_ns = slice_seconds * 10**9
    fills_lookup = (await db.rows("backfill/lookup_is_ours"))[0]["IsOurs"]
    starts = await db.rows("backfill/slices", start_ns=start_ns, end_ns=end_ns, slice_ns=slice_ns)
    traces = 0
    for done, row in enumerate(starts):
        progress("stretches of time", done, len(starts))
        within = {"start_ns": max(start_ns, row["Start"]), "end_ns": min(end_ns, row["Start"] + slice_ns)}
        if fills_lookup:
            # Before the traces, since it says where their spans are.
            await db.command("backfill/lookup", **within)
        traces += await _tell(db, "backfill/traces", within, max_rows, left_out=SPANS_LEFT_OUT)
        traces += await _tell(db, "backfill/log_events", within, max_rows)
    progress("stretches of time", len(starts), len(starts))
    return Backfilled(start_ns, end_ns, traces)


async def _tell(db: Database, question: str, within: dict[str, int], max_rows: int, **parameters: Any) -> int:
    """Write an arrival for each trace that `question` finds; returns how many."""
    told, after = 0, ""
    while True:
        rows = await db.rows(question, after=after, max_rows=max_rows, **within, **parameters)
        if not rows:
            return told
        # The time is taken now: whoever assembles looks back only a little.
        now_ns = (await db.rows("server_time"))[0]["Now"]
        arrivals = [
            Arrival(now_ns, row["TraceId"], bool(row["HasRoot"]), bool(row["HasRemoteParent"]))
            for row in rows
        ]
        await db.insert("trace_activity", arrivals)
        told, after = told + len(rows), rows[-1]["TraceId"]
