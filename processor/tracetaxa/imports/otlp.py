"""OTLP in JSON: lines of the collector's file exporter, and one request or a list of them in a document."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracetaxa.imports.rows import BadRow, OtlpRow
from tracetaxa.otlp_json import parse_otlp

_KEYS = ("resourceSpans", "resource_spans", "resourceLogs", "resource_logs")
_OTHER = ("resourceMetrics", "resource_metrics", "resourceProfiles", "resource_profiles")


def is_otlp(value: Any) -> bool:
    return isinstance(value, dict) and any(key in value for key in (*_KEYS, *_OTHER))


def read_otlp(value: dict[str, Any], line: int) -> OtlpRow:
    """Raises BadRow. A span or record with a bad id keeps it out of shape: the store says so of each."""
    if not any(key in value for key in _KEYS):
        raise BadRow(
            "metrics and profiles are not imported" if is_otlp(value) else "neither spans nor log records"
        )
    traces = {key: value[key] for key in _KEYS[:2] if key in value}
    logs = {key: value[key] for key in _KEYS[2:] if key in value}
    try:
        return OtlpRow(
            line,
            parse_otlp(traces, ExportTraceServiceRequest) if traces else None,
            parse_otlp(logs, ExportLogsServiceRequest) if logs else None,
        )
    except ValueError as error:
        raise BadRow(f"not OTLP: {error}") from None
