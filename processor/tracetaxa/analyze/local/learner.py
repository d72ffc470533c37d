"""The local engine's work, without processes: discover kinds in a sample, place traces among them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from tracetaxa.analyze.local import keywords
from tracetaxa.analyze.local.cluster import (
    SUBCATEGORIES,
    Clustering,
    Matrix,
    Neighbourhood,
    Reach,
    Space,
    clusters,
    renumbered,
    small_clusters,
    smoothed,
)
from tracetaxa.analyze.local.level import Level, Weights
from tracetaxa.analyze.local.represent import Document, Representation, Views, parts_of
from tracetaxa.analyze.local.texts import EmbeddedTexts
from tracetaxa.analyze.local.wording import Wording
from tracetaxa.analyze.naming import OTHER_CATEGORY
from tracetaxa.records import OTHER, Assignment, Brief, Category, Taxonomy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.local.texts import Embedder

ABOUT_REQUESTS: Weights = (1.0, 0.5, 0.5)
ABOUT_OUTCOMES: Weights = (0.5, 1.0, 1.0)
WITHIN_CATEGORY: Weights = (1.0, 1.0, 1.0)
_WORDS: Mapping[Weights, Weights] = {
    ABOUT_REQUESTS: (1.0, 0.3, 0.1),
    ABOUT_OUTCOMES: (0.3, 1.0, 1.0),
    WITHIN_CATEGORY: (1.0, 0.7, 0.2),
}
"""How much the words of each view count in names: what tells categories apart is not what names them best."""
_OUTCOME_WORDS = re.compile(
    r"\b(?:fail\w*|error\w*|wrong\w*|problem\w*|bugs?|broke\w*|break\w*|crash\w*|outcome\w*|unresolved|resol\w+|"
    r"succe\w+|mistake\w*|issues?|stuck|retry\w*|retries|timeouts?|refus\w+)\b",
    re.IGNORECASE,
)
"""Instructions with such a word ask how traces ended, not what was wanted; no more of them is understood."""

_SMALLEST = 3
_SMALLEST_SHARE = 0.01
_SMALLEST_SUB_SHARE = 0.02
_SUB_SILHOUETTE = 0.05
"""Subcategories that are less apart than this are not worth a name."""
_PREDEFINED, _ADOPTED = 0.5, 0.1
"""How far a group of like traces must be on the way from the median trace to the best group, in likeness to a
category's name and description, to belong there."""

NO_CONTENT = "no content captured"
NO_CATEGORIES = "the taxonomy has no categories"
UNLIKE_ALL = "unlike any other trace"
AMONG_OTHERS = "most of the sampled traces that are nearest to it are in no category"
AMONG_ITS_OWN = "most of the sampled traces that are nearest to it are in this category"


class LocalModel:
    """`load`, `embed` until nothing waits, then `discover` or `adopt`; then `assign` any traces.

    Deterministic by the brief's seed. Not for two threads at once.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.load(())

    def load(self, sample: Sequence[Document], known: Sequence[Category] = ()) -> int:
        """Take a sample, to find kinds in it and to recognise the `known` ones; how many texts wait."""
        self._documents = [document for document in sample if not document.empty]
        self._rows = {document: row for row, document in enumerate(self._documents)}
        self._parts = [parts_of(document) for document in self._documents]
        self._top: Level | None = None
        self._subs: dict[str, Level] = {}
        corpus = {text for parts in self._parts for text in parts.texts}
        corpus |= {_told(category) for category in known}
        self._texts = EmbeddedTexts(self._embedder, corpus)
        return self._texts.waiting

    def embed(self, most: int) -> int:
        """Embed some of the waiting texts; how many are left."""
        self._texts.advance(most)
        return self._texts.waiting

    # ----------------------------------------------------------------------------------------- finding

    def discover(self, brief: Brief) -> Taxonomy:
        """The kinds of the sample's traces, and the kinds within each."""
        if not self._parts:
            return Taxonomy((*brief.predefined, OTHER_CATEGORY))
        vectors, near = self._fit(brief)
        space = Space.fit(vectors[near], brief.seed)
        points = space.place(vectors)
        labels = np.full(len(points), -1)
        given = len(brief.predefined)
        if given:
            groups = small_clusters(smoothed(points), brief.seed)
            labels = self._described(brief.predefined, groups, _PREDEFINED)
            labels[~near] = -1
        rest = np.flatnonzero(near & (labels < 0))
        steadiness = np.ones(len(points))
        if len(rest) and brief.max_categories > given:
            made = clusters(points[rest], brief.max_categories - given, brief.seed)
            steadiness[rest] = made.steadiness
            found = _settled(points[rest], made)
            labels[rest] = renumbered(found, _smallest(len(points), _SMALLEST_SHARE), given)
        groups_found = max(given, int(labels.max()) + 1)
        vocabulary = self._wording.vocabulary(labels, groups_found, _WORDS[self._weights])
        used = {OTHER, *(category.category_id for category in brief.predefined)}
        named = self._wording.categories(
            labels, vocabulary, range(given, groups_found), brief.predefined, used
        )
        top = (*brief.predefined, *named)
        voters = np.flatnonzero(near)
        self._top = Level.of(top, self._weights, space, points, labels, voters, vocabulary, steadiness)
        if brief.levels > 1 and brief.max_subcategories > 1:
            for label, category in enumerate(top):
                self._divide(category, np.flatnonzero(labels == label), brief, used)
        subs = [sub for level in self._subs.values() for sub in level.categories]
        return Taxonomy((*top, *subs, OTHER_CATEGORY))

    def _divide(self, category: Category, rows: Matrix, brief: Brief, used: set[str]) -> None:
        """Subcategories of one category from its own members, where they fall apart into some."""
        smallest = _smallest(len(rows), _SMALLEST_SUB_SHARE)
        if len(rows) < 2 * max(smallest, _SMALLEST):
            return
        space = Space.fit(self._views.take(rows).joined(WITHIN_CATEGORY), brief.seed)
        points = space.place(self._views.joined(WITHIN_CATEGORY))
        made = clusters(points[rows], brief.max_subcategories, brief.seed, SUBCATEGORIES)
        labels = np.full(len(self._parts), -1)
        labels[rows] = renumbered(_settled(points[rows], made), smallest, 0)
        if made.silhouette < _SUB_SILHOUETTE or labels.max() < 1:
            return
        vocabulary = self._wording.vocabulary(labels, int(labels.max()) + 1, _WORDS[WITHIN_CATEGORY])
        named = self._wording.subcategories(labels, vocabulary, category, used)
        members = np.flatnonzero(labels >= 0)
        level = Level.of(named, WITHIN_CATEGORY, space, points, labels, members, vocabulary)
        self._subs[category.category_id] = level

    def adopt(self, taxonomy: Taxonomy, brief: Brief) -> None:
        """Recognise categories that were found earlier, or elsewhere, by their names and descriptions."""
        top = tuple(category for category in taxonomy.top if category.category_id != OTHER)
        if not self._parts or not top:
            return
        _, near = self._fit(brief)
        self._top = self._recognised(top, self._weights, np.flatnonzero(near), brief, _ADOPTED)
        for label, category in enumerate(top):
            subs, rows = taxonomy.children(category.category_id), np.flatnonzero(self._top.labels == label)
            if subs and len(rows):
                level = self._recognised(subs, WITHIN_CATEGORY, rows, brief, None)
                self._subs[category.category_id] = level

    def _recognised(
        self,
        categories: tuple[Category, ...],
        weights: Weights,
        rows: Matrix,
        brief: Brief,
        least: float | None,
    ) -> Level:
        space = Space.fit(self._views.take(rows).joined(weights), brief.seed)
        points = space.place(self._views.joined(weights))
        groups = np.full(len(points), -1)
        groups[rows] = small_clusters(smoothed(points[rows]), brief.seed)
        labels = self._described(categories, groups, least)
        vocabulary = self._wording.vocabulary(labels, len(categories), _WORDS[weights])
        return Level.of(categories, weights, space, points, labels, rows, vocabulary)

    def _fit(self, brief: Brief) -> tuple[Matrix, Matrix]:
        """The sample's vectors, and which of them are like any other."""
        representation = Representation(self._texts.vectors)
        self._views = representation.fit(self._parts)
        self._representation = representation
        self._wording = Wording(self._documents, self._parts, representation, verbatim=brief.verbatim)
        self._weights = ABOUT_OUTCOMES if _OUTCOME_WORDS.search(brief.instructions) else ABOUT_REQUESTS
        vectors = self._views.joined(self._weights)
        self._reach = Reach.fit(vectors)
        return vectors, self._reach.likeness(vectors, skip=np.arange(len(vectors))) >= self._reach.least

    def _described(self, categories: Sequence[Category], groups: Matrix, least: float | None) -> Matrix:
        """Labels by what categories are called: -1 for groups, and traces in none, that none fits.

        Without `least` every group fits somewhere.
        """
        asked = self._texts.vectors([_told(category) for category in categories])
        likeness = np.zeros((len(self._parts), len(categories)))
        for row, parts in enumerate(self._parts):
            sentences = (*parts.request, *parts.answer) or parts.texts
            if sentences:
                likeness[row] = (self._texts.vectors(sentences) @ asked.T).max(axis=0)
        numbers = np.unique(groups[groups >= 0])
        of_groups = np.array([likeness[groups == number].mean(axis=0) for number in numbers])
        usual, best = np.median(likeness[groups >= 0], axis=0), of_groups.max(axis=0)
        way = (of_groups - usual) / np.maximum(best - usual, 1e-6)
        if least is None:
            # Some descriptions are like everything; but where most are of one kind, its likeness is usual.
            way = of_groups - usual / 2
        else:
            related = self._texts.related
            absent = (best < related) | (best - usual < related / 2)
            way[(way < least) | absent] = -np.inf
        labels = np.full(len(groups), -1)
        for number, along in zip(numbers, way, strict=True):
            if np.isfinite(along.max()):
                labels[groups == number] = int(along.argmax())
        return labels

    # ----------------------------------------------------------------------------------------- placing

    def assign(self, documents: Sequence[Document]) -> list[Assignment]:
        """One verdict a trace, in order, by the sampled traces that are nearest to it."""
        top = self._top
        reason = NO_CATEGORIES if top is None else NO_CONTENT
        found = {
            i: Assignment(document.trace_id, OTHER, reason=reason, abstained=True)
            for i, document in enumerate(documents)
            if document.empty or top is None
        }
        rest = [i for i in range(len(documents)) if i not in found]
        if rest and top is not None:
            found.update(zip(rest, self._place([documents[i] for i in rest], top), strict=True))
        return [found[i] for i in range(len(documents))]

    def _place(self, documents: Sequence[Document], top: Level) -> list[Assignment]:
        known = len(self._texts)
        sampled = np.array([self._rows.get(document, -1) for document in documents])
        views = self._views_of(documents, sampled)
        self._texts.forget_after(known)
        likeness = self._reach.likeness(views.joined(top.weights), skip=sampled)
        labels, sure = top.vote(views, sampled)
        sub_labels = np.full(len(documents), -1)
        for label in np.unique(labels[labels >= 0]):
            level = self._subs.get(top.categories[label].category_id)
            if level is not None:
                rows = np.flatnonzero(labels == label)
                sub_labels[rows] = level.vote(views.take(rows), sampled[rows])[0]
        return [
            self._verdict(document, top, int(label), int(sub), float(confidence), float(like))
            for document, label, sub, confidence, like in zip(
                documents, labels, sub_labels, sure, likeness, strict=True
            )
        ]

    def _views_of(self, documents: Sequence[Document], sampled: Matrix) -> Views:
        """Sampled traces keep the vectors that they were grouped by; the others get theirs."""
        new = np.flatnonzero(sampled < 0)
        if not len(new):
            return self._views.take(sampled)
        fresh = self._representation.transform([parts_of(documents[i]) for i in new.tolist()])
        return self._views.take(np.maximum(sampled, 0)).put(new, fresh)

    def _verdict(
        self, document: Document, top: Level, label: int, sub: int, confidence: float, likeness: float
    ) -> Assignment:
        if likeness < self._reach.least:
            # At the border as sure as not, with nothing in common quite sure.
            sure = 1 - 0.5 * max(likeness, 0.0) / self._reach.least
            return Assignment(document.trace_id, OTHER, confidence=round(sure, 4), reason=UNLIKE_ALL)
        if label < 0:
            return Assignment(document.trace_id, OTHER, confidence=round(confidence, 4), reason=AMONG_OTHERS)
        category = top.categories[label]
        level = self._subs.get(category.category_id)
        scores = dict(top.scores[label])
        within = ""
        if level is not None and sub >= 0:
            within = level.categories[sub].category_id
            for term, score in level.scores[sub].items():
                scores[term] = 0.5 * scores.get(term, 0.0) + score
        evidence, span_id = keywords.quote(document.lines, scores)
        return Assignment(
            trace_id=document.trace_id,
            category_id=category.category_id,
            subcategory_id=within,
            confidence=round(confidence, 4),
            reason=AMONG_ITS_OWN,
            evidence=evidence,
            evidence_span_id=span_id,
        )


def _settled(points: Matrix, made: Clustering) -> Matrix:
    """Labels after each point went with most of its neighbours."""
    neighbourhood = Neighbourhood(points, made.labels, made.steadiness)
    return neighbourhood.vote(points, np.arange(len(points)))[0]


def _told(category: Category) -> str:
    return f"{category.name}. {category.description}"


def _smallest(traces: int, share: float) -> int:
    """Traces that make a category; with hardly any traces, each kind counts."""
    return max(min(_SMALLEST, 1 + traces // 10), math.ceil(share * traces))
