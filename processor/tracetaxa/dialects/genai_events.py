"""GenAI content in events: one event per message (conventions up to 1.36), evaluation results (today's).

Events are on spans, or are log records that logs.py has put there.

The body of `gen_ai.<role>.message` and `gen_ai.choice` is in attributes of the event, or in one JSON
attribute, `gen_ai.event.content` (Azure). Its content may be the provider's blocks as JSON text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.messages import EMPTY, Conversation, message_of, read_messages
from tracetaxa.dialects.reading import Judgement
from tracetaxa.dialects.values import load_json, text, to_float, well_formed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracetaxa.records import Role, Span, SpanLink

_MESSAGES: dict[str, Role] = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_BLOCK_KEYS = {"type", "text", "toolUse", "toolResult"}
_OWN_LABELS = "tracetaxa."
"""Labels travel as evaluation events; when they come back they are nobody's feedback."""


def messages(span: Span) -> tuple[Conversation, Conversation]:
    """What the events say was asked and answered."""
    asked = answered = EMPTY
    for event in span.events:
        role = _MESSAGES.get(event.name)
        if role is not None:
            asked += message_of({"role": role, **_body(event.attributes)}, role)
        elif event.name == "gen_ai.choice":
            body = _body(event.attributes)
            inner = body.get("message")
            answered += message_of({**body, **inner} if isinstance(inner, dict) else body, "assistant")
        elif event.name == "gen_ai.client.inference.operation.details":
            asked += read_messages(text(event.attributes, "gen_ai.input.messages"), "user")
            answered += read_messages(text(event.attributes, "gen_ai.output.messages"), "assistant")
        elif event.name == "gen_ai.content.prompt":
            asked += read_messages(text(event.attributes, "gen_ai.prompt"), "user")
        elif event.name == "gen_ai.content.completion":
            answered += read_messages(text(event.attributes, "gen_ai.completion"), "assistant")
    return asked, answered


def feedback(span: Span) -> tuple[Judgement, ...]:
    """What `gen_ai.evaluation.result` events say, or the same attributes on the span itself.

    A span that carries an evaluation and one link is about the linked span: ended spans can't be changed.
    """
    found = [_judgement(e.attributes, None) for e in span.events if e.name == "gen_ai.evaluation.result"]
    if "gen_ai.evaluation.name" in span.attributes:
        found.append(_judgement(span.attributes, span.links[0] if len(span.links) == 1 else None))
    return tuple(judgement for judgement in found if judgement is not None)


def _judgement(attributes: Mapping[str, str], target: SpanLink | None) -> Judgement | None:
    name = well_formed(text(attributes, "gen_ai.evaluation.name"))
    score = to_float(attributes.get("gen_ai.evaluation.score.value"))
    label = well_formed(text(attributes, "gen_ai.evaluation.score.label"))
    comment = well_formed(text(attributes, "gen_ai.evaluation.explanation"))
    if not name or name.startswith(_OWN_LABELS) or (score is None and not label and not comment):
        return None
    return Judgement(
        name=name,
        score=score,
        label=label,
        comment=comment,
        trace_id=target.trace_id if target else "",
        span_id=target.span_id if target else "",
    )


def _body(attributes: Mapping[str, str]) -> dict[str, Any]:
    """The event's body as one JSON object, wherever the instrumentation put it."""
    body: dict[str, Any] = dict(attributes)
    content = load_json(text(attributes, "gen_ai.event.content"))
    if isinstance(content, dict):
        body |= content
    message = body.get("message")
    if isinstance(message, str):
        parsed = load_json(message)
        body["message"] = message = parsed if isinstance(parsed, dict) else {"content": message}
    for part in (body, message):
        if isinstance(part, dict):
            part["content"] = _blocks(part.get("content"))
            part["tool_calls"] = load_json(text(part, "tool_calls"))
    return body


def _blocks(content: Any) -> Any:
    """Content blocks that came as JSON text; all else as it is, since people type brackets too."""
    blocks = load_json(content) if isinstance(content, str) and content.startswith("[{") else None
    if not isinstance(blocks, list):
        return content
    known = all(isinstance(block, dict) and block.keys() & _BLOCK_KEYS for block in blocks)
    return blocks if known else content
