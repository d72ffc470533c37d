"""OTLP's Export, for any signal and transport: decode a request, have it committed, say what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol

from google.protobuf.message import DecodeError

from tracetaxa.errors import MalformedRequest, Overloaded
from tracetaxa.receive.signals import Request, Response

if TYPE_CHECKING:
    from tracetaxa.receive.commit import GroupCommit
    from tracetaxa.receive.signals import Signal


class Rejected(Protocol):
    """What a write left out of one request."""

    @property
    def count(self) -> int: ...

    @property
    def message(self) -> str:
        """Why, in a sentence for the sender."""


@dataclass(slots=True)
class Counts:
    """Totals of a signal since the start, in the words of the collector's receivers."""

    accepted: int = 0
    """Spans or log records that are stored."""
    refused: int = 0
    """Those that were not stored and whose senders were told to come back."""
    failed: int = 0
    """Those that can never be stored: bad ids or times, or data that ClickHouse refuses."""
    malformed_requests: int = 0
    """Requests that could not be decoded; nobody knows how much they held."""

    @property
    def troubles(self) -> int:
        """Grows with everything that was not stored."""
        return self.refused + self.failed + self.malformed_requests


class ExportService(Generic[Request, Response]):
    """Answers the Export requests of one signal; one object serves all transports.

    `last_error` says why something was last refused or failed, for people who run tracetaxa. The next request
    that is stored whole clears it, whoever sent it; requests that were under way already don't, since they
    share the write that failed.
    """

    def __init__(self, signal: Signal[Request, Response], commit: GroupCommit[Request, Rejected]) -> None:
        self.signal = signal
        self._commit = commit
        self.counts = Counts()
        self.last_error = ""

    async def export(self, message: bytes) -> Response:
        """Store what a serialized request holds; it is committed when this returns.

        Raises MalformedRequest when it should not be sent again, Overloaded when it should.
        """
        signal = self.signal
        try:
            request: Request = signal.request.FromString(message)
        except DecodeError as error:
            self.counts.malformed_requests += 1
            self.last_error = f"a request was not OTLP: {error}"
            raise MalformedRequest(
                f"this is not an {signal.request.__name__} in protobuf, or a string in it is not UTF-8: "
                "do not send it again"
            ) from error
        count = signal.count(request)
        if not count:
            return signal.response()
        troubles = self.counts.troubles
        try:
            rejected = await self._commit.submit(request, count, len(message))
        except Overloaded as error:
            self.counts.refused += count
            self.last_error = str(error.__cause__ or error)
            raise
        except Exception as error:
            self.counts.failed += count
            self.last_error = str(error.__cause__ or error)
            raise
        self.counts.accepted += count - rejected.count
        if not rejected.count:
            if troubles == self.counts.troubles:
                self.last_error = ""
            return signal.response()
        self.counts.failed += rejected.count
        self.last_error = rejected.message
        return signal.partial(rejected.count, rejected.message)
