"""Spans without GenAI attributes: HTTP, databases, queues, and whatever an application adds by hand.

They say how long things took, what failed, and often whose session it was; they hold no conversation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.dialects.identity import session_of, user_of
from tracetaxa.dialects.reading import SpanReading

if TYPE_CHECKING:
    from tracetaxa.records import Span


class Generic:
    """Reads any span."""

    def matches(self, span: Span) -> bool:
        return True

    def read(self, span: Span) -> SpanReading:
        return SpanReading(kind="other", session=session_of(span), user=user_of(span))
