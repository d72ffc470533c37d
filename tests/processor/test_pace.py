"""The pace of a model's calls, on a loop whose clock jumps to the next event: exact, and in no time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.llm.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class JumpingLoop(asyncio.SelectorEventLoop):
    """Time passes only when everybody waits."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0]._when)
        super()._run_once()


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)


async def send_times(pace: Pace, calls: int, *, tokens: int = 0, used: int | None = None) -> list[float]:
    """When each of `calls` that were made at once was sent."""

    async def one() -> float:
        async with pace.turn():
            sent = await pace.ready(tokens)
            if used is not None:
                pace.used(tokens, used)
            return sent

    return sorted(await asyncio.gather(*(one() for _ in range(calls))))


def test_without_limits_nobody_waits() -> None:
    assert run(send_times(Pace(4), 20, tokens=1000)) == [0.0] * 20


def test_requests_are_spaced_and_not_sent_in_bursts() -> None:
    sent = run(send_times(Pace(8, requests_per_minute=30), 10))
    assert sent == pytest.approx([2.0 * i for i in range(10)])


def test_tokens_of_those_before_are_waited_for() -> None:
    sent = run(send_times(Pace(8, tokens_per_minute=60_000), 4, tokens=5000))
    assert sent == pytest.approx([0.0, 5.0, 10.0, 15.0])


@given(st.integers(1, 8), st.integers(6, 600), st.integers(1, 60))
def test_no_minute_has_more_requests_than_allowed(concurrency: int, per_minute: int, calls: int) -> None:
    sent = run(send_times(Pace(concurrency, requests_per_minute=per_minute), calls))
    for start in sent:
        # Within a minute, its end not in it; a float may lie just inside.
        assert sum(start <= at < start + 60.0 - 1e-6 for at in sent) <= per_minute


def test_an_estimate_that_was_wrong_is_made_up_for() -> None:
    sent = run(send_times(Pace(1, tokens_per_minute=60_000), 4, tokens=1000, used=3000))
    assert sent == pytest.approx([0.0, 3.0, 6.0, 9.0])


def test_a_pause_holds_back_everybody() -> None:
    pace = Pace(3)

    async def work() -> list[float]:
        pace.pause(7.0)
        pace.pause(2.0)  # a shorter one ends no longer one
        return await send_times(pace, 5)

    assert run(work()) == [7.0] * 5


def test_a_crowd_halves_the_calls_and_answers_bring_them_back_one_a_round() -> None:
    pace = Pace(8)

    async def work() -> list[int]:
        seen = [pace.concurrency]
        loop = asyncio.get_running_loop()
        for _ in range(5):
            await asyncio.sleep(1)
            pace.crowded(began=loop.time())
            await asyncio.sleep(1)
            seen.append(pace.concurrency)
        for _ in range(12):
            pace.answered()
            seen.append(pace.concurrency)
        return seen

    seen = run(work())
    assert seen[:6] == [8, 4, 2, 1, 1, 1]
    assert seen[6:] == [2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 5]


def test_calls_of_the_same_round_lower_it_once() -> None:
    pace = Pace(8)

    async def work() -> int:
        for _ in range(8):  # all began before the first of them failed
            pace.crowded(began=-0.5)
        return pace.concurrency

    assert run(work()) == 4


def test_as_many_are_under_way_as_may_be() -> None:
    pace, under_way, most = Pace(8), 0, []

    async def one() -> None:
        nonlocal under_way
        async with pace.turn():
            under_way += 1
            most.append(under_way)
            await asyncio.sleep(1)
            under_way -= 1

    async def work() -> None:
        pace.crowded(began=0.0)
        await asyncio.gather(*(one() for _ in range(20)))

    run(work())
    assert max(most) == 4


def test_a_turn_that_is_cancelled_is_free_again() -> None:
    pace = Pace(1)

    async def hold() -> None:
        async with pace.turn():
            await asyncio.sleep(3600)

    async def work() -> list[float]:
        holding = asyncio.create_task(hold())
        waiting = asyncio.create_task(send_times(pace, 1))
        await asyncio.sleep(5)
        holding.cancel()
        return await waiting

    assert run(work()) == [5.0]
