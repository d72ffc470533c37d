"""Langfuse, MLflow, Google ADK and MCP: spans as their SDKs write them, to the conversation that they record.

A user asks for the weather; the tool answers for Paris and fails for Rome; the assistant answers. The shapes
were taken from what the named releases emit.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spans import Spans, assistant, calls, turns, user
from tracetaxa.dialects import read_trace
from tracetaxa.dialects.adk import GoogleAdk
from tracetaxa.dialects.langfuse import Langfuse
from tracetaxa.dialects.mcp import Mcp
from tracetaxa.dialects.mlflow import MLflow
from tracetaxa.records import SpanError, Usage

if TYPE_CHECKING:
    from tracetaxa.dialects.reading import Dialect
    from tracetaxa.records import Span, Trace

ASKED = "Weather in Paris and Rome?"
PARIS, ROME = '{"city":"Paris"}', '{"city":"Rome"}'
FAILURE = "no station in Rome"
ANSWER = "Paris is sunny. Rome is unknown."
SYSTEM = {"role": "system", "content": "Be kind"}
QUESTION = {"role": "user", "content": ASKED}
CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}},
    {"id": "c2", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}},
]
RESULTS = [
    {"role": "tool", "tool_call_id": "c1", "content": "21 C"},
    {"role": "tool", "tool_call_id": "c2", "content": FAILURE},
]
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather now", "parameters": {}}}
]
CONVERSATION = [
    ("system", "Be kind"),
    ("user", ASKED),
    ("tool", "get_weather", PARIS, "21 C"),
    ("tool", "get_weather", ROME, FAILURE),
    ("assistant", ANSWER),
]


def facts(trace: Trace) -> dict[str, Any]:
    """What every dialect has to tell of this conversation, in one comparable value."""
    return {
        "turns": [turn for turn in turns(trace) if turn[0] != "retrieval"],
        "tool_errors": [turn.error for turn in trace.turns if turn.role == "tool"],
        "tools": trace.tools,
        "tool_calls": trace.tool_calls,
        "llm_calls": trace.llm_calls,
        "errors": [error.message for error in trace.errors],
        "last_tool_before_error": trace.last_tool_before_error,
        "captured": trace.content_captured and trace.is_agent,
    }


EXPECTED = {
    "turns": CONVERSATION,
    "tool_errors": [False, True],
    "tools": ("get_weather",),
    "tool_calls": 2,
    "llm_calls": 2,
    "errors": [FAILURE],
    "last_tool_before_error": "get_weather",
    "captured": True,
}


# ---------------------------------------------------------------------------------------------- Langfuse

SHARED = {"session.id": "s1", "user.id": "u1", "langfuse.environment": "prod"}
"""`propagate_attributes` puts session and user on every span (langfuse-python 3.14 and later)."""


def observed(kind: str, given: Any = None, returned: Any = None, **more: Any) -> dict[str, Any]:
    """Attributes of one observation: text as it is, all else JSON (langfuse 5.0, _client/attributes.py)."""
    known = {"input": given, "output": returned, **more}
    written = {f"langfuse.observation.{key}": value for key, value in known.items() if value is not None}
    return {"langfuse.observation.type": kind, **written, **SHARED}


def test_langfuse_decorators_and_openai() -> None:
    """langfuse 5.0.4: `@observe` on functions, `langfuse.openai` for the model, OpenAI's own usage."""
    usage = {
        "completion_tokens": 8,
        "prompt_tokens": 30,
        "total_tokens": 38,
        "completion_tokens_details": {"reasoning_tokens": 2},
        "prompt_tokens_details": {"cached_tokens": 10},
    }
    model = {"model.name": "gpt-4o-mini-2024-07-18", "usage_details": usage}
    spans = Spans()
    root = spans.add(
        "weather_agent", seconds=20, **observed("agent", {"args": [ASKED], "kwargs": {}}, ANSWER),
        **{"langfuse.internal.is_app_root": "true", "langfuse.trace.name": "weather-chat"},
    )  # fmt: skip
    documents = [{"content": "Paris is in France", "score": 0.9}, {"content": "So is Lyon", "score": 0.2}]
    spans.add("search_docs", root, **observed("retriever", {"args": ["Paris"], "kwargs": {}}, documents))
    first = {"role": "assistant", "tool_calls": CALLS, "content": None}
    asked = {"tools": TOOLS, "messages": [SYSTEM, QUESTION]}
    spans.add("OpenAI-generation", root, **observed("generation", asked, first, **model))
    spans.add("get_weather", root, **observed("tool", {"args": ["Paris"], "kwargs": {}}, "21 C"))
    failed = observed("tool", {"args": [], "kwargs": {"city": "Rome"}}, level="ERROR", status_message=FAILURE)
    spans.add("get_weather", root, status="Error", message=FAILURE, **failed)
    history = [SYSTEM, QUESTION, first, *RESULTS]
    answer = {"role": "assistant", "content": ANSWER}
    spans.add("OpenAI-generation", root, **observed("generation", history, answer, **model))

    trace = spans.read()

    assert facts(trace) == EXPECTED
    assert (trace.session_id, trace.user_id) == ("s1", "u1")
    assert trace.usage == (Usage("gpt-4o-mini-2024-07-18", "", 30, 8, cache_read_tokens=10),) * 2
    [search] = [turn for turn in trace.turns if turn.role == "retrieval"]
    assert (search.tool, search.arguments, search.text) == (
        "search_docs",
        "Paris",
        "Paris is in France\nSo is Lyon",
    )
    assert trace.attributes["gen_ai.agent.name"] == "weather_agent"


def test_langfuse_langchain_callback() -> None:
    """langfuse 5.0.4 `langfuse.langchain`: messages of its own, tools as messages, usage in exclusive parts."""
    definition = {"role": "tool", "content": TOOLS[0]}
    asked = {"content": ASKED, "type": "human", "name": None, "id": None}
    call = [
        {"name": "get_weather", "args": {"city": "Paris"}, "id": "c1", "type": "tool_call"},
        {"name": "get_weather", "args": {"city": "Rome"}, "id": "c2", "type": "tool_call"},
    ]
    first = {"role": "assistant", "content": "", "tool_calls": call}
    told = {
        "content": "21 C",
        "type": "tool",
        "name": "get_weather",
        "tool_call_id": "c1",
        "status": "success",
    }
    spans = Spans()
    root = spans.add("LangGraph", seconds=20, **observed("chain", {"messages": [asked]}, {"messages": [
        asked, {"content": "", "type": "ai", "tool_calls": call}, told, {"content": ANSWER, "type": "ai"},
    ]}))  # fmt: skip
    state = {"messages": [asked]}
    asks = observed("agent", state, {"messages": [{"content": "", "type": "ai", "tool_calls": call}]})
    node = spans.add("agent", root, seconds=2, **asks)
    usage = {"input": 15, "output": 8, "total": 38, "input_cache_creation": 5, "input_cache_read": 10}
    model = {"model.name": "gpt-4o", "usage_details": usage, "metadata.ls_provider": '"openai"'}
    spans.add("ChatOpenAI", node, **observed("generation", [SYSTEM, QUESTION, definition], first, **model))
    tools = spans.add("tools", root, seconds=3, **observed("chain", {"messages": [asked]}))
    spans.add("get_weather", tools, **observed("tool", {"city": "Paris"}, told))
    spans.add("get_weather", tools, status="Error", message=FAILURE, **observed("tool", {"city": "Rome"}))
    history = [SYSTEM, QUESTION, first, *RESULTS, definition]
    model["usage_details"] = {"input": 50, "output": 6, "output_reasoning": 4}
    answer = {"role": "assistant", "content": ANSWER}
    answers = observed("agent", state, {"messages": [{"content": ANSWER, "type": "ai"}]})
    node = spans.add("agent", root, seconds=2, **answers)
    spans.add("ChatOpenAI", node, **observed("generation", history, answer, **model))

    trace = spans.read()

    assert facts(trace) == EXPECTED
    assert trace.usage == (
        Usage("gpt-4o", "openai", 30, 8, cache_read_tokens=10, cache_write_tokens=5),
        Usage("gpt-4o", "openai", 50, 10),
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input": 3, "output": 4}, (3, 4, 0, 0)),
        ({"input": 3, "output": 4, "cache_read_input_tokens": 10}, (13, 4, 10, 0)),
        ({"input": 3, "output": 4, "total": 17, "cache_read_input_tokens": 10}, (13, 4, 10, 0)),
        ({"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 10}, (13, 4, 10, 0)),
        ({"input_tokens": 20, "output_tokens": 6, "total_tokens": 26,
          "input_tokens_details": {"cached_tokens": 4}}, (20, 6, 4, 0)),
        ({"input": 3, "output": 4, "cache_creation_input_tokens": 7,
          "cache_creation_ephemeral_5m_input_tokens": 7}, (10, 4, 0, 7)),
        ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 4, 0, 0)),
        ({"total": 9}, (0, 0, 0, 0)),
        ({"input": -3, "output": "many", "total": []}, (0, 0, 0, 0)),
        ([1, 2], (0, 0, 0, 0)),
    ],
)  # fmt: skip
def test_langfuse_usage(usage: Any, expected: tuple[int, ...]) -> None:
    spans = Spans()
    spans.add("call", **observed("generation", "Hi", "Hello", usage_details=usage, **{"model.name": "m"}))

    assert spans.read().usage == (Usage("m", "", *expected),)


@pytest.mark.parametrize(
    ("cost", "expected"), [({"total": 0.5}, 0.5), ({"input": 0.25, "output": 0.125}, 0.375), ({}, None)]
)
def test_langfuse_cost(cost: dict[str, float], expected: float | None) -> None:
    spans = Spans()
    spans.add("call", **observed("generation", "Hi", "Hello", cost_details=cost, **{"model.name": "m"}))

    assert [usage.stated_usd for usage in spans.read().usage] == [expected]


def test_langfuse_trace_input_and_output_win_over_those_of_the_function() -> None:
    """langfuse 3.14: `update_current_trace(input=…)` writes on the current span, here not the first one."""
    spans = Spans()
    root = spans.add("POST /chat", seconds=9)
    spans.add(
        "handle", root, **observed("span", {"args": [{"body": "…"}], "kwargs": {}}, {"status": 200}),
        **{"langfuse.trace.input": ASKED, "langfuse.trace.output": {"answer": ANSWER}},
    )  # fmt: skip

    assert turns(spans.read()) == [("user", ASKED), ("assistant", ANSWER)]


@pytest.mark.parametrize("mark", ["langfuse.internal.is_app_root", "langfuse.internal.as_root"])
def test_the_first_langfuse_span_of_an_application_speaks_for_the_trace(mark: str) -> None:
    spans = Spans()
    root = spans.add("POST /chat", seconds=9)
    first = spans.add("chat", root, seconds=5, **observed("span", ASKED, ANSWER), **{mark: "true"})
    spans.add("clean up", first, **observed("span", "a step's input", "a step's output"))

    assert turns(spans.read()) == [("user", ASKED), ("assistant", ANSWER)]


def test_langfuse_names_on_another_instrumentation_leave_its_meaning_alone() -> None:
    """Its span processor writes the trace's name, session and user on all spans that pass."""
    spans = Spans()
    shared = {**SHARED, "langfuse.trace.name": "weather-chat"}
    spans.chat(None, [user(ASKED)], [calls("get_weather", {"city": "Paris"})], **shared)

    trace = spans.read()

    assert (trace.llm_calls, trace.session_id, trace.user_id) == (1, "s1", "u1")
    assert turns(trace) == [("user", ASKED), ("tool", "get_weather", PARIS, "")]


def test_langfuse_evaluators_of_an_experiment_give_feedback() -> None:
    """langfuse 5.0.4 `run_experiment`: other scores go to Langfuse's API and are on no span."""
    spans = Spans()
    root = spans.add("experiment-item-run", seconds=9, **observed("span", ASKED, ANSWER))
    scores = [
        {"name": "correct", "value": 0.5, "comment": "half of it"},
        {"name": "tone", "value": "kind", "data_type": "CATEGORICAL"},
        {"name": "safe", "value": True, "data_type": "BOOLEAN"},
        {"name": "skipped", "value": None},
        "nonsense",
    ]
    spans.add("judge", root, **observed("evaluator", {"output": ANSWER}, scores))
    spans.add(
        "tool", root, **observed("span", {"name": "no evaluator", "value": 1}, {"name": "x", "value": 1})
    )

    trace = spans.read()

    assert {(f.name, f.score, f.label, f.comment) for f in trace.feedback} == {
        ("correct", 0.5, "", "half of it"),
        ("tone", None, "kind", ""),
        ("safe", 1.0, "", ""),
    }
    assert turns(trace) == [("user", ASKED), ("assistant", ANSWER)]


# ------------------------------------------------------------------------------------------------ MLflow


def logged(kind: str, given: Any = None, returned: Any = None, **more: Any) -> dict[str, Any]:
    """Attributes of one MLflow span: every value is JSON, text in quotes (mlflow-tracing 3.17)."""
    known = {"mlflow.spanInputs": given, "mlflow.spanOutputs": returned, "mlflow.spanType": kind, **more}
    return {key: json.dumps(value) for key, value in known.items() if value is not None}


def test_mlflow_openai_autolog() -> None:
    """mlflow-tracing 3.17.2 `mlflow.openai.autolog` and `@mlflow.trace`: requests and responses as they are."""
    usage = {"input_tokens": 30, "output_tokens": 8, "total_tokens": 38, "cache_read_input_tokens": 10}
    model = {
        "mlflow.chat.tokenUsage": usage,
        "mlflow.llm.model": "gpt-4o-mini-2024-07-18",
        "mlflow.llm.cost": {"input_cost": 0.25, "output_cost": 0.5, "total_cost": 0.75},
        "mlflow.message.format": "openai",
        "model": "gpt-4o-mini",
    }
    first = {
        "content": None,
        "refusal": None,
        "role": "assistant",
        "function_call": None,
        "tool_calls": CALLS,
    }
    answer = {
        "content": ANSWER,
        "refusal": None,
        "role": "assistant",
        "function_call": None,
        "tool_calls": None,
    }
    spans = Spans()
    root = spans.add("weather_agent", seconds=20, status="Ok", **logged("AGENT", {"question": ASKED}, ANSWER),
                     **{"session.id": "s1", "user.id": "u1"})  # fmt: skip
    documents = [{"page_content": "Paris is in France", "metadata": {"doc_uri": "a.md"}, "id": "d1"}]
    spans.add("search_docs", root, status="Ok", **logged("RETRIEVER", {"query": "Paris"}, documents))
    for messages, said in (
        ([SYSTEM, QUESTION], first),
        ([SYSTEM, QUESTION, {"role": "assistant", "tool_calls": CALLS}, *RESULTS], answer),
    ):
        request = {"model": "gpt-4o-mini", "messages": messages, "tools": TOOLS}
        choice = {"finish_reason": "stop", "index": 0, "logprobs": None, "message": said}
        response = {
            "id": "cmpl1",
            "choices": [choice],
            "object": "chat.completion",
            "usage": {"total_tokens": 38},
        }
        spans.add("Completions", root, status="Ok", **logged("CHAT_MODEL", request, response, **model))
        if said is first:
            spans.add("get_weather", root, status="Ok", **logged("TOOL", {"city": "Paris"}, "21 C"))
            spans.add(
                "get_weather", root, status="Error", message=FAILURE, **logged("TOOL", {"city": "Rome"})
            )

    trace = spans.read()

    assert facts(trace) == EXPECTED
    assert (trace.session_id, trace.user_id, trace.status) == ("s1", "u1", "Ok")
    assert trace.usage == (
        Usage("gpt-4o-mini-2024-07-18", "", 30, 8, cache_read_tokens=10, stated_usd=0.75),
    ) * 2  # fmt: skip
    [search] = [turn for turn in trace.turns if turn.role == "retrieval"]
    assert (search.tool, search.arguments, search.text) == ("search_docs", "Paris", "Paris is in France")


def test_mlflow_langchain_tracer() -> None:
    """mlflow-tracing 3.17.2 `mlflow.langchain.autolog`: OpenAI's messages, LangGraph's thread in the metadata."""
    metadata = {"thread_id": "s1", "user_id": "u1", "ls_provider": "openai", "ls_model_name": "gpt-4o"}
    plain = {"tool_calls": None, "refusal": None, "tool_call_id": None}
    asked = {"content": ASKED, "additional_kwargs": {}, "type": "human", "name": None, "id": None}
    first = {"role": "assistant", "content": None, "tool_calls": CALLS, "refusal": None, "tool_call_id": None}
    answer = {"role": "assistant", "content": ANSWER, **plain}
    told = {
        "content": "21 C",
        "type": "tool",
        "name": "get_weather",
        "tool_call_id": "c1",
        "status": "success",
    }
    spans = Spans()
    root = spans.add("LangGraph", seconds=20, status="Ok", **logged(
        "CHAIN", {"messages": [asked]}, {"messages": [asked, {"content": ANSWER, "type": "ai"}]}, metadata=metadata
    ))  # fmt: skip
    start = [{**plain, **SYSTEM}, {**plain, **QUESTION}]
    for tokens, messages, said in (
        (30, start, first),
        (50, [*start, first, *({**plain, **result} for result in RESULTS)], answer),
    ):
        usage = {"input_tokens": tokens, "output_tokens": 8, "cache_creation_input_tokens": 5}
        more = {"metadata": metadata, "mlflow.chat.tokenUsage": usage, "mlflow.message.format": "langchain"}
        choices = {"choices": [{"message": said, "finish_reason": None}]}
        spans.add("ChatOpenAI", root, **logged("CHAT_MODEL", {"messages": messages}, choices, **more))
        if said is first:
            spans.add("get_weather", root, **logged("TOOL", {"city": "Paris"}, told, tool_call_id="c1"))
            rome = logged("TOOL", {"city": "Rome"}, tool_call_id="c2")
            spans.add("get_weather", root, status="Error", message=FAILURE, **rome)

    trace = spans.read()

    assert facts(trace) == EXPECTED
    assert (trace.session_id, trace.user_id) == ("s1", "u1")
    assert trace.usage == (
        Usage("gpt-4o", "openai", 30, 8, cache_write_tokens=5),
        Usage("gpt-4o", "openai", 50, 8, cache_write_tokens=5),
    )


@pytest.mark.parametrize(
    ("given", "returned", "expected"),
    [
        # OpenAI's Responses API
        ({"model": "m", "instructions": "Be kind", "input": "Hi"},
         {"id": "r", "instructions": None, "output": [{"type": "message", "role": "assistant",
          "content": [{"type": "output_text", "text": "Hello", "annotations": []}]}], "text": None},
         [("system", "Be kind"), ("user", "Hi"), ("assistant", "Hello")]),
        # anthropic
        ({"model": "m", "system": "Be kind", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
         {"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
         [("system", "Be kind"), ("user", "Hi"), ("assistant", "Hello")]),
        # a model call by hand
        ("Hi", "Hello", [("user", "Hi"), ("assistant", "Hello")]),
        ("", None, []),
    ],
)  # fmt: skip
def test_mlflow_forms_of_content(given: Any, returned: Any, expected: list[tuple[str, ...]]) -> None:
    spans = Spans()
    spans.add("call", **logged("CHAT_MODEL", given, returned), **{"mlflow.spanLogLevel": "20"})

    assert turns(spans.read()) == expected


def test_mlflow_session_and_user_set_by_hand_come_in_quotes() -> None:
    spans = Spans()
    spans.add("chat", **logged("CHAIN", ASKED, ANSWER, **{"session.id": "s1", "mlflow.trace.user": "u1"}))

    trace = spans.read()

    assert (trace.session_id, trace.user_id) == ("s1", "u1")
    assert turns(trace) == [("user", ASKED), ("assistant", ANSWER)]


# -------------------------------------------------------------------------------------------- Google ADK

ADK = "gcp.vertex.agent"
GEMINI_CALLS = [
    {"function_call": {"args": {"city": city}, "name": "get_weather"}} for city in ("Paris", "Rome")
]
GEMINI_RESULTS = [
    {"function_response": {"name": "get_weather", "response": {"temp": 21}}},
    {"function_response": {"name": "get_weather", "response": {"error": FAILURE}}},
]
HISTORY = [
    {"parts": [{"text": ASKED}], "role": "user"},
    {"parts": GEMINI_CALLS, "role": "model"},
    {"parts": GEMINI_RESULTS, "role": "user"},
]
GEMINI_USAGE = {
    "cached_content_token_count": 10,
    "candidates_token_count": 8,
    "prompt_token_count": 30,
    "thoughts_token_count": 2,
    "total_token_count": 40,
}
ADK_EXPECTED = EXPECTED | {
    "turns": [
        *CONVERSATION[:2],
        ("tool", "get_weather", PARIS, '{"temp":21}'),
        ("tool", "get_weather", ROME, json.dumps({"error": FAILURE}, separators=(",", ":"))),
        ("assistant", ANSWER),
    ],
    "errors": ["TOOL_ERROR"],
}


def adk_trace(agent: str, output_tokens: int, *, inner: bool) -> Spans:
    """A run of `LlmAgent(name="weather_agent")`; `inner`: with the `generate_content` spans of newer releases."""
    spans = Spans()
    root = spans.add("invocation", seconds=20)
    over = spans.add(agent, root, seconds=18)
    answers = [{"parts": GEMINI_CALLS, "role": "model"}, {"parts": [{"text": ANSWER}], "role": "model"}]
    for contents, said in zip((HISTORY[:1], HISTORY), answers, strict=True):
        config = {
            "system_instruction": "Be kind",
            "tools": [{"function_declarations": [{"name": "get_weather"}]}],
        }
        request = {"model": "gemini-2.0-flash", "config": config, "contents": contents}
        tokens = {"gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": output_tokens}
        call = spans.add("call_llm", over, seconds=0.9, **{
            f"{ADK}.llm_request": request,
            f"{ADK}.llm_response": {"content": said, "usage_metadata": GEMINI_USAGE},
            f"{ADK}.session_id": "s1",
            f"{ADK}.invocation_id": "e-1",
            "gen_ai.system": ADK,
            "gen_ai.request.model": "gemini-2.0-flash",
            **tokens,
        })  # fmt: skip
        if inner:
            spans.add("generate_content gemini-2.0-flash", call, seconds=0.5, at=call.start_ns / 1e9 + 0.1, **{
                "gen_ai.operation.name": "generate_content",
                "gen_ai.request.model": "gemini-2.0-flash",
                "gen_ai.system": "gemini",
                "gen_ai.conversation.id": "s1",
                **tokens,
            })  # fmt: skip
        if len(contents) == 1:
            for city, response in (("Paris", {"temp": 21}), ("Rome", {"error": FAILURE})):
                failed = {"status": "Error", "message": "TOOL_ERROR"} if city == "Rome" else {}
                spans.add("execute_tool get_weather", over, **failed, **{
                    f"{ADK}.llm_request": "{}",
                    f"{ADK}.llm_response": "{}",
                    f"{ADK}.tool_call_args": {"city": city},
                    f"{ADK}.tool_response": response,
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": "get_weather",
                    "gen_ai.tool.call.id": f"adk-{city}",
                })  # fmt: skip
    spans.all = [replace(span, scope_name=ADK) for span in spans.all]
    return spans


def test_adk_requests_and_responses() -> None:
    """google-adk 2.13.0 with ADK_TELEMETRY_SCHEMA_VERSION_OPT_IN=1."""
    trace = adk_trace("invoke_agent weather_agent", 10, inner=True).read()

    assert facts(trace) == ADK_EXPECTED
    assert trace.session_id == "s1"
    assert trace.usage == (Usage("gemini-2.0-flash", "gemini", 30, 10),) * 2


def test_adk_output_tokens_were_once_the_total() -> None:
    """google-adk 1.5.0: `gen_ai.usage.output_tokens` is total_token_count; the agent's name is in the span's."""
    trace = adk_trace("agent_run [weather_agent]", 40, inner=False).read()

    assert facts(trace) == ADK_EXPECTED
    assert trace.usage == (Usage("gemini-2.0-flash", "gcp.gen_ai", 30, 10, cache_read_tokens=10),) * 2
    assert trace.attributes["gen_ai.agent.name"] == "weather_agent"


def test_adk_merged_tool_results_are_no_call() -> None:
    """google-adk 1.5 to 2.13: after parallel calls a span repeats their results, for ADK's own web page."""
    spans = adk_trace("invoke_agent weather_agent", 10, inner=False)
    parts = [{"id": "adk-1", "name": "get_weather", "response": {"temp": 21}}]
    spans.add("execute_tool (merged)", spans.all[1], at=5.9, seconds=0.01, **{
        f"{ADK}.tool_call_args": "N/A",
        f"{ADK}.tool_response": parts,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "(merged tools)",
    })  # fmt: skip

    assert facts(spans.read()) == ADK_EXPECTED


def test_adk_thoughts_are_not_said() -> None:
    content = {"parts": [{"text": "Hm.", "thought": True}, {"text": ANSWER}], "role": "model"}
    spans = Spans()
    spans.add("call_llm", **{
        f"{ADK}.llm_request": {"model": "m", "config": {}, "contents": HISTORY[:1]},
        f"{ADK}.llm_response": {"content": content},
    })  # fmt: skip

    assert turns(spans.read()) == [("user", ASKED), ("assistant", ANSWER)]


def test_adk_without_content() -> None:
    """ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS=false leaves empty objects."""
    spans = Spans()
    call = {f"{ADK}.llm_request": "{}", f"{ADK}.llm_response": "{}", "gen_ai.request.model": "m"}
    spans.add("call_llm", **call)
    spans.add("execute_tool f", **{f"{ADK}.tool_call_args": "{}", f"{ADK}.tool_response": "{}"})

    trace = spans.read()

    assert (trace.llm_calls, trace.content_captured) == (1, False)
    assert turns(trace) == [("tool", "f", "", "")]


# --------------------------------------------------------------------------------------------------- MCP


def mcp_call(spans: Spans, parent: Span | None, *, failed: bool = False) -> None:
    """One call as FastMCP 4.1 over MCP SDK 2.3 records it: three spans, the last in the server's service."""
    status = {"status": "Error", "message": FAILURE, "error.type": "tool_error"} if failed else {}
    method = {"mcp.method.name": "tools/call"}
    named = {"gen_ai.tool.name": "get_weather", "fastmcp.component.key": "get_weather"}
    client = spans.add("tools/call get_weather", parent, seconds=5, **status, **method, **named)
    sent = spans.add(
        "MCP send tools/call get_weather", client, seconds=4, **method, **{"jsonrpc.request.id": "3"}
    )
    spans.add(
        "tools/call get_weather", sent, seconds=1, **status, **method, **named, **{"mcp.session.id": "t1"}
    )
    for at, kind in ((-3, "Client"), (-2, "Client"), (-1, "Server")):
        service = "weather" if kind == "Server" else "shop"
        spans.all[at] = replace(spans.all[at], kind=kind, service_name=service)


def test_mcp_client_and_server_are_one_call() -> None:
    spans = Spans()
    agent = spans.agent(seconds=30)
    asked = [calls("get_weather", {"city": "Paris"}, "c1"), calls("get_weather", {"city": "Rome"}, "c2")]
    spans.chat(agent, [user(ASKED)], asked)
    mcp_call(spans, agent)
    mcp_call(spans, agent, failed=True)

    trace = spans.read()

    assert (trace.tool_calls, trace.tools, trace.session_id) == (2, ("get_weather",), "")
    assert [(turn.arguments, turn.text, turn.error) for turn in trace.turns if turn.role == "tool"] == [
        (PARIS, "", False),
        (ROME, FAILURE, True),
    ]
    assert trace.last_tool_before_error == "get_weather"


def test_mcp_call_inside_the_tool_span_of_an_agent_is_that_tool() -> None:
    spans = Spans()
    agent = spans.agent(seconds=30)
    asked = [user(ASKED)]
    spans.chat(agent, asked, [calls("get_weather", {"city": "Paris"}, "c1")])
    tool = spans.tool(agent, "get_weather", seconds=9, **{"gen_ai.tool.call.id": "c1"})
    mcp_call(spans, tool)
    spans.chat(agent, [*asked, calls("get_weather", {"city": "Paris"}, "c1")], [assistant(ANSWER)])

    trace = spans.read()

    assert trace.tool_calls == 1
    assert turns(trace) == [("user", ASKED), ("tool", "get_weather", PARIS, ""), ("assistant", ANSWER)]


@pytest.mark.parametrize(
    "method", ["initialize", "server/discover", "tools/list", "prompts/get", "resources/read"]
)
def test_mcp_plumbing_is_no_call(method: str) -> None:
    spans = Spans()
    client = spans.add(method, seconds=3, **{"mcp.method.name": method})
    spans.add(method, client, **{"mcp.method.name": method, "mcp.session.id": "t1"})

    trace = spans.read()

    assert (trace.tool_calls, trace.turns, trace.is_agent, trace.session_id) == (0, (), False, "")


CONTENT = [{"type": "text", "text": FAILURE, "annotations": None}]
REQUEST = {
    "method": "tools/call",
    "params": {"_meta": None, "name": "get_weather", "arguments": {"city": "Rome"}},
}
RESPONSE = {"meta": None, "content": CONTENT, "structuredContent": None, "isError": True}


@pytest.mark.parametrize(
    ("name", "scope", "attributes"),
    [
        # semantic-conventions-genai, docs/gen-ai/mcp.md (2026-10), content opted in
        ("tools/call get_weather", "", {
            "mcp.method.name": "tools/call", "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "get_weather", "gen_ai.tool.call.arguments": {"city": "Rome"},
            "gen_ai.tool.call.result": CONTENT, "error.type": "tool_error"}),
        # sentry-javascript, packages/core/src/integrations/mcp-server/attributes.ts
        ("tools/call get_weather", "", {
            "mcp.method.name": "tools/call", "mcp.tool.name": "get_weather", "mcp.request.argument.city": '"Rome"',
            "mcp.tool.result.content": FAILURE, "mcp.tool.result.is_error": "true"}),
        # openlit 1.45.0, instrumentation/mcp/utils.py
        ("mcp tools/call get_weather", "openlit.otel.tracing", {
            "mcp.method": "tools/call", "mcp.tool.name": "get_weather", "mcp.tool.arguments": '{"city": "Rome"}',
            "mcp.response.payload": RESPONSE}),
        # logfire, _internal/integrations/mcp.py (with MCP SDK 1), client and server side
        ("MCP request: tools/call get_weather", "logfire.mcp", {
            "request": REQUEST, "response": RESPONSE, "rpc.system": "jsonrpc", "rpc.method": "tools/call"}),
        ("MCP server handle request: tools/call", "logfire.mcp", {"request": REQUEST, "response": RESPONSE}),
        # opentelemetry-instrumentation-mcp 0.44.0 and 0.62.4
        ("tools/call.mcp", "opentelemetry.instrumentation.mcp.instrumentation", {
            "traceloop.entity.input": REQUEST, "traceloop.entity.output": RESPONSE}),
        ("get_weather.tool", "opentelemetry.instrumentation.mcp.instrumentation", {
            "traceloop.span.kind": "tool", "traceloop.entity.name": "get_weather",
            "traceloop.entity.input": {"tool_name": "get_weather", "arguments": {"city": "Rome"}},
            "traceloop.entity.output": {"result": FAILURE, "is_error": True}, "error.type": "tool_error"}),
    ],
)  # fmt: skip
def test_mcp_as_others_write_it(name: str, scope: str, attributes: dict[str, Any]) -> None:
    spans = Spans()
    spans.add(name, **attributes)

    trace = read_trace([replace(span, scope_name=scope) for span in spans.all])

    assert turns(trace) == [("tool", "get_weather", ROME, FAILURE)]
    assert [turn.error for turn in trace.turns] == [True]


def test_mcp_failure_without_a_result_is_told_by_the_span() -> None:
    spans = Spans()
    attributes = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "get_weather", "error.type": "-32602"}
    spans.add("tools/call get_weather", status="Error", message="Unknown tool", **attributes)

    trace = spans.read()

    assert [(turn.text, turn.error) for turn in trace.turns] == [("Unknown tool", True)]
    assert trace.errors == (SpanError(spans.all[0].span_id, "tools/call get_weather", "Unknown tool"),)


# ----------------------------------------------------------------------------------------------- hostile

KEYS = {
    Langfuse: [
        "langfuse.observation.input", "langfuse.observation.output", "langfuse.observation.usage_details",
        "langfuse.observation.cost_details", "langfuse.observation.metadata.ls_provider", "langfuse.trace.input",
        "langfuse.observation.model.name", "session.id",
    ],
    MLflow: [
        "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.chat.tokenUsage", "mlflow.llm.cost", "metadata",
        "invocation_params", "mlflow.llm.model", "session.id",
    ],
    GoogleAdk: [f"{ADK}.{name}" for name in ("llm_request", "llm_response", "tool_response", "data", "session_id")],
    Mcp: ["request", "response", "mcp.tool.name", "mcp.tool.arguments", "mcp.request.argument.a", "mcp.tool.result"],
}  # fmt: skip
STATED = [
    *(
        {"langfuse.observation.type": kind}
        for kind in ("generation", "tool", "retriever", "evaluator", "span")
    ),
    *({"mlflow.spanType": f'"{kind}"'} for kind in ("CHAT_MODEL", "TOOL", "RETRIEVER", "AGENT", "CHAIN")),
    {f"{ADK}.tool_call_args": "{}"},
    {"mcp.method.name": "tools/call"},
    {},
]
NAMES = [
    "content", "config", "contents", "usage_metadata", "prompt_token_count", "system_instruction", "parts", "input",
    "output", "total", "name", "value", "params", "arguments", "result", "isError", "page_content", "node", "role",
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
).map(json.dumps) | st.text(max_size=20)


@pytest.mark.parametrize("dialect", KEYS)
@given(data=st.data())
def test_no_content_makes_a_dialect_raise(dialect: type[Dialect], data: st.DataObject) -> None:
    content = data.draw(st.dictionaries(st.sampled_from(KEYS[dialect]), VALUES))
    spans = Spans()
    name = data.draw(st.sampled_from(["call_llm", "execute_tool f", "tools/call f", "delegate f", ""]))
    span = spans.add(name, **content, **data.draw(st.sampled_from(STATED)))
    reading = dialect().read(span)

    assert reading.kind in ("model", "tool", "agent", "retrieval", "other")
    assert (reading.tool is not None) <= (reading.kind == "tool")
    json.dumps([turn.text for turn in spans.read().turns], ensure_ascii=False).encode()
