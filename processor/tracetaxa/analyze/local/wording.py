"""A sample's own words: from groups of traces to named and described categories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tracetaxa.analyze.local import keywords
from tracetaxa.analyze.local.keywords import Passage, Term, Vocabulary
from tracetaxa.analyze.local.represent import VIEWS, Document, Parts, Representation, as_said
from tracetaxa.analyze.naming import identify
from tracetaxa.records import Category

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.local.cluster import Matrix

_MARKED, _MARKED_MORE = 0.5, 0.25
"""A group is marked when this share of its traces ended badly, and so much more often than the rest."""
_FAILED, _NOT_DONE = "with errors", "unresolved"
_EXAMPLES = 40
"""Traces of a group among which its example is looked for."""


class Wording:
    """What the traces of a sample say; a row is a trace's number in it."""

    def __init__(
        self,
        documents: Sequence[Document],
        parts: Sequence[Parts],
        representation: Representation,
        *,
        verbatim: bool = True,
    ) -> None:
        """Without `verbatim` nothing is quoted: names and descriptions are of words that several share."""
        self._verbatim = verbatim
        self._documents = documents
        self._telling = {
            name: _by_trace([getattr(p, name) for p in parts], name, representation) for name in VIEWS[:2]
        }
        self._telling["action"] = [[Passage(p.action)] if p.action else [] for p in parts]
        self._failed = np.array([document.failed for document in documents], dtype=bool)
        self._not_done = np.array([any(map(keywords.not_done, p.answer)) for p in parts], dtype=bool)

    def vocabulary(self, labels: Matrix, groups: int, weights: Sequence[float]) -> Vocabulary:
        """The terms of groups 0 to `groups` - 1; `weights` says how much each view counts."""
        return Vocabulary(
            [
                [self._passages(row, weights) for row in np.flatnonzero(labels == group).tolist()]
                for group in range(groups)
            ]
        )

    def categories(
        self, labels: Matrix, vocabulary: Vocabulary, groups: range, taken: Sequence[Category], used: set[str]
    ) -> tuple[Category, ...]:
        """Top-level categories of some groups, named apart from those `taken`; adds their ids to `used`."""
        examples, quotes = self._examples(labels, vocabulary, groups)
        names = keywords.name_groups(vocabulary, groups, examples, {}, ["Other", *(c.name for c in taken)])
        ids = identify(names, used)
        found = []
        for group, name, identity in zip(groups, names, ids, strict=True):
            about = keywords.describe(vocabulary.ranked(group, 4), quotes[group], lead="Those")
            found.append(Category(identity, name, about))
        return tuple(found)

    def subcategories(
        self, labels: Matrix, vocabulary: Vocabulary, parent: Category, used: set[str]
    ) -> tuple[Category, ...]:
        """Subcategories of `parent`, those that end badly more often than the others marked as such."""
        groups = range(int(labels.max()) + 1)
        marks = self._marks(labels, len(groups))
        examples, quotes = self._examples(labels, vocabulary, groups)
        names = keywords.name_groups(vocabulary, groups, examples, marks, [parent.name])
        ids = identify(names, used, parent.category_id)
        found = []
        for group, name, identity in zip(groups, names, ids, strict=True):
            lead = f"{parent.name}: those {marks[group]}," if group in marks else f"{parent.name}: those"
            about = keywords.describe(vocabulary.ranked(group, 4), quotes[group], lead=lead)
            found.append(Category(identity, name, about, parent.category_id))
        return tuple(found)

    def _passages(self, row: int, weights: Sequence[float]) -> list[Passage]:
        return [
            Passage(passage.text, passage.weight * weight)
            for name, weight in zip(VIEWS, weights, strict=True)
            for passage in self._telling[name][row]
        ]

    def _marks(self, labels: Matrix, groups: int) -> dict[int, str]:
        """What sets a group's ending apart, by group; tool and run errors come before words of regret."""
        marks: dict[int, str] = {}
        for mark, happened in ((_FAILED, self._failed), (_NOT_DONE, self._not_done)):
            for group in range(groups):
                share = happened[labels == group].mean()
                usual = happened[(labels >= 0) & (labels != group)].mean() if groups > 1 else 0.0
                if share >= _MARKED and share - usual >= _MARKED_MORE:
                    marks.setdefault(group, mark)
        return marks

    def _examples(
        self, labels: Matrix, vocabulary: Vocabulary, groups: range
    ) -> tuple[dict[int, str], dict[int, str]]:
        """The most typical sentence of each group: without its numbers and names, and as it was said.

        The second is empty where the sentence is one of ours, about what was done.
        """
        examples, quotes = {}, {}
        for group in groups:
            row, example = self._example(np.flatnonzero(labels == group), vocabulary.scores(group))
            examples[group] = example
            quotes[group] = as_said(self._documents[row], example) if example else ""
        return examples, quotes

    def _example(self, rows: Matrix, scores: Mapping[Term, float]) -> tuple[int, str]:
        best, found = -1.0, (0, "")
        if not self._verbatim:
            return found
        for row in rows[:: len(rows) // _EXAMPLES + 1].tolist():
            said = [*self._telling["request"][row], *self._telling["answer"][row]] or self._telling["action"][
                row
            ]
            for passage in said:
                # Where no term is telling, at least no greeting.
                worth = (keywords.typical(passage.text, scores) + 1e-3) * passage.weight
                if worth > best:
                    best, found = worth, (row, passage.text)
        return found


def _by_trace(
    texts: Sequence[Sequence[str]], name: str, representation: Representation
) -> list[list[Passage]]:
    flat = [text for trace in texts for text in trace]
    weights = iter(representation.telling(name, flat).tolist())
    return [[Passage(text, next(weights)) for text in trace] for trace in texts]
