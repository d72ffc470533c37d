"""Finds closed traces and writes their newest revision.

State lives in ClickHouse only: `trace_activity` says when spans, events and feedback arrived,
`trace_revisions` up to which arrival each trace is assembled; the difference is the work. A killed assembler
starts where the tables say, what arrives late makes a new revision, and several assemblers on one store do at
worst the same work twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tracetaxa.assemble.apart import Apart
from tracetaxa.assemble.bare import UNREADABLE, bare
from tracetaxa.assemble.content import Content, load_content
from tracetaxa.assemble.feedback import save_new_feedback
from tracetaxa.assemble.horizon import Horizon
from tracetaxa.assemble.ids import in_parts
from tracetaxa.assemble.loop import Loop
from tracetaxa.assemble.sizes import ReadLimits, Size, load_sizes, portions
from tracetaxa.assemble.spans import SPANS_LEFT_OUT
from tracetaxa.assemble.times import Times, load_times
from tracetaxa.records import Feedback, LogRecord, Span, Trace, TraceRow

if TYPE_CHECKING:
    from tracetaxa.assemble.rows import ToRow
    from tracetaxa.protocols import Database

ReadTrace = Callable[[Sequence[Span], Sequence[LogRecord], Sequence[Feedback]], Trace]
"""Spans and log events of a trace, and the feedback that came beside them → the canonical trace."""

_SECOND_NS = 10**9


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

    @property
    def longest_ns(self) -> int:
        """No arrival waits longer than this for its trace to close."""
        longest = max(self.idle_seconds, self.orphan_idle_seconds, self.max_trace_seconds)
        return round(longest * _SECOND_NS)


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """Row of `trace_revisions`: revision 0 says that the trace was looked at and nothing was written."""

    trace_id: str
    revision: int
    last_seen_ns: int


@dataclass(frozen=True, slots=True)
class _Due:
    """A closed trace, to be written as this revision."""

    trace_id: str
    revision: int
    last_seen_ns: int
    waits_since_ns: int
    size: Size

    @property
    def identity(self) -> str:
        return self.trace_id

    @property
    def title(self) -> str:
        return f"trace {self.trace_id}"


class Assembler(Loop):
    """`assembled` counts the revisions that this process wrote.

    A trace that can't be read or written is tried `max_attempts` times, then written without its content (see
    apart.py), and if that fails too it is left until something new arrives.
    """

    def __init__(
        self,
        db: Database,
        read_trace: ReadTrace,
        to_row: ToRow,
        rules: ClosingRules,
        *,
        tick_seconds: float = 1.0,
        batch_traces: int = 500,
        max_closing: int = 10_000,
        limits: ReadLimits | None = None,
        max_attempts: int = 3,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        """max_closing: traces that one tick takes up; the rest waits for the next. `told` is called each time
        that revisions were written, and must not wait."""
        super().__init__("assembly", tick_seconds)
        self._db = db
        self._read_trace = read_trace
        self._to_row = to_row
        self._rules = rules
        self._batch_traces = batch_traces
        self._max_closing = max_closing
        self._limits = limits or ReadLimits()
        self._apart: Apart[_Due] = Apart(max_attempts, self._give_up)
        self._horizon = Horizon()
        self._told = told
        self._first_time: set[str] = set()
        """Quiet traces without a root of which it is known that they were never assembled."""
        self.assembled = 0

    async def tick(self) -> int:
        """Assemble every trace that is closed now; returns how many."""
        now_ns = (await self._db.rows("server_time"))[0]["Now"]
        pending = await self._pending(self._max_closing)
        due = await self._due(pending)
        self._apart.begin()
        for first in range(0, len(due), self._batch_traces):
            await self._assemble(due[first : first + self._batch_traces])
        self.trouble = self._apart.trouble
        self._horizon.move(now_ns, pending, (due.waits_since_ns for due in self._apart.retried))
        return len(due)

    async def open_traces(self) -> int:
        """Traces with arrivals that no revision holds yet."""
        rows = await self._pending(1)
        return int(rows[0]["AllPending"]) if rows else 0

    async def oldest_open(self) -> int | None:
        """Since when the oldest of them waits; None when there is none."""
        rows = await self._pending(1)
        return int(rows[0]["OldestPending"]) if rows else None

    # ------------------------------------------------------------------------------- what there is to do

    async def _pending(self, max_rows: int) -> list[dict[str, Any]]:
        if self._horizon.since_ns is None:
            newest_ns = (await self._db.rows("assembly/newest_assembled"))[0]["LastSeen"]
            self._horizon.begin(newest_ns, self._rules.longest_ns)
        return await self._db.rows(
            "assembly/pending_traces",
            since_ns=self._horizon.since_ns,
            max_rows=max_rows,
            **self._rules.parameters(),
        )

    async def _due(self, pending: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The closed ones, and those that went quiet and were assembled before the rows that were read."""
        unsure = {row["TraceId"]: row for row in pending if row["Unsure"]}
        asked = [trace_id for trace_id in unsure if trace_id not in self._first_time]
        again = await self._revisions(asked)
        self._first_time = {trace_id for trace_id in unsure if trace_id not in again}
        due = [row for row in pending if row["Closed"] or row["TraceId"] in again]
        return sorted(due, key=lambda row: (row["LastSeen"], row["TraceId"]))

    async def _revisions(self, trace_ids: Sequence[str]) -> dict[str, int]:
        """The newest revision of each trace that has one."""
        found: dict[str, int] = {}
        for ids in in_parts(trace_ids):
            rows = await self._db.rows("assembly/revisions_of_traces", trace_ids=ids)
            found |= {row["TraceId"]: row["Newest"] for row in rows}
        return found

    # ------------------------------------------------------------------------------- doing it

    async def _assemble(self, batch: Sequence[Mapping[str, Any]]) -> None:
        trace_ids = [row["TraceId"] for row in batch]
        times = await load_times(self._db, trace_ids)
        sizes = await load_sizes(self._db, trace_ids, times)
        revisions = await self._revisions(trace_ids)
        # Only events or feedback came, or the spans are past the retention.
        gone = [row for row in batch if row["TraceId"] not in sizes]
        await self._mark([RevisionRow(row["TraceId"], 0, row["LastSeen"]) for row in gone])
        if times is None:
            return
        due = [
            _Due(
                trace_id=row["TraceId"],
                revision=revisions.get(row["TraceId"], 0) + 1,
                last_seen_ns=row["LastSeen"],
                waits_since_ns=row["WaitsSince"],
                size=sizes[row["TraceId"]],
            )
            for row in batch
            if row["TraceId"] in sizes
        ]
        for portion in portions(due, self._limits):
            await self._apart.write(portion, partial(self._write, times))

    async def _write(self, times: Times, portion: Sequence[_Due], unreadable: str) -> None:
        """unreadable: the kind of error that their content causes, when they are to be without it."""
        size = portion[0].size
        content = await load_content(self._db, [due.trace_id for due in portion], times, size, self._limits)
        rows, carried = await asyncio.to_thread(self._read, portion, content, unreadable)
        # Before the rows: a process killed between the two brings it again, and only what is new is kept.
        await save_new_feedback(self._db, carried)
        await self._db.insert("traces", rows)
        # After the rows, for the same reason.
        await self._mark([RevisionRow(row.trace_id, row.revision, row.last_seen_ns) for row in rows])
        self.assembled += len(rows)
        self._told()

    async def _give_up(self, due: _Due) -> None:
        await self._mark([RevisionRow(due.trace_id, 0, due.last_seen_ns)])

    async def _mark(self, rows: Sequence[RevisionRow]) -> None:
        await self._db.insert("trace_revisions", rows)

    def _read(
        self, portion: Sequence[_Due], content: Content, unreadable: str
    ) -> tuple[list[TraceRow], list[Feedback]]:
        """Rows, and the feedback on other traces and on sessions that these traces carry."""
        rows: list[TraceRow] = []
        carried: list[Feedback] = []
        notes = {UNREADABLE: unreadable} if unreadable else {}
        if content.left_out:
            notes[SPANS_LEFT_OUT] = str(content.left_out)
        for due in portion:
            spans = content.spans.get(due.trace_id, ())
            if not spans:
                continue  # past the retention since it was measured: the next tick sees that
            if unreadable:
                trace = self._read_trace(bare(spans), (), ())
            else:
                trace = self._read_trace(
                    spans, content.logs.get(due.trace_id, ()), content.feedback.get(due.trace_id, ())
                )
            trace = replace(trace, attributes={**trace.attributes, **notes})
            rows.append(self._to_row(trace, due.revision, due.last_seen_ns))
            carried += trace.carried
        return rows, carried
