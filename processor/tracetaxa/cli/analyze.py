"""`tracetaxa analyze`: in the service that owns the database, or here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from tracetaxa.cli.database import owner_of, reading
from tracetaxa.cli.options import ENGINE, SEED, same_config, with_config, with_format, with_window
from tracetaxa.cli.output import width
from tracetaxa.cli.report import find_report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tracetaxa.config import Config
    from tracetaxa.jobs import RunRequest
    from tracetaxa.schedule.runs import Runs
    from tracetaxa.store.owner import Owner

_EXIT_BY_STATUS = {"complete": 0, "partial": 3, "failed": 1, "cancelled": 130}


@click.command()
@with_config
@click.argument("name")
@click.option("--instructions", help="The question, in plain words.")
@with_window("Length of the window before its end, such as 24h or 7d.")
@click.option("--engine", type=ENGINE, help="Who discovers and assigns.")
@click.option("--sample-size", type=click.IntRange(min=1), help="Traces that the engine reads.")
@click.option("--seed", type=SEED, help="The same seed takes the same sample.")
@click.option("--stability", is_flag=True, help="Also compare the categories of two half samples.")
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and do nothing.")
@with_format("text", "json")
def analyze(
    config: Config,
    name: str,
    instructions: str | None,
    start: str | None,
    end: str | None,
    window: str | None,
    engine: str | None,
    sample_size: int | None,
    seed: int | None,
    stability: bool,
    dry_run: bool,
    form: str,
) -> None:
    """Discover the categories of a window's traces and label them.

    NAME is an analysis of the configuration, or any new name: it becomes part of the attribute names,
    tracetaxa.NAME.category. With a running service on the same embedded database, the service does the work.
    """
    from tracetaxa.progress import shown_progress

    request = {
        "analysis": name,
        "instructions": instructions,
        "window": window,
        "from": start,
        "to": end,
        "engine": engine,
        "sample_size": sample_size,
        "seed": seed,
        "stability": stability or None,
    }
    _note_unconfigured(config, name)
    owner = owner_of(config)
    if dry_run:
        _print_quote(_quote(config, owner, request), form)
        return
    with shown_progress(name) as progress:
        if owner and "api" in owner.endpoints:
            result = _analyze_there(config, owner, request, progress)
        else:
            result = asyncio.run(_analyze_here(config, request, progress))
    if form == "json":
        click.echo(json.dumps(result))
    else:
        _print_report(config, result)
    sys.exit(_EXIT_BY_STATUS[result["status"]])


def _note_unconfigured(config: Config, name: str) -> None:
    configured = [analysis.name for analysis in config.analyses]
    if name not in configured:
        click.echo(
            f"note: no analysis {name!r} is configured (only {', '.join(configured)}): using the defaults",
            err=True,
        )


def _analyze_there(config: Config, owner: Owner, request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """In the service that owns the database, with the analysis as it is configured here."""
    from tracetaxa.access import read_token
    from tracetaxa.remote import run_remotely

    _note_other_settings(config, owner)
    defined = _with_definition(config, request)
    result = run_remotely(owner.endpoints["api"], read_token(config), defined, progress)
    _note_other_engine(config, owner, request, result)
    return result


def _quote(config: Config, owner: Owner | None, request: dict[str, Any]) -> dict[str, Any]:
    """What it would cost, by whoever would do it."""
    from tracetaxa.access import read_token
    from tracetaxa.remote import quote_remotely

    if owner is None or "api" not in owner.endpoints:
        return asyncio.run(_quote_here(config, request))
    _note_other_settings(config, owner)
    defined = _with_definition(config, request)
    quote = quote_remotely(owner.endpoints["api"], read_token(config), defined)
    _note_other_engine(config, owner, request, quote)
    return quote


def _with_definition(config: Config, request: dict[str, Any]) -> dict[str, Any]:
    return request | {"definition": config.analysis(request["analysis"]).model_dump(mode="json")}


def _note_other_settings(config: Config, owner: Owner) -> None:
    from tracetaxa.access import running_configuration

    if owner.configuration != running_configuration(config):
        click.echo(
            f"note: the service (process {owner.pid}) runs with other llm or privacy settings than these; "
            "restart it to apply them",
            err=True,
        )


def _note_other_engine(config: Config, owner: Owner, request: dict[str, Any], result: dict[str, Any]) -> None:
    from tracetaxa.jobs import choose_engine

    if result["engine"] != choose_engine(config, request["engine"]):
        click.echo(
            f"note: the service (process {owner.pid}) chose the {result['engine']} engine by its own "
            "environment; set OPENAI_API_KEY or OPENAI_BASE_URL where it runs",
            err=True,
        )


async def _analyze_here(config: Config, request: dict[str, Any], progress: Any) -> dict[str, Any]:
    from tracetaxa.jobs import result_json

    wanted = _run_request(config, request)
    async with _runs_here(config) as runs:
        return result_json(await runs.run(wanted, progress))


async def _quote_here(config: Config, request: dict[str, Any]) -> dict[str, Any]:
    from tracetaxa.jobs import quote_json

    wanted = _run_request(config, request)
    async with _runs_here(config) as runs:
        return quote_json(await runs.quote(wanted))


def _run_request(config: Config, request: dict[str, Any]) -> RunRequest:
    """Raises ConfigError for what can't be run, before a database is made for it."""
    from tracetaxa.jobs import RunRequest, parse_time

    wanted = RunRequest(
        analysis=request["analysis"],
        instructions=request["instructions"],
        window_start_ns=parse_time(request["from"]) if request["from"] else None,
        window_end_ns=parse_time(request["to"]) if request["to"] else None,
        window=request["window"],
        engine=request["engine"],
        sample_size=request["sample_size"],
        seed=request["seed"],
        stability=request["stability"],
    )
    wanted.window_ns(config.analysis(wanted.analysis).window)
    return wanted


@contextlib.asynccontextmanager
async def _runs_here(config: Config) -> AsyncIterator[Runs]:
    """This process opens the database, with all traces assembled that have closed."""
    from tracetaxa.access import open_store
    from tracetaxa.schedule.runs import Runs
    from tracetaxa.service import count_open, make_assembler, make_session_assembler

    store = open_store(config, "analyze")
    try:
        assembler, sessions = make_assembler(config, store), make_session_assembler(config, store)
        if store.dsn.embedded:
            # Nobody else assembles a database that this process owns.
            await assembler.tick()
            await sessions.tick()
        yield Runs(config, store, partial(count_open, assembler, sessions))
    finally:
        store.close()


def _print_quote(quote: dict[str, Any], form: str) -> None:
    from tracetaxa.report.cost import render_quote

    click.echo(json.dumps(quote) if form == "json" else render_quote(quote, width()), nl=form == "json")


def _print_report(config: Config, result: dict[str, Any]) -> None:
    from tracetaxa.report.text import render_text

    with reading(config, "analyze") as store:
        document = asyncio.run(find_report(store, result["run_id"], ""))
    told = render_text(document, width=width(), color=sys.stdout.isatty(), config=same_config())
    click.echo(told, nl=False)
