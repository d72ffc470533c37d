"""The categories and subcategories that a classifier can tell apart, as numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.records import Assignment, Taxonomy

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Categories, and below each of them its leaves: subcategories, or what is in none of them."""

    categories: tuple[str, ...]
    leaves: tuple[tuple[int, str], ...]
    """(place of the category, subcategory id or empty), ascending by category; each has at least one."""

    @classmethod
    def learnable(cls, labels: Sequence[Assignment], taxonomy: Taxonomy, *, least_labels: int) -> Kinds:
        """Those with `least_labels` labels or more, in the order of the taxonomy."""
        given = Counter(label.category_id for label in labels)
        categories = tuple(
            c.category_id for c in taxonomy.top if given[c.category_id] >= max(1, least_labels)
        )
        pairs = Counter((label.category_id, label.subcategory_id) for label in labels)
        leaves: list[tuple[int, str]] = []
        for place, category in enumerate(categories):
            enough = [
                sub.category_id
                for sub in taxonomy.children(category)
                if pairs[category, sub.category_id] >= max(1, least_labels)
            ]
            rest = given[category] - sum(pairs[category, sub] for sub in enough)
            leaves += [(place, sub) for sub in ([""] if rest else []) + enough]
        return cls(categories, tuple(leaves))

    def targets(self, labels: Sequence[Assignment]) -> tuple[Indices, Indices]:
        """Of each label the place of its category and of its leaf, (n,) each; -1: it can't be learned."""
        category_at = {category: i for i, category in enumerate(self.categories)}
        leaf_at = {leaf: i for i, leaf in enumerate(self.leaves)}
        tops = [category_at.get(label.category_id, -1) for label in labels]
        leaves = [
            leaf_at.get((top, label.subcategory_id), leaf_at.get((top, ""), -1))
            for top, label in zip(tops, labels, strict=True)
        ]
        return np.array(tops, dtype=np.int64), np.array(leaves, dtype=np.int64)

    @property
    def parents(self) -> Indices:
        """Place of the category of each leaf."""
        return np.array([parent for parent, _ in self.leaves], dtype=np.int64)

    def best_leaf(self, scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Of scores by leaf, (n, leaves), the highest within each category: (n, categories)."""
        starts = np.searchsorted(self.parents, np.arange(len(self.categories)))
        best: npt.NDArray[Any] = np.maximum.reduceat(scores, starts, axis=1)
        return best
