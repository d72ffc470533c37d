"""Vercel's AI SDK: `ai.*` attributes of its versions 3 to 6, which version 7 can still add.

Source: vercel/ai, packages/ai/src/telemetry (5 and 6), and @ai-sdk/otel of version 7, whose own attributes
are those of the GenAI conventions. The outer span of a call (`ai.generateText`) repeats what the steps inside
it (`ai.generateText.doGenerate`) say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.identity import session_of, user_of
from tracetaxa.dialects.messages import (
    EMPTY,
    Conversation,
    MessageReader,
    message_of,
    read_payload,
    read_result,
)
from tracetaxa.dialects.reading import Kind, SpanReading, ToolRun
from tracetaxa.dialects.values import canonical_json, count, load_json, text, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tracetaxa.records import Span

_TEXT = ("ai.response.text", "ai.result.text")
_OBJECT = ("ai.response.object", "ai.result.object")
_CALLS = ("ai.response.toolCalls", "ai.result.toolCalls")


class Vercel:
    name = "vercel"

    def __init__(self) -> None:
        self._inputs = MessageReader()

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        return "ai" in roots

    def read(self, span: Span) -> SpanReading:
        attributes = span.attributes
        kind = _kind(span)
        asked, answered = self._messages(span, kind)
        return SpanReading(
            kind=kind,
            system=asked.system,
            input=asked.messages,
            output=answered.messages,
            tool=_tool(span) if kind == "tool" else None,
            model=well_formed(text(attributes, "ai.response.model", "ai.model.id")),
            provider=well_formed(text(attributes, "ai.model.provider").partition(".")[0]),
            input_tokens=count(
                attributes, "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"
            ),
            output_tokens=count(attributes, "ai.usage.outputTokens", "ai.usage.completionTokens"),
            cache_read_tokens=count(
                attributes, "ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens"
            ),
            cache_write_tokens=count(attributes, "ai.usage.inputTokenDetails.cacheWriteTokens"),
            session=session_of(span),
            user=user_of(span),
            agent=well_formed(text(attributes, "ai.telemetry.functionId")) if kind == "agent" else "",
        )

    def _messages(self, span: Span, kind: Kind) -> tuple[Conversation, Conversation]:
        attributes = span.attributes
        if kind == "model":
            asked = self._inputs.read(text(attributes, "ai.prompt.messages"), "user")
        elif kind == "agent":
            asked = read_payload(text(attributes, "ai.prompt"), "user")
        else:
            return EMPTY, EMPTY
        return asked, _answer(attributes)


def _kind(span: Span) -> Kind:
    operation = text(span.attributes, "ai.operationId", "operation.name") or span.name
    operation = operation.partition(" ")[0]
    if operation == "ai.toolCall":
        return "tool"
    if operation.startswith(("ai.embed", "ai.rerank")):
        return "retrieval"
    if operation.endswith((".doGenerate", ".doStream")):
        return "model"
    return "agent" if operation.startswith(("ai.generate", "ai.stream")) else "other"


def _answer(attributes: Mapping[str, Any]) -> Conversation:
    said, calls = text(attributes, *_TEXT), load_json(text(attributes, *_CALLS))
    if not said:
        said = text(attributes, *_OBJECT)
    if not said and not isinstance(calls, list):
        return EMPTY
    calls = [call | {"type": "tool-call"} for call in calls or () if isinstance(call, dict)]
    return message_of({"role": "assistant", "content": [{"type": "text", "text": said}, *calls]}, "assistant")


def _tool(span: Span) -> ToolRun:
    attributes = span.attributes
    raw = text(attributes, "ai.toolCall.result")
    value = load_json(raw)
    return ToolRun(
        call_id=well_formed(text(attributes, "ai.toolCall.id")),
        name=well_formed(text(attributes, "ai.toolCall.name")) or span.name,
        arguments=canonical_json(text(attributes, "ai.toolCall.args", "ai.toolCall.input")),
        # Results are JSON: a text comes in quotes.
        result=well_formed(value) if isinstance(value, str) else read_result(raw).text,
        error=failed(span),
    )
