"""In a child process: learn a classifier from a run's labels, and predict with it.

Beside the classifier that labels, one is made of each of a few folds' complements. They predict the traces
that the labels came from, each by one that did not see it, and other traces, each by all of them:
cross-prediction (Zrnic and Candès 2024), which prediction-powered estimates need
(analyze/statistics/prediction_powered.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracetaxa.errors import NotEnoughLabels
from tracetaxa.records import OTHER, Assignment, Taxonomy, TraceRow
from tracetaxa.spawned import one_thread

if TYPE_CHECKING:
    from tracetaxa.label.classifier import Classifier, Prediction

LoadEmbedder = Callable[[], Any]
"""Importable by name in another process; what it gives has a `name`, and `embed`s texts."""

Label = tuple[str, str]
"""Category and subcategory id."""

LIKELY = 0.35
"""As sure as this, a guess is more often right than `other` is: on CLINC150 intervals are 8 % narrower."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is to be learned."""

    traces: Sequence[TraceRow]
    labels: Sequence[Assignment]
    weights: Sequence[float]
    """Traces of the window that each stands for."""
    folds: Sequence[int]
    """Of each trace the fold that predicts it; −1 for those that all folds learn from and none predicts."""
    taxonomy: Taxonomy
    seed: int


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of it."""

    archive: bytes
    version: str
    feature_version: str
    embedding: str
    predictions: tuple[Label | None, ...] = ()
    """Of each trace of the lesson, by a classifier that did not learn from it; None for those of no fold.
    Empty when the folds had too few labels to learn from."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """`predicted`: traces that were; `agreement`: the share whose category is the label's; `sure`: the share
    that was not abstained from, and `agreement_sure` among those; `agreement_label`: the same for the most
    specific label; `confidence`: mean confidence of the sure."""


def learn(lesson: Lesson, load_embedder: LoadEmbedder | None) -> Learned:
    """Raises NotEnoughLabels when there is too little to learn from."""
    from tracetaxa.label.classifier import Classifier

    _prepare()
    embedder = load_embedder() if load_embedder else None
    made = Classifier.train(
        lesson.traces,
        lesson.labels,
        lesson.taxonomy,
        weights=lesson.weights,
        seed=lesson.seed,
        embedder=embedder,
    )
    learned = Learned(made.dump(), made.version, str(made.feature_version), made.embedding)
    _folds.clear()
    found: list[Prediction | None] = [None] * len(lesson.traces)
    try:
        for fold in sorted(set(lesson.folds) - {-1}):
            kept = [i for i, of in enumerate(lesson.folds) if of != fold]
            left = [i for i, of in enumerate(lesson.folds) if of == fold]
            classifier = Classifier.train(
                [lesson.traces[i] for i in kept],
                [lesson.labels[i] for i in kept],
                lesson.taxonomy,
                weights=[lesson.weights[i] for i in kept],
                seed=lesson.seed,
                embedder=embedder,
            )
            _folds.append(classifier)
            for i, prediction in zip(left, classifier.predict([lesson.traces[i] for i in left]), strict=True):
                found[i] = prediction
    except NotEnoughLabels:
        _folds.clear()
        return learned
    return Learned(
        learned.archive,
        learned.version,
        learned.feature_version,
        learned.embedding,
        tuple(_guess(p) if p else None for p in found),
        _quality(lesson.labels, found),
    )


def predict_by_folds(traces: Sequence[TraceRow]) -> list[tuple[Label, ...]]:
    """What each fold of the last lesson says of each trace."""
    by_fold = [[_guess(p) for p in classifier.predict(traces)] for classifier in _folds]
    return list(zip(*by_fold, strict=True)) if by_fold else [() for _ in traces]


def load(version: str, archive: bytes, load_embedder: LoadEmbedder | None) -> None:
    """Have a classifier at hand. Raises ClassifierUnreadable."""
    from tracetaxa.label.classifier import Classifier

    _prepare()
    _loaded[version] = Classifier.load(archive, load_embedder() if load_embedder else None)


def forget(version: str) -> None:
    """The opposite of `load`."""
    _loaded.pop(version, None)


def predict(version: str, traces: Sequence[TraceRow]) -> list[Prediction]:
    """One prediction a trace, in order, by a classifier that was loaded. Raises KeyError for others."""
    return _loaded[version].predict(traces)


_folds: list[Classifier] = []
_loaded: dict[str, Classifier] = {}
_prepared = False


def _prepare() -> None:
    global _prepared
    if not _prepared:
        import scipy.linalg  # noqa: F401

        one_thread()
        _prepared = True


def _guess(prediction: Prediction) -> Label:
    """What estimates go by: they take an uncertain guess over none, since they make up for what is wrong."""
    if prediction.abstained and prediction.confidence >= LIKELY and prediction.likely_id:
        return prediction.likely_id, ""
    return prediction.category_id, prediction.subcategory_id


def _quality(labels: Sequence[Assignment], found: Sequence[Prediction | None]) -> dict[str, float]:
    pairs = [(label, guess) for label, guess in zip(labels, found, strict=True) if guess is not None]
    if not pairs:
        return {}
    sure = [(label, guess) for label, guess in pairs if not guess.abstained]
    quality = {
        "predicted": float(len(pairs)),
        "agreement": _share([label.category_id == guess.category_id for label, guess in pairs]),
        "sure": len(sure) / len(pairs),
    }
    if sure:
        kinds = [(label, guess) for label, guess in sure if label.category_id != OTHER]
        quality |= {
            "agreement_sure": _share([label.category_id == guess.category_id for label, guess in sure]),
            "confidence": sum(guess.confidence for _, guess in sure) / len(sure),
        }
        if kinds:
            quality["agreement_label"] = _share(
                [
                    (x.category_id, x.subcategory_id) == (guess.category_id, guess.subcategory_id)
                    for x, guess in kinds
                ]
            )
    return quality


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)
