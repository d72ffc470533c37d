"""What an import of some text would store, read back as the assembler reads it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from tracetaxa.assemble.spans import group_by_trace
from tracetaxa.dialects import read_trace
from tracetaxa.imports.run import Import, Options, Summary
from tracetaxa.imports.sinks import Refusal
from tracetaxa.imports.source import Source
from tracetaxa.records import Span
from tracetaxa_exporter.clickhouse.values import texts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

    from tracetaxa.imports.sinks import Request
    from tracetaxa.records import Trace

AT_NS = 1_795_337_071_000_000_000
STATUSES = ("Unset", "Ok", "Error")


class Recorded:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def send(self, request: Request) -> Refusal:
        self.requests.append(request)
        return Refusal()

    def resource_spans(self) -> Iterable[Any]:
        return (each for request in self.requests for each in getattr(request, "resource_spans", ()))

    def spans(self) -> list[Span]:
        return [
            to_span(span, texts(each.resource.attributes))
            for each in self.resource_spans()
            for scope in each.scope_spans
            for span in scope.spans
        ]

    def traces(self) -> list[Trace]:
        """In the order of their first spans."""
        return [read_trace(spans) for spans in group_by_trace(self.spans()).values()]


def to_span(span: WireSpan, resource: dict[str, str]) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        kind=("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")[span.kind],
        service_name=resource.get("service.name", ""),
        start_ns=span.start_time_unix_nano,
        duration_ns=span.end_time_unix_nano - span.start_time_unix_nano,
        status=STATUSES[span.status.code],
        status_message=span.status.message,
        attributes=texts(span.attributes),
        resource=resource,
    )


def run(data: str | bytes, name: str = "chats.jsonl", **options: Any) -> tuple[Recorded, Summary]:
    sink = Recorded()
    imported = Import(Options(**{"at_ns": AT_NS, "service": "shop", **options}), sink)
    raw = data.encode() if isinstance(data, str) else data
    imported.read(Source(name, io.BytesIO(raw)))
    return sink, imported.finish()


def turns(trace: Trace) -> list[tuple[str, ...]]:
    """(role, text), and (tool, name, arguments, result) for calls."""
    return [
        ("tool", turn.tool, turn.arguments, turn.text) if turn.role == "tool" else (turn.role, turn.text)
        for turn in trace.turns
    ]
