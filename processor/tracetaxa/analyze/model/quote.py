"""What a run will ask of its models, and what that will cost: found by rehearsing it.

The run itself is made, with a stand-in for each model and with nothing kept: the same sample, prompts, packs
and examples, so that the calls are those of the run. Answers that the reply cache holds are used, and are not
paid again. Only the length of the other answers is a guess (see stand_in.py).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.model.budget import FIRST_MARGIN, NOTHING, Amount
from tracetaxa.protocols import ChatReply
from tracetaxa.records import Spend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.model.budget import Count, Price
    from tracetaxa.analyze.model.stand_in import StandIn
    from tracetaxa.protocols import Admit, ReplyCache

ASSIGN = "assign"
"""The stage in which units get their labels; what comes before it does not grow with the sample for ever."""
_MESSAGE_TOKENS = 4
"""Beside its text: what marks a message and its role."""
_LEAST_CACHED_TOKENS = 1024
_CACHED_STEP_TOKENS = 128
"""Providers cache a prompt's beginning from so many tokens on, in such steps (OpenAI's rule)."""
_PARALLEL_MISSES = 1
"""Requests with the same beginning before the cache has it."""
_ROOM = 2
"""Of the longest request so much is added to the most that a run may use: a reply that is cut off gets twice
its room."""


@dataclass(frozen=True, slots=True)
class Use:
    """What requests to one model use; its price is known or not as a whole."""

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    """Of the input tokens, those that the provider has in its prompt cache."""
    output_tokens: int = 0
    usd: float | None = 0.0

    def plus(self, other: Use) -> Use:
        known = self.usd is not None and other.usd is not None
        return Use(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            (self.usd or 0.0) + (other.usd or 0.0) if known else None,
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """The requests of one stage of a run to one model."""

    name: str
    model: str
    use: Use


@dataclass(frozen=True, slots=True)
class Quote:
    stages: tuple[Stage, ...] = ()
    """In the order of the run; what the reply cache holds is not in them."""
    saved: Use = Use()
    """What the reply cache answers instead of a model."""
    longest: Amount = NOTHING
    """The most that one request can use."""
    overrun: float | None = None
    budget_usd: float | None = None

    @property
    def expected(self) -> Use:
        total = Use()
        for stage in self.stages:
            total = total.plus(stage.use)
        return total

    @property
    def limit(self) -> Amount:
        """The most that the run may use: its calls are held to it, repeats and all."""
        if self.overrun is None:
            return Amount(usd=self.budget_usd)
        expected, longest = self.expected, self.longest
        usd = self.budget_usd
        if expected.usd is not None:
            most = self.overrun * expected.usd + _ROOM * (longest.usd or 0.0)
            usd = most if usd is None else min(usd, most)
        return Amount(
            usd,
            round(self.overrun * expected.input_tokens) + _ROOM * (longest.input_tokens or 0),
            round(self.overrun * expected.output_tokens) + _ROOM * (longest.output_tokens or 0),
        )

    def affordable(self, sampled: int) -> int | None:
        """Of the sampled units, how many the budget pays for; None when there is no budget, or no price."""
        expected, budget = self.expected.usd, self.budget_usd
        if budget is None or expected is None:
            return None
        if expected <= budget:
            return sampled
        names = [stage.name for stage in self.stages]
        at = names.index(ASSIGN) if ASSIGN in names else len(names)
        left = budget - sum(stage.use.usd or 0.0 for stage in self.stages[:at])
        labelling = sum(stage.use.usd or 0.0 for stage in self.stages[at:] if stage.name == ASSIGN)
        return min(sampled, max(0, int(sampled * left / labelling))) if labelling else 0


@dataclass(slots=True)
class _Request:
    model: str
    use: Use
    stage: str = ""


@dataclass(slots=True)
class Rehearsal:
    """Gives an engine models and a cache to rehearse with, and adds up what they were asked.

    Give the run its `progress`: stages are told apart by it.
    """

    stand_in: StandIn
    count: Count
    price: Price
    max_output_tokens: int
    _requests: list[_Request] = field(default_factory=list)
    _saved: Use = field(default_factory=Use)
    _beginnings: dict[str, int] = field(default_factory=dict)
    _longest: Amount = NOTHING

    def model(self, name: str) -> Rehearsed:
        return Rehearsed(name, self)

    def cache(self, cache: ReplyCache) -> RehearsedCache:
        return RehearsedCache(cache, self)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Stages follow each other: what was asked since the last one was asked for this one."""
        for request in reversed(self._requests):
            if request.stage:
                break
            request.stage = stage

    def quote(self, *, overrun: float | None, budget_usd: float | None) -> Quote:
        stages: dict[tuple[str, str], Use] = {}
        for request in self._requests:
            key = (request.stage, request.model)
            stages[key] = stages.get(key, Use()).plus(request.use)
        return Quote(
            stages=tuple(Stage(name, model, use) for (name, model), use in stages.items()),
            saved=self._saved,
            longest=self._longest,
            overrun=overrun,
            budget_usd=budget_usd,
        )

    def asked(self, model: str, messages: Sequence[Mapping[str, str]], reply: str) -> Use:
        tokens = [self.count(message["content"]) + _MESSAGE_TOKENS for message in messages]
        cached = self._cached(model, messages[:-1], sum(tokens[:-1]))
        use = self._use(model, sum(tokens), cached, self.count(reply))
        self._requests.append(_Request(model, use))
        self._reserve(model, use.input_tokens)
        return use

    def answered(self, reply: ChatReply) -> None:
        """The reply cache had it."""
        tokens = (reply.input_tokens, reply.cached_tokens, reply.output_tokens)
        self._saved = self._saved.plus(self._use(reply.model, *tokens))
        self._reserve(reply.model, reply.input_tokens)

    def _use(self, model: str, input_tokens: int, cached: int, output_tokens: int) -> Use:
        usd = self.price(model, input_tokens=input_tokens, output_tokens=output_tokens, cached_tokens=cached)
        return Use(1, input_tokens, cached, output_tokens, usd)

    def _cached(self, model: str, beginning: Sequence[Mapping[str, str]], tokens: int) -> int:
        told = json.dumps([model, *(message["content"] for message in beginning)])
        self._beginnings[told] = self._beginnings.get(told, 0) + 1
        if self._beginnings[told] <= _PARALLEL_MISSES or tokens < _LEAST_CACHED_TOKENS:
            return 0
        return tokens // _CACHED_STEP_TOKENS * _CACHED_STEP_TOKENS

    def _reserve(self, model: str, input_tokens: int) -> None:
        """The longest request as a budget reserves for it."""
        most_input = round(input_tokens * FIRST_MARGIN)
        usd = self.price(model, input_tokens=most_input, output_tokens=self.max_output_tokens)
        known = self._longest
        self._longest = Amount(
            max(known.usd or 0.0, usd or 0.0),
            max(known.input_tokens or 0, most_input),
            self.max_output_tokens,
        )


class Rehearsed:
    """`ChatModel` that a rehearsal listens to."""

    def __init__(self, name: str, rehearsal: Rehearsal) -> None:
        self.name = name
        self.spend = Spend()
        self._rehearsal = rehearsal

    async def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int,
        admit: Admit | None = None,
    ) -> ChatReply:
        """At once, whatever the budget."""
        await asyncio.sleep(0)  # a service has others to serve meanwhile
        data = self._rehearsal.stand_in.answer(messages, schema)
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        use = self._rehearsal.asked(self.name, messages, text)
        self.spend = replace(self.spend, calls=self.spend.calls + 1)
        tokens = (use.input_tokens, use.output_tokens, use.cached_tokens)
        return ChatReply(text, None if schema is None else data, self.name, *tokens)

    async def close(self) -> None: ...


class RehearsedCache:
    """`ReplyCache` that is only read."""

    def __init__(self, cache: ReplyCache, rehearsal: Rehearsal) -> None:
        self._cache = cache
        self._rehearsal = rehearsal

    async def find(self, fingerprint: str) -> ChatReply | None:
        found = await self._cache.find(fingerprint)
        if found is not None:
            self._rehearsal.answered(found)
        return found

    async def keep(self, fingerprint: str, reply: ChatReply) -> None:
        """Nothing: the reply is made up."""
