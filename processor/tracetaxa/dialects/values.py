"""Attribute text to values. Content is hostile: nothing here raises, whatever the text holds."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_COUNT = 10**15
"""Token counts above this are nonsense, and would overflow sums in 64 bits."""
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)


def text(attributes: Mapping[str, Any], *keys: str) -> str:
    """The first of these attributes that is not empty."""
    for key in keys:
        value = attributes.get(key)
        if value:
            return value if isinstance(value, str) else text_of(value)
    return ""


def count(attributes: Mapping[str, Any], *keys: str) -> int | None:
    """The first of these attributes that is a whole number of something."""
    for key in keys:
        if key in attributes:
            number = to_float(attributes[key])
            if number is not None and 0 <= number <= MAX_COUNT:
                return int(number)
    return None


def to_float(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def load_json(raw: str) -> Any:
    """The value, or None for text that is not JSON, nests too deep, or holds integers too long to convert."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def text_of(value: Any) -> str:
    """A value as people would write it: text as it is, nothing for null, else compact JSON."""
    if isinstance(value, str):
        return well_formed(value)
    if value is None:
        return ""
    try:
        return well_formed(_COMPACT.encode(value))
    except (ValueError, TypeError, RecursionError):
        return ""


def canonical_json(value: Any) -> str:
    """Tool arguments: one spelling, whether they came as a value or as JSON text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        parsed = load_json(value)
        return text_of(value if parsed is None else parsed)
    return text_of(value)


def limited(value: str, most: int) -> str:
    """Well-formed text of at most `most` characters, an ellipsis for what is left out: redaction takes what
    stands before one for the half of something."""
    return well_formed(value if len(value) <= most else value[: most - 1] + "…")


def well_formed(value: str) -> str:
    """Text that encodes as UTF-8: a JSON escape can be half of a surrogate pair, which no database takes."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode()
    return value
