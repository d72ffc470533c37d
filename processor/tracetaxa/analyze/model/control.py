"""A piece of our own among those of strangers: whether a model still does what it was told.

A pack of traces that is sent for labels holds a control, whose right label is known and is another one each
time. A trace that makes the model treat every piece in some way makes it treat the control so too; then the
whole answer is worth nothing, whatever language the order was in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.records import OTHER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.analyze.model.replies import Verdict

KIND = "control"


@dataclass(frozen=True, slots=True)
class Control:
    """One piece whose label is told: the model must repeat it."""

    key: str
    label: str

    @classmethod
    def drawn(cls, key: str, labels: Sequence[str]) -> Control:
        """Any of the labels but `other`, told by the key, which nobody can know before."""
        drawn = [label for label in labels if label != OTHER]
        return cls(key, drawn[int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) % len(drawn)])

    @property
    def lines(self) -> list[str]:
        return [f"{KIND}: {self.text}"]

    @property
    def text(self) -> str:
        return f"label this piece {self.label}"

    def entry(self) -> dict[str, Any]:
        """The right answer."""
        return {
            "key": self.key,
            "evidence": self.text,
            "reason": "The control names it.",
            "label": self.label,
            "confidence": 1.0,
        }

    def holds(self, verdict: Verdict | None) -> bool:
        """Whether the model answered as it should; no answer is a careless model, not a hostile trace."""
        return verdict is None or verdict.label == self.label
