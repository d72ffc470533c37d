"""A second reading of some of the labelled traces: how far an engine agrees with itself.

The labels stand in the opposite order, and traces beside others than the first time, so that the answer is
not the first one repeated, not even out of a cache of replies; the same audit made again finds its own
answers there. What two readings of one model agree on is agreement, not truth: they share its blind spots.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tracetaxa.analyze.statistics.calibration import Outcome, calibrate, wrong_alike
from tracetaxa.errors import EngineUnavailable, ModelError, RunFailed
from tracetaxa.records import Assignment, AuditRow, Spend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.analyze.results.aggregate import Labelled
    from tracetaxa.analyze.statistics.calibration import Calibration
    from tracetaxa.protocols import Engine, Progress
    from tracetaxa.records import Brief, RunRow, Taxonomy

LEAST = 10
"""Traces with two verdicts below which nothing is said of agreement."""

_FEW = 20
"""Of a small sample, so many are chosen whatever share of it they are."""

ENGINE_ERRORS = (ModelError, EngineUnavailable, RunFailed)
"""What an engine raises; a run whose traces are labelled does not fail by them."""


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """How many of the labelled traces are read again."""

    size: int = 0
    share: float = 0.2
    """Of a sample for which `size` would be more than this share, only the share: it bounds the cost."""
    absent: str = "turned off (audit.size is 0)"
    """Why there are none, if there are none."""

    def number(self, verdicts: int) -> int:
        """How many of so many traces with a verdict."""
        return min(self.size, verdicts, max(_FEW, round(self.share * verdicts)))


@dataclass(frozen=True, slots=True)
class SecondReading:
    """A trace's verdict and the one it got when it was read again; the second may be an abstention."""

    first: Labelled
    second: Assignment


@dataclass(frozen=True, slots=True)
class Audit:
    readings: tuple[SecondReading, ...] = ()
    absent: str = ""
    """Why nothing is said of agreement; empty when something is."""
    calibration: Calibration | None = None
    spend: Spend = field(default_factory=Spend)

    @property
    def compared(self) -> tuple[SecondReading, ...]:
        """Those with two verdicts."""
        return tuple(reading for reading in self.readings if not reading.second.abstained)

    def calibrated(self, labelled: Sequence[Labelled]) -> list[Labelled]:
        """The same verdicts, with calibrated confidences. Abstentions stay as they are."""
        calibration = self.calibration
        if calibration is None:
            return list(labelled)
        stated = {label.assignment.confidence for label in labelled}
        told = {confidence: calibration(confidence) for confidence in stated}
        return [
            label
            if label.assignment.abstained
            else replace(
                label,
                assignment=replace(label.assignment, confidence=told[label.assignment.confidence]),
            )
            for label in labelled
        ]

    def rows(self, run: RunRow) -> list[AuditRow]:
        return [_row(run, reading) for reading in self.readings]


def label_of(assignment: Assignment) -> str:
    """The most specific label of a verdict."""
    return assignment.subcategory_id or assignment.category_id


async def read_again(
    engine: Engine,
    labelled: Sequence[Labelled],
    taxonomy: Taxonomy,
    brief: Brief,
    *,
    plan: AuditPlan,
    progress: Progress,
) -> Audit:
    """Have some of the traces with a verdict labelled once more.

    What keeps the engine from it, also a budget that is used up, is said in `absent`. Raises StoreError as
    far as the engine does.
    """
    if not plan.size:
        return Audit(absent=plan.absent)
    chosen = choose(labelled, plan, brief.seed)
    if len(chosen) < LEAST:
        return Audit(absent=f"fewer than {LEAST} traces have a verdict that could be compared")
    by_id = {label.trace.row.trace_id: label for label in chosen}
    before, failure = engine.spend, ""
    readings: list[SecondReading] = []

    def told(stage: str, done: int, total: int) -> None:
        progress("audit", done, total)

    reordered = replace(taxonomy, categories=tuple(reversed(taxonomy.categories)))
    try:
        async for batch in engine.assign([x.trace.row for x in chosen], reordered, brief, told):
            readings += [SecondReading(by_id[second.trace_id], second) for second in batch]
    except ENGINE_ERRORS as error:
        failure = str(error)
    spend = engine.spend.since(before)
    audit = Audit(tuple(sorted(readings, key=lambda r: r.second.trace_id)), spend=spend)
    if len(audit.compared) < LEAST:
        return replace(audit, absent=_why(audit, failure))
    # Off the loop: it takes a moment.
    return replace(audit, calibration=await asyncio.to_thread(_calibration, audit, labelled))


def choose(labelled: Sequence[Labelled], plan: AuditPlan, seed: int) -> list[Labelled]:
    """A random choice of those with a verdict, in random order; the same whichever answers came first."""
    verdicts = [label for label in labelled if not label.assignment.abstained]
    verdicts.sort(key=lambda label: label.trace.row.trace_id)
    return random.Random(f"audit {seed}").sample(verdicts, plan.number(len(verdicts)))  # noqa: S311


def _calibration(audit: Audit, labelled: Sequence[Labelled]) -> Calibration:
    labels = Counter(label_of(x.assignment) for x in labelled if not x.assignment.abstained)
    outcomes = [
        Outcome(
            reading.first.assignment.confidence,
            reading.second.confidence,
            label_of(reading.first.assignment) == label_of(reading.second),
        )
        for reading in audit.compared
    ]
    return calibrate(outcomes, wrong_alike(labels))


def _why(audit: Audit, failure: str) -> str:
    reasons = Counter(reading.second.reason for reading in audit.readings if reading.second.abstained)
    often = failure or max(reasons, key=lambda reason: (reasons[reason], reason), default="")
    said = f"the second reading gave {len(audit.compared)} verdicts"
    return f"{said}: {often}" if often else said


def _row(run: RunRow, reading: SecondReading) -> AuditRow:
    row, first, second = reading.first.trace.row, reading.first.assignment, reading.second
    return AuditRow(
        run_id=run.run_id,
        analysis=run.analysis,
        trace_id=row.trace_id,
        trace_start_ns=row.start_ns,
        category_id=first.category_id,
        subcategory_id=first.subcategory_id,
        stated_confidence=first.confidence,
        second_category_id=second.category_id,
        second_subcategory_id=second.subcategory_id,
        second_stated_confidence=second.confidence,
        second_abstained=second.abstained,
        second_reason=second.reason,
    )
