"""Answers of models are kept: what was asked before is not paid again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.processor.test_model_engine import BRIEF, engine, labels, traces, truth

from tracetaxa.analyze.model.budget import Amount, BudgetReached
from tracetaxa.errors import StoreUnavailable
from tracetaxa.llm.prices import cost_usd
from tracetaxa.protocols import ChatReply, no_progress
from tracetaxa.records import Assignment, ModelReplyRow, Spend
from tracetaxa.store.replies import StoredReplies
from tracetaxa.testing import OracleModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracetaxa.protocols import ReplyCache
    from tracetaxa.store.database import ClickHouse

DAY = 86_400
SMALL = {"traces_per_call": 4, "digests_per_batch": 10, "max_concurrency": 2}


def run(
    model: OracleModel,
    cache: Callable[[], ReplyCache] | None,
    stop_after: int | None = None,
    **options: Any,
) -> tuple[Any, Spend]:
    """Both passes over 40 traces; ends after so many assigned batches where it is told to."""

    async def passes() -> tuple[list[Assignment], Spend]:
        subject = engine(model, cache=cache() if cache else None, **(SMALL | options))
        rows = traces(40)
        result: list[Assignment] = []
        try:
            taxonomy = await subject.discover(rows, BRIEF, no_progress)
            batches = 0
            async for batch in subject.assign(rows, taxonomy, BRIEF, no_progress):
                result += batch
                batches += 1
                if batches == stop_after:
                    break
            return result, subject.spend
        finally:
            await subject.close()

    assignments, spend = asyncio.run(passes())
    return labels(assignments), spend


@pytest.fixture(scope="module")
def undisturbed() -> tuple[dict[str, tuple[str, str]], int]:
    """Labels and calls of a run without a cache."""
    with OracleModel(truth) as model:
        result, _ = run(model, None)
        assert "other" not in {category for category, _ in result.values()}
        return result, model.usage.calls


def test_a_run_made_again_asks_nothing(store: ClickHouse, undisturbed: Any) -> None:
    cache = partial(StoredReplies, store, DAY)
    with OracleModel(truth) as model:
        first, paid = run(model, cache)
        calls = model.usage.calls
        again, free = run(model, cache)
        assert model.usage.calls == calls == paid.calls
    assert first == again == undisturbed[0]
    assert (paid.cached_calls, free.cached_calls) == (0, calls)
    assert (free.calls, free.input_tokens, free.cost_usd) == (0, 0, 0.0)


def test_a_run_that_was_stopped_pays_only_for_what_is_left(store: ClickHouse, undisturbed: Any) -> None:
    cache = partial(StoredReplies, store, DAY)
    with OracleModel(truth) as model:
        for stopped in range(1, 4):
            run(model, cache, stop_after=stopped)
        result, _ = run(model, cache)
        assert model.usage.calls <= undisturbed[1] + 3 * SMALL["max_concurrency"]
    assert result == undisturbed[0]


@pytest.mark.parametrize(
    "other", [{"identity": "another endpoint"}, {"traces_per_call": 5}], ids=["identity", "request"]
)
def test_what_differs_is_asked(store: ClickHouse, other: dict[str, Any]) -> None:
    cache = partial(StoredReplies, store, DAY)
    with OracleModel(truth) as model:
        run(model, cache)
        before = model.usage.calls
        run(model, cache, **other)
        assert model.usage.calls > before


def test_old_answers_are_asked_again(store: ClickHouse) -> None:
    cache = StoredReplies(store, DAY)
    reply = ChatReply("{}", {"a": [1, None]}, "m", 10, 2, 1)
    asyncio.run(cache.keep("new", reply))
    old = ModelReplyRow("old", "m", "{}", "{}", 1, 1, 0, time.time_ns() - 2 * DAY * 10**9)
    asyncio.run(store.insert("model_replies", [old]))
    assert asyncio.run(cache.find("new")) == reply
    assert asyncio.run(cache.find("old")) is None
    assert asyncio.run(StoredReplies(store, 3 * DAY).find("old")) is not None


def test_answers_that_come_together_share_an_insert(store: ClickHouse) -> None:
    class Counting:
        inserts = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def insert(self, table: str, records: Any) -> None:
            self.inserts += 1
            await store.insert(table, records)

    async def work() -> list[ChatReply | None]:
        cache = StoredReplies(counting, DAY)  # type: ignore[arg-type]
        assert await cache.find("reply 0") is None
        await asyncio.gather(*(cache.keep(f"reply {i}", replace(reply, text=f"{i}")) for i in range(20)))
        return [await cache.find(f"reply {i}") for i in range(20)]

    counting, reply = Counting(), ChatReply("", {}, "m", 10, 2, 1)
    found = asyncio.run(work())
    assert [answer.text if answer else None for answer in found] == [f"{i}" for i in range(20)]
    assert counting.inserts == 2  # the first, and all that came while it was at work


def test_a_cache_that_fails_costs_calls_and_not_the_run(
    caplog: pytest.LogCaptureFixture, undisturbed: Any
) -> None:
    class Broken:
        async def find(self, fingerprint: str) -> ChatReply | None:
            raise StoreUnavailable("ClickHouse does not answer now")

        async def keep(self, fingerprint: str, reply: ChatReply) -> None:
            raise StoreUnavailable("ClickHouse does not answer now")

    with OracleModel(truth) as model:
        result, spend = run(model, Broken)
    assert result == undisturbed[0]
    assert spend.cached_calls == 0
    assert [r.message for r in caplog.records].count(
        "replies of models are not cached now: ClickHouse does not answer now"
    ) == len({"taxonomy", "assignment"})


def test_what_is_known_needs_no_budget(store: ClickHouse, undisturbed: Any) -> None:
    cache = partial(StoredReplies, store, DAY)
    price = partial(cost_usd, provider="openai")
    with OracleModel(truth) as model:
        run(model, cache)
        result, spend = run(model, cache, limit=Amount(usd=1e-9), price=price)
        assert result == undisturbed[0]
        assert spend.calls == 0
        with pytest.raises(BudgetReached):
            run(model, None, limit=Amount(usd=1e-9), price=price)
