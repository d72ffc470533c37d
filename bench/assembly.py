"""The questions of assembly on a large store: `python -m bench assembly`.

The embedded engine fills its own tables: a day of traffic that ends now, by default a million traces of ten
spans that arrived in three inserts each, all assembled but those of the last minute, and a fifth as many
sessions.
Then the statements are asked as the service asks them. Milliseconds of wall time, medians of several rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracetaxa.assemble.assembler import OVERLAP_SECONDS, ClosingRules
from tracetaxa.assemble.feedback import load_feedback
from tracetaxa.assemble.logs import load_logs
from tracetaxa.assemble.sizes import load_sizes
from tracetaxa.assemble.spans import load_spans
from tracetaxa.assemble.times import load_times
from tracetaxa.store.database import ClickHouse
from tracetaxa.store.dsn import Dsn
from tracetaxa.store.migrate import migrate
from tracetaxa_exporter.clickhouse import create_tables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clickhouse_connect.driver.client import Client

SPANS_PER_TRACE = 10
TRACES_PER_SESSION = 5
BATCH_TRACES = 500
CHUNK = 100_000
"""Traces that one statement fills in."""
SESSION_IDLE_SECONDS = 1800
DATABASE = "otel"
SQL = Path(__file__).with_name("sql")
_SECOND = 10**9
_DAY_NS = 86_400 * _SECOND
_VIEWS = ("trace_activity_mv", "log_activity_mv", "session_activity_mv")
"""They would say that everything arrived now."""


def bench(directory: Path, traces: int, rounds: int) -> dict[str, Any]:
    """Measures what is in `directory`, after filling it when it is not there."""
    filled = directory.exists()
    store = ClickHouse.open(Dsn(path=directory), DATABASE, readers=2)
    try:
        client = store.connect()
        if not filled:
            create_tables(client, 3650)
            migrate(client, 3650)
            fill(client, traces)
        return asyncio.run(_measure(store, client, rounds))
    finally:
        store.close()


def fill(client: Client, traces: int) -> None:
    for view in _VIEWS:
        client.command(f"DROP VIEW {view}")
    step_ns = _DAY_NS // traces
    start_ns = time.time_ns() - _DAY_NS
    assembled = traces - 60 * _SECOND // step_ns
    sessions = (assembled - SESSION_IDLE_SECONDS * _SECOND // step_ns) // TRACES_PER_SESSION

    def insert(name: str, first: int, last: int) -> None:
        bounds = {"first": first, "last": max(first, last), "start_ns": start_ns, "step_ns": step_ns}
        client.command((SQL / f"fill_{name}.sql").read_text("utf-8"), parameters=bounds)

    for first in range(0, traces, CHUNK):
        last = min(first + CHUNK, traces)
        for name in ("spans", "logs", "activity"):
            insert(name, first, last)
        for name in ("traces", "revisions", "session_activity"):
            insert(name, first, min(last, assembled))
        per = TRACES_PER_SESSION
        insert("sessions", first // per, min(last // per, sessions))


async def _measure(store: ClickHouse, client: Client, rounds: int) -> dict[str, Any]:
    rules = ClosingRules()
    end_ns = _ask(client, "SELECT toUnixTimestamp64Nano(max(SeenAt)) FROM trace_activity")
    newest_ns = _ask(client, "SELECT toUnixTimestamp64Nano(max(LastSeen)) FROM trace_revisions")
    batch = _ids(client, "SELECT TraceId FROM traces ORDER BY LastSeen DESC", BATCH_TRACES)
    anywhere = _ids(client, "SELECT TraceId FROM traces ORDER BY sipHash64(TraceId)", rounds)
    times = await load_times(store, batch)

    async def pending(since_ns: int) -> Any:
        return await store.rows(
            "assembly/pending_traces", since_ns=since_ns, max_rows=10_000, **rules.parameters()
        )

    async def pending_sessions(seconds: int) -> Any:
        idle_ms = SESSION_IDLE_SECONDS * 1000
        since_ns = end_ns - seconds * _SECOND
        return await store.rows(
            "assembly/pending_sessions", since_ns=since_ns, idle_ms=idle_ms, max_rows=10_000
        )

    async def trace(trace_id: str) -> Any:
        """What `tracetaxa trace` asks for, given the first half of an id."""
        found = await store.rows("reading/trace_ids_like", prefix=trace_id[:16])
        ids = [row["TraceId"] for row in found]
        spans = await load_spans(store, ids)
        await load_logs(store, ids)
        await load_feedback(store, ids)
        await store.rows("reading/labels_of_trace", trace_id=ids[0])
        return spans[ids[0]]

    back = OVERLAP_SECONDS + round(rules.idle_seconds)
    longest = OVERLAP_SECONDS + round(rules.max_trace_seconds)
    questions: dict[str, Callable[[int], Awaitable[Any]]] = {
        f"a tick, all traces short ({back} s back)": lambda _: pending(end_ns - back * _SECOND),
        f"a tick beside the longest open trace ({longest} s back)": lambda _: pending(
            end_ns - longest * _SECOND
        ),
        "a start: the newest assembled arrival": lambda _: store.rows("assembly/newest_assembled"),
        "a start: what is pending": lambda _: pending(
            newest_ns - rules.longest_ns - OVERLAP_SECONDS * _SECOND
        ),
        "for comparison: everything since the first arrival": lambda _: pending(0),
        "a tick of sessions": lambda _: pending_sessions(SESSION_IDLE_SECONDS + OVERLAP_SECONDS),
        f"{BATCH_TRACES} traces: newest revisions": lambda _: store.rows(
            "assembly/revisions_of_traces", trace_ids=batch
        ),
        f"{BATCH_TRACES} traces: times": lambda _: load_times(store, batch),
        f"{BATCH_TRACES} traces: sizes": lambda _: load_sizes(store, batch, times),
        f"{BATCH_TRACES} traces: spans": lambda _: load_spans(store, batch, times),
        f"{BATCH_TRACES} traces: events": lambda _: load_logs(store, batch, times),
        "one trace: its id from a prefix": lambda i: store.rows(
            "reading/trace_ids_like", prefix=anywhere[i][:16]
        ),
        "one trace: all that `tracetaxa trace` asks": lambda i: trace(anywhere[i]),
        "one trace: its row": lambda i: store.rows("trace_row", trace_id=anywhere[i]),
    }
    found = {name: await _milliseconds(ask, rounds) for name, ask in questions.items()}
    return {
        "rows": {
            table: _ask(client, f"SELECT count() FROM {table}")
            for table in ("otel_traces", "otel_logs", "trace_activity", "traces", "sessions")
        },
        "milliseconds": found,
    }


async def _milliseconds(ask: Callable[[int], Awaitable[Any]], rounds: int) -> dict[str, float]:
    taken = []
    for i in range(rounds):
        start = time.perf_counter()
        await ask(i)
        taken.append((time.perf_counter() - start) * 1000)
    return {"median": round(statistics.median(taken), 1), "lowest": round(min(taken), 1)}


def _ask(client: Client, sql: str) -> int:
    return int(client.query(sql).result_rows[0][0])


def _ids(client: Client, sql: str, count: int) -> list[str]:
    return [row[0] for row in client.query(f"{sql} LIMIT {count}").result_rows]


def report(result: dict[str, Any]) -> str:
    lines = [f"{rows:12,} rows  {table}" for table, rows in result["rows"].items()]
    lines += [
        f"{taken['median']:9.1f} ms (lowest {taken['lowest']:.1f})  {name}"
        for name, taken in result["milliseconds"].items()
    ]
    return "\n".join(lines)
