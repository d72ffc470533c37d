"""A stand-in for a ClickHouse server: the real engine behind the part of its HTTP interface that we use.

What runs is ClickHouse's own code, embedded (chDB), in a process of its own: SQL, tables, views, formats, limits
and error codes are real. The HTTP layer is ours, after https://clickhouse.com/docs/interfaces/http: statements
in the URL, in the body or in a form, `param_*`, `database`, settings, inserts, compression both ways, users,
ClickHouse's headers. Not here: sessions, `client_protocol_version` (clients then fall back to the plain Native
format), progress headers, streamed answers, TLS, clusters. It takes writes, so it is for tests only.

Users: `default` may do everything, `reader` may read (readonly = 2); both have the password.
"""

from __future__ import annotations

import base64
import email
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chdb
import lz4.frame
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

PASSWORD = "s3cret-pass"
STOP_SECONDS = 30
_USERS = {"default": 0, "reader": 2}
_TRANSPORT = {
    *("query", "database", "default_format", "query_id", "role", "quota_key", "compress", "decompress"),
    *("wait_end_of_query", "buffer_size", "client_protocol_version"),
    *("send_progress_in_http_headers", "http_headers_progress_interval_ms"),
}
"""URL parameters that are neither settings of the engine nor values of a statement."""
_INSERT = re.compile(rb"\s*(INSERT\s+INTO\s.*?)\sFORMAT\s+(\w+)\s?", re.DOTALL | re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)\. .*", re.DOTALL)
_STATUS = {"60": 404, "81": 404, "62": 400, "164": 403, "516": 403}
"""By error code, after exceptionCodeToHTTPStatus in ClickHouse's src/Server; every other code is 500."""
_COMPRESS = {"lz4": lz4.frame.compress, "gzip": gzip.compress}
_DECOMPRESS = {"lz4": lz4.frame.decompress, "gzip": gzip.decompress}


# ------------------------------------------------------------------------------------------------- the server


@dataclass(frozen=True)
class Endpoint:
    directory: str
    password: str

    async def query(self, request: Request) -> Response:
        body = await request.body()
        if encoding := request.headers.get("content-encoding"):
            body = _DECOMPRESS[encoding](body)
        values = dict(request.query_params)
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            values |= _form(request.headers["content-type"], body)
            body = b""
        headers = {"X-ClickHouse-Query-Id": values.get("query_id") or str(uuid.uuid4())}
        try:
            readonly = self._authenticate(request.headers)
            answer, summary = await run_in_threadpool(self._run, values, body, readonly)
        except (RuntimeError, chdb.ChdbError) as error:
            found = _CODE.search(str(error))
            message, code = (found[0], found[1]) if found else (str(error), "1002")
            headers["X-ClickHouse-Exception-Code"] = code
            return PlainTextResponse(message + "\n", _STATUS.get(code, 500), headers)
        headers |= {"X-ClickHouse-Summary": json.dumps(summary), "X-ClickHouse-Timezone": os.environ["TZ"]}
        accepted = request.headers.get("accept-encoding", "").split(",")
        best = next((name.strip() for name in accepted if name.strip() in _COMPRESS), None)
        if best and values.get("enable_http_compression") == "1":
            answer, headers["Content-Encoding"] = _COMPRESS[best](answer), best
        # As a server does: the length before the rest, so that an answer cut after its id is seen to be short.
        return Response(answer, headers={"Content-Length": str(len(answer))} | headers)

    def _authenticate(self, headers: Mapping[str, str]) -> int:
        """The user's `readonly`."""
        basic = base64.b64decode(headers.get("authorization", "").removeprefix("Basic "))
        user, _, password = basic.decode().partition(":")
        user = headers.get("x-clickhouse-user", user)
        password = headers.get("x-clickhouse-key", password)
        if password != self.password or user not in _USERS:
            raise RuntimeError(
                f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is "
                "no user with such name. (AUTHENTICATION_FAILED)"
            )
        return _USERS[user]

    def _run(self, values: dict[str, str], body: bytes, readonly: int) -> tuple[bytes, dict[str, str]]:
        """Answer and summary; a connection for each request keeps SET and USE to itself."""
        connection = chdb.connect(self.directory)
        try:
            if database := values.get("database"):
                connection.query(f"USE `{database}`")
            if readonly:
                connection.query(f"SET readonly = {readonly}")
            settings = [
                f"{name} = {_quoted(value)}"
                for name, value in values.items()
                if name not in _TRANSPORT and not name.startswith("param_")
            ]
            if settings:
                connection.query(f"SET {', '.join(settings)}")
            statement = values.get("query", "").encode()
            whole = statement + b"\n" + body if statement and body else statement or body
            if insert := _INSERT.match(whole):
                if b"input(" in insert[1]:
                    return b"", _insert_select(connection, insert, whole[insert.end() :])
                inserter = connection.send_insert(insert[1].decode(), insert[2].decode())
                with inserter:
                    inserter.append(whole[insert.end() :])
                    written = inserter.finish()
                return b"", {"written_rows": str(written.rows_written)}
            parameters = {k.removeprefix("param_"): v for k, v in values.items() if k.startswith("param_")}
            form = values.get("default_format", "TabSeparated")
            result = connection.query(whole.decode(), form, params=parameters)
            return result.bytes() or b"", {"read_rows": str(result.rows_read())}
        finally:
            connection.close()


def _insert_select(connection: Any, insert: re.Match[bytes], data: bytes) -> dict[str, str]:
    """`INSERT … SELECT … FROM input(…)`; the embedded engine has no input, so that it reads a file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        source = f"file({_quoted(file.name)}, {_quoted(insert[2].decode())}, "
        written = connection.query(insert[1].decode().replace("input(", source))
        return {"written_rows": str(written.rows_read())}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """Fields of a form, in which clients send long parameters."""
    message = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    parts: Any = message.get_payload()
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True).decode()
        for part in parts
    }


async def _ping(request: Request) -> Response:
    return PlainTextResponse("Ok.\n")


def main(directory: str, port: int) -> None:
    """Serves until SIGTERM, or until the parent is gone."""

    def die_with_parent() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=die_with_parent, daemon=True).start()
    directory = str(Path(directory).resolve())
    Path(directory).mkdir(parents=True, exist_ok=True)
    os.chdir(directory)  # where the engine keeps schemas of formats
    engine = chdb.connect(directory)  # it ends with its last connection
    endpoint = Endpoint(directory, PASSWORD)
    routes = [Route("/", endpoint.query, methods=["GET", "POST"]), Route("/ping", _ping)]
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn sends it again when it has stopped
    # Naming TCP makes asyncio turn Nagle's delay off.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        options: dict[str, Any] = {"log_level": "warning", "timeout_graceful_shutdown": 1, "lifespan": "off"}
        uvicorn.Server(uvicorn.Config(Starlette(routes=routes), **options)).run(sockets=[listener])
    engine.close()


# ------------------------------------------------------------------------------------------------- for tests


@dataclass
class ClickHouseServer:
    """The server as a child process; after `stop` or `kill`, `start` brings it back with data and port."""

    directory: Path
    port: int = 0
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.directory), str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TZ": "UTC"},
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.communicate(timeout=STOP_SECONDS)
            self._process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """Connections stay open, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def dsn(self, user: str = "default", password: str = PASSWORD) -> str:
        return f"clickhouse://{user}:{password}@127.0.0.1:{self.port}"

    def __enter__(self) -> ClickHouseServer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
