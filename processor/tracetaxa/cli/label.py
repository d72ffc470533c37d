"""`tracetaxa label`: what people know about traces."""

from __future__ import annotations

import asyncio
import getpass
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from tracetaxa.cli.database import owner_of, reading
from tracetaxa.cli.options import with_config, with_format
from tracetaxa.cli.output import write_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracetaxa.config import Config

LISTED = 1000


@click.command()
@with_config
@click.argument("trace_id", required=False)
@click.option("--analysis", metavar="NAME", help="Which analysis the category is of.")
@click.option(
    "--category", metavar="NAME", help="Name or id, in the newest taxonomy; `other` for none of them."
)
@click.option("--subcategory", metavar="NAME", help="Name or id, below that category.")
@click.option("--note", metavar="TEXT", help="Why.")
@click.option("--who", metavar="NAME", help="Who says so (default: the name of your account).")
@click.option(
    "--session", "session_id", metavar="ID", help="All traces of this session, instead of TRACE_ID."
)
@click.option("--take-back", is_flag=True, help="What people said of it no longer counts.")
@click.option("--list", "listed", is_flag=True, help="Show labels by people; of TRACE_ID only, if given.")
@with_format("text", "json")
def label(
    config: Config,
    trace_id: str | None,
    analysis: str | None,
    category: str | None,
    subcategory: str | None,
    note: str | None,
    who: str | None,
    session_id: str | None,
    take_back: bool,
    listed: bool,
    form: str,
) -> None:
    """Label a trace yourself, or a whole session. It wins over every other label, also of later runs.

    Reports of later runs say how far their labels agree with those by people.
    """
    if listed:
        if category or subcategory or note or who or take_back:
            raise click.UsageError("--list goes with TRACE_ID, --session and --analysis only")
        _list(config, trace_id or "", session_id or "", analysis or "", form)
        return
    if bool(trace_id) == bool(session_id):
        raise click.UsageError("give TRACE_ID, or --session ID, or --list")
    if not analysis:
        raise click.UsageError("--analysis NAME is missing")
    if not category and not take_back:
        raise click.UsageError("--category NAME is missing (or --take-back)")
    given = {
        "trace_id": trace_id,
        "session_id": session_id,
        "analysis": analysis,
        "category": category,
        "subcategory": subcategory,
        "note": note,
        "who": who or _account(),
        "take_back": take_back,
    }
    _give(config, {name: value for name, value in given.items() if value}, form)


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return ""


def _give(config: Config, given: Mapping[str, Any], form: str) -> None:
    """Through the service that owns the database, else into it."""
    owner = owner_of(config)
    if owner and "api" in owner.endpoints:
        from tracetaxa.access import read_token
        from tracetaxa.remote import label_remotely

        made = label_remotely(owner.endpoints["api"], read_token(config), given)
    else:
        made = _give_here(config, given)
    if form == "json":
        write_document(made)
        return
    from tracetaxa.report.plain import one_line

    ids = made["trace_ids"]
    what = f"trace {ids[0]}" if len(ids) == 1 else f"{len(ids)} traces"
    if made["category_id"]:
        names = [one_line(name) for name in (made["category"], made["subcategory"]) if name]
        click.echo(
            f"{what}: {' / '.join(names)} ({made['analysis']}, taxonomy version {made['taxonomy_version']})"
        )
    else:
        click.echo(f"{what}: the label by people in {made['analysis']} is taken back")


def _give_here(config: Config, given: Mapping[str, Any]) -> dict[str, Any]:
    from tracetaxa.access import open_store
    from tracetaxa.errors import ConfigError
    from tracetaxa.people.items import LabelInvalid, parse_label
    from tracetaxa.people.labels import give_labels

    try:
        parsed = parse_label(given)
    except LabelInvalid as error:
        raise ConfigError(str(error)) from error
    store = open_store(config, "label")
    try:
        (outcome,) = asyncio.run(give_labels(store, [parsed], time.time_ns()))
    finally:
        store.close()
    if outcome.error:
        raise ConfigError(outcome.error)
    return outcome.as_dict()


def _list(config: Config, trace_id: str, session_id: str, analysis: str, form: str) -> None:
    from tracetaxa.people.labels import list_labels
    from tracetaxa.report.plain import one_line

    with reading(config, "label") as store:
        found = asyncio.run(
            list_labels(
                store, analysis=analysis, trace_id=trace_id.lower(), session_id=session_id, most=LISTED
            )
        )
    if form == "json":
        write_document({"labels": found})
        return
    for row in found:
        names = " / ".join(one_line(name) for name in (row["category"], row["subcategory"]) if name)
        click.echo(f"{row['trace_id']}  {row['analysis']}: {names}")
        said = [row["labelled_at"][:16].replace("T", " "), one_line(row["who"]), one_line(row["note"])]
        click.echo("  " + " · ".join(part for part in said if part))
        if row["missing"]:
            click.echo(f"  ! {one_line(row['missing'])}; the label still counts")
    if not found:
        click.echo("no labels by people", err=True)
    if len(found) == LISTED:
        click.echo(f"the newest {LISTED}; --analysis or TRACE_ID narrow it", err=True)
    sys.stdout.flush()
