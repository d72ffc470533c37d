"""Spans and log records into their tables, committed when the call returns."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from functools import cache
from importlib.resources import as_file, files
from itertools import chain
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

from clickhouse_connect.driver.compression import get_compressor
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, Error, OperationalError
from clickhouse_connect.driver.httpclient import HttpClient
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tracetaxa_exporter.clickhouse.errors import ServerTooOld, WriteFailed
from tracetaxa_exporter.clickhouse.logs import LOG_COLUMNS, append_log_rows
from tracetaxa_exporter.clickhouse.rows import DAY_NS, NO_SPAN_ID, Rejected, Row, TimeLimits
from tracetaxa_exporter.clickhouse.spans import OWN_SPAN_COLUMNS, SPAN_COLUMNS, SpanRows
from tracetaxa_exporter.clickhouse.tables import column_types

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clickhouse_connect.driver.client import Client
    from clickhouse_connect.driver.summary import QuerySummary
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Request = TypeVar("Request")

_SQL: Final = files("tracetaxa_exporter.clickhouse") / "sql"

_LOG_SETTINGS: Final = {
    # Newer servers put small inserts into a queue of their own by default; requests are already grouped here.
    "async_insert": 0,
    # A batch may span many days (an import, a sender that was offline); wild times are rejected before.
    "max_partitions_per_insert_block": 0,
    # Over HTTP, an error after the first byte of the answer would look like success.
    "wait_end_of_query": 1,
}
"""Those of spans are in sql/insert_spans.sql."""

_DATA_ERRORS: Final = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        9,  # SIZES_OF_COLUMNS_DOESNT_MATCH
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        131,  # TOO_LARGE_STRING_SIZE
        190,  # SIZES_OF_ARRAYS_DONT_MATCH
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        395,  # FUNCTION_THROW_IF_VALUE_IS_NON_ZERO, by a materialized view
        407,  # DECIMAL_OVERFLOW
        436,  # PROTOBUF_BAD_CAST
        444,  # UNKNOWN_PROTOBUF_FORMAT
        469,  # VIOLATED_CONSTRAINT
        691,  # UNKNOWN_ELEMENT_OF_ENUM
    }
)
"""ClickHouse's codes for "the same data will fail again"; anything else may pass when the server is well."""

_UNUSUAL: Final = frozenset({32, 33, 36, 117, 395, 436, 444})
"""Those with which it may refuse spans that only have to be put in other words; 36 is BAD_ARGUMENTS."""
_NEEDED_SETTINGS: Final = ("format_schema_source", "input_format_protobuf_oneof_presence")
_REWRITTEN_AFTER_REFUSAL: Final = 100
"""Groups after one that was refused: a sender of the unusual seldom sends it once, and asking first costs an
insert."""


class _Writer(ABC, Generic[Request]):
    """Writes groups of OTLP requests through one client, which belongs to this writer alone.

    `write` blocks, and is called by one thread at a time. What is dated more than `max_future_seconds` after
    the clock `now_ns`, or more than `max_age_seconds` before it, is rejected. Give the retention of the table
    as `max_age_seconds`: ClickHouse drops older rows as it takes them, and says nothing. None is no limit.
    """

    _items: ClassVar[str]

    def __init__(
        self,
        client: Client,
        *,
        max_future_seconds: int = DAY_NS // 10**9,
        max_age_seconds: float | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._client = client
        self._max_future_ns = max_future_seconds * 10**9
        self._max_age_ns = None if max_age_seconds is None else int(max_age_seconds * 10**9)
        self._now_ns = now_ns

    def write(self, requests: Sequence[Request | bytes]) -> list[Rejected]:
        """Store all `requests`, messages or serialized ones, with one insert; committed when it returns.

        Returns what was left out of each request, in order. Raises WriteFailed; a part may be stored all the
        same, and sending it again is harmless, since duplicates collapse.
        """
        try:
            return self._store(requests)
        except (DataError, DecodeError) as error:
            raise WriteFailed(
                f"the {self._items} can't be encoded for ClickHouse: {error}", retryable=False
            ) from error
        except Error as error:
            raise WriteFailed(
                f"ClickHouse: {_sentence(error)}", retryable=error.code not in _DATA_ERRORS
            ) from error
        except (ClickHouseError, OSError, MemoryError) as error:
            raise WriteFailed(f"can't reach ClickHouse: {_sentence(error)}", retryable=True) from error

    @abstractmethod
    def _store(self, requests: Sequence[Request | bytes]) -> list[Rejected]:
        """What `write` does, with the client's own errors."""

    def _limits(self) -> TimeLimits:
        return TimeLimits.at(self._now_ns(), self._max_future_ns, self._max_age_ns)

    def _check_whole(self, summary: QuerySummary) -> None:
        """An answer cut off in its headers looks like success, but lacks the query's id.

        Raises OperationalError.
        """
        if isinstance(self._client, HttpClient) and not summary.query_id():
            raise OperationalError("its answer was cut off: it has no X-ClickHouse-Query-Id")


class SpanWriter(_Writer["ExportTraceServiceRequest | SpanRows"]):
    """Spans into `otel_traces`, dated by their start."""

    _items = "spans"
    _columns: tuple[str, ...] = ()
    _to_rewrite = 0

    keep_raw = False
    """Whether what is read also holds its spans as they came (SpanRows.raw)."""

    def check(self) -> None:
        """Raises ServerTooOld, and the client's errors."""
        found = self._client.query(
            "SELECT count() FROM system.settings WHERE name IN {names:Array(String)}",
            {"names": list(_NEEDED_SETTINGS)},
        )
        if found.result_rows[0][0] < len(_NEEDED_SETTINGS):
            raise ServerTooOld(
                f"ClickHouse {self._client.server_version} is too old to take spans from tracetaxa: it needs "
                "25.6 or newer; or let a collector fill the tables (docs/attach.md)"
            )

    def read(self, request: bytes) -> SpanRows:
        """What `write` takes as well, so that a request can be refused as soon as it is here.

        Takes no lock and may run beside a write. Raises DecodeError.
        """
        return SpanRows(request, self._limits(), keep_raw=self.keep_raw)

    def _store(self, requests: Sequence[ExportTraceServiceRequest | bytes | SpanRows]) -> list[Rejected]:
        groups = [self._rows(request) for request in requests]
        if any(map(len, groups)):
            columns = self._columns or self._columns_of_table()
            self._insert_or_rewrite(columns, groups)
            self._columns = columns
        return [rows.rejected for rows in groups]

    def _insert_or_rewrite(self, columns: tuple[str, ...], groups: Sequence[SpanRows]) -> None:
        if not self._to_rewrite:
            try:
                self._insert(columns, groups)
            except Error as error:
                if error.code not in _UNUSUAL:
                    raise
                self._to_rewrite = _REWRITTEN_AFTER_REFUSAL
            else:
                return
        self._to_rewrite -= 1
        for rows in groups:
            rows.rewrite()
        try:
            self._insert(columns, groups)
        except Error as error:
            if error.code in _UNUSUAL:  # there are no other words
                raise WriteFailed(f"ClickHouse: {_sentence(error)}", retryable=False) from error
            raise

    def _rows(self, request: ExportTraceServiceRequest | bytes | SpanRows) -> SpanRows:
        if isinstance(request, SpanRows):
            return request
        return self.read(request if isinstance(request, bytes) else request.SerializeToString())

    def _insert(self, columns: tuple[str, ...], groups: Sequence[SpanRows]) -> None:
        data = b"".join(chain.from_iterable(rows.parts for rows in groups))
        if isinstance(self._client, HttpClient):
            self._insert_over_http(f"{_statement(columns)}\n".encode() + data)
        else:
            self._insert_from_file(columns, data)

    def _insert_over_http(self, body: bytes) -> None:
        compression = self._client.write_compression
        if compression:
            compressor = get_compressor(compression)
            body = bytes(compressor.compress_block(body)) + (compressor.flush() or b"")  # type: ignore[no-untyped-call]
        summary = self._client.raw_insert(
            "", insert_block=body, settings={"wait_end_of_query": 1}, compression=compression
        )
        self._check_whole(summary)

    def _insert_from_file(self, columns: tuple[str, ...], data: bytes) -> None:
        """For the embedded engine. It would write a schema that it is told into the current directory."""
        with as_file(_SQL / "spans.proto") as schema, NamedTemporaryFile(suffix=".otlp") as file:
            file.write(data)
            file.flush()
            self._client.command(_statement(columns, str(schema)), parameters={"path": file.name})

    def _columns_of_table(self) -> tuple[str, ...]:
        """Those that we write; a table of a collector has none of our own."""
        found = column_types(self._client, "otel_traces")
        return (*SPAN_COLUMNS, *(name for name in OWN_SPAN_COLUMNS if name in found))


class LogWriter(_Writer["ExportLogsServiceRequest"]):
    """Log records into `otel_logs`, dated by their time or else by when they were observed."""

    _items = "log records"

    def _store(self, requests: Sequence[ExportLogsServiceRequest | bytes]) -> list[Rejected]:
        rows: list[Row] = []
        limits = self._limits()
        rejected = [
            append_log_rows(
                rows,
                ExportLogsServiceRequest.FromString(request) if isinstance(request, bytes) else request,
                limits,
            )
            for request in requests
        ]
        if rows:
            summary = self._client.insert(
                "otel_logs",
                rows,
                column_names=list(LOG_COLUMNS),
                column_type_names=list(LOG_COLUMNS.values()),
                settings=_LOG_SETTINGS,
            )
            self._check_whole(summary)
        return rejected


class RawSpanWriter(_Writer[SpanRows]):
    """Spans as they came, read with `keep_raw`, into `table`, whose other columns have defaults.

    wanted: which Span messages go there; all when not given.
    """

    _items = "spans"
    _columns: ClassVar[dict[str, str]] = {
        "TraceId": "String",
        "SpanId": "FixedString(8)",
        "ParentSpanId": "FixedString(8)",
        "Span": "String",
        "Resource": "LowCardinality(String)",
        "Scope": "LowCardinality(String)",
    }

    def __init__(
        self, client: Client, table: str, *, wanted: Callable[[bytes], bool] = lambda span: True
    ) -> None:
        super().__init__(client)
        self._table = table
        self._wanted = wanted

    def _store(self, requests: Sequence[SpanRows | bytes]) -> list[Rejected]:
        groups = [rows for rows in requests if isinstance(rows, SpanRows)]
        spans = [
            (raw.trace_id.hex(), raw.span_id, raw.parent_span_id or NO_SPAN_ID, *raw[3:])
            for rows in groups
            for raw in rows.raw
            if self._wanted(raw.span)
        ]
        if spans:
            summary = self._client.insert(
                self._table,
                [list(column) for column in zip(*spans, strict=True)],
                column_names=list(self._columns),
                column_type_names=list(self._columns.values()),
                column_oriented=True,
                settings=_LOG_SETTINGS,
            )
            self._check_whole(summary)
        return [rows.rejected for rows in groups]


@cache
def _statement(columns: tuple[str, ...], schema_path: str = "") -> str:
    """Insert `columns` of a stream of Row messages.

    The stream follows the statement or, given the path of the schema, is the file `{path}`.
    """
    schema = schema_path or (_SQL / "spans.proto").read_text("utf-8")
    marks = {
        "/* columns */": ", ".join(f"`{column}`" for column in columns),
        "/* schema source */": "file" if schema_path else "string",
        "/* schema */": schema.replace("\\", "\\\\").replace("'", "\\'"),
    }
    sql = re.sub(r"(?m)^ *--.*\n", "", (_SQL / "insert_spans.sql").read_text("utf-8")).rstrip()
    for mark, text in marks.items():
        sql = sql.replace(mark, text)
    if schema_path:
        sql = sql.replace("input(", "file({path:String}, 'Protobuf', ").removesuffix("FORMAT Protobuf")
    return sql


def _sentence(error: BaseException) -> str:
    """The system's own words for a lost connection, else the first line without the request's URL."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        reason = getattr(cause, "reason", None)
        cause = reason if isinstance(reason, Exception) else cause.__cause__ or cause.__context__
    first = (str(error).strip() or repr(error)).split("\n")[0]
    return re.sub(r"\s*\(for url [^)]*\)|with url: \S+", "", first)
