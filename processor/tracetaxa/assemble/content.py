"""What some traces are made of: their spans, log events and feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.assemble.feedback import load_feedback
from tracetaxa.assemble.logs import load_logs
from tracetaxa.assemble.spans import load_first_spans, load_spans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.assemble.sizes import ReadLimits, Size
    from tracetaxa.assemble.times import Times
    from tracetaxa.protocols import Database
    from tracetaxa.records import Feedback, LogRecord, Span


@dataclass(frozen=True, slots=True)
class Content:
    """By trace id."""

    spans: Mapping[str, Sequence[Span]]
    logs: Mapping[str, Sequence[LogRecord]]
    feedback: Mapping[str, Sequence[Feedback]]
    left_out: int = 0
    """Spans of a trace that is alone here because it is too large."""


async def load_content(
    db: Database, trace_ids: Sequence[str], times: Times | None, size: Size, limits: ReadLimits
) -> Content:
    """Traces that are read together; one that is alone may be of any `size`, and is cut to the limits.

    times: of all of them, None when no span of theirs is known, and then there is nothing.
    """
    if times is None:
        return Content({}, {}, {})
    left_out = 0
    if len(trace_ids) == 1 and not limits.hold(size):
        first, left_out = await load_first_spans(db, trace_ids[0], limits, times)
        spans = {trace_ids[0]: first}
    else:
        spans = await load_spans(db, trace_ids, times)
    logs = await load_logs(db, trace_ids, times, max_events=limits.spans, max_bytes=limits.bytes)
    return Content(spans, logs, await load_feedback(db, trace_ids), left_out)
