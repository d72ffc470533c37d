"""Whose turn it is, among processes that share a ClickHouse server.

ClickHouse has no compare-and-set, so a turn is claimed by adding a row, and won by being first in an order
that all read alike: held before claimed, then by the server's time of the claim. Between claiming and
reading stands a pause in which the claims of others become visible. A holder adds a row now and then while
it works; when none has come for the length of its lease, its claim is void and another takes the turn. After
Lamport's bakery (CACM 17:8, 1974), with leases (Gray and Cheriton, SOSP 1989) for those who die inside.

This is advisory: where rows take longer to be seen than the pause, two may work for a moment. Then the later
finds out at its next report and stops, and runs are idempotent by their id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.errors import StoreError

if TYPE_CHECKING:
    from tracetaxa.protocols import Database

log = logging.getLogger(__name__)

_REPORTS = 4
"""Reports of a holder within the length of its lease."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    lease_seconds: float = 60.0
    """A holder that is not heard of for this long is gone."""
    claim_seconds: float = 1.0
    """The pause between claiming and reading; at most half of the lease."""


class Lease:
    """The turn of one analysis, from `try_acquire` to `release`."""

    def __init__(self, db: Database, analysis: str, times: LeaseTimes) -> None:
        self._db = db
        self._analysis = analysis
        self._times = times
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"

    async def try_acquire(self) -> bool:
        """Whether it is ours now. Raises StoreError."""
        if await self._live():
            return False
        acquired = False
        try:
            await self._write("claimed")
            await asyncio.sleep(self._times.claim_seconds)
            if await self._is_ours():
                await self._write("held")
                # Again: somebody whose claim was earlier, and seen too late, may hold it by now.
                acquired = await self._is_ours()
        finally:
            if not acquired:
                await self.release()
        return acquired

    async def keep(self) -> None:
        """Reports for as long as the turn is ours; returns when it is lost."""
        heard = time.monotonic()
        interval = self._times.lease_seconds / _REPORTS
        while True:
            await asyncio.sleep(interval)
            asked = time.monotonic()
            try:
                async with asyncio.timeout(interval):
                    # Before reporting: a claim that ended while this process was frozen must not come back.
                    if not await self._is_ours():
                        return
                    await self._write("held")
                heard = asked
            except (StoreError, TimeoutError) as error:
                log.debug("the turn of %s can't be kept now: %s", self._analysis, error)
                if time.monotonic() - heard > self._times.lease_seconds - interval:
                    return

    async def release(self) -> None:
        """Gives it back; when ClickHouse is not there, it ends with the lease."""
        with contextlib.suppress(StoreError):
            await asyncio.shield(self._write("released"))

    async def _is_ours(self) -> bool:
        live = await self._live()
        return bool(live) and live[0] == self._holder

    async def _live(self) -> list[str]:
        rows = await self._db.rows("schedule/lease_holders", analysis=self._analysis)
        return [row["Holder"] for row in rows]

    async def _write(self, event: str) -> None:
        await self._db.command(
            "schedule/write_lease",
            analysis=self._analysis,
            holder=self._holder,
            event=event,
            lease_ms=round(self._times.lease_seconds * 1000),
        )
