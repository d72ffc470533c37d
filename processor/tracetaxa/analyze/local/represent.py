"""Traces as vectors: what was asked, what was answered and what was done are separate views.

A request holds more than the request: greetings, small talk, the name of a product. What matters of it is
what goes with the outcome, so a sentence weighs as much as its nearest sentences in other traces agree on
the *other* view: after "Kind regards" anything may follow, after "where is my parcel" a delivery date.
Learning from two views that a label should agree on is co-training's idea (Blum and Mitchell 1998); here it
needs no label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tracetaxa.analyze.local.cluster import Matrix, nearest, unit

Embed = Callable[[Sequence[str]], Matrix]
"""Texts → vectors of length 1 or less, one a row."""

Lines = tuple[tuple[str, str, str], ...]

REQUEST_CHARS = 600
ANSWER_CHARS = 400
SENTENCE_CHARS = 240
"""How much of a trace is read: more costs time and blurs the vector."""

_NEIGHBOURS = 30
_FLOOR = 0.02
"""Weight of a sentence that agrees with nothing, so that a request of small talk alone is still something."""
_SAME = 1e-3
"""Spread below which vectors count as equal."""
_REFERENCES = 12_000
"""Sentences that others are compared with; a larger sample is thinned."""

_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|(?<=[。！？])|[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_NOISE = re.compile(r"\S+@\S+|\w+://\S+|\S*\d\S*|[\x00-\x1f\x7f-\x9f]+")
_WORD = re.compile(r"[^\W\d_]")
_FAILED_TOOL = re.compile(r" -> (error\b.*)", re.IGNORECASE | re.DOTALL)
"""How a digest tells that a tool failed."""


@dataclass(frozen=True, slots=True)
class Document:
    """What the local engine reads of a trace: plain data, cheap to send to another process."""

    trace_id: str
    lines: Lines
    """Digest lines as (kind, text, span id)."""
    tools: tuple[str, ...]
    failed: bool

    @property
    def empty(self) -> bool:
        return not (self.tools or any(_WORD.search(text) for kind, text, _ in self.lines if kind != "cut"))


@dataclass(frozen=True, slots=True)
class Parts:
    """The texts of a trace that are embedded."""

    request: tuple[str, ...]
    answer: tuple[str, ...]
    action: str

    @property
    def texts(self) -> tuple[str, ...]:
        return (*self.request, *self.answer, *((self.action,) if self.action else ()))


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of the sentences of `text`, long ones in pieces of at most `SENTENCE_CHARS`."""
    start = 0
    for end in (*_END.finditer(text), None):
        stop = end.start() if end else len(text)
        while stop - start > SENTENCE_CHARS:
            space = text.rfind(" ", start + 1, start + SENTENCE_CHARS)
            cut = space if space > start + SENTENCE_CHARS // 2 else start + SENTENCE_CHARS
            yield start, cut
            start = cut
        if stop > start:
            yield start, stop
        start = end.end() if end else len(text)


def clean(text: str) -> str:
    """Without what tells traces apart but not kinds: numbers, ids, addresses."""
    return " ".join(_NOISE.sub(" ", text).split())


def as_said(document: Document, cleaned: str) -> str:
    """The sentence of a trace that reads like this when it is clean; empty when none does."""
    for kind, text, _ in document.lines:
        if kind in ("user", "assistant", "facts"):
            for start, end in sentence_spans(text):
                if clean(text[start:end]) == cleaned:
                    return text[start:end].strip()
    return ""


def _sentences(texts: Sequence[str], most_chars: int) -> tuple[str, ...]:
    found: list[str] = []
    for text in texts:
        for start, end in sentence_spans(text[: most_chars * 2]):
            sentence = clean(text[start:end])
            if _WORD.search(sentence):
                found.append(sentence)
                most_chars -= len(sentence)
            if most_chars <= 0:
                return tuple(found)
    return tuple(found)


def parts_of(document: Document) -> Parts:
    """The parts of one trace; a trace without captured content is described by its facts and errors."""
    said = {kind: [text for k, text, _ in document.lines if k == kind] for kind in ("user", "assistant")}
    errors = [text for kind, text, _ in document.lines if kind == "error"] + [
        failed[1]
        for kind, text, _ in document.lines
        if kind == "tool" and (failed := _FAILED_TOOL.search(text))
    ]
    request = _sentences(said["user"], REQUEST_CHARS)
    answer = _sentences(said["assistant"][-1:], ANSWER_CHARS)
    if not request and not answer:
        request = _sentences([text for kind, text, _ in document.lines if kind == "facts"], REQUEST_CHARS)
    used = [re.sub(r"[\W_]+", " ", tool).strip() for tool in document.tools]
    failure = " ".join(_sentences(errors[-1:], SENTENCE_CHARS))
    action = clean(", ".join(used))
    if failure:
        action = f"{action}. Failed: {failure}" if action else failure
    return Parts(request, answer, action[: 2 * SENTENCE_CHARS])


VIEWS = ("request", "answer", "action")


@dataclass(frozen=True, slots=True)
class Views:
    """Each view of n traces: (n, d) centred, of mean square length 1 where present, else zero."""

    request: Matrix
    answer: Matrix
    action: Matrix

    def joined(self, weights: Sequence[float]) -> Matrix:
        """One row a trace, (n, 3 d): the views side by side."""
        blocks = zip((self.request, self.answer, self.action), weights, strict=True)
        return np.hstack([block * np.float32(weight) for block, weight in blocks])

    def take(self, rows: Matrix) -> Views:
        return Views(self.request[rows], self.answer[rows], self.action[rows])

    def put(self, rows: Matrix, views: Views) -> Views:
        """These views with `rows` replaced."""
        changed = self.take(np.arange(len(self.request)))
        changed.request[rows], changed.answer[rows], changed.action[rows] = (
            views.request,
            views.answer,
            views.action,
        )
        return changed


class Representation:
    """Learned from a sample; then any trace can be placed among it."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._agreement: dict[str, _Agreement | None] = {}
        self._scale: dict[str, _Scale] = {}

    def fit(self, parts: Sequence[Parts]) -> Views:
        """The sample's views."""
        request, answer, action = _by_view(parts)
        done = self._pooled("action", action)
        answered = self._pooled("answer", answer)
        self._agreement["request"] = _Agreement.learn(
            self._embed, request, np.hstack([answered.vectors, done.vectors])
        )
        asked = self._pooled("request", request)
        self._agreement["answer"] = _Agreement.learn(
            self._embed, answer, np.hstack([asked.vectors, done.vectors])
        )
        pooled = {"request": asked, "answer": self._pooled("answer", answer), "action": done}
        self._scale = {name: _Scale.of(view) for name, view in pooled.items()}
        return self._views(pooled)

    def transform(self, parts: Sequence[Parts]) -> Views:
        """The views of any traces, on the scale of the sample."""
        views = zip(VIEWS, _by_view(parts), strict=True)
        return self._views({name: self._pooled(name, texts) for name, texts in views})

    def telling(self, name: str, sentences: Sequence[str]) -> Matrix:
        """How much each sentence of a view says about its trace, 0 to 1, (n,)."""
        if not sentences:
            return np.zeros(0, dtype=np.float32)
        return np.clip(self._weights(name, self._embed(sentences)) / self._scale[name].usual, 0, 1)

    def _weights(self, name: str, vectors: Matrix) -> Matrix:
        agreement = self._agreement.get(name)
        if agreement is None or not len(vectors):
            return np.ones(len(vectors), dtype=np.float32)
        return agreement.weights(vectors)

    def _pooled(self, name: str, texts: Sequence[Sequence[str]]) -> _Pooled:
        flat = [text for trace in texts for text in trace]
        owners = np.repeat(np.arange(len(texts)), [len(trace) for trace in texts])
        vectors = self._embed(flat)
        weights = self._weights(name, vectors)
        pooled = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
        np.add.at(pooled, owners, vectors * weights[:, None])
        best = np.zeros(len(texts), dtype=np.float32)
        np.maximum.at(best, owners, weights)
        return _Pooled(unit(pooled), best)

    def _views(self, pooled: dict[str, _Pooled]) -> Views:
        return Views(**{name: self._scale[name].apply(view) for name, view in pooled.items()})


def _by_view(parts: Sequence[Parts]) -> tuple[list[tuple[str, ...]], ...]:
    """Texts of request, answer and action, each one tuple a trace."""
    return (
        [p.request for p in parts],
        [p.answer for p in parts],
        [(p.action,) if p.action else () for p in parts],
    )


@dataclass(frozen=True, slots=True)
class _Pooled:
    """One view of n traces: unit vectors (zero where absent) and the weight of the best sentence."""

    vectors: Matrix
    best: Matrix


@dataclass(frozen=True, slots=True)
class _Scale:
    centre: Matrix
    spread: float
    usual: float
    """Half of the traces have a sentence of at least this weight."""

    @classmethod
    def of(cls, view: _Pooled) -> _Scale:
        present = view.vectors.any(axis=1)
        if not present.any():
            return cls(np.zeros(view.vectors.shape[1], dtype=np.float32), 0.0, 1.0)
        vectors = view.vectors[present]
        centre = vectors.mean(axis=0)
        spread = float(np.sqrt(np.square(vectors - centre).sum(axis=1).mean()))
        return cls(centre, spread, float(np.median(view.best[present])))

    def apply(self, view: _Pooled) -> Matrix:
        """A view without a telling sentence shrinks towards the centre, so that the others decide."""
        # A view that is the same in every trace says nothing; scaling it up would make noise of rounding.
        if self.spread < _SAME:
            return np.zeros_like(view.vectors)
        telling = np.clip(view.best / self.usual, 0, 1) * view.vectors.any(axis=1)
        return (view.vectors - self.centre) * (telling / self.spread)[:, None].astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Agreement:
    """Sentences of the sample with the other view of the traces they stand in."""

    sentences: Matrix
    owners: Matrix
    outcomes: Matrix
    """Centred, unit length, one row a trace."""

    @classmethod
    def learn(cls, embed: Embed, texts: Sequence[Sequence[str]], outcome: Matrix) -> _Agreement | None:
        """None where there is nothing to agree on."""
        present = np.asarray(outcome.any(axis=1))
        kept = [i for i, trace in enumerate(texts) if trace and present[i]]
        if len(kept) <= 2 * _NEIGHBOURS:
            return None
        centred = np.where(present[:, None], outcome - outcome[present].mean(axis=0), 0.0)
        if not float(np.square(centred).sum(axis=1).mean()) > 1e-6:
            return None
        flat = [(text, i) for i in kept for text in texts[i]]
        flat = flat[:: len(flat) // _REFERENCES + 1]
        vectors = embed([text for text, _ in flat])
        return cls(vectors, np.array([i for _, i in flat]), unit(centred.astype(np.float32)))

    def weights(self, vectors: Matrix) -> Matrix:
        """Mean cosine among the outcomes of a sentence's neighbours, (n,).

        A sentence of the sample is its own neighbour here as later, so that a trace gets the same vector when
        it is met again.
        """
        distinct, back = np.unique(vectors, axis=0, return_inverse=True)
        k = min(_NEIGHBOURS, len(self.sentences) - 1)
        _, neighbours = nearest(distinct, self.sentences, k)
        mean = np.zeros((len(distinct), self.outcomes.shape[1]), dtype=np.float32)
        for column in range(k):
            mean += self.outcomes[self.owners[neighbours[:, column]]]
        squared = np.square(mean / k).sum(axis=1)
        # Without the k pairs of an outcome with itself.
        agreed = np.clip((squared * k - 1) / (k - 1), 0, None)
        weights: Matrix = (agreed[back.ravel()] + _FLOOR).astype(np.float32)
        return weights
