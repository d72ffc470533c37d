from __future__ import annotations

import socket

import pytest

from tracetaxa.llm import prices
from tracetaxa.llm.prices import ModelPrice, cost_usd


@pytest.mark.parametrize(
    ("model", "provider", "usd"),
    [
        ("gpt-6-luna", "openai", 0.1),
        ("gpt-6-luna", "", 0.1),
        ("gpt-4o-2024-08-06", "azure.ai.openai", 2.5),
        ("openai/gpt-4o", "", 2.5),
        ("claude-sonnet-4-5", "aws.bedrock", 3.0),
        ("gpt-4o", "my-gateway", 2.5),
        ("grok-4", "x_ai", 3.0),
    ],
)
def test_price_of_a_million_input_tokens_sent_a_thousand_at_a_time(
    model: str, provider: str, usd: float
) -> None:
    assert cost_usd(model, provider, 1000, 0) == pytest.approx(usd / 1000)


def test_input_output_and_cached_tokens_have_their_own_prices() -> None:
    cost = cost_usd("gpt-6.1-sol", "openai", 10_000, 1000, cached_tokens=4000)
    assert cost == pytest.approx((6000 * 2 + 4000 * 0.1 + 1000 * 10) / 1e6)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("", "openai"),
        ("no-such-model", ""),
        ("no-such-model", "openai"),
        ("gpt-4o", "ollama"),
        ("x" * 10_000, ""),
    ],
)
def test_nobody_knows_the_price(model: str, provider: str) -> None:
    assert cost_usd(model, provider, 1000, 1000) is None


def test_own_prices_come_first() -> None:
    assert cost_usd("gpt-4o", "openai", 1_000_000, 500_000, overrides={"gpt-4o": ModelPrice(1.0, 4.0)}) == 3.0
    assert cost_usd("home-made", "", 1_000_000, 0, overrides={"home-made": ModelPrice(0.0, 0.0)}) == 0.0


@pytest.mark.parametrize("tokens", [(-5, 10, 0), (10, 0, 50), (0, 0, 0)])
def test_odd_counts_cost_something_sensible(tokens: tuple[int, int, int]) -> None:
    cost = cost_usd("gpt-4o", "openai", *tokens)
    assert cost is not None
    assert cost >= 0


def test_a_model_is_looked_up_once_known_or_not() -> None:
    prices._find.cache_clear()
    for _ in range(3):
        cost_usd("gpt-6-luna", "openai", 1, 1)
        cost_usd("no-such-model", "openai", 1, 1)
    assert prices._find.cache_info().misses == 2


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("prices must come from the installed table")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    prices._find.cache_clear()
    assert cost_usd("gpt-6-luna", "openai", 1000, 10) is not None
