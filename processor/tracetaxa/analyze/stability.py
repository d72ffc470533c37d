"""How far the categories depend on the sample: they are found in each half of it, apart, and compared.

Both taxonomies label the same traces. Their groupings are compared whatever the categories are called, and
each category of the report with the one of each half that fits it best.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tracetaxa.analyze.audit import ENGINE_ERRORS, label_of
from tracetaxa.analyze.statistics.partitions import adjusted_mutual_information, adjusted_rand, overlaps
from tracetaxa.records import OTHER, Spend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tracetaxa.analyze.results.aggregate import Labelled
    from tracetaxa.protocols import Engine, Progress
    from tracetaxa.records import Assignment, Brief, Taxonomy, TraceRow

LEAST = 20
"""Traces in a half, and traces with a verdict by both, below which nothing is said."""


@dataclass(frozen=True, slots=True)
class Half:
    traces: int
    categories: int
    """Found at the top level, `other` not counted."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Of two groupings of the same traces: 1 is the same, about 0 is chance."""

    ami: float
    ari: float


@dataclass(frozen=True, slots=True)
class Stability:
    halves: tuple[Half, ...] = ()
    compared: int = 0
    """Traces that got a verdict by the taxonomy of both halves."""
    category: Likeness | None = None
    label: Likeness | None = None
    """The same of the most specific labels."""
    overlap: Mapping[str, float] = field(default_factory=dict)
    """Top-level category of the report → Jaccard overlap with its best match, mean over both halves."""
    absent: str = ""
    spend: Spend = field(default_factory=Spend)


async def compare_halves(
    engine: Engine, labelled: Sequence[Labelled], brief: Brief, *, size: int, progress: Progress
) -> Stability:
    """Pass 1 on two random halves of the labelled traces, pass 2 of `size` of those with a verdict by each.

    Neither half is shown an earlier taxonomy: it would give both the same.
    The engine's own knowledge of the run's taxonomy is gone afterwards. What keeps it from doing this, also a
    budget that is used up, is said in `absent`.
    """
    chance = random.Random(f"halves {brief.seed}")  # noqa: S311
    labelled = sorted(labelled, key=lambda label: label.trace.row.trace_id)
    rows = [label.trace.row for label in labelled]
    chance.shuffle(rows)
    halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    verdicts = [label for label in labelled if not label.assignment.abstained]
    common = chance.sample(verdicts, min(size, len(verdicts)))
    if min(len(halves[0]), len(common)) < LEAST:
        return Stability(absent=f"fewer than {LEAST} labelled traces in each half")
    brief = replace(brief, previous=())
    before, found, given = engine.spend, [], []
    try:
        for number, half in enumerate(halves, 1):
            told = _within(progress, f"half {number}")
            taxonomy = await engine.discover(half, brief, told)
            found.append(Half(len(half), sum(c.category_id != OTHER for c in taxonomy.top)))
            given.append(await _labels(engine, [label.trace.row for label in common], taxonomy, brief, told))
    except ENGINE_ERRORS as error:
        return Stability(absent=str(error), spend=engine.spend.since(before))
    spend = engine.spend.since(before)
    both = [label for label in common if all(label.trace.row.trace_id in half for half in given)]
    if len(both) < LEAST:
        return Stability(
            tuple(found), len(both), absent=f"both halves gave a verdict on {len(both)} traces", spend=spend
        )

    def pairs(of: Callable[[Assignment], str]) -> list[tuple[str, str]]:
        ids = [label.trace.row.trace_id for label in both]
        return [(of(given[0][i]), of(given[1][i])) for i in ids]

    return Stability(
        halves=tuple(found),
        compared=len(both),
        category=_likeness(pairs(lambda verdict: verdict.category_id)),
        label=_likeness(pairs(label_of)),
        overlap=_overlap(both, given),
        spend=spend,
    )


async def _labels(
    engine: Engine, rows: Sequence[TraceRow], taxonomy: Taxonomy, brief: Brief, progress: Progress
) -> dict[str, Assignment]:
    """Verdicts by trace id, without abstentions."""
    found: dict[str, Assignment] = {}
    async for batch in engine.assign(rows, taxonomy, brief, progress):
        found |= {verdict.trace_id: verdict for verdict in batch if not verdict.abstained}
    return found


def _likeness(pairs: Sequence[tuple[str, str]]) -> Likeness:
    return Likeness(adjusted_mutual_information(pairs), adjusted_rand(pairs))


def _overlap(both: Sequence[Labelled], given: Sequence[Mapping[str, Assignment]]) -> dict[str, float]:
    found = [
        overlaps(
            [(x.assignment.category_id, half[x.trace.row.trace_id].category_id) for x in both],
        )
        for half in given
    ]
    return {name: sum(half[name] for half in found) / len(found) for name in sorted(found[0])}


def _within(progress: Progress, part: str) -> Progress:
    def told(stage: str, done: int, total: int) -> None:
        progress(f"{part}, {stage}", done, total)

    return told
