"""OpenTelemetry's GenAI semantic conventions on spans, today's and older ones.

Sources: semantic-conventions-genai 1.42 (its pages on spans, agent spans and events); semantic-conventions
up to 1.36 (`gen_ai.system`, `gen_ai.prompt`, `gen_ai.usage.prompt_tokens`, one span event per message).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.dialects import genai_events
from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.identity import session_of, user_of
from tracetaxa.dialects.messages import EMPTY, MessageReader, read_result
from tracetaxa.dialects.reading import Kind, Retrieval, SpanReading, ToolRun
from tracetaxa.dialects.values import canonical_json, count, load_json, text, text_of, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tracetaxa.dialects.messages import Conversation
    from tracetaxa.records import Span

_KINDS: dict[str, Kind] = {
    "chat": "model",
    "generate_content": "model",
    "text_completion": "model",
    "completion": "model",
    "call_llm": "model",
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "invoke_workflow": "agent",
    "plan": "agent",
    "embeddings": "retrieval",
    "retrieval": "retrieval",
    "search_memory": "retrieval",
}
_MERGED_TOOLS = "(merged tools)"
"""Google's ADK repeats the results of parallel calls in a span of this name."""
_MODEL_KEYS = ("gen_ai.request.model", "gen_ai.response.model", "gen_ai.input.messages", "gen_ai.prompt")


class GenAi:
    name = "genai"

    def __init__(self) -> None:
        self._inputs = MessageReader()
        self._outputs = MessageReader()
        self._instructions: dict[str, tuple[str, ...]] = {}

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        return "gen_ai" in roots

    def read(self, span: Span) -> SpanReading:
        attributes = span.attributes
        kind = _kind(span)
        input, output = self._messages(span) if kind in ("model", "agent") else (EMPTY, EMPTY)
        return SpanReading(
            kind=kind,
            system=self._system(attributes) + input.system,
            input=input.messages,
            output=output.messages,
            tool=_tool(span) if kind == "tool" else None,
            retrieval=_retrieval(span) if kind == "retrieval" else None,
            model=well_formed(text(attributes, "gen_ai.response.model", "gen_ai.request.model")),
            provider=well_formed(text(attributes, "gen_ai.provider.name", "gen_ai.system")),
            input_tokens=count(attributes, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
            output_tokens=count(attributes, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
            cache_read_tokens=count(
                attributes, "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"
            ),
            cache_write_tokens=count(
                attributes,
                "gen_ai.usage.cache_write.input_tokens",
                "gen_ai.usage.cache_creation.input_tokens",
                "gen_ai.usage.cache_creation_input_tokens",
            ),
            session=session_of(span),
            user=user_of(span),
            agent=well_formed(text(attributes, "gen_ai.agent.name")),
            feedback=genai_events.feedback(span),
        )

    def _messages(self, span: Span) -> tuple[Conversation, Conversation]:
        """Input and output, each from the newest convention that the span speaks."""
        asked = text(span.attributes, "gen_ai.input.messages", "gen_ai.prompt")
        answered = text(span.attributes, "gen_ai.output.messages", "gen_ai.completion")
        input, output = self._inputs.read(asked, "user"), self._outputs.read(answered, "assistant")
        if span.events and not (input.messages and output.messages):
            told, said = genai_events.messages(span)
            input = input if input.messages else input + told
            output = output if output.messages else output + said
        return input, output

    def _system(self, attributes: Mapping[str, str]) -> tuple[str, ...]:
        raw = text(attributes, "gen_ai.system_instructions")
        if not raw:
            return ()
        known = self._instructions.get(raw)
        if known is None:
            known = self._instructions[raw] = _instructions(raw)
        return known


def _kind(span: Span) -> Kind:
    if span.attributes.get("gen_ai.tool.name") == _MERGED_TOOLS:
        return "other"
    operation = text(span.attributes, "gen_ai.operation.name").lower()
    if operation:
        return _KINDS.get(operation, "other")
    if "gen_ai.tool.name" in span.attributes:
        return "tool"
    first_word = span.name.split(" ", 1)[0].lower()
    if first_word in _KINDS:
        return _KINDS[first_word]
    return "model" if any(key in span.attributes for key in _MODEL_KEYS) else "other"


def _tool(span: Span) -> ToolRun:
    attributes = span.attributes
    name = text(attributes, "gen_ai.tool.name") or span.name.removeprefix("execute_tool").strip()
    told = read_result(text(attributes, "gen_ai.tool.call.result"))
    return ToolRun(
        call_id=well_formed(text(attributes, "gen_ai.tool.call.id")) or told.call_id,
        name=well_formed(name),
        arguments=canonical_json(text(attributes, "gen_ai.tool.call.arguments")),
        result=told.text,
        error=failed(span) or told.error or bool(text(attributes, "error.type")),
    )


def _retrieval(span: Span) -> Retrieval | None:
    """Memory searches are retrievals too; embeddings have a name but find nothing."""
    raw = text(span.attributes, "gen_ai.retrieval.documents")
    query = text(span.attributes, "gen_ai.retrieval.query.text", "gen_ai.memory.query.text")
    if not raw and not query:
        return None
    value = load_json(raw)
    documents = value if isinstance(value, list) else []
    found = [d.get("content", d.get("text")) if isinstance(d, dict) else d for d in documents]
    return Retrieval(
        name=well_formed(text(span.attributes, "gen_ai.data_source.id")) or span.name,
        query=well_formed(query),
        documents="\n".join(filter(None, map(text_of, found))) or well_formed(raw),
    )


def _instructions(raw: str) -> tuple[str, ...]:
    """System instructions are a list of parts, not of messages."""
    value = load_json(raw)
    if not isinstance(value, list):
        return (text_of(value if isinstance(value, str) else raw),)
    parts = (part.get("content", part.get("text")) if isinstance(part, dict) else part for part in value)
    said = "\n".join(filter(None, map(text_of, parts)))
    return (said,) if said else ()
