"""OpenInference (Arize Phoenix): `openinference.span.kind` and flattened messages.

Source: openinference, spec/semantic_conventions.md and spec/llm_spans.md (2026-07).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.arguments import called_with, python_literal
from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.flattened import unflatten
from tracetaxa.dialects.identity import session_in, session_of, user_in, user_of
from tracetaxa.dialects.messages import (
    EMPTY,
    Conversation,
    message_of,
    read_messages,
    read_payload,
    read_result,
)
from tracetaxa.dialects.reading import Kind, Retrieval, SpanReading, ToolRun
from tracetaxa.dialects.values import count, load_json, text, text_of, to_float, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracetaxa.records import Role, Span

_KINDS: dict[str, Kind] = {
    "LLM": "model",
    "TOOL": "tool",
    "AGENT": "agent",
    "EMBEDDING": "retrieval",
    "RETRIEVER": "retrieval",
    "RERANKER": "retrieval",
}
_ROOTS = {"openinference", "llm", "retrieval", "input", "output"}


class OpenInference:
    name = "openinference"

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        return not _ROOTS.isdisjoint(roots)

    def read(self, span: Span) -> SpanReading:
        attributes = span.attributes
        kind = _kind(span)
        asked, answered = _messages(span, kind)
        metadata = load_json(text(attributes, "metadata")) if not span.parent_span_id else None
        return SpanReading(
            kind=kind,
            system=asked.system,
            input=asked.messages,
            output=answered.messages,
            tool=_tool(span) if kind == "tool" else None,
            retrieval=_retrieval(span) if kind == "retrieval" else None,
            model=well_formed(
                text(
                    attributes,
                    "llm.response.model_name",
                    "llm.model_name",
                    "llm.request.model_name",
                    "embedding.model_name",
                )
            ),
            provider=well_formed(text(attributes, "llm.provider", "llm.system")),
            input_tokens=count(attributes, "llm.token_count.prompt"),
            output_tokens=count(attributes, "llm.token_count.completion"),
            cache_read_tokens=count(attributes, "llm.token_count.prompt_details.cache_read"),
            cache_write_tokens=count(attributes, "llm.token_count.prompt_details.cache_write"),
            cost_usd=to_float(attributes.get("llm.cost.total")),
            session=session_of(span) or session_in(metadata),
            user=user_of(span) or user_in(metadata),
            agent=well_formed(text(attributes, "agent.name")) or _agent_in(metadata),
        )


def _kind(span: Span) -> Kind:
    """The kind that is stated; some instrumentations leave it out, but name a model."""
    stated = text(span.attributes, "openinference.span.kind").upper()
    if not stated:
        return "model" if "llm.model_name" in span.attributes else "other"
    if stated == "CHAIN" and not span.parent_span_id:
        return "agent"
    return _KINDS.get(stated, "other")


def _messages(span: Span, kind: Kind) -> tuple[Conversation, Conversation]:
    attributes = span.attributes
    if kind == "model":
        asked = _flattened(span, "llm.input_messages.", "user")
        answered = _flattened(span, "llm.output_messages.", "assistant")
        if not asked.messages:
            asked = _texts(span, "llm.prompts.", "prompt", "user") or read_messages(
                text(attributes, "input.value"), "user"
            )
        if not answered.messages:
            answered = _texts(span, "llm.choices.", "completion", "assistant") or read_messages(
                text(attributes, "output.value"), "assistant"
            )
        return asked, answered
    if kind == "agent":
        return (
            read_payload(text(attributes, "input.value"), "user"),
            read_payload(text(attributes, "output.value"), "assistant"),
        )
    return EMPTY, EMPTY


def _flattened(span: Span, prefix: str, role: Role) -> Conversation:
    found = unflatten(span.attributes, prefix)
    conversation = EMPTY
    for item in found if isinstance(found, list) else ():
        message = item.get("message") if isinstance(item, dict) else None
        if isinstance(message, dict):
            conversation += message_of(_plain(message), role)
    return conversation


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """The message without the wrappers that OpenInference puts around each part and call."""
    parts = [_part(part) for part in _inner(message.get("contents"), "message_content")]
    calls = _inner(message.get("tool_calls"), "tool_call")
    arguments = message.get("function_call_arguments_json")
    if arguments is not None:
        calls.append({"name": message.get("function_call_name"), "arguments": arguments})
    content = parts if any(part.get("text") or part.get("type") for part in parts) else message.get("content")
    if message.get("role") in ("tool-call", "tool-response"):
        return _smolagents(message["role"], parts)
    return {
        "role": message.get("role"),
        "name": message.get("name"),
        "content": content,
        "tool_calls": calls,
        "tool_call_id": message.get("tool_call_id"),
    }


def _smolagents(role: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """smolagents tells the model of calls and results in text, under roles of its own."""
    said = "\n".join(text_of(part.get("text")) for part in parts)
    if role == "tool-response":
        return {"role": "tool", "content": said.removeprefix("Observation:\n")}
    calls = python_literal(said.removeprefix("Calling tools:\n"))
    if isinstance(calls, list):
        return {"role": "assistant", "content": "", "tool_calls": calls}
    return {"role": "assistant", "content": said}


def _agent_in(metadata: Any) -> str:
    """LangChain says there which agent it is."""
    return text_of(metadata.get("lc_agent_name")) if isinstance(metadata, dict) else ""


def _part(part: dict[str, Any]) -> dict[str, Any]:
    call = part.get("tool_call")
    return call if isinstance(call, dict) and part.get("type") == "tool_use" else part


def _inner(items: Any, wrapper: str) -> list[dict[str, Any]]:
    found = [item.get(wrapper) for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return [item for item in found if isinstance(item, dict)]


def _texts(span: Span, prefix: str, wrapper: str, role: Role) -> Conversation | None:
    """Prompts and completions of models that take text."""
    found = _inner(unflatten(span.attributes, prefix), wrapper)
    said = "\n".join(filter(None, (text_of(item.get("text")) for item in found)))
    return message_of(said, role) if said else None


def _tool(span: Span) -> ToolRun:
    attributes = span.attributes
    told = read_result(text(attributes, "output.value"))
    return ToolRun(
        call_id=well_formed(text(attributes, "tool_call.id", "tool.id")) or told.call_id,
        name=well_formed(text(attributes, "tool.name", "tool_call.function.name")) or span.name,
        arguments=called_with(text(attributes, "tool_call.function.arguments", "input.value")),
        result=told.text,
        error=failed(span) or told.error,
    )


def _retrieval(span: Span) -> Retrieval | None:
    prefix = "retrieval.documents."
    if not any(key.startswith(prefix) for key in span.attributes):
        prefix = "reranker.output_documents."
    documents = _inner(unflatten(span.attributes, prefix), "document")
    if not documents:
        return None
    query = text(span.attributes, "reranker.query", "input.value")
    found = "\n".join(text_of(document.get("content")) for document in documents)
    asked = read_messages(query, "user").messages
    return Retrieval(span.name, asked[-1].text if asked else well_formed(query), found)
