"""What a model call cost, from the price table that `genai-prices` ships.

The table is the one of the installed release: nothing is fetched. Prices of the caller come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider


class ModelPrice(NamedTuple):
    """US dollars per million tokens."""

    input: float
    output: float
    cached_input: float | None = None
    """Of input that the provider had in its prompt cache; None: as other input."""


class PriceTable(NamedTuple):
    """Which prices are known."""

    version: str
    """Release of `genai-prices`."""
    newest: date | None
    """When the newest of its prices that are in force began: the table is at least as new."""


Overrides = Mapping[str, ModelPrice]
"""Prices by the exact name of the model."""

_PROVIDERS = {
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gen_ai": "google",
    "x_ai": "x-ai",
}
"""OpenTelemetry's `gen_ai.provider.name` values that the table would not find by itself."""

_SELF_HOSTED = frozenset({"llama.cpp", "llamacpp", "lmstudio", "local", "ollama", "sglang", "tgi", "vllm"})
"""Providers without a price list; their model names must not be priced as somebody else's."""

_LONGEST_NAME = 200


def cost_usd(
    model: str,
    provider: str,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int = 0,
    overrides: Overrides | None = None,
    cache_write_tokens: int = 0,
) -> float | None:
    """US dollars for one call, None when nobody knows the model's price.

    `input_tokens` includes `cached_tokens`, which were read from a cache, and `cache_write_tokens`.
    `provider` is a `gen_ai.provider.name` or empty. Some prices depend on the size of one request, so give
    the tokens of one call, not a sum over calls.
    """
    if overrides and model in overrides:
        price = overrides[model]
        cached = 0 if price.cached_input is None else min(max(cached_tokens, 0), input_tokens)
        fresh = (input_tokens - cached) * price.input
        return (fresh + cached * (price.cached_input or 0.0) + output_tokens * price.output) / 1e6
    found = _find(model[:_LONGEST_NAME].strip(), provider[:_LONGEST_NAME].strip().lower())
    if found is None:
        return None
    from genai_prices import Usage

    vendor, info = found
    given = max(input_tokens, 0)
    read = min(max(cached_tokens, 0), given)
    usage = Usage(
        input_tokens=given,
        output_tokens=max(output_tokens, 0),
        cache_read_tokens=read,
        cache_write_tokens=min(max(cache_write_tokens, 0), given - read),
    )
    return float(info.calc_price(usage, vendor).total_price)


def price_table() -> PriceTable:
    """The table of the installed release. It has no date of its own, but its prices have."""
    from genai_prices.data_snapshot import get_snapshot

    today = datetime.now(UTC).date()
    starts = (
        getattr(price.constraint, "start_date", None)
        for provider in get_snapshot().providers
        for model in provider.models
        if isinstance(model.prices, list)
        for price in model.prices
    )
    return PriceTable(version("genai-prices"), max((s for s in starts if s and s <= today), default=None))


@lru_cache(maxsize=4096)
def _find(model: str, provider: str) -> tuple[Provider, ModelInfo] | None:
    """The table's entry. Misses are remembered too: a trace may name any model."""
    if not model or provider in _SELF_HOSTED:
        return None
    # The table takes 0.15 s to import: only who asks for a price pays that.
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    vendor, slash, rest = model.partition("/")
    attempts: list[tuple[str, str | None]] = [(model, _PROVIDERS.get(provider, provider))] if provider else []
    attempts.append((model, None))
    if slash:
        attempts.append((rest, vendor.lower()))
    for name, vendor_id in attempts:
        try:
            return snapshot.find_provider_model(name, None, vendor_id, None)
        except LookupError:
            continue
    return None
