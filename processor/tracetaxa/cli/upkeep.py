"""`tracetaxa migrate`, `backfill` and `check`: what an operator runs beside the service."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import click

from tracetaxa.cli.database import owner_of
from tracetaxa.cli.options import with_config, with_format, with_same_config, with_window

if TYPE_CHECKING:
    from tracetaxa.config import Config


@click.command()
@with_config
def migrate(config: Config) -> None:
    """Bring the database's schema up to date."""
    from tracetaxa.access import open_store

    open_store(config, "migrate").close()
    click.echo("the schema is up to date", err=True)


@click.command()
@with_config
@with_window("Length of the window (default: store.retention_days).")
@with_format("text", "json")
def backfill(config: Config, start: str | None, end: str | None, window: str | None, form: str) -> None:
    """Have traces assembled that were stored before tracetaxa watched.

    Run it once after pointing tracetaxa at the tables of a collector, beside the running service. It can be
    interrupted and repeated: what is assembled already is left alone. Views that were dropped are made again.
    """
    from tracetaxa.access import open_store
    from tracetaxa.backfill import backfill as run
    from tracetaxa.errors import DatabaseInUse
    from tracetaxa.jobs import RunRequest, parse_time
    from tracetaxa.progress import shown_progress
    from tracetaxa.store.migrate import restore_views

    request = RunRequest(
        "",
        window_start_ns=parse_time(start) if start else None,
        window_end_ns=parse_time(end) if end else None,
        window=window,
    )
    start_ns, end_ns = request.window_ns(f"{config.store.retention_days}d")
    if owner := owner_of(config):
        raise DatabaseInUse(
            f"process {owner.pid} ({owner.command}) owns this embedded database, and all that came into it "
            "came through tracetaxa: there is nothing to backfill. To look all the same, stop that process"
        )
    store = open_store(config, "backfill")
    try:
        restore_views(store.connect(), store.cluster)
        with shown_progress("backfill") as progress:
            result = asyncio.run(run(store, start_ns, end_ns, progress))
    finally:
        store.close()
    if form == "json":
        click.echo(json.dumps(result.as_dict()))
        return
    click.echo(f"{result.traces} traces to assemble" if result.traces else "nothing to do")
    if result.traces:
        idle = config.assembly.orphan_idle_seconds
        click.echo(
            with_same_config(
                f"next: `tracetaxa serve` assembles them, {idle:g} seconds from now at the latest if it runs"
            ),
            err=True,
        )


@click.command()
@with_config
@with_format("text", "json")
def check(config: Config, form: str) -> None:
    """Check configuration, database, engine and endpoints, with advice for each finding."""
    from tracetaxa.check import check_all

    findings = check_all(config)
    if form == "json":
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(with_same_config(finding.line()))
    sys.exit(0 if all(finding.ok for finding in findings) else 1)
