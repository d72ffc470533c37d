"""From when on arrivals are looked at, so that a tick costs what came lately and not what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OVERLAP_NS = 60 * 10**9
"""Arrival times are taken before an insert is visible, by clocks that differ: look back this much further."""


class Horizon:
    """`since_ns` is None until `begin`; it moves forward only."""

    def __init__(self) -> None:
        self.since_ns: int | None = None

    def begin(self, newest_ns: int, longest_ns: int) -> None:
        """After a former process, whose newest row holds arrivals up to `newest_ns`.

        What is closed is assembled in the order of its newest arrival. So what that process has left has
        newer arrivals, or was open then, and nothing stays open for longer than `longest_ns`.
        """
        self.since_ns = max(0, newest_ns - longest_ns - OVERLAP_NS)

    def move(self, now_ns: int, pending: Sequence[Mapping[str, Any]], retried: Iterable[int]) -> None:
        """After a tick: up to what is still open (OldestOpen), or tried again since `retried`, no further.

        pending: the rows that the tick read, each with AllPending, AllOpen and OldestOpen of all there are.
        """
        waits = [now_ns, *retried]
        if pending:
            of_all = pending[0]
            if of_all["AllPending"] - of_all["AllOpen"] > sum(row["Closed"] for row in pending):
                return  # more is closed than one tick takes up
            waits += [of_all["OldestOpen"]] if of_all["AllOpen"] else []
        self.since_ns = max(self.since_ns or 0, min(waits) - OVERLAP_NS)
