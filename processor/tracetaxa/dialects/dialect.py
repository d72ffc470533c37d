"""The dialects that are spoken, and the choice of one for each span."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tracetaxa.dialects.genai import GenAi
from tracetaxa.dialects.generic import Generic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.dialects.reading import Dialect, SpanReading
    from tracetaxa.records import Span

log = logging.getLogger(__name__)

DIALECTS: tuple[type[Dialect], ...] = (GenAi, Generic)
"""In order of precedence: the first that matches a span reads it. The last matches any span."""


def read_spans(spans: Sequence[Span]) -> list[SpanReading]:
    """The reading of each span of one trace; spans in time order."""
    dialects = [dialect() for dialect in DIALECTS]
    return [_read(span, dialects) for span in spans]


def _read(span: Span, dialects: Sequence[Dialect]) -> SpanReading:
    for dialect in dialects:
        try:
            if dialect.matches(span):
                return dialect.read(span)
        except Exception:
            # Content is anybody's: a span that a dialect trips over still counts, and never stops its trace.
            name = type(dialect).__name__
            log.warning("%s can't read span %s of trace %s", name, span.span_id, span.trace_id, exc_info=True)
    return Generic().read(span)
