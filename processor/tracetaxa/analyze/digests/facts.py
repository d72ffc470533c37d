"""The first line of a digest: what a program knows about the trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.analyze.plain_text import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.records import Feedback, Trace

_FEEDBACK_SHOWN = 4
_COMMENT_CHARS = 160


def facts(trace: Trace) -> str:
    """Name, counts, time, status, and what people and judges think of it."""
    failed_tools = sum(turn.error for turn in trace.turns if turn.role == "tool")
    seconds = (trace.end_ns - trace.start_ns) / 1e9
    told = [
        shorten(trace.root_name or trace.service_name or "trace", 60),
        count(trace.llm_calls, "model call"),
        count(trace.tool_calls, "tool call") + (f" ({failed_tools} failed)" if failed_tools else ""),
        count(trace.span_count, "span"),
        f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min",
        f"status {trace.status}",
    ]
    if trace.error_count:
        told.append(count(trace.error_count, "error"))
    if not trace.has_root:
        told.append("root span missing")
    told += _feedback(trace.feedback)
    if not trace.content_captured:
        told.append("content not captured")
    return ", ".join(told)


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _feedback(given: Sequence[Feedback]) -> list[str]:
    """Those with a comment first: it says why, in somebody's own words."""
    ordered = sorted(given, key=lambda f: (not f.comment.strip(), f.name, f.feedback_id))
    told = [_opinion(feedback) for feedback in ordered[:_FEEDBACK_SHOWN]]
    if len(ordered) > _FEEDBACK_SHOWN:
        told.append(f"{len(ordered) - _FEEDBACK_SHOWN} more feedback")
    return told


def _opinion(feedback: Feedback) -> str:
    name = shorten(feedback.name, 40)
    score = "" if feedback.score is None else f"{feedback.score:g}"
    label = shorten(feedback.label, 40)
    verdict = f"{score} ({label})" if score and label and label != score else score or label
    comment = shorten(feedback.comment, _COMMENT_CHARS)
    told = " ".join(part for part in ("feedback", name) if part) + (f"={verdict}" if verdict else "")
    return f'{told} "{comment}"' if comment else told
