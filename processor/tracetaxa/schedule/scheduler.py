"""Runs the configured analyses at their scheduled times.

What is due is told by the table `scheduled_runs` and the clock alone, so any process may be killed and any
replica may do the work: a scheduled time is done when a row says so. The window of a run ends at the
scheduled time, whenever the run begins, so that a late run, or one that is made again, is the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.results.document import rfc3339
from tracetaxa.assemble.loop import Loop
from tracetaxa.errors import TracetaxaError
from tracetaxa.jobs import RunRequest
from tracetaxa.records import ABANDONED
from tracetaxa.schedule.times import Schedule

if TYPE_CHECKING:
    from tracetaxa.config import AnalysisConfig, Config
    from tracetaxa.protocols import Database
    from tracetaxa.records import RunRow
    from tracetaxa.schedule.runs import Runs, Turn

log = logging.getLogger(__name__)

OldestOpen = Callable[[], Awaitable["int | None"]]
"""Since when the oldest trace waits that no analysis can see yet; None when there is none."""

_SECOND_NS = 10**9
SINCE = "since"
"""The status of the row that says when a schedule was seen first."""


@dataclass(frozen=True, slots=True)
class ScheduledRunRow:
    """Row of `scheduled_runs`: what became of a scheduled time, one for each attempt."""

    analysis: str
    schedule: str
    scheduled_for_ns: int
    status: str
    settled: bool
    run_id: str
    error: str
    instance: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class _Job:
    analysis: AnalysisConfig
    schedule: Schedule
    settle_ns: int


class Scheduler(Loop):
    """One run at a time. When `run` returns, a run that was under way is left to be resumed.

    A run that fails never ends the loop: it is told in `last_error` and in the log, and made again after
    `retry_seconds`, up to `max_attempts` times in all.
    """

    def __init__(
        self,
        config: Config,
        db: Database,
        runs: Runs,
        oldest_open: OldestOpen,
        *,
        clock: Callable[[], int] = time.time_ns,
        instance: str | None = None,
    ) -> None:
        """clock: nanoseconds since the epoch; instance: what the jitter of this process depends on."""
        super().__init__("schedule", config.scheduler.tick_seconds)
        self._config = config.scheduler
        self._db = db
        self._runs = runs
        self._oldest_open = oldest_open
        self._clock = clock
        self._instance = instance or socket.gethostname()
        self._jobs = [
            _Job(analysis, Schedule(analysis.schedule, analysis.time_zone), _settle_ns(config, analysis.unit))
            for analysis in config.analyses
            if analysis.schedule is not None
        ]
        self._turn: Turn | None = None
        self._failing: dict[str, str] = {}
        self._begun: set[str] = set()
        self._looks_again: dict[str, int] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        ticking = asyncio.create_task(super().run(stopping))
        stopped = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({ticking, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._turn is not None:
                self._turn.stop.reason = "suspended"
            for task in (ticking, stopped):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def tick(self) -> int:
        """Makes the oldest due run of each analysis; returns how many were made."""
        made = 0
        try:
            for job in self._jobs:
                await self._begin(job)
                made += await self._take(job)
        finally:
            self.trouble = "; ".join(self._failing.values())
        return made

    async def status(self) -> list[dict[str, Any]]:
        """For each scheduled analysis: when it runs next, what is due, and what became of the last time."""
        names = [job.analysis.name for job in self._jobs]
        newest = await self._db.records("schedule/scheduled_newest", ScheduledRunRow, analyses=names)
        last = {row.analysis: row for row in newest}
        now = self._clock()
        return [
            {
                "analysis": job.analysis.name,
                "schedule": job.schedule.expression,
                "time_zone": job.schedule.time_zone,
                "next": rfc3339(job.schedule.next(now)),
                "due": [rfc3339(time_ns) for time_ns in await self._due(job, now)],
                "last": _outcome(last.get(job.analysis.name)),
            }
            for job in self._jobs
        ]

    # ------------------------------------------------------------------------------- what is due

    async def _begin(self, job: _Job) -> None:
        """Note when the schedule was first seen: it starts then, and makes up for nothing before."""
        if job.analysis.name not in self._begun:
            if not (await self._state(job))["Known"]:
                await self._record(job, self._clock(), SINCE, settled=True)
            self._begun.add(job.analysis.name)

    async def _take(self, job: _Job) -> bool:
        """Make the oldest due run of this analysis, if it is time and nobody else does."""
        if self._clock() < self._looks_again.get(job.analysis.name, 0) or await self._ready(job) is None:
            return False
        async with self._runs.turn(job.analysis.name, wait=False) as turn:
            # Again: whoever had the turn before may have done it.
            if turn is None or (ready := await self._ready(job)) is None:
                return False
            self._turn = turn
            try:
                await self._make(job, turn, *ready)
            finally:
                self._turn = None
        return True

    async def _ready(self, job: _Job) -> tuple[int, int] | None:
        """The oldest due time and which attempt it is, once its run may begin."""
        now = self._clock()
        due = await self._due(job, now)
        begins = due[0] + job.settle_ns + self._jitter_ns(job, due[0]) if due else job.schedule.next(now)
        if now < begins:  # until then there is nothing to ask the tables for
            self._looks_again[job.analysis.name] = begins
            return None
        if not await self._has_settled(job, due[0], now):
            return None
        (row,) = await self._db.rows(
            "schedule/schedule_attempts",
            analysis=job.analysis.name,
            schedule=str(job.schedule),
            scheduled_for_ns=due[0],
        )
        failed = int(row["Attempts"])
        pause_ns = round(self._config.retry_seconds * 2 ** (failed - 1) * _SECOND_NS) if failed else 0
        return (due[0], failed + 1) if now >= row["LastAt"] + pause_ns else None

    async def _due(self, job: _Job, now: int) -> list[int]:
        """Scheduled times that are not done, oldest first, at most as many as are made up for."""
        state = await self._state(job)
        if not state["Known"]:
            return []
        return job.schedule.newest(state["DoneUntil"], now, self._config.max_catch_up)

    async def _state(self, job: _Job) -> dict[str, Any]:
        name, schedule = job.analysis.name, str(job.schedule)
        return (await self._db.rows("schedule/schedule_state", analysis=name, schedule=schedule))[0]

    async def _has_settled(self, job: _Job, end_ns: int, now: int) -> bool:
        """Whether what was open at the window's end has closed, or has had enough time."""
        if job.analysis.unit == "session" or now >= end_ns + self._config.max_settle_seconds * _SECOND_NS:
            return True
        oldest = await self._oldest_open()
        return oldest is None or oldest >= end_ns

    def _jitter_ns(self, job: _Job, time_ns: int) -> int:
        text = f"{self._instance} {job.analysis.name} {time_ns}"
        part = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
        return round(part * self._config.jitter_seconds * _SECOND_NS)

    # ------------------------------------------------------------------------------- doing it

    async def _make(self, job: _Job, turn: Turn, end_ns: int, attempt: int) -> None:
        name, when = job.analysis.name, rfc3339(end_ns)
        if job.schedule.next((await self._state(job))["DoneUntil"]) < end_ns:
            log.warning("analysis %s: times before %s were missed (scheduler.max_catch_up)", name, when)
        log.info("analysis %s of %s begins", name, when)
        run: RunRow | None = None
        try:
            run = await turn.run(RunRequest(name, window_end_ns=end_ns))
            status, error = run.status, run.error
        except TracetaxaError as problem:
            status, error = "failed", str(problem)
        except Exception as problem:
            log.exception("analysis %s of %s broke", name, when)
            status, error = "failed", f"unexpected {type(problem).__name__}: {problem}"
        if turn.stop.reason == "superseded":
            log.warning("analysis %s of %s: %s", name, when, error)
            return
        settled = status != "failed" or attempt >= self._config.max_attempts
        if status == "failed":
            again = "" if settled else f"; it is made again in {self._pause(attempt)}"
            log.error("analysis %s of %s failed: %s%s", name, when, error, again)
            self._failing[name] = f"{name} of {when}: {error}"
        else:
            log.info("analysis %s of %s is %s", name, when, status)
            self._failing.pop(name, None)
        run_id = run.run_id if run is not None else ""
        await self._record(job, end_ns, status, settled=settled, run_id=run_id, error=error)

    def _pause(self, failed: int) -> str:
        return f"{self._config.retry_seconds * 2 ** (failed - 1):g} s"

    async def _record(
        self, job: _Job, time_ns: int, status: str, *, settled: bool, run_id: str = "", error: str = ""
    ) -> None:
        row = ScheduledRunRow(
            analysis=job.analysis.name,
            schedule=str(job.schedule),
            scheduled_for_ns=time_ns,
            status=status,
            settled=settled,
            run_id=run_id,
            error=error,
            instance=self._instance,
            at_ns=self._clock(),
        )
        await self._db.insert("scheduled_runs", [row])


class Abandonment(Loop):
    """Marks the runs on a server as failed whose process is gone, until somebody resumes them."""

    def __init__(self, config: Config, db: Database) -> None:
        super().__init__("cleaning up runs", config.scheduler.lease_seconds)
        self._db = db
        self._lease_ms = round(config.scheduler.lease_seconds * 1000)

    async def tick(self) -> int:
        await self._db.command("schedule/fail_abandoned_runs", error=ABANDONED, lease_ms=self._lease_ms)
        return 0


def _settle_ns(config: Config, unit: str) -> int:
    """What is over by the end of its window has closed this long after."""
    given, assembly = config.scheduler.settle_seconds, config.assembly
    if given is not None:
        return round(given * _SECOND_NS)
    sessions = assembly.session_idle_seconds if unit == "session" else 0.0
    return round((assembly.idle_seconds + assembly.orphan_idle_seconds + sessions) * _SECOND_NS)


def _outcome(row: ScheduledRunRow | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "scheduled_for": rfc3339(row.scheduled_for_ns),
        "status": row.status,
        "run_id": row.run_id or None,
        "finished_at": rfc3339(row.at_ns),
        "error": row.error or None,
    }
