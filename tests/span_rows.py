"""What the columns of spans must say, told the slow and plain way: a row of Python values a span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracetaxa_exporter.clickhouse.rows import NO_SPAN_ID, NO_TRACE_ID, id_text
from tracetaxa_exporter.clickhouse.values import texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from tracetaxa_exporter.clickhouse.rows import TimeLimits

KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
STATUSES = ("Unset", "Ok", "Error")


def span_rows(request: ExportTraceServiceRequest, limits: TimeLimits) -> Iterator[dict[str, Any]]:
    for resource_spans in request.resource_spans:
        resource = texts(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            for span in scope_spans.spans:
                start = span.start_time_unix_nano
                good_ids = len(span.trace_id) == 16 and len(span.span_id) == 8
                no_ids = span.trace_id == NO_TRACE_ID or span.span_id == NO_SPAN_ID
                if not good_ids or no_ids or len(span.parent_span_id) not in (0, 8):
                    continue
                if not limits.oldest_ns <= start <= limits.latest_ns:
                    continue
                end = min(span.end_time_unix_nano, limits.latest_ns)
                yield {
                    "Timestamp": start,
                    "TraceId": span.trace_id.hex(),
                    "SpanId": span.span_id.hex(),
                    "ParentSpanId": id_text(span.parent_span_id),
                    "TraceState": span.trace_state,
                    "SpanName": span.name,
                    "SpanKind": named(KINDS, span.kind),
                    "ServiceName": resource.get("service.name", ""),
                    "ResourceAttributes": resource,
                    "ScopeName": scope.name,
                    "ScopeVersion": scope.version,
                    "SpanAttributes": texts(span.attributes),
                    "Duration": max(end - start, 0),
                    "StatusCode": named(STATUSES, span.status.code),
                    "StatusMessage": span.status.message,
                    "Events.Timestamp": [min(event.time_unix_nano, 2**63 - 1) for event in span.events],
                    "Events.Name": [event.name for event in span.events],
                    "Events.Attributes": [texts(event.attributes) for event in span.events],
                    "Links.TraceId": [id_text(link.trace_id) for link in span.links],
                    "Links.SpanId": [id_text(link.span_id) for link in span.links],
                    "Links.TraceState": [link.trace_state for link in span.links],
                    "Links.Attributes": [texts(link.attributes) for link in span.links],
                    "ParentIsRemote": span.flags & 0x300 == 0x300,
                }


def named(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else ""
