"""What a run said of its sample, and what people said, as something to learn from."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.analyze.results.aggregate import Labelled
from tracetaxa.label.training import Lesson
from tracetaxa.records import (
    OTHER,
    Assignment,
    Category,
    RunRow,
    SampledTrace,
    Taxonomy,
    TaxonomyRow,
    TraceRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.protocols import Database

IDS_ASKED = 500
"""Trace ids bound in one question."""
PEOPLE = 5000
"""Newest labels by people that are learned from."""
NO_FOLD = -1
_NOT_DRAWN = "\0"
"""No stratum is called so."""


@dataclass(frozen=True, slots=True)
class RunLabels:
    """A run as it can be learned from. Sampled traces that the retention has taken since are absent."""

    run: RunRow
    taxonomy: Taxonomy
    taxonomy_version: int
    labelled: tuple[Labelled, ...]
    """By trace id. Their rows are the newest revisions, and not redacted."""
    sizes: Mapping[str, float]
    """Population of each stratum of the sample."""
    people: Mapping[str, Assignment]
    """What people say of traces, by trace id, as far as the taxonomy has it."""
    others: tuple[TraceRow, ...]
    """Traces that people labelled and the run did not read."""

    def lesson(self, folds: int, seed: int) -> tuple[Lesson, list[int]]:
        """What to learn, a person's label before the model's; and the places of its traces in `labelled`, in
        order: what has a verdict is predicted by a fold, in which kinds are as frequent as in all."""
        told = [i for i, x in enumerate(self.labelled) if not x.assignment.abstained]
        traces = [self.labelled[i].trace.row for i in told]
        labels = [
            self.people.get(row.trace_id, self.labelled[i].assignment)
            for i, row in zip(told, traces, strict=True)
        ]
        parts = _folds(labels, folds, seed)
        return (
            Lesson(
                traces=[*traces, *self.others],
                labels=[*labels, *(self.people[row.trace_id] for row in self.others)],
                weights=[
                    *(self.labelled[i].trace.weight for i in told),
                    *(1.0 for _ in self.others),
                ],
                folds=[*parts, *(NO_FOLD for _ in self.others)],
                taxonomy=self.taxonomy,
                seed=seed,
            ),
            told,
        )


async def load_labels(db: Database, run: RunRow) -> RunLabels | None:
    """None where the run made no taxonomy, or nothing is left of its labels. Raises StoreError."""
    made = await load_taxonomy(db, run)
    if made is None:
        return None
    taxonomy, version = made
    told = await db.rows(
        "labelling/labels_of_run", analysis=run.analysis, run_id=run.run_id, finished_ns=run.finished_at_ns
    )
    by_people = await _by_people(db, run.analysis, taxonomy)
    rows = await load_traces(db, [*(row["TraceId"] for row in told), *by_people])
    sampled = {row["TraceId"] for row in told}
    labelled = [
        Labelled(
            SampledTrace(rows[row["TraceId"]], row["Stratum"], row["InclusionProbability"]),
            Assignment(
                row["TraceId"],
                row["CategoryId"],
                row["SubcategoryId"],
                row["Confidence"],
                row["Reason"],
                attributes=row["Attributes"],
                # Engines say nothing of how sure they are where they give no verdict.
                abstained=row["CategoryId"] == OTHER and row["Confidence"] == 0,
            ),
        )
        for row in told
        if row["TraceId"] in rows
    ]
    if not labelled:
        return None
    return RunLabels(
        run=run,
        taxonomy=taxonomy,
        taxonomy_version=version,
        labelled=tuple(labelled),
        sizes=await _sizes(db, run),
        people={i: label for i, label in by_people.items() if i in rows},
        others=tuple(rows[i] for i in by_people if i in rows and i not in sampled),
    )


async def load_taxonomy(db: Database, run: RunRow) -> tuple[Taxonomy, int] | None:
    """The taxonomy that a run made, and its version; None where it made none."""
    kinds = await db.records(
        "labelling/taxonomy_of_run", TaxonomyRow, analysis=run.analysis, run_id=run.run_id
    )
    if not kinds:
        return None
    version = max(row.taxonomy_version for row in kinds)
    categories = (
        Category(row.category_id, row.name, row.description, row.parent_id)
        for row in kinds
        if row.taxonomy_version == version and row.event != "retired"
    )
    return Taxonomy(tuple(categories)), version


async def load_traces(db: Database, trace_ids: Sequence[str]) -> dict[str, TraceRow]:
    """The newest revisions, by trace id; those that the retention has taken are absent."""
    found: dict[str, TraceRow] = {}
    for first in range(0, len(trace_ids), IDS_ASKED):
        asked = list(trace_ids[first : first + IDS_ASKED])
        found |= {
            row.trace_id: row for row in await db.records("reading/traces_by_id", TraceRow, trace_ids=asked)
        }
    return found


async def _by_people(db: Database, analysis: str, taxonomy: Taxonomy) -> dict[str, Assignment]:
    found = {}
    for row in await db.rows("labelling/labels_by_people", analysis=analysis, limit=PEOPLE):
        category = taxonomy.get(row["CategoryId"])
        if category is None or category.parent_id:
            continue  # of an older taxonomy
        sub = taxonomy.get(row["SubcategoryId"])
        within = sub.category_id if sub and sub.parent_id == category.category_id else ""
        found[row["TraceId"]] = Assignment(row["TraceId"], category.category_id, within, 1.0)
    return found


async def _sizes(db: Database, run: RunRow) -> dict[str, float]:
    """What the weights add up to; what is left are strata of which nothing was drawn."""
    rows = await db.rows("labelling/strata_of_run", run_id=run.run_id)
    sizes = {row["Stratum"]: float(round(row["Population"])) for row in rows}
    missing = run.traces_selected - sum(sizes.values())
    return sizes | ({_NOT_DRAWN: missing} if missing > 0 else {})


def _folds(labels: Sequence[Assignment], folds: int, seed: int) -> list[int]:
    """Fold of each label: random, with as many of each label in each fold as there can be."""
    order = list(range(len(labels)))
    random.Random(f"folds {seed}").shuffle(order)  # noqa: S311
    order.sort(key=lambda i: (labels[i].category_id, labels[i].subcategory_id))
    found = [0] * len(labels)
    for place, i in enumerate(order):
        found[i] = place % folds
    return found
