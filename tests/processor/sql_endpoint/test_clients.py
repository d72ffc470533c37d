"""Unmodified ClickHouse clients: every type, parameters, streams, Grafana's driver."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

if TYPE_CHECKING:
    from sql_serving import Server


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
