"""pydantic-ai and Logfire, beside the GenAI conventions that they mostly write.

Source: pydantic-ai 2.68 (models/instrumented.py, formats 1 to 6), logfire 5.2 (experimental/annotations.py).
The messages of a whole agent run are on the run's span; formats before 3 name tools' arguments and results in
their own words; format 1 keeps messages in a JSON list of events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.identity import session_of, user_of
from tracetaxa.dialects.messages import EMPTY, Conversation, MessageReader, read_payload, read_result
from tracetaxa.dialects.reading import Judgement, Kind, SpanReading, ToolRun
from tracetaxa.dialects.values import canonical_json, count, text, to_float, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracetaxa.records import Span

_ROOTS = {"logfire", "pydantic_ai", "agent_name", "tool_arguments", "all_messages_events", "final_result"}
_RUN = ("pydantic_ai.all_messages", "all_messages_events")


class Logfire:
    name = "logfire"

    def __init__(self) -> None:
        self._runs = MessageReader()
        self._events = MessageReader()

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        return not _ROOTS.isdisjoint(roots)

    def read(self, span: Span) -> SpanReading:
        attributes = span.attributes
        if text(attributes, "logfire.span_type") == "annotation":
            return SpanReading(feedback=_annotations(span))
        kind = _kind(span)
        asked, answered = self._messages(span, kind)
        return SpanReading(
            kind=kind,
            system=asked.system,
            input=asked.messages,
            output=answered.messages,
            tool=_tool(span) if kind == "tool" else None,
            input_tokens=count(attributes, "gen_ai.aggregated_usage.input_tokens"),
            output_tokens=count(attributes, "gen_ai.aggregated_usage.output_tokens"),
            cost_usd=to_float(attributes.get("operation.cost")),
            session=session_of(span),
            user=user_of(span),
            agent=well_formed(text(attributes, "agent_name")),
        )

    def _messages(self, span: Span, kind: Kind) -> tuple[Conversation, Conversation]:
        attributes = span.attributes
        if kind == "model":
            events = self._events.read(text(attributes, "events"), "user")
            last = events.messages[-1:]
            if not last or last[0].role != "assistant":
                return events, EMPTY
            return Conversation(events.system, events.messages[:-1]), Conversation((), last)
        if kind != "agent":
            return EMPTY, EMPTY
        run = self._runs.read(text(attributes, *_RUN), "user")
        answered = read_payload(text(attributes, "final_result"), "assistant")
        history, said = run.messages, answered.messages
        if history and history[-1].role == "assistant" and not history[-1].calls:
            history, said = history[:-1], history[-1:]
        return Conversation(run.system, history), Conversation((), said)


def _kind(span: Span) -> Kind:
    attributes = span.attributes
    if "tool_arguments" in attributes or "tool_response" in attributes or span.name == "running tool":
        return "tool"
    if "agent_name" in attributes and span.name == "agent run":
        return "agent"
    if any(key in attributes for key in _RUN):
        return "agent"
    return "model" if "events" in attributes and "gen_ai.request.model" in attributes else "other"


def _tool(span: Span) -> ToolRun:
    attributes = span.attributes
    told = read_result(text(attributes, "tool_response"))
    return ToolRun(
        call_id=well_formed(text(attributes, "gen_ai.tool.call.id")),
        name=well_formed(text(attributes, "gen_ai.tool.name")),
        arguments=canonical_json(text(attributes, "tool_arguments")),
        result=told.text,
        error=failed(span),
    )


def _annotations(span: Span) -> tuple[Judgement, ...]:
    """Feedback is a span below what it is about; `logfire.feedback.name` names the attribute of its value."""
    attributes = span.attributes
    name = text(attributes, "logfire.feedback.name")
    if not name:
        return ()
    raw = text(attributes, name)
    score = {"true": 1.0, "false": 0.0}.get(raw.lower(), to_float(raw))
    return (
        Judgement(
            name=well_formed(name),
            score=score,
            label="" if score is not None else well_formed(raw),
            comment=well_formed(text(attributes, "logfire.feedback.comment")),
            annotator="HUMAN",
            span_id=span.parent_span_id,
        ),
    )
