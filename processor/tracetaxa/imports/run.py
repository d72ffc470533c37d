"""An import from beginning to end: every row read, good ones sent in batches, the others told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from tracetaxa.errors import MalformedRequest
from tracetaxa.imports.formats import Format, read_rows
from tracetaxa.imports.history import HISTORY_CHARACTERS
from tracetaxa.imports.identity import TraceIds
from tracetaxa.imports.rows import BadLine, ChatRow, OtlpRow, Problem
from tracetaxa.imports.spans import to_resource_spans
from tracetaxa.protocols import no_progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    from tracetaxa.imports.rows import Row
    from tracetaxa.imports.sinks import Sink
    from tracetaxa.imports.source import Source
    from tracetaxa.protocols import Progress

DAY_NS = 86_400 * 10**9
_ROWS_A_TICK = 64


@dataclass(frozen=True, slots=True)
class Options:
    """How rows become traces.

    service: service.name of the chats, the name of their file when empty.
    at_ns: when chats without times end.
    oldest_ns, latest_ns: what starts outside of these the store would drop, or refuse.
    shown_problems: so many are told one by one.
    batch_spans, batch_bytes: a request is sent when it holds as much.
    max_bytes: a chat above it is sent in pieces.
    """

    form: Format = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    service: str = ""
    at_ns: int = 0
    oldest_ns: int = 0
    latest_ns: int = 2**63 - 1
    retention_days: int = 0
    shown_problems: int = 10
    history_characters: int = HISTORY_CHARACTERS
    batch_spans: int = 4000
    batch_bytes: int = 4 << 20
    max_bytes: int = 16 << 20


@dataclass(slots=True)
class Summary:
    """What became of the rows. `refused` are good ones that the store does not keep."""

    files: int = 0
    read: int = 0
    imported_traces: int = 0
    spans: int = 0
    logs: int = 0
    bad: int = 0
    refused: int = 0
    problems: list[Problem] = field(default_factory=list)
    first_start_ns: int = 0
    last_start_ns: int = 0

    @property
    def went_in(self) -> bool:
        return bool(self.spans or self.logs)

    def as_dict(self) -> dict[str, Any]:
        return {
            "files": self.files,
            "read": self.read,
            "imported_traces": self.imported_traces,
            "spans": self.spans,
            "logs": self.logs,
            "bad": self.bad,
            "refused": self.refused,
            "problems": [{"file": p.file, "line": p.line, "reason": p.reason} for p in self.problems],
        }


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Part of a batch: all of one chat, or what one resource says in a request."""

    file: str
    line: int
    spans: ResourceSpans
    count: int


class Import:
    """Call `read` for each source, then `finish`. Without a sink, rows are read and counted only.

    Both raise StoreUnavailable when the sink does; what it took is stored.
    """

    def __init__(self, options: Options, sink: Sink | None, progress: Progress = no_progress) -> None:
        self.summary = Summary()
        self._options = options
        self._sink = sink
        self._progress = progress
        self._ids: dict[str, TraceIds] = {}
        self._traces: set[bytes] = set()
        self._batch: list[_Waiting] = []
        self._batch_spans = self._batch_bytes = 0

    def read(self, source: Source) -> None:
        """Every row of a source. Raises ConfigError for a column that was chosen and is not there."""
        service = self._options.service or source.stem
        self.summary.files += 1
        ids = self._ids.setdefault(service, TraceIds(service))
        rows = read_rows(source, self._options.form, self._options.columns, service)
        before = self.summary.read
        for number, row in enumerate(rows):
            self.summary.read += 1
            self._take(row, source.name, service, ids)
            if number % _ROWS_A_TICK == 0:
                self._show(source)
        self._show(source)
        if self.summary.read == before:
            self._problem(source.name, 0, "nothing in it")

    def finish(self) -> Summary:
        self._flush()
        self.summary.imported_traces = len(self._traces)
        return self.summary

    def _show(self, source: Source) -> None:
        if source.size_bytes:
            total = max(source.size_bytes >> 10, 1)
            self._progress(f"{source.name} (KiB)", min(max(source.bytes_read >> 10, 1), total), total)

    # ------------------------------------------------------------------------------------- rows

    def _take(self, row: Row, file: str, service: str, ids: TraceIds) -> None:
        if isinstance(row, BadLine):
            self.summary.bad += 1
            self._problem(file, row.line, row.reason)
        elif isinstance(row, ChatRow):
            made = to_resource_spans(
                row.chat,
                ids.trace_id(row.chat),
                service,
                at_ns=self._options.at_ns,
                history_characters=self._options.history_characters,
            )
            reason = self._outside(min(span.start_time_unix_nano for span in made.scope_spans[0].spans))
            if reason:
                self._refuse(file, row.line, reason)
            else:
                self._add(file, row.line, made)
        else:
            self._take_otlp(row, file)

    def _take_otlp(self, row: OtlpRow, file: str) -> None:
        reasons: dict[str, int] = {}
        for resource_spans in row.traces.resource_spans if row.traces else ():
            for scope_spans in resource_spans.scope_spans:
                kept = [span for span in scope_spans.spans if not self._left_out(span, reasons)]
                if len(kept) < len(scope_spans.spans):
                    kept = [type(span).FromString(span.SerializeToString()) for span in kept]
                    del scope_spans.spans[:]
                    scope_spans.spans.extend(kept)
            self._add(file, row.line, resource_spans)
        if reasons:
            count = sum(reasons.values())
            self._refuse(file, row.line, f"{count} span{'s' * (count > 1)} left out: {'; '.join(reasons)}")
        if row.logs:
            self._send_logs(row.logs, file, row.line)

    def _left_out(self, span: Any, reasons: dict[str, int]) -> bool:
        if len(span.trace_id) != 16 or len(span.span_id) != 8:
            reason = "the trace or span id has the wrong length"
        else:
            reason = self._outside(span.start_time_unix_nano)
        if reason:
            reasons[reason] = reasons.get(reason, 0) + 1
        return bool(reason)

    def _outside(self, start_ns: int) -> str:
        """Why the store would not keep what starts then; empty when it would."""
        if start_ns < self._options.oldest_ns:
            days = self._options.retention_days
            needed = days + (self._options.oldest_ns - start_ns) // DAY_NS + 2
            return f"older than store.retention_days ({days}) keeps: set it to {needed} or more"
        if start_ns > self._options.latest_ns:
            return "it starts more than a day ahead"
        return ""

    def _refuse(self, file: str, line: int, reason: str) -> None:
        self.summary.refused += 1
        self._problem(file, line, reason)

    def _problem(self, file: str, line: int, reason: str) -> None:
        if len(self.summary.problems) < self._options.shown_problems:
            self.summary.problems.append(Problem(file, line, reason))

    # ------------------------------------------------------------------------------------- sending

    def _add(self, file: str, line: int, made: ResourceSpans) -> None:
        for piece in _pieces(made, self._options.max_bytes):
            count = sum(len(scope.spans) for scope in piece.scope_spans)
            size = piece.ByteSize()
            full = (
                self._batch_spans + count > self._options.batch_spans
                or self._batch_bytes + size > self._options.batch_bytes
            )
            if self._batch and full:
                self._flush()
            if count:
                self._batch.append(_Waiting(file, line, piece, count))
                self._batch_spans += count
                self._batch_bytes += size

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self._batch_spans = self._batch_bytes = 0
        if batch:
            self._deliver(batch)

    def _deliver(self, batch: list[_Waiting]) -> None:
        """All at once; when something is not taken, one by one, to tell which."""
        request = ExportTraceServiceRequest(resource_spans=[waiting.spans for waiting in batch])
        count, reason = sum(waiting.count for waiting in batch), ""
        refused = 0
        if self._sink is not None:
            try:
                refusal = self._sink.send(request)
                refused, reason = refusal.count, refusal.reason
            except MalformedRequest as error:
                refused, reason = count, str(error)
        if refused and len(batch) > 1:
            for waiting in batch:
                self._deliver([waiting])
            return
        if refused:
            self._refuse(batch[0].file, batch[0].line, reason)
        self.summary.spans += count - refused
        if refused < count:
            self._note_traces(batch)

    def _note_traces(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            for scope_spans in waiting.spans.scope_spans:
                self._traces.update([span.trace_id for span in scope_spans.spans])
                starts = [span.start_time_unix_nano for span in scope_spans.spans]
                known = self.summary.first_start_ns
                self.summary.first_start_ns = min([*starts, *([known] if known else [])])
                self.summary.last_start_ns = max([*starts, self.summary.last_start_ns])

    def _send_logs(self, logs: ExportLogsServiceRequest, file: str, line: int) -> None:
        count = sum(
            len(scope.log_records) for resource in logs.resource_logs for scope in resource.scope_logs
        )
        refused, reason = 0, ""
        if self._sink is not None:
            try:
                refusal = self._sink.send(logs)
                refused, reason = refusal.count, refusal.reason
            except MalformedRequest as error:
                refused, reason = count, str(error)
        if refused:
            self._refuse(file, line, reason)
        self.summary.logs += count - refused


def _pieces(made: ResourceSpans, max_bytes: int) -> list[ResourceSpans]:
    """The same spans in parts that a receiver takes; a single span is never cut."""
    if made.ByteSize() <= max_bytes:
        return [made]
    pieces: list[ResourceSpans] = []
    for scope_spans in made.scope_spans:
        size = max_bytes
        for span in scope_spans.spans:
            if size + span.ByteSize() > max_bytes:
                pieces.append(ResourceSpans(resource=made.resource, schema_url=made.schema_url))
                pieces[-1].scope_spans.add(scope=scope_spans.scope, schema_url=scope_spans.schema_url)
                size = 0
            pieces[-1].scope_spans[0].spans.append(span)
            size += span.ByteSize()
    return pieces
