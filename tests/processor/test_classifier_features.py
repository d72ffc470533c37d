from __future__ import annotations

import unicodedata
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from factories import trace_row
from tracetaxa.label.features import GROUPS, KEYS, Counts, Lexicon, parts_of, vectors
from tracetaxa.label.ngrams import CHARACTERS, characters, words, words_and_characters

TEXTS = st.lists(
    st.text(
        st.sampled_from("abAB 019.,-_#'\n\x1féßﬁİ你好の한국\u0301\U0001f600\ud800…") | st.characters(),
        max_size=30,
    ),
    max_size=5,
)


def read_plainly(text: str) -> list[str]:
    """The words of a text, one character at a time."""
    folded = unicodedata.normalize("NFKC", text.replace("…", " ")).casefold()
    found: list[str] = [""]
    for character in folded:
        if ord(character) >= 0x10000 or unicodedata.category(character)[0] in "LMN":
            found[-1] += character
        elif found[-1]:
            found.append("")
    runs = [run for run in found if run]
    return ["#" if len(run) >= 5 and any(map(is_digit, run)) else run for run in runs]


def is_digit(character: str) -> bool:
    return ord(character) < 0x10000 and unicodedata.category(character)[0] == "N"


def split_wide(run: str) -> list[str]:
    """Where no spaces are written, each character is a word."""
    parts: list[str] = []
    apart = True
    for character in run:
        wide = ord(character) >= 0x2E80 and not 0xAC00 <= ord(character) < 0xD7A4
        if wide or apart:
            parts.append("")
        parts[-1] += character
        apart = wide
    return parts


def plain_words(text: str) -> list[tuple[str, ...]]:
    single = [part for run in read_plainly(text) for part in split_wide(run)]
    return [(one,) for one in single] + list(pairwise(single))


def plain_characters(text: str) -> list[str]:
    padded = [f" {run} " for run in read_plainly(text)]
    return [run[i : i + n] for run in padded for n in CHARACTERS for i in range(len(run) - n + 1)]


@given(TEXTS)
@example(["", "a", " ", "\n"])
@example(["order W12345678 and order 998877", "w2 401k"])
@example(["你好ab世界", "한국어 말"])
@example(["x" * 300])
def test_grams_are_those_that_plain_reading_finds(texts):
    """One hash a gram, wherever it stands, and as often: in every text of the batch."""
    for found, expected in (
        (words(texts), [plain_words(text) for text in texts]),
        (characters(texts), [plain_characters(text) for text in texts]),
    ):
        assert len(found.hashes) == sum(map(len, expected))
        hash_of: dict = {}
        for row, grams in enumerate(expected):
            hashes = Counter(found.hashes[found.documents == row].tolist())
            assert sorted(hashes.values()) == sorted(Counter(grams).values())
            for gram, times in Counter(grams).items():
                hash_of.setdefault(gram, Counter({h for h, n in hashes.items() if n == times}))
                hash_of[gram] &= Counter({h for h, n in hashes.items() if n == times})
        assert all(hash_of.values())


@given(TEXTS, st.integers(0, 4))
def test_grams_of_a_text_do_not_depend_on_the_batch(texts, at):
    if at < len(texts):
        for whole, alone in zip(
            words_and_characters(texts), words_and_characters(texts[at : at + 1]), strict=True
        ):
            assert whole.hashes[whole.documents == at].tolist() == alone.hashes.tolist()


def test_hashes_never_change():
    """What a stored classifier learned is known by them: a change is a new FEATURE_VERSION."""
    found = words(["where is my parcel"])
    assert [hex(int(h)) for h in found.hashes[:2]] == ["0x10f625a2b070977e", "0xa9365680203c2761"]
    counts = Counts.of([parts_of(trace_row(request="Where is order W1234567?"))])
    assert (len(counts.keys), int(counts.keys.sum())) == (48, 105836900)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"trace_id": "t2", "revision": 3, "session_id": "s", "user_id": "u", "start_ns": 5}),
        ({}, {"models": ("another",), "input_tokens": 7, "cost_usd": 9.0, "attributes": {"release": "2"}}),
        ({"request": "Where is order W1234567?"}, {"request": "where is order X7654321"}),
        ({"duration_ms": 4100.0}, {"duration_ms": 7900.0}),
        ({"llm_calls": 4}, {"llm_calls": 7}),
    ],
)
def test_what_changes_with_releases_and_requests_is_no_feature(one, other):
    a, b = (Counts.of([parts_of(trace_row(**changes))]) for changes in (one, other))
    assert (a.keys.tolist(), a.times.tolist()) == (b.keys.tolist(), b.times.tolist())


@pytest.mark.parametrize(
    "change",
    [
        {"request": "Something else"},
        {"tools": ("cancel_order",)},
        {"last_tool_before_error": "get_order"},
        {"status": "Error"},
        {"error_count": 1},
        {"llm_calls": 9},
        {"tool_calls": 0},
        {"service_name": "bank"},
        {"root_name": "handle"},
        {"duration_ms": 90_000.0},
        {"feedback": {"thumbs": 0.0}},
    ],
)
def test_what_tells_kinds_apart_is_a_feature(change):
    a, b = (Counts.of([parts_of(trace_row(**changes))]) for changes in ({}, change))
    assert a.keys.tolist() != b.keys.tolist()


def test_kinds_of_lines_are_groups_of_their_own():
    kinds = ("user", "assistant", "tool", "error", "facts", "cut")
    row = trace_row(
        digest_kinds=kinds, digest_texts=("hello world",) * len(kinds), digest_span_ids=("a",) * len(kinds)
    )
    groups = Counter(Counts.of([parts_of(row)]).groups.tolist())
    by_name = {name: groups[i] for i, name in enumerate(GROUPS)}
    assert by_name["request words"] == by_name["answer words"] == 3
    assert by_name["action words"] == 4  # of two lines: the pair across them as well
    assert by_name["request characters"] > 5


def test_vectors_are_shorter_the_less_is_known():
    rows = [trace_row(f"t{i}", request=text) for i, text in enumerate(["aaa bbb ccc", "aaa ddd", "eee fff"])]
    parts = [parts_of(row) for row in rows]
    counts = Counts.of(parts)
    lexicon = Lexicon.learn(counts, most=10_000)
    asked = Counts.of([parts_of(trace_row(request=text)) for text in ("aaa ddd", "aaa zzz", "yyy zzz")])
    found, present = vectors(asked, lexicon, lexicon.table())
    request = lexicon.keys >> 20 == GROUPS.index("request words")
    lengths = np.sqrt(np.asarray(found[:, np.flatnonzero(request)].power(2).sum(axis=1))).ravel()
    assert lengths[0] == pytest.approx(1, abs=1e-6)
    assert 0 < lengths[1] < 0.6
    assert lengths[2] == 0
    assert present.all(axis=0)[GROUPS.index("request words")]


def test_what_all_labelled_traces_have_counts_nothing():
    rows = [trace_row(f"t{i}", request=f"please {word}") for i, word in enumerate(["pay", "wait", "call"])]
    counts = Counts.of([parts_of(row) for row in rows])
    lexicon = Lexicon.learn(counts, most=10_000)
    everywhere = np.bincount(np.searchsorted(lexicon.keys, counts.keys)) == 3
    assert everywhere.any()
    assert not lexicon.weights[everywhere].any()
    assert (lexicon.weights[~everywhere] > 0).all()
    assert len(Lexicon.learn(counts, most=4).keys) == 4
    assert (np.diff(lexicon.keys.astype(np.int64)) > 0).all()
    assert int(lexicon.keys[-1]) < KEYS
