"""Functions that stand for a redaction library, found by name as `privacy.hook` names them."""

from __future__ import annotations

NAMES = ("Marguerite Duras", "Duras")


def hide_names(text: str) -> str:
    for name in NAMES:
        text = text.replace(name, "[name]")
    return text


def broken(text: str) -> str:
    raise ValueError(f"can't read {text}")


def leaves(text: str) -> str:
    """As libraries do that can't load their model."""
    raise SystemExit(7)


def returns_nothing(text: str) -> None:
    return None


not_a_function = "text"
