"""A running SQL endpoint over the real engine, some rows to ask for, and a plain HTTP client."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import uvicorn

from tracetaxa.store.sql_endpoint import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from clickhouse_connect.driver.client import Client


TOKEN = "a-token-of-32-characters-or-more"
DEADLINE_SECONDS = 30.0
KEEP_DAYS = 10_000
SECRET = "the canary's secret"
REFUSED, READ_ONLY, SYNTAX, NO_TABLE, NO_COLUMN = "497", "164", "62", "60", "47"
"""ClickHouse's error codes, as they stand in its answers."""

SPANS = """
INSERT INTO otel_traces (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName,
    ResourceAttributes, SpanAttributes, Duration, StatusCode, `Events.Timestamp`, `Events.Name`, `Events.Attributes`)
SELECT
    toDateTime64('2026-01-01 00:00:00', 9, 'UTC') + toIntervalMinute(number),
    leftPad(toString(intDiv(number, 3)), 32, '0'), leftPad(toString(number), 16, '0'),
    if(number % 3 = 0, '', leftPad(toString(number - 1), 16, '0')),
    ['agent', 'chat', 'tool'][number % 3 + 1], 'Internal', if(number < 6, 'shop', 'bank'),
    map('service.version', if(number < 6, '1', '2')),
    map('gen_ai.request.model', if(number % 2 = 0, 'small', 'large'),
        'gen_ai.usage.input_tokens', toString(100 + number), 'payload', '{"a": {"b": [7, 8]}}'),
    (number + 1) * 1000000, if(number % 4 = 3, 'Error', 'Ok'),
    [toDateTime64('2026-01-01 00:00:00.000000001', 9, 'UTC')], ['exception'], [map('k', 'v')]
FROM numbers(12)
"""
TRACES = """
INSERT INTO traces (TraceId, Revision, ServiceName, RootName, Start, End, DurationMs, Status, IsAgent, Tools,
    CostUsd, Feedback, Input, Attributes)
SELECT
    leftPad(toString(number % 4), 32, '0'), 1 + intDiv(number, 4), if(number % 4 < 2, 'shop', 'bank'), 'agent',
    toDateTime64('2026-01-01 00:00:00', 9, 'UTC') + toIntervalMinute(3 * (number % 4)) AS begin, begin,
    1.5 * (number + 1), if(number % 4 = 0, 'Error', 'Ok'), true, ['search', 'pay'],
    if(number % 4 = 3, NULL, 0.25), map('score', 0.5), concat('question ', toString(number % 4)),
    map('release', toString(number % 2))
FROM numbers(5)
"""
LABELS = """
INSERT INTO trace_labels (Analysis, RunId, TaxonomyVersion, TraceId, Revision, TraceStart, ServiceName, CategoryId,
    Category, Confidence, Labeller, LabelledAt)
SELECT 'topics', 'run', 1, leftPad(toString(number), 32, '0'), 1,
    toDateTime64('2026-01-01 00:00:00', 9, 'UTC') + toIntervalMinute(3 * number), 'shop',
    ['refunds', 'other'][number % 2 + 1], ['Refunds', 'Other'][number % 2 + 1], 0.9, 'llm',
    toDateTime64('2026-01-02 00:00:00', 9, 'UTC')
FROM numbers(4)
"""
SLOW = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> str | None:
        return self.headers.get("X-ClickHouse-Exception-Code")

    @property
    def data(self) -> Any:
        return json.loads(self.body)["data"]


@dataclass
class Server:
    """A running endpoint on a free port."""

    port: int
    database: str
    admin: Client
    folder: Path
    token: str | None = None
    opened: list[Client] = field(default_factory=list)

    def send(
        self,
        method: str = "POST",
        path: str = "/",
        body: str | bytes = b"",
        headers: Mapping[str, str] | None = None,
        **values: str,
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        with contextlib.closing(connection):
            query = f"?{urllib.parse.urlencode(values)}" if values else ""
            data = body.encode() if isinstance(body, str) else body
            connection.request(method, path + query, data or None, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())

    def ask(self, sql: str, **values: str) -> Reply:
        return self.send(body=sql, **{"default_format": "JSONCompact", **values})

    def client(self, **options: Any) -> Client:
        return clickhouse_connect.get_client(host="127.0.0.1", port=self.port, **options)


@contextlib.contextmanager
def serving(chdb_path: Path, database: str, folder: Path, **options: Any) -> Iterator[Server]:
    opened: list[Client] = []

    def connect() -> Client:
        opened.append(clickhouse_connect.get_client(dsn=f"chdb://{chdb_path}"))
        return opened[-1]

    app = create_app(connect, database, **options)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until(lambda: server.started)
        admin = clickhouse_connect.get_client(dsn=f"chdb://{chdb_path}", database=database)
        port = listener.getsockname()[1]
        try:
            yield Server(port, database, admin, folder, options.get("token"), opened)
        finally:
            admin.close()
            server.should_exit = True
            thread.join()


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.005)
