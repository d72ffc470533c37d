"""Whose turn it is: claims of several processes on one database, embedded and over ClickHouse's HTTP interface."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tracetaxa.errors import StoreUnavailable
from tracetaxa.schedule.lease import Lease, LeaseTimes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tracetaxa.store.database import ClickHouse

PATIENT = LeaseTimes(lease_seconds=60, claim_seconds=0.2)
SHORT = LeaseTimes(lease_seconds=1.0, claim_seconds=0.05)
DEADLINE_SECONDS = 30


async def soon(ask: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await ask():
        assert time.monotonic() < deadline


def test_one_at_a_time(store: ClickHouse) -> None:
    async def story() -> None:
        first, second = Lease(store, "topics", PATIENT), Lease(store, "topics", PATIENT)
        other = Lease(store, "failures", PATIENT)
        assert await first.try_acquire()
        assert not await second.try_acquire()
        assert await other.try_acquire()  # another analysis is another turn
        await first.release()
        third = Lease(store, "topics", PATIENT)
        assert await third.try_acquire()
        assert not await Lease(store, "topics", PATIENT).try_acquire()

    asyncio.run(story())


@pytest.mark.parametrize("number", [2, 8])
def test_of_many_at_once_one_wins(store: ClickHouse, number: int) -> None:
    async def story() -> None:
        for _ in range(3):
            leases = [Lease(store, "topics", PATIENT) for _ in range(number)]
            won = await asyncio.gather(*(lease.try_acquire() for lease in leases))
            assert sum(won) == 1
            await leases[won.index(True)].release()

    asyncio.run(story())


def test_who_falls_silent_loses_the_turn_and_finds_out(store: ClickHouse) -> None:
    async def story() -> None:
        silent, waiting = Lease(store, "topics", SHORT), Lease(store, "topics", PATIENT)
        assert await silent.try_acquire()
        await soon(waiting.try_acquire)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await silent.keep()  # returns: the turn is lost
        assert not await Lease(store, "topics", SHORT).try_acquire()  # and stays with who took it
        with store.reader() as client:
            held = client.query("SELECT count() FROM run_leases WHERE Event = 'held'").result_rows
        assert held == [(2,)]  # the silent one has not reported again

    asyncio.run(story())


def test_who_reports_keeps_the_turn(store: ClickHouse) -> None:
    async def story() -> None:
        times = LeaseTimes(lease_seconds=2.0, claim_seconds=0.05)
        mine = Lease(store, "topics", times)
        assert await mine.try_acquire()
        keeping = asyncio.create_task(mine.keep())
        until = time.monotonic() + 1.25 * times.lease_seconds
        while time.monotonic() < until:
            assert not await Lease(store, "topics", SHORT).try_acquire()
        assert not keeping.done()
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        await mine.release()
        assert await Lease(store, "topics", SHORT).try_acquire()

    asyncio.run(story())


class Unreachable:
    """The store, until it is gone."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store
        self.gone = False

    async def rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        self._check()
        return await self._store.rows(name, **parameters)

    async def command(self, name: str, **parameters: Any) -> None:
        self._check()
        await self._store.command(name, **parameters)

    def _check(self) -> None:
        if self.gone:
            raise StoreUnavailable("gone")


def test_who_cannot_report_stops(store: ClickHouse) -> None:
    async def story() -> None:
        database = Unreachable(store)
        mine, other = Lease(database, "topics", SHORT), Lease(store, "topics", SHORT)  # type: ignore[arg-type]
        assert await mine.try_acquire()
        database.gone = True
        async with asyncio.timeout(DEADLINE_SECONDS):
            await mine.keep()
        await mine.release()  # nobody there: no error
        await soon(other.try_acquire)

    asyncio.run(story())


def test_who_gives_up_waiting_leaves_no_claim(store: ClickHouse) -> None:
    async def story() -> None:
        claiming = asyncio.create_task(Lease(store, "topics", LeaseTimes(60, 30)).try_acquire())

        async def claimed() -> bool:
            return bool(await store.rows("schedule/lease_holders", analysis="topics"))

        await soon(claimed)
        claiming.cancel()
        with suppress(asyncio.CancelledError):
            await claiming
        assert await Lease(store, "topics", PATIENT).try_acquire()

    asyncio.run(story())
