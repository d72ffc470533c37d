"""What labelling keeps in ClickHouse. Each record mirrors a table, as those of records.py do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ClassifierRow:
    """Row of `classifiers`: what was learned from a run, or why nothing was."""

    analysis: str
    classifier_version: str
    run_id: str
    taxonomy_version: int
    feature_version: str
    embedding: str
    learned: int
    """Traces that it learned from."""
    quality: Mapping[str, float]
    """What training.py measures on traces that it did not learn from."""
    archive: str
    """Base64; empty where nothing was learned."""
    error: str
    estimated: bool
    """Whether the run's report has been combined with its predictions, or can't be."""
    created_at_ns: int
    used_at_ns: int


@dataclass(frozen=True, slots=True)
class ClassifierChoiceRow:
    """Row of `classifier_choices`: this version labels from now on."""

    analysis: str
    classifier_version: str
    chosen_by: str


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """Row of `label_progress`."""

    analysis: str
    classifier_version: str
    rest_up_to: str
    """Of the traces that there were when it began, in the order of their ids, the last that was dealt
    with."""
    rest_done: bool
    live_up_to_ns: int
    """Revisions that were written before this are labelled."""
    updated_at_ns: int


@dataclass(frozen=True, slots=True)
class AskRow:
    """Row of `label_asks`: traces that a model was asked about, and what it used."""

    analysis: str
    run_id: str
    classifier_version: str
    traces: int
    labelled: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    asked_at_ns: int
