"""OpenInference's annotations and evaluations: feedback as numbered attributes, on the span itself or on a
carrier span that is linked to what it judges, because an ended span can't be changed.

Source: openinference, spec/annotations.md (2026-07).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.flattened import unflatten
from tracetaxa.dialects.identity import session_of
from tracetaxa.dialects.reading import Judgement, SpanReading
from tracetaxa.dialects.values import text_of, to_float

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tracetaxa.records import Span

_WRAPPERS = {"annotations": "annotation", "evaluations": "evaluation"}
_SCOPES = ("", "trace.", "session.")
_OWN_LABELS = "tracetaxa."
"""Our own labels travel in this form too; when they come back they are nobody's feedback."""


class Annotations:
    name = "annotations"

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        if not _WRAPPERS.keys().isdisjoint(roots):
            return True
        if "trace" not in roots and "session" not in roots:
            return False
        prefixes = tuple(f"{scope}{listed}." for scope in _SCOPES[1:] for listed in _WRAPPERS)
        return any(key.startswith(prefixes) for key in span.attributes)

    def read(self, span: Span) -> SpanReading:
        return SpanReading(feedback=tuple(_judgements(span)))


def _judgements(span: Span) -> Iterator[Judgement]:
    target = span.links[0] if len(span.links) == 1 else None
    for scope in _SCOPES:
        for listed, wrapper in _WRAPPERS.items():
            found = unflatten(span.attributes, f"{scope}{listed}.")
            for item in found if isinstance(found, list) else ():
                said = item.get(wrapper) if isinstance(item, dict) else None
                if not isinstance(said, dict) or not _tells(said):
                    continue
                yield Judgement(
                    name=text_of(said["name"]),
                    score=to_float(said.get("score")),
                    label=text_of(said.get("label")),
                    comment=text_of(said.get("explanation")),
                    annotator=text_of(said.get("annotator_kind")).upper(),
                    trace_id=target.trace_id if target and scope != "session." else "",
                    span_id=target.span_id if target and not scope else "",
                    session_id=session_of(span) if scope == "session." else "",
                )


def _tells(said: dict[str, Any]) -> bool:
    """A name, and one of score, label and explanation."""
    name = text_of(said.get("name"))
    return (
        bool(name)
        and not name.startswith(_OWN_LABELS)
        and any(said.get(key) not in (None, "") for key in ("score", "label", "explanation"))
    )
