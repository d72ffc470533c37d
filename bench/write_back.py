"""Labels written back into spans: `python -m bench write_back`.

The embedded engine fills its own table: two million spans of a day, ten a trace, 10,000 of the traces
labelled. The labels are written back as `label.write_back: on` does it, once into a table at rest and once,
with a newer taxonomy, while spans arrive: new traces, and spans of labelled traces sent again. Then what the
root spans say is compared with the labels, and typical questions are asked before, after, and when the parts
are merged.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracetaxa.store.database import ClickHouse
from tracetaxa.store.dsn import Dsn
from tracetaxa.store.migrate import migrate
from tracetaxa.write_back import WriteBack
from tracetaxa_exporter.clickhouse import create_tables

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SPANS_PER_TRACE = 10
PATCHES_SECONDS = 120
CHUNK = 50_000
DATABASE = "otel"
SQL = Path(__file__).with_name("sql")
_DAY_NS = 86_400 * 10**9
QUESTIONS = {
    "errors by service and hour": """
        SELECT ServiceName, toStartOfHour(Timestamp) AS Hour, countIf(StatusCode = 'Error'), count()
        FROM otel_traces GROUP BY ServiceName, Hour""",
    "tokens by model, out of SpanAttributes": """
        SELECT SpanAttributes['gen_ai.request.model'] AS Model,
            sum(toUInt64OrZero(SpanAttributes['gen_ai.usage.input_tokens']))
        FROM otel_traces GROUP BY Model""",
    "one trace by its id": """
        SELECT SpanName, Duration, SpanAttributes FROM otel_traces
        WHERE TraceId = lower(hex(sipHash128(toUInt64(20 * 777))))""",
    "an hour's root spans by category": """
        SELECT SpanAttributes['tracetaxa.topics.category'] AS Category, count(), avg(Duration)
        FROM otel_traces
        WHERE ParentSpanId = '' AND Timestamp >= (SELECT max(Timestamp) FROM otel_traces) - INTERVAL 1 HOUR
        GROUP BY Category""",
}
"""The last one counts nothing before labels are written back; it reads as much."""
_PARTS = """
    SELECT startsWith(name, 'patch-') AS Patch, count(), sum(rows), sum(bytes_on_disk)
    FROM system.parts WHERE active AND database = currentDatabase() AND table = 'otel_traces'
    GROUP BY Patch"""
_SAID = """
    SELECT count(), sum(sipHash64(TraceId, SpanId, toString(mapSort(SpanAttributes))))
    FROM (SELECT * FROM {}) WHERE ParentSpanId = '' AND TraceId IN (SELECT TraceId FROM trace_labels)"""


def bench(directory: Path, traces: int, labels: int, rounds: int) -> dict[str, Any]:
    store = ClickHouse.open(Dsn(path=directory), DATABASE, readers=4)
    try:
        client = store.connect()
        create_tables(client, 3650)
        migrate(client, 3650)
        return asyncio.run(_Bench(store, client, traces, labels, rounds).run())
    finally:
        store.close()


class _Bench:
    def __init__(self, store: ClickHouse, client: Client, traces: int, labels: int, rounds: int) -> None:
        self._store = store
        self._client = client
        self._traces = traces
        self._labels = labels
        self._rounds = rounds
        self._every = traces // labels
        self._start_ns = time.time_ns() - _DAY_NS
        self._step_ns = _DAY_NS // traces

    async def run(self) -> dict[str, Any]:
        for first in range(0, self._traces, CHUNK):
            self._spans(first, min(first + CHUNK, self._traces))
        self._client.command("OPTIMIZE TABLE otel_traces FINAL")
        result: dict[str, Any] = {
            "spans": self._ask("SELECT count() FROM otel_traces"),
            "before": self._state(),
        }
        arrivals = self._ask("SELECT count() FROM trace_activity")
        self._label(1)
        result["at rest"] = await self._write_back()
        result["no arrival by updates"] = self._ask("SELECT count() FROM trace_activity") == arrivals
        result["after"] = self._state()
        self._merge()
        result["after merges"] = self._state()
        self._label(2)
        with _Arriving(self) as arriving:
            result["while spans arrive"] = await self._write_back()
        result["while spans arrive"]["spans arrived"] = arriving.spans
        # What the assembler does when the traces that got spans are quiet.
        self._client.command(
            "INSERT INTO trace_revisions (TraceId, Revision, LastSeen) SELECT DISTINCT TraceId, 2, now64(9) "
            "FROM trace_labels"
        )
        result["repair"] = await self._write_back()
        self._merge()
        result["right in the end"] = self._right()
        return result

    def _spans(self, first: int, last: int) -> None:
        bounds = {"first": first, "last": last, "start_ns": self._start_ns, "step_ns": self._step_ns}
        self._client.command((SQL / "fill_spans.sql").read_text("utf-8"), parameters=bounds)

    def _label(self, version: int) -> None:
        self._client.command(
            (SQL / "fill_labels.sql").read_text("utf-8"),
            parameters={
                "version": version,
                "every": self._every,
                "labels": self._labels,
                "start_ns": self._start_ns,
                "step_ns": self._step_ns,
            },
        )

    async def _write_back(self) -> dict[str, Any]:
        """By a service that has just started."""
        one = WriteBack(self._store, "on")
        start, used = time.perf_counter(), time.process_time()
        await one.tick()
        return {
            "traces": one.written,
            "seconds": round(time.perf_counter() - start, 2),
            "cpu_seconds": round(time.process_time() - used, 2),
            "parts": self._parts(),
        }

    def _right(self) -> bool:
        return self._client.query(_SAID.format("otel_traces FINAL")).result_rows == (
            self._client.query(_SAID.format("otel_traces_labelled")).result_rows
        )

    def _state(self) -> dict[str, Any]:
        return {
            "parts": self._parts(),
            "milliseconds": {q: self._milliseconds(t) for q, t in QUESTIONS.items()},
        }

    def _parts(self) -> dict[str, Any]:
        found = {
            ("patches" if patch else "spans"): {"parts": parts, "rows": rows, "kB": size // 1000}
            for patch, parts, rows, size in self._client.query(_PARTS).result_rows
        }
        return {"patches": {"parts": 0, "rows": 0, "kB": 0}} | found

    def _milliseconds(self, sql: str) -> dict[str, float]:
        """As it is, and with patches left unread, in turns, so that other work on the machine hits both."""
        taken: dict[str, list[float]] = {"": [], " SETTINGS apply_patch_parts = 0": []}
        for _ in range(self._rounds):
            for settings, times in taken.items():
                start = time.perf_counter()
                self._client.query(sql + settings)
                times.append((time.perf_counter() - start) * 1000)
        lowest, without = (min(times) for times in taken.values())
        return {"lowest": round(lowest, 1), "without patches": round(without, 1)}

    def _merge(self) -> None:
        """Until no patch is left: ClickHouse drops those that are merged after a while."""
        self._client.command("OPTIMIZE TABLE otel_traces FINAL")
        deadline = time.monotonic() + PATCHES_SECONDS
        while self._parts()["patches"]["parts"] and time.monotonic() < deadline:
            time.sleep(0.5)

    def _ask(self, sql: str) -> int:
        return int(self._client.query(sql).result_rows[0][0])


class _Arriving:
    """A sender beside the block: new traces, and again the spans of labelled ones, as after a lost answer."""

    def __init__(self, bench: _Bench) -> None:
        self._bench = bench
        self._stopping = threading.Event()
        self._client = bench._store.connect()
        self._thread = threading.Thread(target=self._send)
        self.spans = 0

    def __enter__(self) -> _Arriving:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _send(self) -> None:
        bench, sent = self._bench, 0
        sql = (SQL / "fill_spans.sql").read_text("utf-8")
        while not self._stopping.is_set():
            for first in (bench._traces + sent, sent):
                bounds = {"first": first, "last": first + 100}
                times = {"start_ns": bench._start_ns, "step_ns": bench._step_ns}
                self._client.command(sql, parameters=bounds | times)
                self.spans += 100 * SPANS_PER_TRACE
            sent += 100


def report(result: dict[str, Any]) -> str:
    states = ("before", "after", "after merges")
    lines = [f"{result['spans']:,} spans"]
    for name in ("at rest", "while spans arrive", "repair"):
        found = result[name]
        patches = found["parts"]["patches"]
        arrived = f", {found['spans arrived']:,} spans arrived" if "spans arrived" in found else ""
        lines.append(
            f"{name}: labels of {found['traces']:,} traces in {found['seconds']} s "
            f"({found['cpu_seconds']} of CPU){arrived}; "
            f"then {patches['parts']} patch parts ({patches['kB']:,} kB) beside "
            f"{found['parts']['spans']['parts']} of spans"
        )
    lines.append(f"{'milliseconds (without patches)':<40}" + "".join(f"{state:>22}" for state in states))
    for question in QUESTIONS:
        cells = (result[state]["milliseconds"][question] for state in states)
        shown = (f"{cell['lowest']:.1f} ({cell['without patches']:.1f})" for cell in cells)
        lines.append(f"{question:<40}" + "".join(f"{cell:>22}" for cell in shown))
    lines.append(f"no materialized view saw the updates: {result['no arrival by updates']}")
    lines.append(f"every labelled root span right in the end: {result['right in the end']}")
    return "\n".join(lines)
