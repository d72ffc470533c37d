"""LangSmith's OpenTelemetry exporter: runs of LangChain and LangGraph as spans.

Source: langsmith-sdk 0.15, python/langsmith/_internal/otel. Inputs and outputs of a run are JSON in
`gen_ai.prompt` and `gen_ai.completion`, whatever kind of run it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.identity import session_of, user_of
from tracetaxa.dialects.messages import EMPTY, Conversation, MessageReader, read_payload, read_result
from tracetaxa.dialects.reading import Kind, Retrieval, SpanReading, ToolRun
from tracetaxa.dialects.values import canonical_json, count, load_json, text, text_of, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracetaxa.records import Span

_KINDS: dict[str, Kind] = {"llm": "model", "tool": "tool", "retriever": "retrieval", "embedding": "retrieval"}


class LangSmith:
    name = "langsmith"

    def __init__(self) -> None:
        self._inputs = MessageReader()

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        return "langsmith" in roots

    def read(self, span: Span) -> SpanReading:
        attributes = span.attributes
        kind = _kind(span)
        asked, answered = self._messages(span, kind)
        usage = load_json(text(attributes, "langsmith.usage_metadata", "langsmith.metadata.usage_metadata"))
        usage = usage if isinstance(usage, dict) else {}
        details = usage.get("input_token_details")
        details = details if isinstance(details, dict) else {}
        return SpanReading(
            kind=kind,
            system=asked.system,
            input=asked.messages,
            output=answered.messages,
            tool=_tool(span) if kind == "tool" else None,
            retrieval=_retrieval(span) if kind == "retrieval" else None,
            model=well_formed(text(attributes, "langsmith.metadata.ls_model_name"))
            if kind == "model"
            else "",
            provider=well_formed(text(attributes, "langsmith.metadata.ls_provider")),
            input_tokens=count(usage, "input_tokens"),
            output_tokens=count(usage, "output_tokens"),
            cache_read_tokens=count(details, "cache_read"),
            cache_write_tokens=count(details, "cache_creation"),
            session=session_of(span),
            user=user_of(span),
            agent=well_formed(text(attributes, "langsmith.metadata.lc_agent_name")),
        )

    def _messages(self, span: Span, kind: Kind) -> tuple[Conversation, Conversation]:
        asked, answered = text(span.attributes, "gen_ai.prompt"), text(span.attributes, "gen_ai.completion")
        if kind == "model":
            return self._inputs.read(asked, "user"), self._inputs.read(answered, "assistant")
        if kind == "agent":
            return read_payload(asked, "user"), read_payload(answered, "assistant")
        return EMPTY, EMPTY


def _kind(span: Span) -> Kind:
    stated = text(span.attributes, "langsmith.span.kind").lower()
    if stated == "chain" and not span.parent_span_id:
        return "agent"
    return _KINDS.get(stated, "other")


def _tool(span: Span) -> ToolRun:
    attributes = span.attributes
    told = read_result(text(attributes, "gen_ai.completion"))
    said = load_json(told.text) if told.text.startswith('{"output":') else None
    return ToolRun(
        call_id=well_formed(text(attributes, "gen_ai.tool.call.id")) or told.call_id,
        name=well_formed(text(attributes, "gen_ai.tool.name", "langsmith.trace.name")) or span.name,
        arguments=canonical_json(text(attributes, "gen_ai.prompt")),
        result=text_of(said["output"]) if isinstance(said, dict) else told.text,
        error=failed(span) or told.error,
    )


def _retrieval(span: Span) -> Retrieval | None:
    """Documents are `{"output": [{"page_content": …}]}`; embeddings find nothing."""
    found = load_json(text(span.attributes, "gen_ai.completion"))
    documents = found.get("documents", found.get("output")) if isinstance(found, dict) else None
    if not isinstance(documents, list):
        return None
    contents = [d.get("page_content") if isinstance(d, dict) else d for d in documents]
    asked = read_payload(text(span.attributes, "gen_ai.prompt"), "user").messages
    return Retrieval(
        span.name, asked[-1].text if asked else "", "\n".join(filter(None, map(text_of, contents)))
    )
