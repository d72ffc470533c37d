"""The behaviours that are planted in the shop's traffic, read from `shop.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from tracetaxa.demo.wording import shop_words

if TYPE_CHECKING:
    from tracetaxa.demo.traffic import Truth

Step = Mapping[str, Any]
"""A tool call: `tool`, `arguments`, `result`, `seconds` (least, most), and maybe `chance` and `error`."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    truth: Truth
    """Kind and sub-behaviour."""
    weight: float
    """Share of the sessions, relative to the others'."""
    writes_again: float
    """Chance that the customer writes once more about the same thing."""
    products: Sequence[str]
    """What the customer may write about."""
    requests: Sequence[str]
    details: Sequence[str]
    """Sentences that say more about the request."""
    asides: Sequence[str]
    """Sentences about something else, often in the words of another kind."""
    follow_ups: Sequence[str]
    reference: str
    """Fact that every request names (an order number), or empty."""
    status: str
    """Of the order that the customer writes about."""
    is_old: bool
    """Whether that order is months old."""
    steps: Sequence[Step]
    gives_up: float
    """Chance that a failing tool ends the run, so that nothing is answered."""
    looks_around: bool
    """Whether the assistant also reads records that it doesn't need."""
    replies: Sequence[str]
    thumbs_up: float
    """Chance that feedback is good."""


@cache
def behaviours() -> tuple[Behaviour, ...]:
    """Every planted behaviour, in the order of the file."""
    return tuple(
        _behaviour(kind, name, about, values)
        for kind, about in shop_words()["kinds"].items()
        for name, values in about["behaviours"].items()
    )


def records() -> dict[str, Step]:
    """What the assistant may look up in any kind, by tool."""
    return {tool: _step(tool) for tool in shop_words()["records"]}


def _behaviour(kind: str, name: str, about: Mapping[str, Any], values: Mapping[str, Any]) -> Behaviour:
    words = shop_words()
    requests = values.get("requests", [])
    if not values.get("own_requests_only", False):
        requests = requests + about["requests"]
    elsewhere = [text for other, texts in words["asides"].items() if other != kind for text in texts]
    return Behaviour(
        truth=(kind, name),
        weight=values["weight"],
        writes_again=values.get("writes_again", 0.2),
        products=words[about["products"]] if "products" in about else words["fill"]["product"],
        requests=requests,
        details=about["details"],
        asides=words["small_talk"] + elsewhere,
        follow_ups=values.get("follow_ups", about["follow_ups"] + words["follow_ups"]),
        reference=values.get("reference", ""),
        status=values.get("status", "delivered"),
        is_old=values.get("placed") == "long ago",
        steps=[_step(step) for step in values["steps"]],
        gives_up=values.get("gives_up", 0.0),
        looks_around=values.get("looks_around", True),
        replies=values["replies"],
        thumbs_up=values["thumbs_up"],
    )


def _step(step: str | Step) -> Step:
    """A step as it is, or a record by its name."""
    return {"tool": step, **shop_words()["records"][step]} if isinstance(step, str) else step
