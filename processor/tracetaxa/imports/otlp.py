"""OTLP in JSON: lines of the collector's file exporter, and one request or a list of them in a document.

Ids are hexadecimal there (OTLP specification, "JSON Protobuf Encoding"), where protobuf's own JSON has
base64, which is understood as well.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracetaxa.imports.rows import BadRow, OtlpRow

_KEYS = ("resourceSpans", "resource_spans", "resourceLogs", "resource_logs")
_OTHER = ("resourceMetrics", "resource_metrics", "resourceProfiles", "resource_profiles")
_ID_BYTES = {"traceId": 16, "trace_id": 16, "spanId": 8, "span_id": 8, "parentSpanId": 8, "parent_span_id": 8}
_HOLDERS = (
    "resourceSpans",
    "resource_spans",
    "resourceLogs",
    "resource_logs",
    "scopeSpans",
    "scope_spans",
    "scopeLogs",
    "scope_logs",
    "spans",
    "links",
    "logRecords",
    "log_records",
)
_MAX_DEPTH = 60


def is_otlp(value: Any) -> bool:
    return isinstance(value, dict) and any(key in value for key in (*_KEYS, *_OTHER))


def read_otlp(value: dict[str, Any], line: int) -> OtlpRow:
    """Raises BadRow. A span or record with a bad id keeps it out of shape: the store says so of each."""
    if not any(key in value for key in _KEYS):
        raise BadRow(
            "metrics and profiles are not imported" if is_otlp(value) else "neither spans nor log records"
        )
    _encode_ids(value)
    traces = {key: value[key] for key in _KEYS[:2] if key in value}
    logs = {key: value[key] for key in _KEYS[2:] if key in value}
    try:
        return OtlpRow(
            line,
            json_format.ParseDict(
                traces,
                ExportTraceServiceRequest(),
                ignore_unknown_fields=True,
                max_recursion_depth=_MAX_DEPTH,
            )
            if traces
            else None,
            json_format.ParseDict(
                logs, ExportLogsServiceRequest(), ignore_unknown_fields=True, max_recursion_depth=_MAX_DEPTH
            )
            if logs
            else None,
        )
    except (json_format.ParseError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadRow(f"not OTLP: {str(error)[:200]}") from None


def _encode_ids(value: Any) -> None:
    """Hexadecimal ids to the base64 that protobuf's parser takes, in place."""
    if isinstance(value, list):
        for item in value:
            _encode_ids(item)
    elif isinstance(value, dict):
        for key, size in _ID_BYTES.items():
            if key in value:
                value[key] = _base64(value[key], size)
        for key in _HOLDERS:
            if key in value:
                _encode_ids(value[key])


def _base64(value: Any, size: int) -> str:
    if not isinstance(value, str) or not value:
        return ""
    if len(value) == 2 * size:
        try:
            return base64.b64encode(bytes.fromhex(value)).decode()
        except ValueError:
            return base64.b64encode(b"?").decode()
    try:
        if len(base64.b64decode(value, validate=True)) == size:
            return value
    except (binascii.Error, ValueError):
        pass
    return base64.b64encode(b"?").decode()
