"""Google's Agent Development Kit in its own words: whole requests and responses as `gcp.vertex.agent.*`.

Source: adk-python 1.5 (`telemetry.py`) and 2.13 (`telemetry/tracing.py`). In 2.13 this is schema version 1,
kept for those who ask for it; version 2 writes GenAI attributes only. Token counts are taken from the
response, because 1.5 wrote the total as `gen_ai.usage.output_tokens`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.identity import session_of, user_of
from tracetaxa.dialects.messages import EMPTY, Conversation, message_of, read_messages
from tracetaxa.dialects.reading import SpanReading, ToolRun
from tracetaxa.dialects.values import canonical_json, count, load_json, text, text_of, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracetaxa.records import Role, Span

_SCOPE = "gcp.vertex.agent"
_ARGUMENTS = f"{_SCOPE}.tool_call_args"
_NOTHING = ("", "{}", "<not serializable>")
_UNSAID = "<not specified>"


class GoogleAdk:
    name = "adk"

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        return span.scope_name == _SCOPE or (
            "gcp" in roots and any(key.startswith(_SCOPE) for key in span.attributes)
        )

    def read(self, span: Span) -> SpanReading:
        attributes = span.attributes
        if span.name.startswith("agent_run [") or span.name == "invocation":
            agent = span.name.removeprefix("agent_run [").removesuffix("]") if "[" in span.name else ""
            return SpanReading(
                "agent", session=session_of(span), user=user_of(span), agent=well_formed(agent)
            )
        if _ARGUMENTS in attributes:
            tool = _tool(span)
            return SpanReading("tool" if tool else "other", tool=tool)
        if span.name == "call_llm" or text(attributes, f"{_SCOPE}.llm_request") not in _NOTHING:
            return _model_call(span)
        sent = read_messages(text(attributes, f"{_SCOPE}.data"), "user")  # live sessions
        return SpanReading(input=sent.messages)


def _model_call(span: Span) -> SpanReading:
    request, response = _object(span, "llm_request"), _object(span, "llm_response")
    config, usage = request.get("config"), response.get("usage_metadata")
    usage = usage if isinstance(usage, dict) else {}
    instructions = config.get("system_instruction") if isinstance(config, dict) else None
    model = text_of(response.get("model_version") or request.get("model"))
    asked = _contents(request.get("contents"), "user")
    answered = _contents([response.get("content")], "assistant")
    return SpanReading(
        "model",
        system=_instructions(instructions),
        input=asked.messages,
        output=answered.messages,
        model=model,
        provider="gcp.gen_ai" if model.startswith("gemini") else "",
        input_tokens=_sum(usage, "prompt_token_count", "tool_use_prompt_token_count"),
        output_tokens=_sum(usage, "candidates_token_count", "thoughts_token_count"),
        cache_read_tokens=count(usage, "cached_content_token_count"),
        session=session_of(span),
        user=user_of(span),
    )


def _contents(contents: Any, role: Role) -> Conversation:
    return message_of(contents, role) if isinstance(contents, list) else EMPTY


def _instructions(value: Any) -> tuple[str, ...]:
    """Instructions are text, or one content with parts."""
    parts = value.get("parts") if isinstance(value, dict) else value
    return message_of({"role": "system", "content": parts}, "system").system if parts else ()


def _tool(span: Span) -> ToolRun | None:
    attributes = span.attributes
    if _merged(span):
        return None
    raw = text(attributes, f"{_SCOPE}.tool_response")
    value = load_json(raw) if raw.startswith("{") else None
    told = value if isinstance(value, dict) else {}
    said = told.get("result") if told.keys() == {"result"} else None
    return ToolRun(
        call_id="",
        name=well_formed(span.name.removeprefix("execute_tool").strip()),
        arguments=_known(canonical_json(text(attributes, _ARGUMENTS))),
        result="" if said == _UNSAID else _known(canonical_json(raw)),
        error=failed(span) or told.get("isError") is True,
    )


def _merged(span: Span) -> bool:
    """A span after parallel calls that repeats their results, for ADK's web page."""
    return span.name.endswith("(merged)") or text(span.attributes, _ARGUMENTS) == "N/A"


def _known(said: str) -> str:
    return "" if said in _NOTHING else said


def _object(span: Span, name: str) -> dict[str, Any]:
    value = load_json(text(span.attributes, f"{_SCOPE}.{name}"))
    return value if isinstance(value, dict) else {}


def _sum(usage: dict[str, Any], *keys: str) -> int | None:
    counts = [number for key in keys if (number := count(usage, key)) is not None]
    return sum(counts) if counts else None
