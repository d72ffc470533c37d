"""Single fields of what clients send: text, ids. Each raises ValueError with what the field must be."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

MAX_ID_CHARS = 1000
"""Of session ids, users and a client's own ids."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_HEX = re.compile(r"[0-9a-fA-F]+")


def plain_text(value: Any, limit: int, lines: bool = False) -> str:
    """Without the space around it; None is the empty text. Line breaks only with `lines`."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError("must be text")
    stripped = value.strip()
    if len(stripped) > limit:
        raise ValueError(f"is longer than {limit} characters")
    if _SURROGATE.search(stripped):
        raise ValueError("is not valid Unicode")
    if not lines and any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in stripped):
        raise ValueError("must not hold control characters or line breaks")
    return stripped


def own_id(value: Any) -> str:
    """An id that the client made, a number too."""
    number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64
    return plain_text(str(value) if number else value, MAX_ID_CHARS)


def hex_id(value: Any, digits: int) -> str:
    """A trace id (32 digits) or span id (16), in lower case."""
    given = plain_text(value, MAX_ID_CHARS)
    if given and (len(given) != digits or not _HEX.fullmatch(given) or not given.strip("0")):
        raise ValueError(f"must be {digits} hexadecimal digits, not all of them 0")
    return given.lower()
