"""The loop that forwards: traces as they close, labels as they come."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from tracetaxa.errors import StoreError
from tracetaxa.forward.deliveries import begin
from tracetaxa.forward.due import DueLabelEvents, DueTraces
from tracetaxa.forward.late import LabelForwarder
from tracetaxa.forward.mark import Mark
from tracetaxa.forward.sending import Sender
from tracetaxa.forward.traces import TraceForwarder
from tracetaxa_exporter.otlp import ExportFailed, ExportRefused

if TYPE_CHECKING:
    from tracetaxa.forward.rules import Rules
    from tracetaxa.forward.spool import SpoolState
    from tracetaxa.protocols import Database
    from tracetaxa_exporter.otlp import Backoff, ExportClient

log = logging.getLogger(__name__)

_LABELS_AT_ONCE: Final = 1000


class Forwarder:
    """`start` once, then `run`; when `run` returns, what is at the destination is recorded, but for what the
    destination did not answer within `shutdown_seconds`.
    """

    def __init__(
        self,
        db: Database,
        client: ExportClient,
        rules: Rules,
        backoff: Backoff,
        spool: SpoolState,
        *,
        tick_seconds: float = 0.5,
        shutdown_seconds: float = 10.0,
    ) -> None:
        self._db = db
        self._rules = rules
        self._backoff = backoff
        self._spool = spool
        self._tick_seconds = tick_seconds
        self._shutdown_seconds = shutdown_seconds
        self._stopping = asyncio.Event()
        self._sender = Sender(client, backoff, self._stopping)
        self.counts = self._sender.counts
        self._trouble = ""

    async def start(self) -> Mark:
        """The mark of this deployment; from now on what is closed is forwarded. Raises StoreError."""
        rules = self._rules
        start = await begin(self._db, rules.destination, uuid4().hex)
        mark = Mark(start.instance)
        since_ns = max(start.since_ns, start.now_ns - round(rules.max_age_seconds * 10**9))
        self._due = DueTraces(self._db, rules, since_ns)
        self._due_labels = DueLabelEvents(self._db, rules, since_ns)
        self._traces = TraceForwarder(
            self._db, self._sender, rules, mark, self._stopping, began_ns=start.now_ns
        )
        self._labels = LabelForwarder(self._db, self._sender, rules, mark)
        return mark

    @property
    def last_error(self) -> str:
        """What keeps traces here, or empty."""
        trouble = self._sender.failing or self._trouble or self._spool.trouble
        return f"forwarding to {self._rules.destination}: {trouble}" if trouble else ""

    async def unforwarded(self) -> int:
        """Closed traces (labels, where spans are not forwarded) that the destination does not have. Raises
        StoreError."""
        return await (self._due.count() if self._rules.spooled else self._due_labels.count())

    async def oldest_pending(self) -> int | None:
        """Since when the oldest trace waits, in nanoseconds; None when there is none. Raises StoreError."""
        return await self._due.oldest()

    async def tick(self) -> int:
        """Forward what is due now; returns how many traces and labels' traces that were.

        Raises StoreError, ExportFailed and ExportRefused.
        """
        self._sender.failing = ""
        done = 0
        listed: frozenset[str] | None = frozenset()
        if self._rules.spooled:
            due = await self._due.look()
            for first in range(0, len(due), self._rules.batch_traces):
                if self._stopping.is_set():
                    return done
                batch = due[first : first + self._rules.batch_traces]
                await self._traces.forward(batch)
                done += len(batch)
            listed = self._due.listed
        if listed is not None:
            labels = await self._due_labels.look(listed)
            for first in range(0, len(labels), _LABELS_AT_ONCE):
                if self._stopping.is_set():
                    return done
                await self._labels.forward(labels[first : first + _LABELS_AT_ONCE])
            done += len(labels)
        return done

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping`; outlives whatever goes wrong."""
        work = asyncio.create_task(self._work())
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            await asyncio.wait({work}, timeout=self._shutdown_seconds)
        finally:
            self._stopping.set()
            stop.cancel()
            work.cancel()
            await asyncio.gather(work, stop, return_exceptions=True)
            self._stopping.clear()

    async def _work(self) -> None:
        while not self._stopping.is_set():
            pause = self._tick_seconds
            try:
                await self.tick()
            except ExportRefused as error:
                self._note(f"the destination refuses us: {error}")
                pause = self._backoff.max_seconds
            except ExportFailed as error:
                self._note(str(error))
            except StoreError as error:
                self._note(str(error))
            except Exception as error:
                # The next tick finds the same work again: the loop must not end over it.
                log.debug("forwarding broke", exc_info=error)
                self._note(f"unexpected {type(error).__name__}: {error}")
            else:
                self._note(self._spool.trouble)
            try:
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    def _note(self, trouble: str) -> None:
        """Told once, not at every tick."""
        if trouble and not self._trouble:
            log.warning("forwarding to %s waits: %s", self._rules.destination, trouble)
        elif self._trouble and not trouble:
            log.info("forwarding to %s works again", self._rules.destination)
        self._trouble = trouble
