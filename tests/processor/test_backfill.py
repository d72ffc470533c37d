"""Rows that were there before our views: found, told of once, and assembled like any others."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from assembling import assemble, read, traces
from collector import Collector
from otlp import CHAT, log, span
from tracetaxa.backfill import Backfilled, backfill
from tracetaxa.protocols import no_progress
from tracetaxa.store.migrate import restore_views

if TYPE_CHECKING:
    from collections.abc import Callable

    from clickhouse_connect.driver.client import Client

    from tracetaxa.store.database import ClickHouse

HOUR_NS = 3600 * 10**9
DAY_NS = 24 * HOUR_NS
NOW_NS = time.time_ns()


@pytest.fixture
def collector(connect: Callable[[], Client]) -> Collector:
    return Collector(connect()).create_schema()


def fill(store: Any, start_ns: int = NOW_NS - 30 * DAY_NS, end_ns: int = 0, **options: Any) -> int:
    result = asyncio.run(
        backfill(store, start_ns, end_ns or time.time_ns(), options.pop("progress", no_progress), **options)
    )
    assert isinstance(result, Backfilled)
    return result.traces


def chat(trace: int, ago_ns: int) -> tuple[Any, Any]:
    """A root and a model call below it."""
    start = NOW_NS - ago_ns
    return (
        span(trace, trace * 10, name="invoke_agent", start=start, duration=10**9),
        span(trace, trace * 10 + 1, trace * 10, start=start + 10**6, attributes=CHAT),
    )


def test_spans_of_before_are_assembled(collector: Collector, open_store: Callable[[], ClickHouse]) -> None:
    for day in range(1, 6):
        collector.send(*chat(day, day * DAY_NS))
    store = open_store()
    assert assemble(store) == 0
    assert fill(store) == 5
    assert assemble(store) == 5
    assert [(row.span_count, row.llm_calls, row.input) for row in traces(store)] == [
        (2, 1, "Where is my order?")
    ] * 5


def test_repeating_it_finds_nothing(collector: Collector, open_store: Callable[[], ClickHouse]) -> None:
    collector.send(*chat(1, DAY_NS), *chat(2, 2 * DAY_NS))
    store = open_store()
    assert [fill(store), fill(store)] == [2, 0]
    assert assemble(store) == 2
    assert fill(store) == 0
    assert assemble(store) == 0
    assert [row.revision for row in traces(store)] == [1, 1]


def test_what_the_views_told_of_is_left_alone(
    collector: Collector, open_store: Callable[[], ClickHouse]
) -> None:
    store = open_store()
    collector.send(*chat(1, HOUR_NS))
    assert fill(store) == 0
    assert assemble(store) == 1
    for _ in range(2):  # the exporter's retries are rows, but no more spans
        collector.send(*chat(1, HOUR_NS))
    assert assemble(store) == 1
    assert fill(store) == 0


def test_only_the_window(collector: Collector, open_store: Callable[[], ClickHouse]) -> None:
    for day in range(1, 6):
        collector.send(*chat(day, day * DAY_NS))
    store = open_store()
    assert fill(store, NOW_NS - 3 * DAY_NS, NOW_NS - 2 * DAY_NS) == 1
    assemble(store)
    assert [row.trace_id for row in traces(store)] == [f"{3:032x}"]
    assert fill(store, NOW_NS - 30 * DAY_NS, NOW_NS - 29 * DAY_NS) == 0


def test_in_pages_and_stretches_of_any_size(
    collector: Collector, open_store: Callable[[], ClickHouse]
) -> None:
    collector.send(*(s for trace in range(1, 12) for s in chat(trace, trace * HOUR_NS // 3)))
    store = open_store()
    assert fill(store, max_rows=2, slice_seconds=1800) == 11
    assert assemble(store) == 11
    assert [row.span_count for row in traces(store)] == [2] * 11


class Killed(BaseException):
    pass


def test_a_killed_one_goes_on_where_it_was(
    collector: Collector, open_store: Callable[[], ClickHouse]
) -> None:
    for trace in range(1, 7):
        collector.send(*chat(trace, trace * DAY_NS))
    store = open_store()

    def kill_after_three(stage: str, done: int, total: int) -> None:
        assert total == 6
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        fill(store, progress=kill_after_three)
    # Newest first.
    assert {row[0] for row in read(store, "SELECT TraceId FROM trace_activity")} == {
        f"{trace:032x}" for trace in (1, 2, 3)
    }
    assert fill(store) == 3
    assert assemble(store) == 6
    assert [row.revision for row in traces(store)] == [1] * 6


def test_it_tells_what_the_view_tells(collector: Collector, open_store: Callable[[], ClickHouse]) -> None:
    """The statement and the view trace_activity_mv say the same of the same spans."""
    orphan = span(2, 20, 19, start=NOW_NS - HOUR_NS)
    collector.send(*chat(1, HOUR_NS), orphan)
    store = open_store()
    fill(store)
    told = "SELECT TraceId, max(HasRoot), max(HasRemoteParent) FROM trace_activity GROUP BY 1 ORDER BY 1"
    by_us = read(store, told)
    with store.reader() as client:
        client.command("TRUNCATE TABLE trace_activity")
        client.command("TRUNCATE TABLE otel_traces")
    collector.send(*chat(1, HOUR_NS), orphan)
    assert read(store, told) == by_us
    assert [row[1:] for row in by_us] == [(True, False), (False, False)]


def test_a_trace_half_of_which_came_before(
    connect: Callable[[], Client], open_store: Callable[[], ClickHouse]
) -> None:
    """Our lookup table knows of the later half only, until the earlier one is filled in."""
    collector = Collector(connect()).create_schema(lookup=False)
    root, model_call = chat(1, HOUR_NS)
    late = span(1, 12, 10, start=NOW_NS - HOUR_NS + 5 * 10**9)
    collector.send(late, model_call)
    store = open_store()
    collector.send(root)
    assert assemble(store) == 1
    assert fill(store) == 1
    assert assemble(store) == 1
    (row,) = traces(store)
    assert (row.revision, row.span_count, row.llm_calls) == (2, 3, 1)
    lookups = read(store, "SELECT count() FROM otel_traces_trace_id_ts")
    assert fill(store) == 0
    assert read(store, "SELECT count() FROM otel_traces_trace_id_ts") == lookups


def test_a_lookup_table_of_the_collector_is_not_written_to(
    collector: Collector, open_store: Callable[[], ClickHouse]
) -> None:
    collector.send(*chat(1, HOUR_NS))
    store = open_store()
    before = read(store, "SELECT * FROM otel_traces_trace_id_ts")
    fill(store)
    assert read(store, "SELECT * FROM otel_traces_trace_id_ts") == before


def test_log_events_of_before(collector: Collector, open_store: Callable[[], ClickHouse]) -> None:
    """Those of a trace that is assembled now are read with it; one that came unseen after that makes a revision."""
    root, _ = chat(1, HOUR_NS)
    bare = {name: value for name, value in CHAT.items() if not name.endswith(".messages")}
    model_call = span(1, 11, 10, start=NOW_NS - HOUR_NS + 10**6, attributes=bare)
    collector.send(root, model_call)
    asked = NOW_NS - HOUR_NS + 2 * 10**6
    collector.send_logs(log(1, 11, time=asked, body='{"content": "Where is my kettle?"}'))
    store = open_store()
    assert fill(store) == 1
    assert assemble(store) == 1
    (row,) = traces(store)
    assert (row.revision, row.input) == (1, "Where is my kettle?")
    assert fill(store) == 0
    with store.reader() as client:  # because it failed the collector's inserts
        client.command("DROP TABLE log_activity_mv SYNC")
    collector.send_logs(log(1, 11, name="gen_ai.choice", time=time.time_ns()))
    assert assemble(store) == 0
    assert fill(store) == 1
    assert assemble(store) == 1
    assert [row.revision for row in traces(store)] == [2]
    assert fill(store) == 0
    restore_views(store.connect())
    collector.send_logs(log(1, 11, name="gen_ai.choice", time=time.time_ns()))
    assert assemble(store) == 1


def test_nothing_there(open_store: Callable[[], ClickHouse]) -> None:
    calls: list[tuple[str, int, int]] = []
    assert fill(open_store(), progress=lambda *call: calls.append(call)) == 0
    assert calls == [("stretches of time", 0, 0)]
