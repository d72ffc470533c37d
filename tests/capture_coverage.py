"""What the captures hold, and what of it comes out: the table in docs/dialects.md.

The conversation is known: what each capture should yield is written down here and looked for in its bytes, not
in what the dialects make of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.captures import NAMES, by_trace, capture

from tracetaxa.dialects import read_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tracetaxa.records import LogRecord, Span, Trace

FIELDS = (
    "user text",
    "answer",
    "tool name",
    "tool arguments",
    "tool result",
    "model",
    "tokens",
    "cached tokens",
    "error",
    "session",
    "user",
)
TOKENS = {
    # Input and output of every leaf call, embeddings too, as counted by hand in the JSON renderings.
    "genai-openai-content": (41 + 43 + 45 + 46 + 5, 60),
    "genai-openai-default": (41 + 43 + 45 + 46 + 5, 60),
    "langsmith-otel-langgraph": (41 + 43 + 45 + 47, 60),
    "openai-v2-default": (41 + 43 + 45 + 46 + 5, 60),
    "openai-v2-latest-content": (41 + 43 + 45 + 46 + 5, 60),
    "openai-v2-legacy-content": (41 + 43 + 45 + 46 + 5, 60),
    "openinference-langgraph": (41 + 43 + 45 + 47, 60),
    "openinference-openai": (41 + 43 + 45 + 46 + 5, 60),
    "openinference-openai-agents": (41 + 43 + 45 + 46, 60),
    "openinference-smolagents": (41 + 43 + 45, 45),
    "otel-js-openai": (41 + 43 + 45 + 47, 60),
    "pydantic-ai": (41 + 43 + 45 + 46, 60),
    "traceloop-langgraph": (41 + 43 + 45 + 47, 60),
    "traceloop-openai": (41 + 43 + 45 + 46 + 5, 60),
    "vercel-ai-sdk6": (41 + 43 + 45 + 46, 60),
    "vercel-ai-sdk6-otlpjson": (41 + 43 + 45 + 46, 60),
}
_CACHED_PER_CALL = 8


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that the conversation holds, in any of its spellings on the wire, and how it should come out."""

    field: str
    spellings: tuple[str, ...]
    found: Callable[[Sequence[Trace]], bool]


def _said(role: str, text: str) -> Callable[[Sequence[Trace]], bool]:
    return lambda traces: any(text in turn.text for turn in _turns(traces) if turn.role == role)


def _turns(traces: Sequence[Trace]) -> Iterable:
    return (turn for trace in traces for turn in trace.turns)


def _called(city: str) -> Callable[[Sequence[Trace]], bool]:
    return lambda traces: any(
        turn.tool == "get_weather" and turn.arguments and json.loads(turn.arguments) == {"city": city}
        for turn in _turns(traces)
        if turn.role == "tool"
    )


def _calls(city: str) -> tuple[str, ...]:
    """A call as JSON, as JSON inside JSON, or as Python prints it."""
    spellings = (f'"city": "{city}"', f'"city":"{city}"', f"'city': '{city}'")
    return (*spellings, *(spelling.replace('"', '\\"') for spelling in spellings))


FACTS = (
    Fact("user text", ("What is the weather in Paris?",), _said("user", "What is the weather in Paris?")),
    Fact("user text", ("And in Rome?",), _said("user", "And in Rome?")),
    Fact(
        "answer", ("It is 21 degrees and sunny in Paris.",), _said("assistant", "It is 21 degrees and sunny")
    ),
    Fact(
        "answer", ("It is 25 degrees and clear in Rome.",), _said("assistant", "It is 25 degrees and clear")
    ),
    Fact("tool arguments", _calls("Paris"), _called("Paris")),
    Fact("tool arguments", _calls("Rome"), _called("Rome")),
    Fact("tool result", ("21C sunny",), _said("tool", "21C sunny")),
    Fact("tool result", ("25C clear",), _said("tool", "25C clear")),
    Fact(
        "model",
        ("gpt-4o",),
        lambda traces: all(trace.models[0].startswith("gpt-4o") for trace in traces if trace.llm_calls),
    ),
    Fact(
        "error",
        ("Rate limit reached",),
        lambda traces: any("Rate limit reached" in error.message for t in traces for error in t.errors),
    ),
    Fact(
        "session",
        ("sess-1", "thread-1", "gen_ai.conversation.id"),
        lambda traces: all(trace.session_id for trace in traces if trace.llm_calls),
    ),
    Fact("user", ("u-1",), lambda traces: all(trace.user_id == "u-1" for trace in traces if trace.llm_calls)),
)


def read(name: str) -> list[Trace]:
    """The canonical traces of a capture, in the order of their first spans."""
    spans, logs = capture(name)
    traces = [
        read_trace(group, [record for record in logs if record.trace_id == trace_id])
        for trace_id, group in by_trace(spans).items()
    ]
    return sorted(traces, key=lambda trace: (trace.start_ns, trace.trace_id))


def coverage(name: str) -> list[tuple[str, bool]]:
    """For everything that the capture holds: the field, and whether it came out."""
    spans, logs = capture(name)
    wire, traces = _wire(spans, logs), read(name)
    result = [
        (fact.field, fact.found(traces)) for fact in FACTS if any(text in wire for text in fact.spellings)
    ]
    if "get_weather" in wire.split("\n") or '"get_weather"' in wire:
        called = '"arguments"' in wire or "toolCall" in wire or "execute_tool" in wire or "tool_calls" in wire
        result += [("tool name", any("get_weather" in trace.tools for trace in traces))] if called else []
    used = tuple(
        sum(getattr(call, f"{side}_tokens") for trace in traces for call in trace.usage)
        for side in ("input", "output")
    )
    result.append(("tokens", used == TOKENS[name]))
    if any(spelling in wire for spelling in ("cache_read", "cachedInputTokens")):
        calls = sum(trace.llm_calls for trace in traces) - sum(bool(trace.errors) for trace in traces)
        cached = sum(call.cache_read_tokens for trace in traces for call in trace.usage)
        result.append(("cached tokens", cached == calls * _CACHED_PER_CALL))
    return result


def _wire(spans: Sequence[Span], logs: Sequence[LogRecord]) -> str:
    """Everything that spans and logs say, but for the definitions of tools and models' parameters."""
    parts: list[str] = []
    for span in spans:
        parts += [span.name, span.status_message]
        parts += [f"{key}\n{value}" for key, value in span.attributes.items() if "definitions" not in key]
        parts += [value for event in span.events for value in (event.name, *event.attributes.values())]
    for record in logs:
        parts += [record.body, *record.attributes.values()]
    return "\n".join(parts)


def table() -> str:
    """The table of dialect × field, as Markdown."""
    lines = [
        f"| capture | {' | '.join(FIELDS)} |",
        f"|---|{'---|' * len(FIELDS)}",
    ]
    held = came = 0
    for name in NAMES:
        found = coverage(name)
        held, came = held + len(found), came + sum(ok for _, ok in found)
        cells = []
        for field in FIELDS:
            outcomes = [ok for f, ok in found if f == field]
            cells.append(
                "–" if not outcomes else "✓" if all(outcomes) else f"{sum(outcomes)}/{len(outcomes)}"
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Of {held} facts that the captures hold, {came} come out."])
