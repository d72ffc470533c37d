"""The last resort for a trace that can't be read: its spans without what they say.

Attributes, events and links are what dialects read and what senders choose; names, times and status are
left, so that the trace is there to be found, and says why there is no more of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.records import Span

UNREADABLE = "tracetaxa.trace.unreadable"
"""Attribute of a trace or session that was read without content: the kind of error that it caused."""


def bare(spans: Sequence[Span]) -> list[Span]:
    """The same spans without attributes, events, links, and texts that may be anything."""
    return [
        replace(
            span, name=_clean(span.name), status_message="", attributes={}, resource={}, events=(), links=()
        )
        for span in spans
    ]


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
