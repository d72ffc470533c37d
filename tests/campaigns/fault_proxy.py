"""A proxy in front of a ClickHouse server that makes trouble, for as long as it is told to.

It reads whole requests and whole answers, so that it can choose between what the server has done and what the
client is told about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DEADLINE_SECONDS = 30
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for "at once": closing sends RST."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer as it is on the wire."""

    head: bytes
    body: bytes

    @property
    def inserts(self) -> bool:
        text = unquote_plus(self.head.split(b"\r\n", 1)[0].decode("latin-1")) + self.body[:200].decode(
            "latin-1"
        )
        return "INSERT INTO" in text.upper()


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to some requests.

    share: of the requests that it can happen to.
    inserts_only: it happens to inserts; else to every request.
    """

    name: str
    act: Callable[[Exchange], Awaitable[None]] | None = None
    """None refuses connections."""
    share: float = 0.7
    inserts_only: bool = False


@dataclass(slots=True)
class Exchange:
    """One request, for a fault to play with."""

    request: Message
    client: asyncio.StreamWriter
    ask: Callable[[Message], Awaitable[Message]]
    """The server's answer."""
    proxy: FaultProxy

    async def answer(self, status: int, reason: str, body: str, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.client.write("\r\n".join([*lines, "", body]).encode())

    def reset(self) -> None:
        peer = self.client.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.client.transport.abort()


def error(code: int, name: str, text: str) -> Callable[[Exchange], Awaitable[None]]:
    """ClickHouse's own way to say no, before anything is done."""

    async def act(exchange: Exchange) -> None:
        body = f"Code: {code}. DB::Exception: {text}. ({name}) (version 26.9.2.1)\n"
        await exchange.answer(500, "Internal Server Error", body, X_ClickHouse_Exception_Code=str(code))

    return act


def error_after(code: int, name: str, text: str) -> Callable[[Exchange], Awaitable[None]]:
    """The server has done it, and says that it has not."""
    tell = error(code, name, text)

    async def act(exchange: Exchange) -> None:
        await exchange.ask(exchange.request)
        await tell(exchange)

    return act


def http_error(status: int, reason: str) -> Callable[[Exchange], Awaitable[None]]:
    """What a load balancer says."""

    async def act(exchange: Exchange) -> None:
        page = f"<html><body><h1>{status} {reason}</h1></body></html>"
        await exchange.answer(status, reason, page, Content_Type="text/html")

    return act


async def reset_before(exchange: Exchange) -> None:
    exchange.reset()


async def reset_after(exchange: Exchange) -> None:
    """The duplicate case: done, and nobody is told."""
    await exchange.ask(exchange.request)
    exchange.reset()


async def half_answer(exchange: Exchange) -> None:
    answer = await exchange.ask(exchange.request)
    whole = answer.head + answer.body
    exchange.client.write(whole[: len(answer.head) // 2])
    await exchange.client.drain()
    exchange.client.close()


async def slow(exchange: Exchange) -> None:
    """Done late."""
    await exchange.proxy.pause(exchange.proxy.random.uniform(0.5, 2.5))
    answer = await exchange.ask(exchange.request)
    exchange.client.write(answer.head + answer.body)


async def stall(exchange: Exchange) -> None:
    """Nothing happens until the fault is over; then the connection is gone."""
    await exchange.proxy.pause(None)
    exchange.reset()


class FaultProxy:
    """Listens on a port of its own, in a thread of its own. `happened` counts faults by name."""

    def __init__(self, server_port: int, seed: int = 0) -> None:
        self._server_port = server_port
        self.port = 0
        self.random = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self._fault: Fault | None = None
        self._over = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *error: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_SECONDS)
        self._loop.close()

    def begin(self, fault: Fault) -> None:
        self._call(self._begin(fault))

    def end(self) -> None:
        """Everything works again."""
        self._call(self._end())

    def _call(self, what: Awaitable[None]) -> None:
        async def run() -> None:
            await what

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(DEADLINE_SECONDS)

    async def pause(self, seconds: float | None) -> None:
        """As long, or until the fault is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=256)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        """No new connections, and an end to those that are open."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self, fault: Fault) -> None:
        self._over.clear()
        self._fault = fault
        if fault.act is None:
            self.happened[fault.name] += 1
            await self._close()

    async def _end(self) -> None:
        self._fault = None
        self._over.set()
        if self._listener is None:
            await self._listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await _read(reader)) is not None:
                fault = self._fault
                exchange = Exchange(request, writer, self._ask, self)
                if (
                    fault is None
                    or fault.act is None
                    or (fault.inserts_only and not request.inserts)
                    or self.random.random() >= fault.share
                ):
                    answer = await self._ask(request)
                    writer.write(answer.head + answer.body)
                else:
                    self.happened[fault.name] += 1
                    await fault.act(exchange)
                await writer.drain()
                if writer.is_closing():
                    break
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _ask(self, request: Message) -> Message:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server_port, limit=2**20)
        try:
            writer.write(request.head + request.body)
            answer = await _read(reader)
            if answer is None:
                raise EOFError
            return answer
        finally:
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Message | None:
    """None when the connection ended between two messages. Chunked bodies stay as they are."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as ended:
        if ended.partial:
            raise
        return None
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
    }
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        parts = []
        while True:
            size = await reader.readuntil(b"\r\n")
            chunk = await reader.readexactly(int(size, 16) + 2)
            parts += [size, chunk]
            if int(size, 16) == 0:
                return Message(head, b"".join(parts))
    return Message(head, await reader.readexactly(int(fields.get(b"content-length", b"0"))))
