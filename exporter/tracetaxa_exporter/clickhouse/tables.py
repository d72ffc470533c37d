"""The tables of the collector's ClickHouse exporter: created, checked, and kept for so many days.

Table names carry no database: they belong to the current database of the client.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Final

from tracetaxa_exporter.clickhouse.errors import TableMismatch
from tracetaxa_exporter.clickhouse.logs import LOG_COLUMNS
from tracetaxa_exporter.clickhouse.spans import SPAN_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clickhouse_connect.driver.client import Client

TABLES: Final = ("otel_traces", "otel_traces_trace_id_ts", "otel_logs")
_OURS = "created by tracetaxa"
_TTL_DAYS = re.compile(r"\bTTL\b.*?toIntervalDay\((?:_CAST\()?(\d+)")


def create_tables(client: Client, retention_days: int) -> None:
    """Create what is missing, and keep rows for `retention_days`; safe to call at every start.

    Raises TableMismatch when `otel_traces` or `otel_logs` is there in a shape that can't be written to.
    """
    for table in TABLES:
        client.command(_statement(table), parameters={"retention_days": retention_days})
    client.command(_statement("otel_traces_trace_id_ts_mv"))
    _check_columns(client, "otel_traces", SPAN_COLUMNS)
    _check_columns(client, "otel_logs", LOG_COLUMNS)
    set_retention(client, retention_days)


def set_retention(client: Client, retention_days: int) -> None:
    """Drop spans and log records that are older than `retention_days`; does nothing where that is already so.

    A table that somebody else created (a collector's exporter) keeps its own retention: a shorter one
    would delete data that its owner wants.
    """
    for table in TABLES:
        for definition, comment in client.query(_statement("table_definition"), {"table": table}).result_rows:
            days = _TTL_DAYS.search(definition)
            if comment.endswith(_OURS) and (days is None or int(days[1]) != retention_days):
                client.command(
                    _statement(f"{table}_retention"), parameters={"retention_days": retention_days}
                )


def _check_columns(client: Client, table: str, expected: Mapping[str, str]) -> None:
    columns = client.query(_statement("table_columns"), {"table": table}).result_rows
    found: dict[str, str] = dict(tuple(column) for column in columns)
    missing = [f"{name} {kind}" for name, kind in expected.items() if name not in found]
    other = [
        f"{name} {found[name]}"
        for name, kind in expected.items()
        if name in found and ("Map(" in kind) != ("Map(" in found[name])
    ]
    if missing or other:
        problem = "; ".join(
            part
            for part in (
                missing and f"missing columns: {', '.join(missing)}",
                other and f"other types: {', '.join(other)}",
            )
            if part
        )
        raise TableMismatch(
            f"the table {table} is not that of the collector's exporter with Map columns ({problem}): "
            "add what is missing, rename that table, or use another database"
        )


def _statement(name: str) -> str:
    return resources.files(__package__).joinpath("sql", f"{name}.sql").read_text("utf-8")
