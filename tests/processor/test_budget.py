"""A run's limit against a server that makes it hard to keep: nothing is used beyond it, whatever happens."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracetaxa.analyze.model.budget import Amount, Budget, BudgetedChat, BudgetReached
from tracetaxa.errors import ModelError, ModelReplyInvalid
from tracetaxa.llm.chat import OpenAIChat
from tracetaxa.llm.prices import ModelPrice, cost_usd
from tracetaxa.llm.tokens import estimate_tokens
from tracetaxa.testing import Failure, Reply, ScriptedModel, flaky

if TYPE_CHECKING:
    from tracetaxa.testing import Answer

PRICES = {"scripted": ModelPrice(10.0, 100.0, 1.0)}
price = partial(cost_usd, provider="", overrides=PRICES)
SCHEMA = {
    "type": "object",
    "properties": {"words": {"type": "string"}},
    "required": ["words"],
    "additionalProperties": False,
}
MOST_OUTPUT = 60


def ask(model: ScriptedModel, limit: Amount, calls: int = 30, **options: Any) -> tuple[OpenAIChat, list[Any]]:
    """What `calls` at once became: a reply or an error each."""

    async def run() -> tuple[OpenAIChat, list[Any]]:
        chat = OpenAIChat(
            "scripted",
            base_url=model.base_url,
            api_key="none",
            backoff_seconds=0.001,
            prices=PRICES,
            **options,
        )
        budget = Budget(limit, price, [chat], estimate_tokens)
        budgeted = BudgetedChat(chat, budget)
        asked = [
            budgeted.complete(
                [{"role": "user", "content": f"question {i} of many words " * 8}],
                schema=SCHEMA,
                max_tokens=MOST_OUTPUT,
            )
            for i in range(calls)
        ]
        try:
            return chat, await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await chat.close()

    return asyncio.run(run())


def long_answer(messages: Any, schema: Any) -> Any:
    return {"words": "word " * 40}


def billed(model: ScriptedModel) -> float:
    usage = model.usage
    known = cost_usd(
        "scripted", "", usage.input_tokens, usage.output_tokens, usage.cached_tokens, overrides=PRICES
    )
    assert known is not None
    return known


def cut_off(messages: Any, schema: Any) -> Reply:
    """Answers that always end at the limit: each is asked again with twice the room."""
    return Reply('{"words": "' + "word " * 40, finish_reason="length")


@pytest.mark.parametrize(
    "answer",
    [
        long_answer,
        lambda messages, schema: "no JSON at all, whatever is asked",
        cut_off,
        flaky(long_answer, garbage=0.3, rate_limited=0.2, disconnects=0.2, seed=3),
    ],
    ids=["sound", "garbage", "cut off", "flaky"],
)
@pytest.mark.parametrize("usd", [0.02, 0.06])
def test_money_is_never_passed_by_repeats_either(answer: Answer, usd: float) -> None:
    with ScriptedModel(answer) as model:
        chat, _ = ask(model, Amount(usd=usd), max_attempts=4)
    assert 0 < billed(model) <= usd
    assert chat.spend.cost_usd == pytest.approx(billed(model))


@pytest.mark.parametrize(
    ("limit", "used"),
    [
        (Amount(input_tokens=800), lambda usage: usage.input_tokens),
        (Amount(output_tokens=500), lambda usage: usage.output_tokens),
    ],
    ids=["input", "output"],
)
def test_tokens_are_kept_to_where_no_price_is_known(limit: Amount, used: Any) -> None:
    most = limit.input_tokens or limit.output_tokens
    with ScriptedModel(long_answer) as model:
        _, results = ask(model, limit)
    assert 0 < used(model.usage) <= most
    assert any(isinstance(r, BudgetReached) for r in results)
    assert any(not isinstance(r, ModelError) for r in results)


def test_without_a_limit_everything_is_asked() -> None:
    with ScriptedModel(long_answer) as model:
        _, results = ask(model, Amount())
    assert not [r for r in results if isinstance(r, BaseException)]


def test_calls_wait_for_one_another_rather_than_give_up() -> None:
    """The limit has room for what all calls use, and for what only two of them could use at most."""
    with ScriptedModel(lambda messages, schema: {"words": "yes"}) as model:
        _, results = ask(model, Amount(output_tokens=2 * MOST_OUTPUT + 20 * 10), calls=20)
        assert not [r for r in results if isinstance(r, BaseException)]


def test_an_answer_that_was_lost_counts_at_its_most() -> None:
    lost = Failure(disconnect=True)
    with ScriptedModel(lambda messages, schema: lost) as model:
        _, results = ask(model, Amount(output_tokens=5 * MOST_OUTPUT), calls=10, max_attempts=4)
    assert len(model.requests) == 5  # of the 40 that would have been tried
    assert sum(isinstance(r, BudgetReached) for r in results) >= 9


def test_a_refusal_costs_nothing() -> None:
    busy = Failure(503, "Overloaded", retry_after="0")
    with ScriptedModel(lambda messages, schema: busy) as model:
        _, results = ask(model, Amount(output_tokens=2 * MOST_OUTPUT), calls=5, max_attempts=3)
    assert len(model.requests) == 15
    assert not any(isinstance(r, BudgetReached) for r in results)


def test_nothing_stays_reserved_after_errors() -> None:
    rejected = Failure(400, "the content was filtered", code="content_filter")
    answers = [rejected] * 5
    with ScriptedModel(lambda messages, schema: answers.pop() if answers else {"words": "a"}) as model:
        _, results = ask(model, Amount(output_tokens=2 * MOST_OUTPUT + 100), calls=10, max_concurrency=1)
    assert sum(isinstance(r, ModelReplyInvalid) for r in results) == 5
    assert sum(not isinstance(r, BaseException) for r in results) == 5


def test_a_text_that_is_more_tokens_than_estimated_is_learnt_from() -> None:
    """A server that bills 1.9 times what is estimated, beside a limit that leaves room for ten calls."""
    with ScriptedModel(
        lambda messages, schema: {"words": "a"}, tokenizer=lambda text: round(1.9 * estimate_tokens(text))
    ) as model:
        _, results = ask(model, Amount(input_tokens=2000), calls=40)
    assert 1000 <= model.usage.input_tokens <= 2000
    assert any(isinstance(r, BudgetReached) for r in results)


amounts = st.builds(
    Amount,
    st.none() | st.floats(0, 10),
    st.none() | st.integers(0, 10**6),
    st.none() | st.integers(0, 10**6),
)


@given(amounts, amounts, amounts)
@settings(max_examples=60)
def test_amounts_add_up_and_are_within_limits(one: Amount, other: Amount, limit: Amount) -> None:
    both = one.plus(other)
    assert both == other.plus(one)
    assert both.within(Amount())
    if both.within(limit):
        assert one.within(limit)
        assert other.within(limit)
