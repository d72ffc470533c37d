"""The SQL endpoint as its clients see it: a real server, the real engine, unmodified ClickHouse clients."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import socket
import threading
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
import uvicorn
from clickhouse_connect.driver.exceptions import DatabaseError

from tracetaxa.store.guard import settings_clause
from tracetaxa.store.migrate import migrate
from tracetaxa.store.sql_endpoint import create_app
from tracetaxa.store.sql_pool import Limits
from tracetaxa_exporter.clickhouse import create_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

TOKEN = "a-token-of-32-characters-or-more"
DEADLINE_SECONDS = 30.0
KEEP_DAYS = 10_000
SECRET = "the canary's secret"

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


@pytest.fixture(scope="module")
def database(chdb_path: Path) -> Iterator[str]:
    name = f"sql_{uuid.uuid4().hex[:8]}"
    admin = clickhouse_connect.get_client(dsn=f"chdb://{chdb_path}")
    admin.command(f"CREATE DATABASE {name}")
    admin.database = name
    create_tables(admin, KEEP_DAYS)
    migrate(admin, KEEP_DAYS)
    for insert in (SPANS, TRACES, LABELS):
        admin.command(insert)
    admin.command("CREATE TABLE canary (secret String) ENGINE = MergeTree ORDER BY secret")
    admin.command("INSERT INTO canary VALUES", data=f"('{SECRET.replace(chr(39), chr(92) + chr(39))}')")
    yield name
    admin.command(f"DROP DATABASE {name} SYNC")
    admin.close()


@pytest.fixture(scope="module")
def server(chdb_path: Path, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("canary")
    (folder / "in.csv").write_text(f"1,{SECRET}\n")
    with serving(chdb_path, database, folder) as running:
        yield running


# ------------------------------------------------------------------------------------------------- hostile

REFUSED, READ_ONLY, SYNTAX, NO_TABLE, NO_COLUMN = "497", "164", "62", "60", "47"

HOSTILE = [
    # Files.
    ("SELECT * FROM file('FOLDER/in.csv')", REFUSED),
    ("SELECT * FROM FILE('FOLDER/in.csv', CSV, 'a UInt8, b String')", REFUSED),
    ("SELECT file('FOLDER/in.csv')", REFUSED),
    ("SELECT `file`('FOLDER/in.csv')", REFUSED),
    ("SELECT fiLe('FOLDER/in.csv')", REFUSED),
    ("SELECT * FROM default.`FOLDER/in.csv`", REFUSED),
    ("SELECT * FROM `FOLDER/in.csv`", NO_TABLE),
    ("SELECT * FROM 'FOLDER/in.csv'", NO_TABLE),
    ("SELECT 1 IN default.`FOLDER/in.csv`", REFUSED),
    ("SELECT 1 INTO OUTFILE 'FOLDER/out.csv'", REFUSED),
    ("SELECT 1 INTO OUTFILE 'FOLDER/out.csv' AND STDOUT FORMAT CSV", REFUSED),
    ("SELECT 1 INTO OUTFILE 'FOLDER/out.csv' TRUNCATE COMPRESSION 'gzip'", REFUSED),
    ("SELECT * FROM fileCluster('c', 'FOLDER/in.csv')", REFUSED),
    ("SELECT * FROM sqlite('FOLDER/in.csv', 't')", REFUSED),
    ("SELECT * FROM filesystem('FOLDER')", REFUSED),
    ("SELECT * FROM arrowstream('x')", REFUSED),
    ("SELECT * FROM python('x')", REFUSED),
    ("SELECT * FROM Python(x)", REFUSED),
    ("SELECT * FROM icebergLocal('FOLDER')", REFUSED),
    ("SELECT * FROM loop(canary)", REFUSED),
    ("SELECT * FROM input('a UInt8')", REFUSED),
    # The network.
    ("SELECT * FROM url('http://127.0.0.1:9/', CSV, 'a String')", REFUSED),
    ("SELECT * FROM s3('http://127.0.0.1:9/x.csv')", REFUSED),
    ("SELECT * FROM gcs('http://127.0.0.1:9/x.csv')", REFUSED),
    ("SELECT * FROM hdfs('hdfs://127.0.0.1:9/x', TSV, 'a String')", REFUSED),
    ("SELECT * FROM remote('127.0.0.1', system.users)", REFUSED),
    ("SELECT * FROM remoteSecure('127.0.0.1', system, users)", REFUSED),
    ("SELECT * FROM cluster('default', system.users)", REFUSED),
    ("SELECT * FROM clusterAllReplicas('default', system.one)", REFUSED),
    ("SELECT * FROM mysql('127.0.0.1:9', 'd', 't', 'u', 'p')", REFUSED),
    ("SELECT * FROM postgresql('127.0.0.1:9', 'd', 't', 'u', 'p')", REFUSED),
    ("SELECT * FROM mongodb('127.0.0.1:9', 'd', 't', 'u', 'p', 'a UInt8')", REFUSED),
    ("SELECT * FROM redis('127.0.0.1:9', 'k', 'k String')", REFUSED),
    ("SELECT * FROM odbc('DSN=x', 'd', 't')", REFUSED),
    ("SELECT aiGenerate('say secret')", REFUSED),
    # Programs.
    ("SELECT * FROM executable('x.sh', TSV, 'a String')", REFUSED),
    ("SELECT * FROM eval('SELECT 1')", REFUSED),
    # Other tables, by every way to name one.
    ("SELECT * FROM system.users", REFUSED),
    ("SELECT * FROM `system`.`users`", REFUSED),
    ('SELECT * FROM "system"."users"', REFUSED),
    ("SELECT * FROM system . users", REFUSED),
    ("SELECT * FROM system/**/./**/users", REFUSED),
    ("SELECT * FROM `system.users`", NO_TABLE),
    ("SELECT * FROM SYSTEM.USERS", REFUSED),
    ("SELECT * FROM ѕуstem.users", SYNTAX),
    ("SELECT * FROM system.\u200busers", REFUSED),
    ("SELECT * FROM system.query_log", REFUSED),
    ("SELECT * FROM system.processes", REFUSED),
    ("SELECT * FROM system.named_collections", REFUSED),
    ("SELECT * FROM system.server_settings", REFUSED),
    ("SELECT * FROM system.macros", REFUSED),
    ("SELECT * FROM system.stack_trace", REFUSED),
    ("SELECT * FROM system.disks", REFUSED),
    ("SELECT * FROM system.grants", REFUSED),
    ("SELECT * FROM system.errors", REFUSED),
    ("SELECT * FROM information_schema.tables", REFUSED),
    ("SELECT * FROM INFORMATION_SCHEMA.COLUMNS", REFUSED),
    ("SELECT * FROM merge('system', 'users')", REFUSED),
    ("SELECT * FROM merge('canary')", REFUSED),
    ("SELECT * FROM dictionary('d')", REFUSED),
    ("SELECT * FROM mergeTreeIndex(currentDatabase(), 'canary')", REFUSED),
    ("SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))", REFUSED),
    ("SELECT * FROM (EXPLAIN SELECT 1)", REFUSED),
    ("SELECT * FROM view(SELECT * FROM system.users)", REFUSED),
    ("SELECT * FROM {t:Identifier}", REFUSED),
    ("SELECT * FROM system.{t:Identifier}", REFUSED),
    ("SELECT * FROM {d:Identifier}.{t:Identifier}", REFUSED),
    ("SELECT 'a' IN system.users", REFUSED),
    ("SELECT ('a', 'b') IN (system.users)", REFUSED),
    ("SELECT in('a', system.users)", REFUSED),
    ("SELECT nullIn('a', `system`.`users`)", REFUSED),
    ("SELECT 'a' GLOBAL NOT IN system.users", REFUSED),
    ("WITH system.users AS u SELECT 'a' IN (u)", REFUSED),
    ("SELECT (system.users AS u) IS NULL, 'a' IN u", REFUSED),
    ("WITH canary AS (SELECT * FROM system.users) SELECT * FROM canary", REFUSED),
    ("WITH x AS (SELECT 1) SELECT * FROM system.users AS x", REFUSED),
    ("WITH (SELECT count() FROM system.users) AS n SELECT n", REFUSED),
    ("SELECT * FROM traces WHERE TraceId IN (SELECT name FROM system.users)", REFUSED),
    ("SELECT arrayMap(x -> (SELECT count() FROM system.users), [1])", REFUSED),
    ("SELECT [1, (SELECT count() FROM system.users)]", REFUSED),
    ("SELECT CASE WHEN 1 THEN (SELECT count() FROM system.users) END", REFUSED),
    ("SELECT CASE 1 WHEN 1 THEN file('FOLDER/in.csv') END", REFUSED),
    ("SELECT 1 ORDER BY 1 WITH FILL FROM 0 TO (SELECT count() FROM system.users)", REFUSED),
    ("SELECT sum(1) OVER (ORDER BY (SELECT count() FROM system.users))", REFUSED),
    ("SELECT sum(1) OVER w WINDOW w AS (PARTITION BY file('FOLDER/in.csv'))", REFUSED),
    ("SELECT 1 LIMIT (SELECT count() FROM system.users)", REFUSED),
    ("SELECT 1 GROUP BY 1 HAVING (SELECT count() FROM system.users) > 0", REFUSED),
    ("SELECT 1 WHERE EXISTS(SELECT 1 FROM system.users)", REFUSED),
    ("SELECT 1 UNION ALL SELECT count() FROM system.users", REFUSED),
    ("(SELECT 1) INTERSECT (SELECT count() FROM system.users)", REFUSED),
    ("SELECT * FROM traces JOIN system.users ON 1", REFUSED),
    ("SELECT * FROM traces, system.users", REFUSED),
    ("SELECT * FROM traces ARRAY JOIN [(SELECT count() FROM system.users)] AS x", REFUSED),
    ("SELECT * FROM numbers((SELECT count() FROM system.users))", REFUSED),
    ("SELECT quantile((SELECT 0.5 FROM system.users))(1)", REFUSED),
    ("SELECT * APPLY(file) FROM canary", REFUSED),
    ("SELECT * APPLY(x -> file(x)) FROM canary", REFUSED),
    ("SELECT * REPLACE(file('FOLDER/in.csv') AS secret) FROM canary", REFUSED),
    ("SELECT COLUMNS('s') APPLY(sleep) FROM canary", REFUSED),
    ("FROM system.users |> SELECT *", REFUSED),
    # Functions that reach out, wait or fail on purpose.
    ("SELECT dictGet('d', 'a', 1)", REFUSED),
    ("SELECT dictGetOrDefault('d', 'a', 1, 2)", REFUSED),
    ("SELECT joinGet('canary', 'secret', 1)", REFUSED),
    ("SELECT sleep(3)", REFUSED),
    ("SELECT sleepEachRow(3) FROM numbers(10)", REFUSED),
    ("SELECT getSetting('max_threads')", REFUSED),
    ("SELECT getServerSetting('max_concurrent_queries')", REFUSED),
    ("SELECT getMacro('shard')", REFUSED),
    ("SELECT @@version", REFUSED),
    ("SELECT hostName()", REFUSED),
    ("SELECT hasColumnInTable('system', 'users', 'name')", REFUSED),
    ("SELECT addressToLine(1)", REFUSED),
    ("SELECT catboostEvaluate('FOLDER/in.csv', 1)", REFUSED),
    ("SELECT filesystemAvailable()", REFUSED),
    ("SELECT formatRow('Template', 1)", REFUSED),
    ("SELECT CAST(unhex('00') AS AggregateFunction(groupBitmap, UInt64))", REFUSED),
    # Settings and formats.
    ("SELECT 1 SETTINGS readonly = 0, allow_ddl = 1", REFUSED),
    ("SELECT 1 SETTINGS allow_introspection_functions = 1", REFUSED),
    ("SELECT 1 SETTINGS format_schema = 'FOLDER/in.csv'", REFUSED),
    ("SELECT 1 FORMAT CSV SETTINGS dialect = 'prql'", REFUSED),
    ("SELECT * FROM (SELECT 1 SETTINGS max_threads = 1)", REFUSED),
    ("SELECT 1 FORMAT Template", REFUSED),
    ("SELECT 1 FORMAT Parquet", REFUSED),
    ("SELECT 1 FORMAT SQLInsert", REFUSED),
    # Other statements, alone, behind a SELECT and behind comments and quotes.
    ("SELECT 1; DROP TABLE canary", REFUSED),
    ("SELECT 1;;DROP TABLE canary", REFUSED),
    ("SELECT 1 -- ;\n; DROP TABLE canary", REFUSED),
    ("SELECT 1 /* ' */; DROP TABLE canary /* ' */", REFUSED),
    ("SELECT ';' ; DROP TABLE canary", REFUSED),
    ("SELECT '\\'' ; DROP TABLE canary -- '", REFUSED),
    ("SELECT $x$ ; $x$ ; DROP TABLE canary", REFUSED),
    ("SELECT `a;b` FROM canary; DROP TABLE canary", REFUSED),
    ("EXPLAIN AST SELECT 1; DROP TABLE canary", REFUSED),
    ("SELECT 1 FORMAT JSON; DROP TABLE canary", REFUSED),
    ("SELECT 1\0; DROP TABLE canary", SYNTAX),
    ("SELECT 1 PARALLEL WITH DROP TABLE canary", READ_ONLY),
    ("DROP TABLE canary", READ_ONLY),
    ("/* SELECT */ DROP TABLE canary", READ_ONLY),
    ("TRUNCATE TABLE canary", READ_ONLY),
    ("DETACH TABLE canary PERMANENTLY", READ_ONLY),
    ("RENAME TABLE canary TO gone", READ_ONLY),
    ("EXCHANGE TABLES canary AND traces", READ_ONLY),
    ("ALTER TABLE canary DELETE WHERE 1", READ_ONLY),
    ("DELETE FROM canary WHERE 1", READ_ONLY),
    ("UPDATE canary SET secret = '' WHERE 1", READ_ONLY),
    ("INSERT INTO canary VALUES ('x')", READ_ONLY),
    ("INSERT INTO canary SELECT 'x'", READ_ONLY),
    ("INSERT INTO FUNCTION file('FOLDER/out.csv', CSV, 'a UInt8') VALUES (1)", READ_ONLY),
    ("WITH x AS (SELECT 1) INSERT INTO canary SELECT 'x'", READ_ONLY),
    ("CREATE TABLE gone (a UInt8) ENGINE = File(CSV, 'FOLDER/out.csv')", READ_ONLY),
    ("CREATE TEMPORARY TABLE x AS SELECT * FROM system.users", READ_ONLY),
    ("CREATE FUNCTION f AS (x) -> file(x)", READ_ONLY),
    ("CREATE USER eve", READ_ONLY),
    ("GRANT ALL ON *.* TO default", READ_ONLY),
    ("ATTACH TABLE gone FROM 'FOLDER' (a UInt8) ENGINE = MergeTree ORDER BY a", READ_ONLY),
    ("BACKUP TABLE canary TO File('FOLDER/out')", READ_ONLY),
    ("OPTIMIZE TABLE canary FINAL", READ_ONLY),
    ("KILL QUERY WHERE 1", READ_ONLY),
    ("SYSTEM SHUTDOWN", READ_ONLY),
    ("SYSTEM FLUSH LOGS", READ_ONLY),
    ("SET max_threads = 1", READ_ONLY),
    ("USE system", READ_ONLY),
    ("EXPLAIN SELECT 1", READ_ONLY),
    ("EXPLAIN ESTIMATE SELECT * FROM system.users", READ_ONLY),
    ("SHOW CREATE TABLE canary", READ_ONLY),
    ("SHOW GRANTS", READ_ONLY),
    ("SHOW PROCESSLIST", READ_ONLY),
    ("SHOW DATABASES LIKE '%'", READ_ONLY),
    ("SHOW SETTINGS LIKE '%'", READ_ONLY),
    ("DESCRIBE TABLE file('FOLDER/in.csv')", READ_ONLY),
    ("DESCRIBE TABLE (SELECT * FROM system.users)", READ_ONLY),
    ("EXISTS TABLE canary", READ_ONLY),
    ("CHECK TABLE canary", READ_ONLY),
    ("WATCH canary", NO_COLUMN),
    ("BEGIN TRANSACTION", READ_ONLY),
]


def test_the_table_is_large() -> None:
    assert len(HOSTILE) == len(set(HOSTILE)) >= 80


@pytest.mark.parametrize(("sql", "code"), HOSTILE)
def test_hostile(server: Server, sql: str, code: str) -> None:
    sql = sql.replace("FOLDER", str(server.folder))
    reply = server.ask(sql, param_t="users", param_d="system")
    assert reply.status in (400, 403, 404), reply.text
    assert SECRET not in reply.text
    assert reply.code == code, reply.text
    assert reply.text.startswith(f"Code: {code}. DB::Exception: ")
    # Nothing was written, nothing is gone.
    assert [file.name for file in server.folder.iterdir()] == ["in.csv"]
    assert server.admin.query("SELECT secret FROM canary").result_rows == [(SECRET,)]
    assert server.admin.query("SELECT count() FROM system.tables WHERE name = 'gone'").result_rows == [(0,)]


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "(" * 3000 + "1" + ")" * 3000,
        "select " + "1+" * 60_000 + "1",
        "select " + "[" * 700 + "]" * 700,
        "select " + "sin(" * 500 + "1" + ")" * 500,
        "select '" + "x" * 300_000 + "'",
        "select 1 " + "union all select 1 " * 12_000,
        "select * from (" * 200 + "select 1" + ")" * 200,
        "select " + "'" * 999,
    ],
    ids=["parentheses", "sum", "arrays", "calls", "long", "unions", "subqueries", "quotes"],
)
def test_huge_and_deep(server: Server, sql: str) -> None:
    reply = server.ask(sql)
    assert 400 <= reply.status < 600
    assert reply.text.startswith("Code: ")
    assert len(reply.text) < 5000
    assert server.ask("select 1").data == [[1]]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"readonly2": "1"}, REFUSED),
        ({"format_schema": "x"}, REFUSED),
        ({"dialect": "kusto"}, REFUSED),
        ({"role": "admin"}, REFUSED),
        ({"profile": "default"}, REFUSED),
        ({"max_threads": "many"}, REFUSED),
        ({"limit": "1', readonly = '0"}, "27"),
        ({"compress": "1"}, REFUSED),
        ({"decompress": "1"}, REFUSED),
        ({"default_format": "Parquet"}, REFUSED),
        ({"database": "system"}, "81"),
    ],
)
def test_values_that_are_refused(server: Server, values: dict[str, str], code: str) -> None:
    reply = server.ask("select 1", **values)
    assert reply.code == code, reply.text


# ------------------------------------------------------------------------------------------------- harmless

T0 = "toDateTime64('2026-01-01 00:00:00', 9, 'UTC')"

HARMLESS = [
    # Time series, as Grafana's macros expand.
    (
        (
            "SELECT toStartOfInterval(toDateTime(Timestamp), INTERVAL 300 second) AS time, count() AS spans "
            "FROM otel_traces WHERE Timestamp >= toDateTime64(1767225600000/1000, 3) AND "
            "Timestamp <= toDateTime64(1767229200000/1000, 3) GROUP BY time ORDER BY time"
        ),
        [["2026-01-01 00:00:00", "5"], ["2026-01-01 00:05:00", "5"], ["2026-01-01 00:10:00", "2"]],
    ),
    (
        (
            "SELECT toUnixTimestamp(toStartOfMinute(Timestamp)) * 1000 AS t, max(Duration) FROM otel_traces "
            "WHERE toDate(Timestamp) = toDate('2026-01-01') GROUP BY t ORDER BY t LIMIT 1"
        ),
        [["1767225600000", "1000000"]],
    ),
    (
        (
            "SELECT toStartOfInterval(Start, INTERVAL 6 minute) AS time, Status, count() FROM traces FINAL "
            "GROUP BY time, Status ORDER BY time, Status"
        ),
        [
            ["2026-01-01 00:00:00", "Error", "1"],
            ["2026-01-01 00:00:00", "Ok", "1"],
            ["2026-01-01 00:06:00", "Ok", "2"],
        ],
    ),
    (
        (
            f"SELECT toStartOfMinute(Timestamp) AS m, count() FROM otel_traces WHERE Timestamp < {T0} + INTERVAL 2 MINUTE "
            "GROUP BY m ORDER BY m WITH FILL FROM toDateTime('2026-01-01 00:00:00', 'UTC') "
            "TO toDateTime('2026-01-01 00:03:00', 'UTC') STEP INTERVAL 1 MINUTE"
        ),
        [["2026-01-01 00:00:00", "1"], ["2026-01-01 00:01:00", "1"], ["2026-01-01 00:02:00", "0"]],
    ),
    (
        "SELECT n, v FROM (SELECT 1 AS n, 5 AS v) ORDER BY n WITH FILL FROM 0 TO 3 INTERPOLATE (v AS v + 1)",
        [[0, 1], [1, 5], [2, 6]],
    ),
    # Aggregates.
    (
        "SELECT count(), uniqExact(TraceId), countIf(StatusCode = 'Error') FROM otel_traces",
        [["12", "4", "3"]],
    ),
    ("SELECT quantilesExact(0.5, 0.9)(Duration / 1e6) FROM otel_traces", [[[7, 11]]]),
    ("SELECT round(avg(DurationMs), 2), sum(CostUsd) FROM traces FINAL", [[5.25, 0.75]]),
    ("SELECT argMax(TraceId, Duration) FROM otel_traces", [["0" * 31 + "3"]]),
    ("SELECT topK(1)(ServiceName) FROM otel_traces WHERE Duration < 8e6", [[["shop"]]]),
    (
        "SELECT groupArray(3)(SpanName) FROM (SELECT SpanName FROM otel_traces ORDER BY Timestamp)",
        [[["agent", "chat", "tool"]]],
    ),
    ("SELECT quantileTDigestIfOrNull(0.5)(Duration, 0) FROM otel_traces", [[None]]),
    ("SELECT sumMap(map(ServiceName, toUInt64(1))) FROM traces FINAL", [[{"bank": "2", "shop": "2"}]]),
    (
        "SELECT ServiceName, count() FROM otel_traces GROUP BY ServiceName WITH ROLLUP ORDER BY 1",
        [["", "12"], ["bank", "6"], ["shop", "6"]],
    ),
    (
        "SELECT count() FROM otel_traces GROUP BY GROUPING SETS ((ServiceName), ()) ORDER BY 1",
        [["6"], ["6"], ["12"]],
    ),
    (
        "SELECT SpanName, count() FROM otel_traces GROUP BY ALL HAVING count() > 1 ORDER BY ALL LIMIT 1",
        [["agent", "4"]],
    ),
    ("SELECT count(DISTINCT ServiceName) FROM traces", [["2"]]),
    ("SELECT countMerge(s) FROM (SELECT countState() AS s FROM traces FINAL)", [["4"]]),
    # Maps, arrays, nested columns, JSON.
    (
        "SELECT SpanAttributes['gen_ai.request.model'] AS m, count() FROM otel_traces GROUP BY m ORDER BY m",
        [["large", "6"], ["small", "6"]],
    ),
    (
        "SELECT DISTINCT arrayJoin(mapKeys(SpanAttributes)) AS k FROM otel_traces ORDER BY k LIMIT 1",
        [["gen_ai.request.model"]],
    ),
    (
        "SELECT DISTINCT arrayJoin(SpanAttributes.keys) AS keys FROM otel_traces ORDER BY keys DESC LIMIT 1",
        [["payload"]],
    ),
    ("SELECT sum(toUInt64OrZero(SpanAttributes['gen_ai.usage.input_tokens'])) FROM otel_traces", [["1266"]]),
    ("SELECT JSONExtractInt(SpanAttributes['payload'], 'a', 'b', 1) FROM otel_traces LIMIT 1", [["7"]]),
    ("SELECT JSON_VALUE(SpanAttributes['payload'], '$.a.b[1]') FROM otel_traces LIMIT 1", [["8"]]),
    (
        "SELECT tool, count() FROM traces FINAL ARRAY JOIN Tools AS tool GROUP BY tool ORDER BY tool",
        [["pay", "4"], ["search", "4"]],
    ),
    ("SELECT `Events.Name`[1], Events.Attributes[1]['k'] FROM otel_traces LIMIT 1", [["exception", "v"]]),
    (
        "SELECT arrayFilter(x -> x > 1, [1, 2, 3]), arraySum(arrayMap((x, y) -> x * y, [1, 2], [3, 4]))",
        [[[2, 3], "11"]],
    ),
    ("SELECT tupleElement((1, 'a'), 2), (1, 'b').2, [10, 20][2], map('a', 1)['a']", [["a", "b", 20, 1]]),
    # Windows.
    (
        (
            "SELECT SpanName, row_number() OVER (PARTITION BY TraceId ORDER BY Timestamp) AS n FROM otel_traces "
            "WHERE TraceId LIKE '%3' ORDER BY n"
        ),
        [["agent", "1"], ["chat", "2"], ["tool", "3"]],
    ),
    (
        "SELECT sum(n) OVER w FROM (SELECT number AS n FROM numbers(3)) WINDOW w AS (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        [["0"], ["1"], ["3"]],
    ),
    ("SELECT SpanName FROM otel_traces QUALIFY rank() OVER (ORDER BY Duration DESC) = 1", [["tool"]]),
    # Subqueries, CTEs, joins, unions.
    (
        "WITH slow AS (SELECT TraceId FROM otel_traces WHERE Duration > 9e6) SELECT count() FROM traces FINAL WHERE TraceId IN (SELECT TraceId FROM slow)",
        [["1"]],
    ),
    (
        "WITH slow AS (SELECT TraceId FROM otel_traces) SELECT count() FROM traces FINAL WHERE TraceId IN slow",
        [["4"]],
    ),
    ("WITH 2 AS factor SELECT factor * 21", [[42]]),
    (
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT sum(n) FROM r",
        [["6"]],
    ),
    (
        "SELECT l.Category, count() FROM trace_labels_current AS l INNER JOIN traces AS t FINAL ON l.TraceId = t.TraceId WHERE l.Analysis = 'topics' GROUP BY l.Category ORDER BY 1",
        [["Other", "2"], ["Refunds", "2"]],
    ),
    (
        "SELECT count() FROM traces AS t FINAL ANY LEFT JOIN trace_labels_current AS l USING (TraceId)",
        [["4"]],
    ),
    ("SELECT x FROM (SELECT 1 AS x UNION ALL SELECT 2 UNION DISTINCT SELECT 2) ORDER BY x", [[1], [2]]),
    ("SELECT number FROM numbers(3) EXCEPT SELECT 1", [["0"], ["2"]]),
    ("SELECT count() FROM {DB}.traces FINAL", [["4"]]),
    (
        "SELECT count() FROM \"{DB}\".\"otel_traces_labelled\" WHERE SpanAttributes['tracetaxa.topics.category'] = 'Refunds'",
        [["6"]],
    ),
    ("SELECT (SELECT count() FROM traces FINAL) / 2", [[2]]),
    # Clauses.
    (
        "SELECT TraceId FROM otel_traces PREWHERE ServiceName = 'bank' WHERE Duration > 0 ORDER BY Timestamp DESC LIMIT 1 BY TraceId LIMIT 1 OFFSET 1",
        [["0" * 31 + "2"]],
    ),
    ("SELECT * EXCEPT (secret), COLUMNS('sec') APPLY (length) FROM canary", [["19"]]),
    ("SELECT * REPLACE (upper(secret) AS secret) FROM canary", [["THE CANARY'S SECRET"]]),
    (
        "SELECT DISTINCT ServiceName FROM otel_traces ORDER BY ServiceName SETTINGS max_execution_time = 10",
        [["bank"], ["shop"]],
    ),
    (
        "SELECT if(Status = 'Error', 1, 0) AS e, CASE WHEN e THEN 'bad' ELSE 'good' END, multiIf(e = 1, 'x', 'y') FROM traces FINAL ORDER BY TraceId LIMIT 1",
        [[1, "bad", "x"]],
    ),
    (
        "SELECT CASE Status WHEN 'Error' THEN 'bad' ELSE 'good' END FROM traces FINAL ORDER BY TraceId LIMIT 1",
        [["bad"]],
    ),
    (
        "SELECT CostUsd IS NULL, coalesce(CostUsd, 0) FROM traces FINAL ORDER BY TraceId DESC LIMIT 1",
        [[1, 0]],
    ),
    (
        "SELECT 'a' ILIKE 'A', 'x' REGEXP '^x', 2 BETWEEN 1 AND 3, NOT 0, 5 IN (1, 5), -1 < 0",
        [[1, 1, 1, 1, 1, 1]],
    ),
    (
        "SELECT formatReadableSize(1024), formatDateTime(toDateTime(0, 'UTC'), '%Y'), dateDiff('minute', toDateTime(0), toDateTime(120))",
        [["1.00 KiB", "1970", "2"]],
    ),
    ("SELECT * FROM values('a UInt8, b String', (1, 'x'), (2, 'y'))", [[1, "x"], [2, "y"]]),
    ("SELECT generate_series FROM generate_series(2, 3)", [["2"], ["3"]]),
    # What clients ask on connecting and browsing.
    ("SELECT displayName() != '', version() LIKE '2%', revision() > 54000, timezone() != ''", [[1, 1, 1, 1]]),
    ("SELECT name FROM system.tables WHERE database = currentDatabase() AND name = 'traces'", [["traces"]]),
    (
        "SELECT name, type FROM system.columns WHERE database = '{DB}' AND table = 'canary'",
        [["secret", "String"]],
    ),
    ("SELECT value FROM system.settings WHERE name = 'max_threads_for_nothing'", []),
    ('DESC TABLE "{DB}"."canary"', [["secret", "String", "", "", "", "", ""]]),
]


def test_there_are_enough() -> None:
    assert len(HARMLESS) >= 40


@pytest.mark.parametrize(("sql", "rows"), HARMLESS)
def test_harmless(server: Server, sql: str, rows: Any) -> None:
    reply = server.ask(sql.replace("{DB}", server.database), output_format_json_quote_64bit_integers="1")
    assert reply.status == 200, reply.text
    assert reply.data == rows


# ------------------------------------------------------------------------------------------------- clients


def test_unmodified_client(server: Server) -> None:
    client = server.client(database=server.database)
    assert client.protocol_version == 54405
    result = client.query("SELECT ServiceName, count() AS n FROM otel_traces GROUP BY ALL ORDER BY ALL")
    assert result.column_names == ("ServiceName", "n")
    assert result.result_rows == [("bank", 6), ("shop", 6)]
    assert client.command("SELECT count() FROM traces FINAL") == 4
    assert client.raw_query("SELECT 1, 'x'", fmt="CSV") == b'1,"x"\n'
    assert client.query("SELECT TraceId, Start FROM traces LIMIT 0").column_names == ("TraceId", "Start")
    assert client.query("SELECT TraceId FROM traces WHERE 0").column_names == ("TraceId",)
    with pytest.raises(DatabaseError, match="DROP is not allowed here") as caught:
        client.command("DROP TABLE canary")
    assert caught.value.code == 164
    with pytest.raises(DatabaseError, match="read-only"):
        client.insert("canary", [["x"]], column_names=["secret"])
    client.close()


@pytest.mark.parametrize(
    "table",
    [
        "otel_traces",
        "otel_traces_labelled",
        "traces",
        "taxonomies",
        "trace_labels",
        "trace_labels_current",
        "run_samples",
        "analysis_runs",
        "report_categories",
        "reports",
        "trace_activity",
    ],
)
def test_every_table_reads_as_in_the_engine(server: Server, table: str) -> None:
    sql = f"SELECT * FROM {table} ORDER BY ALL"
    columns = server.admin.query(f"DESCRIBE TABLE {table}").result_rows
    client = server.client()
    result = client.query(sql)
    types = [column_type.name for column_type in result.column_types]
    assert [*zip(result.column_names, types, strict=True)] == [row[:2] for row in columns]
    assert result.result_rows == server.admin.query(sql).result_rows
    client.close()


TYPES = (
    "toInt8(-1) AS i, toUInt256(7) AS big, toDecimal64(1.5, 3) AS d, 'x' AS s, toFixedString('ab', 3) AS f, "
    "toNullable(NULL::Nullable(Int64)) AS n, toDateTime(0) AS t, toDateTime64(1.000000001, 9, 'UTC') AS t9, "
    "toDate('2026-01-01') AS day, toLowCardinality('low') AS lc, toLowCardinality(NULL::Nullable(String)) AS lcn, "
    "[[1, 2], []] AS aa, map('k', [1, 2]) AS m, (1, 'x', (2, 'y')) AS tup, [(1, 'a')]::Nested(a UInt8, b String) AS nest, "
    "toUUID('00000000-0000-0000-0000-000000000001') AS u, toIPv4('1.2.3.4') AS ip, true AS b, "
    "CAST('one' AS Enum8('one' = 1)) AS e, nan AS fl, number, repeat('z', number % 300) AS z"
)


@pytest.mark.parametrize("version", ["0", "54405", "54460"])
def test_native_of_every_type(server: Server, version: str) -> None:
    client = server.client(settings={"client_protocol_version": version} if version == "0" else None)
    client.protocol_version = int(version)
    sql = f"SELECT {TYPES} FROM numbers(2500) SETTINGS max_block_size = 1000, max_threads = 1"
    if version == "54460":
        # The driver does not read the byte per column, so the blocks are compared with those of 54405.
        new = server.ask(sql, default_format="Native", client_protocol_version=version).body
        old = server.ask(sql, default_format="Native", client_protocol_version="54405").body
        blocks, columns = old.count(b"\x01\x00\x02\xff\xff\xff\xff\x00"), old[8]
        assert blocks == 3
        assert len(new) - len(old) == blocks * columns
        return
    result = client.query(sql)
    expected = server.admin.query(sql)
    # As text, since not-a-number differs from itself.
    assert str(result.result_rows) == str(expected.result_rows)
    assert result.row_count == 2500
    client.close()


def test_settings_of_rows_do_not_cut_columns(server: Server) -> None:
    client = server.client(
        settings={"limit": 2, "max_result_rows": 3, "output_format_json_quote_64bit_integers": 1}
    )
    assert client.query("SELECT number, 'b', 'c', 'd', 'e' FROM numbers(9)").result_rows == [
        (n, "b", "c", "d", "e") for n in range(2)
    ]
    client.close()


def test_times_keep_their_zone(server: Server) -> None:
    client = server.client()
    (row,) = client.query("SELECT toDateTime(0, 'Asia/Tokyo'), toDateTime64(0, 9, 'Asia/Tokyo')").result_rows
    assert [str(value) for value in row] == ["1970-01-01 09:00:00+09:00"] * 2
    client.close()


def test_parameters(server: Server) -> None:
    values = {
        "s": "it's \\ a\ttab\nline {x:y} %s \u2603",
        "a": ["x'y", "\\", ""],
        "n": None,
        "t": datetime(2026, 1, 1, tzinfo=UTC),
        "i": -7,
        "tup": (1, "b"),
    }
    sql = (
        "SELECT {s:String}, {a:Array(String)}, {n:Nullable(Int64)}, {t:DateTime64(9, 'UTC')} < now64(), {i:Int64}, "
        "{tup:Tuple(UInt8, String)}, '{not:AParameter} %d'"
    )
    client = server.client()
    row = client.query(sql, parameters=values).result_rows[0]
    assert row == (values["s"], values["a"], None, True, -7, (1, "b"), "{not:AParameter} %d")
    # Long ones come in a form.
    many = [f"id-{n}\r\n'" for n in range(2000)]
    assert client.query("SELECT {ids:Array(String)}", parameters={"ids": many}).result_rows[0][0] == many
    with pytest.raises(DatabaseError, match="is not set"):
        client.query("SELECT {missing:UInt8}", parameters={"other": 1})
    client.close()


def test_streaming(server: Server) -> None:
    client = server.client()
    with client.query_row_block_stream("SELECT number FROM numbers(200000)") as stream:
        assert sum(row[0] for block in stream for row in block) == sum(range(200_000))
    with client.raw_stream("SELECT number FROM numbers(3)", fmt="TSV") as raw:
        assert raw.read() == b"0\n1\n2\n"
    client.close()


def test_async_client(server: Server) -> None:
    pytest.importorskip("aiohttp", reason="clickhouse-connect's async client needs aiohttp")

    async def ask() -> list[Any]:
        client = await clickhouse_connect.get_async_client(host="127.0.0.1", port=server.port)
        async with client:
            answers = await asyncio.gather(
                *(
                    client.query("SELECT {n:UInt8}, count() FROM traces FINAL", parameters={"n": n})
                    for n in range(20)
                )
            )
            with pytest.raises(DatabaseError, match="file"):
                await client.query("SELECT file('x')")
            return [answer.result_rows[0] for answer in answers]

    assert asyncio.run(ask()) == [(n, 4) for n in range(20)]


def test_grafanas_driver_on_connecting(server: Server) -> None:
    # clickhouse-go sends this, and reads Native blocks of its own protocol version.
    reply = server.send(
        body="SELECT displayName(), version(), revision(), timezone()",
        headers={
            "Accept-Encoding": "gzip",
            "Authorization": "Basic " + base64.b64encode(b"default:").decode(),
        },
        client_protocol_version="54460",
        database=server.database,
        default_format="Native",
        max_execution_time="64",
    )
    assert reply.status == 200
    assert reply.headers["Content-Encoding"] is None
    assert reply.body.startswith(b"\x01\x00\x02\xff\xff\xff\xff\x00\x04\x01\x0ddisplayName()\x06String\x00")


# ------------------------------------------------------------------------------------------------- protocol


def test_plain_http(server: Server) -> None:
    assert server.send("GET", "/ping").text == "Ok.\n"
    assert server.send("GET").text == "Ok.\n"
    assert server.send("HEAD").status == 200
    assert server.send("GET", query="SELECT 1").body == b"1\n"
    assert server.send("GET", query="SELECT 1, 'x' FORMAT CSV").body == b'1,"x"\n'
    # The query in the URL comes before the body.
    assert server.send(query="SELECT {x:UInt8} +", body="1", param_x="41").body == b"42\n"
    reply = server.send(
        body="SELECT 1 AS x FORMAT JSON",
        query_id="my-id",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert reply.data == [{"x": 1}]
    assert reply.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert reply.headers["X-ClickHouse-Format"] == "JSON"
    assert reply.headers["X-ClickHouse-Query-Id"] == "my-id"
    assert reply.headers["X-ClickHouse-Server-Display-Name"] == "tracetaxa"
    assert reply.headers["X-ClickHouse-Timezone"] == server.admin.command("SELECT timezone()")
    assert int(json.loads(reply.headers["X-ClickHouse-Summary"])["elapsed_ns"]) > 0
    assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods(server: Server, method: str) -> None:
    assert server.send(method, body="SELECT 1").status == 405


def test_errors_have_clickhouses_form(server: Server) -> None:
    for sql, status, code in [
        ("SELECT nope", 404, "47"),
        ("SELEC 1 FROM", 400, "62"),
        ("SELECT toUInt8('x')", 400, "6"),
        ("SELECT * FROM nope", 404, "60"),
        ("SELECT throwIf(1, 'on purpose')", 500, "395"),
        ("DROP TABLE canary", 403, "164"),
    ]:
        reply = server.send(body=sql)
        assert (reply.status, reply.code) == (status, code), reply.text
        assert reply.text.startswith(f"Code: {code}. DB::Exception: ")
        assert reply.text.endswith(")\n")


def test_database_names(server: Server) -> None:
    for name in (server.database, "default"):
        assert server.ask("SELECT currentDatabase()", database=name).data == [[server.database]]
    reply = server.ask("SELECT 1", database="other")
    assert (reply.status, reply.code) == (404, "81")


def test_settings_are_applied_or_ignored(server: Server) -> None:
    assert server.ask(
        "SELECT 1",
        output_format_json_quote_64bit_integers="0",
        readonly="2",
        session_id="s",
        wait_end_of_query="1",
        max_query_size="1",
        log_comment="x",
    ).data == [[1]]
    assert server.ask(
        "SELECT number FROM numbers(9)", limit="2", output_format_json_quote_64bit_integers="0"
    ).data == [[0], [1]]
    assert server.ask("SELECT toString(toDateTime(0))", session_timezone="Asia/Tokyo").data == [
        ["1970-01-01 09:00:00"]
    ]
    assert (
        server.ask("SELECT 1", session_timezone="Asia/Tokyo").headers["X-ClickHouse-Timezone"] == "Asia/Tokyo"
    )
    reply = server.ask("SELECT number FROM numbers(9)", max_result_rows="2")
    assert reply.code == "396"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO canary SELECT 'x'",
        "DROP TABLE canary",
        "SELECT * FROM file('FOLDER/in.csv')",
        "SELECT * FROM default.`FOLDER/in.csv`",
    ],
)
def test_the_engine_is_told_to_be_read_only_too(server: Server, sql: str) -> None:
    clause = settings_clause(Limits().settings({"readonly": "0", "max_threads": "1"}))
    with pytest.raises(DatabaseError, match="READONLY"):
        server.admin.raw_query(f"{sql.replace('FOLDER', str(server.folder))} SETTINGS {clause}")


def test_drivers_learn_that_settings_can_be_sent(server: Server) -> None:
    sql = "SELECT readonly, value FROM system.settings WHERE name IN ('max_result_rows', 'readonly') ORDER BY name"
    assert server.ask(sql, readonly="0").data == [[0, "0"], [1, "2"]]


def test_broken_requests(server: Server) -> None:
    assert server.send(body=b"SELECT '\xff'").code == REFUSED
    assert server.send(body=b"SELECT 1", headers={"Content-Encoding": "gzip"}).code == READ_ONLY
    assert server.send(body=b"x" * 5_000_000).code == REFUSED
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n1\r\n--b--\r\n'
    assert "external tables" in server.send(body=part, headers=form).text
    assert server.send(body=b"nonsense", headers=form).text == "Ok.\n"
    assert server.send(body="SELECT 1", client_protocol_version="x").body == b"1\n"


# ------------------------------------------------------------------------------------------------- token


@pytest.fixture(scope="module")
def locked(chdb_path: Path, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(chdb_path, database, tmp_path_factory.mktemp("locked"), token=TOKEN) as running:
        yield running


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"grafana:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "values", "status"),
    [
        ({}, {}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, {}, 200),
        ({"Authorization": f"bearer  {TOKEN} "}, {}, 200),
        (basic(TOKEN), {}, 200),
        ({"X-ClickHouse-User": "me", "X-ClickHouse-Key": TOKEN}, {}, 200),
        ({}, {"user": "me", "password": TOKEN}, 200),
        ({"Authorization": f"Bearer {TOKEN}x"}, {}, 401),
        ({"Authorization": "Bearer "}, {}, 401),
        (basic(""), {}, 401),
        (basic("wrong"), {}, 401),
        (basic("größe"), {}, 401),
        ({"Authorization": "Basic ???"}, {}, 401),
        ({"Authorization": f"Digest {TOKEN}"}, {}, 401),
        ({"X-ClickHouse-Key": ""}, {"password": ""}, 401),
        ({"Host": "tracetaxa.internal:8123", "Authorization": f"Bearer {TOKEN}"}, {}, 200),
    ],
)
def test_token(locked: Server, headers: dict[str, str], values: dict[str, str], status: int) -> None:
    reply = locked.send(body="SELECT 1", headers=headers, **values)
    assert reply.status == status, reply.text
    assert TOKEN not in reply.text
    assert (reply.code == "516") == (status == 401)
    assert locked.send("GET", "/ping").text == "Ok.\n"


def test_clients_with_a_token(locked: Server) -> None:
    for options in ({"password": TOKEN}, {"access_token": TOKEN}):
        client = locked.client(**options)
        assert client.command("SELECT 1") == 1
        client.close()
    with pytest.raises(DatabaseError, match="not the endpoint's token"):
        locked.client(password="wrong")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8123", 200),
        ("127.0.0.1", 200),
        ("[::1]:8123", 200),
        ("10.0.0.7:8123", 200),
        ("evil.example", 403),
        ("localhost.evil.example:8123", 403),
    ],
)
def test_names_of_others_need_a_token(server: Server, host: str, status: int) -> None:
    assert server.send(body="SELECT 1", headers={"Host": host}).status == status


# ------------------------------------------------------------------------------------------------- limits


@pytest.fixture(scope="module")
def small(chdb_path: Path, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("small")
    limits = {
        "max_execution_seconds": 1,
        "max_memory_mib": 64,
        "max_result_mib": 1,
        "max_concurrency": 2,
        "max_waiting": 2,
    }
    with serving(chdb_path, database, folder, **limits) as running:
        yield running


SLOW = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        (SLOW, "159"),
        (f"{SLOW} SETTINGS max_execution_time = 0", "159"),
        (f"{SLOW} SETTINGS max_execution_time = 1000", "159"),
        ("SELECT length(groupArray(number)) FROM numbers(100000000)", "241"),
        ("SELECT length(groupArray(number)) FROM numbers(100000000) SETTINGS max_memory_usage = 0", "241"),
        ("SELECT number FROM numbers(10000000) SETTINGS max_result_bytes = 0", "396"),
        # Small in memory, large as text.
        (
            "SELECT 'x' AS a_column_with_a_long_name_that_is_repeated FROM numbers(60000) FORMAT JSONEachRow",
            "396",
        ),
    ],
)
def test_limits(small: Server, sql: str, code: str) -> None:
    reply = small.send(body=sql)
    assert reply.code == code, reply.text
    assert small.send(body="SELECT 1").body == b"1\n"


def test_a_lower_limit_counts(small: Server) -> None:
    assert small.send(body="SELECT number FROM numbers(1000)", max_result_bytes="100").code == "396"


def test_a_failed_query_leaves_nothing_for_the_next(small: Server) -> None:
    # The engine keeps what a failing query had written, and would put it in front of the next answer.
    broken = "SELECT number, throwIf(number = 20000, 'late') FROM numbers(30000) SETTINGS max_block_size = 1000, max_threads = 1"
    for form in ("JSONCompact", "TabSeparated", "Native"):
        assert small.send(body=broken, default_format=form).code == "395"
        assert [small.send(body="SELECT 1").body for _ in range(4)] == [b"1\n"] * 4


def running(server: Server) -> int:
    found = server.admin.command(
        "SELECT count() FROM system.processes WHERE query LIKE '%sipHash64(number)%LEAVE%' AND query NOT LIKE '%processes%'"
    )
    assert isinstance(found, int)
    return found


def test_a_query_ends_when_its_client_leaves(server: Server) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port))
    body = f"{SLOW} AND 'LEAVE' != ''".encode()
    connection.sendall(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    wait_until(lambda: running(server) == 1)
    connection.close()
    # Its own limit is 30 s; this is over as soon as the server hears of it.
    deadline = time.monotonic() + 20
    while running(server):
        assert time.monotonic() < deadline, "the query still runs"
        time.sleep(0.02)
    assert server.send(body="SELECT 1").body == b"1\n"


def test_more_than_fits_is_told_to_come_back(small: Server) -> None:
    replies: list[Reply] = []
    threads = [threading.Thread(target=lambda: replies.append(small.send(body=SLOW))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = sorted((reply.status, reply.code) for reply in replies)
    assert codes == [(408, "159")] * 4 + [(503, "202")] * 4


def test_slow_queries_do_not_block_the_server(server: Server) -> None:
    done = threading.Event()

    def slow() -> None:
        server.send(body=SLOW, max_execution_time="2")
        done.set()

    thread = threading.Thread(target=slow)
    thread.start()
    assert server.send("GET", "/ping").text == "Ok.\n"
    assert server.send(body="SELECT 1").body == b"1\n"
    assert not done.is_set()
    thread.join()


def test_clients_of_the_engine_are_reused(server: Server) -> None:
    server.send(body="SELECT 1")
    before = len(server.opened)
    for _ in range(10):
        server.send(body="SELECT 1")
        server.send(body="DROP TABLE canary")
    assert len(server.opened) == before
