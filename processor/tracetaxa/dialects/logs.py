"""GenAI events that travel as log records, put back on the spans that they belong to.

The conventions moved message events from spans to logs in 1.28, and content from there to attributes in 1.37;
instrumentations of each time are in use, and `gen_ai.client.inference.operation.details` is a log today.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from tracetaxa.records import SpanEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.dialects.tree import Tree
    from tracetaxa.records import LogRecord, Span

BODY = "gen_ai.event.content"


def with_logs(tree: Tree, logs: Sequence[LogRecord]) -> tuple[Span, ...]:
    """The spans of the tree, in its order, with the records as events.

    A record of no span, or of one that is missing, goes to the root: what it judges is the whole trace.
    """
    if not logs:
        return tree.spans
    events: dict[int, list[SpanEvent]] = defaultdict(list)
    index = {(span.trace_id, span.span_id): i for i, span in enumerate(tree.spans)}
    for record in sorted(logs, key=lambda record: record.time_ns):
        events[index.get((record.trace_id, record.span_id), tree.root)].append(_event(record))
    return tuple(
        replace(span, events=(*span.events, *events[i])) if i in events else span
        for i, span in enumerate(tree.spans)
    )


def _event(record: LogRecord) -> SpanEvent:
    attributes = dict(record.attributes)
    if record.body:
        attributes[BODY if record.body.startswith("{") else "content"] = record.body
    return SpanEvent(record.time_ns, record.event_name, attributes)
