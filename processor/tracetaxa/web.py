"""HTTP servers of this process: bound before they start, so that a taken port is told plainly."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

import uvicorn
from starlette.responses import JSONResponse

from tracetaxa.config import split_endpoint
from tracetaxa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the service, not to one of its servers."""
        yield


class WebServer:
    """One ASGI application on one endpoint.

    After `start` requests are answered; after `shutdown` none is, and those under way had `grace_seconds`.
    `shutdown` is safe twice or without start.
    """

    def __init__(self, app: ASGIApp, endpoint: str, key: str, grace_seconds: int = 5) -> None:
        self._app = app
        self._endpoint = endpoint
        self._key = key
        self._grace_seconds = grace_seconds
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Returns the bound host:port. Raises ConfigError when it can't be bound."""
        listener = _bind(self._endpoint, self._key)
        self._server = _Server(
            uvicorn.Config(
                self._app,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=self._grace_seconds,
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
