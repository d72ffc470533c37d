"""Group commit: concurrent requests share one write, and each waits until that write is committed.

The method is that of databases' log writers (DeWitt et al., "Implementation techniques for main memory
database systems", SIGMOD 1984): one write costs about the same for one request as for a hundred, so a request
waits a moment for others, and under load the next group gathers while the last one is written. Only a full
group, which nothing can join any more, is written beside another.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from tracetaxa.errors import MalformedRequest, Overloaded
from tracetaxa.receive.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Request = TypeVar("Request")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Request, Result]):
    request: Request
    items: int
    size_bytes: int
    since: float
    answer: asyncio.Future[Result]


class GroupCommit(Generic[Request, Result]):
    """Joins requests into groups and writes them.

    `write` stores all requests of a group, or raises; it returns one result for each, in order. It may block:
    it runs in threads of its own, up to `max_writes` calls at a time. When it raises, the exception's
    `retryable` decides:

    - true: all requests of the group are refused with Overloaded, so that their senders keep the data;
    - false: the group is split until the guilty request is alone, and that is refused with MalformedRequest;
    - absent (nobody foresaw it): the group is split too, and the guilty request is refused with Overloaded.

    Nothing is tried again in here: the sender has the data, and a queue of ours could be lost.

    items: what is stored, for messages to people.
    linger_ms: how long a request may wait for others to share its write.
    max_batch_items, max_batch_mib: a group is full, and written early, when it holds this much.
    max_writes: how many groups may be written at a time; each but one is full.
    room: for requests that wait for their commit; one of its own when not given.
    retry_after_seconds: what senders are told when there is no room or no store.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Request]], Sequence[Result]],
        *,
        items: str = "requests",
        linger_ms: float = 50,
        max_batch_items: int = 20_000,
        max_batch_mib: float = 32,
        max_writes: int = 1,
        room: Room | None = None,
        retry_after_seconds: float = 2.0,
    ) -> None:
        self._write = write
        self._items = items
        self._linger_seconds = linger_ms / 1000
        self._max_batch_items = max_batch_items
        self._max_batch_bytes = int(max_batch_mib * 2**20)
        self.room = room or Room()
        self._retry_after_seconds = retry_after_seconds
        self._waiting: deque[_Waiting[Request, Result]] = deque()
        self._waiting_items = 0
        self._waiting_bytes = 0
        self._hurry = asyncio.Event()
        self._max_writes = max_writes
        self._committers: set[asyncio.Task[None]] = set()
        self._writing = 0
        self._threads = ThreadPoolExecutor(max_writes, thread_name_prefix="commit")
        self._failing = False
        self._closed = False

    async def submit(self, request: Request, items: int, size_bytes: int) -> Result:
        """Wait until `request` is committed, and return what the write said about it.

        Raises Overloaded when there is no room, the store does not answer or `drain` was called, and
        MalformedRequest when the store can never take this request.
        """
        if self._closed:
            raise self._overloaded("tracetaxa is shutting down")
        if not self.room.has(size_bytes):
            raise self._overloaded("too much waits to be stored already")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        self._waiting.append(_Waiting(request, items, size_bytes, loop.time(), answer))
        self._waiting_items += items
        self._waiting_bytes += size_bytes
        self.room.used_bytes += size_bytes
        if self._group_is_full():
            self._hurry.set()
        self._need_committer()
        return await answer

    async def drain(self, deadline_seconds: float) -> None:
        """Take no more, and return when every request is answered, after `deadline_seconds` at the latest.

        What is not committed by then is refused, even if its write is under way; the threads end with those
        writes. May be called twice.
        """
        self._closed = True
        self._hurry.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_seconds):
                while self._committers:
                    await asyncio.wait(self._committers)
        if late := set(self._committers):
            for committer in late:
                committer.cancel()
            await asyncio.wait(late)
            self._refuse_waiting()  # one that had not begun can't
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _need_committer(self) -> None:
        """Begin one for what waits, unless there is one that is not writing, and will see it."""
        allowed = self._max_writes if self._group_is_full() else 1
        if self._writing == len(self._committers) < allowed:
            self._committers.add(asyncio.get_running_loop().create_task(self._commit_all()))

    async def _commit_all(self) -> None:
        """Write what waits; while others write, only full groups."""
        group: list[_Waiting[Request, Result]] = []
        try:
            while self._waiting and (not self._writing or self._group_is_full()):
                await self._linger()
                group = self._take_group()
                await self._commit(group)
                group = []
            self._leave()
        except BaseException:  # cancelled, or broken: nobody may wait for ever
            self._leave()
            self._refuse(group)
            self._refuse_waiting()
            raise

    def _leave(self) -> None:
        # The task is done a moment later, and until then nobody may count on it.
        self._committers.discard(asyncio.current_task())

    def _refuse_waiting(self) -> None:
        self._refuse(self._waiting)
        self._waiting.clear()
        self._waiting_items = self._waiting_bytes = 0

    def _refuse(self, group: Iterable[_Waiting[Request, Result]]) -> None:
        for waiting in group:
            self._answer(waiting, self._overloaded(f"tracetaxa stopped before the {self._items} were stored"))

    async def _commit(self, group: Sequence[_Waiting[Request, Result]]) -> None:
        requests = [waiting.request for waiting in group]
        loop = asyncio.get_running_loop()
        self._writing += 1
        self._need_committer()
        try:
            outcomes = await loop.run_in_executor(self._threads, self._outcomes, requests)
        finally:
            self._writing -= 1
        for waiting, outcome in zip(group, outcomes, strict=True):
            self._answer(waiting, outcome)

    async def _linger(self) -> None:
        rest = self._waiting[0].since + self._linger_seconds - asyncio.get_running_loop().time()
        if rest > 0 and not self._closed and not self._group_is_full():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), rest)

    def _take_group(self) -> list[_Waiting[Request, Result]]:
        """The oldest requests up to the limits, at least one."""
        group: list[_Waiting[Request, Result]] = []
        items = size_bytes = 0
        while self._waiting:
            items += self._waiting[0].items
            size_bytes += self._waiting[0].size_bytes
            if group and (items > self._max_batch_items or size_bytes > self._max_batch_bytes):
                break
            group.append(self._waiting.popleft())
        self._waiting_items -= sum(waiting.items for waiting in group)
        self._waiting_bytes -= sum(waiting.size_bytes for waiting in group)
        if not self._group_is_full():
            self._hurry.clear()
        return group

    def _group_is_full(self) -> bool:
        return self._waiting_items >= self._max_batch_items or self._waiting_bytes >= self._max_batch_bytes

    def _answer(self, waiting: _Waiting[Request, Result], outcome: Result | Exception) -> None:
        self.room.used_bytes -= waiting.size_bytes
        if waiting.answer.done():  # its sender went away
            return
        if isinstance(outcome, Exception):
            waiting.answer.set_exception(outcome)
        else:
            waiting.answer.set_result(outcome)

    def _outcomes(self, requests: Sequence[Request]) -> list[Result | Exception]:
        """What becomes of each request; runs in a thread, never raises an Exception."""
        try:
            results = list(self._write(requests))
        except Exception as error:
            retryable = getattr(error, "retryable", None)
            if retryable:
                if not self._failing:
                    logger.warning(
                        "%s can't be stored now; senders are told to keep them: %s", self._items, error
                    )
                self._failing = True
                return [self._overloaded(f"the {self._items} can't be stored now", error) for _ in requests]
            if len(requests) > 1:
                middle = len(requests) // 2
                return [*self._outcomes(requests[:middle]), *self._outcomes(requests[middle:])]
            if retryable is None:
                logger.exception("a request can't be stored, for a reason that nobody foresaw")
                return [self._overloaded(f"the {self._items} can't be stored now", error)]
            logger.warning("a request is refused for good: %s", error)
            refusal = MalformedRequest(f"the store can't hold these {self._items}: do not send them again")
            refusal.__cause__ = error
            return [refusal]
        if self._failing:
            logger.info("%s are stored again", self._items)
        self._failing = False
        return [*results]

    def _overloaded(self, reason: str, cause: Exception | None = None) -> Overloaded:
        overloaded = Overloaded(f"{reason}: send them again later", self._retry_after_seconds)
        overloaded.__cause__ = cause
        return overloaded
