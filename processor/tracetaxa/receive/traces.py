"""OTLP's TraceService, whatever the transport: decode a request, have it committed, say what became of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tracetaxa.errors import MalformedRequest, Overloaded

if TYPE_CHECKING:
    from tracetaxa.receive.commit import GroupCommit

logger = logging.getLogger(__name__)


class Rejected(Protocol):
    """What a write left out of one request."""

    @property
    def spans(self) -> int: ...

    @property
    def message(self) -> str:
        """Why, in a sentence for the sender."""


@dataclass(slots=True)
class SpanCounts:
    """Totals since the start, in the words of the collector's receivers."""

    accepted: int = 0
    """Spans that are stored."""
    refused: int = 0
    """Spans that were not stored and whose senders were told to come back."""
    failed: int = 0
    """Spans that can never be stored: bad ids or times, or data that ClickHouse refuses."""
    malformed_requests: int = 0
    """Requests that could not be decoded; nobody knows how many spans they held."""

    @property
    def troubles(self) -> int:
        """Grows with everything that was not stored."""
        return self.refused + self.failed + self.malformed_requests


class TraceService:
    """Answers Export requests; one object serves all transports.

    `last_error` says why spans were last refused or failed, for people who run tracetaxa. The next request
    that is stored whole clears it, whoever sent it; requests that were under way already don't, since they
    share the write that failed.
    """

    def __init__(self, commit: GroupCommit[ExportTraceServiceRequest, Rejected]) -> None:
        self._commit = commit
        self.counts = SpanCounts()
        self.last_error = ""

    async def export(self, message: bytes) -> ExportTraceServiceResponse:
        """Store the spans of a serialized ExportTraceServiceRequest; they are committed when it returns.

        Raises MalformedRequest when it should not be sent again, Overloaded when it should.
        """
        try:
            request = ExportTraceServiceRequest.FromString(message)
        except DecodeError as error:
            self.counts.malformed_requests += 1
            self.last_error = f"a request was not OTLP: {error}"
            raise MalformedRequest(
                "this is not an ExportTraceServiceRequest in protobuf, or a string in it is not UTF-8: "
                "do not send it again"
            ) from error
        spans = sum(
            len(scope_spans.spans)
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
        )
        if not spans:
            return ExportTraceServiceResponse()
        troubles = self.counts.troubles
        try:
            rejected = await self._commit.submit(request, spans, len(message))
        except Overloaded as error:
            self.counts.refused += spans
            self.last_error = str(error.__cause__ or error)
            raise
        except Exception as error:
            self.counts.failed += spans
            self.last_error = str(error.__cause__ or error)
            raise
        self.counts.accepted += spans - rejected.spans
        if not rejected.spans:
            if troubles == self.counts.troubles:
                self.last_error = ""
            return ExportTraceServiceResponse()
        self.counts.failed += rejected.spans
        self.last_error = rejected.message
        return ExportTraceServiceResponse(
            partial_success=ExportTracePartialSuccess(
                rejected_spans=rejected.spans, error_message=rejected.message
            )
        )
