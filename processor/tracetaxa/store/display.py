"""Answers of the database as bytes that a terminal shows and does not obey.

What users typed is in them. An escape sequence there could retitle the window, hide text or write to the
clipboard; an override of the writing direction could show text in another order than it has.
"""

from __future__ import annotations

import re
from typing import Final

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
"""C0 less tab and line feed, and DEL. A carriage return is looked at in its place."""
_WIDE: Final = re.compile(rb"\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]")
"""In UTF-8: C1, and Unicode's embeddings, overrides and isolates (U+202A to U+202E, U+2066 to U+2069)."""
_LEADS: Final = (b"\xc2", b"\xe2\x80", b"\xe2\x81")
_PICTURES: Final = {
    **{bytes([code]): chr(0x2400 + code).encode() for code in range(0x20)},
    b"\x7f": "\u2421".encode(),
}
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
    return _CONTROL.sub(_pictured, data)


def _pictured(found: re.Match[bytes]) -> bytes:
    control = found[0]
    if control == b"\r" and found.string[found.end() : found.end() + 1] == b"\n":
        return control
    return _PICTURES[control]
