"""The estimate of tokens, by itself and beside the vocabulary that it was fitted to."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
from bench.cost import tokenizer
from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.llm.tokens import estimate_tokens

PROSE = (
    "Hello, I would like to change my reservation from Chicago to Denver, and to add two checked bags. "
    "Unfortunately a basic economy ticket can't be changed, but I could cancel it for you. "
)
TOOL = json.dumps(
    {
        "reservation_id": "K1NW8N",
        "user_id": "mohamed_silva_9265",
        "flights": [{"flight_number": "HAT023", "date": "2024-05-26", "price": 112.75}] * 3,
        "passengers": [{"first_name": "Mohamed", "last_name": "Silva", "dob": "1960-11-26"}],
    }
)
OTHERS = {
    "German": "Wo bleibt meine Bestellung? Ich warte seit gestern und möchte bitte sofort mein Geld zurück.",
    "French": "Où est ma commande ? J'attends depuis hier et j'aimerais être remboursé, s'il vous plaît.",
    "Chinese": "我的订单在哪里？我从昨天开始等，还没收到。请退款。",
    "Arabic": "أين طلبي؟ أنتظر منذ أمس وأريد استرداد أموالي من فضلك",
}


@given(st.text(max_size=300), st.text(max_size=300))
def test_an_estimate_is_bounded_and_grows_with_the_text(one: str, other: str) -> None:
    """By its bytes, of which no token has less than one, but for what rounding adds."""
    both = estimate_tokens(one + "\n" + other)
    assert 0 <= estimate_tokens(one) <= 1.25 * len(one.encode("utf-8", "replace")) + 1
    assert both >= max(estimate_tokens(one), estimate_tokens(other)) - 1
    assert both <= estimate_tokens(one) + estimate_tokens(other) + 3


def test_nothing_is_no_token() -> None:
    assert estimate_tokens("") == 0


@pytest.mark.skipif(find_spec("bpe_openai") is None, reason="bpe-openai is not installed")
@pytest.mark.parametrize(
    ("text", "off"),
    [
        (PROSE * 4, 0.1),
        (TOOL, 0.2),
        *((text, 0.25) for text in OTHERS.values()),
    ],
    ids=["prose", "tool", *OTHERS],
)
def test_it_is_near_what_is_billed(text: str, off: float) -> None:
    assert estimate_tokens(text) / tokenizer()(text) == pytest.approx(1.0, abs=off)
