"""On the tables of a collector: the same traces and labels, and its tables stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from assembling import assemble, read, traces
from collector import JSON_SPANS, Collector
from otlp import CHAT, START_NS, log, span
from tracetaxa_exporter.clickhouse import TableMismatch, create_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from clickhouse_connect.driver.client import Client

    from tracetaxa.store.database import ClickHouse


@pytest.fixture
def collector(connect: Callable[[], Client]) -> Collector:
    return Collector(connect()).create_schema()


@pytest.fixture
def guest(collector: Collector, open_store: Callable[[], ClickHouse]) -> ClickHouse:
    """What `tracetaxa serve` makes beside the collector's tables."""
    return open_store()


def label(store: ClickHouse, trace_id: str, category: str) -> None:
    with store.reader() as client:
        client.command(
            "INSERT INTO trace_labels (Analysis, RunId, TaxonomyVersion, TraceId, TraceStart, "
            "CategoryId, Category, Labeller) "
            f"VALUES ('topics', 'r', 1, '{trace_id}', now(), 'c', '{category}', 'llm')"
        )


def test_the_collectors_tables_stay_as_they_are(
    collector: Collector, open_store: Callable[[], ClickHouse]
) -> None:
    before = collector.definitions()
    assert set(before) == {
        "otel_traces",
        "otel_logs",
        "otel_traces_trace_id_ts",
        "otel_traces_trace_id_ts_mv",
    }
    for _ in range(2):
        open_store()
    assert collector.definitions() == before
    mutations = "SELECT count() FROM system.mutations WHERE database = currentDatabase()"
    assert collector.client.query(mutations).result_rows == [(0,)]


def test_what_it_stores_becomes_traces(guest: ClickHouse, collector: Collector) -> None:
    collector.send(span(1, 1, name="invoke_agent", duration=5 * 10**9), span(1, 2, parent=1, attributes=CHAT))
    collector.send_logs(log(1, 2, body="never read"))
    assert assemble(guest) == 1
    (row,) = traces(guest)
    assert (row.span_count, row.llm_calls, row.input, row.cost_usd) == (2, 1, "Where is my order?", 0.5)


def test_a_retried_insert_counts_once(guest: ClickHouse, collector: Collector) -> None:
    """The exporter inserts a batch again whose answer was lost, and its table keeps both."""
    for _ in range(3):
        collector.send(span(1, 1), span(1, 2, parent=1, attributes=CHAT), span(2, 3))
    assert read(guest, "SELECT count() FROM otel_traces") == [(9,)]
    assert assemble(guest) == 2
    assert [(row.span_count, row.llm_calls, row.input_tokens) for row in traces(guest)] == [
        (2, 1, 40),
        (1, 0, 0),
    ]
    label(guest, f"{1:032x}", "Orders")
    category = "SpanAttributes['tracetaxa.topics.category']"
    counted = f"SELECT {category}, count() FROM otel_traces_labelled GROUP BY 1 ORDER BY 1"
    assert read(guest, counted) == [("", 1), ("Orders", 2)]
    assert read(guest, "SELECT count() FROM otel_traces_once") == [(3,)]


@pytest.mark.parametrize("view", ["otel_traces_once", "otel_traces_labelled"])
def test_the_views_read_only_the_days_asked_for(guest: ClickHouse, collector: Collector, view: str) -> None:
    """A condition on time must reach the table below, or each panel would read all of it."""
    day_ns = 86_400 * 10**9
    for day in range(5):
        collector.send(span(day + 1, day + 1, start=START_NS + day * day_ns))
    from_time = f"fromUnixTimestamp64Nano({START_NS + 4 * day_ns - 10**9})"
    plan = "\n".join(
        row[0]
        for row in read(
            guest, f"EXPLAIN indexes = 1 SELECT count() FROM {view} WHERE Timestamp >= {from_time}"
        )
    )
    assert "Parts: 1/5" in plan
    assert read(guest, f"SELECT count() FROM {view} WHERE Timestamp >= {from_time}") == [(1,)]


def test_our_own_table_is_read_with_final(store: ClickHouse) -> None:
    (definition,) = read(store, "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'otel_traces_once'")  # fmt: skip
    assert " FINAL" in definition[0]


def test_without_a_lookup_table_ours_is_made_beside(
    connect: Callable[[], Client], open_store: Callable[[], ClickHouse]
) -> None:
    collector = Collector(connect()).create_schema(lookup=False)
    store = open_store()
    collector.send(span(1, 1))
    assert assemble(store) == 1
    assert read(store, "SELECT TraceId FROM otel_traces_trace_id_ts") == [(f"{1:032x}",)]


def test_a_lookup_table_of_somebody_else_is_not_filled_by_us(
    collector: Collector, open_store: Callable[[], ClickHouse]
) -> None:
    collector.client.command("DROP TABLE otel_traces_trace_id_ts_mv")
    open_store()
    assert "otel_traces_trace_id_ts_mv" not in collector.definitions()


def test_the_json_variant_is_refused_before_anything_is_made(client: Client) -> None:
    client.command(JSON_SPANS)
    with pytest.raises(
        TableMismatch, match=r"otel_traces is the JSON variant.*ResourceAttributes.*json: false"
    ):
        create_tables(client, 30)
    tables = "SELECT name FROM system.tables WHERE database = currentDatabase()"
    assert client.query(tables).result_rows == [("otel_traces",)]


def test_a_view_of_ours_that_fails_is_the_collectors_problem_too(
    guest: ClickHouse, collector: Collector
) -> None:
    """As docs/attach.md says: the insert fails, and dropping the view is what helps."""
    with guest.reader() as client:
        client.command("DROP TABLE trace_activity SYNC")
    with pytest.raises(Exception, match="trace_activity"):
        collector.send(span(1, 1))
    with guest.reader() as client:
        client.command("DROP TABLE trace_activity_mv SYNC")
    collector.send(span(1, 1))
    assert read(guest, "SELECT count() > 0 FROM otel_traces") == [(1,)]
