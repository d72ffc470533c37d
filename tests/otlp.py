"""OTLP requests by hand: small numbers stand for ids."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

START_NS = 1_795_337_071_000_000_000


def span(trace: int, number: int, parent: int = 0, **changes: Any) -> Span:
    attributes = changes.pop("attributes", {})
    start = changes.pop("start", START_NS + number * 10**6)
    made = Span(
        trace_id=trace.to_bytes(16),
        span_id=number.to_bytes(8),
        parent_span_id=parent.to_bytes(8) if parent else b"",
        name=changes.pop("name", "chat"),
        start_time_unix_nano=start,
        end_time_unix_nano=start + changes.pop("duration", 10**6),
        status=Status(code=changes.pop("status", 0)),
        attributes=[KeyValue(key=k, value=AnyValue(string_value=str(v))) for k, v in attributes.items()],
    )
    assert not changes
    return made


def log(trace: int, span: int = 0, **changes: Any) -> LogRecord:
    """A GenAI event of a span, or with span 0 of the trace as a whole, observed a moment after its start."""
    attributes = changes.pop("attributes", {})
    made = LogRecord(
        trace_id=trace.to_bytes(16),
        span_id=span.to_bytes(8),
        event_name=changes.pop("name", "gen_ai.user.message"),
        observed_time_unix_nano=changes.pop("time", START_NS + span * 10**6 + 1000),
        body=AnyValue(string_value=changes.pop("body", "")),
        attributes=[KeyValue(key=k, value=AnyValue(string_value=str(v))) for k, v in attributes.items()],
    )
    assert not changes
    return made


def request(*spans: Span) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=_shop(), scope_spans=[ScopeSpans(spans=spans)])]
    )


def log_request(*records: LogRecord) -> ExportLogsServiceRequest:
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=_shop(), scope_logs=[ScopeLogs(log_records=records)])]
    )


def _shop() -> Resource:
    return Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="shop"))])


CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.usage.input_tokens": 40,
    "gen_ai.usage.output_tokens": 4,
    "gen_ai.conversation.id": "c1",
    "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "Where is my order?"}]}]',
    "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "On its way."}]}]',
}
