"""Spans and log records into ClickHouse, in the tables of the collector's ClickHouse exporter."""

from tracetaxa_exporter.clickhouse.errors import ServerTooOld, TableMismatch, WriteFailed
from tracetaxa_exporter.clickhouse.logs import LOG_COLUMNS
from tracetaxa_exporter.clickhouse.rows import Rejected
from tracetaxa_exporter.clickhouse.spans import OWN_SPAN_COLUMNS, SPAN_COLUMNS
from tracetaxa_exporter.clickhouse.tables import TABLES, create_tables, set_retention
from tracetaxa_exporter.clickhouse.writer import LogWriter, RawSpanWriter, SpanWriter
from tracetaxa_exporter.clickhouse.writers import SpanWriters

__all__ = [
    "LOG_COLUMNS",
    "OWN_SPAN_COLUMNS",
    "SPAN_COLUMNS",
    "TABLES",
    "LogWriter",
    "RawSpanWriter",
    "Rejected",
    "ServerTooOld",
    "SpanWriter",
    "SpanWriters",
    "TableMismatch",
    "WriteFailed",
    "create_tables",
    "set_retention",
]
