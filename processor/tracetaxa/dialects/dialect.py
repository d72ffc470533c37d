"""The dialects that are spoken, and what they say together of each span."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.adk import GoogleAdk
from tracetaxa.dialects.annotations import Annotations
from tracetaxa.dialects.anyagent import AnyAgent
from tracetaxa.dialects.genai import GenAi
from tracetaxa.dialects.generic import Generic
from tracetaxa.dialects.langfuse import Langfuse
from tracetaxa.dialects.langsmith import LangSmith
from tracetaxa.dialects.logfire import Logfire
from tracetaxa.dialects.mcp import Mcp
from tracetaxa.dialects.mlflow import MLflow
from tracetaxa.dialects.openinference import OpenInference
from tracetaxa.dialects.reading import SpanReading
from tracetaxa.dialects.traceloop import Traceloop
from tracetaxa.dialects.vercel import Vercel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.dialects.reading import Dialect
    from tracetaxa.records import Span

log = logging.getLogger(__name__)

DIALECTS: tuple[type[Dialect], ...] = (
    Langfuse,
    MLflow,
    GoogleAdk,
    Mcp,
    Vercel,
    LangSmith,
    Logfire,
    Traceloop,
    OpenInference,
    AnyAgent,
    GenAi,
    Annotations,
)
"""In order of precedence: the first that matches a span wins, the next fill in what it leaves open. What none
of them has anything to say of is a plain span (generic.py)."""


def read_spans(spans: Sequence[Span]) -> tuple[list[SpanReading], list[tuple[str, ...]]]:
    """The reading of each span of one trace, and the names of the dialects that had a say in it.

    Spans are in time order.
    """
    dialects = [dialect() for dialect in DIALECTS]
    read = [_read(span, dialects) for span in spans]
    return [reading for reading, _ in read], [names for _, names in read]


def _read(span: Span, dialects: Sequence[Dialect]) -> tuple[SpanReading, tuple[str, ...]]:
    roots = {key.partition(".")[0] for key in span.attributes}
    if span.events:
        roots.update([event.name.partition(".")[0] for event in span.events])
    reading = _NOTHING
    names: tuple[str, ...] = ()
    for dialect in dialects:
        try:
            if not dialect.matches(span, roots):
                continue
            said = dialect.read(span)
        except Exception:
            # Content is anybody's: a span that a dialect trips over still counts, and never stops its trace.
            log.warning(
                "%s can't read span %s of trace %s", dialect.name, span.span_id, span.trace_id, exc_info=True
            )
            continue
        if said != _NOTHING:
            reading = said if reading is _NOTHING else _filled(reading, said)
            names = (*names, dialect.name)
    return (reading, names) if names else (_GENERIC.read(span), (_GENERIC.name,))


def _filled(first: SpanReading, second: SpanReading) -> SpanReading:
    """The first reading with its gaps filled from the second."""
    gaps = _gaps(first, second)
    if first.kind == "other" and second.kind != "other":
        gaps["kind"] = second.kind
    if first.tool and second.tool:
        gaps["tool"] = first.tool.filled(second.tool)
    if first.feedback and second.feedback:
        known = {judgement.name for judgement in first.feedback}
        gaps["feedback"] = (*first.feedback, *(j for j in second.feedback if j.name not in known))
    return replace(first, **gaps) if gaps else first


def _gaps(first: SpanReading, second: SpanReading) -> dict[str, Any]:
    return {
        name: value
        for name in _FIELDS
        if getattr(first, name) in _EMPTY and (value := getattr(second, name)) not in _EMPTY
    }


_GENERIC = Generic()
_NOTHING = SpanReading()
_EMPTY: tuple[object, ...] = ("", (), None)
_FIELDS = tuple(f.name for f in fields(SpanReading) if f.name != "kind")
