"""One run to make: its question, its traces, what it is known by, and whether an earlier one is to go on."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tracetaxa.analyze.audit import AuditPlan
from tracetaxa.analyze.findings.languages import no_detector
from tracetaxa.analyze.sampling.sample import count_strata
from tracetaxa.records import ABANDONED, SUSPENDED, Brief, Labeller, RunRow, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tracetaxa.analyze.findings.shapes import DetectLanguage
    from tracetaxa.analyze.sampling.plan import SamplePlan
    from tracetaxa.protocols import Database, Engine


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


async def planned_run(
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
        earlier = await db.records("reading/run_by_id", RunRow, run_id=run_id)
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
