"""The embedded database over ClickHouse's HTTP interface, read-only: for Grafana and any ClickHouse client.

GET and POST `/` take a query in the URL and the body, `param_name=` values, `database`, `default_format` and
a list of settings; `/ping` answers. Each query is checked by guard.py before it runs, and runs read-only
under limits. Answers are whole and not compressed, so that an error always has its own status.

Source of the protocol: https://clickhouse.com/docs/interfaces/http and src/Server/HTTPHandler.cpp of
ClickHouse.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import logging
import re
import uuid
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tracetaxa.errors import QueryFailed, QueryRefused, StoreUnavailable, TracetaxaError
from tracetaxa.store import allowed
from tracetaxa.store.guard import NotASelect, output_format, refuse_unknown_setting
from tracetaxa.store.sql_pool import Gone, Limits, QueryPool, Question

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from clickhouse_connect.driver.client import Client
    from starlette.requests import Request

log = logging.getLogger(__name__)

_RESERVED = frozenset(
    {"query", "database", "default_format", "user", "password", "query_id", "client_protocol_version"}
)
_UNSUPPORTED_WHEN_ON = {
    "compress": "ClickHouse's own compression is not offered here: send compress=0 or turn compression off",
    "decompress": "compressed requests are not taken here: send decompress=0 or turn compression off",
}
_HEADERS = {
    "X-ClickHouse-Server-Display-Name": "tracetaxa",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_CODE = re.compile(r"Code: (\d+)\. ")


class _NotAuthenticated(TracetaxaError):
    """No token, or another one."""


def create_app(
    connect: Callable[[], Client],
    database: str,
    token: str | None = None,
    *,
    max_execution_seconds: float = 30,
    max_memory_mib: int = 2048,
    max_result_mib: int = 256,
    max_concurrency: int = 4,
    max_waiting: int = 64,
    max_threads: int = 4,
    max_query_bytes: int = 256 * 1024,
    max_request_bytes: int = 4 * 1024 * 1024,
) -> Starlette:
    """The application for one database.

    `connect` opens clients of the embedded engine; each is used by one thread at a time. With a `token`,
    clients send it as bearer token or as password; without one, only requests to `localhost` or to an IP
    address are answered, since a web page could reach the endpoint through a name that it controls.
    """
    limits = Limits(
        execution_seconds=max_execution_seconds,
        memory_bytes=max_memory_mib << 20,
        result_bytes=max_result_mib << 20,
        threads=max_threads,
        query_bytes=max_query_bytes,
    )
    pool = QueryPool(connect, database, limits, max_concurrency=max_concurrency, max_waiting=max_waiting)
    endpoint = _Endpoint(pool, database, token, max_request_bytes)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(pool.close)

    routes = [
        Route("/", endpoint.query, methods=["GET", "POST"]),
        Route("/ping", _ok, methods=["GET"]),
        Route("/replicas_status", _ok, methods=["GET"]),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.pool = pool
    return app


async def _ok(request: Request) -> Response:
    return PlainTextResponse("Ok.\n", headers=_HEADERS)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    pool: QueryPool
    database: str
    token: str | None
    max_request_bytes: int

    async def query(self, request: Request) -> Response:
        query_id = request.query_params.get("query_id") or str(uuid.uuid4())
        headers = _HEADERS | {
            "X-ClickHouse-Query-Id": re.sub(r"[^\w.:-]", "", query_id, flags=re.ASCII)[:128]
        }
        try:
            self._authenticate(request)
            question = await self._read(request)
            if question is None or request.method == "HEAD":
                return PlainTextResponse("Ok.\n", headers=headers)
            answer = await self.pool.answer(question, partial(_disconnected, request))
        except (Gone, ClientDisconnect):
            return Response(status_code=499)
        except TracetaxaError as error:
            return _exception(error, headers)
        return Response(
            answer.body,
            media_type=allowed.FORMATS[answer.format],
            headers=headers
            | {
                "X-ClickHouse-Format": answer.format,
                "X-ClickHouse-Timezone": answer.timezone,
                "X-ClickHouse-Summary": json.dumps(
                    {"elapsed_ns": str(answer.elapsed_ns), "result_bytes": str(len(answer.body))}
                ),
            },
        )

    def _authenticate(self, request: Request) -> None:
        if self.token is None:
            host = request.url.hostname or "localhost"
            if not _is_plain_host(host):
                raise QueryRefused(
                    f"without a token this endpoint answers for localhost and IP addresses, not for {host}; "
                    "set api.token_file to use a name"
                )
            return
        given = _credentials(request)
        if not given:
            raise _NotAuthenticated("this endpoint needs its token, as a bearer token or as the password")
        matches = [hmac.compare_digest(one.encode(), self.token.encode()) for one in given]
        if not any(matches):
            raise _NotAuthenticated("this is not the endpoint's token")

    async def _read(self, request: Request) -> Question | None:
        """What is asked, None when there is no query. Raises QueryRefused and QueryFailed."""
        if request.headers.get("content-encoding", "identity") not in ("", "identity"):
            raise NotASelect(
                "compressed requests, as inserts send them, are not taken here: this is read-only"
            )
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.max_request_bytes:
                raise QueryRefused(f"the request is longer than {self.max_request_bytes} bytes")
        values = dict(request.query_params)
        content_type = request.headers.get("content-type", "")
        try:
            if content_type.startswith("multipart/form-data"):
                values |= _form(content_type, bytes(body))
                parts = [values.get("query", "")]
            else:
                parts = [values.get("query", ""), body.decode()]
        except UnicodeDecodeError as error:
            raise QueryRefused("the query is not valid UTF-8") from error
        sql = "\n".join(part for part in parts if part.strip())
        return self._question(sql, values, request) if sql else None

    def _question(self, sql: str, values: dict[str, str], request: Request) -> Question:
        database = values.get("database") or request.headers.get("x-clickhouse-database") or self.database
        # Clients that were told of no database send `default`.
        if database not in (self.database, "default"):
            raise QueryFailed(
                f"Code: 81. DB::Exception: Database {database} does not exist here; use {self.database} "
                "(UNKNOWN_DATABASE)"
            )
        settings, parameters = {}, {}
        for name, value in values.items():
            if name.startswith("param_"):
                parameters[name.removeprefix("param_")] = value
            elif name in _UNSUPPORTED_WHEN_ON:
                if value not in ("", "0", "false"):
                    raise QueryRefused(_UNSUPPORTED_WHEN_ON[name])
            elif name not in _RESERVED:
                refuse_unknown_setting(name)
                settings[name] = value
        version = values.get("client_protocol_version", "0")
        form = values.get("default_format") or request.headers.get("x-clickhouse-format")
        return Question(
            sql=sql,
            format=output_format(form or "TabSeparated"),
            settings=settings,
            parameters=parameters,
            protocol_version=int(version) if version.isascii() and version.isdigit() else 0,
        )


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _is_plain_host(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _credentials(request: Request) -> list[str]:
    """Every secret that the request carries, wherever ClickHouse clients put it."""
    given = [request.headers.get("x-clickhouse-key"), request.query_params.get("password")]
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given.append(rest.strip())
    elif scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            given.append(base64.b64decode(rest).decode().partition(":")[2])
    return [secret for secret in given if secret]


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """Text fields of a multipart form (RFC 7578), in which clients send long parameters."""
    boundary = re.search(r'boundary="?([^";,]+)"?', content_type)
    if boundary is None:
        raise QueryRefused("the form has no boundary")
    fields: dict[str, str] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]+)"', head)
        if name is None or b"filename=" in head:
            raise QueryRefused("files and external tables are not taken here; send text fields only")
        fields[name[1].decode()] = content.decode()
    return fields


# ------------------------------------------------------------------------------------------------- errors

_BAD_REQUEST = {
    6,
    20,
    26,
    27,
    32,
    36,
    38,
    41,
    42,
    43,
    44,
    53,
    62,
    69,
    72,
    130,
    158,
    162,
    167,
    168,
    184,
    215,
    456,
}
_NOT_FOUND = {16, 46, 47, 50, 60, 63, 73, 81, 115}
_STATUS = {194: 401, 516: 403, 497: 403, 164: 403, 452: 400, 202: 503, 396: 413, 159: 408, 48: 501}
"""By ClickHouse's error code; every other code is 500. After exceptionCodeToHTTPStatus in src/Server."""


def _exception(error: TracetaxaError, headers: dict[str, str]) -> Response:
    message = str(error)
    code = _CODE.match(message)
    match error:
        case _ if code is not None:
            number = int(code[1])
        case _NotAuthenticated():
            number, message = 516, f"Code: 516. DB::Exception: {message}. (AUTHENTICATION_FAILED)"
        case NotASelect():
            number, message = 164, f"Code: 164. DB::Exception: {message}. (READONLY)"
        case QueryRefused():
            number, message = 497, f"Code: 497. DB::Exception: {message}. (ACCESS_DENIED)"
        case StoreUnavailable():
            number, message = 202, f"Code: 202. DB::Exception: {message}. (TOO_MANY_SIMULTANEOUS_QUERIES)"
        case _:
            number, message = 1002, f"Code: 1002. DB::Exception: {message}. (UNKNOWN_EXCEPTION)"
    status = _STATUS.get(number, 500)
    if number in _BAD_REQUEST:
        status = 400
    elif number in _NOT_FOUND:
        status = 404
    elif isinstance(error, _NotAuthenticated):
        status = 401
        headers = headers | {"WWW-Authenticate": 'Basic realm="tracetaxa"'}
    return PlainTextResponse(
        message + "\n", status, headers=headers | {"X-ClickHouse-Exception-Code": str(number)}
    )
