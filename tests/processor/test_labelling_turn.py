"""Of several processes one labels, and another goes on when that one is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tracetaxa.assemble.loop import Loop
from tracetaxa.labelling.turn import InTurn
from tracetaxa.schedule.lease import LeaseTimes

if TYPE_CHECKING:
    from tracetaxa.store.database import ClickHouse

TIMES = LeaseTimes(lease_seconds=2.0, claim_seconds=0.05)
SECONDS = 30.0


class Counting(Loop):
    """How often it ticked, and whether it runs."""

    def __init__(self) -> None:
        super().__init__("counting", 0.01)
        self.ticks = 0
        self.runs = False

    async def tick(self) -> int:
        self.ticks += 1
        return 1

    async def run(self, stopping: asyncio.Event) -> None:
        self.runs = True
        try:
            await super().run(stopping)
        finally:
            self.runs = False


async def until(done: object) -> None:
    async with asyncio.timeout(SECONDS):
        while not done():  # type: ignore[operator]
            await asyncio.sleep(0.01)


def test_one_labels_and_another_goes_on(store: ClickHouse) -> None:
    async def go() -> None:
        loops = [Counting() for _ in range(3)]
        ends = [asyncio.Event() for _ in loops]
        tasks = [
            asyncio.create_task(InTurn(store, (loop,), TIMES, ask_seconds=0.1).run(end))
            for loop, end in zip(loops, ends, strict=True)
        ]
        left = set(range(3))
        while left:
            await until(lambda: any(loops[i].runs for i in left))
            (first,) = [i for i in left if loops[i].runs]
            before = [loop.ticks for loop in loops]
            await until(lambda first=first, before=before: loops[first].ticks > before[first] + 20)
            assert all(loops[i].ticks == before[i] for i in range(3) if i != first)
            ends[first].set()
            await tasks[first]
            assert not loops[first].runs
            left.remove(first)

    asyncio.run(go())


def test_a_turn_that_is_lost_ends_the_work(store: ClickHouse) -> None:
    """As after the process was frozen: somebody else has it."""

    async def go() -> None:
        loop, end = Counting(), asyncio.Event()
        in_turn = InTurn(store, (loop,), TIMES, ask_seconds=60)
        task = asyncio.create_task(in_turn.run(end))
        await until(lambda: loop.runs)
        (holder,) = [
            row["Holder"] for row in await store.rows("schedule/lease_holders", analysis="label all")
        ]
        await store.command(
            "schedule/write_lease", analysis="label all", holder=holder, event="released", lease_ms=1
        )
        await until(lambda: not loop.runs)
        assert not in_turn.has_turn
        end.set()
        await task

    asyncio.run(go())
