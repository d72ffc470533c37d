"""Telemetry as instrumentations sent it: OTLP requests to the records that dialects read.

`tests/data/instrumentations` has one two-turn conversation about the weather, with a tool, as 16
instrumentations report it; `../shared/data/otel_native_shapes` other people's dumps, which stay there.
"""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracetaxa.records import LogRecord, Span, SpanEvent, SpanLink
from tracetaxa_exporter.clickhouse.values import text, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
CAPTURES = ROOT / "tests" / "data" / "instrumentations"
NATIVE = ROOT.parent / "shared" / "data" / "otel_native_shapes"
NAMES = sorted(path.name for path in CAPTURES.iterdir() if path.is_dir())

_KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
_STATUS = ("Unset", "Ok", "Error")


def requests(name: str) -> tuple[list[ExportTraceServiceRequest], list[ExportLogsServiceRequest]]:
    """The requests of one capture, in the order in which they were sent."""
    traces, logs = [], []
    for path in sorted((CAPTURES / name).iterdir()):
        if path.name.endswith("_traces.pb"):
            traces.append(ExportTraceServiceRequest.FromString(path.read_bytes()))
        elif path.name.endswith("_logs.pb"):
            logs.append(ExportLogsServiceRequest.FromString(path.read_bytes()))
        elif path.name.endswith(".otlp.json"):
            traces.append(_from_json(json.loads(path.read_text("utf-8"))))
    return traces, logs


def capture(name: str) -> tuple[list[Span], list[LogRecord]]:
    traces, logs = requests(name)
    return list(_spans(traces)), list(_logs(logs))


def native() -> dict[str, list[Span]]:
    """Spans of every dump, by name; empty where the dumps are not there."""
    found: dict[str, list[Span]] = {}
    for path in sorted(NATIVE.glob("any-agent/*_trace.json")):
        spans = json.loads(path.read_text("utf-8"))["spans"]
        found[f"any-agent/{path.name.removesuffix('_trace.json').lower()}"] = [_any_agent(s) for s in spans]
    for path in NATIVE.glob("vercel-ai-sdk-v6/all-spans.json"):
        found["vercel-ai-sdk-v6"] = [_javascript(span) for span in json.loads(path.read_text("utf-8"))]
    for path in NATIVE.glob("agento-otlp/*.otlp.json"):
        lines = path.read_text("utf-8").splitlines()
        found["agento-otlp"] = list(_spans([_from_json(json.loads(line)) for line in lines]))
    return found


def by_trace(spans: Sequence[Span]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(span.trace_id, []).append(span)
    return found


def _spans(received: Sequence[ExportTraceServiceRequest]) -> Iterator[Span]:
    for resource_spans in (group for request in received for group in request.resource_spans):
        resource = texts(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_span_id=span.parent_span_id.hex(),
                    name=span.name,
                    kind=_KINDS[span.kind],
                    service_name=resource.get("service.name", ""),
                    start_ns=span.start_time_unix_nano,
                    duration_ns=span.end_time_unix_nano - span.start_time_unix_nano,
                    status=_STATUS[span.status.code],
                    status_message=span.status.message,
                    attributes=texts(span.attributes),
                    resource=resource,
                    scope_name=scope_spans.scope.name,
                    scope_version=scope_spans.scope.version,
                    events=tuple(
                        SpanEvent(event.time_unix_nano, event.name, texts(event.attributes))
                        for event in span.events
                    ),
                    links=tuple(
                        SpanLink(link.trace_id.hex(), link.span_id.hex(), texts(link.attributes))
                        for link in span.links
                    ),
                )


def _logs(received: Sequence[ExportLogsServiceRequest]) -> Iterator[LogRecord]:
    for resource_logs in (group for request in received for group in request.resource_logs):
        for record in (record for scope in resource_logs.scope_logs for record in scope.log_records):
            yield LogRecord(
                trace_id=record.trace_id.hex(),
                span_id=record.span_id.hex(),
                time_ns=record.time_unix_nano or record.observed_time_unix_nano,
                event_name=record.event_name,
                body=text(record.body),
                attributes=texts(record.attributes),
            )


def _from_json(value: dict[str, Any]) -> ExportTraceServiceRequest:
    """OTLP/JSON writes ids in hex, protobuf's JSON in base64."""
    for group in value["resourceSpans"]:
        for span in (span for scope in group["scopeSpans"] for span in scope["spans"]):
            for holder in [span, *span.get("links", [])]:
                for key in ("traceId", "spanId", "parentSpanId"):
                    if holder.get(key):
                        holder[key] = b64encode(bytes.fromhex(holder[key])).decode()
    return Parse(json.dumps(value), ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _any_agent(value: dict[str, Any]) -> Span:
    """The Python SDK's objects as JSON."""
    context, parent = value["context"], value["parent"] or {}
    return Span(
        trace_id=f"{context['trace_id']:032x}",
        span_id=f"{context['span_id']:016x}",
        parent_span_id=f"{parent['span_id']:016x}" if parent.get("span_id") else "",
        name=value["name"],
        kind=value["kind"].title(),
        service_name="any-agent",
        start_ns=value["start_time"],
        duration_ns=value["end_time"] - value["start_time"],
        status=value["status"]["status_code"].title(),
        status_message=value["status"]["description"] or "",
        attributes={key: str(item) for key, item in value["attributes"].items()},
    )


def _javascript(value: dict[str, Any]) -> Span:
    """The JavaScript SDK's objects as JSON."""
    start, end = (seconds * 10**9 + nanos for seconds, nanos in (value["startTime"], value["endTime"]))
    attributes = {
        key: item if isinstance(item, str) else json.dumps(item) for key, item in value["attributes"].items()
    }
    return Span(
        trace_id=value["spanContext"]["traceId"],
        span_id=value["spanContext"]["spanId"],
        parent_span_id=value.get("parentSpanId") or "",
        name=value["name"],
        kind="Internal",
        service_name="vercel",
        start_ns=start,
        duration_ns=end - start,
        status=_STATUS[value["status"]["code"]],
        attributes=attributes,
        scope_name="ai",
    )
