"""Finds closed traces and writes their newest revision.

State lives in ClickHouse only: `trace_activity` says when spans, events and feedback arrived, `traces` up to
which arrival each trace is assembled; the difference is the work. A killed assembler starts where the tables
say, and what arrives late makes a new revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.assemble.feedback import load_feedback, save_new_feedback
from tracetaxa.assemble.logs import load_logs
from tracetaxa.assemble.loop import Loop
from tracetaxa.assemble.spans import load_spans
from tracetaxa.records import Feedback, LogRecord, Span, Trace, TraceRow

if TYPE_CHECKING:
    from tracetaxa.assemble.rows import ToRow
    from tracetaxa.protocols import Database

ReadTrace = Callable[[Sequence[Span], Sequence[LogRecord], Sequence[Feedback]], Trace]
"""Spans and log events of a trace, and the feedback that came beside them → the canonical trace."""

_OVERLAP_NS = 60 * 10**9
"""Arrival times are taken before an insert is visible: look back this much further than the last tick."""


@dataclass(frozen=True, slots=True)
class ClosingRules:
    """When a trace counts as whole, in seconds; see `AssemblyConfig`."""

    idle_seconds: float = 30.0
    orphan_idle_seconds: float = 120.0
    max_trace_seconds: float = 3600.0

    def parameters(self) -> dict[str, int]:
        return {
            "idle_ms": round(self.idle_seconds * 1000),
            "orphan_idle_ms": round(self.orphan_idle_seconds * 1000),
            "max_trace_ms": round(self.max_trace_seconds * 1000),
        }


class Assembler(Loop):
    """`assembled` counts the revisions that this process wrote."""

    def __init__(
        self,
        db: Database,
        read_trace: ReadTrace,
        to_row: ToRow,
        rules: ClosingRules,
        *,
        tick_seconds: float = 1.0,
        batch_traces: int = 500,
    ) -> None:
        super().__init__("assembly", tick_seconds)
        self._db = db
        self._read_trace = read_trace
        self._to_row = to_row
        self._rules = rules
        self._batch_traces = batch_traces
        self._since_ns = 0
        self._expired: dict[str, int] = {}
        """Traces without spans: only events or feedback came, or the spans are past the retention."""
        self.assembled = 0

    async def tick(self) -> int:
        """Assemble every trace that is closed now; returns how many."""
        now_ns = (await self._db.rows("server_time"))[0]["Now"]
        pending = await self._pending()
        closed = [row for row in pending if row["Closed"]]
        for first in range(0, len(closed), self._batch_traces):
            await self._assemble(closed[first : first + self._batch_traces])
        still_open = [row["FirstSeen"] for row in pending if not row["Closed"]]
        self._since_ns = max(self._since_ns, min([now_ns, *still_open]) - _OVERLAP_NS)
        self._expired = {name: seen for name, seen in self._expired.items() if seen >= self._since_ns}
        return len(closed)

    async def open_traces(self) -> int:
        """Traces with spans that no revision holds yet."""
        return len(await self._pending())

    async def _pending(self) -> list[dict[str, Any]]:
        rows = await self._db.rows("pending_traces", since_ns=self._since_ns, **self._rules.parameters())
        return [row for row in rows if self._expired.get(row["TraceId"]) != row["LastSeen"]]

    async def _assemble(self, batch: Sequence[Mapping[str, Any]]) -> None:
        trace_ids = [row["TraceId"] for row in batch]
        spans = await load_spans(self._db, trace_ids)
        logs = await load_logs(self._db, trace_ids)
        feedback = await load_feedback(self._db, trace_ids)
        self._expired |= {row["TraceId"]: row["LastSeen"] for row in batch if row["TraceId"] not in spans}
        found = [row for row in batch if row["TraceId"] in spans]
        rows, carried = await asyncio.to_thread(self._read, found, spans, logs, feedback)
        # Before the rows: a process killed between the two brings it again, and only what is new is kept.
        await save_new_feedback(self._db, carried)
        await self._db.insert("traces", rows)
        self.assembled += len(rows)

    def _read(
        self,
        found: Sequence[Mapping[str, Any]],
        spans: Mapping[str, Sequence[Span]],
        logs: Mapping[str, Sequence[LogRecord]],
        feedback: Mapping[str, Sequence[Feedback]],
    ) -> tuple[list[TraceRow], list[Feedback]]:
        """Rows, and the feedback on other traces and on sessions that these traces carry."""
        rows: list[TraceRow] = []
        carried: list[Feedback] = []
        for row in found:
            trace_id = row["TraceId"]
            trace = self._read_trace(spans[trace_id], logs.get(trace_id, ()), feedback.get(trace_id, ()))
            rows.append(self._to_row(trace, row["Revision"] + 1, row["LastSeen"]))
            carried += trace.carried
        return rows, carried
