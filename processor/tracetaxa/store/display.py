"""Answers of the database as bytes that a terminal shows and does not obey.

What users typed is in them. An escape sequence there could retitle the window, hide text or write to the
clipboard; an override of the writing direction could show text in another order than it has.
"""

from __future__ import annotations

import re
from typing import Final

_CONTROLS: Final = bytes({*range(0x20), 0x7F} - set(b"\t\n\r"))
"""C0 and DEL, without tab, line feed, and the carriage return, which is looked at in its place."""
_OTHERS: Final = bytes(set(range(256)) - set(_CONTROLS))
_LONE_RETURN: Final = re.compile(rb"\r(?!\n)")
_WIDE: Final = re.compile(rb"\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]")
"""In UTF-8: C1, and Unicode's embeddings, overrides and isolates (U+202A to U+202E, U+2066 to U+2069)."""
_LEADS: Final = (b"\xc2", b"\xe2\x80", b"\xe2\x81")
_REPLACEMENT: Final = "\ufffd".encode()


def safe_for_terminal(data: bytes) -> bytes:
    """`data` as valid UTF-8 whose only control characters are tabs and line ends (`\\n` and `\\r\\n`).

    Other C0 controls and DEL become their pictures (ESC is ␛); C1 controls, what sets the writing direction,
    and bytes that are not UTF-8 become U+FFFD. O(n); safe data comes back as it is.
    """
    try:
        data.decode()
    except UnicodeDecodeError:
        data = data.decode("utf-8", "replace").encode()
    # Substitution in bytes hits whole characters only: in UTF-8 none begins inside another.
    if not data.isascii() and any(lead in data for lead in _LEADS):
        data = _WIDE.sub(_REPLACEMENT, data)
    if b"\r" in data:
        data = _LONE_RETURN.sub(_picture(0x0D), data)
    for code in set(data.translate(None, _OTHERS)):
        data = data.replace(bytes([code]), _picture(code))
    return data


def _picture(code: int) -> bytes:
    return chr(0x2421 if code == 0x7F else 0x2400 + code).encode()
