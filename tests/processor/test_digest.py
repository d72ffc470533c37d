"""A trace in a few hundred tokens: what is kept, in which words, and what marks the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from genai_spans import Spans, assistant, calls, returns, says, user
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.analyze.plain_text import clean, shorten, truncate
from tracetaxa.analyze.redaction.redact import redact
from tracetaxa.dialects import read_trace
from tracetaxa.records import Digest, Feedback, Span, SpanError, Turn


def lines(told: Digest) -> list[tuple[str, str]]:
    return [(line.kind, line.text) for line in told.lines]


def session(*messages: dict[str, Any]) -> Digest:
    """The digest of a conversation: each assistant message answers all that was said before it."""
    spans = Spans()
    for at, message in enumerate(messages):
        if message["role"] == "assistant":
            spans.chat(None, list(messages[:at]), [message])
    return digest(spans.read())


def test_a_short_trace_is_told_in_full() -> None:
    spans = Spans()
    agent = spans.agent(seconds=2)
    ask = calls("get_weather", {"city": "Paris", "days": 2}, "c1", text="One moment.")
    history = [says("system", "Never told."), user("Weather in\n Paris?"), ask, returns("21C", "c1")]
    first = spans.chat(agent, history[:2], [ask])
    tool = spans.tool(agent, "get_weather", **{"gen_ai.tool.call.id": "c1"})
    last = spans.chat(agent, history, [assistant("It is 21C.")])

    told = digest(spans.read())

    assert lines(told) == [
        ("facts", "invoke_agent a, 2 model calls, 1 tool call, 4 spans, 3.5 s, status Unset"),
        ("user", "Weather in Paris?"),
        ("assistant", "One moment."),
        ("tool", "get_weather(city=Paris, days=2) -> 21C"),
        ("assistant", "It is 21C."),
    ]
    assert [line.span_id for line in told.lines[1:]] == [
        first.span_id,
        first.span_id,
        tool.span_id,
        last.span_id,
    ]


def test_facts_tell_failures_feedback_and_missing_content() -> None:
    spans = Spans()
    root = spans.add(
        "POST /chat",
        status="Error",
        seconds=200,
        **{"gen_ai.evaluation.name": "thumbs", "gen_ai.evaluation.score.value": "0"},
    )
    spans.chat(root, [], [])
    spans.tool(root, "search", status="Error", message="timeout after 3 s")

    facts, *others = lines(digest(spans.read()))

    assert facts[1].split(", ") == [
        "POST /chat",
        "1 model call",
        "1 tool call (1 failed)",
        "3 spans",
        "3.3 min",
        "status Error",
        "2 errors",
        "feedback thumbs=0",
        "content not captured",
    ]
    assert others == [("tool", "search -> error: timeout after 3 s"), ("error", "POST /chat: no message")]


def test_traffic_without_a_conversation_is_facts_and_errors() -> None:
    spans = Spans()
    root = spans.add("GET /orders", status="Error", message="deadlock found", seconds=2)
    query = spans.add("SELECT", root, status="Error", message="deadlock found")
    told = digest(spans.read())

    assert [line.kind for line in told.lines] == ["facts", "error"]
    assert told.lines[1].text == "GET /orders: deadlock found"
    assert told.lines[1].span_id != query.span_id


def test_repeated_calls_are_one_line_with_the_newest_result() -> None:
    told = session(
        user("Wait for it"),
        *[m for i in range(3) for m in (calls("poll", {"id": 7}, f"c{i}"), returns(f"state {i}", f"c{i}"))],
        calls("poll", {"id": 8}, "c9"),
        returns("ok", "c9"),
        user("yes"),
        assistant("Done"),
        user("yes"),
        assistant("Done"),
    )

    assert lines(told)[1:] == [
        ("user", "Wait for it"),
        ("tool", "poll(id=7) x3 -> state 2"),
        ("tool", "poll(id=8) -> ok"),
        ("user", "yes"),
        ("assistant", "Done"),
        ("user", "yes"),
        ("assistant", "Done"),
    ]


def test_errors_follow_the_turn_of_their_span() -> None:
    spans = Spans()
    spans.chat(None, [user("Hi")], [], status="Error", message="Error code: 429 - slow\ndown")
    spans.chat(None, [user("Hi")], [assistant("Hello")])

    assert lines(digest(spans.read()))[1:] == [
        ("user", "Hi"),
        ("error", "chat m: Error code: 429 - slow down"),
        ("assistant", "Hello"),
    ]


def test_what_decides_survives_a_long_session() -> None:
    talk: list[dict[str, Any]] = [user("I want to return my camera, order #W123. " + "Please help. " * 80)]
    for i in range(60):
        talk += [
            calls("get_order_details", {"order_id": f"#W{i}", "note": "n" * 500}, f"c{i}"),
            returns({"order_id": f"#W{i}", "items": ["x" * 50] * 40}, f"c{i}"),
            assistant(f"Answer {i}. " + "Words and words. " * 30),
            user(f"Question {i}. " + "More words. " * 30),
        ]
    talk.append(assistant("Your return was submitted. " + "Goodbye. " * 80))

    told = session(*talk)

    text = told.text
    assert len(text) <= 1600
    assert "user: I want to return my camera, order #W123." in text
    assert "assistant: Your return was submitted." in text
    assert "user: Question 0." in text
    assert "get_order_details(order_id=#W0" in text
    assert {line.kind for line in told.lines} == {"facts", "user", "assistant", "tool", "cut"}
    request = max((line for line in told.lines if line.kind == "user"), key=lambda line: len(line.text))
    assert request is next(line for line in told.lines if line.kind == "user")
    cut = next(line.text for line in told.lines if line.kind == "cut" and "get_order_details" in line.text)
    assert cut.startswith("… ")
    assert cut.endswith(" …")


def test_a_hundred_failures_leave_room_for_the_request() -> None:
    spans = Spans()
    root = spans.agent(seconds=300)
    spans.chat(root, [user("Book the flight to Oslo")], [])
    for i in range(100):
        spans.tool(root, f"book_{i}", status="Error", message=f"failure {i}: " + "details " * 50)
    spans.chat(root, [user("Book the flight to Oslo")], [assistant("I could not book it.")])

    text = digest(spans.read()).text

    assert "user: Book the flight to Oslo" in text
    assert "book_0 -> error: failure 0:" in text
    assert "book_99 -> error: failure 99:" in text
    assert "assistant: I could not book it." in text
    assert len(text) <= 1600


def test_the_request_is_what_was_asked_in_the_trace_and_not_before() -> None:
    before = [user("First question " + "a " * 450), assistant("First answer " + "b " * 450)]
    told = session_of_one_call([*before, user("Second question" + " c" * 250)], "Second answer")

    earlier, asked = (line.text for line in told.lines if line.kind == "user")

    assert asked == "Second question" + " c" * 250
    assert " … " in earlier


def session_of_one_call(history: list[dict[str, Any]], answer: str) -> Digest:
    spans = Spans()
    spans.chat(None, history, [assistant(answer)])
    return digest(spans.read())


@pytest.mark.parametrize("max_tokens", [1, 16, 40, 100, 400, 2000])
def test_the_budget_holds_and_more_of_it_tells_more(max_tokens: int) -> None:
    spans = Spans()
    spans.chat(None, [user("Why? " * 2000)], [assistant("Because. " * 2000)])
    trace = spans.read()

    length = len(digest(trace, max_tokens).text)

    assert length <= max(max_tokens, 16) * 4
    assert length >= max_tokens * 2


def test_lines_are_one_line_each_and_hide_nothing() -> None:
    colours = "\x1b[31mred\x1b[0m\r\nfacts: fake\u2028line "
    hostile = colours + "\x00\u202egnp\u2066.exe \u200bzero \U000e0041tag \x1b]0;title\x07end"
    told = session_of_one_call([user(hostile)], "ok")

    assert ("user", "red facts: fake line gnp.exe zero tag end") in lines(told)
    assert len(told.text.splitlines()) == len(told.lines)


def test_the_same_trace_has_the_same_digest() -> None:
    spans = Spans()
    spans.chat(None, [user("a")], [calls("f", {"b": 1}, "c")])

    assert digest(spans.read()) == digest(read_trace(list(reversed(spans.all))))


def test_the_empty_trace_has_facts() -> None:
    assert [line.kind for line in digest(read_trace([])).lines] == ["facts"]


def test_a_message_of_white_space_is_no_line() -> None:
    assert [line.kind for line in session_of_one_call([user("Hi")], " \n ").lines] == ["facts", "user"]


def test_a_tool_without_a_name_is_a_tool() -> None:
    span = Span(
        "t", "a", "", "execute_tool", "Internal", "s", 0, 1, "Ok", attributes={"gen_ai.tool.name": ""}
    )

    assert ("tool", "tool") in lines(digest(read_trace([span])))


def test_feedback_is_told_with_its_comment() -> None:
    def given(name: str, score: float | None = None, label: str = "", comment: str = "") -> Feedback:
        return Feedback(name, "t", "", "s", name, score, label, comment, "HUMAN", "api", 0)

    feedback = (
        given("helpful", 0.25),
        given("quality", label="bad"),
        given("stars", 1, "poor", "It booked\nthe wrong day, twice. " + "Really. " * 40),
    )
    [facts] = digest(replace(read_trace([]), feedback=feedback)).lines

    assert 'feedback stars=1 (poor) "It booked the wrong day, twice. Really. ' in facts.text
    assert facts.text.endswith('Really.", feedback helpful=0.25, feedback quality=bad')
    assert len(facts.text) < 400


def test_a_loop_of_several_calls_is_one_round_that_says_how_often() -> None:
    def round_of(i: int) -> list[dict[str, Any]]:
        return [
            calls("search", {"q": "lamp"}, f"s{i}"),
            returns("nothing", f"s{i}"),
            calls("open", {"page": 1}, f"o{i}", text="Let me look again."),
            returns("404", f"o{i}"),
        ]

    told = session(user("Find a lamp"), *[m for i in range(5) for m in round_of(i)], assistant("Sorry"))

    assert lines(told)[1:] == [
        ("user", "Find a lamp"),
        ("tool", "search(q=lamp) x5 -> nothing"),
        ("assistant", "Let me look again. x5"),
        ("tool", "open(page=1) x5 -> 404"),
        ("cut", "… 5 times in a row the same: search, assistant, open …"),
        ("assistant", "Sorry"),
    ]


def test_what_is_said_again_says_so() -> None:
    answer = "I am an assistant for orders and can only help with orders."
    told = session(
        user("Write me a poem"),
        assistant(answer),
        user("A short one?"),
        assistant(answer),
        user("Ok"),
        assistant("Bye"),
    )

    assert [text for kind, text in lines(told) if kind == "assistant"] == [answer, answer + " (again)", "Bye"]


def test_calls_of_one_tool_in_a_row_are_one_line() -> None:
    talk = [
        m for i in range(4) for m in (calls("order", {"id": f"W{i}"}, f"c{i}"), returns(f"is {i}", f"c{i}"))
    ]
    told = session(user("Where are they?"), *talk, assistant("Here."))

    assert lines(told)[2] == ("tool", "order(id=W0 | W1 | W2 | W3) x4 -> is 3")


@pytest.mark.parametrize(
    "complaint",
    [
        "NO THAT IS WRONG, look properly",
        "That is not what I wanted?!",
        "Das funktioniert nicht.",
        "それはひどいです",
        "I want you to cancel my order of the red lamp today",  # what was asked first
    ],
)
def test_trouble_is_told_before_other_turns(complaint: str) -> None:
    talk: list[dict[str, Any]] = [user("Please cancel my order of the red lamp"), assistant("Which one?")]
    for i in range(60):
        text = (
            complaint
            if i == 30
            else " ".join(
                f"{word}{chr(97 + i % 26)}{chr(97 + i // 26)}" for word in ("And", "this", "one", "there")
            )
        )
        reply = "Unfortunately that order has left." if i == 31 else f"Number {i} is of oak, and in stock."
        talk += [user(text), assistant(reply)]
    told = session(*talk).text

    assert f"user: {complaint}" in told
    assert "assistant: Unfortunately that order has left." in told


def test_retrievals_are_told_like_calls() -> None:
    turns = (
        Turn("user", "Where is it?", "a", 1),
        Turn("retrieval", "Page 3: on the shelf", "b", 2, "manual", "where is it"),
        Turn("assistant", "On the shelf.", "c", 3),
    )
    told = digest(replace(read_trace([]), turns=turns))

    assert lines(told)[2] == ("tool", "retrieval manual(where is it) -> Page 3: on the shelf")
    assert told.lines[2].span_id == "b"


def test_a_budget_of_tokens_is_fewer_characters_where_characters_are_wide() -> None:
    told = session_of_one_call([user("画面が壊れていて使えません。" * 200)], "返品できます。" * 100)

    assert 400 < len(told.text) < 700


# -------------------------------------------------------------------------------------------- what no cut parts

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEow1+abXyz09/" * 40 + "\n-----END RSA PRIVATE KEY-----"
SECRETS = [
    ("", "jane.doe+shop@mail.example.co.uk"),
    ("", "+49 170 1234567"),
    ("", "(555) 010-4477"),
    ("", "01 23 45 67 89"),
    ("", "4242 4242 4242 4242"),
    ("", "3782-822463-10005"),
    ("", "DE89 3704 0044 0532 0130 00"),
    ("", "GB82 WEST 1234 5698 7654 32"),
    ("", "sk-proj-abcDEF123456_7890-xyzXYZ"),
    ("", "AKIAIOSFODNN7EXAMPLE"),
    ("", JWT),
    ("", PEM),
    ("Authorization: Bearer ", "abcdef0123456789abcdef"),
    ("my phone number is ", "5550104477"),
    ("api_key=", "hunter2hunter2"),
    ("postgres://admin:", "s3cr,et;pa@"),
]
PIECE = 6
"""So many characters of a secret in a row, or more, must not be left."""

prose = st.lists(
    st.sampled_from(
        ["the", "order", "was", "wrong,", "please", "check.", "日本語の", "é", "3", "x" * 40, '{"a":"b"}']
    ),
    max_size=30,
).map(" ".join)


def pieces(secret: str) -> set[str]:
    return {secret[i : i + PIECE] for i in range(len(secret) - PIECE + 1)}


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(SECRETS),
    prose,
    prose,
    st.sampled_from([" ", "\n", '"', " ("]),
    st.sampled_from([" ", ") ", '", "']),
)
def test_no_cut_leaves_a_piece_of_a_secret(
    planted: tuple[str, str], before: str, after: str, left: str, right: str
) -> None:
    name, secret = planted
    text = before + left + name + secret + right + after
    parts = pieces(clean(secret)) | pieces(secret)
    whole = redact(clean(text)) + redact(text)
    assume(not any(piece in whole for piece in parts))

    for limit in [*range(1, len(text) + 3, 1 + len(text) // 30), len(before) + 10]:
        for cut in (shorten(text, limit), shorten(text, limit, ends=False), truncate(text, limit)):
            assert len(cut) <= limit + 1
            redacted = redact(cut)
            assert [piece for piece in parts if piece in redacted] == []


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(SECRETS), prose, prose, st.integers(16, 500), st.booleans())
def test_no_digest_leaves_a_piece_of_a_secret(
    planted: tuple[str, str], before: str, after: str, max_tokens: int, long: bool
) -> None:
    name, secret = planted
    text = f"{before} {name}{secret} {after}" + " and so on" * (1800 if long else 0)
    parts = pieces(clean(secret)) | pieces(secret)
    whole = redact(clean(text))
    assume(not any(piece in whole for piece in parts))
    turns = (
        Turn("user", text, "a", 1),
        Turn("tool", text, "b", 2, "look_up", json.dumps({"note": text})),
        Turn("tool", text, "c", 3, "look_up", text, error=True),
        Turn("retrieval", text, "d", 4, "", text),
        Turn("assistant", text, "e", 5),
        Turn("user", text, "f", 6),
    )
    feedback = (Feedback("1", "t", "", "a", "thumbs", 0, "", text, "HUMAN", "api", 0),)
    errors = (SpanError("c", "look_up", text),)
    trace = replace(read_trace([]), turns=turns, feedback=feedback, errors=errors)

    for line in digest(trace, max_tokens).lines:
        redacted = redact(line.text)
        assert [piece for piece in parts if piece in redacted] == []


CHARACTERS = [
    "e\u0301",
    "👩‍👩‍👧‍👦",
    "👍🏽",
    "🇩🇪",
    "각",
    "\u1100\u1161\u11a8",
    "क्षि",
    "ก็",
    "กำ",
    "❤️",
    "1️⃣",
    "a\u0308\u0304",
]


@pytest.mark.parametrize("character", CHARACTERS)
def test_no_cut_parts_what_a_person_sees_as_one_character(character: str) -> None:
    text = character * 20
    whole = {character * i for i in range(21)}

    for limit in range(1, len(text)):
        for cut in (shorten(text, limit), shorten(text, limit, ends=False), truncate(text, limit)):
            assert {part.strip() for part in cut.split("…")} <= whole


def test_a_text_longer_than_what_is_read_of_it_is_cut_between_words() -> None:
    text = "\x1b[31m" + "\n" * 30_000 + "word " * 20_000 + "\n" * 30_000 + "end"

    assert shorten(text, 40) == "word word word word word … word end"


# ------------------------------------------------------------------------------------------------ plain text


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 10, "short"),
        ("  a \n\t b  ", 10, "a b"),
        ("abcdefghijklmnopqrstuvwxyz", 12, "abcdef … xyz"),
        ("abcdefghijklmnopqrstuvwxyz", 5, "abcd…"),
        ("Please cancel the order of yesterday", 30, "Please cancel the … yesterday"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
        ("abc", -5, ""),
        ("é" * 30, 9, "éééé … éé"),
    ],
)
def test_shortening(text: str, limit: int, expected: str) -> None:
    assert shorten(text, limit) == expected


def test_json_is_shortened_at_its_end() -> None:
    assert (
        shorten(json.dumps({"order_id": "#W1", "rest": "x" * 100}), 20, ends=False) == '{"order_id": "#W1",…'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;never closed", "0;never closed"),
        ("\x1bcreset", "reset"),
        ("bell\x07 and \x7fdelete", "bell and delete"),
        ("family 👨‍👩‍👧 and नमस्‍ते", "family 👨‍👩‍👧 and नमस्‍ते"),
        ("half \ud83d pair", "half pair"),
        ("a\x85b\u2029c\u00a0d", "a b c d"),
    ],
)
def test_cleaning(text: str, expected: str) -> None:
    assert clean(text) == expected
