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

from tracetaxa.assemble.feedback import load_feedback, load_session_feedback
from tracetaxa.assemble.logs import load_logs
from tracetaxa.assemble.loop import Loop
from tracetaxa.assemble.spans import load_spans
from tracetaxa.records import Feedback, LogRecord, SessionRow, Span, Trace, TraceRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracetaxa.assemble.rows import ToRow
    from tracetaxa.protocols import Database

ReadSession = Callable[[Sequence[Span], Sequence[LogRecord], Sequence[Feedback]], Trace]
"""All spans, logs and feedback of a session, its traces in the order of their start → one canonical trace."""
TRACES_LEFT_OUT = "tracetaxa.session.traces_left_out"
"""Attribute of a session that was too large to be read whole: how many of its oldest traces it leaves out."""

_OVERLAP_NS = 60 * 10**9
"""Times of writing are taken before a row is visible: look back this much further than the last tick."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is held in memory of one session, and of several that are read together."""

    traces: int = 200
    spans: int = 20_000


@dataclass(frozen=True, slots=True)
class _Session:
    """A session to assemble."""

    session_id: str
    revision: int
    last_seen_ns: int
    trace_ids: tuple[str, ...]
    """In order of their start, the oldest left out where there are too many."""
    spans: int
    left_out: int


class SessionAssembler(Loop):
    """A session closes `idle_seconds` after the newest span of its closed traces arrived."""

    def __init__(
        self,
        db: Database,
        read_session: ReadSession,
        to_row: ToRow,
        *,
        idle_seconds: float = 1800.0,
        tick_seconds: float = 1.0,
        batch_sessions: int = 100,
        limits: Limits | None = None,
    ) -> None:
        super().__init__("assembly of sessions", tick_seconds)
        self._db = db
        self._read_session = read_session
        self._to_row = to_row
        self._idle_ms = round(idle_seconds * 1000)
        self._batch_sessions = batch_sessions
        self._limits = limits or Limits()
        self._since_ns = 0
        self._empty: dict[str, int] = {}
        """Sessions that nothing is left of: spans past the retention, or traces now in another session."""

    async def tick(self) -> int:
        """Assemble every session that is closed now; returns how many."""
        now_ns = (await self._db.rows("server_time"))[0]["Now"]
        pending = await self._pending()
        closed = [row for row in pending if row["Closed"]]
        for first in range(0, len(closed), self._batch_sessions):
            await self._assemble(closed[first : first + self._batch_sessions])
        # Back to what keeps a session open, no further: one that never rests must not stretch the look-back.
        still_open = [row["KeptOpenAt"] for row in pending if not row["Closed"]]
        self._since_ns = max(self._since_ns, min([now_ns, *still_open]) - _OVERLAP_NS)
        self._empty = {name: seen for name, seen in self._empty.items() if seen >= self._since_ns}
        return len(closed)

    async def open_sessions(self) -> int:
        """Sessions with traces that no revision holds yet."""
        return len(await self._pending())

    async def _pending(self) -> list[dict[str, Any]]:
        rows = await self._db.rows("pending_sessions", since_ns=self._since_ns, idle_ms=self._idle_ms)
        return [row for row in rows if self._empty.get(row["SessionId"]) != row["LastSeen"]]

    async def _assemble(self, batch: Sequence[Mapping[str, Any]]) -> None:
        sessions = await self._members(batch)
        for portion in self._portions(sessions):
            await self._write(portion)
        found = {session.session_id for session in sessions}
        self._empty |= {row["SessionId"]: row["LastSeen"] for row in batch if row["SessionId"] not in found}

    async def _members(self, batch: Sequence[Mapping[str, Any]]) -> list[_Session]:
        """The sessions of the batch that have traces, with those that will be read."""
        pending = {row["SessionId"]: row for row in batch}
        rows = await self._db.rows(
            "traces_of_sessions", session_ids=list(pending), max_traces=self._limits.traces
        )
        groups = groupby(rows, lambda row: row["SessionId"])
        return [self._session(pending[session_id], list(traces)) for session_id, traces in groups]

    def _session(self, row: Mapping[str, Any], newest_first: Sequence[Mapping[str, Any]]) -> _Session:
        trace_ids: list[str] = []
        spans = 0
        for trace in newest_first:
            if trace_ids and spans + trace["SpanCount"] > self._limits.spans:
                break
            trace_ids.append(trace["TraceId"])
            spans += trace["SpanCount"]
        return _Session(
            session_id=row["SessionId"],
            revision=row["Revision"] + 1,
            last_seen_ns=row["LastSeen"],
            trace_ids=tuple(reversed(trace_ids)),
            spans=spans,
            left_out=newest_first[0]["Traces"] - len(trace_ids),
        )

    def _portions(self, sessions: Sequence[_Session]) -> Iterator[list[_Session]]:
        """Several small sessions at once, within the limits of a single large one."""
        portion: list[_Session] = []
        traces = spans = 0
        for session in sessions:
            traces += len(session.trace_ids)
            spans += session.spans
            if portion and (traces > self._limits.traces or spans > self._limits.spans):
                yield portion
                portion, traces, spans = [], len(session.trace_ids), session.spans
            portion.append(session)
        if portion:
            yield portion

    async def _write(self, portion: Sequence[_Session]) -> None:
        trace_ids = [trace_id for session in portion for trace_id in session.trace_ids]
        spans = await load_spans(self._db, trace_ids)
        logs = await load_logs(self._db, trace_ids)
        on_traces = await load_feedback(self._db, trace_ids)
        on_sessions = await load_session_feedback(self._db, [session.session_id for session in portion])
        rows = await asyncio.to_thread(self._to_rows, portion, spans, logs, on_traces, on_sessions)
        await self._db.insert("sessions", rows)
        written = {row.session_id for row in rows}
        self._empty |= {s.session_id: s.last_seen_ns for s in portion if s.session_id not in written}

    def _to_rows(
        self,
        portion: Sequence[_Session],
        spans: Mapping[str, Sequence[Span]],
        logs: Mapping[str, Sequence[LogRecord]],
        on_traces: Mapping[str, Sequence[Feedback]],
        on_sessions: Mapping[str, Sequence[Feedback]],
    ) -> list[SessionRow]:
        rows = []
        for session in portion:
            trace_ids = tuple(trace_id for trace_id in session.trace_ids if trace_id in spans)
            if trace_ids:
                trace = self._read_session(
                    [span for trace_id in trace_ids for span in spans[trace_id]],
                    [record for trace_id in trace_ids for record in logs.get(trace_id, ())],
                    [
                        *(given for trace_id in trace_ids for given in on_traces.get(trace_id, ())),
                        *on_sessions.get(session.session_id, ()),
                    ],
                )
                rows.append(self._session_row(session, trace_ids, trace))
        return rows

    def _session_row(self, session: _Session, trace_ids: tuple[str, ...], trace: Trace) -> SessionRow:
        left_out = {TRACES_LEFT_OUT: str(session.left_out)} if session.left_out else {}
        row = self._to_row(
            replace(
                trace,
                trace_id=trace_ids[0],
                session_id=session.session_id,
                attributes={**trace.attributes, **left_out},
            ),
            session.revision,
            session.last_seen_ns,
        )
        values = {field.name: getattr(row, field.name) for field in fields(TraceRow)}
        return SessionRow(**values, trace_ids=trace_ids)
