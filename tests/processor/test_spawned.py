"""Work in a child process: what comes back, what goes wrong, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from tracetaxa.errors import ChildEnded, NotEnoughLabels
from tracetaxa.label import training
from tracetaxa.label.training import Lesson
from tracetaxa.records import Taxonomy
from tracetaxa.spawned import Spawned

SECONDS = 30.0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_child_does_it_all_in_turns() -> None:
    async def go() -> None:
        child = Spawned("arithmetic", niceness=1)
        pids = await asyncio.gather(*(child.call(os.getpid) for _ in range(3)))
        assert len(set(pids)) == 1
        assert pids[0] != os.getpid()
        assert await child.call(os.nice, 0) == os.nice(0) + 1
        assert child.generation == 1
        await child.close()
        await child.close()
        assert not alive(pids[0])

    asyncio.run(go())


def test_errors_come_back_and_the_child_stays() -> None:
    async def go() -> None:
        child = Spawned("arithmetic")
        with pytest.raises(ValueError, match="invalid literal"):
            await child.call(int, "a")
        lesson = Lesson((), (), (), (), Taxonomy(()), 0)
        with pytest.raises(NotEnoughLabels):
            await child.call(training.learn, lesson, None)
        assert child.generation == 1
        await child.close()

    asyncio.run(go())


def test_a_child_that_dies_is_told_and_started_again() -> None:
    async def go() -> None:
        child = Spawned("arithmetic")
        with pytest.raises(ChildEnded, match="process of arithmetic ended"):
            await child.call(os._exit, 3)
        assert await child.call(abs, -1) == 1
        assert child.generation > 1
        await child.close()

    asyncio.run(go())


def test_a_call_that_is_cancelled_ends_the_child() -> None:
    async def go() -> None:
        child = Spawned("arithmetic")
        pid = await child.call(os.getpid)
        call = asyncio.create_task(child.call(time.sleep, 10 * SECONDS))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        beat, deadline = threading.Event(), time.monotonic() + SECONDS
        while alive(pid) and time.monotonic() < deadline:
            beat.wait(0.01)
        assert not alive(pid)
        assert await child.call(abs, -2) == 2
        await child.close()

    asyncio.run(go())
