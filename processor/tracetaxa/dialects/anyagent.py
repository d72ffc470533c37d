"""Mozilla's any-agent: GenAI conventions, with output, tool arguments and cost under names of its own.

Source: mozilla-ai/any-agent, src/any_agent/tracing/attributes.py (1.9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.messages import Conversation, message_of, read_payload, read_result
from tracetaxa.dialects.reading import Kind, SpanReading, ToolRun
from tracetaxa.dialects.values import canonical_json, load_json, text, to_float, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracetaxa.records import Span

_KEYS = frozenset({"gen_ai.output", "gen_ai.tool.args", "gen_ai.usage.input_cost"})
_KINDS: dict[str, Kind] = {"call_llm": "model", "execute_tool": "tool", "invoke_agent": "agent"}


class AnyAgent:
    name = "any-agent"

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        return "gen_ai" in roots and not _KEYS.isdisjoint(span.attributes)

    def read(self, span: Span) -> SpanReading:
        attributes = span.attributes
        kind = _KINDS.get(text(attributes, "gen_ai.operation.name"), "other")
        costs = [to_float(attributes.get(f"gen_ai.usage.{side}_cost")) for side in ("input", "output")]
        known = [cost for cost in costs if cost is not None]
        return SpanReading(
            kind=kind,
            output=_answer(text(attributes, "gen_ai.output")).messages if kind in ("model", "agent") else (),
            tool=_tool(span) if kind == "tool" else None,
            cost_usd=sum(known) if known else None,
        )


def _answer(raw: str) -> Conversation:
    """Text, or the calls of the model as `[{"tool.name": …, "tool.args": …}]`."""
    value = load_json(raw) if raw.startswith("[") else None
    if not isinstance(value, list) or not all(
        isinstance(item, dict) and "tool.name" in item for item in value
    ):
        return read_payload(raw, "assistant")
    calls = [{"name": item["tool.name"], "arguments": item.get("tool.args")} for item in value]
    return message_of({"role": "assistant", "tool_calls": calls}, "assistant")


def _tool(span: Span) -> ToolRun:
    attributes = span.attributes
    return ToolRun(
        call_id=well_formed(text(attributes, "gen_ai.tool.call.id")),
        name=well_formed(text(attributes, "gen_ai.tool.name")),
        arguments=canonical_json(text(attributes, "gen_ai.tool.args")),
        result=read_result(text(attributes, "gen_ai.output")).text,
        error=failed(span),
    )
