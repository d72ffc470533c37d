"""GenAI events in `otel_logs`: which reopen their trace, and how they are read back."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from captures import NAMES, capture, requests
from otlp import START_NS, log, log_request, request, span
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.assemble.assembler import Assembler, ClosingRules
from tracetaxa.assemble.logs import AFTER_SECONDS, BEFORE_SECONDS, MAX_BYTES, MAX_EVENTS, load_logs
from tracetaxa.assemble.rows import ToRow
from tracetaxa.dialects import read_trace
from tracetaxa.records import LogRecord
from tracetaxa.store.migrate import migrate
from tracetaxa_exporter.clickhouse import LogWriter, SpanWriter, create_tables

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from opentelemetry.proto.logs.v1 import logs_pb2

    from tracetaxa.store.database import ClickHouse

SECOND_NS = 10**9
NEVER = 10**6
SQL = Path(__file__).parents[2] / "processor" / "tracetaxa" / "store" / "sql"


def write_spans(store: ClickHouse, *traces: int) -> None:
    SpanWriter(store.connect()).write([request(*(span(trace, 1) for trace in traces))])


def write_logs(store: ClickHouse, *records: logs_pb2.LogRecord) -> None:
    (rejected,) = LogWriter(store.connect()).write([log_request(*records)])
    assert rejected.count == 0


def load(store: ClickHouse, *traces: int, **bounds: int) -> dict[str, list[LogRecord]]:
    return asyncio.run(load_logs(store, [f"{trace:032x}" for trace in traces], **bounds))


def assembler(store: ClickHouse) -> Assembler:
    rules = ClosingRules(idle_seconds=0, orphan_idle_seconds=0, max_trace_seconds=NEVER)
    return Assembler(store, read_trace, ToRow(partial(digest, max_tokens=400), lambda usage: None), rules)


def assembled(store: ClickHouse) -> list[tuple[str, int]]:
    with store.reader() as client:
        rows = client.query("SELECT TraceId, Revision FROM traces FINAL ORDER BY TraceId").result_rows
    return [(row[0], row[1]) for row in rows]


# ------------------------------------------------------------------------------------------------- reading


def test_events_of_a_trace_in_time_order(store: ClickHouse) -> None:
    write_spans(store, 1, 2)
    late = log(1, 1, name="gen_ai.choice", body='{"index":0}', time=START_NS + 2 * SECOND_NS)
    early = log(1, 0, body="hello", time=START_NS + SECOND_NS, attributes={"gen_ai.system": "openai"})
    write_logs(store, late, early, log(2, 1))
    found = load(store, 1, 2, 3)
    assert found.keys() == {f"{1:032x}", f"{2:032x}"}
    assert found[f"{1:032x}"] == [
        LogRecord(
            trace_id=f"{1:032x}",
            span_id="",
            time_ns=START_NS + SECOND_NS,
            event_name="gen_ai.user.message",
            body="hello",
            attributes={"gen_ai.system": "openai"},
        ),
        LogRecord(
            trace_id=f"{1:032x}",
            span_id=f"{1:016x}",
            time_ns=START_NS + 2 * SECOND_NS,
            event_name="gen_ai.choice",
            body='{"index":0}',
            attributes={},
        ),
    ]
    assert load(store) == {}


@pytest.mark.parametrize(
    ("name", "attributes", "read_as"),
    [
        ("gen_ai.choice", {}, "gen_ai.choice"),
        ("", {"event.name": "gen_ai.choice"}, "gen_ai.choice"),
        ("gen_ai.choice", {"event.name": "other"}, "gen_ai.choice"),
        ("other", {"event.name": "gen_ai.choice"}, None),
        ("gen_ai", {}, None),
        ("", {}, None),
    ],
)
def test_only_genai_events_are_read_and_reopen_their_trace(
    store: ClickHouse, name: str, attributes: dict[str, str], read_as: str | None
) -> None:
    write_spans(store, 1)
    made = assembler(store)
    asyncio.run(made.tick())
    write_logs(store, log(1, 1, name=name, attributes=attributes))
    found = load(store, 1)
    assert [record.event_name for record in found.get(f"{1:032x}", [])] == ([read_as] if read_as else [])
    assert asyncio.run(made.tick()) == (1 if read_as else 0)


def test_an_event_that_was_sent_twice_is_read_once(store: ClickHouse) -> None:
    write_spans(store, 1)
    for _ in range(2):
        write_logs(store, log(1, 1, body="a", attributes={"k": "v"}), log(1, 1, body="b"))
    assert [record.body for record in load(store, 1)[f"{1:032x}"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("offset_seconds", "found"),
    [
        (-BEFORE_SECONDS - 2, False),
        (-BEFORE_SECONDS + 2, True),
        (AFTER_SECONDS - 2, True),
        (AFTER_SECONDS + 3, False),
    ],
)
def test_events_are_looked_for_around_the_spans(store: ClickHouse, offset_seconds: int, found: bool) -> None:
    write_spans(store, 1)
    record = log(1, 1, time=START_NS + offset_seconds * SECOND_NS)
    LogWriter(store.connect(), max_future_seconds=2 * AFTER_SECONDS).write([log_request(record)])
    assert bool(load(store, 1)) is found
    assert load(store, 1, before_seconds=2 * BEFORE_SECONDS, after_seconds=2 * AFTER_SECONDS)


def test_the_read_is_bounded_in_time(store: ClickHouse) -> None:
    """Parts of other days are not touched, however many events of the same name they hold."""
    write_spans(store, 1)
    day_ns = 86_400 * SECOND_NS
    for days in range(1, 20):
        write_logs(store, *(log(trace, 1, time=START_NS - days * day_ns) for trace in range(2, 50)))
    write_logs(store, log(1, 1))
    sql = (SQL / "assembly" / "logs_of_traces.sql").read_text("utf-8")
    parameters = {
        "trace_ids": [f"{1:032x}"],
        "before_seconds": BEFORE_SECONDS,
        "after_seconds": AFTER_SECONDS,
        "max_events": MAX_EVENTS,
        "max_bytes": MAX_BYTES,
        "first_second": START_NS // SECOND_NS,
        "last_second": START_NS // SECOND_NS + 1,
    }
    with store.reader() as client:
        plan = client.query(f"EXPLAIN indexes = 1 {sql}", parameters=parameters).result_rows
    parts = [row[0].split(":")[1].strip() for row in plan if row[0].strip().startswith("Parts:")]
    assert "1/20" in parts


@pytest.mark.parametrize("name", [name for name in NAMES if requests(name)[1]])
def test_captured_events_are_loaded_as_they_were_sent(store: ClickHouse, name: str) -> None:
    traces, logs = requests(name)
    SpanWriter(store.connect()).write(traces)
    LogWriter(store.connect()).write(logs)
    sent: dict[str, list[LogRecord]] = {}
    for record in sorted(capture(name)[1], key=lambda record: record.time_ns):
        sent.setdefault(record.trace_id, []).append(record)
    assert asyncio.run(load_logs(store, list(sent))) == sent


# ------------------------------------------------------------------------------------------------- assembling


def test_a_late_event_makes_a_revision(store: ClickHouse) -> None:
    write_spans(store, 1, 2)
    made = assembler(store)
    assert asyncio.run(made.tick()) == 2
    write_logs(store, log(1, 1, name="gen_ai.evaluation.result", time=START_NS + 3600 * SECOND_NS))
    assert asyncio.run(made.open_traces()) == 1
    assert asyncio.run(made.tick()) == 1
    assert assembled(store) == [(f"{1:032x}", 2), (f"{2:032x}", 1)]
    assert asyncio.run(made.tick()) == 0


def test_an_event_is_no_root(store: ClickHouse) -> None:
    """A trace whose root is still missing stays open, whatever its events say."""
    SpanWriter(store.connect()).write([request(span(1, 2, parent=9))])
    write_logs(store, log(1, 2))
    rules = ClosingRules(idle_seconds=0, orphan_idle_seconds=NEVER, max_trace_seconds=NEVER)
    made = Assembler(store, read_trace, ToRow(partial(digest, max_tokens=400), lambda usage: None), rules)
    assert asyncio.run(made.tick()) == 0
    assert asyncio.run(made.open_traces()) == 1


def test_events_without_spans_make_no_trace_until_the_spans_come(store: ClickHouse) -> None:
    write_spans(store, 2)
    write_logs(store, log(1, 1), log(2, 1))
    made = assembler(store)
    asyncio.run(made.tick())
    assert assembled(store) == [(f"{2:032x}", 1)]
    assert asyncio.run(made.open_traces()) == 0
    assert asyncio.run(made.tick()) == 0
    write_logs(store, log(1, 1, body="more"))
    assert asyncio.run(made.open_traces()) == 1
    asyncio.run(made.tick())
    assert asyncio.run(made.open_traces()) == 0
    write_spans(store, 1)
    assert asyncio.run(made.tick()) == 1
    assert assembled(store) == [(f"{1:032x}", 1), (f"{2:032x}", 1)]


def test_events_without_a_trace_are_no_activity(store: ClickHouse) -> None:
    record = log(1, 1)
    record.ClearField("trace_id")
    write_logs(store, record)
    assert asyncio.run(assembler(store).open_traces()) == 0


def test_an_older_database_gets_logs(client: Client) -> None:
    """Tables and migrations of before are left as they are."""
    create_tables(client, 30)
    migrate(client, 30)
    client.command("DROP VIEW log_activity_mv")
    client.command("DROP TABLE otel_logs")
    client.command("DELETE FROM tracetaxa_migrations WHERE Version = 15")
    create_tables(client, 30)
    assert [migration.version for migration in migrate(client, 30)] == [15]
    LogWriter(client, max_age_seconds=None).write([log_request(log(1, 1))])
    assert client.query("SELECT TraceId, HasRoot FROM trace_activity").result_rows == [(f"{1:032x}", False)]
