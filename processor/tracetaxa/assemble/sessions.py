"""Finds sessions that went quiet and writes their newest revision: all traces of a conversation as one row.

State lives in ClickHouse only, as for traces: `session_activity` says when revisions of a session's traces
were written (or feedback on it), `sessions` says up to when each session is assembled. A trace that comes
later, or changes, opens its session again and makes a new revision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tracetaxa.assemble.bare import UNREADABLE, Attempts, bare
from tracetaxa.assemble.feedback import load_feedback, load_session_feedback
from tracetaxa.assemble.ids import in_parts
from tracetaxa.assemble.logs import load_logs
from tracetaxa.assemble.loop import Loop
from tracetaxa.assemble.sizes import MIB, ReadLimits, Size, load_sizes, portions
from tracetaxa.assemble.spans import SPANS_LEFT_OUT, load_first_spans, load_spans
from tracetaxa.assemble.times import load_times
from tracetaxa.errors import StoreUnavailable
from tracetaxa.records import Feedback, LogRecord, SessionRow, Span, Trace, TraceRow

if TYPE_CHECKING:
    from tracetaxa.assemble.rows import ToRow
    from tracetaxa.protocols import Database

log = logging.getLogger(__name__)

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


@dataclass(frozen=True, slots=True)
class _Content:
    """What a portion of sessions is made of, by trace id or session id."""

    spans: Mapping[str, Sequence[Span]]
    logs: Mapping[str, Sequence[LogRecord]]
    on_traces: Mapping[str, Sequence[Feedback]]
    on_sessions: Mapping[str, Sequence[Feedback]]
    spans_left_out: int
    """Spans of a trace that is alone here because it is too large."""


class SessionAssembler(Loop):
    """A session closes `idle_seconds` after the newest span of its closed traces arrived.

    A session that can't be read or written is tried `max_attempts` times, apart from the others. Then it is
    written without its content (see bare.py), and if that fails too it is left until something new arrives.
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
        self._attempts = Attempts(max_attempts)
        self._since_ns: int | None = None
        self._retried: list[_Session] = []
        self._empty: dict[str, int] = {}
        """Sessions that nothing is left of: spans past the retention, or traces now in another session."""

    async def tick(self) -> int:
        """Assemble every session that is closed now; returns how many."""
        now_ns = (await self._db.rows("server_time"))[0]["Now"]
        # Beside those that are taken up, room for those that nothing is left of.
        pending = await self._pending(self._max_closing + len(self._empty))
        closed = [row for row in pending if row["Closed"] and not self._is_empty(row)]
        self._retried = []
        self.trouble = ""
        for first in range(0, len(closed), self._batch_sessions):
            await self._assemble(closed[first : first + self._batch_sessions])
        self._look_on(now_ns, pending)
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
        since_ns = await self._since()
        return await self._db.rows(
            "pending_sessions", since_ns=since_ns, idle_ms=self._idle_ms, max_rows=max_rows
        )

    async def _since(self) -> int:
        """From when on additions are looked at.

        Closed sessions are assembled in the order of their newest addition. So what a former process has
        left was added later than the newest that it assembled, or was kept open then by a span that had
        arrived within the idle time.
        """
        if self._since_ns is None:
            newest_ns = (await self._db.rows("newest_session"))[0]["LastSeen"]
            self._since_ns = max(0, newest_ns - self._idle_ms * 10**6 - _OVERLAP_NS)
        return self._since_ns

    def _look_on(self, now_ns: int, pending: Sequence[Mapping[str, Any]]) -> None:
        """Back to what keeps a session open, no further: one that never rests must not stretch this."""
        waits = [now_ns, *(session.kept_open_ns for session in self._retried)]
        if pending:
            if pending[0]["AllPending"] - pending[0]["AllOpen"] > sum(row["Closed"] for row in pending):
                return
            waits += [pending[0]["OldestOpen"]] if pending[0]["AllOpen"] else []
        self._since_ns = max(self._since_ns or 0, min(waits) - _OVERLAP_NS)
        self._empty = {name: seen for name, seen in self._empty.items() if seen >= self._since_ns}

    async def _assemble(self, batch: Sequence[Mapping[str, Any]]) -> None:
        sessions = await self._members(batch)
        for portion in portions(sessions, self._limits.reading):
            await self._write(portion)
        found = {session.session_id for session in sessions}
        self._empty |= {row["SessionId"]: row["LastSeen"] for row in batch if row["SessionId"] not in found}

    async def _members(self, batch: Sequence[Mapping[str, Any]]) -> list[_Session]:
        """The sessions of the batch that have traces, with those that will be read."""
        pending = {row["SessionId"]: row for row in batch}
        rows: list[dict[str, Any]] = []
        for ids in in_parts(list(pending)):
            rows += await self._db.rows("traces_of_sessions", session_ids=ids, max_traces=self._limits.traces)
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

    async def _write(self, portion: Sequence[_Session]) -> None:
        """Write them together, and when that fails each alone, so that one does no harm to others."""
        try:
            await self._write_rows(portion)
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(portion) == 1:
                await self._failed(portion[0], error)
            else:
                for session in portion:
                    await self._write([session])
        else:
            for session in portion:
                self._attempts.worked(session.session_id)

    async def _failed(self, session: _Session, error: Exception) -> None:
        self.trouble = f"unexpected {type(error).__name__}: {error}"
        if self._attempts.failed(session.session_id):
            log.debug("a session can't be assembled now", exc_info=error)
            self._retried.append(session)
            return
        kind = type(error).__name__
        log.error(
            "the session of trace %s can't be read and is kept without its content (%s)",
            *(session.trace_ids[0], kind),
            exc_info=error,
        )
        try:
            await self._write_rows([session], unreadable=kind)
        except StoreUnavailable:
            raise
        except Exception as another:
            log.error("the session of trace %s can't be kept", session.trace_ids[0], exc_info=another)
            self._empty[session.session_id] = session.last_seen_ns

    async def _write_rows(self, portion: Sequence[_Session], unreadable: str = "") -> None:
        content = await self._load(portion)
        rows = await asyncio.to_thread(self._to_rows, portion, content, unreadable)
        await self._db.insert("sessions", rows)
        written = {row.session_id for row in rows}
        self._empty |= {s.session_id: s.last_seen_ns for s in portion if s.session_id not in written}

    async def _load(self, portion: Sequence[_Session]) -> _Content:
        trace_ids = [trace_id for session in portion for trace_id in session.trace_ids]
        limits = self._limits.reading
        times = await load_times(self._db, trace_ids)
        left_out = 0
        if times is not None and len(trace_ids) == 1 and not limits.hold(portion[0].size):
            first, left_out = await load_first_spans(self._db, trace_ids[0], limits, times)
            spans = {trace_ids[0]: first}
        else:
            spans = await load_spans(self._db, trace_ids, times)
        logs = await load_logs(
            self._db, trace_ids, times, max_events=self._limits.spans, max_bytes=self._limits.bytes
        )
        on_traces = await load_feedback(self._db, trace_ids)
        on_sessions = await load_session_feedback(self._db, [session.session_id for session in portion])
        return _Content(spans, logs, on_traces, on_sessions, left_out)

    def _to_rows(self, portion: Sequence[_Session], content: _Content, unreadable: str) -> list[SessionRow]:
        rows = []
        for session in portion:
            trace_ids = tuple(trace_id for trace_id in session.trace_ids if trace_id in content.spans)
            spans = [span for trace_id in trace_ids for span in content.spans[trace_id]]
            if not spans:
                continue
            notes = {
                TRACES_LEFT_OUT: str(session.left_out or ""),
                SPANS_LEFT_OUT: str(content.spans_left_out or ""),
                UNREADABLE: unreadable,
            }
            if unreadable:
                trace = self._read_session(bare(spans), (), ())
            else:
                trace = self._read_session(
                    spans,
                    [record for trace_id in trace_ids for record in content.logs.get(trace_id, ())],
                    [
                        *(g for trace_id in trace_ids for g in content.on_traces.get(trace_id, ())),
                        *content.on_sessions.get(session.session_id, ()),
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
