"""The runs there were, newest first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.results.document import rfc3339
from tracetaxa.jobs import result_json
from tracetaxa.records import ABANDONED, RunRow

if TYPE_CHECKING:
    from tracetaxa.protocols import Database


async def run_history(
    db: Database, analysis: str, limit: int, *, nobody_runs: bool = False
) -> list[dict[str, Any]]:
    """The newest runs (of `analysis`, when it is not empty), each as `tracetaxa analyze` prints it, and with
    `started_at`, `finished_at`, `scheduled_for` (times or None) and `has_report`.

    nobody_runs: this process has the database for itself and runs nothing, so what is `running` is not.
    """
    runs = await db.records("runs", RunRow, analysis=analysis, limit=limit)
    details = await db.rows("reading/run_details", run_ids=[run.run_id for run in runs])
    by_id = {row["RunId"]: row for row in details}
    if nobody_runs:
        runs = [replace(r, status="failed", error=ABANDONED) if r.status == "running" else r for r in runs]
    return [_told(run, by_id.get(run.run_id, {})) for run in runs]


def _told(run: RunRow, details: dict[str, Any]) -> dict[str, Any]:
    return result_json(run) | {
        "started_at": rfc3339(run.started_at_ns),
        "finished_at": rfc3339(run.finished_at_ns) if run.finished_at_ns else None,
        "scheduled_for": rfc3339(details["ScheduledFor"]) if details.get("ScheduledFor") else None,
        "has_report": bool(details.get("HasReport")),
    }
