"""The tables of the collector's ClickHouse exporter: created, checked, and kept for so many days.

Those that are there already, because a collector made them, are used as they are. Table names carry no
database: they belong to the current database of the client.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Final, Protocol

from tracetaxa_exporter.clickhouse.errors import TableMismatch
from tracetaxa_exporter.clickhouse.logs import LOG_COLUMNS
from tracetaxa_exporter.clickhouse.spans import SPAN_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clickhouse_connect.driver.client import Client

TABLES: Final = ("otel_traces", "otel_traces_trace_id_ts", "otel_logs")
_OURS = "created by tracetaxa"
_TTL_DAYS = re.compile(r"\bTTL\b.*?toIntervalDay\((?:_CAST\()?(\d+)")


class Layout(Protocol):
    """How a statement for one server is said where the tables are spread over several."""

    def statements(self, sql: str) -> Sequence[str]:
        """What to run, in order, for one CREATE or ALTER statement."""

    def stored(self, table: str) -> str:
        """The table that holds the rows of `table` on this server."""


class OneServer:
    """The layout of a single server, and of the embedded engine."""

    def statements(self, sql: str) -> Sequence[str]:
        return (sql,)

    def stored(self, table: str) -> str:
        return table


def create_tables(client: Client, retention_days: int, layout: Layout | None = None) -> None:
    """Create what is missing, and keep rows for `retention_days`; safe to call at every start.

    `otel_traces_once` is a view of each span once, whichever engine the table has. Raises TableMismatch,
    before anything is made, when `otel_traces` or `otel_logs` is there in a shape that can't be used.
    """
    layout = layout or OneServer()
    for table, columns in (("otel_traces", SPAN_COLUMNS), ("otel_logs", LOG_COLUMNS)):
        _check_columns(client, table, columns)
        _check_layout(client, table, layout)
    for table in TABLES:
        _run(client, layout, table, retention_days)
    if _is_ours(client, layout.stored("otel_traces_trace_id_ts")):
        _run(client, layout, "otel_traces_trace_id_ts_mv", retention_days)
    stored = layout.stored("otel_traces")
    if _is_ours(client, stored):
        _run(client, layout, "otel_traces_parent_is_remote", retention_days)
    # FINAL is the fastest way to see a span once, and is refused by engines that never merge rows.
    final = _engine(client, stored).endswith("ReplacingMergeTree")
    _run(client, layout, "otel_traces_once_final" if final else "otel_traces_once", retention_days)
    set_retention(client, retention_days, layout)


def set_retention(client: Client, retention_days: int, layout: Layout | None = None) -> None:
    """Drop spans and log records that are older than `retention_days`; does nothing where that is already so.

    A table that somebody else created (a collector's exporter) keeps its own retention: a shorter one
    would delete data that its owner wants.
    """
    layout = layout or OneServer()
    for table in TABLES:
        for definition, comment, _ in _definitions(client, layout.stored(table)):
            days = _TTL_DAYS.search(definition)
            if comment.endswith(_OURS) and (days is None or int(days[1]) != retention_days):
                _run(client, layout, f"{table}_retention", retention_days)


def column_types(client: Client, table: str) -> dict[str, str]:
    """Type of each column, in order; empty when there is no such table."""
    columns = client.query(_statement("table_columns"), {"table": table}).result_rows
    return dict(tuple(column) for column in columns)


def _run(client: Client, layout: Layout, name: str, retention_days: int) -> None:
    for sql in layout.statements(_statement(name)):
        parameters = {"retention_days": retention_days} if "{retention_days:" in sql else None
        client.command(sql, parameters=parameters)


def _definitions(client: Client, table: str) -> Sequence[tuple[str, str, str]]:
    """CREATE statement, comment and engine; one row, or none when there is no such table."""
    rows: Sequence[tuple[str, str, str]] = client.query(
        _statement("table_definition"), {"table": table}
    ).result_rows  # type: ignore[assignment]
    return rows


def _is_ours(client: Client, table: str) -> bool:
    return any(comment.endswith(_OURS) for _, comment, _ in _definitions(client, table))


def _engine(client: Client, table: str) -> str:
    return next((engine for _, _, engine in _definitions(client, table)), "")


def _check_layout(client: Client, table: str, layout: Layout) -> None:
    """A table of the collector's can't become the one that is spread over a cluster."""
    engine, stored = _engine(client, table), layout.stored(table)
    if engine and stored != table and not _is_ours(client, stored):
        raise TableMismatch(
            f"the table {table} is there already with the engine {engine}: store.cluster works with tables "
            "that tracetaxa makes; use another database, or leave store.cluster out and attach to one server"
        )


def _check_columns(client: Client, table: str, expected: Mapping[str, str]) -> None:
    """A table that is not there has nothing wrong with it."""
    found = column_types(client, table)
    if not found:
        return
    json = [
        name for name, kind in expected.items() if found.get(name, "").startswith("JSON") and "Map(" in kind
    ]
    if json:
        raise TableMismatch(
            f"the table {table} is the JSON variant of the collector's exporter ({', '.join(json)}): "
            "tracetaxa reads the variant with Map columns; set `json: false` in the exporter and give it "
            "another table or database"
        )
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
