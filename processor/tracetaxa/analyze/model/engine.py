"""The `openai` engine: both passes by language models."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.model import assignment, discovery, examples, packing, replies
from tracetaxa.analyze.model.budget import NO_LIMIT, Amount, Budget, BudgetedChat, Count, Price
from tracetaxa.analyze.model.cached import CachedChat
from tracetaxa.analyze.model.prompting import Ask, Message, fingerprints
from tracetaxa.errors import ModelRefused
from tracetaxa.records import Assignment, Brief, Spend, Taxonomy, TraceRow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from tracetaxa.protocols import ChatModel, Progress, ReplyCache


def _unknown_price(
    model: str, *, input_tokens: int, output_tokens: int, cached_tokens: int = 0
) -> float | None:
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
        limit: Amount = NO_LIMIT,
        count: Count | None = None,
        traces_per_call: int = 8,
        digests_per_batch: int = 40,
        discovery_traces: int = 500,
        max_output_tokens: int = 4096,
        max_attempts: int = 4,
        max_concurrency: int = 8,
        max_data_tokens: int = 32_000,
        few_shot: int = 10,
        cache: ReplyCache | None = None,
        identity: str = "",
    ) -> None:
        """`cache` keeps answers, together with `identity`: what they depend on beside model and prompt. Calls
        use no more than `limit`; `price` and `count` (tokens of a text) say for it what the next one can use
        at most. `discovery_traces` bounds the traces that the taxonomy is made from; `max_attempts` the packs
        that one trace is asked about in; `max_data_tokens` the trace text of one request; `few_shot` the
        labelled examples in front of it. Raises ConfigError when there is a limit in US dollars and a model
        without a price."""
        self.models = tuple(dict.fromkeys((taxonomy_model.name, assignment_model.name)))
        self.prompt_fingerprints: Mapping[str, str] = fingerprints((*discovery.PROMPTS, *assignment.PROMPTS))
        self._chats = list({id(m): m for m in (taxonomy_model, assignment_model)}.values())
        self._budget = Budget(limit, price, self._chats, count)
        self._cached: list[CachedChat] = []
        self._taxonomy_model = self._wrapped(taxonomy_model, cache, identity)
        self._assignment_model = self._wrapped(assignment_model, cache, identity)
        self._traces_per_call = traces_per_call
        self._digests_per_batch = digests_per_batch
        self._discovery_traces = discovery_traces
        self._max_output_tokens = max_output_tokens
        self._max_attempts = max_attempts
        self._max_concurrency = max_concurrency
        self._max_data_tokens = max_data_tokens
        self._few_shot = few_shot
        self._examples: tuple[examples.Example, ...] = ()
        self._examples_of: frozenset[str] = frozenset()

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
            cached_tokens=sum(s.cached_tokens for s in spends),
            unpriced_calls=sum(s.unpriced_calls for s in spends),
        )

    async def discover(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> Taxonomy:
        """Both levels, with `other`. Raises ModelError when no batch of traces or no merge succeeds."""

        steps = discovery.Discovery(
            self._ask_of(self._taxonomy_model),
            digests_per_batch=self._digests_per_batch,
            max_traces=self._discovery_traces,
            max_data_tokens=self._max_data_tokens,
        )
        return await steps.run(traces, brief, progress)

    async def assign(
        self, traces: Sequence[TraceRow], taxonomy: Taxonomy, brief: Brief, progress: Progress
    ) -> AsyncIterator[list[Assignment]]:
        """A batch for every pack of traces as it is done, in any order; first those that may become examples.

        A model that refuses ends it: what other packs got is yielded first, then ModelRefused is raised.
        Examples of an earlier call with the same labels serve again.
        """
        ids = frozenset(c.category_id for c in taxonomy.categories)
        if ids != self._examples_of:
            self._examples, self._examples_of = (), ids
        labeller = self._labeller(taxonomy, brief)
        first = packing.apart(examples.candidates(traces, taxonomy, self._few_shot))[0]
        done = 0
        if first:
            answers: list[Assignment] = []
            async with aclosing(self._assign(first, labeller)) as batches:
                async for batch in batches:
                    answers += batch
                    progress("assign", len(answers), len(traces))
                    yield batch
            done = len(answers)
            self._examples = self._examples or examples.chosen(first, answers, taxonomy)
        if self._examples:
            labeller = self._labeller(taxonomy, brief, self._examples)
        labelled = {trace.trace_id for trace in first}
        others = [t for t in traces if t.trace_id not in labelled]
        async with aclosing(self._assign(others, labeller)) as batches:
            async for batch in batches:
                done += len(batch)
                progress("assign", done, len(traces))
                yield batch

    async def _assign(
        self, traces: Sequence[TraceRow], labeller: assignment.Labeller
    ) -> AsyncGenerator[list[Assignment], None]:
        # In a thread: the search for injections takes milliseconds a trace, and others share this loop.
        limits = (self._traces_per_call, self._max_data_tokens)
        packs = deque(await asyncio.to_thread(packing.packs, traces, *limits))
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
            working = len(workers)
            while working:
                arrived = [await finished.get()]
                while not finished.empty():  # what came meanwhile is stored together
                    arrived.append(finished.get_nowait())
                working -= arrived.count(None)
                batch = [answer for answers in arrived if answers is not None for answer in answers]
                if batch:
                    yield batch
            await asyncio.gather(*workers)
            if refusals:
                raise refusals[0]
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _labeller(
        self, taxonomy: Taxonomy, brief: Brief, shown: Sequence[examples.Example] = ()
    ) -> assignment.Labeller:
        return assignment.Labeller(
            self._ask_of(self._assignment_model),
            taxonomy,
            brief,
            examples=shown,
            max_attempts=self._max_attempts,
        )

    async def close(self) -> None:
        for chat in self._chats:
            await chat.close()

    def _ask_of(self, model: ChatModel) -> Ask:
        async def ask(messages: Sequence[Message], schema: replies.Schema) -> Any:
            reply = await model.complete(messages, schema=schema, max_tokens=self._max_output_tokens)
            return reply.data

        return ask

    def _wrapped(self, model: ChatModel, cache: ReplyCache | None, identity: str) -> ChatModel:
        """Answers out of the cache cost nothing, so the budget is asked only for the others."""
        budgeted = BudgetedChat(model, self._budget)
        if cache is None:
            return budgeted
        self._cached.append(CachedChat(budgeted, cache, identity))
        return self._cached[-1]
