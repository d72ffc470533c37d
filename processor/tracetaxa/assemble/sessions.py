"""Finds sessions that went quiet and writes their newest revision: all traces of a conversation as one row.

State lives in ClickHouse only, as for traces: `session_activity` says when revisions of a session's traces
were written (or feedback on it), `sessions` says up to when each session is assembled. A trace that comes
later, or changes, opens its session again and makes a new revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tracetaxa.assemble.apart import Apart
from tracetaxa.assemble.bare import UNREADABLE, bare
from tracetaxa.assemble.content import Content, load_content
from tracetaxa.assemble.feedback import load_session_feedback
from tracetaxa.assemble.horizon import Horizon
from tracetaxa.assemble.ids import in_parts
from tracetaxa.assemble.loop import Loop
from tracetaxa.assemble.sizes import MIB, ReadLimits, Size, load_sizes, portions
from tracetaxa.assemble.spans import SPANS_LEFT_OUT
from tracetaxa.assemble.times import load_times
from tracetaxa.records import Feedback, LogRecord, SessionRow, Span, Trace, TraceRow

if TYPE_CHECKING:
    from tracetaxa.assemble.rows import ToRow
    from tracetaxa.protocols import Database

ReadSession = Callable[[Sequence[Span], Sequence[LogRecord], Sequence[Feedback]], Trace]
"""All spans, logs and feedback of a session, its traces in the order of their start → one canonical trace."""
TRACES_LEFT_OUT = "tracetaxa.session.traces_left_out"
"""Attribute of a session that was too large to be read whole: how many of its oldest traces it leaves out."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is held in memory of one session, and of several that are read together."""

    traces: int = 200
    spans: int = 20_000
    bytes: int = 64 * MIB

    @property
    def reading(self) -> ReadLimits:
        return ReadLimits(self.spans, self.bytes)


@dataclass(frozen=True, slots=True)
class _Session:
    """A session to assemble."""

    session_id: str
    revision: int
    last_seen_ns: int
    kept_open_ns: int
    trace_ids: tuple[str, ...]
    """In order of their start, the oldest left out where there are too many."""
    size: Size
    left_out: int

    @property
    def identity(self) -> str:
        return self.session_id

    @property
    def title(self) -> str:
        return f"the session of trace {self.trace_ids[0]}"


class SessionAssembler(Loop):
    """A session closes `idle_seconds` after the newest span of its closed traces arrived.

    A session that can't be read or written is tried `max_attempts` times, then written without its content
    (see apart.py), and if that fails too it is left until something new arrives.
    """

    def __init__(
        self,
        db: Database,
        read_session: ReadSession,
        to_row: ToRow,
        *,
        idle_seconds: float = 1800.0,
        tick_seconds: float = 1.0,
        batch_sessions: int = 100,
        max_closing: int = 10_000,
        limits: Limits | None = None,
        max_attempts: int = 3,
    ) -> None:
        """max_closing: sessions that one tick takes up; the rest waits for the next."""
        super().__init__("assembly of sessions", tick_seconds)
        self._db = db
        self._read_session = read_session
        self._to_row = to_row
        self._idle_ms = round(idle_seconds * 1000)
        self._batch_sessions = batch_sessions
        self._max_closing = max_closing
        self._limits = limits or Limits()
        self._apart: Apart[_Session] = Apart(max_attempts, self._give_up)
        self._horizon = Horizon()
        self._empty: dict[str, int] = {}
        """Sessions that nothing is left of: spans past the retention, or traces now in another session."""

    async def tick(self) -> int:
        """Assemble every session that is closed now; returns how many."""
        now_ns = (await self._db.rows("server_time"))[0]["Now"]
        # Beside those that are taken up, room for those that nothing is left of.
        pending = await self._pending(self._max_closing + len(self._empty))
        closed = [row for row in pending if row["Closed"] and not self._is_empty(row)]
        self._apart.begin()
        for first in range(0, len(closed), self._batch_sessions):
            await self._assemble(closed[first : first + self._batch_sessions])
        self.trouble = self._apart.trouble
        # Back to what keeps a session open, no further: one that never rests must not stretch this.
        self._horizon.move(now_ns, pending, (session.kept_open_ns for session in self._apart.retried))
        since_ns = self._horizon.since_ns or 0
        self._empty = {name: seen for name, seen in self._empty.items() if seen >= since_ns}
        return len(closed)

    async def open_sessions(self) -> int:
        """Sessions with traces that no revision holds yet."""
        pending = await self._pending(1 + len(self._empty))
        if not pending:
            return 0
        return int(pending[0]["AllPending"]) - sum(self._is_empty(row) for row in pending)

    def _is_empty(self, row: Mapping[str, Any]) -> bool:
        return self._empty.get(row["SessionId"], 0) == int(row["LastSeen"])

    async def _pending(self, max_rows: int) -> list[dict[str, Any]]:
        if self._horizon.since_ns is None:
            # A session that was open then was kept open by a span that had arrived within the idle time.
            newest_ns = (await self._db.rows("assembly/newest_session"))[0]["LastSeen"]
            self._horizon.begin(newest_ns, self._idle_ms * 10**6)
        return await self._db.rows(
            "assembly/pending_sessions",
            since_ns=self._horizon.since_ns,
            idle_ms=self._idle_ms,
            max_rows=max_rows,
        )

    async def _assemble(self, batch: Sequence[Mapping[str, Any]]) -> None:
        sessions = await self._members(batch)
        for portion in portions(sessions, self._limits.reading):
            await self._apart.write(portion, self._write)
        found = {session.session_id for session in sessions}
        self._empty |= {row["SessionId"]: row["LastSeen"] for row in batch if row["SessionId"] not in found}

    async def _members(self, batch: Sequence[Mapping[str, Any]]) -> list[_Session]:
        """The sessions of the batch that have traces, with those that will be read."""
        pending = {row["SessionId"]: row for row in batch}
        rows: list[dict[str, Any]] = []
        for ids in in_parts(list(pending)):
            rows += await self._db.rows(
                "assembly/traces_of_sessions", session_ids=ids, max_traces=self._limits.traces
            )
        trace_ids = [row["TraceId"] for row in rows]
        sizes = await load_sizes(self._db, trace_ids, await load_times(self._db, trace_ids))
        groups = groupby(rows, lambda row: row["SessionId"])
        found = (self._session(pending[name], list(traces), sizes) for name, traces in groups)
        return [session for session in found if session.trace_ids]

    def _session(
        self, row: Mapping[str, Any], newest_first: Sequence[Mapping[str, Any]], sizes: Mapping[str, Size]
    ) -> _Session:
        stored = [trace["TraceId"] for trace in newest_first if trace["TraceId"] in sizes]
        trace_ids: list[str] = []
        size = Size(0, 0)
        for trace_id in stored:
            larger = Size(size.spans + sizes[trace_id].spans, size.bytes + sizes[trace_id].bytes)
            if trace_ids and not self._limits.reading.hold(larger):
                break
            trace_ids.append(trace_id)
            size = larger
        gone = len(newest_first) - len(stored)
        return _Session(
            session_id=row["SessionId"],
            revision=row["Revision"] + 1,
            last_seen_ns=row["LastSeen"],
            kept_open_ns=row["KeptOpenAt"],
            trace_ids=tuple(reversed(trace_ids)),
            size=size,
            left_out=newest_first[0]["Traces"] - gone - len(trace_ids),
        )

    async def _write(self, portion: Sequence[_Session], unreadable: str) -> None:
        """unreadable: the kind of error that their content causes, when they are to be without it."""
        trace_ids = [trace_id for session in portion for trace_id in session.trace_ids]
        times = await load_times(self._db, trace_ids)
        size = portion[0].size
        content = await load_content(self._db, trace_ids, times, size, self._limits.reading)
        feedback = await load_session_feedback(self._db, [session.session_id for session in portion])
        rows = await asyncio.to_thread(self._to_rows, portion, content, feedback, unreadable)
        await self._db.insert("sessions", rows)
        written = {row.session_id for row in rows}
        self._empty |= {s.session_id: s.last_seen_ns for s in portion if s.session_id not in written}

    async def _give_up(self, session: _Session) -> None:
        self._empty[session.session_id] = session.last_seen_ns

    def _to_rows(
        self,
        portion: Sequence[_Session],
        content: Content,
        feedback: Mapping[str, Sequence[Feedback]],
        unreadable: str,
    ) -> list[SessionRow]:
        rows = []
        for session in portion:
            trace_ids = tuple(trace_id for trace_id in session.trace_ids if trace_id in content.spans)
            spans = [span for trace_id in trace_ids for span in content.spans[trace_id]]
            if not spans:
                continue
            notes = {
                TRACES_LEFT_OUT: str(session.left_out or ""),
                SPANS_LEFT_OUT: str(content.left_out or ""),
                UNREADABLE: unreadable,
            }
            if unreadable:
                trace = self._read_session(bare(spans), (), ())
            else:
                trace = self._read_session(
                    spans,
                    [record for trace_id in trace_ids for record in content.logs.get(trace_id, ())],
                    [
                        *(g for trace_id in trace_ids for g in content.feedback.get(trace_id, ())),
                        *feedback.get(session.session_id, ()),
                    ],
                )
            notes = {name: value for name, value in notes.items() if value}
            trace = replace(
                trace,
                trace_id=trace_ids[0],
                session_id=session.session_id,
                attributes={**trace.attributes, **notes},
            )
            rows.append(self._session_row(session, trace_ids, trace))
        return rows

    def _session_row(self, session: _Session, trace_ids: tuple[str, ...], trace: Trace) -> SessionRow:
        row = self._to_row(trace, session.revision, session.last_seen_ns)
        values = {field.name: getattr(row, field.name) for field in fields(TraceRow)}
        return SessionRow(**values, trace_ids=trace_ids)
