"""The traces that a label by a person is about: one trace, or all of a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.assemble.ids import in_parts
from tracetaxa.people.items import LabelInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.people.items import GivenLabel
    from tracetaxa.protocols import Database


@dataclass(frozen=True, slots=True)
class Target:
    """A trace to be labelled; `revision` is the session's where sessions are what is labelled."""

    trace_id: str
    revision: int
    start_ns: int
    service_name: str
    session_id: str


class Targets:
    """Closed traces and sessions that some labels are about."""

    def __init__(
        self,
        traces: Mapping[str, Target],
        of_session: Mapping[str, Sequence[Target]],
        sessions: Mapping[str, int],
    ) -> None:
        self._traces = traces
        self._of_session = of_session
        self._sessions = sessions

    def of(self, given: GivenLabel, unit: str) -> Sequence[Target]:
        """unit: what the analysis labels. Of a session it labels all traces, whichever of them is named.

        Raises LabelInvalid for what is not there.
        """
        session_id = given.session_id
        if given.trace_id:
            if given.trace_id not in self._traces:
                raise LabelInvalid(f"there is no closed trace {given.trace_id}")
            trace = self._traces[given.trace_id]
            if unit == "trace":
                return [trace]
            session_id = trace.session_id
            if not session_id:
                raise LabelInvalid(
                    f"{given.analysis!r} labels sessions, and trace {given.trace_id} belongs to none"
                )
        found = self._of_session.get(session_id, ())
        if not found or (unit == "session" and session_id not in self._sessions):
            raise LabelInvalid(f"there is no closed session {session_id!r}")
        if unit == "trace":
            return found
        revision = self._sessions[session_id]
        return [Target(t.trace_id, revision, t.start_ns, t.service_name, t.session_id) for t in found]


async def load_targets(db: Database, labels: Sequence[GivenLabel]) -> Targets:
    """Raises StoreError."""
    traces = await _load(db, "people/targets", [given.trace_id for given in labels])
    wanted = [given.session_id for given in labels] + [trace.session_id for trace in traces]
    of_session: dict[str, list[Target]] = {}
    for trace in await _load(db, "people/targets_of_sessions", wanted):
        of_session.setdefault(trace.session_id, []).append(trace)
    sessions: dict[str, int] = {}
    for ids in in_parts(sorted(of_session)):
        rows = await db.rows("people/session_revisions", ids=ids)
        sessions |= {row["SessionId"]: row["Revision"] for row in rows}
    return Targets({trace.trace_id: trace for trace in traces}, of_session, sessions)


async def _load(db: Database, name: str, wanted: Sequence[str]) -> list[Target]:
    found: list[Target] = []
    for ids in in_parts(sorted({identity for identity in wanted if identity})):
        found += [
            Target(row["TraceId"], row["Revision"], row["Start"], row["ServiceName"], row["SessionId"])
            for row in await db.rows(name, ids=ids)
        ]
    return found
