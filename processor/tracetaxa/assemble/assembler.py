"""Finds closed traces and writes their newest revision.

State lives in ClickHouse only: `trace_activity` says when spans, events and feedback arrived,
`trace_revisions` up to which arrival each trace is assembled; the difference is the work. A killed assembler
starts where the tables say, what arrives late makes a new revision, and several assemblers on one store do at
worst the same work twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tracetaxa.assemble.bare import UNREADABLE, Attempts, bare
from tracetaxa.assemble.feedback import load_feedback, save_new_feedback
from tracetaxa.assemble.ids import in_parts
from tracetaxa.assemble.logs import load_logs
from tracetaxa.assemble.loop import Loop
from tracetaxa.assemble.sizes import ReadLimits, Size, load_sizes, portions
from tracetaxa.assemble.spans import SPANS_LEFT_OUT, load_first_spans, load_spans
from tracetaxa.assemble.times import Times, load_times
from tracetaxa.errors import StoreUnavailable
from tracetaxa.records import Feedback, LogRecord, Span, Trace, TraceRow

if TYPE_CHECKING:
    from tracetaxa.assemble.rows import ToRow
    from tracetaxa.protocols import Database

log = logging.getLogger(__name__)

ReadTrace = Callable[[Sequence[Span], Sequence[LogRecord], Sequence[Feedback]], Trace]
"""Spans and log events of a trace, and the feedback that came beside them → the canonical trace."""

OVERLAP_SECONDS = 60
"""Arrival times are taken before an insert is visible, by clocks that differ: look back this much further."""
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


@dataclass(frozen=True, slots=True)
class _Content:
    """What a portion of traces is made of, by trace id."""

    spans: Mapping[str, Sequence[Span]]
    logs: Mapping[str, Sequence[LogRecord]]
    feedback: Mapping[str, Sequence[Feedback]]
    left_out: int
    """Spans of a trace that is alone here because it is too large."""


class Assembler(Loop):
    """`assembled` counts the revisions that this process wrote.

    A trace that can't be read or written is tried `max_attempts` times, apart from the others. Then it is
    written without its content (see bare.py), and if that fails too it is left until something new arrives.
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
    ) -> None:
        """max_closing: traces that one tick takes up; the rest waits for the next."""
        super().__init__("assembly", tick_seconds)
        self._db = db
        self._read_trace = read_trace
        self._to_row = to_row
        self._rules = rules
        self._batch_traces = batch_traces
        self._max_closing = max_closing
        self._limits = limits or ReadLimits()
        self._attempts = Attempts(max_attempts)
        self._since_ns: int | None = None
        self._first_time: set[str] = set()
        """Quiet traces without a root of which it is known that they were never assembled."""
        self._retried: list[_Due] = []
        self.assembled = 0

    async def tick(self) -> int:
        """Assemble every trace that is closed now; returns how many."""
        now_ns = (await self._db.rows("server_time"))[0]["Now"]
        pending = await self._pending(self._max_closing)
        due = await self._due(pending)
        self._retried = []
        self.trouble = ""
        for first in range(0, len(due), self._batch_traces):
            await self._assemble(due[first : first + self._batch_traces])
        self._look_on(now_ns, pending)
        return len(due)

    async def open_traces(self) -> int:
        """Traces with arrivals that no revision holds yet."""
        rows = await self._pending(1)
        return int(rows[0]["AllPending"]) if rows else 0

    # ------------------------------------------------------------------------------- what there is to do

    async def _pending(self, max_rows: int) -> list[dict[str, Any]]:
        since_ns = await self._since()
        return await self._db.rows(
            "pending_traces", since_ns=since_ns, max_rows=max_rows, **self._rules.parameters()
        )

    async def _since(self) -> int:
        """From when on arrivals are looked at.

        Closed traces are assembled in the order of their newest arrival. So what a former process
        has left has arrivals newer than the newest that it assembled, or was open then, and
        nothing stays open for longer than the rules allow.
        """
        if self._since_ns is None:
            newest_ns = (await self._db.rows("newest_assembled"))[0]["LastSeen"]
            self._since_ns = max(0, newest_ns - self._rules.longest_ns - OVERLAP_SECONDS * _SECOND_NS)
        return self._since_ns

    async def _due(self, pending: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The closed ones, and those that went quiet and were assembled before the rows that were read."""
        unsure = {row["TraceId"]: row for row in pending if row["Unsure"]}
        asked = [trace_id for trace_id in unsure if trace_id not in self._first_time]
        again = await self._revisions(asked)
        self._first_time = {trace_id for trace_id in unsure if trace_id not in again}
        due = [row for row in pending if row["Closed"] or row["TraceId"] in again]
        return sorted(due, key=lambda row: (row["LastSeen"], row["TraceId"]))

    def _look_on(self, now_ns: int, pending: Sequence[Mapping[str, Any]]) -> None:
        """Move the start of what is looked at: up to what is still open or tried again, no further."""
        if not pending:
            waits = [now_ns]
        elif pending[0]["AllPending"] - pending[0]["AllOpen"] > sum(row["Closed"] for row in pending):
            return
        else:
            waits = [now_ns, *(due.waits_since_ns for due in self._retried)]
            waits += [pending[0]["OldestOpen"]] if pending[0]["AllOpen"] else []
        self._since_ns = max(self._since_ns or 0, min(waits) - OVERLAP_SECONDS * _SECOND_NS)

    async def _revisions(self, trace_ids: Sequence[str]) -> dict[str, int]:
        """The newest revision of each trace that has one."""
        found: dict[str, int] = {}
        for ids in in_parts(trace_ids):
            rows = await self._db.rows("revisions_of_traces", trace_ids=ids)
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
            await self._write(portion, times)

    async def _write(self, portion: Sequence[_Due], times: Times) -> None:
        """Write them together, and when that fails each alone, so that one does no harm to others."""
        try:
            await self._write_rows(portion, times)
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(portion) == 1:
                await self._failed(portion[0], times, error)
            else:
                for due in portion:
                    await self._write([due], times)
        else:
            for due in portion:
                self._attempts.worked(due.trace_id)

    async def _failed(self, due: _Due, times: Times, error: Exception) -> None:
        self.trouble = f"unexpected {type(error).__name__}: {error}"
        if self._attempts.failed(due.trace_id):
            log.debug("trace %s can't be assembled now", due.trace_id, exc_info=error)
            self._retried.append(due)
            return
        log.error(
            "trace %s can't be read and is kept without its content (%s): please report it with this id",
            *(due.trace_id, type(error).__name__),
            exc_info=error,
        )
        try:
            await self._write_rows([due], times, unreadable=type(error).__name__)
        except StoreUnavailable:
            raise
        except Exception as another:
            log.error("trace %s can't be kept at all", due.trace_id, exc_info=another)
            await self._mark([RevisionRow(due.trace_id, 0, due.last_seen_ns)])

    async def _write_rows(self, portion: Sequence[_Due], times: Times, unreadable: str = "") -> None:
        content = await self._load(portion, times)
        rows, carried = await asyncio.to_thread(self._read, portion, content, unreadable)
        # Before the rows: a process killed between the two brings it again, and only what is new is kept.
        await save_new_feedback(self._db, carried)
        await self._db.insert("traces", rows)
        # After the rows, for the same reason.
        await self._mark([RevisionRow(row.trace_id, row.revision, row.last_seen_ns) for row in rows])
        self.assembled += len(rows)

    async def _mark(self, rows: Sequence[RevisionRow]) -> None:
        await self._db.insert("trace_revisions", rows)

    async def _load(self, portion: Sequence[_Due], times: Times) -> _Content:
        trace_ids = [due.trace_id for due in portion]
        left_out = 0
        if len(portion) == 1 and not self._limits.hold(portion[0].size):
            first, left_out = await load_first_spans(self._db, trace_ids[0], self._limits, times)
            spans = {trace_ids[0]: first}
        else:
            spans = await load_spans(self._db, trace_ids, times)
        logs = await load_logs(
            self._db, trace_ids, times, max_events=self._limits.spans, max_bytes=self._limits.bytes
        )
        feedback = await load_feedback(self._db, trace_ids)
        return _Content(spans, logs, feedback, left_out)

    def _read(
        self, portion: Sequence[_Due], content: _Content, unreadable: str
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
