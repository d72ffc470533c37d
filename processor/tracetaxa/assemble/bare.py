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


class Attempts:
    """How often each trace or session has failed; kept only while it is tried again."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._failed: dict[str, int] = {}

    def failed(self, identity: str) -> bool:
        """Count one more; says whether to try it again as it is."""
        count = self._failed.pop(identity, 0) + 1
        if count < self._most:
            self._failed[identity] = count
        return count < self._most

    def worked(self, identity: str) -> None:
        self._failed.pop(identity, None)
