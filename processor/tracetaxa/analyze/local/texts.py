"""Texts that have been embedded, and those that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracetaxa.analyze.local.cluster import Matrix


class Embedder(Protocol):
    """Texts to vectors."""

    @property
    def related(self) -> float:
        """Inner product below which a request and a description are not about the same thing."""

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from a corpus; nothing for a model that has been trained."""

    def embed(self, texts: Sequence[str]) -> Matrix:
        """(len(texts), d), rows of length 1 or less."""


class EmbeddedTexts:
    """Each text is embedded once: much of what people and agents say has been said before."""

    def __init__(self, embedder: Embedder, corpus: Iterable[str] = ()) -> None:
        texts = sorted(set(corpus))
        if texts:
            embedder.fit(texts)
        self._embedder = embedder
        self._vectors: dict[str, Matrix] = {}
        # Batches of like length waste less.
        self._waiting = sorted(texts, key=lambda text: (-len(text), text))

    @property
    def related(self) -> float:
        """As the embedder has it."""
        return self._embedder.related

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def advance(self, most: int) -> None:
        """Embed some of the texts that wait."""
        self._add([self._waiting.pop() for _ in range(min(most, len(self._waiting)))])

    def vectors(self, texts: Sequence[str]) -> Matrix:
        """(len(texts), d)."""
        self._add([text for text in dict.fromkeys(texts) if text not in self._vectors])
        if not texts:
            width = len(next(iter(self._vectors.values()), ())) or 1
            return np.zeros((0, width), dtype=np.float32)
        return np.stack([self._vectors[text] for text in texts])

    def forget_after(self, known: int) -> None:
        """Keep the first `known` texts only: others came with traces that have been dealt with."""
        for text in list(self._vectors)[known:]:
            del self._vectors[text]

    def __len__(self) -> int:
        return len(self._vectors)

    def _add(self, texts: Sequence[str]) -> None:
        if texts:
            self._vectors.update(zip(texts, self._embedder.embed(texts), strict=True))
