"""What the endpoint must refuse, each for its own reason."""

from __future__ import annotations

import pytest

from sql_serving import NO_COLUMN, NO_TABLE, READ_ONLY, REFUSED, SECRET, SYNTAX, Server

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
