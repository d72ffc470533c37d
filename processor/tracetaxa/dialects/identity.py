"""Whose session and whose user a span belongs to: attribute names that every dialect shares.

The order is that of the conventions, then of the widely used instrumentations. `thread.id` is not among them:
it is the number of an operating system thread on the spans of every Java service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.values import text, text_of, well_formed

if TYPE_CHECKING:
    from tracetaxa.records import Span

SESSION_KEYS = (
    "gen_ai.conversation.id",
    "session.id",
    "langfuse.session.id",
    "langsmith.trace.session_id",
    "langsmith.metadata.thread_id",
    "langsmith.metadata.session_id",
    "langsmith.metadata.conversation_id",
    "traceloop.association.properties.session_id",
    "traceloop.association.properties.thread_id",
    "ai.telemetry.metadata.sessionId",
    "mlflow.trace.session",
    "gcp.vertex.agent.session_id",
)
USER_KEYS = (
    "user.id",
    "enduser.id",
    "langfuse.user.id",
    "langsmith.metadata.user_id",
    "traceloop.association.properties.user_id",
    "ai.telemetry.metadata.userId",
    "gen_ai.user",
    "llm.user",
    "mlflow.trace.user",
)


SCRUBBED = "[Scrubbed due to "
"""Logfire takes values whose key looks secret away, and `session.id` does: one session for everybody."""
_SESSION_NAMES = ("session_id", "thread_id", "conversation_id", "sessionId", "threadId", "conversationId")
_USER_NAMES = ("user_id", "userId")


def session_of(span: Span) -> str:
    return _identity(span, SESSION_KEYS)


def user_of(span: Span) -> str:
    return _identity(span, USER_KEYS)


def _identity(span: Span, keys: tuple[str, ...]) -> str:
    attributes = span.attributes
    for key in keys:
        if key in attributes and (found := text(attributes, key)) and not found.startswith(SCRUBBED):
            return well_formed(found)
    return ""


def session_in(metadata: Any) -> str:
    """The session that a JSON object of metadata names."""
    return _named(metadata, _SESSION_NAMES)


def user_in(metadata: Any) -> str:
    return _named(metadata, _USER_NAMES)


def _named(metadata: Any, names: tuple[str, ...]) -> str:
    if not isinstance(metadata, dict):
        return ""
    return next((text_of(metadata[name]) for name in names if metadata.get(name)), "")
