"""Planned agent traffic: conversations as data, and the spans that an instrumented agent would make of them.

Times are integer nanoseconds: a trace starts relative to the end of the traffic (so at most 0), a span and an
answer relative to the start of their trace. Attributes follow the OpenTelemetry GenAI conventions
(semantic-conventions-genai 1.42: `invoke_agent`, `chat`, `execute_tool`; content as JSON strings). What was
planted travels in `PlannedTrace.truth` only, never in a span.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS

AttributeValue = str | bool | int | float | Sequence[str]
Kind = Literal["INTERNAL", "CLIENT", "SERVER"]
Truth = tuple[str, str]
"""The planted (kind, sub-behaviour)."""


# -------------------------------------------------------------------------------- conversations


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call with its result; both JSON or plain text. `error` is empty when the tool worked."""

    call_id: str
    tool: str
    arguments: str
    result: str
    start_ns: int
    duration_ns: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """One model call: text for the user, tool calls that are carried out after it, or both."""

    text: str
    start_ns: int
    duration_ns: int
    calls: tuple[Call, ...] = ()
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What one trace holds: the user's messages and what the agent did about them, in order."""

    key: str
    """Names the turn in its traffic."""
    start_ns: int
    script: tuple[Said | Answered, ...]
    truth: Truth
    feedback: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    """Why the agent as a whole failed; empty when it did not."""

    @property
    def duration_ns(self) -> int:
        """Until the last model or tool call ends."""
        answers = [step for step in self.script if isinstance(step, Answered)]
        ends = [a.start_ns + a.duration_ns for a in answers]
        ends += [call.start_ns + call.duration_ns for a in answers for call in a.calls]
        return max(ends, default=0)


@dataclass(frozen=True, slots=True)
class Session:
    """Turns of one conversation. Each becomes a trace whose model calls carry the history of those before."""

    session_id: str
    user_id: str
    agent: str
    provider: str
    system: str
    resource: Mapping[str, str]
    turns: tuple[Turn, ...]
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    """Of the root span: tier, channel and the like."""
    system_on_root: bool = False
    """Say the system prompt once a trace, not in every model call: for long ones."""


# -------------------------------------------------------------------------------- spans


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    name: str
    at_ns: int
    attributes: Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class PlannedSpan:
    """`parent` is the index of the parent in its trace; the root comes first and has none."""

    name: str
    kind: Kind
    parent: int | None
    start_ns: int
    duration_ns: int
    attributes: Mapping[str, AttributeValue]
    events: tuple[PlannedEvent, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class PlannedTrace:
    key: str
    start_ns: int
    resource: Mapping[str, str]
    spans: tuple[PlannedSpan, ...]
    truth: Truth | None = None
    """None for traffic that is not an agent's."""

    @property
    def is_agent(self) -> bool:
        return self.truth is not None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Traces that are made while they are sent, so that all of them need never be in memory."""

    title: str
    hours: int
    """Every trace starts within this long before the end."""
    traces: Callable[[], Iterator[PlannedTrace]]
    """Starts over at each call."""
    truth_name: str = "planted"
    """What `PlannedTrace.truth` is called before a reader."""


def plan(session: Session) -> Iterator[PlannedTrace]:
    """One trace a turn."""
    history: list[dict[str, Any]] = []
    for turn in session.turns:
        yield _plan_turn(session, turn, history)


def _plan_turn(session: Session, turn: Turn, history: list[dict[str, Any]]) -> PlannedTrace:
    """Appends the turn's messages to `history`."""
    common: dict[str, AttributeValue] = {
        "gen_ai.agent.name": session.agent,
        "gen_ai.conversation.id": session.session_id,
    }
    spans: list[PlannedSpan] = []
    for step in turn.script:
        if isinstance(step, Said):
            history.append({"role": "user", "parts": [_text(step.text)]})
            continue
        message = _assistant_message(step)
        spans.append(_chat_span(session, step, history, message, common))
        history.append(message)
        for call in step.calls:
            spans.append(_tool_span(call, common))
            response = {
                "type": "tool_call_response",
                "id": call.call_id,
                "response": _json_or_text(call.result),
            }
            history.append({"role": "tool", "parts": [response]})
    root = PlannedSpan(
        name=f"invoke_agent {session.agent}",
        kind="INTERNAL",
        parent=None,
        start_ns=0,
        duration_ns=turn.duration_ns,
        attributes={
            "gen_ai.operation.name": "invoke_agent",
            **({"gen_ai.provider.name": session.provider} if session.provider else {}),
            **({"user.id": session.user_id} if session.user_id else {}),
            **common,
            **_system(session, on_root=True),
            **session.attributes,
            **({"error.type": _error_type(turn.error)} if turn.error else {}),
        },
        events=tuple(_feedback_event(name, score, turn.duration_ns) for name, score in turn.feedback.items()),
        error=turn.error,
    )
    return PlannedTrace(turn.key, turn.start_ns, session.resource, (root, *spans), turn.truth)


def _chat_span(
    session: Session,
    answer: Answered,
    history: list[dict[str, Any]],
    message: dict[str, Any],
    common: Mapping[str, AttributeValue],
) -> PlannedSpan:
    finish = "tool_call" if answer.calls else "stop"
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "chat",
        **({"gen_ai.provider.name": session.provider} if session.provider else {}),
        **common,
        **_system(session, on_root=False),
        "gen_ai.input.messages": _json(history),
        "gen_ai.output.messages": _json([{**message, "finish_reason": finish}]),
        "gen_ai.response.finish_reasons": (finish,),
    }
    if answer.model:
        attributes["gen_ai.request.model"] = attributes["gen_ai.response.model"] = answer.model
    if answer.input_tokens is not None:
        attributes["gen_ai.usage.input_tokens"] = answer.input_tokens
    if answer.output_tokens is not None:
        attributes["gen_ai.usage.output_tokens"] = answer.output_tokens
    return PlannedSpan(
        f"chat {answer.model}".rstrip(), "CLIENT", 0, answer.start_ns, answer.duration_ns, attributes
    )


def _tool_span(call: Call, common: Mapping[str, AttributeValue]) -> PlannedSpan:
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "execute_tool",
        **common,
        "gen_ai.tool.name": call.tool,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": call.call_id,
        "gen_ai.tool.call.arguments": call.arguments,
        "gen_ai.tool.call.result": call.result,
    }
    if call.error:
        attributes["error.type"] = _error_type(call.error)
    return PlannedSpan(
        f"execute_tool {call.tool}",
        "INTERNAL",
        0,
        call.start_ns,
        call.duration_ns,
        attributes,
        error=call.error,
    )


def _feedback_event(name: str, score: float, at_ns: int) -> PlannedEvent:
    return PlannedEvent(
        "gen_ai.evaluation.result",
        at_ns,
        {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": score},
    )


def _error_type(error: str) -> str:
    """What stands before the colon: error types are few, messages are many."""
    return error.partition(":")[0][:60]


def _assistant_message(answer: Answered) -> dict[str, Any]:
    parts = [_text(answer.text)] if answer.text else []
    for call in answer.calls:
        arguments = _json_or_text(call.arguments)
        parts.append({"type": "tool_call", "id": call.call_id, "name": call.tool, "arguments": arguments})
    return {"role": "assistant", "parts": parts}


def _system(session: Session, *, on_root: bool) -> dict[str, AttributeValue]:
    if not session.system or session.system_on_root != on_root:
        return {}
    return {"gen_ai.system_instructions": _json([_text(session.system)])}


def _text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
