"""Several span writers as one."""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from tracetaxa_exporter.clickhouse.rows import Rejected
    from tracetaxa_exporter.clickhouse.spans import SpanRows
    from tracetaxa_exporter.clickhouse.writer import SpanWriter


class SpanWriters:
    """`write` may be called by as many threads at a time as there are `writers`; others wait for one.

    A client of ClickHouse does one thing at a time, so each writer has its own.
    """

    def __init__(self, writers: Sequence[SpanWriter], *, keep_raw: bool = False) -> None:
        """keep_raw: what is read also holds its spans as they came (SpanRows.raw)."""
        self._reader = writers[0]
        self._reader.keep_raw = keep_raw
        self._idle: SimpleQueue[SpanWriter] = SimpleQueue()
        for writer in writers:
            self._idle.put(writer)

    def check(self) -> None:
        """As SpanWriter.check."""
        self._reader.check()

    def read(self, request: bytes) -> SpanRows:
        """As SpanWriter.read."""
        return self._reader.read(request)

    def write(self, requests: Sequence[ExportTraceServiceRequest | bytes | SpanRows]) -> list[Rejected]:
        """As SpanWriter.write."""
        writer = self._idle.get()
        try:
            return writer.write(requests)
        finally:
            self._idle.put(writer)
