"""Several calls of models at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from tracetaxa.errors import ModelReplyInvalid, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

T = TypeVar("T")


async def every(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Results in order; when one fails, the others are cancelled before its error is raised."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def tried(work: Iterable[Coroutine[Any, Any, T]]) -> list[T | None]:
    """Results in order, None for what a model gave no answer for; raises when there is none at all."""

    async def one(item: Coroutine[Any, Any, T]) -> T | ModelUnavailable | ModelReplyInvalid:
        try:
            return await item
        except (ModelUnavailable, ModelReplyInvalid) as error:
            return error

    outcomes = await every(one(item) for item in work)
    failures = [o for o in outcomes if isinstance(o, ModelUnavailable | ModelReplyInvalid)]
    if failures and len(failures) == len(outcomes):
        raise failures[0]
    return [None if isinstance(o, ModelUnavailable | ModelReplyInvalid) else o for o in outcomes]
