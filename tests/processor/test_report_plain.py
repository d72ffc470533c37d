"""Hostile text is made harmless before it is drawn, and quotes are found where they were taken from."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.report.plain import one_line, plain, plain_tree
from tracetaxa.report.quote import CUT, clip, excerpt

HOSTILE = "".join(
    map(chr, (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xD800))
)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x9b31m", "�31m"),
        ("nul\0del\x7f", "nul␀del␡"),
        ("a\r\nb\rc\td", "a\nb␍c d"),
        ("\u202etxt.exe\u202c", "�txt.exe"),
        ("\u2067shalom\u2069", "shalom"),
        ("one\u2028two", "one\ntwo"),
        ("half \ud83d pair", "half � pair"),
        ("👩‍👩‍👧 日本語 שלום", "👩‍👩‍👧 日本語 שלום"),
    ],
)
def test_plain(raw: str, shown: str) -> None:
    assert plain(raw) == shown


@given(st.text(st.one_of(st.sampled_from(HOSTILE), st.characters())))
def test_plain_text_has_no_control_but_line_feeds_and_can_be_encoded(raw: str) -> None:
    text = plain(raw)
    assert {c for c in text if unicodedata.category(c) in ("Cc", "Cs")} <= {"\n"}
    assert not {
        c for c in text if unicodedata.bidirectional(c) in ("LRO", "RLO", "LRE", "RLE", "PDF", "LRI", "RLI")
    }
    assert plain(text) == text
    assert len(text.encode()) >= len(text)
    assert len(one_line(raw).splitlines()) <= 1


def test_plain_tree_reaches_every_string_and_key() -> None:
    tree = {"a\0": ["\x1b", {"b": ("\x9b", 1, None, True, 0.5)}]}
    assert plain_tree(tree) == {"a␀": ["␛", {"b": ["�", 1, None, True, 0.5]}]}


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 10, "short"),
        ("one two three", 9, "one two" + CUT),
        ("a" * 20, 5, "aaaa" + CUT),
        ("ab", 1, CUT),
    ],
)
def test_clip(text: str, limit: int, expected: str) -> None:
    assert clip(text, limit) == expected


@given(st.text(), st.integers(1, 50))
def test_clip_never_exceeds_its_limit(text: str, limit: int) -> None:
    assert len(clip(text, limit)) <= max(limit, 1)


def test_excerpt_splits_a_short_text_around_the_quote() -> None:
    part = excerpt("please send it\n to my office, ok?", "send it to my office")
    assert (part.before, part.quote, part.after) == ("please ", "send it\n to my office", ", ok?")


def test_excerpt_of_a_long_text_keeps_the_quote_and_marks_what_was_cut() -> None:
    part = excerpt("before " * 500 + "the quote" + " after" * 500, "the quote", limit=100)
    assert part.quote == "the quote"
    assert part.before.startswith(CUT)
    assert part.after.endswith(CUT)
    assert 60 <= len(part.before + part.quote + part.after) <= 105


def test_excerpt_at_the_end_of_a_long_text_is_not_marked_as_cut_there() -> None:
    part = excerpt("before " * 500 + "the quote", "the quote", limit=100)
    assert (part.quote, part.after) == ("the quote", "")


def test_excerpt_without_the_quote_is_the_beginning() -> None:
    part = excerpt("a text " * 100, "not there", limit=50)
    assert not part.found
    assert part.before.startswith("a text")
    assert not excerpt("text", "").found


@given(st.text(), st.text(), st.text(), st.integers(20, 60))
def test_excerpt_finds_any_quote_and_is_part_of_the_text(
    before: str, quote: str, after: str, limit: int
) -> None:
    text = f"{before}{quote}{after}"
    part = excerpt(text, quote, limit)
    assert part.found == bool(quote.split())
    assert part.before.removeprefix(CUT).removesuffix(CUT) in text or not part.found
    assert part.quote.removesuffix(CUT) in text
    assert part.after.removesuffix(CUT) in text
