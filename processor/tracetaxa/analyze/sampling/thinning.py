"""Near-duplicates in a sample: pings, retries and load tests say the same again and again, and are read once.

The sample stays as it was drawn, with all its weights: of near-duplicates some are read by the engine, and
the others take a label from one that was read (two-phase, so no estimator changes). A label is only taken
where the quote that backs it stands in the near-duplicate too, and one reading stands for few others, so that
a wrong one does not spread. What is alike, ClickHouse says (`sample_selected.sql`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tracetaxa.analyze.model import evidence
from tracetaxa.analyze.results.aggregate import Labelled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.records import SampledTrace

FEWEST = 3
"""Near-duplicates that make a group; a pair is read twice."""
NEAR_DUPLICATE = "near-duplicate"
"""`ClassifierVersion` of labels that were taken from another trace."""
MOST = 10
"""Near-duplicates that one which is read stands for."""


@dataclass(frozen=True, slots=True)
class Thinned:
    read: tuple[SampledTrace, ...]
    """Those that the engine reads, in the order of the sample."""
    copies: Mapping[str, tuple[SampledTrace, ...]] = field(default_factory=dict)
    """Trace id of one that is read → those that take its label."""

    @property
    def saved(self) -> int:
        return sum(map(len, self.copies.values()))


def thin(sample: Sequence[SampledTrace]) -> Thinned:
    """Which of the sample the engine need not read; all are read where nobody compared them.

    The sample is in random order, so the first of each part of a group is as good as any.
    """
    groups: dict[int, list[SampledTrace]] = defaultdict(list)
    for trace in sample:
        if trace.likeness:
            groups[trace.likeness].append(trace)
    copies: dict[str, tuple[SampledTrace, ...]] = {}
    for group in groups.values():
        if len(group) >= FEWEST:
            for start in range(0, len(group), 1 + MOST):
                first, *others = group[start : start + 1 + MOST]
                if others:
                    copies[first.row.trace_id] = tuple(others)
    copied = {trace.row.trace_id for others in copies.values() for trace in others}
    return Thinned(tuple(trace for trace in sample if trace.row.trace_id not in copied), copies)


def copy_label(label: Labelled, near: SampledTrace) -> Labelled | None:
    """The label of a near-duplicate; None when it must be read itself: there is no label to take, or its
    quote is not there."""
    verdict, row = label.assignment, near.row
    if verdict.abstained:
        return None
    found = evidence.find(verdict.evidence, row.digest) if verdict.evidence else None
    if verdict.evidence and found is None:
        return None
    copied = replace(
        verdict,
        trace_id=row.trace_id,
        reason=f"near-duplicate of {verdict.trace_id}: {verdict.reason}".removesuffix(": "),
        evidence=found.text if found else "",
        evidence_span_id=found.span_id if found else "",
    )
    return Labelled(near, copied, copied_from=verdict.trace_id)
