"""Real spans with something wrong in them: no dialect trips, and what comes out can be stored."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from tests.captures import NAMES, capture

from tracetaxa.analyze.digests.digest import digest
from tracetaxa.dialects import outline, read_session, read_trace
from tracetaxa.dialects.dialect import DIALECTS
from tracetaxa.records import Span, SpanLink

if TYPE_CHECKING:
    from tracetaxa.records import LogRecord

MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
CAPTURED = [capture(name) for name in NAMES]
SPANS = [span for spans, _ in CAPTURED for span in spans]
LOGS = [record for _, logs in CAPTURED for record in logs]
OTHER_KEYS = [
    "langfuse.observation.type",
    "langfuse.observation.input",
    "langfuse.observation.output",
    "langfuse.observation.usage_details",
    "langfuse.observation.level",
    "langfuse.trace.input",
    "mlflow.spanType",
    "mlflow.spanInputs",
    "mlflow.spanOutputs",
    "mlflow.chat.tokenUsage",
    "gcp.vertex.agent.llm_request",
    "gcp.vertex.agent.llm_response",
    "gcp.vertex.agent.tool_call_args",
    "gcp.vertex.agent.tool_response",
    "mcp.method.name",
    "mcp.request.argument",
    "pydantic_ai.all_messages",
    "all_messages_events",
    "events",
    "tool_arguments",
    "tool_response",
    "final_result",
    "gen_ai.prompt.0.role",
    "gen_ai.prompt.0.content",
    "gen_ai.completion.0.tool_calls.0.name",
    "llm.request.type",
    "llm.prompts.0.prompt.text",
    "retrieval.documents.0.document.content",
    "reranker.output_documents.0.document.content",
    "gen_ai.retrieval.documents",
    "gen_ai.evaluation.name",
    "gen_ai.evaluation.score.value",
    "annotations.0.annotation.name",
    "session.evaluations.0.evaluation.score",
    "logfire.feedback.name",
    "logfire.span_type",
    "ai.prompt",
    "ai.response.toolCalls",
]
KEYS = sorted({key for span in SPANS for key in span.attributes}) + OTHER_KEYS
VALUES = [value for span in SPANS for value in span.attributes.values()]
FIELDS = [
    "role", "content", "parts", "type", "tool_calls", "tool_call_id", "function", "name", "arguments", "args",
    "messages", "generations", "choices", "message", "kwargs", "data", "input", "output", "outputs", "contents",
    "system", "config", "text", "value", "usage", "functionCall", "toolUse", "lc", "id", "is_error", "status",
]  # fmt: skip
TEXTS = st.sampled_from(
    ["", "user", "assistant", "tool", "text", "constructor", "tool-call", "annotation", "9"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | TEXTS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[list[Span], list[LogRecord]]:
    """A few spans of captures, some of their values swapped, cut, replaced or retyped."""
    spans = draw(st.lists(st.sampled_from(SPANS), min_size=1, max_size=4, unique_by=lambda s: s.span_id))
    return [draw(_mutated(span)) for span in spans], draw(st.lists(st.sampled_from(LOGS), max_size=2))


@st.composite
def _mutated(draw: st.DrawFn, span: Span) -> Span:
    attributes: dict[str, Any] = dict(span.attributes)
    for _ in range(draw(st.integers(0, 4))):
        key = draw(st.sampled_from(KEYS) | st.sampled_from(sorted(attributes) or KEYS))
        value = str(attributes.get(key, draw(st.sampled_from(VALUES))))
        attributes[key] = draw(
            st.sampled_from(VALUES)
            | st.builds(json.dumps, JSON)
            | st.integers(0, len(value)).map(lambda cut, value=value: value[:cut])  # type: ignore[misc]
            | st.text(max_size=5)
            | JSON
        )
    links = (SpanLink(span.trace_id, span.span_id, {}),) if draw(st.booleans()) else span.links
    return replace(
        span,
        attributes=attributes,
        links=links,
        parent_span_id=draw(st.sampled_from([span.parent_span_id, span.span_id, ""])),
        duration_ns=draw(st.sampled_from([span.duration_ns, 0, 10**18])),
    )


@MANY
@given(mutated())
def test_any_spans_make_a_trace_that_can_be_stored(given: tuple[list[Span], list[LogRecord]]) -> None:
    spans, logs = given
    for read in (read_trace, read_session):
        trace = read(spans, logs)
        assert trace.span_count <= len(spans)
        for text in _texts(trace):
            assert isinstance(text, str)
            text.encode()
        assert all(0 <= n <= 10**15 for call in trace.usage for n in (call.input_tokens, call.output_tokens))
        assert len(digest(trace).text) <= 1700
    assert len(outline(spans, logs)) == len({(span.trace_id, span.span_id) for span in spans})


@MANY
@given(mutated())
def test_no_dialect_needs_the_net_below_it(given: tuple[list[Span], list[LogRecord]]) -> None:
    """What falls into that net is lost."""
    for dialect in DIALECTS:
        note(dialect.name)
        reader = dialect()
        for span in given[0]:
            texts = {
                k: v if isinstance(v, str) else json.dumps(v, default=str) for k, v in span.attributes.items()
            }
            reader.read(replace(span, attributes=texts))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in _texts(item)]
    if isinstance(value, tuple | list):
        return [text for item in value for text in _texts(item)]
    if hasattr(value, "__dataclass_fields__"):
        return [text for f in fields(value) for text in _texts(getattr(value, f.name))]
    return []
