"""Trace content is hostile: this is the one door it passes before anything is drawn.

What could steer a terminal, reorder text around it (Unicode UAX 9, "Trojan Source") or fail to encode is made
visible or taken out. What could be mistaken for markup is each rendering's own affair.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_LOST = "\N{REPLACEMENT CHARACTER}"


def _substitutes() -> dict[int, str]:
    table = {code: chr(0x2400 + code) for code in range(0x20)}  # control pictures: ␀ … ␛ … ␟
    table[0x09] = " "
    table[0x0A] = "\n"
    table[0x7F] = "\N{SYMBOL FOR DELETE}"
    table.update(dict.fromkeys(range(0x80, 0xA0), _LOST))  # C1 holds an 8-bit CSI
    table.update(dict.fromkeys((0x202D, 0x202E), _LOST))  # overrides: never innocent
    # Embeddings and isolates have honest uses, but an unbalanced one reorders what follows; marks stay.
    table.update(dict.fromkeys((0x202A, 0x202B, 0x202C, *range(0x2066, 0x206A)), ""))
    table.update(dict.fromkeys((0x2028, 0x2029), "\n"))
    table.update(dict.fromkeys(range(0xE0000, 0xE0020), ""))
    table.update(dict.fromkeys((0xFFF9, 0xFFFA, 0xFFFB, 0xFEFF, 0x00AD), ""))
    return table


_SUBSTITUTES = _substitutes()
_SURROGATES = re.compile("[\ud800-\udfff]")


def plain(text: str) -> str:
    """Text whose only control character is the line feed: `\\r\\n` is one, tabs are spaces, ESC is ␛."""
    return _SURROGATES.sub(_LOST, text.replace("\r\n", "\n").translate(_SUBSTITUTES))


def one_line(text: str) -> str:
    """Plain text with every run of white space as one space."""
    return " ".join(plain(text).split())


def plain_tree(value: Any) -> Any:
    """A copy of a JSON value whose strings and keys are all plain."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {plain(str(key)): plain_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_tree(item) for item in value]
    return value
