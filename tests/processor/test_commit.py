"""Group commit with a recording store: which requests share a write, and what each sender is told."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.errors import MalformedRequest, Overloaded
from tracetaxa.receive import GroupCommit, Room

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 2**20
HOUR_MS = 3_600_000


class Refusal(Exception):
    def __init__(self, retryable: bool) -> None:
        super().__init__("the store says no")
        self.retryable = retryable


class Store:
    """Keeps what it is given; fails for the requests it is told to fail for; can be held up."""

    def __init__(self, failures: dict[int, Exception] | None = None) -> None:
        self.failures = failures or {}
        self.groups: list[list[int]] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    @property
    def stored(self) -> list[int]:
        return [request for group in self.groups for request in group]

    def write(self, requests: Sequence[int]) -> list[str]:
        self.begun.set()
        self.go_on.wait(30)
        for request in requests:
            if request in self.failures:
                raise self.failures[request]
        self.groups.append(list(requests))
        return [f"result {request}" for request in requests]


async def submit_all(commit: GroupCommit[int, str], requests: Sequence[int]) -> list[str | BaseException]:
    submissions = [commit.submit(request, items=1, size_bytes=1) for request in requests]
    return await asyncio.gather(*submissions, return_exceptions=True)


async def begun(store: Store) -> None:
    assert await asyncio.to_thread(store.begun.wait, 30)


async def submitted(commit: GroupCommit[int, str], size_bytes: int) -> None:
    async with asyncio.timeout(30):
        while commit.room.used_bytes < size_bytes:
            await asyncio.sleep(0)


def test_concurrent_requests_share_a_write_and_get_their_own_result() -> None:
    store = Store()

    async def scenario() -> list[str | BaseException]:
        commit = GroupCommit(store.write, linger_ms=HOUR_MS, max_batch_items=10)
        results = await submit_all(commit, range(10))
        await commit.drain(30)
        return results

    assert asyncio.run(scenario()) == [f"result {n}" for n in range(10)]
    assert store.groups == [list(range(10))]


def test_lonely_request_waits_no_longer_than_the_linger() -> None:
    store = Store()

    async def scenario() -> str:
        commit = GroupCommit(store.write, linger_ms=1)
        return await commit.submit(7, items=1, size_bytes=1)

    assert asyncio.run(scenario()) == "result 7"


@pytest.mark.parametrize("limit", [{"max_batch_items": 4}, {"max_batch_mib": 4}])
def test_groups_keep_to_their_limits(limit: dict[str, int]) -> None:
    store = Store()

    async def scenario() -> None:
        commit = GroupCommit(store.write, linger_ms=HOUR_MS, **limit)
        store.go_on.clear()
        waiting = [asyncio.ensure_future(commit.submit(n, items=1, size_bytes=MIB)) for n in range(10)]
        await begun(store)
        store.go_on.set()
        await commit.drain(30)
        await asyncio.gather(*waiting)

    asyncio.run(scenario())
    assert store.groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_request_larger_than_a_group_is_a_group() -> None:
    store = Store()

    async def scenario() -> list[str]:
        commit = GroupCommit(store.write, linger_ms=HOUR_MS, max_batch_items=10)
        return await asyncio.gather(
            commit.submit(1, items=99, size_bytes=1), commit.submit(2, items=99, size_bytes=1)
        )

    assert asyncio.run(scenario()) == ["result 1", "result 2"]
    assert store.groups == [[1], [2]]


def test_no_room_is_overloaded_until_there_is_room() -> None:
    store = Store()

    async def scenario() -> None:
        commit = GroupCommit(store.write, linger_ms=0, room=Room(2), retry_after_seconds=3)
        store.go_on.clear()
        first = asyncio.ensure_future(commit.submit(1, items=1, size_bytes=5 * MIB))
        await begun(store)
        assert commit.room.used_bytes == 5 * MIB
        with pytest.raises(Overloaded) as refusal:
            await commit.submit(2, items=1, size_bytes=1)
        assert refusal.value.retry_after_seconds == 3
        store.go_on.set()
        await first
        assert commit.room.used_bytes == 0
        assert await commit.submit(2, items=1, size_bytes=1) == "result 2"

    asyncio.run(scenario())
    assert store.stored == [1, 2]


def test_store_that_is_away_overloads_the_whole_group_after_one_attempt() -> None:
    store = Store({2: Refusal(retryable=True)})

    async def scenario() -> None:
        commit = GroupCommit(store.write, linger_ms=HOUR_MS, max_batch_items=4)
        outcomes = await submit_all(commit, range(4))
        assert [type(outcome) for outcome in outcomes] == [Overloaded] * 4
        assert len({id(outcome) for outcome in outcomes}) == 4
        assert all(str(outcome.__cause__) == "the store says no" for outcome in outcomes)  # type: ignore[union-attr]
        store.failures.clear()
        assert await submit_all(commit, range(4)) == [f"result {n}" for n in range(4)]

    asyncio.run(scenario())
    assert store.groups == [[0, 1, 2, 3]]


@given(poison=st.dictionaries(st.integers(0, 12), st.sampled_from(["never", "unforeseen"]), max_size=6))
def test_guilty_requests_alone_are_refused(poison: dict[int, str]) -> None:
    refusals = {"never": Refusal(retryable=False), "unforeseen": KeyError("a bug")}
    store = Store({request: refusals[kind] for request, kind in poison.items()})

    async def scenario() -> list[str | BaseException]:
        commit = GroupCommit(store.write, linger_ms=HOUR_MS, max_batch_items=13)
        return await submit_all(commit, range(13))

    for request, outcome in enumerate(asyncio.run(scenario())):
        match poison.get(request):
            case None:
                assert outcome == f"result {request}"
            case "never":
                assert isinstance(outcome, MalformedRequest)
            case _:
                assert isinstance(outcome, Overloaded)
    assert sorted(store.stored) == [request for request in range(13) if request not in poison]


def test_drain_commits_what_waits_and_then_takes_no_more() -> None:
    store = Store()

    async def scenario() -> None:
        commit = GroupCommit(store.write, linger_ms=HOUR_MS)
        waiting = asyncio.ensure_future(submit_all(commit, [1, 2]))
        await submitted(commit, 2)
        await commit.drain(30)
        assert await waiting == ["result 1", "result 2"]
        with pytest.raises(Overloaded, match="shutting down"):
            await commit.submit(3, items=1, size_bytes=1)
        await commit.drain(30)

    asyncio.run(scenario())
    assert store.stored == [1, 2]


def test_drain_without_work() -> None:
    asyncio.run(GroupCommit(Store().write).drain(30))


def test_drain_refuses_what_is_not_committed_in_time() -> None:
    store = Store()

    async def scenario() -> None:
        commit = GroupCommit(store.write, linger_ms=0, max_batch_items=1)
        store.go_on.clear()
        waiting = asyncio.ensure_future(submit_all(commit, [1, 2]))
        await begun(store)
        await commit.drain(0)
        assert [type(outcome) for outcome in await waiting] == [Overloaded, Overloaded]
        assert commit.room.used_bytes == 0
        store.go_on.set()

    asyncio.run(scenario())


def test_sender_that_goes_away_frees_its_room_and_disturbs_nobody() -> None:
    store = Store()

    async def scenario() -> None:
        commit = GroupCommit(store.write, linger_ms=HOUR_MS, max_batch_items=2)
        gone = asyncio.ensure_future(commit.submit(1, items=1, size_bytes=MIB))
        await submitted(commit, MIB)
        gone.cancel()
        assert await commit.submit(2, items=1, size_bytes=MIB) == "result 2"
        assert commit.room.used_bytes == 0

    asyncio.run(scenario())
    assert store.stored == [1, 2]


class Slow(Store):
    """Writes that end when they are let go, one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[list[int]] = []
        self.most = 0
        self.let_go = threading.Semaphore(0)

    def write(self, requests: Sequence[int]) -> list[str]:
        self.under_way.append(list(requests))
        self.most = max(self.most, len(self.under_way))
        assert self.let_go.acquire(timeout=30)
        self.under_way.remove(list(requests))
        return super().write(requests)


async def writing(store: Slow, groups: list[list[int]]) -> None:
    async with asyncio.timeout(30):
        while sorted(store.under_way) != groups:
            await asyncio.sleep(0.001)


def test_only_full_groups_are_written_beside_others() -> None:
    store = Slow()

    async def scenario() -> None:
        commit = GroupCommit(store.write, linger_ms=0, max_batch_items=2, max_writes=3)
        first = asyncio.ensure_future(submit_all(commit, [1]))
        await writing(store, [[1]])
        second = asyncio.ensure_future(submit_all(commit, [2]))
        await submitted(commit, 2)
        third = asyncio.ensure_future(submit_all(commit, [3, 4, 5, 6]))
        await writing(store, [[1], [2, 3], [4, 5]])
        for _ in range(4):
            store.let_go.release()
        answers = [answer for group in await asyncio.gather(first, second, third) for answer in group]
        assert answers == [f"result {request}" for request in range(1, 7)]
        await commit.drain(30)

    asyncio.run(scenario())
    assert sorted(store.groups) == [[1], [2, 3], [4, 5], [6]]


def test_large_backlog_is_written_with_all_hands() -> None:
    store = Slow()

    async def scenario() -> None:
        commit = GroupCommit(store.write, linger_ms=HOUR_MS, max_batch_items=4, max_writes=3)
        waiting = asyncio.ensure_future(submit_all(commit, range(16)))
        await writing(store, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
        for _ in range(4):
            store.let_go.release()
        assert await waiting == [f"result {request}" for request in range(16)]
        await commit.drain(30)

    asyncio.run(scenario())
    assert store.most == 3


@given(st.lists(st.integers(1, 5), max_size=40), st.integers(1, 4), st.integers(1, 6))
def test_every_request_is_answered_once_however_many_write(
    sizes: list[int], max_writes: int, max_batch_items: int
) -> None:
    store = Store()

    async def scenario() -> list[str]:
        commit = GroupCommit(store.write, linger_ms=0, max_batch_items=max_batch_items, max_writes=max_writes)
        answers = await asyncio.gather(
            *(commit.submit(number, items=size, size_bytes=1) for number, size in enumerate(sizes))
        )
        await commit.drain(30)
        assert commit.room.used_bytes == 0
        return answers

    assert asyncio.run(scenario()) == [f"result {number}" for number in range(len(sizes))]
    assert sorted(store.stored) == list(range(len(sizes)))


def test_drain_waits_for_all_writes_and_refuses_those_that_are_late() -> None:
    store = Slow()

    async def scenario() -> None:
        commit = GroupCommit(store.write, linger_ms=0, max_batch_items=1, max_writes=2)
        waiting = asyncio.ensure_future(submit_all(commit, [1, 2, 3]))
        await writing(store, [[1], [2]])
        await commit.drain(0)
        assert [type(outcome) for outcome in await waiting] == [Overloaded] * 3
        assert commit.room.used_bytes == 0
        store.let_go.release()
        store.let_go.release()

    asyncio.run(scenario())
