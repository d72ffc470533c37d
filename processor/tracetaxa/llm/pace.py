"""How fast one model is asked: calls under way, requests and tokens a minute, pauses."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_FALL = 0.5
_SECONDS_A_MINUTE = 60.0


class Pace:
    """Lets calls begin one after the other, as the model's server can take them.

    As many calls are under way as it bears: half as many after each sign of too many (a refusal for its rate
    limit, a timeout), and one more for each round of answers, up to `max_concurrency` (additive increase,
    multiplicative decrease: Chiu and Jain 1989; of the calls that began before a decrease none causes the
    next, as in RFC 5681). `requests_per_minute` and `tokens_per_minute` are kept by spacing calls evenly
    (the virtual scheduling of ITU-T I.371 without a burst), since providers count in shorter times than a
    minute; a call waits for the tokens of those before it, estimated first and corrected by its answer.

    One model may be asked by several clients: they share its pace. Use it within one event loop.
    """

    def __init__(
        self,
        max_concurrency: int,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self._most = max_concurrency
        self._allowed = float(max_concurrency)
        self._under_way = 0
        self._changed = asyncio.Condition()
        self._quiet_until = 0.0
        self._fallen_at = -1.0
        self._request_seconds = _SECONDS_A_MINUTE / requests_per_minute if requests_per_minute else 0.0
        self._token_seconds = _SECONDS_A_MINUTE / tokens_per_minute if tokens_per_minute else 0.0
        self._next_request = 0.0
        self._next_token = 0.0

    @property
    def concurrency(self) -> int:
        """Calls that may be under way now."""
        return max(1, int(self._allowed))

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Inside, a call counts as under way."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._under_way < self.concurrency)
            self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            async with self._changed:
                self._changed.notify_all()

    async def ready(self, tokens: int) -> float:
        """Wait until a request of so many tokens may be sent. Returns when that was, by the loop's clock."""
        clock = asyncio.get_running_loop().time
        while (wait := self._next() - clock()) > 0:  # noqa: ASYNC110  (another call may have moved it)
            await asyncio.sleep(wait)
        now = clock()
        self._next_request = now + self._request_seconds
        self._next_token = max(self._next_token, now) + tokens * self._token_seconds
        return now

    def _next(self) -> float:
        return max(self._quiet_until, self._next_request, self._next_token)

    def used(self, estimated: int, tokens: int) -> None:
        """The request was `tokens` and not as many as estimated."""
        self._next_token += (tokens - estimated) * self._token_seconds

    def pause(self, seconds: float) -> None:
        """No call begins for so long: the server asked for it."""
        self._quiet_until = max(self._quiet_until, asyncio.get_running_loop().time() + seconds)

    def answered(self) -> None:
        self._allowed = min(float(self._most), self._allowed + 1.0 / self._allowed)

    def crowded(self, began: float) -> None:
        """A request that began then was one too many."""
        if began > self._fallen_at:
            self._allowed = max(1.0, self._allowed * _FALL)
            self._fallen_at = asyncio.get_running_loop().time()
