"""A task that is repeated until it is told to stop, and outlives what goes wrong in it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod

from tracetaxa.errors import StoreError

log = logging.getLogger(__name__)


class Loop(ABC):
    """`run` ticks until it is stopped; when it returns, everything it began is written."""

    def __init__(self, name: str, tick_seconds: float) -> None:
        self._name = name
        self._tick_seconds = tick_seconds
        self.last_error = ""
        self.trouble = ""
        """What went wrong in the last tick without ending it."""

    @abstractmethod
    async def tick(self) -> int:
        """Do what there is to do now; returns how much it was."""

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self.tick()
            except StoreError as error:
                self._note(str(error))
            except Exception as error:
                # Whatever it is, the next tick finds the same work again: the loop must not end over it.
                log.debug("%s broke", self._name, exc_info=error)
                self._note(f"unexpected {type(error).__name__}: {error}")
            else:
                self._note(self.trouble)
            await self._wait(stopping)

    async def _wait(self, stopping: asyncio.Event) -> None:
        """Until the next tick is due, or it is to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._tick_seconds):
                await stopping.wait()

    def _note(self, error: str) -> None:
        """Told once, not at every tick."""
        told = f"{self._name}: {error}" if error else ""
        if told and not self.last_error:
            log.warning("%s waits: %s", self._name, error)
        elif self.last_error and not told:
            log.info("%s works again", self._name)
        self.last_error = told
