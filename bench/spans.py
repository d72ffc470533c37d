"""Planned traffic as the spans that the service would read back from its table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tracetaxa.records import Span, SpanEvent

if TYPE_CHECKING:
    from tracetaxa.demo.traffic import PlannedTrace


def spans_of(planned: PlannedTrace, trace_id: str) -> list[Span]:
    spans = []
    for i, span in enumerate(planned.spans):
        events = tuple(
            SpanEvent(planned.start_ns + e.at_ns, e.name, {k: _as_stored(v) for k, v in e.attributes.items()})
            for e in span.events
        )
        spans.append(
            Span(
                trace_id=trace_id,
                span_id=f"{i + 1:016x}",
                parent_span_id="" if span.parent is None else f"{span.parent + 1:016x}",
                name=span.name,
                kind=span.kind,
                service_name=str(planned.resource.get("service.name", "")),
                # Times are relative to the end of the traffic.
                start_ns=10**18 + planned.start_ns + span.start_ns,
                duration_ns=span.duration_ns,
                status="Error" if span.error else "Unset",
                status_message=span.error,
                attributes={key: _as_stored(value) for key, value in span.attributes.items()},
                resource=dict(planned.resource),
                events=events,
            )
        )
    return spans


def _as_stored(value: Any) -> str:
    """An attribute's value as the span table holds it."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else json.dumps(list(value))
