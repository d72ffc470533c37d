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
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from tracetaxa.analyze.aggregate import Frame, Labelled, aggregate
from tracetaxa.analyze.audit import AuditPlan, read_again
from tracetaxa.analyze.document import build_document
from tracetaxa.analyze.findings import find
from tracetaxa.analyze.keeping import account, counted
from tracetaxa.analyze.languages import no_detector
from tracetaxa.analyze.model.budget import NO_BUDGET, BudgetReached
from tracetaxa.analyze.precision import precision
from tracetaxa.analyze.quality import Checks, quality_card
from tracetaxa.analyze.sample import Alike, Origin, count_strata, draw_sample, load_origins
from tracetaxa.analyze.shapes import shapes_of
from tracetaxa.analyze.stability import compare_halves
from tracetaxa.analyze.thinning import NEAR_DUPLICATE, copy_label, thin
from tracetaxa.analyze.traits import Told
from tracetaxa.analyze.unwritten import Unwritten
from tracetaxa.analyze.withhold import person_of, withhold
from tracetaxa.errors import TracetaxaError
from tracetaxa.records import (
    ABANDONED,
    OTHER,
    SUSPENDED,
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
    from tracetaxa.analyze.shapes import DetectLanguage, RequestShape
    from tracetaxa.protocols import Database, Engine, Progress

log = logging.getLogger(__name__)

Redact = Callable[[TraceRow], TraceRow]


@dataclass(slots=True)
class Stop:
    """What a run that is cancelled says of itself: whoever cancels it may set this first."""

    reason: Literal["cancelled", "suspended", "superseded"] = "cancelled"
    """`cancelled`: it ends, with a report of what was done. `suspended`: it will be resumed. `superseded`:
    another process goes on with it, so that this one writes nothing any more."""


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
    min_users: int = 1
    """A category of fewer persons is reported without examples."""
    redact_text: Callable[[str], str] = str
    """For what the report says that is not of a row: names of strata are values of attributes."""
    audit: AuditPlan = field(default_factory=AuditPlan)
    """Which traces are labelled a second time; none unless told."""
    stability_size: int = 0
    """Traces that the categories found in two halves of the sample are compared on; 0: they are not."""

    thin_duplicates: bool = False
    """Near-duplicates of what the engine has read take its label."""
    load_languages: Callable[[], DetectLanguage | None] = no_detector
    """What tells the language of requests, if anything does."""

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
    db: Database,
    engine: Engine,
    job: Job,
    *,
    redact: Redact,
    still_open: int,
    progress: Progress,
    stop: Stop | None = None,
) -> RunRow:
    """Returns the finished run; one that failed says why in `error`. A finished run is not made twice.

    One that did not end by itself goes on under its id, so nobody else may be at work on it: schedule/runs.py
    sees to that. Raises StoreError when ClickHouse can't take the results; CancelledError after saving what
    was done.
    """
    run, strata = await _planned(db, engine, job, still_open)
    if run.status == "complete":
        return run
    return await _Run(db, engine, job, run, strata, redact, progress, stop or Stop()).execute()


async def rehearse_analysis(
    db: Database, engine: Engine, job: Job, *, redact: Redact, still_open: int, progress: Progress
) -> RunRow:
    """The same as far as the engine is asked, with nothing written: for an engine whose models are stand-ins.

    Returns the run as it would stand then, or the finished one. Raises what the engine and ClickHouse raise.
    """
    run, strata = await _planned(db, engine, job, still_open)
    if run.status == "complete":
        return run
    rehearsed = _Run(Unwritten(db), engine, job, run, strata, redact, progress, Stop())
    return await rehearsed.rehearse()


async def plan_analysis(db: Database, engine: Engine, job: Job, *, still_open: int) -> RunRow:
    """The run as it would begin, with the size of its sample; or the finished one. Nothing is written."""
    run, strata = await _planned(db, engine, job, still_open)
    if run.status == "complete":
        return run
    return replace(run, traces_sampled=sum(job.plan.allocate(strata).values()))


async def _planned(
    db: Database, engine: Engine, job: Job, still_open: int
) -> tuple[RunRow, Mapping[str, int]]:
    """The run that is to be made and the population by stratum; or the finished run over the same traces."""
    strata = await count_strata(db, job.selection, job.plan)
    population = sum(strata.values())
    run_id, earlier = await _identity(db, job, population)
    if earlier is not None and earlier.status == "complete":
        return earlier, strata
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
        started_at_ns=earlier.started_at_ns if earlier is not None and _is_open(earlier) else now,
        finished_at_ns=0,
        config=job.config,
        error="",
        updated_at_ns=earlier.updated_at_ns if earlier is not None else now,
    )
    return run, strata


async def _identity(db: Database, job: Job, population: int) -> tuple[str, RunRow | None]:
    """The next free run id; or that of the finished run over the same traces, or of one to resume."""
    attempt = 1
    while True:
        run_id = job.run_id(attempt)
        earlier = await db.records("run_by_id", RunRow, run_id=run_id)
        if not earlier:
            return run_id, None
        if _is_open(earlier[0]) or (
            earlier[0].status == "complete" and earlier[0].traces_selected == population
        ):
            return run_id, earlier[0]
        attempt += 1


def _is_open(run: RunRow) -> bool:
    """Whether it did not end by itself."""
    return run.status == "running" or run.error in (ABANDONED, SUSPENDED)


def redacted(sample: Sequence[SampledTrace], redact: Redact) -> list[SampledTrace]:
    """Raises RedactionFailed, and then nothing of the sample goes anywhere."""
    return [replace(trace, row=redact(trace.row)) for trace in sample]


def _shapes(
    sample: Sequence[SampledTrace], load_languages: Callable[[], DetectLanguage | None]
) -> dict[str, RequestShape]:
    return shapes_of(sample, load_languages())


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
        stop: Stop,
    ) -> None:
        self._stop = stop
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
        self._checks = Checks()
        self._people: dict[str, str] = {}
        self._shapes: dict[str, RequestShape] = {}

    async def execute(self) -> RunRow:
        await self._save_state()
        try:
            await self._sample_discover_assign()
        except asyncio.CancelledError:
            await asyncio.shield(self._end_cancelled())
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

    async def rehearse(self) -> RunRow:
        """All that the engine is asked for, without a word of it kept."""
        await self._sample_discover_assign()
        return self._run

    async def _sample_discover_assign(self) -> None:
        job = self._job
        alike: Alike = ("exact" if job.brief.attributes else "numbers") if job.thin_duplicates else ""
        sample = await draw_sample(self._db, job.selection, job.plan, self._strata, alike=alike)
        self._people = {trace.row.trace_id: person_of(trace.row) for trace in sample}
        # Off the loop: a hook may take seconds.
        self._shapes = await asyncio.to_thread(_shapes, sample, job.load_languages)
        sample = await asyncio.to_thread(redacted, sample, self._redact)
        self._run = replace(self._run, traces_sampled=len(sample))
        await self._db.insert("run_samples", [self._sample_row(trace) for trace in sample])
        if not sample:
            return
        thinned = thin(sample)
        rows = [trace.row for trace in thinned.read]
        self._taxonomy = await self._engine.discover(rows, job.brief, self._progress)
        await self._save_taxonomy()
        if unlike := await self._assign(thinned.read, thinned.copies):
            await self._assign(unlike, {})
        await self._check()

    async def _assign(
        self, read: Sequence[SampledTrace], copies: Mapping[str, Sequence[SampledTrace]]
    ) -> list[SampledTrace]:
        """Labels these and their near-duplicates; returns those of them that must be read themselves."""
        by_id = {trace.row.trace_id: trace for trace in read}
        unlike: list[SampledTrace] = []
        rows = [trace.row for trace in read]
        async for verdicts in self._engine.assign(rows, self._taxonomy, self._job.brief, self._progress):
            labelled = [Labelled(by_id[v.trace_id], self._sound(v)) for v in verdicts]
            for label in tuple(labelled):
                for near in copies.get(label.trace.row.trace_id, ()):
                    if copied := copy_label(label, near):
                        labelled.append(copied)
                    else:
                        unlike.append(near)
            await self._save_labels(labelled)
        # Not in the order of the answers: made again, the run must ask the same, and find it in the cache.
        return sorted(unlike, key=lambda trace: trace.row.trace_id)

    async def _check(self) -> None:
        """How far the labels can be trusted. With what the audit says, all get a calibrated confidence."""
        job, stated = self._job, self._labelled
        audit = await read_again(
            self._engine, stated, self._taxonomy, job.brief, plan=job.audit, progress=self._progress
        )
        await self._db.insert("run_audits", audit.rows(self._run))
        if audit.calibration is not None:
            self._labelled = audit.calibrated(stated)
            await self._insert_labels([x for x in self._labelled if not x.assignment.abstained])
        self._checks = Checks(audit, stated={x.trace.row.trace_id: x.assignment.confidence for x in stated})
        if job.stability_size:
            stability = await compare_halves(
                self._engine, stated, job.brief, size=job.stability_size, progress=self._progress
            )
            self._checks = replace(self._checks, stability=stability)

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
        reasons = [label.assignment.reason for label in self._labelled if label.assignment.abstained]
        if NO_BUDGET in reasons:
            unpaid = reasons.count(NO_BUDGET)
            return "partial", f"{NO_BUDGET}: {unpaid} of {sampled} sampled {unit}s could not be labelled"
        if sampled and abstained / sampled > self._job.max_abstained:
            return "partial", (
                f"{abstained} of {sampled} sampled {unit}s could not be labelled; "
                f"most often: {max(set(reasons), key=reasons.count)}"
            )
        return "complete", ""

    def _abstained(self) -> int:
        return sum(label.assignment.abstained for label in self._labelled)

    # ------------------------------------------------------------------------------- saving

    async def _end_cancelled(self) -> None:
        if self._stop.reason == "cancelled":
            await self._finish("cancelled", "stopped before it was done")
        elif self._stop.reason == "suspended":
            self._run = replace(self._run, status="cancelled", error=SUSPENDED, finished_at_ns=time.time_ns())
            await self._save_state()

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
        job = self._job
        frame = Frame(run.run_id, run.analysis, run.window_start_ns, run.window_end_ns, self._strata)
        labelled = counted(self._labelled, job.brief.attributes)
        results = aggregate(labelled, self._taxonomy, frame)
        rows = [
            row for result in results for row in (result.row, *(child.row for child in result.subcategories))
        ]
        await self._db.insert("report_categories", rows)
        findings = await asyncio.to_thread(
            find, labelled, self._strata, self._taxonomy, self._told(), job.selection.unit
        )
        document = build_document(
            run,
            self._job.brief.instructions,
            self._version,
            results,
            labelled,
            spend,
            now,
            strata=self._strata,
            unit=self._job.selection.unit,
            prices=self._job.prices,
            findings=findings,
            left_out=account(self._labelled, job.brief.attributes, self._strata),
            precision=precision(labelled, self._strata, results, job.plan, job.selection.unit),
            quality=quality_card(
                replace(self._checks, prices_known=self._engine.prices_known), labelled, self._strata
            ),
        )
        for stratum in document["sample"]["strata"]:
            stratum["name"] = self._job.redact_text(stratum["name"])
        free_text = [a.name for a in self._job.brief.attributes if a.type == "string"]
        withhold(document, labelled, self._people, self._job.min_users, free_text)
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

    def _told(self) -> Told:
        job = self._job
        free_text = frozenset(a.name for a in job.brief.attributes if a.type == "string")
        return Told(self._shapes, self._people, job.min_users, free_text)

    async def _save_state(self) -> None:
        """The newest state of the run wins, so each must be later than the one before."""
        self._run = replace(self._run, updated_at_ns=max(time.time_ns(), self._run.updated_at_ns + 1))
        await self._db.insert("analysis_run_states", [self._run])

    async def _save_taxonomy(self) -> None:
        previous = await self._db.records("last_taxonomy", TaxonomyRow, analysis=self._run.analysis)
        if self._has_saved(previous):  # before it was killed
            self._version = previous[0].taxonomy_version
            return
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

    def _has_saved(self, rows: Sequence[TaxonomyRow]) -> bool:
        """Whether these are this run's taxonomy as it is now."""
        return {row.run_id for row in rows} == {self._run.run_id} and (
            {(row.category_id, row.parent_id, row.name, row.description) for row in rows}
            == {(c.category_id, c.parent_id, c.name, c.description) for c in self._taxonomy.categories}
        )

    async def _save_labels(self, labelled: Sequence[Labelled]) -> None:
        await self._insert_labels(labelled)
        self._labelled.extend(labelled)
        self._progress("label", len(self._labelled), self._run.traces_sampled)

    async def _insert_labels(self, labelled: Sequence[Labelled]) -> None:
        origins = await load_origins(self._db, [label.trace.row for label in labelled])
        rows = [
            self._label_row(label, origin)
            for label in labelled
            for origin in origins[label.trace.row.trace_id]
        ]
        await self._db.insert("trace_labels", rows)

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
            labeller="distilled" if label.copied_from else self._job.labeller,
            classifier_version=NEAR_DUPLICATE if label.copied_from else "",
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
