"""From a chat to spans: the conversation exactly, whatever its length; times; ids; what is refused."""

from __future__ import annotations

import io
import json
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imported import AT_NS, Recorded, run, turns
from tracetaxa.dialects.reading import Message
from tracetaxa.imports.clock import message_times
from tracetaxa.imports.json_values import _Cutter
from tracetaxa.imports.rows import BadRow, Chat, Said
from tracetaxa.imports.run import Import, Options
from tracetaxa.imports.source import Source
from tracetaxa.imports.times import parse_time

SECOND = 10**9


def said(role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": text, **more}


HI = [said("user", "hi"), said("assistant", "hello")]

TEXTS = st.sampled_from(["yes", "ok", "go on", "stop"])


@st.composite
def chats(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[tuple[str, ...]]]:
    """Messages of a chat that repeats itself a lot, and what must come back."""
    messages: list[dict[str, Any]] = []
    expected: list[tuple[str, ...]] = []
    if draw(st.booleans()):
        messages.append(said("system", "Be kind."))
        expected.append(("system", "Be kind."))
    for _ in range(draw(st.integers(1, 14))):
        step = draw(st.sampled_from(["ask", "ask", "use", "use", "answer"]))
        text = draw(TEXTS)
        if step == "ask":
            messages += [said("user", text), said("assistant", "ok")]
            expected += [("user", text), ("assistant", "ok")]
        elif step == "answer":
            messages.append(said("assistant", text))
            expected.append(("assistant", text))
        else:
            spoken = draw(st.sampled_from(["", "let me see"]))
            names = draw(st.lists(st.sampled_from(["find", "book"]), min_size=1, max_size=2))
            asked = draw(st.booleans())
            if asked:
                messages.append(said("user", text))
                expected.append(("user", text))
            calls = [
                {"id": draw(st.sampled_from(["", "a", "b"])), "function": {"name": n, "arguments": "{}"}}
                for n in names
            ]
            messages.append(said("assistant", spoken, tool_calls=calls))
            expected += [("assistant", spoken)] if spoken else []
            results = [draw(TEXTS) for _ in names]
            messages += [
                said("tool", result, tool_call_id=call["id"], name=name)
                for call, name, result in zip(calls, names, results, strict=True)
            ]
            expected += [("tool", name, "{}", result) for name, result in zip(names, results, strict=True)]
            if draw(st.booleans()):
                messages.append(said("assistant", "done"))
                expected.append(("assistant", "done"))
    if draw(st.booleans()):
        messages.append(said("user", "bye"))
        expected.append(("user", "bye"))
    return messages, expected


@settings(max_examples=200, deadline=None)
@given(chats(), st.sampled_from([0, 1, 200, 1 << 18]))
def test_the_conversation_comes_back_exactly(
    chat: tuple[list[dict[str, Any]], list[tuple[str, ...]]], history_characters: int
) -> None:
    messages, expected = chat
    sink, summary = run(json.dumps({"messages": messages}), history_characters=history_characters)
    (trace,) = sink.traces()
    assert summary.bad == 0
    assert turns(trace) == expected
    assert trace.llm_calls == sum(message["role"] == "assistant" for message in messages)
    assert trace.tool_calls == sum(message["role"] == "tool" for message in messages)


def test_a_long_chat_costs_in_proportion_to_its_length() -> None:
    def stored(exchanges: int) -> int:
        messages = [
            said(role, f"{role} says {i} {'x' * 100}")
            for i in range(exchanges)
            for role in ("user", "assistant")
        ]
        sink, _ = run(json.dumps(messages), history_characters=10_000)
        (trace,) = sink.traces()
        assert len(trace.turns) == 2 * exchanges
        return sum(request.ByteSize() for request in sink.requests)

    assert stored(2000) < 2.5 * stored(1000)


def test_a_long_agent_run_costs_in_proportion_to_its_length() -> None:
    def stored(steps: int) -> int:
        messages = [said("user", "Go.")]
        for i in range(steps):
            call = {"id": f"c{i}", "function": {"name": "look", "arguments": json.dumps({"page": i % 3})}}
            messages += [
                said("assistant", "", tool_calls=[call]),
                said("tool", "nothing " * 20, tool_call_id=f"c{i}"),
            ]
        sink, _ = run(json.dumps(messages), history_characters=10_000)
        (trace,) = sink.traces()
        assert (trace.tool_calls, len(trace.turns)) == (steps, steps + 1)
        return sum(request.ByteSize() for request in sink.requests)

    assert stored(1000) < 2.5 * stored(500)


def test_a_large_chat_is_sent_in_pieces() -> None:
    messages = [said(role, f"{i} {'x' * 5000}") for i in range(40) for role in ("user", "assistant")]
    sink, summary = run(json.dumps(messages), batch_bytes=50_000, max_bytes=100_000, history_characters=0)
    assert len(sink.requests) > 3
    assert (summary.imported_traces, summary.spans, len(sink.traces()[0].turns)) == (1, 41, 80)


# ------------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-22T10:00:00Z", 1_795_341_600 * SECOND),
        ("2026-11-22T12:00:00.123456789+02:00", 1_795_341_600 * SECOND + 123_456_000),
        ("2026-11-22 10:00:00", 1_795_341_600 * SECOND),
        ("Sun, 22 Nov 2026 10:00:00 GMT", 1_795_341_600 * SECOND),
        ("1795341600", 1_795_341_600 * SECOND),
        (1_795_341_600, 1_795_341_600 * SECOND),
        (1_795_341_600.25, 1_795_341_600_250_000_000),
        (1_795_341_600_123, 1_795_341_600_123_000_000),
        (1_795_341_600_123_456_789, 1_795_341_600_123_456_789),
        ("", None),
        (None, None),
    ],
)  # fmt: skip
def test_times(value: Any, expected: int | None) -> None:
    assert parse_time(value) == expected


@pytest.mark.parametrize(
    "value", ["yesterday", "1969-01-01", 12, -5, "9999-12-31T23:59:59+14:00", float("inf"), [1]]
)
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(BadRow, match="is not a time"):
        parse_time(value)


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 20 * SECOND)), min_size=1, max_size=12),
    st.one_of(st.none(), st.integers(0, 20 * SECOND)),
    st.one_of(st.none(), st.integers(0, 20 * SECOND)),
)
def test_times_of_messages_increase_and_keep_those_that_are_known(
    known: list[int | None], start: int | None, end: int | None
) -> None:
    messages = tuple(Said(Message("user", "x"), None if ns is None else AT_NS + ns) for ns in known)
    chat = Chat(
        messages,
        start_ns=None if start is None else AT_NS + start,
        end_ns=None if end is None else AT_NS + end,
    )
    times = message_times(chat, AT_NS)
    assert len(times) == len(messages)
    assert all(a < b for a, b in pairwise(times))
    given_times = [ns for ns in known if ns is not None]
    around = [ns for ns in (start, *given_times, end) if ns is not None]
    if around == sorted(around) and all(b - a > 50_000 for a, b in pairwise(around)):
        assert {AT_NS + ns for ns in given_times} <= set(times)


def test_a_chat_without_times_ends_at_the_given_moment_with_even_gaps() -> None:
    assert message_times(Chat(tuple(Said(Message("user", str(i))) for i in range(3))), AT_NS) == [
        AT_NS - 2 * SECOND,
        AT_NS - SECOND,
        AT_NS,
    ]


# ------------------------------------------------------------------------------------------------- ids


def test_the_same_file_makes_the_same_ids() -> None:
    text = "\n".join(
        json.dumps(chat) for chat in (HI, HI, {"id": "7", "messages": HI}, {"id": "7", "messages": HI})
    )
    first, summary = run(text)
    again, _ = run(text)
    assert first.requests == again.requests
    # Two people who say hi are two chats; one conversation that is listed twice is one.
    assert (summary.read, summary.imported_traces) == (4, 3)
    other, _ = run(text, service="other")
    assert {s.trace_id for s in first.spans()}.isdisjoint(s.trace_id for s in other.spans())


# ------------------------------------------------------------------------------------------------- refused


def test_old_chats_are_refused_with_advice() -> None:
    old = {"messages": HI, "created_at": "2026-01-01T00:00:00Z"}
    sink, summary = run(
        json.dumps(old) + "\n" + json.dumps(HI), oldest_ns=AT_NS - 30 * 86_400 * SECOND, retention_days=30
    )
    assert (summary.imported_traces, summary.refused, summary.bad) == (1, 1, 0)
    assert summary.problems[0].line == 1
    assert "store.retention_days (30) keeps: set it to 327 or more" in summary.problems[0].reason
    assert len(sink.traces()) == 1


BAD = [
    ('{"messages": [{"role": "user"', "not JSON"),
    ('{"foo": 1}', "no chat in it"),
    ('{"messages": "hi"}', "messages is not a list"),
    ('{"messages": []}', "nothing is said"),
    ('{"messages": [{"role": "narrator", "content": "x"}]}', "message 1: unknown role 'narrator'"),
    ('{"messages": ["hi"]}', "message 1: 'hi' is not an object"),
    (
        '{"messages": [{"role": "user", "content": "x", "timestamp": "soon"}]}',
        "message 1: 'soon' is not a time",
    ),
    (
        '{"conversations": [{"from": "human", "value": "x"}, {"from": "zebra", "value": "y"}]}',
        "unknown role 'zebra'",
    ),
    ("[1, 2]", "neither an object nor a list"),
    ("[]", "empty list"),
    ("42", "neither an object"),
    ("[" * 100_000, "not JSON|nested too deep"),
    ('{"messages": [{"role": "user", "content": ' + "9" * 5000 + "}]}", "not JSON that can be read"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=range(len(BAD)))
def test_bad_rows_are_told_and_good_ones_go_in(line: str, reason: str) -> None:
    sink, summary = run(f"{json.dumps(HI)}\n\n{line}\n{json.dumps(HI)}\n")
    assert (len(sink.traces()), summary.imported_traces) == (2, 2)
    assert summary.bad >= 1
    assert {problem.line for problem in summary.problems} == {3}
    assert re.search(reason, summary.problems[0].reason), summary.problems[0].reason


def test_only_the_first_problems_are_kept() -> None:
    _, summary = run("{}\n" * 50, shown_problems=3)
    assert (summary.bad, [problem.line for problem in summary.problems]) == (50, [1, 2, 3])


def test_encodings() -> None:
    row = json.dumps([said("user", "Grüße"), said("assistant", "日本")], ensure_ascii=False)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        sink, summary = run((row + "\n" + row).encode(encoding))
        assert (summary.bad, sink.traces()[0].input) == (0, "Grüße"), encoding
    sink, summary = run((row + "\n").encode() + b'["caf\xe9"]\n' + row.encode())
    assert (summary.imported_traces, summary.bad) == (2, 1)
    assert summary.problems[0].line == 2
    assert "byte 0xe9 at character 6 is not UTF-8" in summary.problems[0].reason
    sink, _ = run(json.dumps([said("user", "half \ud800 pair"), said("assistant", "x")]))
    assert sink.traces()[0].input == "half ? pair"


def test_a_row_that_is_too_long_costs_only_itself() -> None:
    text = json.dumps([said("user", "x" * 5000)]) + "\n" + json.dumps(HI) + "\n"
    for name, body in (
        ("a.jsonl", text),
        ("a.json", f"[\n{text.strip().replace(chr(10), ',' + chr(10))}\n]"),
    ):
        imported = Import(Options(at_ns=AT_NS), Recorded())
        imported.read(Source(name, io.BytesIO(body.encode()), max_record_characters=1 << 10))
        summary = imported.finish()
        assert (summary.imported_traces, summary.bad) == (1, 1), name
        assert "longer than" in summary.problems[0].reason


# ------------------------------------------------------------------------------------------------- anything

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
KEYS = st.one_of(
    st.sampled_from(
        ["messages", "role", "content", "conversations", "from", "value", "input", "output", "request", "response", "choices",
         "message", "tool_calls", "function", "name", "arguments", "id", "usage", "metadata", "timestamp", "type", "data", "kwargs",
         "run_type", "start_time", "trace_id", "resourceSpans", "scopeSpans", "spans", "traceId", "spanId", "resourceLogs",
         "scopeLogs", "logRecords", "attributes", "key", "body", "system", "inputs", "outputs", "generations", "conversation_id"]
    ),
    st.text(max_size=4),
)  # fmt: skip
VALUES = st.one_of(
    SCALARS,
    st.sampled_from(
        ["user", "assistant", "tool", "system", "human", "gpt", "constructor", "llm", "2026-11-22"]
    ),
)
ANYTHING = st.recursive(
    VALUES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(ANYTHING, max_size=4),
    st.sampled_from(["auto", "openai", "langsmith", "sharegpt", "otlp"]),
    st.sampled_from(["x.jsonl", "x.json"]),
)
def test_no_json_raises(values: list[Any], form: str, name: str) -> None:
    text = "\n".join(json.dumps(value) for value in values) if name == "x.jsonl" else json.dumps(values)
    sink, summary = run(text, name, form=form)
    assert summary.bad + summary.refused <= summary.read
    assert summary.imported_traces == len(sink.traces())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["auto", "csv", "openai", "otlp"]))
def test_no_bytes_raise(data: bytes, form: str) -> None:
    for prefix in (b"", b"[", b'{"messages": [', b"\xff\xfe", b"role,content,thread_id\n"):
        _, summary = run(prefix + data, "x", form=form)
        assert summary.bad <= summary.read


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet='{}[]",:\\ \n1a', max_size=80), st.integers(1, 7))
def test_cutting_does_not_depend_on_where_chunks_end(text: str, size: int) -> None:
    def cut(step: int) -> list[Any]:
        cutter = _Cutter(Source("x", io.BytesIO(b"")))
        found = [value for i in range(0, len(text), step) for value in cutter.feed(text[i : i + step])]
        return [repr(value) for value in [*found, *cutter.end()]]

    assert cut(size) == cut(len(text) or 1)
