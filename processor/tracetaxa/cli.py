"""The command line. Results go to standard output, everything else to standard error.

Exit codes: 0 done or nothing to do, 1 failed, 2 wrong usage or configuration, 3 partial, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import re
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracetaxa import __version__
from tracetaxa.errors import NotFound, TracetaxaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracetaxa.config import Config
    from tracetaxa.report.trace import TraceView
    from tracetaxa.store.database import ClickHouse
    from tracetaxa.store.owner import Owner

WIDTH = 80
SEED = click.IntRange(0, 2**32 - 1)
QUERY_FORMATS = {
    "text": "PrettyCompactMonoBlock",
    "json": "JSON",
    "jsonl": "JSONEachRow",
    "csv": "CSVWithNames",
    "tsv": "TSVWithNames",
}
_EXIT_BY_STATUS = {"complete": 0, "partial": 3, "failed": 1, "cancelled": 130}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH})
@click.version_option(__version__, prog_name="tracetaxa")
def cli() -> None:
    """Discover what your LLM agents do: categories found in their traces, a label on every trace."""


def with_config(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --config; the command gets the loaded configuration first."""

    @click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration file (default: tracetaxa.yaml, then built-in values).",
    )
    def run(config_path: Path | None, **arguments: Any) -> Any:
        from tracetaxa.config import load

        return command(load(config_path), **arguments)

    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    run.__click_params__ = [*getattr(command, "__click_params__", []), *run.__click_params__]  # type: ignore[attr-defined]
    return run


@contextlib.contextmanager
def reading(config: Config, command: str) -> Iterator[ClickHouse]:
    from tracetaxa.service import open_for_reading

    store = open_for_reading(config, command)
    try:
        yield store
    finally:
        store.close()


# ------------------------------------------------------------------------------------------------- serve


@cli.command()
@with_config
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def serve(config: Config, log_level: str) -> None:
    """Take spans, assemble traces and answer questions, all in one process.

    Prints one JSON line when ingest works: {"event": "ready", "pid": …, "endpoints": {…}}. Stops cleanly on
    SIGTERM and Ctrl-C.
    """
    # What gRPC's core would print beside our own message, for example of a port in use.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tracetaxa.service import Service, ready_line

    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )

    logging.getLogger("uvicorn").setLevel(logging.WARNING)

    async def run() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        service = Service(config)
        async with service.running():
            click.echo(json.dumps(ready_line(service)))
            sys.stdout.flush()
            await stopping.wait()
            logging.getLogger(__name__).info("stopping")

    asyncio.run(run())


# ------------------------------------------------------------------------------------------------- analyze


@cli.command()
@with_config
@click.argument("name")
@click.option("--instructions", help="The question, in plain words.")
@click.option("--from", "start", metavar="RFC3339", help="Start of the window.")
@click.option("--to", "end", metavar="RFC3339", help="End of the window (default: now).")
@click.option("--window", metavar="DURATION", help="Length of the window before its end, such as 24h or 7d.")
@click.option("--engine", type=click.Choice(["auto", "openai", "local"]), help="Who discovers and assigns.")
@click.option("--sample-size", type=click.IntRange(min=1), help="Traces that the engine reads.")
@click.option("--seed", type=SEED, help="The same seed takes the same sample.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
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
    }
    _note_unconfigured(config, name)
    owner = _owner(config)
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
    from tracetaxa.jobs import choose_engine
    from tracetaxa.remote import run_remotely
    from tracetaxa.service import read_token, running_configuration

    if owner.configuration != running_configuration(config):
        click.echo(
            f"note: the service (process {owner.pid}) runs with other llm or privacy settings than these; "
            "restart it to apply them",
            err=True,
        )
    definition = config.analysis(request["analysis"]).model_dump(mode="json")
    request = request | {"definition": definition}
    result = run_remotely(owner.endpoints["api"], read_token(config), request, progress)
    wanted = choose_engine(config, request["engine"])
    if result["engine"] != wanted:
        click.echo(
            f"note: the service (process {owner.pid}) chose the {result['engine']} engine by its own "
            "environment; set OPENAI_API_KEY or OPENAI_BASE_URL where it runs",
            err=True,
        )
    return result


def _owner(config: Config) -> Owner | None:
    from tracetaxa.store.dsn import parse_dsn
    from tracetaxa.store.owner import find_owner

    dsn = parse_dsn(config.store.dsn)
    return find_owner(dsn.path) if dsn.path is not None else None


async def _analyze_here(config: Config, request: dict[str, Any], progress: Any) -> dict[str, Any]:
    from tracetaxa.jobs import RunRequest, parse_time, result_json, run_request
    from tracetaxa.service import count_open, make_assembler, make_session_assembler, open_store

    wanted = RunRequest(
        analysis=request["analysis"],
        instructions=request["instructions"],
        window_start_ns=parse_time(request["from"]) if request["from"] else None,
        window_end_ns=parse_time(request["to"]) if request["to"] else None,
        window=request["window"],
        engine=request["engine"],
        sample_size=request["sample_size"],
        seed=request["seed"],
    )
    store = open_store(config, "analyze")
    try:
        assembler, sessions = make_assembler(config, store), make_session_assembler(config, store)
        if store.dsn.embedded:
            # Nobody else assembles a database that this process owns.
            await assembler.tick()
            await sessions.tick()
        still_open = partial(count_open, assembler, sessions)
        run = await run_request(config, store, wanted, still_open=still_open, progress=progress)
        return result_json(run)
    finally:
        store.close()


def _print_report(config: Config, result: dict[str, Any]) -> None:
    from tracetaxa.report.text import render_text

    with reading(config, "analyze") as store:
        document = asyncio.run(_document(store, result["run_id"], ""))
    click.echo(render_text(document, width=_width(), color=sys.stdout.isatty()), nl=False)


# ------------------------------------------------------------------------------------------------- report


@cli.command()
@with_config
@click.argument("run_id", required=False)
@click.option("--analysis", default="", help="The newest report of this analysis, when no RUN_ID is given.")
@click.option("--format", "form", type=click.Choice(["text", "markdown", "json", "html"]), default="text")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
def report(config: Config, run_id: str | None, analysis: str, form: str, output: Path | None) -> None:
    """Show a run's report (default: the newest)."""
    with reading(config, "report") as store:
        document = asyncio.run(_document(store, run_id, analysis))
    if form == "json" and output is None:
        _echo_json(document)
        return
    text = _rendered(document, form, colour=output is None and sys.stdout.isatty())
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8")
        click.echo(f"written to {output}", err=True)


def _rendered(document: dict[str, Any], form: str, colour: bool) -> str:
    if form == "json":
        return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    if form == "markdown":
        from tracetaxa.report.markdown import render_markdown

        return render_markdown(document)
    if form == "html":
        from tracetaxa.report.html import render_html

        return render_html(document)
    from tracetaxa.report.text import render_text

    return render_text(document, width=_width(), color=colour)


async def _document(store: ClickHouse, run_id: str | None, analysis: str) -> dict[str, Any]:
    from tracetaxa.records import ReportRow

    if run_id:
        found = await store.records("report_by_run", ReportRow, run_id=run_id)
    else:
        found = await store.records("newest_report", ReportRow, analysis=analysis)
    if not found:
        what = f"of run {run_id!r}" if run_id else f"of analysis {analysis!r}" if analysis else "yet"
        raise NotFound(f"there is no report {what}; make one with: tracetaxa analyze NAME")
    document: dict[str, Any] = json.loads(found[0].document)
    return document


def _width() -> int:
    """Of the terminal, within what reads well; 80 where there is none."""
    return min(max(shutil.get_terminal_size((WIDTH, 24)).columns, 60), 120)


# ------------------------------------------------------------------------------------------------- trace


@cli.command()
@with_config
@click.argument("trace_id")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Show so many turns and spans as text; 0 for all.",
)
def trace(config: Config, trace_id: str, form: str, limit: int) -> None:
    """Show one trace as tracetaxa reads it: conversation, tools, errors, spans, labels.

    A unique prefix of the trace id will do. The id of a session shows its traces as one conversation. Long
    texts are cut; `--format json` has them whole.
    """
    from tracetaxa.report.trace import render_trace_text, trace_document

    with reading(config, "trace") as store:
        view = asyncio.run(_view(config, store, trace_id))
    if form == "json":
        _echo_json(trace_document(view))
    else:
        click.echo(render_trace_text(view, width=_width(), color=sys.stdout.isatty(), limit=limit), nl=False)


def _echo_json(document: dict[str, Any]) -> None:
    """With the text of users in it: a terminal must show it and not obey it."""
    from tracetaxa.store.display import safe_for_terminal

    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    data = text.encode("utf-8", "replace")
    sys.stdout.buffer.write(safe_for_terminal(data) if sys.stdout.isatty() else data)
    sys.stdout.flush()


async def _view(config: Config, store: ClickHouse, wanted: str) -> TraceView:
    from tracetaxa.assemble.feedback import load_feedback, load_session_feedback
    from tracetaxa.assemble.logs import load_logs
    from tracetaxa.assemble.rows import cost_of
    from tracetaxa.assemble.spans import load_spans
    from tracetaxa.dialects import outline, read_session
    from tracetaxa.jobs import trace_price
    from tracetaxa.records import LabelRow
    from tracetaxa.report.trace import TraceView

    trace_ids = await _trace_ids(config, store, wanted)
    spans = [span for found in (await load_spans(store, trace_ids)).values() for span in found]
    logs = [record for found in (await load_logs(store, trace_ids)).values() for record in found]
    feedback = [given for found in (await load_feedback(store, trace_ids)).values() for given in found]
    if wanted not in trace_ids:
        feedback += (await load_session_feedback(store, [wanted])).get(wanted, [])
    labels = await store.records("labels_of_trace", LabelRow, trace_id=trace_ids[0])
    found = read_session(spans, logs, feedback)
    return TraceView(
        trace=found,
        spans=outline(spans, logs),
        labels=[dataclasses.asdict(label) for label in labels],
        cost_usd=cost_of(found, partial(trace_price, config)),
    )


async def _trace_ids(config: Config, store: ClickHouse, wanted: str) -> list[str]:
    """The trace that this is, or begins, the id of; else those of the session of this id, in their order."""
    prefix = wanted.lower()
    ids = [row["TraceId"] for row in await store.rows("trace_ids_like", prefix=prefix)]
    if len(ids) == 1 or prefix in ids:
        return [prefix if prefix in ids else ids[0]]
    most = config.assembly.max_session_traces
    rows = await store.rows("traces_of_sessions", session_ids=[wanted], max_traces=most)
    if rows:
        return [row["TraceId"] for row in reversed(rows)]
    if ids:
        raise NotFound(f"several traces begin with {wanted!r}, such as {', '.join(ids)}: give more of the id")
    raise NotFound(f"there is no trace and no session {wanted!r}")


# ------------------------------------------------------------------------------------------------- query


@cli.command()
@with_config
@click.argument("sql")
@click.option("--format", "form", type=click.Choice(list(QUERY_FORMATS)), default="text")
def query(config: Config, sql: str, form: str) -> None:
    """Run one SELECT on the database, read-only. SQL of `-` is read from standard input."""
    from tracetaxa.store.display import safe_for_terminal
    from tracetaxa.store.guard import Guard

    text = sys.stdin.read() if sql == "-" else sql
    if re.search(r"\bFORMAT\s+\w+[\s;]*$", text, re.IGNORECASE):
        raise click.UsageError("leave FORMAT out of the query and use --format")
    with reading(config, "query") as store, store.reader() as client:
        settings = {"output_format_json_quote_64bit_integers": 0}
        if store.dsn.embedded:
            text = Guard(client, store.database).check(text)
        elif not store.through_service:
            settings["readonly"] = 2
        answer = client.raw_query(text, settings=settings, fmt=QUERY_FORMATS[form])
    sys.stdout.buffer.write(safe_for_terminal(answer) if sys.stdout.isatty() else answer)
    sys.stdout.flush()


# ------------------------------------------------------------------------------------------------- import


@cli.command("import")
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
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
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
    from tracetaxa.imports.run import DAY_NS, Import, Options
    from tracetaxa.imports.source import open_sources
    from tracetaxa.jobs import parse_time
    from tracetaxa.progress import shown_progress

    sources = open_sources(files, max_record_characters=max_record_mib << 20)
    now_ns = time.time_ns()
    oldest_ns = now_ns - config.store.retention_days * DAY_NS
    if feedback:
        _import_feedback(config, sources, columns, oldest_ns, dry_run, show_problems, form)
        return
    options = Options(
        form=kind,
        columns=_chosen_columns(columns, feedback=False),
        service=service or "",
        at_ns=parse_time(at) if at else now_ns,
        # Stricter by a minute than the store, which decides when the spans get there.
        oldest_ns=oldest_ns + 60 * 10**9,
        latest_ns=now_ns + DAY_NS - 60 * 10**9,
        retention_days=config.store.retention_days,
        shown_problems=show_problems,
    )
    owner = None if dry_run else _owner(config)
    with _import_sink(config, owner, dry_run) as sink, shown_progress("import") as progress:
        run = Import(options, sink, progress)
        for source in sources:
            run.read(source)
        summary = run.finish()
    logs = f", {summary.logs} log records" if summary.logs else ""
    done = f"{summary.imported_traces} traces ({summary.spans} spans{logs}) {'would be ' * dry_run}imported"
    _print_import(summary.as_dict(), done, form)
    if summary.imported_traces and not dry_run:
        _say_next(
            config, summary, assembled_there=owner is not None or not config.store.dsn.startswith("chdb:")
        )
    sys.exit(1 if not summary.went_in else 3 if summary.bad or summary.refused else 0)


def _chosen_columns(columns: tuple[str, ...], *, feedback: bool) -> dict[str, str]:
    from tracetaxa.imports import feedback as feedback_rows
    from tracetaxa.imports import table

    fields = feedback_rows.FIELDS if feedback else table.FIELDS
    chosen: dict[str, str] = {}
    for column in columns:
        field, _, name = column.partition("=")
        if not name:
            raise click.UsageError(f"--column {column}: write FIELD=NAME, such as conversation=thread_id")
        if field not in fields:
            raise click.UsageError(f"--column {column}: {field!r} is none of {', '.join(fields)}")
        chosen[field] = name
    return chosen


@contextlib.contextmanager
def _import_sink(config: Config, owner: Owner | None, dry_run: bool) -> Iterator[Any]:
    """The running service that owns the database, else the database itself; None for a dry run."""
    from tracetaxa.errors import DatabaseInUse
    from tracetaxa.imports.sinks import ServiceSink, TableSink
    from tracetaxa.service import DAY_SECONDS, open_store, read_credential
    from tracetaxa_exporter.clickhouse import LogWriter, SpanWriter

    if dry_run:
        yield None
    elif owner and "grpc" in owner.endpoints:
        if config.receiver.grpc.tls is not None:
            raise DatabaseInUse(
                f"the service (process {owner.pid}) owns the database and takes spans over TLS, which import "
                "can't speak: stop it and import again"
            )
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
    from tracetaxa.analyze.document import rfc3339

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
    click.echo(f"next: {when}: tracetaxa analyze {analysis} --from {start} --to {end}", err=True)


def _print_import(result: dict[str, Any], done: str, form: str) -> None:
    """The result on standard output; as text, its problems on standard error before it."""
    if form == "json":
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    for problem in result["problems"]:
        place = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
        text = f"{place}: {problem['reason']}"
        click.echo("".join(char if char.isprintable() else "\ufffd" for char in text), err=True)
    more = result["bad"] + result["refused"] - len(result["problems"])
    if more > 0:
        click.echo(f"and {more} more; --show-problems tells more of them", err=True)
    click.echo(f"{done} from {result['read']} rows; {result['bad']} bad, {result['refused']} refused")


def _import_feedback(
    config: Config,
    sources: Iterator[Any],
    columns: tuple[str, ...],
    oldest_ns: int,
    dry_run: bool,
    show_problems: int,
    form: str,
) -> None:
    from tracetaxa.feedback import parse_feedback
    from tracetaxa.imports.feedback import import_feedback

    now_ns = time.time_ns()
    chosen = _chosen_columns(columns, feedback=True)
    with _feedback_sink(config, dry_run) as store:
        summary = import_feedback(
            sources,
            chosen,
            lambda item: parse_feedback(item, "import", now_ns, oldest_ns=oldest_ns),
            store,
            shown_problems=show_problems,
        )
    _print_import(
        summary.as_dict(), f"{summary.accepted} pieces of feedback {'would be ' * dry_run}imported", form
    )
    sys.exit(1 if not summary.accepted else 3 if summary.bad or summary.refused else 0)


@contextlib.contextmanager
def _feedback_sink(config: Config, dry_run: bool) -> Iterator[Callable[[Any], dict[int, str]]]:
    """Stores (fields, record) pairs; returns why which of them were refused."""
    from tracetaxa.imports.sinks import post_feedback
    from tracetaxa.service import open_store, read_token

    owner = None if dry_run else _owner(config)
    if dry_run:
        yield lambda batch: {}
    elif owner and "api" in owner.endpoints:
        endpoint, token = owner.endpoints["api"], read_token(config)
        yield lambda batch: post_feedback(endpoint, token, [item for item, _ in batch])
    else:
        store = open_store(config, "import")

        def insert(batch: Any) -> dict[int, str]:
            asyncio.run(store.insert("feedback", [given for _, given in batch]))
            return {}

        try:
            yield insert
        finally:
            store.close()


# ------------------------------------------------------------------------------------------------- upkeep


@cli.command()
@with_config
def migrate(config: Config) -> None:
    """Bring the database's schema up to date."""
    from tracetaxa.service import open_store

    open_store(config, "migrate").close()
    click.echo("the schema is up to date", err=True)


@cli.command()
@with_config
@click.option("--from", "start", metavar="RFC3339", help="Start of the window.")
@click.option("--to", "end", metavar="RFC3339", help="End of the window (default: now).")
@click.option("--window", metavar="DURATION", help="Length of the window (default: store.retention_days).")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def backfill(config: Config, start: str | None, end: str | None, window: str | None, form: str) -> None:
    """Have traces assembled that were stored before tracetaxa watched.

    Run it once after pointing tracetaxa at the tables of a collector, beside the running service. It can be
    interrupted and repeated: what is assembled already is left alone. Views that were dropped are made again.
    """
    from tracetaxa.backfill import backfill as run
    from tracetaxa.errors import DatabaseInUse
    from tracetaxa.jobs import RunRequest, parse_time
    from tracetaxa.progress import shown_progress
    from tracetaxa.service import open_store
    from tracetaxa.store.migrate import restore_views

    request = RunRequest(
        "",
        window_start_ns=parse_time(start) if start else None,
        window_end_ns=parse_time(end) if end else None,
        window=window,
    )
    start_ns, end_ns = request.window_ns(f"{config.store.retention_days}d")
    if owner := _owner(config):
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
            f"next: `tracetaxa serve` assembles them, {idle:g} seconds from now at the latest if it runs",
            err=True,
        )


@cli.command()
@with_config
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def check(config: Config, form: str) -> None:
    """Check configuration, database, engine and endpoints, with advice for each finding."""
    from tracetaxa.check import check_all

    findings = check_all(config)
    if form == "json":
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(finding.line())
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


@cli.command()
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), help="Where to keep the data.")
@click.option("--traces", type=click.IntRange(min=50), default=500, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--engine", type=click.Choice(["auto", "openai", "local"]), default="auto", show_default=True)
def demo(directory: Path | None, traces: int, seed: int, engine: str) -> None:
    """Watch it work: a simulated shop agent sends traces, an analysis finds what is in them."""
    from tracetaxa.demo.run import run_demo

    sys.exit(run_demo(directory, traces=traces, seed=seed, engine=engine))


def main() -> None:
    """Entry point: errors become one message and an exit code."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        click.echo(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), err=True)
        sys.exit(1)
    except TracetaxaError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
