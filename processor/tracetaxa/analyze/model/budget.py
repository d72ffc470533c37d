"""A hard limit on what the model calls of a run may use, and a chat model that keeps to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tracetaxa.errors import ConfigError, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tracetaxa.protocols import Admit, ChatModel, ChatReply
    from tracetaxa.records import Spend


class Price(Protocol):
    def __call__(
        self, model: str, *, input_tokens: int, output_tokens: int, cached_tokens: int = 0
    ) -> float | None:
        """US dollars for one call, None when nobody knows the model's price.

        `input_tokens` includes `cached_tokens`, those that the provider has in its prompt cache.
        """


Count = Callable[[str], int]
"""Text → about how many tokens it is."""

MESSAGE_TOKENS = 8
"""At most, beside its text: what marks a message and its role."""
FIRST_MARGIN = 2.0
"""A prompt may be so many times its estimate while the model has not answered yet: no text is but noise."""
_LATER_MARGIN = 1.2
"""Then so many times what was the most in an answer."""


NO_BUDGET = "budget reached"
"""Why a trace has no verdict that was not asked about for this."""


class BudgetReached(ModelUnavailable):
    """The next call could use more than what is left."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What calls use, or may use; a limit with None has no bound there."""

    usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    def plus(self, other: Amount) -> Amount:
        """None counts as nothing."""
        return Amount(
            (self.usd or 0.0) + (other.usd or 0.0),
            (self.input_tokens or 0) + (other.input_tokens or 0),
            (self.output_tokens or 0) + (other.output_tokens or 0),
        )

    def within(self, limit: Amount) -> bool:
        return (
            (limit.usd is None or (self.usd or 0.0) <= limit.usd + 1e-12)
            and (limit.input_tokens is None or (self.input_tokens or 0) <= limit.input_tokens)
            and (limit.output_tokens is None or (self.output_tokens or 0) <= limit.output_tokens)
        )


NO_LIMIT = Amount()
NOTHING = Amount(0.0, 0, 0)


class Budget:
    """Lets a request begin only when the most that it can use still fits.

    Every request counts, the repeats of one call too. The most is the prompt's estimated tokens with a margin
    and all of `max_tokens`; requests under way keep theirs reserved, and one waits while only reservations
    stand in its way. A request whose answer was lost (a timeout, a connection that broke) counts with its
    most for ever: the provider may bill it. So the limit is never passed, as long as the endpoint keeps to
    `max_tokens`.
    """

    def __init__(
        self, limit: Amount, price: Price, models: Sequence[ChatModel], count: Count | None = None
    ) -> None:
        """`count` estimates tokens; None: every byte is one. Raises ConfigError when there is a limit in
        US dollars and a model has no known price."""
        unpriced = [m.name for m in models if price(m.name, input_tokens=1, output_tokens=1) is None]
        if unpriced and limit.usd is not None:
            raise ConfigError(
                f"nobody knows the price of {unpriced[0]}, so its budget can't be kept: "
                "set llm.prices, or remove the budget"
            )
        self.prices_known = not unpriced
        self.limit = limit
        self._price = price
        self._count = count
        self._models = list({id(m): m for m in models}.values())
        self._before = self._total()
        self._reserved: dict[int, Amount] = {}
        self._lost = Amount()
        self._ratio: dict[str, float] = {}
        self._requests = 0
        self._changed = asyncio.Condition()

    def admit_to(self, model: ChatModel) -> Admit:
        """What `model.complete` takes: raises BudgetReached when a request does not fit."""

        @contextlib.asynccontextmanager
        async def admit(
            messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any] | None, max_tokens: int
        ) -> AsyncIterator[_Reserved]:
            estimate, most_input = self._input(model.name, messages, schema)
            usd = self._price(model.name, input_tokens=most_input, output_tokens=max_tokens)
            most = Amount(usd, most_input, max_tokens)
            async with self._changed:
                await self._changed.wait_for(lambda: self._fits(most) or not self._can_ever_fit(most))
                if not self._can_ever_fit(most):
                    raise BudgetReached(self._reached())
                self._requests += 1
                number = self._requests
                self._reserved[number] = most
            attempt = _Reserved()
            try:
                yield attempt
            finally:
                # Not behind a lock: a cancelled request must give back what it reserved.
                del self._reserved[number]
                if attempt.was_lost:
                    self._lost = self._lost.plus(most)
                if attempt.input_tokens is not None:
                    seen = attempt.input_tokens / max(estimate, 1)
                    self._ratio[model.name] = max(self._ratio.get(model.name, 0.0), seen)
                async with self._changed:
                    self._changed.notify_all()

        return admit

    def _input(
        self, model: str, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any] | None
    ) -> tuple[int, int]:
        """Tokens of a prompt: as estimated, and at most. A schema may be billed as part of it."""
        texts = [message["content"] for message in messages]
        texts += [json.dumps(schema)] if schema is not None else []
        marks = MESSAGE_TOKENS * len(texts)
        in_bytes = sum(len(text.encode("utf-8", "replace")) for text in texts) + marks
        if self._count is None:
            return in_bytes, in_bytes
        estimate = sum(map(self._count, texts)) + marks
        seen = self._ratio.get(model)
        margin = FIRST_MARGIN if seen is None else _LATER_MARGIN * max(seen, 1.0)
        return estimate, min(math.ceil(estimate * margin), in_bytes)

    def _total(self) -> Amount:
        spends: list[Spend] = [m.spend for m in self._models]
        return Amount(
            sum(s.cost_usd for s in spends),
            sum(s.input_tokens for s in spends),
            sum(s.output_tokens for s in spends),
        )

    def _used(self) -> Amount:
        now, before = self._total(), self._before
        return self._lost.plus(
            Amount(
                (now.usd or 0.0) - (before.usd or 0.0),
                (now.input_tokens or 0) - (before.input_tokens or 0),
                (now.output_tokens or 0) - (before.output_tokens or 0),
            )
        )

    def _fits(self, most: Amount) -> bool:
        total = self._used().plus(most)
        for reserved in self._reserved.values():
            total = total.plus(reserved)
        return total.within(self.limit)

    def _can_ever_fit(self, most: Amount) -> bool:
        return self._used().plus(most).within(self.limit)

    def _reached(self) -> str:
        limit = self.limit
        known = [f"${limit.usd:,.2f}"] if limit.usd is not None else []
        known += [f"{limit.input_tokens:,} input tokens"] if limit.input_tokens is not None else []
        known += [f"{limit.output_tokens:,} output tokens"] if limit.output_tokens is not None else []
        return f"the run's budget ({', '.join(known)}) does not allow another call"


class _Reserved:
    """`Attempt` of a request that a budget has let begin."""

    __slots__ = ("input_tokens", "was_lost")

    def __init__(self) -> None:
        self.input_tokens: int | None = None
        self.was_lost = False

    def answered(self, input_tokens: int) -> None:
        self.input_tokens = input_tokens

    def lost(self) -> None:
        self.was_lost = True


class BudgetedChat:
    """`ChatModel` over another one, whose requests begin only when the budget allows it."""

    def __init__(self, model: ChatModel, budget: Budget) -> None:
        self.name = model.name
        self._model = model
        self._admit = budget.admit_to(model)

    @property
    def spend(self) -> Spend:
        return self._model.spend

    async def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int,
        admit: Admit | None = None,
    ) -> ChatReply:
        """Raises BudgetReached, and what the model raises."""
        return await self._model.complete(
            messages, schema=schema, max_tokens=max_tokens, admit=admit or self._admit
        )

    async def close(self) -> None:
        await self._model.close()
