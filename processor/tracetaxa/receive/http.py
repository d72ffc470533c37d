"""OTLP over HTTP (opentelemetry-proto, docs/specification.md, "OTLP/HTTP"): protobuf and JSON."""

from __future__ import annotations

import asyncio
import logging
import math
import zlib
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from tracetaxa.errors import MalformedRequest, Overloaded
from tracetaxa.receive.room import Room
from tracetaxa.receive.signals import METRICS_PATH, NO_METRICS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence

    from google.protobuf.message import Message

    from tracetaxa.receive.auth import Credential
    from tracetaxa.receive.export import ExportService
    from tracetaxa.receive.room import Place

    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Headers = Sequence[tuple[bytes, bytes]]

PROTOBUF = b"application/x-protobuf"
JSON = b"application/json"

_INFLATED_AT_ONCE = 2**20
"""Bytes inflated before others get their turn."""

logger = logging.getLogger(__name__)


class HttpReceiver:
    """An ASGI application that takes the signals of `services`; whoever serves it chooses endpoint and TLS.

    It answers 200, or a google.rpc.Status with one of: 400 not OTLP, 401 without the `credential`, 404 no
    such path (metrics are not taken), 405, 413 above `max_body_mib` as sent or inflated, 415 unknown type or
    encoding; those mean drop. 429 (no room for the request) and 503 (not stored, or too slow in coming) have
    Retry-After and mean keep and send again. Bodies come in the content type of the request.

    room: for requests that are being received; one of its own when not given.
    read_seconds: a body must have come this long after its headers.
    retry_after_seconds: what a sender is told when there is no room, or after an error that nobody foresaw.
    """

    def __init__(
        self,
        services: Sequence[ExportService[Any, Any]],
        *,
        credential: Credential | None = None,
        room: Room | None = None,
        max_body_mib: int = 64,
        read_seconds: float = 30,
        retry_after_seconds: float = 2.0,
    ) -> None:
        self._services = {service.signal.path: service for service in services}
        self._credential = credential
        self._room = room or Room()
        self._max_bytes = max_body_mib * 2**20
        self._read_seconds = read_seconds
        self._retry_after_seconds = retry_after_seconds

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: Headers = scope["headers"]
        content_type = _header(headers, b"content-type").partition(b";")[0].strip().lower()
        body = _Body(receive)
        try:
            message = await self._answer(scope, content_type, body)
        except _SenderGone:
            return
        except _Refusal as error:
            refusal = error
        except MalformedRequest as error:
            refusal = _Refusal(400, code_pb2.INVALID_ARGUMENT, str(error))
        except Overloaded as error:
            refusal = self._later(503, str(error), error.retry_after_seconds)
        except Exception:
            logger.exception("an OTLP/HTTP request failed for a reason that nobody foresaw")
            refusal = self._later(503, "tracetaxa failed: send it again later", self._retry_after_seconds)
        else:
            await _respond(send, 200, content_type, message)
            return
        # Senders that are still writing would see a broken connection instead of the answer, and try again.
        if _header(headers, b"expect").lower() != b"100-continue":
            await body.discard(self._max_bytes, self._read_seconds)
        closing = [] if body.ended else [(b"connection", b"close")]
        await _respond(send, refusal.http, content_type, refusal.status, [*refusal.headers, *closing])

    async def _answer(self, scope: MutableMapping[str, Any], content_type: bytes, body: _Body) -> Message:
        headers: Headers = scope["headers"]
        if self._credential is not None and not self._credential.admits(headers):
            challenge = [(b"www-authenticate", b"Bearer")] if self._credential.bearer else []
            reason = (
                f"the header {self._credential.header!r} does not have what tracetaxa expects (receiver.auth)"
            )
            raise _Refusal(401, code_pb2.UNAUTHENTICATED, reason, challenge)
        service = self._services.get(scope["path"])
        if service is None:
            reason = NO_METRICS if scope["path"] == METRICS_PATH else f"send to {' or '.join(self._services)}"
            raise _Refusal(404, code_pb2.UNIMPLEMENTED, reason)
        if scope["method"] != "POST":
            raise _Refusal(405, code_pb2.UNIMPLEMENTED, "send a POST", [(b"allow", b"POST")])
        if content_type not in (PROTOBUF, JSON):
            known = f"the content type must be {PROTOBUF.decode()} or {JSON.decode()}"
            raise _Refusal(415, code_pb2.INVALID_ARGUMENT, known)
        encoding = _header(headers, b"content-encoding").strip().lower()
        if encoding not in (b"", b"identity", b"gzip"):
            reason = "the content encoding must be gzip or identity"
            raise _Refusal(415, code_pb2.INVALID_ARGUMENT, reason, [(b"accept-encoding", b"gzip, identity")])
        announced = _header(headers, b"content-length")
        size = int(announced) if announced.isdigit() else 0
        if size > self._max_bytes:
            raise self._too_large()
        with self._room.place(self._retry_after_seconds) as place:
            message = await self._read(body, place, size, _Gunzip() if encoding == b"gzip" else None)
            answer: Message = await service.export(message, in_json=content_type == JSON, place=place)
            return answer

    async def _read(self, body: _Body, place: Place, size: int, gunzip: _Gunzip | None) -> bytes:
        """The whole body, inflated; counted in the room as it comes."""
        message = bytearray()
        try:
            place.expect(size)
            async with asyncio.timeout(self._read_seconds):
                while not body.ended:
                    data = await body.chunk()
                    if body.size > self._max_bytes:
                        raise self._too_large()
                    for piece in gunzip.pieces(data) if gunzip is not None else (data,):
                        if len(message) + len(piece) > self._max_bytes:
                            raise self._too_large()
                        place.grow(len(piece))
                        message += piece
                        if len(piece) == _INFLATED_AT_ONCE:
                            await asyncio.sleep(0)
        except TimeoutError:
            reason = f"the body had not come after {self._read_seconds:g} seconds: send it again"
            raise self._later(503, reason, self._retry_after_seconds) from None
        except Overloaded as error:
            raise self._later(429, str(error), error.retry_after_seconds) from None
        except zlib.error:
            raise MalformedRequest("the body is not gzip: do not send it again") from None
        if gunzip is not None and not gunzip.complete:
            raise MalformedRequest("the gzip in the body has no end: do not send it again")
        return bytes(message)

    def _too_large(self) -> _Refusal:
        most = f"a request may have {self._max_bytes // 2**20} MiB, before and after decompression"
        return _Refusal(413, code_pb2.RESOURCE_EXHAUSTED, f"{most} (receiver.http.max_body_mib)")

    def _later(self, http: int, reason: str, retry_after_seconds: float) -> _Refusal:
        delay = str(math.ceil(retry_after_seconds)).encode()
        return _Refusal(http, code_pb2.UNAVAILABLE, reason, [(b"retry-after", delay)])


class _Refusal(Exception):
    def __init__(self, http: int, code: int, reason: str, headers: Headers = ()) -> None:
        super().__init__(reason)
        self.http = http
        self.status = Status(code=code, message=reason)
        self.headers = headers


class _SenderGone(Exception):
    pass


class _Body:
    """A request's body as it comes."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size = 0
        self.ended = False

    async def chunk(self) -> bytes:
        """Raises _SenderGone."""
        event = await self._receive()
        if event["type"] == "http.disconnect":
            raise _SenderGone
        data: bytes = event.get("body", b"")
        self.size += len(data)
        self.ended = not event.get("more_body", False)
        return data

    async def discard(self, max_bytes: int, seconds: float) -> None:
        """Read the rest and throw it away, up to these limits."""
        enough = self.size + max_bytes
        try:
            async with asyncio.timeout(seconds):
                while not self.ended and self.size < enough:
                    await self.chunk()
        except (TimeoutError, _SenderGone):
            pass


class _Gunzip:
    """Inflates a stream of gzip members piece by piece, so that a bomb is noticed while it grows."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    @property
    def complete(self) -> bool:
        return self._member.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` inflates to, at most _INFLATED_AT_ONCE bytes at a time. Raises zlib.error."""
        full = False
        while data or full:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            piece = self._member.decompress(data, _INFLATED_AT_ONCE)
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            full = len(piece) == _INFLATED_AT_ONCE and not self._member.eof
            yield piece


def _header(headers: Headers, name: bytes) -> bytes:
    """All values of a header as one, as RFC 9110, section 5.3 has it."""
    return b", ".join(value for key, value in headers if key == name)


async def _respond(
    send: Send, http: int, content_type: bytes, message: Message, headers: Headers = ()
) -> None:
    if content_type == PROTOBUF:
        body = message.SerializeToString()
    else:
        content_type, body = JSON, json_format.MessageToJson(message, indent=None).encode()
    start = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": http, "headers": start})
    await send({"type": "http.response.body", "body": body})
