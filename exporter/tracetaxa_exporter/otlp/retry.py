"""When to try again: exponential backoff with full jitter, unless the destination says when.

(M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015: each pause is drawn evenly from
zero to the bound, so that clients which failed together do not come back together.)
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa_exporter.otlp.outcome import ExportFailed, Taken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between the attempts of one request, in seconds."""

    initial_seconds: float = 1.0
    """Bound of the first pause; each next one is `multiplier` times that."""
    max_seconds: float = 30.0
    """Largest bound, and longest pause that a destination may ask for."""
    multiplier: float = 2.0
    max_elapsed_seconds: float = 60.0
    """No attempt begins later than this after the first."""

    def pause(self, attempt: int, asked_seconds: float | None, draw: float) -> float:
        """After the failed attempt number `attempt`, from 0; `draw` is evenly from [0, 1)."""
        if asked_seconds:  # zero means "again", not "at once"
            # What is asked of many at once is spread a little, and never shortened.
            return min(asked_seconds, self.max_seconds) * (1 + draw / 10)
        bound = min(self.initial_seconds * self.multiplier ** min(attempt, 64), self.max_seconds)
        return bound * draw


async def persistently(
    export: Callable[[], Awaitable[Taken]],
    backoff: Backoff,
    *,
    stopping: asyncio.Event,
    failed: Callable[[ExportFailed], None] = lambda error: None,
    draw: Callable[[], float] = random.random,
) -> Taken:
    """What `export` returns, once it does not raise ExportFailed any more.

    Each failure is told to `failed`. Raises the last one when `stopping` is set or no time is left; whatever
    else `export` raises passes.
    """
    began, attempt = time.monotonic(), 0
    while True:
        try:
            return await export()
        except ExportFailed as error:
            failed(error)
            pause = backoff.pause(attempt, error.retry_after_seconds, draw())
            if stopping.is_set() or time.monotonic() + pause - began > backoff.max_elapsed_seconds:
                raise
            try:
                async with asyncio.timeout(pause):
                    await stopping.wait()
            except TimeoutError:
                attempt += 1
            else:
                raise
