"""Whose session and whose user a span belongs to: attribute names that every dialect shares.

The order is that of the conventions, then of the widely used instrumentations. `thread.id` is not among them:
it is the number of an operating system thread on the spans of every Java service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.dialects.values import text, well_formed

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
    "ai.telemetry.metadata.sessionId",
    "mlflow.trace.session",
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


def session_of(span: Span) -> str:
    return well_formed(text(span.attributes, *SESSION_KEYS))


def user_of(span: Span) -> str:
    return well_formed(text(span.attributes, *USER_KEYS))
