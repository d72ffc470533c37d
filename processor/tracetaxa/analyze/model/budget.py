"""A hard limit on what the model calls of a run may cost, and a chat model that keeps to it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Protocol

from tracetaxa.errors import ConfigError, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.protocols import ChatModel, ChatReply
    from tracetaxa.records import Spend


class Price(Protocol):
    def __call__(self, model: str, *, input_tokens: int, output_tokens: int) -> float | None:
        """US dollars for one call, None when nobody knows the model's price."""


_BYTES_PER_TOKEN = 3
"""Fewer bytes than a token of most texts has, so that an estimate is rather too high."""


class BudgetReached(ModelUnavailable):
    """The next call could cost more than what is left."""


class Budget:
    """Lets a call begin only when the worst it can cost still fits.

    The worst is the prompt's estimated tokens plus all of `max_tokens`; calls under way keep theirs reserved,
    and a call waits while only reservations stand in its way. A reply that has to be asked again costs more
    than was reserved: the limit can be passed by the repeats of the calls under way, not further.
    """

    def __init__(self, limit_usd: float | None, price: Price, models: Sequence[ChatModel]) -> None:
        """Raises ConfigError when there is a limit and a model has no known price."""
        unpriced = [m.name for m in models if price(m.name, input_tokens=1, output_tokens=1) is None]
        if unpriced and limit_usd is not None:
            raise ConfigError(
                f"nobody knows the price of {unpriced[0]}, so its budget can't be kept: "
                "set llm.prices, or remove the budget"
            )
        self.prices_known = not unpriced
        self._limit_usd = limit_usd
        self._price = price
        self._models = {id(m): m for m in models}.values()
        self._before_usd = sum(m.spend.cost_usd for m in self._models)
        self._reserved_usd = 0.0
        self._changed = asyncio.Condition()

    async def complete(
        self,
        model: ChatModel,
        messages: Sequence[Mapping[str, str]],
        schema: Mapping[str, Any] | None,
        max_tokens: int,
    ) -> ChatReply:
        """`model.complete`, if it fits. Raises BudgetReached if not, and what the model raises."""
        if self._limit_usd is None:
            return await model.complete(messages, schema=schema, max_tokens=max_tokens)
        prompt_bytes = len(
            json.dumps([list(messages), schema], ensure_ascii=False).encode("utf-8", "replace")
        )
        worst = self._price(
            model.name, input_tokens=prompt_bytes // _BYTES_PER_TOKEN, output_tokens=max_tokens
        )
        worst = worst or 0.0
        async with self._changed:
            await self._changed.wait_for(lambda: self._fits(worst) or not self._can_ever_fit(worst))
            if not self._can_ever_fit(worst):
                raise BudgetReached(f"the budget of ${self._limit_usd:.2f} does not allow another call")
            self._reserved_usd += worst
        try:
            return await model.complete(messages, schema=schema, max_tokens=max_tokens)
        finally:
            async with self._changed:
                self._reserved_usd -= worst
                self._changed.notify_all()

    def _spent(self) -> float:
        return sum(m.spend.cost_usd for m in self._models) - self._before_usd

    def _fits(self, worst: float) -> bool:
        return self._spent() + self._reserved_usd + worst <= (self._limit_usd or 0.0) + 1e-12

    def _can_ever_fit(self, worst: float) -> bool:
        return self._spent() + worst <= (self._limit_usd or 0.0) + 1e-12


class BudgetedChat:
    """`ChatModel` over another one, whose calls begin only when the budget allows it."""

    def __init__(self, model: ChatModel, budget: Budget) -> None:
        self.name = model.name
        self._model = model
        self._budget = budget

    @property
    def spend(self) -> Spend:
        return self._model.spend

    async def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int,
    ) -> ChatReply:
        """Raises BudgetReached, and what the model raises."""
        return await self._budget.complete(self._model, messages, schema, max_tokens)

    async def close(self) -> None:
        await self._model.close()
