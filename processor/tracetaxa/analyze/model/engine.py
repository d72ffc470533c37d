"""The `openai` engine: both passes by language models."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.model import assignment, discovery, replies
from tracetaxa.analyze.model.budget import Budget, BudgetedChat, Price
from tracetaxa.analyze.model.cached import CachedChat
from tracetaxa.analyze.model.prompting import fingerprints
from tracetaxa.errors import ModelRefused
from tracetaxa.records import Assignment, Brief, Spend, Taxonomy, TraceRow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tracetaxa.protocols import ChatModel, Progress, ReplyCache


def _unknown_price(model: str, *, input_tokens: int, output_tokens: int) -> float | None:
    return None


class ModelEngine:
    """`Engine` over two chat models: a capable one finds the taxonomy, a small one assigns the traces.

    The traces should have been redacted already. It owns the models and closes them. One engine serves one
    run at a time.
    """

    name = "openai"

    def __init__(
        self,
        taxonomy_model: ChatModel,
        assignment_model: ChatModel,
        *,
        price: Price = _unknown_price,
        budget_usd: float | None = None,
        traces_per_call: int = 8,
        digests_per_batch: int = 40,
        discovery_traces: int = 500,
        max_output_tokens: int = 4096,
        max_attempts: int = 4,
        max_concurrency: int = 8,
        cache: ReplyCache | None = None,
        identity: str = "",
    ) -> None:
        """`cache` keeps answers, together with `identity`: what they depend on beside model and prompt.
        `price` serves the budget alone: it says what the next call can cost at worst. `discovery_traces`
        bounds the traces that the taxonomy is made from; `max_attempts` the packs that one trace is asked
        about in. Raises ConfigError when there is a budget and a model without a price."""
        self.models = tuple(dict.fromkeys((taxonomy_model.name, assignment_model.name)))
        self.prompt_fingerprints: Mapping[str, str] = fingerprints((*discovery.PROMPTS, *assignment.PROMPTS))
        self._chats = list({id(m): m for m in (taxonomy_model, assignment_model)}.values())
        self._budget = Budget(budget_usd, price, self._chats)
        self._cached: list[CachedChat] = []
        self._taxonomy_model = self._wrapped(taxonomy_model, cache, identity)
        self._assignment_model = self._wrapped(assignment_model, cache, identity)
        self._traces_per_call = traces_per_call
        self._digests_per_batch = digests_per_batch
        self._discovery_traces = discovery_traces
        self._max_output_tokens = max_output_tokens
        self._max_attempts = max_attempts
        self._max_concurrency = max_concurrency

    @property
    def prices_known(self) -> bool:
        return self._budget.prices_known

    @property
    def spend(self) -> Spend:
        spends = [m.spend for m in self._chats]
        return Spend(
            calls=sum(s.calls for s in spends),
            input_tokens=sum(s.input_tokens for s in spends),
            output_tokens=sum(s.output_tokens for s in spends),
            cost_usd=sum(s.cost_usd for s in spends),
            cached_calls=sum(chat.answered for chat in self._cached),
        )

    async def discover(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> Taxonomy:
        """Both levels, with `other`. Raises ModelError when no batch of traces or no merge succeeds."""

        async def ask(instructions: str, data: str, schema: replies.Schema) -> Any:
            return await self._ask(self._taxonomy_model, instructions, data, schema)

        steps = discovery.Discovery(
            ask, digests_per_batch=self._digests_per_batch, max_traces=self._discovery_traces
        )
        return await steps.run(traces, brief, progress)

    async def assign(
        self, traces: Sequence[TraceRow], taxonomy: Taxonomy, brief: Brief, progress: Progress
    ) -> AsyncIterator[list[Assignment]]:
        """A batch for every pack of traces as it is done, in any order.

        A model that refuses ends it: what other packs got is yielded first, then ModelRefused is raised.
        """

        async def ask(instructions: str, data: str, schema: replies.Schema) -> Any:
            return await self._ask(self._assignment_model, instructions, data, schema)

        labeller = assignment.Labeller(ask, taxonomy, brief, max_attempts=self._max_attempts)
        size = self._traces_per_call
        packs = deque(traces[start : start + size] for start in range(0, len(traces), size))
        finished: asyncio.Queue[list[Assignment] | None] = asyncio.Queue()
        refusals: list[ModelRefused] = []

        async def work() -> None:
            try:
                while packs and not refusals:
                    finished.put_nowait(await labeller.label(packs.popleft()))
            except ModelRefused as refusal:
                refusals.append(refusal)
            finally:
                finished.put_nowait(None)

        workers = [asyncio.create_task(work()) for _ in range(min(self._max_concurrency, len(packs)))]
        try:
            working, done = len(workers), 0
            while working:
                batch = await finished.get()
                if batch is None:
                    working -= 1
                    continue
                done += len(batch)
                progress("assign", done, len(traces))
                yield batch
            await asyncio.gather(*workers)
            if refusals:
                raise refusals[0]
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def close(self) -> None:
        for chat in self._chats:
            await chat.close()

    async def _ask(self, model: ChatModel, instructions: str, data: str, schema: replies.Schema) -> Any:
        # Instructions first and the same from call to call: providers cache a prompt by its prefix.
        messages = [{"role": "system", "content": instructions}, {"role": "user", "content": data}]
        reply = await model.complete(messages, schema=schema, max_tokens=self._max_output_tokens)
        return reply.data

    def _wrapped(self, model: ChatModel, cache: ReplyCache | None, identity: str) -> ChatModel:
        """Answers out of the cache cost nothing, so the budget is asked only for the others."""
        budgeted = BudgetedChat(model, self._budget)
        if cache is None:
            return budgeted
        self._cached.append(CachedChat(budgeted, cache, identity))
        return self._cached[-1]
