"""A trace in a few hundred tokens: what is kept, in which words, and what marks the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genai_spans import Spans, assistant, calls, returns, says, user
from tracetaxa.analyze.digest import digest
from tracetaxa.analyze.plain_text import clean, shorten
from tracetaxa.dialects import read_trace
from tracetaxa.records import Digest, Span


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
    before = [user("First question " + "a" * 900), assistant("First answer " + "b" * 900)]
    told = session_of_one_call([*before, user("Second question " + "c" * 500)], "Second answer")

    earlier, asked = (line.text for line in told.lines if line.kind == "user")

    assert asked == "Second question " + "c" * 500
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


def test_a_tool_without_a_name_is_a_tool() -> None:
    span = Span(
        "t", "a", "", "execute_tool", "Internal", "s", 0, 1, "Ok", attributes={"gen_ai.tool.name": ""}
    )

    assert ("tool", "tool") in lines(digest(read_trace([span])))


# ------------------------------------------------------------------------------------------------ plain text


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 10, "short"),
        ("  a \n\t b  ", 10, "a b"),
        ("abcdefghijklmnopqrstuvwxyz", 12, "abcdef … xyz"),
        ("abcdefghijklmnopqrstuvwxyz", 5, "abcd…"),
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
