"""Sentences from templates: `[a|b|c]` picks one, `{fact}` is filled in; and the slips of a keyboard."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import random

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_A_BEFORE_VOWEL = re.compile(r"\b([Aa])(?= [aeio])")


@cache
def shop_words() -> dict[str, Any]:
    """`shop.yaml`, read once."""
    text = resources.files("tracetaxa.demo").joinpath("shop.yaml").read_text("utf-8")
    words: dict[str, Any] = yaml.safe_load(text)
    return words


def say(template: str, rng: random.Random, facts: Mapping[str, Any]) -> str:
    """Picks an alternative in every `[a|b|c]`, innermost first, then fills the facts."""
    text, found = template, 1
    while found:
        text, found = _CHOICE.subn(lambda match: rng.choice(match[1].split("|")), text)
    return _A_BEFORE_VOWEL.sub(r"\1n", text.format_map(facts))


def sentence(template: str, rng: random.Random, facts: Mapping[str, Any]) -> str:
    """What `say` gives, with a capital letter in front and a mark at the end."""
    text = say(template, rng, facts).strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def filled(template: Any, rng: random.Random, facts: Mapping[str, Any]) -> Any:
    """The template with every string said; a string that is one {fact} becomes its value, with its type."""
    if isinstance(template, Mapping):
        return {key: filled(value, rng, facts) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, rng, facts) for value in template]
    if not isinstance(template, str):
        return template
    if template.startswith("{") and template.endswith("}") and template[1:-1] in facts:
        return facts[template[1:-1]]
    return say(template, rng, facts)


def with_typos(text: str, rng: random.Random, most: int = 3) -> str:
    """One to `most` letters dropped, doubled or swapped, never in a number or an address."""
    words = text.split(" ")
    for _ in range(rng.randint(1, most)):
        index = rng.randrange(len(words))
        word = words[index]
        if len(word) < 5 or not word.isalpha():
            continue
        at = rng.randrange(1, len(word) - 1)
        before, letter, after = word[:at], word[at], word[at + 1 :]
        words[index] = rng.choice(
            (before + after, before + letter + letter + after, before + after[0] + letter + after[1:])
        )
    return " ".join(words)
