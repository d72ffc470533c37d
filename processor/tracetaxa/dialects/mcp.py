"""The Model Context Protocol: calls of tools over it, on the side of the client, of the server, or both.

Source: semantic-conventions-genai, docs/gen-ai/mcp.md (2026-10), as the MCP SDK 2.3 and FastMCP 4.1 write it;
Sentry's `mcp.tool.*` and `mcp.request.argument.*`; OpenLIT 1.45; Logfire with MCP SDK 1 (`request` and
`response`); OpenLLMetry's MCP instrumentation 0.44 to 0.62 (`traceloop.entity.*`). `mcp.session.id` is the
transport's session, often one a request, and nobody's conversation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.identity import session_of, user_of
from tracetaxa.dialects.messages import message_of, read_result
from tracetaxa.dialects.reading import SpanReading, ToolResult, ToolRun
from tracetaxa.dialects.values import canonical_json, load_json, text, text_of, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracetaxa.records import Span

_CALL = "tools/call"
_METHOD = ("mcp.method.name", "mcp.method")
_NAME = ("mcp.tool.name", "gen_ai.tool.name")
_ARGUMENTS = "mcp.tool.arguments"
_ARGUMENT = "mcp.request.argument."
_RESULT = ("mcp.tool.result", "mcp.tool.result.content")
_REQUEST = ("request", "mcp.request.payload", "traceloop.entity.input")
_RESPONSE = ("response", "mcp.response.payload", "traceloop.entity.output")
_TRACELOOP = "opentelemetry.instrumentation.mcp"
_LOGFIRE = ("MCP request", "MCP client handle request", "MCP server handle request")
_PASSED_ON = "delegate "
"""FastMCP's span between a server and the one that is mounted in it."""


class Mcp:
    name = "mcp"

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        if "mcp" in roots or span.scope_name.startswith(_TRACELOOP):
            return True
        return "request" in roots and span.name.startswith(_LOGFIRE)

    def read(self, span: Span) -> SpanReading:
        """Calls of tools; all else (the handshake, lists, prompts, resources) is plumbing."""
        if not _calls(span):
            return SpanReading()
        request = _object(text(span.attributes, *_REQUEST))
        params = request.get("params")
        asked = params if isinstance(params, dict) else request
        told = _response(span)
        return SpanReading(
            "tool",
            session=session_of(span),
            user=user_of(span),
            tool=ToolRun(
                call_id="",
                name=_name(span, asked),
                arguments=_arguments(span) or canonical_json(asked.get("arguments")),
                result=told.text,
                error=_failed(span) or told.error,
            ),
        )


def _calls(span: Span) -> bool:
    attributes = span.attributes
    if span.scope_name.startswith(_TRACELOOP) and text(attributes, "traceloop.span.kind") == "tool":
        return True
    method = text(attributes, *_METHOD)
    if not method:
        return f" {_CALL}" in span.name or span.name == f"{_CALL}.mcp"
    return method == _CALL and not span.name.startswith(_PASSED_ON)


def _name(span: Span, asked: dict[str, Any]) -> str:
    """The client's own span of the MCP SDK has it only in the span's name."""
    stated = text(span.attributes, *_NAME) or text_of(asked.get("name") or asked.get("tool_name"))
    return well_formed(stated or span.name.partition(f"{_CALL} ")[2] or span.name.removesuffix(".tool"))


def _arguments(span: Span) -> str:
    attributes = span.attributes
    named = {key[len(_ARGUMENT) :]: value for key, value in attributes.items() if key.startswith(_ARGUMENT)}
    if not named:
        return canonical_json(text(attributes, _ARGUMENTS))
    values = {key: load_json(value) for key, value in named.items()}
    return text_of({key: named[key] if value is None else value for key, value in values.items()})


def _response(span: Span) -> ToolResult:
    """Of a whole response the content, else what is said of the result."""
    raw = text(span.attributes, *_RESULT) or text(span.attributes, *_RESPONSE)
    response = _object(raw)
    inner = response.get("result")
    if isinstance(inner, dict):
        response = inner
    if response.keys() & {"content", "result", "isError", "is_error"}:
        told = message_of({**response, "type": "tool_result"}, "tool").messages
        return told[0].results[0] if told else ToolResult("", "", "")
    return read_result(raw)


def _failed(span: Span) -> bool:
    """A tool's failure is an ordinary answer in MCP, so the status may not tell."""
    attributes = span.attributes
    stated = text(attributes, "mcp.tool.result.is_error").lower() == "true"
    return failed(span) or stated or bool(text(attributes, "error.type"))


def _object(raw: str) -> dict[str, Any]:
    value = load_json(raw) if raw.startswith("{") else None
    return value if isinstance(value, dict) else {}
