"""Rows of `otel_traces` → Span records, grouped by trace."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tracetaxa.assemble.ids import in_parts
from tracetaxa.assemble.times import load_times
from tracetaxa.records import Span, SpanEvent, SpanLink

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tracetaxa.assemble.sizes import ReadLimits
    from tracetaxa.assemble.times import Times
    from tracetaxa.protocols import Database

SPANS_LEFT_OUT = "tracetaxa.trace.spans_left_out"
"""Attribute of a trace that was too large to be read whole: how many of its last spans it leaves out."""
_ALL = 2**63 - 1


async def load_spans(
    db: Database, trace_ids: Sequence[str], times: Times | None = None
) -> dict[str, list[Span]]:
    """Spans by trace id; a trace without stored spans is absent. Unknown `times` are looked up."""
    found: dict[str, list[Span]] = {}
    times = times or await load_times(db, trace_ids)
    if times is None:
        return found
    for ids in in_parts(trace_ids):
        rows = await db.rows("assembly/spans_of_traces", trace_ids=ids, max_spans=_ALL, **times.parameters())
        found |= group_by_trace(to_span(row) for row in rows)
    return found


async def load_first_spans(
    db: Database, trace_id: str, limits: ReadLimits, times: Times
) -> tuple[list[Span], int]:
    """As many spans of one trace as the limits hold, in the order of time, and how many are left out."""
    (within,) = await db.rows(
        "assembly/spans_within",
        trace_id=trace_id,
        max_spans=limits.spans,
        max_bytes=limits.bytes,
        **times.parameters(),
    )
    rows = await db.rows(
        "assembly/spans_of_traces", trace_ids=[trace_id], max_spans=within["Spans"], **times.parameters()
    )
    return [to_span(row) for row in rows], within["LeftOut"]


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
