"""Spans to the destination, as often as it takes, in smaller requests where it refuses large ones."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa_exporter.otlp import ExportRefused, persistently
from tracetaxa_exporter.raw import joined

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from tracetaxa_exporter.otlp import Backoff, ExportClient, ExportFailed

log = logging.getLogger(__name__)

Outgoing = tuple[bytes, bytes, bytes]
"""(resource, scope, span), as in `tracetaxa_exporter.raw`."""


REFUSALS_TOLD_SECONDS = 60.0
"""The log tells of refused spans once in so long, how many they were; `Counts` has each."""


@dataclass(slots=True)
class Counts:
    """Totals since the start, in spans unless said otherwise."""

    sent: int = 0
    rejected: int = 0
    """Taken in part: these the destination left out."""
    refused: int = 0
    """Those it said never to send again."""
    carriers: int = 0
    """Carrier spans among those sent."""
    failed_attempts: int = 0
    """Requests that it did not take then."""
    expired: int = 0
    """Left the spool undelivered: too old, or it was full."""


class Sender:
    """`send` may run several times at once. `failing`: what the last attempt met, or empty."""

    def __init__(self, client: ExportClient, backoff: Backoff, stopping: asyncio.Event) -> None:
        self._client = client
        self._backoff = backoff
        self._stopping = stopping
        self.counts = Counts()
        self.failing = ""
        self._untold = 0
        self._tell_at = 0.0

    async def send(self, spans: Sequence[Outgoing]) -> list[int]:
        """Positions of the spans that were refused for good; all others are there when it returns.

        Raises ExportFailed when the destination did not take them within the time of the backoff, and
        ExportRefused when it takes nothing from us (fault `access`).
        """
        request = joined(spans)
        try:
            taken = await persistently(
                lambda: self._client.export(request),
                self._backoff,
                stopping=self._stopping,
                failed=self._note,
            )
        except ExportRefused as error:
            if error.fault == "access":
                raise
            if error.fault in ("data", "size") and len(spans) > 1:
                return await self._send_halves(spans)
            self._refuse(error, len(spans))
            return list(range(len(spans)))
        self.failing = ""
        self.counts.sent += len(spans) - taken.rejected
        self.counts.rejected += taken.rejected
        if taken.rejected or taken.message:
            log.warning(
                "the destination left out %d of %d spans: %s", taken.rejected, len(spans), taken.message
            )
        return []

    async def _send_halves(self, spans: Sequence[Outgoing]) -> list[int]:
        """One bad span, or a limit that is lower than ours, must not cost the others."""
        middle = len(spans) // 2
        first = await self.send(spans[:middle])
        return [*first, *(middle + position for position in await self.send(spans[middle:]))]

    def _note(self, error: ExportFailed) -> None:
        self.counts.failed_attempts += 1
        if not self.failing:
            log.warning("the destination does not take spans now: %s", error)
        self.failing = str(error)

    def _refuse(self, error: ExportRefused, count: int) -> None:
        self.counts.refused += count
        self.failing = ""
        self._untold += count
        # A destination that refuses everything must not flood the log.
        if time.monotonic() >= self._tell_at:
            log.error("the destination refused %d spans for good, the last one with: %s", self._untold, error)
            self._untold, self._tell_at = 0, time.monotonic() + REFUSALS_TOLD_SECONDS
