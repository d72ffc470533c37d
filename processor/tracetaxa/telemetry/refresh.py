"""Asks the database for the figures now and then, so that whoever scrapes does not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tracetaxa.assemble.loop import Loop
from tracetaxa.telemetry.figures import Figures, bounded, load_labels

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tracetaxa.protocols import Database
    from tracetaxa.telemetry.events import NewCategories


class Refresh(Loop):
    """`figures` are the newest ones; they stay when the database does not answer."""

    def __init__(
        self,
        db: Database,
        new_categories: NewCategories,
        *,
        window_seconds: float,
        refresh_seconds: float,
        max_categories: int,
        open_traces: Callable[[], Awaitable[int]],
        write_back_waiting: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        super().__init__("metrics", refresh_seconds)
        self._db = db
        self._new_categories = new_categories
        self._window_ns = round(window_seconds * 10**9)
        self._max_categories = max_categories
        self._open_traces = open_traces
        self._write_back_waiting = write_back_waiting
        self.figures = Figures()
        self.refreshed_ns = 0
        """When the figures are from."""

    async def tick(self) -> int:
        """Returns how many new categories there are."""
        since_ns = max(0, time.time_ns() - self._window_ns)
        waiting = self._write_back_waiting
        self.figures = Figures(
            labels=bounded(await load_labels(self._db, since_ns), self._max_categories),
            traces=(await self._db.rows("telemetry/metrics_traces", since_ns=since_ns))[0]["Traces"],
            open_traces=await self._open_traces(),
            write_back_waiting=await waiting() if waiting is not None else None,
        )
        self.refreshed_ns = time.time_ns()
        return await self._new_categories.look()
