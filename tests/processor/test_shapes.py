"""What a program tells of a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import trace_row
from tracetaxa.analyze.findings.languages import load_detector
from tracetaxa.analyze.findings.shapes import RequestShape, shape_of, shapes_of, traits_of
from tracetaxa.records import SampledTrace


def shape(text: str) -> RequestShape:
    found = shape_of(trace_row(request=text))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "traits"),
    [
        ("Where is it?", {("shorter than", "20"), ("script", "latin")}),
        ("Where is order 88213 please?", {("digits in a row", "5"), ("script", "latin")}),
        ("4711 4712 1234567890", {("digits in a row", "5"), ("digits in a row", "10")}),
        ("What is in this picture?\n[image]", {("with", "attachment"), ("script", "latin")}),
        ("What does [image] mean in a chat?", {("script", "latin")}),
        ("Look at https://example.org please", {("with", "link"), ("script", "latin")}),
        ("Write to a.b+c@example.org, please", {("with", "email"), ("script", "latin")}),
        ("Fix this:\n```py\nx = 1\n```\nand this", {("with", "code"), ("lines", "5"), ("script", "latin")}),
        ("What is {\"a\": [1, 2]} in JSON here?", {("with", "data"), ("script", "latin")}),
        ("<p>What is this in markup?</p>", {("with", "data"), ("script", "latin")}),
        ("Где мой заказ, который я сделал?", {("script", "cyrillic")}),
        ("返品したいのですが、どうすればいいですか? もう一度", {("script", "japanese")}),
        ("我的订单在哪里，我已经等了两个星期了，请告诉我", {("script", "chinese")}),
        ("주문한 물건은 언제 도착하나요, 알려 주세요", {("script", "korean")}),
    ],
)  # fmt: skip
def test_traits(text: str, traits: set[tuple[str, str]]) -> None:
    assert set(traits_of(shape(text))) == traits


def test_lengths_are_steps_of_a_ladder() -> None:
    steps = traits_of(shape("ab " * 300))
    assert {key for key, ladder in steps.items() if ladder == "length"} == {
        ("longer than", n) for n in ("50", "100", "200", "400", "800")
    }


def test_requests_that_were_not_captured_have_no_shape() -> None:
    rows = [trace_row("t1", request=" \n"), trace_row("t2", request="Hello")]
    assert set(shapes_of([SampledTrace(row, "", 1.0) for row in rows])) == {"t2"}


def test_a_language_comes_before_a_script() -> None:
    asked: list[str] = []

    def detect(text: str) -> str:
        asked.append(text)
        return "de" if "ist" in text else ""

    rows = [
        trace_row(request=text) for text in ("Wo ist mein Paket?\n[image]", "Where is my parcel?", "ok 12")
    ]
    found = [traits_of(known) for row in rows if (known := shape_of(row, detect))]
    assert ("language", "de") in found[0]
    assert not any(name == "script" for name, _ in found[0])
    assert ("script", "latin") in found[1]
    assert asked == ["Wo ist mein Paket?\n", "Where is my parcel?"]  # too little to tell is not asked about


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hallo, ich möchte meine Bestellung stornieren, weil sie nicht kam.", "de"),
        ("Hello, I would like to cancel my order since it never came.", "en"),
        ("Bonjour, je voudrais annuler ma commande parce qu'elle n'est pas arrivée.", "fr"),
        ("返品したいのですが、どうすればいいですか?", "ja"),
        ("4711 4712 4713 4714 4715", ""),
        ("ok", ""),
    ],
)
def test_languages(text: str, language: str) -> None:
    detect = load_detector()
    if detect is None:
        pytest.skip("py3langid, of the extra `local`, is not installed")
    assert detect(text) == language


@given(st.text(max_size=400))
def test_any_text_has_a_shape_that_says_none_of_it(text: str) -> None:
    found = shape_of(trace_row(request=text))
    assert (found is None) == (not text.strip())
    if found is not None:
        assert found.characters == len(text)
        assert all(value.isascii() for _, value in traits_of(found))
