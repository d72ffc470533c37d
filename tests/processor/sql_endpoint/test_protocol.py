"""ClickHouse's HTTP interface by hand: methods, errors, databases, settings, broken requests."""

from __future__ import annotations

import json

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from sql_serving import READ_ONLY, REFUSED, Server
from tracetaxa.store.guard import settings_clause
from tracetaxa.store.sql_pool import Limits


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
