"""Rows of `otel_traces` → Span records, grouped by trace."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tracetaxa.records import Span, SpanEvent, SpanLink

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tracetaxa.protocols import Database


async def load_spans(db: Database, trace_ids: Sequence[str]) -> dict[str, list[Span]]:
    """Spans by trace id; a trace without stored spans is absent."""
    rows = await db.rows("spans_of_traces", trace_ids=list(trace_ids))
    return group_by_trace(to_span(row) for row in rows)


def group_by_trace(spans: Iterable[Span]) -> dict[str, list[Span]]:
    grouped: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        grouped[span.trace_id].append(span)
    return dict(grouped)


def to_span(row: Mapping[str, Any]) -> Span:
    """One row of the statement `spans_of_traces`."""
    events = zip(row["EventTimes"], row["EventNames"], row["EventAttributes"], strict=True)
    links = zip(row["LinkTraceIds"], row["LinkSpanIds"], row["LinkAttributes"], strict=True)
    return Span(
        trace_id=row["TraceId"],
        span_id=row["SpanId"],
        parent_span_id=row["ParentSpanId"],
        name=row["SpanName"],
        kind=row["SpanKind"],
        service_name=row["ServiceName"],
        start_ns=row["StartNs"],
        duration_ns=row["Duration"],
        status=row["StatusCode"],
        status_message=row["StatusMessage"],
        attributes=row["SpanAttributes"],
        resource=row["ResourceAttributes"],
        scope_name=row["ScopeName"],
        scope_version=row["ScopeVersion"],
        events=tuple(SpanEvent(*event) for event in events),
        links=tuple(SpanLink(*link) for link in links),
    )
