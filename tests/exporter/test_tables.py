"""The tables: those of the collector's exporter, column by column, and their retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tracetaxa_exporter.clickhouse import COLUMNS, TABLES, TableMismatch, create_tables, set_retention

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

COLUMNS_OF_THE_EXPORTER = """
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
    assert columns(client, "otel_traces") == COLUMNS_OF_THE_EXPORTER
    assert [f"{name} {kind}" for name, kind in COLUMNS.items()] == COLUMNS_OF_THE_EXPORTER
    assert columns(client, "otel_traces_trace_id_ts") == ["TraceId String", "Start DateTime", "End DateTime"]


def test_keys_engine_and_indexes(client: Client) -> None:
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
    indexes = client.query(
        "SELECT name, type_full, expr FROM system.data_skipping_indices "
        "WHERE database = currentDatabase() AND table = 'otel_traces' ORDER BY name"
    ).result_rows
    assert indexes == [
        ("idx_duration", "minmax", "Duration"),
        ("idx_res_attr_key", "bloom_filter(0.01)", "mapKeys(ResourceAttributes)"),
        ("idx_res_attr_value", "bloom_filter(0.01)", "mapValues(ResourceAttributes)"),
        ("idx_span_attr_key", "bloom_filter(0.01)", "mapKeys(SpanAttributes)"),
        ("idx_span_attr_value", "bloom_filter(0.01)", "mapValues(SpanAttributes)"),
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
    fields = ", ".join(f"`{name}` {kind}" for name, kind in COLUMNS.items())
    client.command(
        f"CREATE TABLE otel_traces ({fields}, Extra String DEFAULT 'x') ENGINE = MergeTree "
        "ORDER BY (ServiceName, SpanName, toDateTime(Timestamp)) "
        "TTL toDateTime(Timestamp) + toIntervalDay(180)"
    )
    create_tables(client, 7)
    assert "toIntervalDay(180)" in system_table(client, "otel_traces", "engine_full")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ScopeName": None}, "ScopeName"),
        ({"SpanAttributes": "String"}, "SpanAttributes String"),
    ],
)
def test_table_of_another_shape_is_refused_by_name(
    client: Client, change: dict[str, str | None], named: str
) -> None:
    fields = ", ".join(f"`{name}` {kind}" for name, kind in {**COLUMNS, **change}.items() if kind)
    client.command(f"CREATE TABLE otel_traces ({fields}) ENGINE = MergeTree ORDER BY TraceId")
    with pytest.raises(TableMismatch, match=named):
        create_tables(client, 7)
