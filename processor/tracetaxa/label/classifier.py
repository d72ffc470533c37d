"""The classifier that is distilled from the labels of a run: labels for all other traffic, at hardly a cost.

Two levels: a category, and one of its subcategories where that is likelier than not. A verdict has a
calibrated confidence and names the labelled trace that is most like the one judged; an unsure verdict, or one
on a trace that is like nothing labelled, abstains. Training takes seconds and gives the same for the same
input.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.errors import ClassifierUnreadable
from tracetaxa.label.archive import Learned, pack, unpack
from tracetaxa.label.features import FEATURE_VERSION
from tracetaxa.label.judging import Verdicts, judge
from tracetaxa.label.learning import Labelled, Plan, learn
from tracetaxa.label.ridge import Scores
from tracetaxa.label.space import Likeness, Projection, Space
from tracetaxa.records import OTHER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.label.space import Embedder
    from tracetaxa.records import Assignment, Taxonomy, TraceRow

TRACES_PER_STEP = 256
"""Traces that are compared with the labelled ones at once: more takes memory."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A verdict on one trace."""

    category_id: str
    subcategory_id: str
    confidence: float
    """Calibrated chance that `likely_id` is right."""
    abstained: bool
    """Unsure, or unlike anything it learned: `category_id` is then `other`."""
    likely_id: str = ""
    """The likeliest category, also where it abstained."""
    likeness: float = 0.0
    """To the labelled trace that it is most like, 0 to 1."""
    nearest_id: str = ""
    """Trace id of that one; empty when it is like none."""


class Classifier:
    """Made by `train` or `load`, and never changed after."""

    feature_version = FEATURE_VERSION

    def __init__(self, learned: Learned, embedder: Embedder | None) -> None:
        """Use `train` or `load`."""
        self._learned = learned
        self._data = pack(learned)
        self._space = Space(learned.lexicon, embedder)
        points, lexicon, mixture = learned.points, learned.lexicon, learned.mixture
        self._projection = Projection(points, lexicon, mixture, learned.machine.coefficients)
        self._likeness = Likeness(points, lexicon, mixture)

    @classmethod
    def train(
        cls,
        traces: Sequence[TraceRow],
        labels: Sequence[Assignment],
        taxonomy: Taxonomy,
        *,
        weights: Sequence[float] | None = None,
        seed: int = 0,
        embedder: Embedder | None = None,
        least_labels: int = 40,
        least_labels_of_a_kind: int = 3,
        most_labels: int = 2000,
        folds: int = 5,
        least_confidence: float = 0.6,
        least_subcategory_confidence: float = 0.5,
        unlike: float = 0.02,
    ) -> Classifier:
        """Learns from the traces that have a label; abstentions and labels outside the taxonomy are none.

        `weights`, one a label, say how many traces of the population each stands for: confidences are to hold
        there. Fewer labels than `least_labels` teach nothing. A category or subcategory with fewer than
        `least_labels_of_a_kind` is never predicted, and its traces count as got wrong. More than
        `most_labels` are thinned at random: the time and memory of training grow faster than their number.
        Verdicts less sure than `least_confidence` abstain, and so do those on traces that are less like any
        labelled one than all but the share `unlike` of the labelled traces are like the others. A subcategory
        is told where it is at least as likely, given its category, as `least_subcategory_confidence`.
        Cross-validation has `folds`.

        Raises NotEnoughLabels.
        """
        plan = Plan(
            seed=seed,
            least_labels=least_labels,
            least_labels_of_a_kind=least_labels_of_a_kind,
            most_labels=most_labels,
            folds=folds,
            least_confidence=least_confidence,
            least_subcategory_confidence=least_subcategory_confidence,
            unlike=unlike,
        )
        labelled = Labelled.of(traces, labels, weights, taxonomy)
        return cls(learn(labelled, taxonomy, embedder, plan), embedder)

    @classmethod
    def load(cls, data: bytes, embedder: Embedder | None = None) -> Classifier:
        """What `dump` gave. An embedder that it was trained without is not used.

        Raises ClassifierUnreadable, also when it was trained with other features or another embedder.
        """
        learned = unpack(data)
        if not learned.embedding:
            return cls(learned, None)
        if embedder is None or embedder.name != learned.embedding:
            raise ClassifierUnreadable(
                f"the stored classifier was trained with the embeddings of {learned.embedding}, and here "
                f"are {f'those of {embedder.name}' if embedder else 'none'}: install those, or train it again"
            )
        given, wanted = embedder.embed(["a"]).shape[1], learned.points.views.shape[2]
        if wanted not in (0, given):
            raise ClassifierUnreadable(
                f"the stored classifier was trained with embeddings of {wanted} dimensions, and those of "
                f"{embedder.name} here have {given}: train it again"
            )
        return cls(learned, embedder)

    def dump(self) -> bytes:
        """All of it, to be kept anywhere; the same bytes for the same classifier."""
        return self._data

    @property
    def version(self) -> str:
        """Hash of its content, 12 hex digits."""
        return hashlib.sha256(self._data).hexdigest()[:12]

    @property
    def embedding(self) -> str:
        """Name of the embedder that it needs; empty when it needs none."""
        return self._learned.embedding

    @property
    def categories(self) -> tuple[str, ...]:
        """Those that it can predict."""
        return self._learned.kinds.categories

    @property
    def trace_ids(self) -> tuple[str, ...]:
        """Of the traces that it learned from."""
        return self._learned.trace_ids

    @property
    def cross_predictions(self) -> tuple[Prediction, ...]:
        """On the traces it learned from, in the order of `trace_ids`, each by a fold that did not see it."""
        return tuple(self._predictions(self._learned.cross))

    def predict(self, traces: Sequence[TraceRow]) -> list[Prediction]:
        """One verdict a trace, in order; a trace's verdict does not depend on the others."""
        found: list[Prediction] = []
        for start in range(0, len(traces), TRACES_PER_STEP):
            found += self._predictions(self._judged(traces[start : start + TRACES_PER_STEP]))
        return found

    def _judged(self, traces: Sequence[TraceRow]) -> Verdicts:
        learned = self._learned
        points = self._space.encode(traces)
        columns = self._projection(points) + learned.machine.offsets
        scores = Scores.split(columns, learned.kinds)
        return judge(
            scores,
            self._likeness(points),
            learned.kinds,
            learned.calibration,
            learned.least_subcategory_confidence,
        )

    def _predictions(self, verdicts: Verdicts) -> list[Prediction]:
        learned = self._learned
        found = []
        for category, leaf, confidence, likeness, nearest in zip(
            verdicts.category.tolist(),
            verdicts.leaf.tolist(),
            verdicts.confidence.tolist(),
            verdicts.likeness.tolist(),
            verdicts.nearest.tolist(),
            strict=True,
        ):
            likely = learned.kinds.categories[category]
            unsure = confidence < learned.least_confidence
            abstained = unsure or likeness < learned.calibration.least_likeness
            found.append(
                Prediction(
                    category_id=OTHER if abstained else likely,
                    subcategory_id="" if abstained or leaf < 0 else learned.kinds.leaves[leaf][1],
                    confidence=round(confidence, 4),
                    abstained=abstained,
                    likely_id=likely,
                    likeness=round(likeness, 4),
                    nearest_id="" if nearest < 0 else learned.trace_ids[nearest],
                )
            )
        return found
