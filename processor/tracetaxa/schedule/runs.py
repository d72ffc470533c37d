"""Runs in turn: one at a time in this process, and of one analysis one at a time in all processes.

Two runs of an analysis at once would give two taxonomies the same version and pay twice for one window. So
whoever wants to run it, a schedule, the API or a command, has its turn here; a second one waits, and then
finds the finished run or goes on with what the first has left.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.job import Stop
from tracetaxa.errors import RunFailed
from tracetaxa.jobs import quote_request, run_request
from tracetaxa.protocols import no_progress
from tracetaxa.schedule.lease import Lease, LeaseTimes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracetaxa.config import Config
    from tracetaxa.jobs import QuotedRun, RunRequest, StillOpen
    from tracetaxa.protocols import Watcher
    from tracetaxa.records import RunRow
    from tracetaxa.store.database import ClickHouse

WAITING = "wait for its turn"
"""The stage of somebody who waits for another run."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Nobody else is at work on the analysis while this is open."""

    _config: Config
    _db: ClickHouse
    _still_open: StillOpen
    _lease: Lease | None
    stop: Stop = field(default_factory=Stop)

    async def run(self, request: RunRequest, progress: Watcher = no_progress) -> RunRow:
        """See `run_request`. Raises RunFailed when the turn is lost: another process goes on then."""
        working = run_request(
            self._config, self._db, request, still_open=self._still_open, progress=progress, stop=self.stop
        )
        if self._lease is None:
            return await working
        work = asyncio.create_task(working)
        keeping = asyncio.create_task(self._lease.keep())
        try:
            await asyncio.wait({work, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            self.stop.reason = "superseded"
            raise RunFailed(
                "this process was not heard of for too long (scheduler.lease_seconds), so another may have "
                "taken its run over"
            )
        finally:
            await _end(keeping)
            await _end(work)


class Runs:
    """Who runs what, when: the one place of this process from which analyses start."""

    def __init__(self, config: Config, db: ClickHouse, still_open: StillOpen) -> None:
        self._config = config
        self._db = db
        self._still_open = still_open
        self._times = LeaseTimes(config.scheduler.lease_seconds, config.scheduler.claim_seconds)
        self._here = asyncio.Lock()

    async def run(self, request: RunRequest, progress: Watcher = no_progress) -> RunRow:
        """Waits for the turn, and runs. Raises as `run_request` does, and RunFailed."""
        async with self.turn(request.analysis, progress) as turn:
            assert turn is not None
            return await turn.run(request, progress)

    async def quote(self, request: RunRequest) -> QuotedRun:
        """What the run would cost. It needs no turn: nothing is written."""
        return await quote_request(self._config, self._db, request, still_open=self._still_open)

    @contextlib.asynccontextmanager
    async def turn(
        self, analysis: str, progress: Watcher = no_progress, *, wait: bool = True
    ) -> AsyncIterator[Turn | None]:
        """The turn of this analysis; None when another process has it and `wait` is false."""
        if wait and self._here.locked():
            progress(WAITING, 0, 1)
        async with self._here:
            if self._db.dsn.embedded:  # which one process has
                yield Turn(self._config, self._db, self._still_open, None)
                return
            lease = Lease(self._db, analysis, self._times)
            while not await lease.try_acquire():
                if not wait:
                    yield None
                    return
                progress(WAITING, 0, 1)
                await asyncio.sleep(self._times.claim_seconds)
                lease = Lease(self._db, analysis, self._times)
            try:
                yield Turn(self._config, self._db, self._still_open, lease)
            finally:
                await lease.release()


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancels it if it is still at work, and waits until it is not."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
