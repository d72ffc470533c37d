"""Spans and log records into their tables, committed when the call returns."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

from clickhouse_connect.driver.compression import get_compressor
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, Error, OperationalError
from clickhouse_connect.driver.httpclient import HttpClient
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tracetaxa_exporter.clickhouse.errors import WriteFailed
from tracetaxa_exporter.clickhouse.logs import LOG_COLUMNS, append_log_rows
from tracetaxa_exporter.clickhouse.rows import DAY_NS, Rejected, Row, TimeLimits
from tracetaxa_exporter.clickhouse.spans import OWN_SPAN_COLUMNS, SPAN_COLUMNS, SpanColumns
from tracetaxa_exporter.clickhouse.tables import column_types

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clickhouse_connect.driver.client import Client
    from clickhouse_connect.driver.summary import QuerySummary
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Request = TypeVar("Request")

_SETTINGS: Final = {
    # Newer servers put small inserts into a queue of their own by default; requests are already grouped here.
    "async_insert": 0,
    # A batch may span many days (an import, a sender that was offline); wild times are rejected before.
    "max_partitions_per_insert_block": 0,
    # Over HTTP, an error after the first byte of the answer would look like success.
    "wait_end_of_query": 1,
}
_SPAN_SETTINGS: Final = {
    # Duplicates within one insert are left to merges and FINAL, like those of two inserts: looking for them
    # here costs a third of the insert.
    "optimize_on_insert": 0,
}

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
        469,  # VIOLATED_CONSTRAINT
        691,  # UNKNOWN_ELEMENT_OF_ENUM
    }
)
"""ClickHouse's codes for "the same data will fail again"; anything else may pass when the server is well."""


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
        limits = TimeLimits.at(self._now_ns(), self._max_future_ns, self._max_age_ns)
        try:
            return self._store(requests, limits)
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
    def _store(self, requests: Sequence[Request | bytes], limits: TimeLimits) -> list[Rejected]:
        """What `write` does, with the client's own errors."""

    def _check_whole(self, summary: QuerySummary) -> None:
        """An answer cut off in its headers looks like success, but lacks the query's id.

        Raises OperationalError.
        """
        if isinstance(self._client, HttpClient) and not summary.query_id():
            raise OperationalError("its answer was cut off: it has no X-ClickHouse-Query-Id")


class SpanWriter(_Writer["ExportTraceServiceRequest"]):
    """Spans into `otel_traces`, dated by their start."""

    _items = "spans"
    _columns: Sequence[str] = ()

    def _store(
        self, requests: Sequence[ExportTraceServiceRequest | bytes], limits: TimeLimits
    ) -> list[Rejected]:
        spans = SpanColumns(limits)
        rejected = [
            spans.add(request if isinstance(request, bytes) else request.SerializeToString())
            for request in requests
        ]
        if len(spans):
            columns = self._columns or self._columns_of_table()
            self._insert(columns, spans.native(columns))
            self._columns = columns
        return rejected

    def _insert(self, columns: Sequence[str], block: bytes) -> None:
        compression = self._client.write_compression
        if compression:
            compressor = get_compressor(compression)
            block = bytes(compressor.compress_block(block)) + (compressor.flush() or b"")  # type: ignore[no-untyped-call]
        summary = self._client.raw_insert(
            "otel_traces",
            columns,
            block,
            settings=_SETTINGS | _SPAN_SETTINGS,
            fmt="Native",
            compression=compression,
        )
        self._check_whole(summary)

    def _columns_of_table(self) -> Sequence[str]:
        """Those that we write; a table of a collector has none of our own."""
        found = column_types(self._client, "otel_traces")
        return (*SPAN_COLUMNS, *(name for name in OWN_SPAN_COLUMNS if name in found))


class LogWriter(_Writer["ExportLogsServiceRequest"]):
    """Log records into `otel_logs`, dated by their time or else by when they were observed."""

    _items = "log records"

    def _store(
        self, requests: Sequence[ExportLogsServiceRequest | bytes], limits: TimeLimits
    ) -> list[Rejected]:
        rows: list[Row] = []
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
                settings=_SETTINGS,
            )
            self._check_whole(summary)
        return rejected


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
