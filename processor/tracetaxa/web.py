"""HTTP servers of this process: bound before they start, so that a taken port is told plainly."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import socket
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from tracetaxa.config import split_endpoint
from tracetaxa.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What clients of a server may take."""

    max_connections: int = 1024
    """More are closed at once."""
    header_seconds: float = 10.0
    """A request's line and headers must have come this long after the connection, or after its first byte."""
    idle_seconds: float = 5.0
    """A connection without a request under way is closed after this long."""


class _Connection(H11Protocol):
    """uvicorn's, which waits for headers without end, with limits."""

    def __init__(self, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits
        self._cut_off: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            transport.close()
        else:
            self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiting = self.cycle is None or self.cycle.response_complete
        # After a response uvicorn's own timer runs until the next byte.
        if waiting and self.timeout_keep_alive_task is None:
            self._wait_for_headers()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        if self._cut_off is None:
            self._cut_off = self.loop.call_later(self._limits.header_seconds, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        if self._cut_off is not None:
            self._cut_off.cancel()
            self._cut_off = None


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the service, not to one of its servers."""
        yield


class WebServer:
    """One ASGI application on one endpoint, with TLS when there is a `context`.

    After `start` requests are answered; after `shutdown` none is, and those under way had `grace_seconds`.
    `shutdown` is safe twice or without start.
    """

    def __init__(
        self,
        app: ASGIApp,
        endpoint: str,
        key: str,
        grace_seconds: float = 5,
        *,
        context: ssl.SSLContext | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._app = app
        self._endpoint = endpoint
        self._key = key
        self._grace_seconds = grace_seconds
        self._context = context
        self._limits = limits or ConnectionLimits()
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Returns the bound host:port. Raises ConfigError when it can't be bound."""
        listener = _bind(self._endpoint, self._key)
        context = self._context
        self._server = _Server(
            uvicorn.Config(
                self._app,
                http=cast("type[asyncio.Protocol]", partial(_Connection, self._limits)),
                ws="none",
                ssl_context_factory=(lambda _config, _default: context) if context is not None else None,
                timeout_keep_alive=cast("int", self._limits.idle_seconds),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=cast("int", self._grace_seconds),
                server_header=False,
            )
        )
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.005)
        host, port = listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def shutdown(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
            self._server = self._task = None


def _bind(endpoint: str, key: str) -> socket.socket:
    host, port = split_endpoint(endpoint)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ConfigError(
            f"{key}: can't listen on {endpoint}: {error.strerror}. Stop what uses it, or set another endpoint"
        ) from error
    listener.set_inheritable(False)
    return listener


def _credential(header: bytes) -> bytes:
    """The token of `Bearer TOKEN`, or the password of Basic, which browsers ask people for."""
    scheme, _, rest = header.partition(b" ")
    if scheme.lower() == b"basic":
        with contextlib.suppress(binascii.Error):
            return base64.b64decode(rest, validate=True).partition(b":")[2]
    return rest if scheme.lower() == b"bearer" else b""


class Guarded:
    """Lets a request through with the right token; without a token, only those addressed to localhost.

    The second keeps web pages elsewhere from reading a service on localhost through DNS rebinding.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._allowed(dict(scope["headers"])):
            await self._app(scope, receive, send)
            return
        if self._token is not None:
            answer = JSONResponse(
                {"error": "a token is needed, as a bearer token or as the password of any name"},
                status_code=401,
                headers={"WWW-Authenticate": 'Basic realm="tracetaxa"'},
            )
        else:
            answer = JSONResponse(
                {"error": "this address answers requests for localhost only"}, status_code=403
            )
        await answer(scope, receive, send)

    def _allowed(self, headers: dict[bytes, bytes]) -> bool:
        if self._token is not None:
            return hmac.compare_digest(_credential(headers.get(b"authorization", b"")), self._token.encode())
        host = headers.get(b"host", b"").decode("latin-1")
        name = host if host.endswith("]") or ":" not in host else host.rpartition(":")[0]
        return is_loopback(name.strip("[]"))
