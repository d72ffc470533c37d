"""`tracetaxa report`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracetaxa.cli.database import reading
from tracetaxa.cli.options import same_config, with_config, with_format, with_same_config
from tracetaxa.cli.output import json_text, width, write_document
from tracetaxa.errors import NotFound

if TYPE_CHECKING:
    from tracetaxa.config import Config
    from tracetaxa.store.database import ClickHouse


@click.command()
@with_config
@click.argument("run_id", required=False)
@click.option("--analysis", default="", help="The newest report of this analysis, when no RUN_ID is given.")
@click.option("--runs", is_flag=True, help="List the runs (of --analysis) instead, newest first.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Runs to list.")
@click.option("--full", is_flag=True, help="In text: every subcategory, the evidence of every category.")
@with_format("text", "markdown", "json", "html")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
def report(
    config: Config,
    run_id: str | None,
    analysis: str,
    runs: bool,
    limit: int,
    full: bool,
    form: str,
    output: Path | None,
) -> None:
    """Show a run's report (default: the newest), or the list of runs."""
    if runs:
        if run_id or output or form not in ("text", "json"):
            raise click.UsageError("--runs goes with --analysis, --limit and --format text or json")
        _list_runs(config, analysis, limit, form)
        return
    with reading(config, "report") as store:
        document = asyncio.run(find_report(store, run_id, analysis))
    if form == "json" and output is None:
        write_document(document)
        return
    text = _rendered(document, form, full=full, colour=output is None and sys.stdout.isatty())
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8")
        click.echo(f"written to {output}", err=True)


def _list_runs(config: Config, analysis: str, limit: int, form: str) -> None:
    from tracetaxa.schedule.history import run_history

    with reading(config, "report") as store:
        # Whoever owns an embedded database has it for itself.
        found = asyncio.run(run_history(store, analysis, limit, nobody_runs=store.ownership is not None))
    if form == "json":
        write_document({"runs": found})
        return
    from tracetaxa.report.runs import render_runs

    text = render_runs(found, width=width(), color=sys.stdout.isatty())
    click.echo(text if found else with_same_config(text), nl=False)


def _rendered(document: dict[str, Any], form: str, *, full: bool, colour: bool) -> str:
    if form == "json":
        return json_text(document)
    if form == "markdown":
        from tracetaxa.report.markdown import render_markdown

        return render_markdown(document, same_config())
    if form == "html":
        from tracetaxa.report.html import render_html

        return render_html(document, same_config())
    from tracetaxa.report.text import render_text

    return render_text(document, width=width(), color=colour, full=full, config=same_config())


async def find_report(store: ClickHouse, run_id: str | None, analysis: str) -> dict[str, Any]:
    """The document of a run, else of the newest run (of `analysis`, when it is not empty).

    Raises NotFound.
    """
    from tracetaxa.records import ReportRow

    if run_id:
        found = await store.records("reading/report_by_run", ReportRow, run_id=run_id)
    else:
        found = await store.records("reading/newest_report", ReportRow, analysis=analysis)
    if not found:
        what = f"of run {run_id!r}" if run_id else f"of analysis {analysis!r}" if analysis else "yet"
        raise NotFound(f"there is no report {what}; make one with: tracetaxa analyze NAME")
    document: dict[str, Any] = json.loads(found[0].document)
    return document
