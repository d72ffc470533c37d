"""Spans into ClickHouse, in the tables of the OpenTelemetry Collector's ClickHouse exporter."""

from tracetaxa_exporter.clickhouse.errors import TableMismatch, WriteFailed
from tracetaxa_exporter.clickhouse.rows import COLUMNS, Rejected
from tracetaxa_exporter.clickhouse.tables import TABLES, create_tables, set_retention
from tracetaxa_exporter.clickhouse.writer import SpanWriter

__all__ = [
    "COLUMNS",
    "TABLES",
    "Rejected",
    "SpanWriter",
    "TableMismatch",
    "WriteFailed",
    "create_tables",
    "set_retention",
]
