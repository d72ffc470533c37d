"""The report on a run: its rows of `report_categories` and its document, of what was labelled so far."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.analyze.findings.findings import find
from tracetaxa.analyze.findings.traits import Told
from tracetaxa.analyze.keeping import account, counted
from tracetaxa.analyze.redaction.withhold import withhold
from tracetaxa.analyze.results.aggregate import Frame, aggregate
from tracetaxa.analyze.results.document import build_document
from tracetaxa.analyze.results.quality import quality_card
from tracetaxa.analyze.statistics.precision import precision
from tracetaxa.records import CategoryRow, ReportRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.findings.shapes import RequestShape
    from tracetaxa.analyze.job import Job
    from tracetaxa.analyze.results.aggregate import Labelled
    from tracetaxa.analyze.results.quality import Checks
    from tracetaxa.records import RunRow, Spend, Taxonomy


@dataclass(frozen=True, slots=True)
class Made:
    """What a run has come to."""

    labelled: Sequence[Labelled]
    taxonomy: Taxonomy
    taxonomy_version: int
    checks: Checks
    spend: Spend
    at_ns: int


def write_report(
    run: RunRow,
    job: Job,
    made: Made,
    strata: Mapping[str, int],
    people: Mapping[str, str],
    shapes: Mapping[str, RequestShape],
) -> tuple[list[CategoryRow], ReportRow]:
    """Takes a moment for a large sample, so not on the event loop.

    `strata` is the population by stratum, `people` whom each trace is of, `shapes` how its request looks.
    """
    unit, attributes = job.selection.unit, job.brief.attributes
    labelled = counted(made.labelled, attributes)
    frame = Frame(run.run_id, run.analysis, run.window_start_ns, run.window_end_ns, strata)
    results = aggregate(labelled, made.taxonomy, frame)
    free_text = [a.name for a in attributes if a.type == "string"]
    told = Told(shapes, people, job.min_users, frozenset(free_text))
    document = build_document(
        run,
        job.brief.instructions,
        made.taxonomy_version,
        results,
        labelled,
        made.spend,
        made.at_ns,
        strata=strata,
        unit=unit,
        prices=job.prices,
        findings=find(labelled, strata, made.taxonomy, told, unit),
        left_out=account(made.labelled, attributes, strata),
        precision=precision(labelled, strata, results, job.plan, unit),
        quality=quality_card(made.checks, labelled, strata),
    )
    for stratum in document["sample"]["strata"]:
        stratum["name"] = job.redact_text(stratum["name"])
    withhold(document, labelled, people, job.min_users, free_text)
    rows = [row for result in results for row in (result.row, *(child.row for child in result.subcategories))]
    report = ReportRow(
        run_id=run.run_id,
        analysis=run.analysis,
        title=document["title"],
        summary=document["summary"],
        key_points=tuple(document["key_points"]),
        document=json.dumps(document, ensure_ascii=False),
        created_at_ns=made.at_ns,
    )
    return rows, report
