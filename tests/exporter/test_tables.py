"""The tables: those of the collector's exporter, column by column, and their retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otlp import START_NS, log, log_request, request, span
from tracetaxa_exporter.clickhouse import (
    LOG_COLUMNS,
    SPAN_COLUMNS,
    TABLES,
    LogWriter,
    SpanWriter,
    TableMismatch,
    create_tables,
    set_retention,
)

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SPAN_COLUMNS_OF_THE_EXPORTER = """
Timestamp DateTime64(9)
TraceId String
SpanId String
ParentSpanId String
TraceState String
SpanName LowCardinality(String)
SpanKind LowCardinality(String)
ServiceName LowCardinality(String)
ResourceAttributes Map(LowCardinality(String), String)
ScopeName String
ScopeVersion String
SpanAttributes Map(LowCardinality(String), String)
Duration UInt64
StatusCode LowCardinality(String)
StatusMessage String
Events.Timestamp Array(DateTime64(9))
Events.Name Array(LowCardinality(String))
Events.Attributes Array(Map(LowCardinality(String), String))
Links.TraceId Array(String)
Links.SpanId Array(String)
Links.TraceState Array(String)
Links.Attributes Array(Map(LowCardinality(String), String))
""".strip().splitlines()
LOG_COLUMNS_OF_THE_EXPORTER = """
Timestamp DateTime64(9)
TraceId String
SpanId String
TraceFlags UInt8
SeverityText LowCardinality(String)
SeverityNumber UInt8
ServiceName LowCardinality(String)
Body String
ResourceSchemaUrl LowCardinality(String)
ResourceAttributes Map(LowCardinality(String), String)
ScopeSchemaUrl LowCardinality(String)
ScopeName String
ScopeVersion LowCardinality(String)
ScopeAttributes Map(LowCardinality(String), String)
LogAttributes Map(LowCardinality(String), String)
EventName String
""".strip().splitlines()


def columns(client: Client, table: str) -> list[str]:
    found = client.query(
        "SELECT name || ' ' || type FROM system.columns "
        "WHERE database = currentDatabase() AND table = {table:String} ORDER BY position",
        {"table": table},
    )
    return [row[0] for row in found.result_rows]


def system_table(client: Client, table: str, column: str) -> str:
    return str(
        client.query(
            f"SELECT {column} FROM system.tables "
            "WHERE database = currentDatabase() AND name = {table:String}",
            {"table": table},
        ).first_item[column]
    )


def mutations(client: Client) -> int:
    return int(
        client.query(
            "SELECT count() AS n FROM system.mutations WHERE database = currentDatabase()"
        ).first_item["n"]
    )


def test_columns_are_those_of_the_collectors_exporter(client: Client) -> None:
    create_tables(client, 30)
    for table, ours, theirs in (
        ("otel_traces", SPAN_COLUMNS, SPAN_COLUMNS_OF_THE_EXPORTER),
        ("otel_logs", LOG_COLUMNS, LOG_COLUMNS_OF_THE_EXPORTER),
    ):
        own = ["ParentIsRemote Bool"] if table == "otel_traces" else []
        assert columns(client, table) == theirs + own
        assert [f"{name} {kind}" for name, kind in ours.items()] == theirs
    assert columns(client, "otel_traces_trace_id_ts") == ["TraceId String", "Start DateTime", "End DateTime"]


def indexes(client: Client, table: str) -> list[tuple[str, str, str]]:
    found = client.query(
        "SELECT name, type_full, expr FROM system.data_skipping_indices "
        "WHERE database = currentDatabase() AND table = {table:String} ORDER BY name",
        {"table": table},
    )
    return [tuple(row) for row in found.result_rows]  # type: ignore[misc]


def test_keys_engine_and_indexes_of_spans(client: Client) -> None:
    create_tables(client, 30)
    assert system_table(client, "otel_traces", "engine") == "ReplacingMergeTree"
    assert system_table(client, "otel_traces", "partition_key") == "toDate(Timestamp)"
    assert (
        system_table(client, "otel_traces", "primary_key") == "ServiceName, SpanName, toDateTime(Timestamp)"
    )
    assert (
        system_table(client, "otel_traces", "sorting_key")
        == "ServiceName, SpanName, toDateTime(Timestamp), TraceId, SpanId"
    )
    assert indexes(client, "otel_traces") == [
        ("idx_duration", "minmax", "Duration"),
        ("idx_res_attr_key", "bloom_filter(0.01)", "mapKeys(ResourceAttributes)"),
        ("idx_res_attr_value", "bloom_filter(0.01)", "mapValues(ResourceAttributes)"),
        ("idx_span_attr_key", "bloom_filter(0.01)", "mapKeys(SpanAttributes)"),
        ("idx_span_attr_value", "bloom_filter(0.01)", "mapValues(SpanAttributes)"),
        ("idx_trace_id", "bloom_filter(0.001)", "TraceId"),
    ]


def test_keys_engine_and_indexes_of_logs(client: Client) -> None:
    create_tables(client, 30)
    primary_key = "toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp"
    assert system_table(client, "otel_logs", "engine") == "ReplacingMergeTree"
    assert system_table(client, "otel_logs", "partition_key") == "toDate(Timestamp)"
    assert system_table(client, "otel_logs", "primary_key") == primary_key
    assert system_table(client, "otel_logs", "sorting_key").startswith(f"{primary_key}, TraceId, SpanId, ")
    assert indexes(client, "otel_logs") == [
        ("idx_log_attr_key", "bloom_filter(0.01)", "mapKeys(LogAttributes)"),
        ("idx_log_attr_value", "bloom_filter(0.01)", "mapValues(LogAttributes)"),
        ("idx_lower_body", "tokenbf_v1(32768, 3, 0)", "lower(Body)"),
        ("idx_res_attr_key", "bloom_filter(0.01)", "mapKeys(ResourceAttributes)"),
        ("idx_res_attr_value", "bloom_filter(0.01)", "mapValues(ResourceAttributes)"),
        ("idx_scope_attr_key", "bloom_filter(0.01)", "mapKeys(ScopeAttributes)"),
        ("idx_scope_attr_value", "bloom_filter(0.01)", "mapValues(ScopeAttributes)"),
        ("idx_trace_id", "bloom_filter(0.001)", "TraceId"),
    ]


def test_creating_again_changes_nothing(client: Client) -> None:
    create_tables(client, 30)
    before = {table: system_table(client, table, "create_table_query") for table in TABLES}
    create_tables(client, 30)
    assert {table: system_table(client, table, "create_table_query") for table in TABLES} == before
    assert mutations(client) == 0


def test_retention_follows_the_configuration(client: Client) -> None:
    create_tables(client, 30)
    create_tables(client, 7)
    for table in TABLES:
        assert "(7" in system_table(client, table, "engine_full").partition("TTL")[2]
    changes = mutations(client)
    assert changes > 0
    set_retention(client, 7)
    assert mutations(client) == changes


def test_table_of_a_collector_keeps_its_retention(client: Client) -> None:
    fields = ", ".join(f"`{name}` {kind}" for name, kind in SPAN_COLUMNS.items())
    client.command(
        f"CREATE TABLE otel_traces ({fields}, Extra String DEFAULT 'x') ENGINE = MergeTree "
        "ORDER BY (ServiceName, SpanName, toDateTime(Timestamp)) "
        "TTL toDateTime(Timestamp) + toIntervalDay(180)"
    )
    create_tables(client, 7)
    assert "toIntervalDay(180)" in system_table(client, "otel_traces", "engine_full")


def test_table_of_a_collector_keeps_its_columns(client: Client) -> None:
    fields = ", ".join(f"`{name}` {kind}" for name, kind in SPAN_COLUMNS.items())
    client.command(f"CREATE TABLE otel_traces ({fields}) ENGINE = MergeTree ORDER BY TraceId")
    create_tables(client, 7)
    assert columns(client, "otel_traces") == SPAN_COLUMNS_OF_THE_EXPORTER
    (rejected,) = SpanWriter(client).write([request(span(1, 1))])
    assert rejected.count == 0
    assert client.query("SELECT SpanId FROM otel_traces").result_rows == [(f"{1:016x}",)]


def test_our_own_older_table_gets_the_column(client: Client) -> None:
    create_tables(client, 3650)
    SpanWriter(client).write([request(span(1, 1))])
    client.command("ALTER TABLE otel_traces DROP COLUMN ParentIsRemote")
    create_tables(client, 3650)
    remote = span(1, 2)
    remote.flags = 0x300
    SpanWriter(client).write([request(remote)])
    found = client.query("SELECT ParentIsRemote FROM otel_traces ORDER BY SpanId").result_rows
    assert found == [(False,), (True,)]


def test_logs_fit_the_table_of_an_older_collector(client: Client) -> None:
    """Until 0.150 it had a column more, which fills itself, and wider numbers in some versions."""
    kinds = {**LOG_COLUMNS, "TraceFlags": "UInt32", "SeverityNumber": "Int32", "ScopeVersion": "String"}
    fields = ", ".join(f"`{name}` {kind}" for name, kind in kinds.items())
    client.command(
        f"CREATE TABLE otel_logs ({fields}, TimestampTime DateTime DEFAULT toDateTime(Timestamp)) "
        "ENGINE = MergeTree PARTITION BY toDate(TimestampTime) PRIMARY KEY (ServiceName, TimestampTime) "
        "ORDER BY (ServiceName, TimestampTime, Timestamp) TTL TimestampTime + toIntervalDay(9000)"
    )
    create_tables(client, 7)
    assert "toIntervalDay(9000)" in system_table(client, "otel_logs", "engine_full")
    message = log_request(log(1, 1))
    message.resource_logs[0].scope_logs[0].log_records[0].severity_number = 9  # type: ignore[assignment]
    (rejected,) = LogWriter(client).write([message])
    assert rejected.count == 0
    row = client.query(
        "SELECT toUnixTimestamp(TimestampTime) AS t, SeverityNumber, EventName FROM otel_logs"
    ).first_item
    assert row == {"t": START_NS // 10**9, "SeverityNumber": 9, "EventName": "gen_ai.user.message"}


@pytest.mark.parametrize(
    ("table", "change", "named"),
    [
        ("otel_traces", {"ScopeName": None}, "table otel_traces .*missing columns: ScopeName String"),
        ("otel_traces", {"SpanAttributes": "String"}, "SpanAttributes String"),
        ("otel_logs", {"EventName": None}, "table otel_logs .*missing columns: EventName String"),
        ("otel_logs", {"LogAttributes": "String"}, "LogAttributes String"),
    ],
)
def test_table_of_another_shape_is_refused_by_name(
    client: Client, table: str, change: dict[str, str | None], named: str
) -> None:
    columns = SPAN_COLUMNS if table == "otel_traces" else LOG_COLUMNS
    fields = ", ".join(f"`{name}` {kind}" for name, kind in {**columns, **change}.items() if kind)
    client.command(f"CREATE TABLE {table} ({fields}) ENGINE = MergeTree ORDER BY TraceId")
    with pytest.raises(TableMismatch, match=named):
        create_tables(client, 7)
