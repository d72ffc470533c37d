"""Traceloop OpenLLMetry: `traceloop.*` on workflows, tasks and tools; older releases number the messages.

Source: openllmetry 0.62 (opentelemetry-semantic-conventions-ai 0.5). Today's releases write model calls in
the GenAI conventions; before, messages were `gen_ai.prompt.<n>.*` and `gen_ai.completion.<n>.*`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.dialects.arguments import called_with, returned_by
from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.flattened import unflatten
from tracetaxa.dialects.identity import session_of, user_of
from tracetaxa.dialects.messages import EMPTY, Conversation, message_of, read_payload, read_result
from tracetaxa.dialects.reading import Kind, SpanReading, ToolRun
from tracetaxa.dialects.values import count, load_json, text, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracetaxa.records import Role, Span

_KINDS: dict[str, Kind] = {"workflow": "agent", "agent": "agent", "tool": "tool"}
_MODEL_REQUESTS = ("chat", "completion")
_NUMBERED = frozenset({"gen_ai.prompt.0.role", "gen_ai.prompt.0.content", "gen_ai.completion.0.role"})


class Traceloop:
    name = "traceloop"

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        if "traceloop" in roots or ("llm" in roots and "llm.request.type" in span.attributes):
            return True
        return "gen_ai" in roots and not _NUMBERED.isdisjoint(span.attributes)

    def read(self, span: Span) -> SpanReading:
        attributes = span.attributes
        kind = _kind(span)
        asked, answered = _messages(span, kind)
        return SpanReading(
            kind=kind,
            system=asked.system,
            input=asked.messages,
            output=answered.messages,
            tool=_tool(span) if kind == "tool" else None,
            cache_read_tokens=count(attributes, "gen_ai.usage.cache_read_input_tokens"),
            session=session_of(span),
            user=user_of(span),
            agent=well_formed(text(attributes, "traceloop.entity.name")) if kind == "agent" else "",
        )


def _kind(span: Span) -> Kind:
    stated = text(span.attributes, "traceloop.span.kind").lower()
    if stated == "task" and not span.parent_span_id:
        return "agent"
    if stated:
        return _KINDS.get(stated, "other")
    request = text(span.attributes, "llm.request.type").lower()
    return "model" if request in _MODEL_REQUESTS or not _NUMBERED.isdisjoint(span.attributes) else "other"


def _messages(span: Span, kind: Kind) -> tuple[Conversation, Conversation]:
    attributes = span.attributes
    if kind == "agent":
        return (
            read_payload(text(attributes, "traceloop.entity.input"), "user"),
            read_payload(text(attributes, "traceloop.entity.output"), "assistant"),
        )
    if kind == "model" and not _NUMBERED.isdisjoint(attributes):
        return _numbered(span, "gen_ai.prompt.", "user"), _numbered(span, "gen_ai.completion.", "assistant")
    return EMPTY, EMPTY


def _numbered(span: Span, prefix: str, role: Role) -> Conversation:
    found = unflatten(span.attributes, prefix)
    conversation = EMPTY
    for message in found if isinstance(found, list) else ():
        if isinstance(message, dict):
            content = message.get("content")
            blocks = load_json(content) if isinstance(content, str) and content.startswith("[{") else None
            conversation += message_of({"role": role, **message, "content": blocks or content}, role)
    return conversation


def _tool(span: Span) -> ToolRun:
    attributes = span.attributes
    told = read_result(text(attributes, "gen_ai.tool.call.result", "traceloop.entity.output"))
    return ToolRun(
        call_id=well_formed(text(attributes, "gen_ai.tool.call.id")) or told.call_id,
        name=well_formed(text(attributes, "gen_ai.tool.name", "traceloop.entity.name")) or span.name,
        arguments=called_with(text(attributes, "gen_ai.tool.call.arguments", "traceloop.entity.input")),
        result=returned_by(told.text),
        error=failed(span) or told.error,
    )
