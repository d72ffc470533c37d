"""Builds spans as instrumentations of the GenAI conventions write them."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

from tracetaxa.dialects import read_trace
from tracetaxa.records import Span, SpanEvent

if TYPE_CHECKING:
    from tracetaxa.records import Trace

SECOND = 10**9


class Spans:
    """Builds the spans of one trace; each starts a second after the one before and takes half a second."""

    def __init__(self) -> None:
        self.all: list[Span] = []
        self._ids = count(1)

    def add(
        self,
        name: str,
        parent: Span | None = None,
        *,
        at: float | None = None,
        seconds: float = 0.5,
        status: str = "Unset",
        message: str = "",
        events: tuple[SpanEvent, ...] = (),
        resource: dict[str, str] | None = None,
        **attributes: Any,
    ) -> Span:
        number = next(self._ids)
        span = Span(
            trace_id="a" * 32,
            span_id=f"{number:016x}",
            parent_span_id=parent.span_id if parent else "",
            name=name,
            kind="Internal",
            service_name="shop",
            start_ns=int((number if at is None else at) * SECOND),
            duration_ns=int(seconds * SECOND),
            status=status,
            status_message=message,
            attributes=_attributes(attributes),
            resource=resource or {},
            events=events,
        )
        self.all.append(span)
        return span

    def chat(self, parent: Span | None, given: list[Any], answer: list[Any], **more: Any) -> Span:
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **more}
        if given:
            attributes["gen_ai.input.messages"] = given
        if answer:
            attributes["gen_ai.output.messages"] = answer
        return self.add("chat m", parent, **attributes)

    def tool(self, parent: Span | None, name: str, **more: Any) -> Span:
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, **more}
        return self.add(f"execute_tool {name}", parent, **attributes)

    def agent(self, parent: Span | None = None, **more: Any) -> Span:
        return self.add("invoke_agent a", parent, **{"gen_ai.operation.name": "invoke_agent", **more})

    def read(self) -> Trace:
        return read_trace(self.all)


def says(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text} for text in texts]}


def user(text: str) -> dict[str, Any]:
    return says("user", text)


def assistant(text: str) -> dict[str, Any]:
    return says("assistant", text)


def calls(name: str, arguments: Any = None, call_id: str = "", text: str = "") -> dict[str, Any]:
    part = {"type": "tool_call", "name": name, "arguments": arguments}
    if call_id:
        part["id"] = call_id
    said = [{"type": "text", "content": text}] if text else []
    return {"role": "assistant", "parts": [*said, part]}


def returns(response: Any, call_id: str = "", role: str = "tool", name: str = "") -> dict[str, Any]:
    part = {"type": "tool_call_response", "response": response}
    part |= {"id": call_id} if call_id else {}
    part |= {"name": name} if name else {}
    return {"role": role, "parts": [part]}


def turns(trace: Trace) -> list[tuple[str, ...]]:
    """(role, text) of messages, (tool, name, arguments, result) of tool calls."""
    return [
        (turn.role, turn.tool, turn.arguments, turn.text) if turn.role == "tool" else (turn.role, turn.text)
        for turn in trace.turns
    ]


def event(name: str, **attributes: Any) -> SpanEvent:
    return SpanEvent(0, name, _attributes(attributes))


def _attributes(values: dict[str, Any]) -> dict[str, str]:
    """As the exporter stores them: text, arrays and maps as JSON. `__` stands for a dot."""
    return {
        key.replace("__", "."): value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
    }
