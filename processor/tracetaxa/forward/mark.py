"""By which forwarded spans are known again: what a loop brings back is stored and not forwarded once more."""

from __future__ import annotations

from typing import Final

from tracetaxa_exporter.otlp import read_text

MARK: Final = "tracetaxa.instance"
"""Attribute of every span that was forwarded: which deployments forwarded it, the last one last."""
_BETWEEN: Final = ","


class Mark:
    """The mark of one deployment, which is all processes on one database."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self._bytes = instance.encode()

    def is_on(self, span: bytes) -> bool:
        """Whether a Span message has been forwarded by this deployment."""
        return self._bytes in span and self.instance in (read_text(span, MARK) or "").split(_BETWEEN)

    def after(self, span: bytes) -> str:
        """The mark that a Span message gets: behind those of other deployments, so that a circle of several
        ends as well."""
        others = read_text(span, MARK)
        return f"{others}{_BETWEEN}{self.instance}" if others else self.instance
