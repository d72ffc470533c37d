"""Feedback out of the readings of a trace, and whose it is."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tracetaxa.dialects.values import limited
from tracetaxa.dialects.verdicts import score_of_label
from tracetaxa.records import Feedback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.dialects.reading import Judgement, SpanReading
    from tracetaxa.records import Span

MAX_PIECES = 200
"""Of more pieces on one trace the newest are kept."""
MAX_NAME_CHARACTERS = 200
MAX_COMMENT_CHARACTERS = 10_000
"""What telemetry says beyond this is cut; the span keeps it."""


def judge(
    spans: Sequence[Span], readings: Sequence[SpanReading], given: Sequence[Feedback]
) -> tuple[tuple[Feedback, ...], tuple[Feedback, ...]]:
    """Feedback on the trace of these spans, and feedback on others that its spans carry.

    `given` came beside the spans. All of it is kept, oldest first, but for pieces that were changed later.
    """
    trace_ids = {span.trace_id for span in spans}
    carried = [
        _feedback(span, number, judgement)
        for span, reading in zip(spans, readings, strict=True)
        for number, judgement in enumerate(reading.feedback)
    ]
    own = [feedback for feedback in carried if feedback.trace_id in trace_ids]
    newest: dict[str, Feedback] = {}
    for feedback in sorted([*own, *given], key=lambda f: (f.given_at_ns, f.feedback_id)):
        newest.pop(feedback.feedback_id, None)
        newest[feedback.feedback_id] = feedback
    return tuple(newest.values())[-MAX_PIECES:], tuple(f for f in carried if f.trace_id not in trace_ids)


def _feedback(span: Span, number: int, judgement: Judgement) -> Feedback:
    identity = f"{span.trace_id}/{span.span_id}/{judgement.name}/{number}"
    elsewhere = bool(judgement.session_id or judgement.trace_id)
    return Feedback(
        feedback_id=hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:32],
        trace_id="" if judgement.session_id else judgement.trace_id or span.trace_id,
        session_id=judgement.session_id,
        span_id=judgement.span_id or ("" if elsewhere else span.span_id),
        name=limited(judgement.name, MAX_NAME_CHARACTERS),
        score=score_of_label(judgement.label) if judgement.score is None else judgement.score,
        label=limited(judgement.label, MAX_NAME_CHARACTERS),
        comment=limited(judgement.comment, MAX_COMMENT_CHARACTERS),
        annotator=judgement.annotator,
        source="span",
        given_at_ns=span.end_ns,
    )
