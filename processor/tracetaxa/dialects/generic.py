"""Spans without GenAI attributes: HTTP, databases, queues, and whatever an application adds by hand.

They say how long things took, what failed, and often whose session it was; they hold no conversation. Calls
to other systems are told as tools: where nothing else in a trace calls tools, they are what it did.

Source: semantic-conventions 1.38 (http, database, messaging and rpc spans) and the names before 1.21.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.identity import session_of, user_of
from tracetaxa.dialects.reading import SpanReading, ToolRun
from tracetaxa.dialects.values import text, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracetaxa.records import Span

_ARGUMENTS = (
    "db.query.text",
    "db.statement",
    "url.full",
    "http.url",
    "messaging.destination.name",
    "rpc.method",
)
_STATUS = ("http.response.status_code", "http.status_code", "db.response.status_code", "rpc.grpc.status_code")
_SYSTEMS = (
    "db.system.name",
    "db.system",
    "messaging.system",
    "rpc.system",
    "http.request.method",
    "http.method",
)
_PLACES = ("server.address", "net.peer.name", "peer.service")


class Generic:
    """Reads any span; asked where no dialect has anything to say."""

    name = "generic"

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        return True

    def read(self, span: Span) -> SpanReading:
        return SpanReading(tool=_call(span), session=session_of(span), user=user_of(span))


def _call(span: Span) -> ToolRun | None:
    """What a client or producer span asked of another system."""
    if span.kind not in ("Client", "Producer", "SPAN_KIND_CLIENT", "SPAN_KIND_PRODUCER"):
        return None
    attributes = span.attributes
    system = text(attributes, *_SYSTEMS)
    if not system:
        return None
    place = text(attributes, *_PLACES)
    # Names of HTTP client spans are often the bare method.
    name = f"{span.name} {place}" if place and " " not in span.name else span.name
    return ToolRun(
        call_id="",
        name=well_formed(name),
        arguments=well_formed(text(attributes, *_ARGUMENTS)),
        result=well_formed(text(attributes, *_STATUS)),
        error=failed(span),
    )
