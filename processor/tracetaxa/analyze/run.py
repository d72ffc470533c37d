"""One analysis, start to end: select, sample, discover, assign, aggregate, save.

What a run has done is kept whatever happens: labels are written as they come, and a run that is capped, fails
or is cancelled ends with its status, its error and a report over what was labelled.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tracetaxa.analyze.aggregate import Frame, Labelled, aggregate
from tracetaxa.analyze.document import build_document
from tracetaxa.analyze.model.budget import BudgetReached
from tracetaxa.analyze.sample import Origin, count_strata, draw_sample, load_origins
from tracetaxa.errors import TracetaxaError
from tracetaxa.records import (
    OTHER,
    Assignment,
    Brief,
    Labeller,
    LabelRow,
    ReportRow,
    RunRow,
    RunSampleRow,
    SampledTrace,
    Selection,
    Taxonomy,
    TaxonomyRow,
    TraceRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.plan import SamplePlan
    from tracetaxa.protocols import Database, Engine, Progress

log = logging.getLogger(__name__)

Redact = Callable[[TraceRow], TraceRow]


@dataclass(frozen=True, slots=True)
class Job:
    """One run to make."""

    brief: Brief
    selection: Selection
    plan: SamplePlan
    config: str
    """The analysis' whole configuration as JSON: part of the run's identity, stored with it."""
    labeller: Labeller
    prices: str = ""
    """Where the prices of the agents' tokens are from, for the report."""
    max_abstained: float = 0.2
    """A run in which a larger share of its sample got no verdict is `partial`."""

    def run_id(self, attempt: int) -> str:
        identity = [
            self.brief.analysis,
            self.config,
            self.selection.start_ns,
            self.selection.end_ns,
            self.plan.seed,
            attempt,
        ]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


async def run_analysis(
    db: Database, engine: Engine, job: Job, *, redact: Redact, still_open: int, progress: Progress
) -> RunRow:
    """Returns the finished run; one that failed says why in `error`. A finished run is not made twice.

    Raises StoreError when ClickHouse can't take the results; CancelledError after saving what was done.
    """
    strata = await count_strata(db, job.selection, job.plan)
    population = sum(strata.values())
    run_id, finished = await _identity(db, job, population)
    if finished is not None and not still_open:
        return finished
    now = time.time_ns()
    run = RunRow(
        run_id=run_id,
        analysis=job.brief.analysis,
        window_start_ns=job.selection.start_ns,
        window_end_ns=job.selection.end_ns,
        status="running",
        engine=engine.name,
        models=engine.models,
        prompt_fingerprints=engine.prompt_fingerprints,
        traces_selected=population,
        traces_sampled=0,
        traces_labelled=0,
        traces_abstained=0,
        still_open=still_open,
        input_tokens=0,
        output_tokens=0,
        cost_usd=None,
        started_at_ns=now,
        finished_at_ns=0,
        config=job.config,
        error="",
        updated_at_ns=now,
    )
    return await _Run(db, engine, job, run, strata, redact, progress).execute()


async def _identity(db: Database, job: Job, population: int) -> tuple[str, RunRow | None]:
    """The next free run id, and the finished run over the same traces if there is one."""
    attempt = 1
    while True:
        run_id = job.run_id(attempt)
        earlier = await db.records("run_by_id", RunRow, run_id=run_id)
        if not earlier:
            return run_id, None
        if earlier[0].status == "complete" and earlier[0].traces_selected == population:
            return run_id, earlier[0]
        attempt += 1


class _Run:
    def __init__(
        self,
        db: Database,
        engine: Engine,
        job: Job,
        run: RunRow,
        strata: Mapping[str, int],
        redact: Redact,
        progress: Progress,
    ) -> None:
        self._db = db
        self._engine = engine
        self._job = job
        self._run = run
        self._strata = strata
        self._redact = redact
        self._progress = progress
        self._version = 0
        self._taxonomy = Taxonomy(())
        self._labelled: list[Labelled] = []

    async def execute(self) -> RunRow:
        await self._save_state()
        try:
            await self._sample_discover_assign()
        except asyncio.CancelledError:
            await asyncio.shield(self._finish("cancelled", "stopped before it was done"))
            raise
        except BudgetReached as error:
            return await self._finish("partial", str(error))
        except TracetaxaError as error:
            log.error("analysis %s failed: %s", self._run.analysis, error)
            return await self._finish("failed", str(error))
        except Exception as error:
            log.exception("analysis %s broke", self._run.analysis)
            return await self._finish("failed", f"unexpected {type(error).__name__}: {error}")
        return await self._finish(*self._verdict())

    async def _sample_discover_assign(self) -> None:
        job = self._job
        sample = await draw_sample(self._db, job.selection, job.plan, self._strata)
        sample = [replace(trace, row=self._redact(trace.row)) for trace in sample]
        self._run = replace(self._run, traces_sampled=len(sample))
        await self._db.insert("run_samples", [self._sample_row(trace) for trace in sample])
        if not sample:
            return
        rows = [trace.row for trace in sample]
        self._taxonomy = await self._engine.discover(rows, job.brief, self._progress)
        await self._save_taxonomy()
        by_id = {trace.row.trace_id: trace for trace in sample}
        async for verdicts in self._engine.assign(rows, self._taxonomy, job.brief, self._progress):
            await self._save_labels([Labelled(by_id[v.trace_id], self._sound(v)) for v in verdicts])

    def _sound(self, verdict: Assignment) -> Assignment:
        """Labels outside the taxonomy never get through, whatever engine gave them."""
        category = self._taxonomy.get(verdict.category_id)
        if category is None or category.parent_id:
            return Assignment(
                verdict.trace_id, OTHER, reason=f"unknown category {verdict.category_id!r}", abstained=True
            )
        sub = self._taxonomy.get(verdict.subcategory_id)
        if verdict.subcategory_id and (sub is None or sub.parent_id != category.category_id):
            return replace(verdict, subcategory_id="")
        return verdict

    def _verdict(self) -> tuple[str, str]:
        unit = self._job.selection.unit
        sampled, abstained = self._run.traces_sampled, self._abstained()
        missing = sampled - len(self._labelled)
        if missing:
            return "partial", f"{missing} of {sampled} sampled {unit}s got no label"
        if sampled and abstained / sampled > self._job.max_abstained:
            reasons = [label.assignment.reason for label in self._labelled if label.assignment.abstained]
            return "partial", (
                f"{abstained} of {sampled} sampled {unit}s could not be labelled; "
                f"most often: {max(set(reasons), key=reasons.count)}"
            )
        return "complete", ""

    def _abstained(self) -> int:
        return sum(label.assignment.abstained for label in self._labelled)

    # ------------------------------------------------------------------------------- saving

    async def _finish(self, status: str, error: str) -> RunRow:
        spend, now = self._engine.spend, time.time_ns()
        self._run = replace(
            self._run,
            status=status,  # type: ignore[arg-type]
            error=error,
            traces_labelled=len(self._labelled),
            traces_abstained=self._abstained(),
            input_tokens=spend.input_tokens,
            output_tokens=spend.output_tokens,
            cost_usd=spend.cost_usd if self._engine.prices_known else None,
            finished_at_ns=now,
        )
        run = self._run
        frame = Frame(run.run_id, run.analysis, run.window_start_ns, run.window_end_ns, self._strata)
        results = aggregate(self._labelled, self._taxonomy, frame)
        rows = [
            row for result in results for row in (result.row, *(child.row for child in result.subcategories))
        ]
        await self._db.insert("report_categories", rows)
        document = build_document(
            run,
            self._job.brief.instructions,
            self._version,
            results,
            self._labelled,
            spend,
            now,
            strata=self._strata,
            unit=self._job.selection.unit,
            prices=self._job.prices,
        )
        report = ReportRow(
            run_id=run.run_id,
            analysis=run.analysis,
            title=document["title"],
            summary=document["summary"],
            key_points=tuple(document["key_points"]),
            document=json.dumps(document, ensure_ascii=False),
            created_at_ns=now,
        )
        await self._db.insert("reports", [report])
        await self._save_state()
        return self._run

    async def _save_state(self) -> None:
        """The newest state of the run wins, so each must be later than the one before."""
        self._run = replace(self._run, updated_at_ns=max(time.time_ns(), self._run.updated_at_ns + 1))
        await self._db.insert("analysis_run_states", [self._run])

    async def _save_taxonomy(self) -> None:
        previous = await self._db.records("last_taxonomy", TaxonomyRow, analysis=self._run.analysis)
        known = {row.category_id for row in previous}
        self._version = max((row.taxonomy_version for row in previous), default=0) + 1
        now = time.time_ns()
        rows = [
            TaxonomyRow(
                analysis=self._run.analysis,
                taxonomy_version=self._version,
                run_id=self._run.run_id,
                category_id=category.category_id,
                parent_id=category.parent_id,
                level=category.level,
                name=category.name,
                description=category.description,
                event="kept" if category.category_id in known else "new",
                from_ids=(),
                created_at_ns=now,
            )
            for category in self._taxonomy.categories
        ]
        await self._db.insert("taxonomies", rows)

    async def _save_labels(self, labelled: Sequence[Labelled]) -> None:
        origins = await load_origins(self._db, [label.trace.row for label in labelled])
        rows = [
            self._label_row(label, origin)
            for label in labelled
            for origin in origins[label.trace.row.trace_id]
        ]
        await self._db.insert("trace_labels", rows)
        self._labelled.extend(labelled)
        self._progress("label", len(self._labelled), self._run.traces_sampled)

    def _label_row(self, label: Labelled, origin: Origin) -> LabelRow:
        row, verdict = label.trace.row, label.assignment
        category = self._taxonomy.get(verdict.category_id)
        sub = self._taxonomy.get(verdict.subcategory_id)
        return LabelRow(
            analysis=self._run.analysis,
            run_id=self._run.run_id,
            taxonomy_version=self._version,
            trace_id=origin.trace_id,
            revision=row.revision,
            trace_start_ns=origin.start_ns,
            service_name=origin.service_name,
            session_id=row.session_id,
            category_id=verdict.category_id,
            category=category.name if category else "",
            subcategory_id=verdict.subcategory_id,
            subcategory=sub.name if sub else "",
            confidence=verdict.confidence,
            labeller=self._job.labeller,
            classifier_version="",
            reason=verdict.reason,
            evidence=verdict.evidence,
            evidence_span_id=verdict.evidence_span_id,
            attributes=verdict.attributes,
            labelled_at_ns=time.time_ns(),
        )

    def _sample_row(self, trace: SampledTrace) -> RunSampleRow:
        return RunSampleRow(
            run_id=self._run.run_id,
            trace_id=trace.row.trace_id,
            stratum=trace.stratum,
            inclusion_probability=trace.inclusion_probability,
            weight=trace.weight,
        )
