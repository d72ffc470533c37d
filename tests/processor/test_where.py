"""`filter.where` that ClickHouse does not take: the message says what is wrong with the condition, and no more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tracetaxa.config import AnalysisConfig
from tracetaxa.errors import ConfigError
from tracetaxa.jobs import check_where
from tracetaxa.store.wording import in_short

if TYPE_CHECKING:
    from tracetaxa.store.database import ClickHouse


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("DurationMs >> 4 AND", "this is not SQL: > 4 AND"),
        ("DurationMs >", "something is missing at its end"),
        ("Duration = 3", "Unknown expression or function identifier `Duration`"),
        ("DurationMs = 'x'", "Cannot read floating point value here: x"),
        ("url('http://x') = 'a'", "the function url is not allowed here"),
    ],
)
def test_a_bad_condition(store: ClickHouse, where: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        asyncio.run(check_where(store, AnalysisConfig(name="topics", filter={"where": where})))
    message = str(refused.value)
    assert message.startswith(f"analysis topics, filter.where: {told}")
    assert not any(words in message for words in ("Code:", "DB::Exception", "Expected one of", "__table"))


def test_a_good_one(store: ClickHouse) -> None:
    analysis = AnalysisConfig(name="topics", filter={"where": "DurationMs > 4 and  LlmCalls = 1"})
    assert asyncio.run(check_where(store, analysis)) == "(DurationMs > 4) AND (LlmCalls = 1)"


def test_what_is_short_stays_as_it_is() -> None:
    assert in_short("the condition is nested too deeply") == "the condition is nested too deeply"
    assert len(in_short("x" * 5000)) == 200
