"""Real agent runs, written as spans in several ways, read back: turns, tools, errors and tokens agree."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracetaxa.analyze.digests.digest import CHARACTERS_PER_TOKEN, digest
from tracetaxa.dialects import read_trace
from tracetaxa.records import Span, SpanEvent, Trace

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")

TAU2 = [
    "airline_gpt-4.1",
    "airline_gpt-4.1-ft",
    "airline_qwen2.5-7b",
    "retail_gpt-4.1",
    "retail_gpt-4.1-ft",
    "retail_toolorchestra_gpt-5",
]
TAU = ["taubench_airline_gpt4o/gpt-4o-airline", "agentrx_tau_retail/tau_dataset_full"]
SECOND = 10**9
Message = dict[str, Any]


@dataclass(slots=True)
class Run:
    """One run of a benchmark: its messages as they are, and what a reader should find in them."""

    run_id: str
    messages: list[dict[str, Any]]
    reward: float
    usage: list[tuple[int, int]] = field(default_factory=list)


def runs_of(source: str) -> list[Run]:
    folder = "" if "/" in source else "tau2_retail_airline/"
    path = DATA / f"{folder}{source}.json.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    loaded = json.loads(gzip.decompress(path.read_bytes()))
    if isinstance(loaded, dict):
        return [
            Run(run["id"], [_openai(m) for m in run["messages"]], run["reward_info"]["reward"])
            for run in loaded["simulations"]
        ]
    return [Run(f"{i}", run["traj"], run["reward"]) for i, run in enumerate(loaded)]


def _openai(message: dict[str, Any]) -> dict[str, Any]:
    """tau2's flat calls and results in the form of the other two data sets."""
    changed = dict(message)
    if message["role"] == "tool":
        changed["tool_call_id"] = message["id"]
    if message.get("tool_calls"):
        changed["tool_calls"] = [{"id": c["id"], "function": c} for c in message["tool_calls"]]
    return changed


def parts_of(message: dict[str, Any], ids: bool) -> dict[str, Any]:
    """A message in the form of the conventions."""
    parts: list[dict[str, Any]] = []
    if message["role"] == "tool":
        parts.append({"type": "tool_call_response", "response": message["content"]})
        if ids:
            parts[0]["id"] = message["tool_call_id"]
    elif message.get("content"):
        parts.append({"type": "text", "content": message["content"]})
    for call in message.get("tool_calls") or []:
        part = {"type": "tool_call", **{key: call["function"][key] for key in ("name", "arguments")}}
        parts.append(part | ({"id": call["id"]} if ids else {}))
    return {"role": message["role"], "parts": parts}


def calls_and_results(messages: list[Message], at: int) -> list[tuple[Message, Message | None]]:
    """The calls of one message with their results, which follow it. Ids come again later in some runs."""
    results: dict[str, dict[str, Any]] = {}
    for message in messages[at + 1 :]:
        if message["role"] != "tool":
            break
        results[message["tool_call_id"]] = message
    return [(call, results.get(call["id"])) for call in messages[at].get("tool_calls") or []]


def failed(message: dict[str, Any]) -> bool:
    return bool(message.get("error")) or message["content"].startswith("Error")


class SpanWriter:
    """A run as spans: a root agent, a chat for each assistant message, perhaps a span for each tool call."""

    def __init__(self, run: Run, style: str) -> None:
        self.run = run
        self.style = style
        self.spans: list[Span] = []

    def write(self) -> list[Span]:
        messages = self.run.messages
        for at, message in enumerate(messages):
            if message["role"] == "assistant":
                self._chat(messages[:at], message)
                for call, result in calls_and_results(messages, at):
                    if self.style != "messages only" and result:
                        self._tool(call, result)
        score = {"gen_ai.evaluation.name": "reward", "gen_ai.evaluation.score.value": str(self.run.reward)}
        root = self._span(
            "invoke_agent tau",
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": self.run.run_id},
            (SpanEvent(0, "gen_ai.evaluation.result", score),),
            start=0,
        )
        return [*self.spans, root]

    def _chat(self, history: list[dict[str, Any]], answer: dict[str, Any]) -> None:
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.provider.name": "p",
        }
        if answer.get("usage"):
            attributes["gen_ai.usage.input_tokens"] = str(answer["usage"]["prompt_tokens"])
            attributes["gen_ai.usage.output_tokens"] = str(answer["usage"]["completion_tokens"])
        if self.style == "events":
            self._span("chat m", attributes, tuple(self._events(history, answer)))
            return
        ids = self.style != "no ids"
        attributes["gen_ai.input.messages"] = json.dumps([parts_of(m, ids) for m in history])
        attributes["gen_ai.output.messages"] = json.dumps([parts_of(answer, ids)])
        self._span("chat m", attributes)

    def _events(self, history: list[dict[str, Any]], answer: dict[str, Any]) -> list[SpanEvent]:
        events = []
        for message in history:
            attributes = {"content": message.get("content") or "", "id": message.get("tool_call_id", "")}
            if message.get("tool_calls"):
                attributes["tool_calls"] = json.dumps(message["tool_calls"])
            events.append(SpanEvent(0, f"gen_ai.{message['role']}.message", attributes))
        body = {key: answer.get(key) for key in ("content", "tool_calls")}
        return [
            *events,
            SpanEvent(0, "gen_ai.choice", {"message": json.dumps(body), "finish_reason": "stop"}),
        ]

    def _tool(self, call: dict[str, Any], result: dict[str, Any]) -> None:
        arguments = call["function"]["arguments"]
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call["function"]["name"],
            "gen_ai.tool.call.arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
            "gen_ai.tool.call.result": result["content"],
        }
        if self.style != "no ids":
            attributes["gen_ai.tool.call.id"] = call["id"]
        status = "Error" if failed(result) else "Unset"
        self._span(f"execute_tool {call['function']['name']}", attributes, status=status)

    def _span(
        self,
        name: str,
        attributes: dict[str, str],
        events: tuple[SpanEvent, ...] = (),
        *,
        start: int | None = None,
        status: str = "Unset",
    ) -> Span:
        number = len(self.spans) + 1
        root = start is not None
        span = Span(
            trace_id=self.run.run_id,
            span_id="root" if root else f"{number:016x}",
            parent_span_id="" if root else "root",
            name=name,
            kind="Internal",
            service_name="tau",
            start_ns=SECOND if root else (number + 1) * SECOND,
            duration_ns=(number + 1) * SECOND if root else SECOND // 2,
            status=status,
            status_message=attributes["gen_ai.tool.call.result"] if status == "Error" else "",
            attributes=attributes,
            events=events,
        )
        if not root:
            self.spans.append(span)
        return span


def expected_turns(run: Run, spans_of_tools: bool) -> list[tuple[Any, ...]]:
    """What the run's own messages say, in order. What comes after the last answer is on no model call."""
    last = max(i for i, m in enumerate(run.messages) if m["role"] == "assistant")
    told = run.messages if spans_of_tools else run.messages[: last + 1]
    found: list[tuple[Any, ...]] = []
    for at, message in enumerate(run.messages[: last + 1]):
        if message["role"] != "tool" and message.get("content"):
            found.append((message["role"], message["content"]))
        for call, result in calls_and_results(told, at):
            arguments = call["function"]["arguments"]
            found.append(
                (
                    "tool",
                    call["function"]["name"],
                    json.loads(arguments) if isinstance(arguments, str) else arguments,
                    result["content"] if result else "",
                    bool(result) and spans_of_tools and failed(result),
                )
            )
    return found


def turns_of(trace: Trace) -> list[tuple[Any, ...]]:
    return [
        (t.role, t.tool, json.loads(t.arguments), t.text, t.error) if t.role == "tool" else (t.role, t.text)
        for t in trace.turns
    ]


@pytest.mark.parametrize("source", [*TAU2, *TAU])
@pytest.mark.parametrize("style", ["ids", "no ids", "messages only", "events"])
def test_runs_read_back_as_they_were(source: str, style: str) -> None:
    runs = runs_of(source)
    for run in runs if style == "ids" else runs[::8]:
        trace = read_trace(SpanWriter(run, style).write())

        answers = [m for m in run.messages if m["role"] == "assistant"]
        usage = [m["usage"] for m in answers if m.get("usage")]
        assert turns_of(trace) == expected_turns(run, spans_of_tools=style != "messages only")
        assert trace.llm_calls == len(answers)
        assert trace.tool_calls == sum(len(m.get("tool_calls") or []) for m in answers)
        assert sum(u.input_tokens for u in trace.usage) == sum(u["prompt_tokens"] for u in usage)
        assert sum(u.output_tokens for u in trace.usage) == sum(u["completion_tokens"] for u in usage)
        assert trace.scores == {"reward": run.reward}
        assert trace.session_id == run.run_id


@pytest.mark.parametrize("source", [*TAU2, *TAU])
def test_digests_of_runs_keep_what_decides(source: str) -> None:
    runs = runs_of(source)
    lengths = []
    for run in runs:
        trace = read_trace(SpanWriter(run, "ids").write())
        told = digest(trace)
        lengths.append(len(told.text) / CHARACTERS_PER_TOKEN)
        kinds = [line.kind for line in told.lines]
        request = next(line.text for line in told.lines if line.kind == "user")
        asked = " ".join(trace.input.split())
        assert kinds[0] == "facts"
        assert request == asked or (" … " in request and asked.startswith(request.split(" … ")[0]))
        assert len(request) >= min(len(asked), 300)
        assert "system" not in kinds
    assert sum(lengths) / len(lengths) <= 400


# ------------------------------------------------------------------------------------------ instrumentations


def instrumented(name: str) -> list[Trace]:
    """Traces of one capture, as the exporter would store their spans."""
    folder = DATA / "instrumentations" / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not here")
    grouped: dict[str, list[Span]] = {}
    for path in sorted(folder.glob("*_traces.pb")):
        for resource in ExportTraceServiceRequest.FromString(path.read_bytes()).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    grouped.setdefault(span.trace_id.hex(), []).append(
                        _stored(span, resource.resource, scope.scope)
                    )
    return [read_trace(spans) for spans in grouped.values()]


def _stored(span: Any, resource: Any, scope: Any) -> Span:
    def strings(attributes: Any) -> dict[str, str]:
        return {a.key: _string(a.value) for a in attributes}

    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        kind="Internal",
        service_name="weather",
        start_ns=span.start_time_unix_nano,
        duration_ns=span.end_time_unix_nano - span.start_time_unix_nano,
        status=("Unset", "Ok", "Error")[span.status.code],
        status_message=span.status.message,
        attributes=strings(span.attributes),
        resource=strings(resource.attributes),
        scope_name=scope.name,
        events=tuple(SpanEvent(e.time_unix_nano, e.name, strings(e.attributes)) for e in span.events),
    )


def _string(value: Any) -> str:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return json.dumps([_string(item) for item in value.array_value.values])
    held = getattr(value, kind) if kind else ""
    return held if isinstance(held, str) else json.dumps(held)


WEATHER = [
    ("system", "You are a terse weather assistant."),
    ("user", "What is the weather in Paris?"),
    ("tool", "get_weather", {"city": "Paris"}, "21C sunny", False),
    ("assistant", "It is 21 degrees and sunny in Paris."),
    ("user", "And in Rome?"),
    ("tool", "get_weather", {"city": "Rome"}, "25C clear", False),
    ("assistant", "It is 25 degrees and clear in Rome. "),
]


@pytest.mark.parametrize(
    ("name", "more", "tokens", "errors"),
    [
        ("genai-openai-content", [("user", "fail")], 240, 1),
        ("openai-v2-latest-content", [("user", "fail")], 240, 1),
        ("pydantic-ai", [], 235, 0),
    ],
)
def test_instrumentations_that_write_content_on_spans(
    name: str, more: list[Any], tokens: int, errors: int
) -> None:
    [trace] = instrumented(name)

    assert turns_of(trace) == [*WEATHER, *more]
    assert sum(u.input_tokens + u.output_tokens for u in trace.usage) == tokens
    assert (trace.tools, trace.tool_calls, trace.error_count) == (("get_weather",), 2, errors)
    assert trace.content_captured


@pytest.mark.parametrize(
    "name", ["genai-openai-default", "openai-v2-default", "openai-v2-legacy-content", "otel-js-openai"]
)
def test_instrumentations_that_keep_content_off_spans(name: str) -> None:
    [trace] = instrumented(name)

    assert trace.is_agent
    assert trace.turns == ()
    assert not trace.content_captured
    assert trace.models[0] == "gpt-4o-2024-08-06"
