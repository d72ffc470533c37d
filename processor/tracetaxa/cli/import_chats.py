"""`tracetaxa import`."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from tracetaxa.cli.database import owner_of
from tracetaxa.cli.import_feedback import import_feedback
from tracetaxa.cli.import_outcome import chosen_columns, print_outcome
from tracetaxa.cli.options import with_config, with_format, with_same_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracetaxa.config import Config
    from tracetaxa.store.owner import Owner


@click.command("import")
@with_config
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--type",
    "kind",
    type=click.Choice(["auto", "openai", "langsmith", "sharegpt", "otlp", "csv"]),
    default="auto",
    show_default=True,
    help="What the files hold.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="FIELD=NAME",
    help="Where a table has a field: conversation, role, content…; of feedback trace_id, score…",
)
@click.option("--service", help="service.name of the chats (default: the file's name without ending).")
@click.option("--at", metavar="RFC3339", help="When chats without times end (default: now).")
@click.option("--feedback", is_flag=True, help="The files hold feedback on traces and sessions, not chats.")
@click.option("--dry-run", is_flag=True, help="Read and check only.")
@click.option(
    "--show-problems",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Tell so many bad rows one by one.",
)
@click.option(
    "--max-record-mib",
    type=click.IntRange(min=1, max=1024),
    default=64,
    show_default=True,
    help="Longest row; more costs memory.",
)
@with_format("text", "json")
def import_(
    config: Config,
    files: tuple[str, ...],
    kind: Any,
    columns: tuple[str, ...],
    service: str | None,
    at: str | None,
    feedback: bool,
    dry_run: bool,
    show_problems: int,
    max_record_mib: int,
    form: str,
) -> None:
    """Take in chats that were never traced; `-` is standard input.

    Reads OpenAI messages, LangSmith chat histories and runs, ShareGPT and OTLP as
    JSON or JSON lines, and CSV. Bad rows are told and left out. Importing the same
    chats again counts nothing twice.
    """
    from tracetaxa.imports import table
    from tracetaxa.imports.run import DAY_NS, Import, Options
    from tracetaxa.imports.source import open_sources
    from tracetaxa.jobs import parse_time
    from tracetaxa.progress import shown_progress

    sources = open_sources(files, max_record_characters=max_record_mib << 20)
    now_ns = time.time_ns()
    oldest_ns = now_ns - config.store.retention_days * DAY_NS
    if feedback:
        import_feedback(config, sources, columns, oldest_ns, dry_run, show_problems, form)
        return
    options = Options(
        form=kind,
        columns=chosen_columns(columns, table.FIELDS),
        service=service or "",
        at_ns=parse_time(at) if at else now_ns,
        # Stricter by a minute than the store, which decides when the spans get there.
        oldest_ns=oldest_ns + 60 * 10**9,
        latest_ns=now_ns + DAY_NS - 60 * 10**9,
        retention_days=config.store.retention_days,
        shown_problems=show_problems,
    )
    owner = None if dry_run else owner_of(config)
    with _sink(config, owner, dry_run) as sink, shown_progress("import") as progress:
        run = Import(options, sink, progress)
        for source in sources:
            run.read(source)
        summary = run.finish()
    logs = f", {summary.logs} log records" if summary.logs else ""
    done = f"{summary.imported_traces} traces ({summary.spans} spans{logs}) {'would be ' * dry_run}imported"
    print_outcome(summary.as_dict(), done, form)
    if summary.imported_traces and not dry_run:
        _say_next(
            config, summary, assembled_there=owner is not None or not config.store.dsn.startswith("chdb:")
        )
    sys.exit(1 if not summary.went_in else 3 if summary.bad or summary.refused else 0)


@contextlib.contextmanager
def _sink(config: Config, owner: Owner | None, dry_run: bool) -> Iterator[Any]:
    """The running service that owns the database, else the database itself; None for a dry run."""
    from tracetaxa.access import open_store
    from tracetaxa.errors import DatabaseInUse
    from tracetaxa.imports.sinks import ServiceSink, TableSink
    from tracetaxa.jobs import DAY_SECONDS
    from tracetaxa_exporter.clickhouse import LogWriter, SpanWriter

    if dry_run:
        yield None
    elif owner and "grpc" in owner.endpoints:
        if config.receiver.grpc.tls is not None:
            raise DatabaseInUse(
                f"the service (process {owner.pid}) owns the database and takes spans over TLS, which import "
                "can't speak: stop it and import again"
            )
        from tracetaxa.service import read_credential

        credential = read_credential(config.receiver.auth)
        with ServiceSink(owner.endpoints["grpc"], metadata=credential.metadata if credential else ()) as sink:
            yield sink
    elif owner and owner.endpoints:
        raise DatabaseInUse(
            f"the service (process {owner.pid}) owns the database but takes no spans: "
            "set receiver.enabled there, or stop it and import again"
        )
    else:
        store = open_store(config, "import")
        age = config.store.retention_days * DAY_SECONDS
        try:
            yield TableSink(
                SpanWriter(store.connect(), max_age_seconds=age),
                LogWriter(store.connect(), max_age_seconds=age),
            )
        finally:
            store.close()


def _say_next(config: Config, summary: Any, assembled_there: bool) -> None:
    """One line on what to do now: when the traces are there, and which window holds them."""
    from tracetaxa.analyze.results.document import rfc3339

    second = 10**9
    start = rfc3339(summary.first_start_ns // second * second)
    end = rfc3339((summary.last_start_ns // second + 1) * second)
    idle = f"{config.assembly.idle_seconds:g} seconds"
    when = (
        f"the traces are closed in about {idle}"
        if assembled_there
        else f"wait {idle} for the traces to close"
    )
    analysis = config.analyses[0].name if config.analyses else "topics"
    command = with_same_config(f"tracetaxa analyze {analysis} --from {start} --to {end}")
    click.echo(f"next: {when}: {command}", err=True)
