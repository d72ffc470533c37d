"""The GenAI conventions, today's and older ones: forms of messages, span events, kinds of spans."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from genai_spans import Spans, assistant, calls, event, returns, says, turns, user
from tracetaxa.dialects.genai import GenAi
from tracetaxa.dialects.messages import MessageReader

if TYPE_CHECKING:
    from tracetaxa.records import SpanEvent


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "parts": [{"type": "text", "content": "hi"}]}, ("user", "hi")),
        ({"role": "user", "content": "hi"}, ("user", "hi")),
        ({"role": "human", "content": [{"type": "text", "text": "a"}, {"text": "b"}]}, ("user", "a\nb")),
        ({"role": "user", "content": '[{"text": "as typed"}]'}, ("user", '[{"text": "as typed"}]')),
        ({"role": "user", "parts": [{"type": "blob", "modality": "image"}]}, ("user", "[image]")),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, ("user", "[image_url]")),
        ({"role": "ai", "parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "x"}]},
         ("assistant", "x")),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]},
         ("tool", "f", '{"a":1}', "")),
        ({"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]},
         ("tool", "f", '{"a":1}', "")),
        ({"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}, ("tool", "f", "{}", "")),
        ({"role": "tool", "tool_call_id": "1", "content": "out"}, ("tool", "", "", "out")),
        ({"role": "tool", "content": {"temp": 21}}, ("tool", "", "", '{"temp":21}')),
        ({"role": "user", "content": [{"type": "tool_result", "content": [{"text": "out"}]}]},
         ("tool", "", "", "out")),
        ({"role": "user", "parts": [{"type": "tool_call_response", "id": "1", "name": "f", "result": "out"}]},
         ("tool", "f", "", "out")),
        ("just text", ("user", "just text")),
        (["nothing", "known"], None),
        (7, None),
        ({"role": "user", "content": None}, None),
        ({"role": {}, "parts": {"type": []}}, None),
    ],
)  # fmt: skip
def test_forms_of_messages(message: Any, expected: tuple[str, ...] | None) -> None:
    spans = Spans()
    spans.chat(None, [message], [])

    assert turns(spans.read()) == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.prompt": "Tell me", "gen_ai.completion": "A joke"}, ["Tell me", "A joke"]),
        ({"gen_ai.prompt": [{"content": "Tell me"}], "gen_ai.completion": '"A joke"'}, ["Tell me", "A joke"]),
        ({"gen_ai.prompt": {"messages": [{"role": "user", "content": "Tell me"}]}}, ["Tell me"]),
        ({"gen_ai.system_instructions": [{"type": "text", "content": "Be kind"}]}, ["Be kind"]),
        ({"gen_ai.system_instructions": "Be kind", "gen_ai.prompt": "Hi"}, ["Be kind", "Hi"]),
        ({"gen_ai.input.messages": '[{"role": "user", "par'}, ['[{"role": "user", "par']),
        ({"gen_ai.input.messages": "[" * 100_000}, ["[" * 100_000]),
        ({"gen_ai.input.messages": "9" * 5000}, ["9" * 5000]),
        ({"gen_ai.input.messages": '["half \\ud83d"]'}, ["half ?"]),
    ],
)  # fmt: skip
def test_forms_of_content_attributes(attributes: dict[str, Any], expected: list[str]) -> None:
    spans = Spans()
    asked: list[Any] = []
    if attributes.keys() == {"gen_ai.system_instructions"}:
        asked = [user("Hi")]
        expected = [*expected, "Hi"]
    spans.chat(None, asked, [], **attributes)

    assert [turn.text for turn in spans.read().turns] == expected


USE = {"toolUseId": "c1", "name": "w", "input": {}}
CALL = {"id": "c1", "function": {"name": "w", "arguments": "{}"}}


@pytest.mark.parametrize(
    "events",
    [
        [
            event("gen_ai.system.message", content="Be brief."),
            event("gen_ai.user.message", content="Weather?"),
            event("gen_ai.assistant.message", tool_calls=[CALL]),
            event("gen_ai.tool.message", content="21C", id="c1"),
            event("gen_ai.choice", index=0, message={"role": "assistant", "content": "21C."}),
        ],
        [
            event("gen_ai.system.message", gen_ai__event__content={"role": "system", "content": "Be brief."}),
            event("gen_ai.user.message", gen_ai__event__content={"role": "user", "content": "Weather?"}),
            event(
                "gen_ai.assistant.message",
                gen_ai__event__content={"tool_calls": [CALL]},
            ),
            event("gen_ai.tool.message", gen_ai__event__content={"content": "21C", "id": "c1"}),
            event("gen_ai.choice", gen_ai__event__content={"message": {"content": "21C."}}),
        ],
        [
            event("gen_ai.system.message", content='[{"text": "Be brief."}]'),
            event("gen_ai.user.message", content='[{"text": "Weather?"}]'),
            event("gen_ai.assistant.message", content=[{"toolUse": USE}]),
            event("gen_ai.tool.message", content=[{"toolResult": {"toolUseId": "c1", "content": "21C"}}]),
            event("gen_ai.choice", message='[{"text": "21C."}]', finish_reason="end_turn"),
        ],
        [
            event(
                "gen_ai.client.inference.operation.details",
                gen_ai__input__messages=[
                    says("system", "Be brief."), user("Weather?"), calls("w", {}, "c1"), returns("21C", "c1"),
                ],
                gen_ai__output__messages=[assistant("21C.")],
            )
        ],
    ],
    ids=["attributes", "one JSON attribute", "content blocks", "today's details event"],
)  # fmt: skip
def test_content_on_span_events(events: list[SpanEvent]) -> None:
    spans = Spans()
    spans.add("chat m", events=tuple(events), **{"gen_ai.system": "openai"})

    trace = spans.read()

    assert turns(trace) == [
        ("system", "Be brief."),
        ("user", "Weather?"),
        ("tool", "w", "{}", "21C"),
        ("assistant", "21C."),
    ]
    assert trace.llm_calls == 1


def test_a_history_that_grows_is_parsed_once() -> None:
    reader = MessageReader()
    short = json.dumps([user("a"), assistant("b")])
    long = json.dumps([user("a"), assistant("b"), user("c")])
    first, second = reader.read(short, "user"), reader.read(long, "user")

    assert [message.text for message in second.messages] == ["a", "b", "c"]
    assert all(a is b for a, b in zip(first.messages, second.messages, strict=False))
    assert reader.read(short, "user").messages == first.messages


@pytest.mark.parametrize("tail", ["x", ", x]", ",]", ", 1]]", "] ,", '", {}]'])
def test_text_that_continues_a_list_without_being_one_is_text(tail: str) -> None:
    reader = MessageReader()
    start = json.dumps([user("a")])
    reader.read(start, "user")

    found = reader.read(start[:-1] + tail, "user")

    assert [message.text for message in found.messages] in (["a"], [start[:-1] + tail])


@pytest.mark.parametrize(
    ("attributes", "name", "kind"),
    [
        ({"gen_ai.operation.name": "chat"}, "x", "model"),
        ({"gen_ai.operation.name": "generate_content"}, "x", "model"),
        ({"gen_ai.operation.name": "execute_tool"}, "x", "tool"),
        ({"gen_ai.operation.name": "invoke_workflow"}, "x", "agent"),
        ({"gen_ai.operation.name": "embeddings"}, "x", "retrieval"),
        ({"gen_ai.operation.name": "chain", "gen_ai.request.model": "m"}, "x", "other"),
        ({"gen_ai.tool.name": "f"}, "x", "tool"),
        ({"gen_ai.system": "openai"}, "chat gpt-4o", "model"),
        ({"gen_ai.agent.name": "a"}, "invoke_agent a", "agent"),
        ({"gen_ai.system": "openai", "gen_ai.request.model": "m"}, "openai.call", "model"),
        ({"gen_ai.agent.name": "a"}, "step", "other"),
    ],
)
def test_kinds_of_genai_spans(attributes: dict[str, str], name: str, kind: str) -> None:
    spans = Spans()
    span = spans.add(name, **attributes)
    dialect = GenAi()

    assert dialect.matches(span, {"gen_ai"})
    assert dialect.read(span).kind == kind
