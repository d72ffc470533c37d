"""One analysis, start to end: select, sample, discover, assign, aggregate, save.

What a run has done is kept whatever happens: labels are written as they come, and a run that is capped, fails
or is cancelled ends with its status, its error and a report over what was labelled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tracetaxa.analyze.audit import read_again
from tracetaxa.analyze.findings.shapes import shapes_of
from tracetaxa.analyze.job import Job, Stop, planned_run
from tracetaxa.analyze.model.budget import NO_BUDGET, BudgetReached
from tracetaxa.analyze.redaction.withhold import person_of
from tracetaxa.analyze.results.aggregate import Labelled
from tracetaxa.analyze.results.quality import Checks
from tracetaxa.analyze.results.reporting import Made, write_report
from tracetaxa.analyze.results.truth import load_truth
from tracetaxa.analyze.sampling.sample import Alike, draw_sample
from tracetaxa.analyze.sampling.thinning import copy_label, thin
from tracetaxa.analyze.stability import compare_halves
from tracetaxa.analyze.unwritten import Unwritten
from tracetaxa.analyze.writing import RunWriter
from tracetaxa.errors import TracetaxaError
from tracetaxa.records import OTHER, SUSPENDED, Assignment, RunRow, SampledTrace, Taxonomy, TraceRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.findings.shapes import DetectLanguage, RequestShape
    from tracetaxa.protocols import Database, Engine, Progress

log = logging.getLogger(__name__)

Redact = Callable[[TraceRow], TraceRow]


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
    run, strata = await planned_run(db, engine, job, still_open)
    if run.status == "complete":
        return run
    return await _Run(db, engine, job, run, strata, redact, progress, stop or Stop()).execute()


async def rehearse_analysis(
    db: Database, engine: Engine, job: Job, *, redact: Redact, still_open: int, progress: Progress
) -> RunRow:
    """The same as far as the engine is asked, with nothing written: for an engine whose models are stand-ins.

    Returns the run as it would stand then, or the finished one. Raises what the engine and ClickHouse raise.
    """
    run, strata = await planned_run(db, engine, job, still_open)
    if run.status == "complete":
        return run
    rehearsed = _Run(Unwritten(db), engine, job, run, strata, redact, progress, Stop())
    return await rehearsed.rehearse()


async def plan_analysis(db: Database, engine: Engine, job: Job, *, still_open: int) -> RunRow:
    """The run as it would begin, with the size of its sample; or the finished one. Nothing is written."""
    run, strata = await planned_run(db, engine, job, still_open)
    if run.status == "complete":
        return run
    return replace(run, traces_sampled=sum(job.plan.allocate(strata).values()))


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
        self._write = RunWriter(db, run, job.labeller)
        self._taxonomy = Taxonomy(())
        self._labelled: list[Labelled] = []
        self._checks = Checks()
        self._people: dict[str, str] = {}
        self._shapes: dict[str, RequestShape] = {}

    async def execute(self) -> RunRow:
        self._run = await self._write.state(self._run)
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
        await self._write.sample(sample)
        if not sample:
            return
        thinned = thin(sample)
        rows = [trace.row for trace in thinned.read]
        self._taxonomy = await self._engine.discover(rows, job.brief, self._progress)
        await self._write.taxonomy(self._taxonomy)
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
            await self._write.labels(labelled)
            self._labelled.extend(labelled)
            self._progress("label", len(self._labelled), self._run.traces_sampled)
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
            await self._write.labels([x for x in self._labelled if not x.assignment.abstained])
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

    async def _end_cancelled(self) -> None:
        if self._stop.reason == "cancelled":
            await self._finish("cancelled", "stopped before it was done")
        elif self._stop.reason == "suspended":
            self._run = replace(self._run, status="cancelled", error=SUSPENDED, finished_at_ns=time.time_ns())
            self._run = await self._write.state(self._run)

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
        ids = [label.trace.row.trace_id for label in self._labelled]
        people = await load_truth(self._db, self._run.analysis, ids, self._taxonomy)
        checks = replace(self._checks, prices_known=self._engine.prices_known, people=people)
        made = Made(self._labelled, self._taxonomy, self._write.taxonomy_version, checks, spend, now)
        rows, report = await asyncio.to_thread(
            write_report, self._run, self._job, made, self._strata, self._people, self._shapes
        )
        await self._db.insert("report_categories", rows)
        await self._db.insert("reports", [report])
        self._run = await self._write.state(self._run)
        return self._run
