"""What a terminal gets: every text is shown, none is obeyed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracetaxa.store.display import safe_for_terminal

DIRECTIONS = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\r\nand more\n", "plain\ttext\r\nand more\n"),
        ("żółć 日本 🧪 «»\u00a0\u2014\u2080", "żółć 日本 🧪 «»\u00a0\u2014\u2080"),
        ("\x1b]0;owned\x07", "␛]0;owned␇"),
        ("\x1b[2J\x00\x08\x7f", "␛[2J␀␈␡"),
        ("hidden\rshown", "hidden␍shown"),
        ("\r\r\n", "␍\r\n"),
        ("end\r", "end␍"),
        ("\x9b2J \x9d0;t\x9c \x85", "�2J �0;t� �"),
        ("\u202eevil\u202c \u2066x\u2069", "�evil� �x�"),
        ("", ""),
    ],
)
def test_controls_are_shown_and_other_text_is_left(text: str, shown: str) -> None:
    assert safe_for_terminal(text.encode()).decode() == shown


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"a\xffb", "a�b"),
        (b"\x9b2J", "�2J"),
        (b"cut \xe2\x80", "cut �"),
        (b"\xff\x1b\xc2\x9b", "�␛�"),
        (b"\xc0\x9b", "��"),
    ],
)
def test_bytes_that_are_not_utf8_are_replaced(data: bytes, shown: str) -> None:
    assert safe_for_terminal(data).decode() == shown


@given(st.binary() | st.text().map(str.encode) | st.text("\r\n\x1b\x9b\u202eé\t").map(str.encode))
@example(bytes(range(256)))
@example("".join(map(chr, range(0x3000))).encode())
def test_nothing_that_a_terminal_obeys_is_left(data: bytes) -> None:
    shown = safe_for_terminal(data).decode()

    rest = shown.replace("\r\n", "").replace("\n", "").replace("\t", "")
    assert not [c for c in rest if unicodedata.category(c) == "Cc" or ord(c) in DIRECTIONS]
    assert safe_for_terminal(shown.encode()).decode() == shown
    assert len(shown) == len(data.decode("utf-8", "replace"))
