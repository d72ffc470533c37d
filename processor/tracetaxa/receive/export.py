"""OTLP's Export, for any signal and transport: decode a request, have it committed, say what became of it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol

from google.protobuf.message import DecodeError

from tracetaxa.errors import MalformedRequest, Overloaded
from tracetaxa.otlp_json import parse_otlp, remove_bad_items
from tracetaxa.receive.signals import Request, Response
from tracetaxa.receive.utf8 import MAX_REPAIR_BYTES, with_valid_strings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracetaxa.receive.commit import GroupCommit
    from tracetaxa.receive.room import Place
    from tracetaxa.receive.signals import Signal

LARGE_BYTES = 4 * 2**20
"""A larger request is read in a thread, so that others get answers meanwhile."""
REPAIRED = "bytes that are not UTF-8 were replaced by question marks"


class Rejected(Protocol):
    """What a write left out of one request."""

    @property
    def count(self) -> int: ...

    @property
    def message(self) -> str:
        """Why, in a sentence for the sender."""


class Readable(Protocol):
    """A request that was read, as a write takes it."""

    @property
    def count(self) -> int:
        """How many spans or log records it holds, good or bad."""


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
    repaired_requests: int = 0
    """Requests with strings that were not UTF-8, stored with question marks in them."""

    @property
    def troubles(self) -> int:
        """Grows with everything that was not stored."""
        return self.refused + self.failed + self.malformed_requests


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A request in protobuf, and what it cost to read it."""

    message: bytes
    repaired: bool = False
    """Some of its text was not UTF-8."""
    left_out: int = 0
    """Spans or log records that were not OTLP, for example for this `reason`."""
    reason: str = ""


class ExportService(Generic[Request, Response]):
    """Answers the Export requests of one signal; one object serves all transports.

    `read` makes of a serialized request what the writes of `commit` take, in one pass over it, and raises
    DecodeError. Without it they take the bytes.

    `last_error` says why something was last refused or failed, for people who run tracetaxa. The next request
    that is stored whole clears it, whoever sent it; requests that were under way already don't, since they
    share the write that failed.
    """

    def __init__(
        self,
        signal: Signal[Request, Response],
        commit: GroupCommit[Any, Rejected],
        read: Callable[[bytes], Readable] | None = None,
    ) -> None:
        self.signal = signal
        self._commit = commit
        self._read_one = read
        self.counts = Counts()
        self.last_error = ""
        self._slow_decoding = asyncio.Lock()
        """What Python must read field by field is read in a thread, one request at a time."""

    async def export(self, message: bytes, *, in_json: bool = False, place: Place | None = None) -> Response:
        """Store what a request holds, serialized in protobuf or in JSON; it is committed when this returns.

        `place` holds its bytes in the room until the commit does. Raises MalformedRequest when it should not
        be sent again, Overloaded when it should.
        """
        signal = self.signal
        decoded = await self._from_json(message) if in_json else _Decoded(message)
        try:
            count, request = await self._read(decoded.message)
        except DecodeError as error:
            decoded = await self._repair(decoded.message, error)
            count, request = await self._read(decoded.message)
        self.counts.repaired_requests += decoded.repaired
        self._leave_out(decoded.left_out, f"some {signal.items} were not OTLP: {decoded.reason}")
        if not count:
            return self._answer(decoded)
        troubles = self.counts.troubles
        if place is not None:
            place.clear()
        try:
            rejected = await self._commit.submit(request, count, len(decoded.message))
        except Overloaded as error:
            self.counts.refused += count
            self.last_error = str(error.__cause__ or error)
            raise
        except Exception as error:
            self.counts.failed += count
            self.last_error = str(error.__cause__ or error)
            raise
        self.counts.accepted += count - rejected.count
        self._leave_out(rejected.count, rejected.message)
        if troubles == self.counts.troubles and not decoded.left_out:
            self.last_error = ""
        return self._answer(decoded, rejected)

    def _leave_out(self, count: int, reason: str) -> None:
        if count:
            self.counts.failed += count
            self.last_error = reason

    def _answer(self, decoded: _Decoded, rejected: Rejected | None = None) -> Response:
        notes = [rejected.message] if rejected is not None and rejected.count else []
        if decoded.left_out:
            notes.append(
                f"left out {self.signal.items} that are not OTLP: {decoded.reason} ({decoded.left_out})"
            )
        if decoded.repaired:
            notes.append(REPAIRED)
        if not notes:
            return self.signal.response()
        count = decoded.left_out + (rejected.count if rejected is not None else 0)
        return self.signal.partial(count, "; ".join(notes))

    async def _read(self, message: bytes) -> tuple[int, Any]:
        """How many items a request holds, and what a write takes of it. Raises DecodeError."""
        if len(message) > LARGE_BYTES:
            return await asyncio.to_thread(self._read_now, message)
        return self._read_now(message)

    def _read_now(self, message: bytes) -> tuple[int, Any]:
        if self._read_one is not None:
            request = self._read_one(message)
            return request.count, request
        # Its bytes wait for the commit: they are half as large as its objects.
        return self.signal.count(self.signal.request.FromString(message)), message

    async def _repair(self, message: bytes, error: DecodeError) -> _Decoded:
        """The request without bytes that are no UTF-8, if that was all. Raises MalformedRequest."""
        kind = self.signal.request
        if "UTF-8" in str(error) and len(message) <= MAX_REPAIR_BYTES:
            with suppress(ValueError, DecodeError):
                async with self._slow_decoding:
                    message = await asyncio.to_thread(with_valid_strings, message, kind.DESCRIPTOR)
                kind.FromString(message)
                return _Decoded(message, repaired=True)
        raise self._malformed(
            f"this is not an {kind.__name__} in protobuf, or a string in it is not UTF-8", error
        )

    async def _from_json(self, body: bytes) -> _Decoded:
        """Raises MalformedRequest."""
        try:
            async with self._slow_decoding:
                return await asyncio.to_thread(_protobuf_of, body, self.signal)
        except (ValueError, RecursionError) as error:
            raise self._malformed(f"this is not an {self.signal.request.__name__} in JSON", error) from None

    def _malformed(self, reason: str, error: Exception) -> MalformedRequest:
        self.counts.malformed_requests += 1
        self.last_error = f"a request was not OTLP: {str(error)[:200]}"
        refusal = MalformedRequest(f"{reason}: do not send it again")
        refusal.__cause__ = error
        return refusal


def _protobuf_of(body: bytes, signal: Signal[Any, Any]) -> _Decoded:
    """A request in JSON as one in protobuf. Raises ValueError, RecursionError."""
    text = body.decode("utf-8", "replace")
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    # Characters cut in half come as bytes that are no UTF-8 and, from JavaScript, as lone surrogates.
    repaired = text.encode() != body
    if "\\ud" in text.lower():
        plain = json.dumps(value, ensure_ascii=False)
        valid = plain.encode("utf-8", "replace").decode()
        if valid != plain:
            value, repaired = json.loads(valid), True
    try:
        return _Decoded(parse_otlp(value, signal.request).SerializeToString(), repaired)
    except ValueError:
        reasons = remove_bad_items(value)
        if not reasons:
            raise
    message = parse_otlp(value, signal.request).SerializeToString()
    return _Decoded(message, repaired, len(reasons), reasons[0])
