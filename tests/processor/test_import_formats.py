"""Every format of docs/import.md, read back as a trace: the conversation comes back exactly."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from imported import AT_NS, run, turns

DATA = Path(__file__).parents[2].parent / "shared" / "data"

USER = {"role": "user", "content": "Where is order 17?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "track", "arguments": '{"order": 17}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "in transit"}
ANSWER = {"role": "assistant", "content": "It is on its way."}
CHAT = [USER, CALL, RESULT, ANSWER]
SAID = [
    ("user", "Where is order 17?"),
    ("tool", "track", '{"order":17}', "in transit"),
    ("assistant", "It is on its way."),
]

ANTHROPIC = {
    "system": "Be kind.",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Where is order 17?"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "track", "input": {"order": 17}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "in transit"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "It is on its way."}]},
    ],
}
LANGCHAIN_DUMPED = [
    {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}
    for kind, kwargs in (
        ("SystemMessage", {"content": "Be kind."}),
        ("HumanMessage", {"content": "Where is order 17?"}),
        ("AIMessageChunk", {"content": "", "tool_calls": [{"name": "track", "args": {"order": 17}, "id": "x"}]}),
        ("ToolMessage", {"content": "in transit", "tool_call_id": "x"}),
        ("AIMessage", {"content": "It is on its way."}),
    )
]  # fmt: skip
LANGCHAIN_DICTS = [
    {"type": "human", "data": {"content": "Where is order 17?", "additional_kwargs": {}}},
    {"type": "ai", "data": {"content": "", "additional_kwargs": {"tool_calls": CALL["tool_calls"]}}},
    {"type": "tool", "data": {"content": "in transit", "tool_call_id": "c1"}},
    {"type": "ai", "data": {"content": "It is on its way."}},
]
SHAREGPT = {
    "system": "Be kind.",
    "conversations": [
        {"from": "human", "value": "Where is order 17?"},
        {"from": "function_call", "value": '{"name": "track", "arguments": {"order": 17}}'},
        {"from": "observation", "value": "in transit"},
        {"from": "gpt", "value": "It is on its way."},
    ],
}
HERMES = {
    "conversations": [
        {"from": "system", "value": "Be kind."},
        {"from": "human", "value": "Where is order 17?"},
        {"from": "gpt", "value": '<tool_call>\n{"name": "track", "arguments": {"order": 17}}\n</tool_call>'},
        {"from": "tool", "value": "<tool_response>\nin transit\n</tool_response>"},
        {"from": "gpt", "value": "It is on its way."},
    ]
}
OLD_FUNCTIONS = [
    USER,
    {"role": "assistant", "content": None, "function_call": {"name": "track", "arguments": '{"order": 17}'}},
    {"role": "function", "name": "track", "content": "in transit"},
    ANSWER,
]
RESPONSES_ITEMS = [
    USER,
    {"type": "reasoning", "summary": []},
    {"type": "function_call", "call_id": "c1", "name": "track", "arguments": '{"order": 17}'},
    {"type": "function_call_output", "call_id": "c1", "output": "in transit"},
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "It is on its way."}],
    },
]


@pytest.mark.parametrize(
    ("record", "system"),
    [
        (CHAT, ""),
        ({"messages": [{"role": "developer", "content": "Be kind."}, *CHAT], "tools": []}, "Be kind."),
        (ANTHROPIC, "Be kind."),
        (LANGCHAIN_DUMPED, "Be kind."),
        (LANGCHAIN_DICTS, ""),
        ({"inputs": {"messages": [USER]}, "outputs": {"messages": CHAT}}, ""),
        (SHAREGPT, "Be kind."),
        (HERMES, "Be kind."),
        (OLD_FUNCTIONS, ""),
        (RESPONSES_ITEMS, ""),
    ],
    ids=["openai", "fine-tuning", "anthropic", "langchain-dumpd", "langchain-dicts", "langsmith-example",
         "sharegpt", "hermes", "functions", "responses-items"],
)  # fmt: skip
def test_one_conversation_in_every_spelling(record: Any, system: str) -> None:
    sink, summary = run(json.dumps(record) + "\n")
    (trace,) = sink.traces()
    assert turns(trace) == ([("system", system)] if system else []) + SAID
    assert (trace.llm_calls, trace.tool_calls, trace.tools) == (2, 1, ("track",))
    assert (summary.read, summary.imported_traces, summary.bad, summary.spans) == (1, 1, 0, 4)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("document", "traces"),
    [
        (CHAT, 1),
        ([CHAT, CHAT], 2),
        ([{"messages": CHAT}, {"messages": [USER]}], 2),
        ({"messages": CHAT}, 1),
        ({"chat_histories": [CHAT, [USER, ANSWER]]}, 2),
        ({"conversations": [{"id": "1", "messages": CHAT}, {"id": "2", "messages": CHAT}]}, 2),
        (SHAREGPT, 1),
    ],
    ids=["messages", "histories", "records", "record", "held", "held-records", "sharegpt"],
)
def test_documents(document: Any, traces: int, indent: int | None) -> None:
    sink, summary = run(json.dumps(document, indent=indent), "chats.json")
    assert (summary.read, summary.imported_traces, summary.bad) == (traces, traces, 0)
    assert turns(sink.traces()[0])[-3:] == SAID


def test_a_large_document_is_cut_into_its_elements() -> None:
    chats = [
        {"id": str(i), "messages": [{"role": "user", "content": f'{i} "}}]{{[\\ ' * 40}, ANSWER]}
        for i in range(3000)
    ]
    text = json.dumps(chats, indent=1)
    assert len(text) > 2_000_000  # more than one chunk
    sink, summary = run(text.replace('"id": "7"', '"id": 7x', 1), "chats.json")
    assert (summary.read, summary.imported_traces, summary.bad) == (3000, 2999, 1)
    assert summary.problems[0].line == text[: text.index('"id": "7"')].count("\n")
    assert sink.traces()[-1].input == chats[-1]["messages"][0]["content"]


def test_a_logged_call_is_one_model_call() -> None:
    log = {
        "request": {"model": "gpt-5", "user": "ann", "messages": [{"role": "system", "content": "Be kind."}, *CHAT,
                                                                 {"role": "user", "content": "thanks"}]},
        "response": {"id": "x", "created": 1_795_337_000, "model": "gpt-5-2026-08",
                     "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Bye."}}],
                     "usage": {"prompt_tokens": 90, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 64}}},
    }  # fmt: skip
    sink, _ = run(json.dumps(log))
    (trace,) = sink.traces()
    assert turns(trace) == [("system", "Be kind."), *SAID, ("user", "thanks"), ("assistant", "Bye.")]
    assert (trace.llm_calls, trace.tool_calls, trace.input, trace.user_id) == (1, 0, "thanks", "ann")
    (usage,) = trace.usage
    assert (usage.model, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (
        "gpt-5-2026-08",
        90,
        3,
        64,
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 7}, (117, 5, 100, 7)),
        ({"input_tokens": 110, "output_tokens": 5, "input_token_details": {"cache_read": 100, "cache_creation": 7}}, (110, 5, 100, 7)),
        ({"prompt_tokens": "12", "completion_tokens": 2.0}, (12, 2, 0, 0)),
    ],
    ids=["anthropic", "langchain", "text"],
)  # fmt: skip
def test_tokens(usage: dict[str, Any], expected: tuple[int, ...]) -> None:
    sink, _ = run(json.dumps({"messages": [USER, {**ANSWER, "usage": usage, "model": "m"}]}))
    (found,) = sink.traces()[0].usage
    assert (
        found.input_tokens,
        found.output_tokens,
        found.cache_read_tokens,
        found.cache_write_tokens,
    ) == expected


def test_what_is_known_about_a_chat_is_kept() -> None:
    record = {
        "id": "conversation-7", "user_id": 42, "model": "gpt-5-mini", "created_at": "2026-11-20T10:00:00+01:00",
        "messages": [USER, {**CALL, "timestamp": "2026-11-20T09:00:05Z"}, {**RESULT, "status": "error"}, ANSWER],
        "metadata": {"tier": "gold", "gen_ai.operation.name": "execute_tool", "long": "x" * 5000},
        "channel": "web", "error": {"message": "gave up"},
    }  # fmt: skip
    sink, _ = run(json.dumps(record), service="support")
    (trace,) = sink.traces()
    assert (trace.session_id, trace.user_id, trace.service_name, trace.models) == (
        "conversation-7",
        "42",
        "support",
        ("gpt-5-mini",),
    )
    assert (trace.attributes["metadata.tier"], trace.attributes["metadata.channel"]) == ("gold", "web")
    assert (trace.status, trace.error_count, trace.last_tool_before_error) == ("Error", 2, "track")
    assert (
        trace.start_ns
        == 1_795_337_071_000_000_000
        - 1_795_337_071_000_000_000 % 86_400_000_000_000
        - 2 * 86_400_000_000_000
        + 9 * 3_600_000_000_000
    )
    assert next(turn for turn in trace.turns if turn.role == "tool").error


def test_words_that_nobody_answered_are_kept() -> None:
    sink, _ = run(
        json.dumps([USER, ANSWER, {"role": "user", "content": "This is wrong!"}]) + "\n" + json.dumps([USER])
    )
    first, second = sink.traces()
    assert turns(first) == [
        ("user", USER["content"]),
        ("assistant", ANSWER["content"]),
        ("user", "This is wrong!"),
    ]
    assert (first.llm_calls, first.root_name) == (1, "invoke_agent shop")
    assert (turns(second), second.llm_calls) == ([("user", USER["content"])], 0)


def test_runs_of_langsmith_are_the_spans_that_they_were() -> None:
    ids = [f"0190a000-0000-7000-8000-00000000000{i}" for i in range(4)]
    when = [f"2026-11-20T10:00:0{i}.000000" for i in range(8)]
    metadata = {"thread_id": "t-1", "user_id": "ann", "ls_model_name": "gpt-5", "plan": "pro"}
    runs = [
        {"id": ids[0], "trace_id": ids[0], "name": "agent", "run_type": "chain", "start_time": when[0], "end_time": when[7],
         "extra": {"metadata": metadata}, "inputs": {"messages": [USER]}, "outputs": {"messages": CHAT}, "parent_run_id": None},
        {"id": ids[1], "trace_id": ids[0], "parent_run_id": ids[0], "name": "ChatOpenAI", "run_type": "llm",
         "start_time": when[1], "end_time": when[2], "extra": {"metadata": metadata},
         "inputs": {"messages": [LANGCHAIN_DUMPED[:2]]},
         "outputs": {"generations": [[{"text": "", "message": LANGCHAIN_DUMPED[2]}]],
                     "llm_output": {"token_usage": {"prompt_tokens": 20, "completion_tokens": 5}}}},
        {"id": ids[2], "trace_id": ids[0], "parent_run_ids": [ids[0]], "name": "track", "run_type": "tool",
         "start_time": when[3], "end_time": when[4], "inputs": {"input": '{"order": 17}'},
         "outputs": {"output": {"content": "in transit", "tool_call_id": "x"}}},
        {"id": ids[3], "trace_id": ids[0], "parent_run_id": ids[0], "name": "ChatOpenAI", "run_type": "llm",
         "start_time": when[5], "end_time": when[6], "extra": {"metadata": metadata}, "prompt_tokens": 40,
         "completion_tokens": 6, "inputs": {"messages": [LANGCHAIN_DUMPED[:4]]},
         "outputs": {"generations": [[{"message": LANGCHAIN_DUMPED[4]}]]}},
    ]  # fmt: skip
    sink, summary = run("\n".join(map(json.dumps, reversed(runs))))
    (trace,) = sink.traces()
    assert (summary.read, summary.imported_traces, summary.bad) == (4, 1, 0)
    assert trace.trace_id == ids[0].replace("-", "")
    assert turns(trace) == [("system", "Be kind."), *SAID]
    assert (trace.llm_calls, trace.tool_calls, trace.session_id, trace.user_id) == (2, 1, "t-1", "ann")
    assert sum(usage.input_tokens for usage in trace.usage) == 60
    assert trace.attributes["metadata.plan"] == "pro"
    # Root runs alone still say what was asked and answered.
    sink, _ = run(json.dumps(runs[0]))
    assert turns(sink.traces()[0]) == SAID


def test_the_collectors_files() -> None:
    path = DATA / "otel_native_shapes" / "agento-otlp" / "agento_run.otlp.json"
    if not path.exists():
        pytest.skip("needs ../shared/data")
    sink, summary = run(path.read_bytes(), path.name)
    assert (summary.read, summary.imported_traces, summary.spans, summary.bad) == (4, 2, 7, 0)
    assert {trace.trace_id for trace in sink.traces()} >= {"65a2d4c5d2a7d8831f781d1b4982451d"}
    assert {trace.service_name for trace in sink.traces()} == {"agento"}


def test_otlp_of_a_javascript_sdk_and_protobufs_own_json() -> None:
    captures = DATA / "instrumentations"
    if not captures.exists():
        pytest.skip("needs ../shared/data")
    sink, summary = run(
        (captures / "vercel-ai-sdk6-otlpjson" / "000_traces.otlp.json").read_bytes(), "x.json"
    )
    assert (summary.bad, summary.refused) == (0, 0)
    assert "b56b962133f07777638d43ca10e31281" in {span.trace_id for span in sink.spans()}
    for path in sorted((captures / "genai-openai-content").glob("*.json")):
        sink, summary = run(path.read_bytes(), path.name)
        wire = path.with_suffix(".pb").read_bytes()
        (request,) = sink.requests
        if "logs" in path.name:
            assert (summary.logs, request) == (sum(len(s.log_records) for r in request.resource_logs for s in r.scope_logs),
                                               type(request).FromString(wire))  # fmt: skip
        else:
            assert request == type(request).FromString(wire)


def test_spans_with_bad_ids_or_times_are_left_out_one_by_one() -> None:
    def span(trace_id: str, start: int) -> dict[str, Any]:
        return {"traceId": trace_id, "spanId": "01" * 8, "name": "x", "startTimeUnixNano": str(start)}

    spans = [span("01" * 16, AT_NS), span("xyz", AT_NS), span("02" * 16, 5), span("03" * 16, AT_NS)]
    line = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
    sink, summary = run(line, oldest_ns=AT_NS - 10**9, retention_days=30)
    assert [s.trace_id for s in sink.spans()] == ["01" * 16, "03" * 16]
    assert (summary.spans, summary.refused, summary.imported_traces) == (2, 1, 2)
    assert "2 spans left out" in summary.problems[0].reason
    assert run('{"resourceMetrics": []}')[1].problems[0].reason == "metrics and profiles are not imported"


def test_real_agent_runs_come_back_exactly() -> None:
    """tau-bench's own messages: calls, results and words in their order, whole or with a shortened history."""
    path = DATA / "taubench_airline_gpt4o" / "gpt-4o-airline.json.gz"
    if not path.exists():
        pytest.skip("needs ../shared/data")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        runs = json.load(file)
    for history_characters in (0, 1 << 18):
        text = "\n".join(
            json.dumps({"id": f"run-number-{i}", "messages": r["traj"]}) for i, r in enumerate(runs)
        )
        sink, summary = run(text, history_characters=history_characters)
        assert (summary.imported_traces, summary.bad) == (len(runs), 0)
        traces = {trace.session_id: trace for trace in sink.traces()}
        for i, source in enumerate(runs):
            trace = traces[f"run-number-{i}"]
            messages = source["traj"]
            words = [
                (m["role"], m["content"])
                for m in messages
                if m["role"] in ("system", "user", "assistant") and m["content"]
            ]
            assert [(t.role, t.text) for t in trace.turns if t.role != "tool"] == words
            assert [t.text for t in trace.turns if t.role == "tool"] == [
                m["content"] for m in messages if m["role"] == "tool"
            ]
            assert trace.llm_calls == sum(m["role"] == "assistant" for m in messages)
