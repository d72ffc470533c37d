"""Labels by people as ground truth: how far a run's labels are those that people gave the same traces.

People choose what they label, often what looks wrong: the agreement is that of these traces, not that of the
window.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.statistics.agreement import agreement
from tracetaxa.records import OTHER, LabelRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.results.aggregate import Labelled
    from tracetaxa.protocols import Database
    from tracetaxa.records import Taxonomy

LEAST = 10
"""Traces below which kappa and alpha say more about chance than about the labels: they are left out."""
CONFUSED = 3
"""Pairs of categories told of on which run and people disagree most."""
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Truth:
    labels: Mapping[str, LabelRow] = field(default_factory=dict)
    """By trace id, what people said of traces that the run labelled."""
    known: frozenset[str] = frozenset()
    """Ids of the run's categories and subcategories."""


async def load_truth(db: Database, analysis: str, trace_ids: Sequence[str], taxonomy: Taxonomy) -> Truth:
    """Raises StoreError."""
    found: dict[str, LabelRow] = {}
    for first in range(0, len(trace_ids), _BATCH):
        ids = list(trace_ids[first : first + _BATCH])
        rows = await db.records("people/newest", LabelRow, trace_ids=ids, analyses=[analysis])
        found |= {row.trace_id: row for row in rows if row.category_id}
    return Truth(found, frozenset([OTHER, *(c.category_id for c in taxonomy.categories)]))


def beside_people(truth: Truth, labelled: Sequence[Labelled]) -> dict[str, Any]:
    """`quality.people` of the report document (docs/report.md)."""
    both = [
        (label.assignment, truth.labels[label.trace.row.trace_id])
        for label in labelled
        if label.trace.row.trace_id in truth.labels
    ]
    gone = Counter(person.category for _, person in both if person.category_id not in truth.known)
    there = [(verdict, person) for verdict, person in both if person.category_id in truth.known]
    judged = [(verdict, person) for verdict, person in there if not verdict.abstained]
    finer = [(v, p) for v, p in judged if p.subcategory_id and p.subcategory_id in truth.known]
    confused = Counter((v.category_id, p.category_id) for v, p in judged if v.category_id != p.category_id)
    ranked = sorted(confused.items(), key=lambda item: (-item[1], item[0]))
    return {
        "labelled": len(both),
        "compared": len(judged),
        "category": _told([(v.category_id, p.category_id) for v, p in judged]),
        "label": _told([(f"{v.category_id}/{v.subcategory_id}", _label(p)) for v, p in finer]),
        "confused": [
            {"category_id": ours, "people_category_id": theirs, "traces": n}
            for (ours, theirs), n in ranked[:CONFUSED]
        ],
        "without_verdict": len(there) - len(judged),
        "gone": [
            {"category": name, "traces": n} for name, n in sorted(gone.items(), key=lambda x: (-x[1], x[0]))
        ],
    }


def _label(row: LabelRow) -> str:
    return f"{row.category_id}/{row.subcategory_id}"


def _told(pairs: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    found = agreement(pairs)
    if found is None:
        return None
    return asdict(found if len(pairs) >= LEAST else replace(found, kappa=None, alpha=None))
