"""The spans of a trace as a tree for a reader, each with what its dialect makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.dialects.dialect import read_spans
from tracetaxa.dialects.failure import status_of
from tracetaxa.dialects.logs import with_logs
from tracetaxa.dialects.tree import build_tree
from tracetaxa.records import SpanLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.records import LogRecord, Span


def outline(spans: Sequence[Span], logs: Sequence[LogRecord] = ()) -> list[SpanLine]:
    """One line a span: parents before children, siblings by time. Orphans stand at depth 0."""
    tree = build_tree(spans)
    readings, names = read_spans(with_logs(tree, logs))
    children: dict[int, list[int]] = {}
    for i, parent in enumerate(tree.parents):
        children.setdefault(parent, []).append(i)
    lines = []
    waiting = [(i, 0) for i in reversed(children.get(-1, []))]
    while waiting:
        i, depth = waiting.pop()
        span, reading = tree.spans[i], readings[i]
        lines.append(
            SpanLine(
                trace_id=span.trace_id,
                depth=depth,
                span_id=span.span_id,
                name=span.name,
                service_name=span.service_name,
                kind=reading.kind,
                dialects=names[i],
                start_ns=span.start_ns,
                end_ns=span.end_ns,
                status=status_of(span),
                model=reading.model,
                input_tokens=reading.input_tokens,
                output_tokens=reading.output_tokens,
            )
        )
        waiting += [(child, depth + 1) for child in reversed(children.get(i, []))]
    return lines
