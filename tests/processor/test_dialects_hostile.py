"""Anything may arrive: no content stops a trace, and what comes out can always be stored."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracetaxa.analyze.digests.digest import CHARACTERS_PER_TOKEN, LEAST_TOKENS, digest
from tracetaxa.dialects import read_trace
from tracetaxa.dialects.genai import GenAi
from tracetaxa.records import Span, SpanEvent

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
HUGE_IN = ["gen_ai.input.messages", "gen_ai.tool.call.arguments", "gen_ai.usage.input_tokens"]
KEYS = [
    "gen_ai.operation.name",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.tool.name",
    "gen_ai.tool.call.id",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.completion_tokens",
    "gen_ai.request.model",
    "gen_ai.conversation.id",
    "gen_ai.evaluation.name",
    "gen_ai.evaluation.score.value",
    "gen_ai.event.content",
    "content",
    "message",
    "tool_calls",
    "exception.message",
    "error.type",
    "service.version",
]
EVENTS = [
    "gen_ai.user.message",
    "gen_ai.assistant.message",
    "gen_ai.tool.message",
    "gen_ai.choice",
    "gen_ai.evaluation.result",
    "gen_ai.client.inference.operation.details",
    "exception",
]
ROLES = ["", "user", "assistant", "tool", "tool_call", "tool_call_response", "text"]
FIELDS = [
    "role",
    "parts",
    "type",
    "content",
    "text",
    "id",
    "name",
    "arguments",
    "messages",
    "response",
    "toolUse",
]
WORDS = st.sampled_from(["yes", "f", "c1", *ROLES])
ANY_TEXT = st.one_of(WORDS, st.text(st.characters(exclude_categories=()), max_size=8))
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), ANY_TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=6,
)
PARTS = st.fixed_dictionaries(
    {"type": WORDS, "content": ANY_TEXT, "id": WORDS, "name": WORDS, "response": ANY_TEXT}
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": WORDS, "content": ANY_TEXT})
    | st.fixed_dictionaries({"role": WORDS, "parts": st.lists(PARTS, max_size=2)}),
    max_size=4,
)
VALUES = st.one_of(
    ANY_TEXT,
    st.sampled_from(["chat", "execute_tool", "invoke_agent", "embeddings", "12", "-3", "nan"]),
    st.builds(json.dumps, MESSAGES),
    st.builds(json.dumps, ANY_JSON),
    st.builds(lambda value, cut: json.dumps(value)[:cut], MESSAGES, st.integers(0, 40)),
)
WRONG = st.one_of(VALUES, st.none(), st.integers(), st.floats(), st.lists(VALUES, max_size=2))
IDS = st.sampled_from(["", "a", "b", "c", "d", "e", "f"])
TIMES = st.integers(0, 50)
NAMES = st.sampled_from([*EVENTS, "", "other"])
SPAN_EVENTS = st.builds(SpanEvent, TIMES, NAMES, st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))


def spans_with(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Span]:
    return st.builds(
        Span,
        trace_id=st.just("t"),
        span_id=IDS,
        parent_span_id=IDS,
        name=ANY_TEXT | st.sampled_from(["chat m", "execute_tool f", "invoke_agent", "GET /"]),
        kind=st.just("Client"),
        service_name=st.just("s"),
        start_ns=TIMES,
        duration_ns=TIMES,
        status=st.sampled_from(["Unset", "Ok", "Error", "STATUS_CODE_ERROR", "?"]),
        status_message=ANY_TEXT,
        attributes=st.dictionaries(st.sampled_from(KEYS) | ANY_TEXT, values, max_size=6),
        events=st.lists(SPAN_EVENTS, max_size=2).map(tuple),
    )


@MANY
@given(st.lists(spans_with(WRONG), max_size=5), st.integers(1, 500))
def test_whatever_arrives_makes_a_trace_and_a_digest(spans: list[Span], max_tokens: int) -> None:
    trace = read_trace(spans)
    told = digest(trace, max_tokens)

    ids = {span.span_id for span in spans}
    assert trace.span_count == len(ids)
    assert trace.error_count == len(trace.errors)
    assert {turn.span_id for turn in trace.turns} <= ids
    assert {line.span_id for line in told.lines} <= ids | {""}
    assert len(told.text) <= max(max_tokens, LEAST_TOKENS) * CHARACTERS_PER_TOKEN * 1.05
    assert told.lines[0].kind == "facts"
    assert not {unicodedata.category(c) for line in told.lines for c in line.text} & {"Cc", "Cs", "Zl", "Zp"}
    assert digest(trace, max_tokens) == told


@MANY
@given(st.lists(spans_with(VALUES), max_size=5, unique_by=lambda span: span.span_id), st.randoms())
def test_the_order_of_arrival_changes_nothing(spans: list[Span], random: Any) -> None:
    shuffled = spans + spans[: len(spans) // 2]
    random.shuffle(shuffled)

    assert read_trace(shuffled) == read_trace(spans)


@MANY
@given(st.lists(spans_with(VALUES), min_size=1, max_size=5))
def test_the_dialect_itself_raises_on_no_text(spans: list[Span]) -> None:
    """Without the net below it: what falls into that net is lost."""
    dialect = GenAi()

    kinds = [dialect.read(span).kind for span in spans]

    assert set(kinds) <= {"model", "tool", "agent", "retrieval", "other"}


@MANY
@given(MESSAGES, MESSAGES)
def test_what_comes_from_json_can_be_stored_as_utf8(asked: list[Any], answered: list[Any]) -> None:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": json.dumps(asked),
        "gen_ai.output.messages": json.dumps(answered),
    }
    trace = read_trace([Span("t", "a", "", "chat", "Client", "s", 0, 1, "Ok", attributes=attributes)])

    for turn in trace.turns:
        for text in (turn.text, turn.tool, turn.arguments):
            assert text.encode().decode() == text


@pytest.mark.parametrize(
    "huge",
    [
        json.dumps([{"role": "user", "content": "word " * 1_000_000}]),
        json.dumps([{"role": "user", "content": "\x1b[31m\n" * 300_000}]),
        json.dumps([{"role": "user", "content": f"m{i}"} for i in range(30_000)]),
        '[{"role":"user","content":' + "[" * 500_000,
        '{"a":' * 300_000,
        '"' + "\\ud800" * 300_000 + '"',
        "\u202e" * 1_000_000,
        "9" * 1_000_000,
    ],
    ids=["words", "escapes", "messages", "brackets", "braces", "surrogates", "overrides", "digits"],
)
@pytest.mark.parametrize(
    "key", ["gen_ai.input.messages", "gen_ai.tool.call.arguments", "gen_ai.usage.input_tokens"]
)
def test_megabytes_are_digested(huge: str, key: str) -> None:
    operation = "execute_tool" if "tool" in key else "chat"
    attributes = {"gen_ai.operation.name": operation, "gen_ai.tool.name": "f", key: huge}
    span = Span("t", "a", "", "work", "Client", "s", 0, 1, "Error", huge, attributes=attributes)

    trace = read_trace([span])

    assert trace.span_count == 1
    assert len(digest(trace).text) <= 1600
