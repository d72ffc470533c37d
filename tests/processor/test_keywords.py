from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason="the [local] extra is not installed")

from tracetaxa.analyze.local.keywords import (
    QUOTE_CHARS,
    Passage,
    Vocabulary,
    describe,
    name_groups,
    not_done,
    quote,
    stem,
    terms,
    typical,
)
from tracetaxa.analyze.local.represent import clean, sentence_spans


def group(*traces: str) -> list[list[Passage]]:
    return [[Passage(trace)] for trace in traces]


PARCELS = group(
    "Hi, where is my parcel? Regards, Zoe.",
    "The parcel has not arrived, 4711.",
    "parcels are late, can you track the parcel",
    "Tracking my parcel please",
    "Can you track my late parcel?",
)
LOGINS = group(
    "I can't log in to my account.",
    "Locked out of the account, wrong password",
    "my password is wrong",
    "Please reset the password of my account",
    "Password reset for my account please",
)


@pytest.mark.parametrize(
    "forms",
    [
        ("refund", "refunds", "refunded", "refunding"),
        ("cancel", "cancelled", "cancels"),
        ("delivery", "deliveries"),
        ("track", "tracking", "tracked"),
        ("change", "changed", "changing", "changes"),
    ],
)
def test_forms_of_a_word_have_one_stem(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


def test_terms_are_telling_words_and_adjacent_pairs() -> None:
    found = [
        form for _, form in terms("Hello, please change the delivery address of order 12345, don't wait!")
    ]
    assert found == [
        *("change", "delivery", "change delivery", "address", "delivery address"),
        *("order", "address of order", "wait"),
    ]


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("I lost my luggage", "lost luggage"),
        ("luggage lost", "luggage lost"),
        ("the meaning of life", "meaning of life"),
        ("card was declined", "card was declined"),
        ("refused to accept without the receipt", "refused to accept"),
    ],
)
def test_pairs_bridge_small_words(text: str, pair: str) -> None:
    assert pair in [form for term, form in terms(text) if len(term) == 2]


@pytest.mark.parametrize(
    "text", ["lost. Luggage", "lost and luggage", "lost to you of luggage", "lost, luggage"]
)
def test_pairs_do_not_bridge_thoughts(text: str) -> None:
    assert [form for term, form in terms(text) if len(term) == 2] == []


def test_a_pair_counts_whatever_its_order() -> None:
    assert len({term for text in ("lost my luggage", "luggage was lost") for term, _ in terms(text)}) == 3


def test_names_are_telling_readable_and_distinct() -> None:
    vocabulary = Vocabulary([PARCELS, LOGINS])
    names = name_groups(vocabulary, range(2), {0: "", 1: ""}, {})
    assert "parcel" in names[0].casefold()
    assert {"account", "password"} & set(names[1].casefold().replace(",", "").split())
    for name in names:
        words = name.replace(",", "").split()
        assert 2 <= len(words) <= 4
        assert all(word.isalpha() for word in words)
        assert name[0].isupper()
    assert "Zoe" not in " ".join(names)


def test_twins_get_different_names() -> None:
    names = name_groups(
        Vocabulary([PARCELS, PARCELS, PARCELS]), range(3), dict.fromkeys(range(3), "my parcel"), {}
    )
    assert len({name.casefold() for name in names}) == 3


def test_a_group_without_telling_words_is_called_by_its_example() -> None:
    vocabulary = Vocabulary([group("so is it", "what is that", "it is"), group("1 2 3", "456")])
    names = name_groups(vocabulary, range(2), {0: "So is it", 1: ""}, {1: "with errors"})
    assert names == ["So is it", "Group (with errors)"]


def test_taken_names_are_not_given_again() -> None:
    vocabulary = Vocabulary([PARCELS])
    first = name_groups(vocabulary, [0], {0: "x"}, {})
    assert name_groups(vocabulary, [0], {0: "x"}, {}, taken=first) != first


def test_words_in_one_trace_only_are_not_telling() -> None:
    vocabulary = Vocabulary([[*PARCELS, *group("the zeppelin parcel zeppelin zeppelin")], LOGINS])
    assert "zeppelin" not in vocabulary.ranked(0)


def test_a_quote_is_verbatim_and_typical() -> None:
    scores = Vocabulary([PARCELS, LOGINS]).scores(0)
    lines = (
        ("facts", "agent, 2 model calls", "a"),
        ("user", "Good morning! My parcel is late again.  And it rains.", "b"),
        ("assistant", "Let me look.", "c"),
    )
    assert quote(lines, scores) == ("My parcel is late again.", "b")
    assert quote(lines[:1], scores) == ("agent, 2 model calls", "a")
    assert quote((), scores) == ("", "")
    assert quote((("cut", "… 3 turns left out about the parcel …", "x"), ("user", "??", "y")), scores) == (
        "",
        "",
    )


_WORDS = ("parcel", "kettle", "refund", "toaster", "invoice", "voucher", "courier", "basket", "garden")


@given(st.lists(st.floats(0, 10), min_size=len(_WORDS), max_size=len(_WORDS)))
def test_typical_is_the_same_in_any_process(values: list[float]) -> None:
    """Words come out of a set in an order of the process's own: their total must not depend on it."""
    scores = {(stem(word),): value for word, value in zip(_WORDS, values, strict=True)}
    text = ", ".join(_WORDS)
    exact = float(sum(map(Fraction, values)))
    assert typical(text, scores) == exact / (1 + len(text) / QUOTE_CHARS)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool", "error", "cut"]), st.text())))
def test_any_quote_stands_in_its_line(lines: list[tuple[str, str]]) -> None:
    numbered = tuple((kind, text, f"span {i}") for i, (kind, text) in enumerate(lines))
    text, span_id = quote(numbered, {("parcel",): 1.0})
    assert len(text) <= QUOTE_CHARS
    if text:
        line = numbered[int(span_id.removeprefix("span "))]
        assert text in line[1]
        assert line[0] != "cut"


@given(st.text(max_size=2000))
def test_sentences_are_in_order_and_bounded(text: str) -> None:
    spans = list(sentence_spans(text))
    assert all(start < end <= start + 240 for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    left_out = set(range(len(text))) - {i for start, end in spans for i in range(start, end)}
    assert not any(text[i].isalnum() for i in left_out)


def test_cleaning_removes_what_tells_traces_apart() -> None:
    assert clean("Order #4711 of jo@example.com, see https://shop.example/x?y=1 now") == "Order of see now"


def test_descriptions_are_one_bounded_line() -> None:
    text = describe(
        ["parcel", "late", "driver"], "where\nis my\x1b[31m <b>parcel</b> " + "x " * 300, lead="Traces"
    )
    assert text.startswith("Traces about parcel, late and driver, for example: “where is my")
    assert len(text) <= 400
    assert not set("\n\x1b<>") & set(text)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Unfortunately we can't do that.", True),
        ("I couldn't find a valid order number", True),
        ("It is too late for that.", True),
        ("Done, the address has been changed.", False),
    ],
)
def test_regret_is_recognised(answer: str, expected: bool) -> None:
    assert not_done(answer) is expected
