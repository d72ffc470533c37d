"""LangSmith's OpenTelemetry exporter: runs of LangChain and LangGraph as spans.

Source: langsmith-sdk 0.15, python/langsmith/_internal/otel. Inputs and outputs of a run are JSON in
`gen_ai.prompt` and `gen_ai.completion`, whatever kind of run it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.identity import session_of, user_of
from tracetaxa.dialects.observation import read_observation
from tracetaxa.dialects.reading import Kind, SpanReading, ToolRun
from tracetaxa.dialects.values import count, load_json, text, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracetaxa.records import Span

_KINDS: dict[str, Kind] = {"llm": "model", "tool": "tool", "retriever": "retrieval", "embedding": "retrieval"}


class LangSmith:
    name = "langsmith"

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        return "langsmith" in roots

    def read(self, span: Span) -> SpanReading:
        attributes = span.attributes
        kind = _kind(span)
        given, returned = text(attributes, "gen_ai.prompt"), text(attributes, "gen_ai.completion")
        observed = read_observation(span, kind, given, returned, failed=failed(span))
        usage = _object(text(attributes, "langsmith.usage_metadata", "langsmith.metadata.usage_metadata"))
        details = usage.get("input_token_details")
        details = details if isinstance(details, dict) else {}
        return SpanReading(
            kind=kind,
            system=observed.asked.system,
            input=observed.asked.messages,
            output=observed.answered.messages,
            tool=_named(span, observed.tool) if observed.tool else None,
            retrieval=observed.retrieval,
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


def _kind(span: Span) -> Kind:
    stated = text(span.attributes, "langsmith.span.kind").lower()
    if stated == "chain" and not span.parent_span_id:
        return "agent"
    return _KINDS.get(stated, "other")


def _named(span: Span, run: ToolRun) -> ToolRun:
    attributes = span.attributes
    return replace(
        run,
        call_id=well_formed(text(attributes, "gen_ai.tool.call.id")) or run.call_id,
        name=well_formed(text(attributes, "gen_ai.tool.name", "langsmith.trace.name")) or run.name,
    )


def _object(raw: str) -> dict[str, Any]:
    value = load_json(raw)
    return value if isinstance(value, dict) else {}
