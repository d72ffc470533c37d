"""The spool: spans as they came, committed before they are acknowledged, dropped when they are delivered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from tracetaxa.errors import StoreError
from tracetaxa_exporter.clickhouse import WriteFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.forward.rules import Rules
    from tracetaxa.forward.sending import Counts
    from tracetaxa.protocols import Database
    from tracetaxa_exporter.clickhouse import Rejected

log = logging.getLogger(__name__)

Oldest = Callable[[], Awaitable["int | None"]]
"""A time in nanoseconds, None when there is nothing. Raises StoreError."""
WhenFull = Literal["refuse", "drop_oldest"]
TABLE: Final = "forward_spool"
MIB: Final = 2**20
_PARTITION_SECONDS: Final = 900
"""As in the table's PARTITION BY."""
_MARGIN_SECONDS: Final = 300
"""Clocks differ, and an insert may take this long from its time to when it is seen."""


class Writer(Protocol):
    def write(self, requests: Sequence[Any]) -> list[Rejected]: ...


class SpooledWriter:
    """Writes requests of spans to the spool first, then to where they are stored.

    In this order a process that is killed between the two has acknowledged nothing, and when a trace is
    closed all of it is in the spool. What is then sent again is there twice, and forwarded once. `write` may
    be called by as many threads at a time as there are `spools`; others wait for one.
    """

    def __init__(self, spans: Writer, spools: Sequence[Writer], state: SpoolState) -> None:
        self._spans = spans
        self._state = state
        self._idle: SimpleQueue[Writer] = SimpleQueue()
        for spool in spools:
            self._idle.put(spool)

    def write(self, requests: Sequence[Any]) -> list[Rejected]:
        """As SpanWriter.write; raises WriteFailed, to be tried again, when the spool is full."""
        self._state.check()
        spool = self._idle.get()
        try:
            spool.write(requests)
        finally:
            self._idle.put(spool)
        return self._spans.write(requests)


class SpoolState:
    """Whether there is room, as of the last look; shared by those who write and who looks."""

    def __init__(self, max_mib: float, when_full: WhenFull) -> None:
        self._max_mib = max_mib
        self._when_full = when_full
        self.used_bytes = 0

    @property
    def full(self) -> bool:
        return self.used_bytes > self._max_mib * MIB

    @property
    def refuses(self) -> bool:
        return self.full and self._when_full == "refuse"

    @property
    def drops(self) -> bool:
        return self.full and self._when_full == "drop_oldest"

    @property
    def trouble(self) -> str:
        """For people who run tracetaxa; empty when all is well."""
        if not self.full:
            return ""
        what = "spans are refused" if self.refuses else "the oldest are dropped"
        return f"the spool takes more than exporter.otlp.queue.max_mib ({self._max_mib:g}): {what}"

    def check(self) -> None:
        if self.refuses:
            raise WriteFailed(self.trouble, retryable=True)


class SpoolKeeper:
    """Looks how large the spool is, and drops what is delivered, too old, or too much.

    oldest_pending, oldest_open: since when the oldest trace waits to be forwarded, and to be closed.
    longest_seconds: no span waits longer than this for its trace to be closed.
    """

    def __init__(
        self,
        db: Database,
        rules: Rules,
        state: SpoolState,
        counts: Counts,
        oldest_pending: Oldest,
        oldest_open: Oldest,
        longest_seconds: float = 3600.0,
    ) -> None:
        self._db = db
        self._rules = rules
        self._state = state
        self._counts = counts
        self._oldest_pending = oldest_pending
        self._oldest_open = oldest_open
        self._longest_seconds = longest_seconds

    async def look(self) -> None:
        """Raises StoreError."""
        partitions = await self._db.rows("forward/spool_partitions")
        self._state.used_bytes = sum(row["Bytes"] for row in partitions)
        if not partitions:
            return
        now = partitions[0]["CurrentTime"] / 10**9
        pending, opened = [
            now if oldest_ns is None else oldest_ns / 10**9
            for oldest_ns in (await self._oldest_pending(), await self._oldest_open())
        ]
        for row in partitions:
            end = row["FirstSecond"] + _PARTITION_SECONDS + _MARGIN_SECONDS
            # Whatever came until `end` was closed before this: what is pending or open came later.
            closed = end + self._longest_seconds
            if not (closed < pending and end < opened and closed < now):
                if not (end + self._rules.max_age_seconds < now or self._state.drops):
                    continue
                await self._tell_what_is_lost(row["FirstSecond"])
            await self._db.command("forward/spool_drop", partition=row["Partition"])
            self._state.used_bytes -= row["Bytes"]

    async def run(self, stopping: asyncio.Event, seconds: float = 15.0) -> None:
        """Again and again, until `stopping`."""
        while not stopping.is_set():
            try:
                await self.look()
            except StoreError as error:  # the forwarder tells
                log.debug("the spool can't be looked after now", exc_info=error)
            try:
                async with asyncio.timeout(seconds):
                    await stopping.wait()
            except TimeoutError:
                continue

    async def _tell_what_is_lost(self, first_second: int) -> None:
        (lost,) = await self._db.rows(
            "forward/spool_undelivered", first_second=first_second, destination=self._rules.destination
        )
        if lost["Spans"]:
            self._counts.expired += lost["Spans"]
            why = self._state.trouble or "they are older than exporter.otlp.queue.max_age"
            log.error(
                "%d spans of %d traces are not forwarded any more: %s", lost["Spans"], lost["Traces"], why
            )
