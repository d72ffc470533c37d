"""`tracetaxa trace`."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from tracetaxa.cli.database import reading
from tracetaxa.cli.options import with_config, with_format
from tracetaxa.cli.output import width, write_document
from tracetaxa.errors import NotFound

if TYPE_CHECKING:
    from tracetaxa.config import Config
    from tracetaxa.report.trace import TraceView
    from tracetaxa.store.database import ClickHouse


@click.command()
@with_config
@click.argument("trace_id")
@with_format("text", "json")
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
        write_document(trace_document(view))
    else:
        click.echo(render_trace_text(view, width=width(), color=sys.stdout.isatty(), limit=limit), nl=False)


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
    labels = await store.records("reading/labels_of_trace", LabelRow, trace_id=trace_ids[0])
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
    ids = [row["TraceId"] for row in await store.rows("reading/trace_ids_like", prefix=prefix)]
    if len(ids) == 1 or prefix in ids:
        return [prefix if prefix in ids else ids[0]]
    most = config.assembly.max_session_traces
    rows = await store.rows("assembly/traces_of_sessions", session_ids=[wanted], max_traces=most)
    if rows:
        return [row["TraceId"] for row in reversed(rows)]
    if ids:
        raise NotFound(f"several traces begin with {wanted!r}, such as {', '.join(ids)}: give more of the id")
    raise NotFound(f"there is no trace and no session {wanted!r}")
