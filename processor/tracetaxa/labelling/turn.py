"""On a ClickHouse server several services may run; one of them labels.

Two would label everything twice, and pay the model twice. Which one is told by the same leases as whose turn
a run is (schedule/lease.py). When it is gone another goes on, from where the tables say.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tracetaxa.errors import StoreError
from tracetaxa.schedule.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.assemble.loop import Loop
    from tracetaxa.protocols import Database
    from tracetaxa.schedule.lease import LeaseTimes

log = logging.getLogger(__name__)

TURN = "label all"
"""No analysis can be called so."""
ASK_SECONDS = 5.0
"""How often it is asked whether the turn is free."""


class InTurn:
    """Runs the loops whenever this process has the turn. When `run` returns, none of them runs."""

    def __init__(
        self, db: Database, loops: Sequence[Loop], times: LeaseTimes, *, ask_seconds: float = ASK_SECONDS
    ) -> None:
        self._db = db
        self._loops = loops
        self._times = times
        self._ask_seconds = ask_seconds
        self.has_turn = False

    async def run(self, stopping: asyncio.Event) -> None:
        stop = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
                lease = Lease(self._db, TURN, self._times)
                if await self._acquired(lease):
                    try:
                        await self._work(lease, stop)
                    finally:
                        await lease.release()
                if not stopping.is_set():
                    await asyncio.wait({stop}, timeout=self._ask_seconds)
        finally:
            stop.cancel()

    async def _acquired(self, lease: Lease) -> bool:
        try:
            return await lease.try_acquire()
        except StoreError as error:
            log.debug("whose turn it is to label can't be told now: %s", error)
            return False

    async def _work(self, lease: Lease, stop: asyncio.Task[bool]) -> None:
        self.has_turn = True
        ending = asyncio.Event()
        working = [asyncio.create_task(loop.run(ending)) for loop in self._loops]
        keeping = asyncio.create_task(lease.keep())
        try:
            await asyncio.wait({stop, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.has_turn = False
            ending.set()
            keeping.cancel()
            await asyncio.gather(*working, keeping, return_exceptions=True)
