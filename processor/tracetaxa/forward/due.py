"""Which closed traces are to be forwarded now, and which labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracetaxa.forward.deliveries import load_earlier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tracetaxa.forward.rules import Rules
    from tracetaxa.protocols import Database

_SECOND_NS: Final = 10**9
_OVERLAP_NS: Final = 60 * _SECOND_NS
"""Times are taken before an insert is visible, by clocks that differ: look back this much further."""
_WINDOW_NS: Final = 900 * _SECOND_NS
"""As much is looked at together: when a destination comes back after hours, no more is held in memory."""
_AT_ONCE: Final = 1000
"""Ids in one question."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Due:
    """A trace that is forwarded now, as far as it was closed."""

    trace_id: str
    revision: int
    closed_ns: int
    waits_since_ns: int
    may_have_labels: bool = True


@dataclass(frozen=True, slots=True)
class DueLabels:
    """A trace with labels that the destination may not know."""

    trace_id: str
    revision: int
    labels: tuple[int, ...]


class _Windows:
    """Looks from the oldest that is left onwards, a window at a time; `since_ns` moves forward only."""

    def __init__(self, db: Database, since_ns: int, window_ns: int) -> None:
        self._db = db
        self._window_ns = window_ns
        self.since_ns = since_ns

    async def look(self, ask: Callable[[int, int], Awaitable[list[Row]]]) -> tuple[list[Row], bool]:
        """Rows of the first window that has any, and whether there is none after it.

        `ask` is given the window's begin and end; each of its rows has OldestPending of the whole window.
        """
        now_ns = (await self._db.rows("server_time"))[0]["Now"]
        while True:
            until_ns = self.since_ns + self._window_ns
            rows = await ask(self.since_ns, until_ns)
            last = until_ns > now_ns
            if rows or last:
                oldest_ns = rows[0]["OldestPending"] if rows else now_ns
                self.since_ns = max(self.since_ns, oldest_ns - _OVERLAP_NS)
                return rows, last
            self.since_ns = until_ns - _OVERLAP_NS


class DueTraces:
    """Traces in the order in which they were closed.

    One is due when every analysis that labels it has done so, when it has waited for `timeout_seconds`, or
    when a part of it has been forwarded before: what comes late inherits the labels that there are.
    """

    def __init__(self, db: Database, rules: Rules, since_ns: int) -> None:
        self._db = db
        self._rules = rules
        timeout_ns = round(rules.timeout_seconds * _SECOND_NS)
        self._windows = _Windows(db, since_ns, _WINDOW_NS + timeout_ns)
        self._facts: dict[str, tuple[bool, bool]] = {}
        """Of those that wait: whether they have agent or model spans, and whether a part is there already."""
        self.listed: frozenset[str] | None = frozenset()
        """All traces that are closed and not delivered, as of the last look; None when they are too many."""

    async def look(self) -> list[Due]:
        rows, last = await self._windows.look(self._ask)
        whole = last and (not rows or rows[0]["AllPending"] == len(rows))
        self.listed = frozenset(row["TraceId"] for row in rows) if whole else None
        waiting = [row for row in rows if not row["Ready"]]
        await self._learn(waiting)
        unready = {
            row["TraceId"] for row in waiting if not self._labelling(row["TraceId"]) <= {*row["Labelled"]}
        }
        return [
            Due(row["TraceId"], row["Revision"], row["Closed"], row["WaitsSince"], row["MayHaveLabels"])
            for row in rows
            if row["TraceId"] not in unready
        ]

    async def count(self) -> int:
        """Traces that are closed and not delivered, now."""
        return int((await self._counted())["Pending"])

    async def oldest(self) -> int | None:
        """Since when the oldest of them waits, in nanoseconds; None when there is none."""
        counted = await self._counted()
        return int(counted["OldestPending"]) if counted["Pending"] else None

    async def _counted(self) -> Row:
        (row,) = await self._db.rows(
            "forward/count", since_ns=self._windows.since_ns, destination=self._rules.destination
        )
        return row

    async def _ask(self, since_ns: int, until_ns: int) -> list[Row]:
        return await self._db.rows(
            "forward/pending",
            since_ns=since_ns,
            until_ns=until_ns,
            destination=self._rules.destination,
            analyses=sorted(self._rules.analyses),
            timeout_ms=round(self._rules.timeout_seconds * 1000),
            max_rows=self._rules.max_pending,
        )

    def _labelling(self, trace_id: str) -> set[str]:
        """The analyses that will label it."""
        is_agent, is_late = self._facts[trace_id]
        if is_late:
            return set()
        return {name for name, agent_only in self._rules.analyses.items() if is_agent or not agent_only}

    async def _learn(self, waiting: Sequence[Row]) -> None:
        """The facts of those that wait, asked once each."""
        known = {row["TraceId"]: facts for row in waiting if (facts := self._facts.get(row["TraceId"]))}
        new = [row for row in waiting if row["TraceId"] not in known]
        for first in range(0, len(new), _AT_ONCE):
            rows = new[first : first + _AT_ONCE]
            ids = [row["TraceId"] for row in rows]
            agents = {row["TraceId"] for row in await self._db.rows("forward/agents", trace_ids=ids)}
            again = [row["TraceId"] for row in rows if row["Revision"] != 1]
            late = await load_earlier(self._db, self._rules.destination, again)
            known |= {
                identity: (identity in agents, bool(identity in late and late[identity].span_ids))
                for identity in ids
            }
        self._facts = known


class DueLabelEvents:
    """Labels that were given and not delivered, as far as their trace is not about to bring them itself."""

    def __init__(self, db: Database, rules: Rules, since_ns: int) -> None:
        self._db = db
        self._rules = rules
        self._windows = _Windows(db, since_ns, _WINDOW_NS)

    async def look(self, listed: frozenset[str]) -> list[DueLabels]:
        """But for traces that are still to be forwarded."""
        rows, _ = await self._windows.look(self._ask)
        return [
            DueLabels(row["TraceId"], row["Revision"], tuple(row["Labels"]))
            for row in rows
            if row["TraceId"] not in listed
        ]

    async def count(self) -> int:
        """Labels that were given and not delivered, now."""
        (row,) = await self._db.rows(
            "forward/count_labels", since_ns=self._windows.since_ns, destination=self._rules.destination
        )
        return int(row["Pending"])

    async def _ask(self, since_ns: int, until_ns: int) -> list[Row]:
        return await self._db.rows(
            "forward/pending_labels",
            since_ns=since_ns,
            until_ns=until_ns,
            destination=self._rules.destination,
            max_rows=self._rules.max_pending,
        )
