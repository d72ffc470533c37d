"""Work in a process of its own: arithmetic must not hold up the event loop, and the owner of an embedded
ClickHouse must never fork. What goes there and comes back is plain data."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, TypeVar

from tracetaxa.errors import ChildEnded

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import SpawnProcess

T = TypeVar("T")


class Spawned:
    """A child process, started by the first call and again by the first after it ended. Calls take turns.

    A call that is cancelled ends the process, with all that it remembered. `close` may be called twice.
    """

    def __init__(self, name: str, *, niceness: int = 0) -> None:
        """`name` says in errors whose process it is. It yields the processor to others by `niceness`."""
        self._name = name
        self._niceness = niceness
        self._turn = asyncio.Lock()
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self.generation = 0
        """Grows with each process that starts or ends: what an earlier one remembered is gone."""

    async def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work`, a function of a module, in the child. Raises what it raises, and ChildEnded when the
        process dies over it."""
        async with self._turn:
            try:
                done, value = await asyncio.to_thread(self._exchange, work, arguments)
            except asyncio.CancelledError:
                self._end()
                raise
            except (EOFError, OSError) as error:
                self._end()
                raise ChildEnded(
                    f"the process of {self._name} ended unexpectedly, most likely for lack of memory"
                ) from error
        if done:
            return value  # type: ignore[no-any-return]
        raise value

    async def close(self) -> None:
        """When it returns, the process has ended."""
        async with self._turn:
            self._end()

    def _exchange(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        if self._pipe is None:
            self._start()
        assert self._pipe is not None
        self._pipe.send((work, arguments))
        answer: tuple[bool, Any] = self._pipe.recv()
        return answer

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._niceness), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is seen here
        self.generation += 1

    def _end(self) -> None:
        """It holds nothing that could be lost."""
        process, self._process = self._process, None
        pipe, self._pipe = self._pipe, None
        if process is not None:
            self.generation += 1
            process.kill()
            process.join()
        if pipe is not None:
            pipe.close()


def one_thread() -> None:
    """In the child: arithmetic on several threads sums in another order each time, and spins as it waits.
    Only libraries that are loaded already can be limited."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def _serve(pipe: Connection, niceness: int) -> None:
    # The owner decides when to stop; Ctrl-C reaches the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_owner, daemon=True).start()
    if niceness:
        os.nice(niceness)
    while True:
        try:
            work, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer: tuple[bool, Any] = (True, work(*arguments))
        except Exception as error:
            answer = (False, error)
        pipe.send(answer)


def _end_with_owner() -> None:
    """An owner that was killed can't end its child while that is at work."""
    owner = multiprocessing.parent_process()
    if owner is not None:
        wait([owner.sentinel])
        os._exit(1)
