"""Feedback stored beside the spans: read with a trace, saved when a span of another trace brings it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tracetaxa.assemble.ids import in_parts
from tracetaxa.records import Feedback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.protocols import Database

MAX_EACH = 1000
"""Of more pieces of feedback on one trace or session the newest are read."""


async def load_feedback(
    db: Database, trace_ids: Sequence[str], *, max_each: int = MAX_EACH
) -> dict[str, list[Feedback]]:
    """Feedback on these traces and their spans, oldest first; a trace without any is absent."""
    found: dict[str, list[Feedback]] = defaultdict(list)
    for ids in in_parts(trace_ids):
        for row in await db.records(
            "assembly/feedback_of_traces", Feedback, trace_ids=ids, max_each=max_each
        ):
            found[row.trace_id].append(row)
    return dict(found)


async def load_session_feedback(
    db: Database, session_ids: Sequence[str], *, max_each: int = MAX_EACH
) -> dict[str, list[Feedback]]:
    """Feedback on these sessions as a whole, oldest first; a session without any is absent."""
    found: dict[str, list[Feedback]] = defaultdict(list)
    for ids in in_parts(session_ids):
        for row in await db.records(
            "assembly/feedback_of_sessions", Feedback, session_ids=ids, max_each=max_each
        ):
            found[row.session_id].append(row)
    return dict(found)


async def save_new_feedback(db: Database, feedback: Sequence[Feedback]) -> int:
    """Insert what is not stored yet, or newer than what is stored under its id; returns how many rows.

    For spans that carry feedback on another trace: an insert is an arrival on that trace, so inserting the
    same again with each revision of the carrier would reopen it again and again.
    """
    newest: dict[str, Feedback] = {}
    for given in sorted(feedback, key=lambda given: given.given_at_ns):
        newest[given.feedback_id] = given
    new: list[Feedback] = []
    for ids in in_parts(list(newest)):
        trace_ids = sorted({newest[feedback_id].trace_id for feedback_id in ids})
        rows = await db.rows("assembly/known_feedback", trace_ids=trace_ids, feedback_ids=ids)
        known = {row["FeedbackId"]: row["NewestGivenAt"] for row in rows}
        new += [newest[i] for i in ids if i not in known or newest[i].given_at_ns > known[i]]
    await db.insert("feedback", new)
    return len(new)
