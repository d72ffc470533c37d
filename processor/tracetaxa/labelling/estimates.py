"""Predictions for a random part of a run's window, and the report that they make more exact."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.keeping import counted
from tracetaxa.analyze.results.combined import Guessed, Label, combine, combined_document, combined_rows
from tracetaxa.analyze.results.sentences import most_frequent_reason
from tracetaxa.analyze.sampling.plan import REST
from tracetaxa.labelling.lesson import load_traces
from tracetaxa.records import CategoryRow, ReportRow, TraceRow

if TYPE_CHECKING:
    from tracetaxa.analyze.sampling.plan import SamplePlan
    from tracetaxa.label.training import Learned
    from tracetaxa.labelling.lesson import RunLabels
    from tracetaxa.protocols import Database
    from tracetaxa.records import AttributeSpec

log = logging.getLogger(__name__)

PredictByFolds = Callable[[Sequence[TraceRow]], Awaitable[Sequence[tuple[Label, ...]]]]


async def write_estimates(
    db: Database,
    found: RunLabels,
    learned: Learned,
    told: Sequence[int],
    predict: PredictByFolds,
    *,
    selection: Mapping[str, Any],
    plan: SamplePlan,
    attributes: Sequence[AttributeSpec],
    most: int,
    batch: int,
) -> bool:
    """Write the run's report and its rows of `report_categories` again, with combined shares; false where
    there is nothing to combine (everything was read, the folds had too little to learn from, there is no
    report).

    `told`: places in `found.labelled` that `learned.predictions` begin with. `selection` and `plan` are the
    run's, `most` the traces to predict, `batch` at once. Raises StoreError and ChildEnded.
    """
    run = found.run
    reports = await db.records("reading/report_by_run", ReportRow, run_id=run.run_id)
    if not reports or not learned.predictions or not most:
        return False
    document = json.loads(reports[0].document)
    if document.get("estimates"):
        return False
    others = await _guessed(db, found, predict, selection=selection, plan=plan, most=most, batch=batch)
    if not others:
        return False
    in_categories = counted(found.labelled, attributes)
    labelled = [in_categories[i] for i in told]
    predictions = [label for label in learned.predictions[: len(told)] if label is not None]
    combined = await asyncio.to_thread(combine, labelled, predictions, others, found.taxonomy, found.sizes)
    why = most_frequent_reason(found.labelled)
    made = await asyncio.to_thread(combined_document, document, combined, learned.version, why)
    rows = await db.records(
        "labelling/report_categories_of_run", CategoryRow, analysis=run.analysis, run_id=run.run_id
    )
    await db.insert("report_categories", combined_rows(rows, combined))
    await db.insert(
        "reports",
        [
            replace(
                reports[0],
                summary=made["summary"],
                key_points=tuple(made["key_points"]),
                document=json.dumps(made, ensure_ascii=False),
                # The newest row of a run counts, and the runs keep their order.
                created_at_ns=reports[0].created_at_ns + 1,
            )
        ],
    )
    log.info("report of run %s: shares with predictions for %d traces", run.run_id, combined.predicted)
    return True


async def _guessed(
    db: Database,
    found: RunLabels,
    predict: PredictByFolds,
    *,
    selection: Mapping[str, Any],
    plan: SamplePlan,
    most: int,
    batch: int,
) -> list[Guessed]:
    drawn = await db.rows(
        "labelling/rest_of_window",
        run_id=found.run.run_id,
        seed=plan.seed,
        limit=most,
        **selection,
        **plan.parameters(),
    )
    # The folds learned from what people labelled, so these are not like the others.
    known = set(found.people)
    strata = {
        row["TraceId"]: row["Stratum"] if row["Stratum"] in found.sizes else REST
        for row in drawn
        if row["TraceId"] not in known
    }
    ids = list(strata)
    others: list[Guessed] = []
    for first in range(0, len(ids), batch):
        rows = list((await load_traces(db, ids[first : first + batch])).values())
        for row, labels in zip(rows, await predict(rows), strict=True):
            if labels:
                failed = row.status == "Error"
                others.append(Guessed(strata[row.trace_id], labels, failed, row.cost_usd))
    return others
