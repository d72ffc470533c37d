"""Writing several things together, apart from each other where one of them does harm."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from tracetaxa.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

log = logging.getLogger(__name__)


class Named(Protocol):
    @property
    def identity(self) -> str: ...

    @property
    def title(self) -> str:
        """What a log calls it."""
        ...


T = TypeVar("T", bound=Named)


class Apart(Generic[T]):
    """What can't be written is tried `max_attempts` times, alone. Then it is written without its content (see
    bare.py), and if that fails too it is given up.

    StoreUnavailable is nobody's fault: it is raised, and counts for nothing.
    """

    def __init__(self, max_attempts: int, give_up: Callable[[T], Awaitable[None]]) -> None:
        self._max_attempts = max_attempts
        self._give_up = give_up
        self._failed: dict[str, int] = {}
        """How often each has failed; kept only while it is tried again."""
        self.retried: list[T] = []
        """Those that failed since `begin` and will be tried again."""
        self.trouble = ""

    def begin(self) -> None:
        """A new tick."""
        self.retried = []
        self.trouble = ""

    async def write(self, portion: Sequence[T], write: Callable[[Sequence[T], str], Awaitable[None]]) -> None:
        """`write` takes things and why their content is left out: empty, or a kind of error."""
        try:
            await write(portion, "")
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(portion) == 1:
                await self._alone(portion[0], write, error)
            else:
                for item in portion:
                    await self.write([item], write)
        else:
            for item in portion:
                self._failed.pop(item.identity, None)

    async def _alone(
        self, item: T, write: Callable[[Sequence[T], str], Awaitable[None]], error: Exception
    ) -> None:
        kind = type(error).__name__
        self.trouble = f"unexpected {kind}: {error}"
        count = self._failed.pop(item.identity, 0) + 1
        if count < self._max_attempts:
            self._failed[item.identity] = count
            self.retried.append(item)
            log.debug("%s can't be assembled now", item.title, exc_info=error)
            return
        log.error(
            "%s can't be read and is kept without its content (%s): please report it with this id",
            *(item.title, kind),
            exc_info=error,
        )
        try:
            await write([item], kind)
        except StoreUnavailable:
            raise
        except Exception as another:
            log.error("%s can't be kept at all", item.title, exc_info=another)
            await self._give_up(item)
