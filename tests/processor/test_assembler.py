"""Spans in ClickHouse become rows of `traces`: when they close, what they say, and what late spans change."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from otlp import CHAT, START_NS, request, span
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.assemble.assembler import Assembler, ClosingRules
from tracetaxa.assemble.rows import ToRow
from tracetaxa.dialects import read_trace
from tracetaxa.records import TraceRow
from tracetaxa_exporter.clickhouse import SpanWriter

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tracetaxa.records import Usage
    from tracetaxa.store.database import ClickHouse

NEVER = 10**6


def flat_price(usage: Usage) -> float | None:
    return 0.5 if usage.model == "gpt-5-mini" else None


def assembler(store: ClickHouse, **rules: float) -> Assembler:
    closing = ClosingRules(
        **({"idle_seconds": 0.0, "orphan_idle_seconds": 0.0, "max_trace_seconds": NEVER} | rules)
    )
    return Assembler(
        store, read_trace, ToRow(partial(digest, max_tokens=400), flat_price), closing, batch_traces=2
    )


def write(store: ClickHouse, *spans: Span) -> None:
    SpanWriter(store.connect()).write([request(*spans)])


def rows(store: ClickHouse) -> list[TraceRow]:
    with store.reader() as client:
        ids = [r[0] for r in client.query("SELECT TraceId FROM traces FINAL ORDER BY TraceId").result_rows]
    return [asyncio.run(store.records("trace_row", TraceRow, trace_id=i))[0] for i in ids]


def test_a_closed_trace_is_one_row(store: ClickHouse) -> None:
    write(store, span(1, 1, name="invoke_agent", duration=5 * 10**9), span(1, 2, parent=1, attributes=CHAT))
    assert asyncio.run(assembler(store).tick()) == 1
    (row,) = rows(store)
    assert (row.trace_id, row.revision, row.span_count, row.service_name) == ("1".zfill(32), 1, 2, "shop")
    assert (row.root_name, row.duration_ms, row.session_id) == ("invoke_agent", 5000.0, "c1")
    assert (row.is_agent, row.llm_calls, row.input_tokens, row.output_tokens) == (True, 1, 40, 4)
    assert (row.input, row.output, row.cost_usd) == ("Where is my order?", "On its way.", 0.5)
    assert "Where is my order?" in row.digest_texts
    assert set(row.digest_span_ids) <= {"0000000000000001", "0000000000000002", ""}


def test_many_traces_in_batches(store: ClickHouse) -> None:
    write(store, *(span(t, t * 10 + n) for t in range(1, 8) for n in range(3)))
    assert asyncio.run(assembler(store).tick()) == 7
    assert [row.span_count for row in rows(store)] == [3] * 7


@pytest.mark.parametrize(
    ("rules", "with_root", "closes"),
    [
        ({"idle_seconds": 0, "orphan_idle_seconds": NEVER}, True, True),
        ({"idle_seconds": NEVER, "orphan_idle_seconds": NEVER}, True, False),
        ({"idle_seconds": 0, "orphan_idle_seconds": NEVER}, False, False),
        ({"idle_seconds": NEVER, "orphan_idle_seconds": 0}, False, True),
        ({"idle_seconds": NEVER, "orphan_idle_seconds": NEVER, "max_trace_seconds": 0}, False, True),
    ],
)
def test_when_a_trace_closes(
    store: ClickHouse, rules: dict[str, float], with_root: bool, closes: bool
) -> None:
    write(store, span(1, 1, parent=0 if with_root else 9))
    made = assembler(store, **rules)
    assert asyncio.run(made.open_traces()) == 1
    asyncio.run(made.tick())
    assert len(rows(store)) == closes
    assert asyncio.run(made.open_traces()) == (not closes)


def test_a_late_span_makes_a_revision(store: ClickHouse) -> None:
    made = assembler(store, orphan_idle_seconds=NEVER)
    write(store, span(1, 2, name="root"))
    asyncio.run(made.tick())
    # It came before the day of the first, has no root with it, and moves Start: still one row.
    write(store, span(1, 3, parent=2, start=START_NS - 2 * 86400 * 10**9, status=2))
    assert asyncio.run(made.open_traces()) == 1
    assert asyncio.run(made.tick()) == 1
    (row,) = rows(store)
    assert (row.revision, row.span_count, row.error_count) == (2, 2, 1)
    assert row.start_ns == START_NS - 2 * 86400 * 10**9
    assert asyncio.run(made.tick()) == 0


def test_one_row_after_merges_too(store: ClickHouse) -> None:
    """However far a late span moves Start: `traces` has no partitions, so rows of one trace always meet."""
    made = assembler(store)
    for days in range(5):
        write(store, span(1, 9 - days, parent=days < 4, start=START_NS - days * 86400 * 10**9))
        asyncio.run(made.tick())
        with store.reader() as client:
            found = client.query("SELECT Revision, SpanCount FROM traces FINAL").result_rows
            assert found == [(days + 1, days + 1)]
            client.command("OPTIMIZE TABLE traces FINAL")
            assert client.query("SELECT Revision, SpanCount FROM traces").result_rows == found


def test_a_trace_says_that_its_root_never_came(store: ClickHouse) -> None:
    made = assembler(store)
    write(store, span(1, 2, parent=1, attributes=CHAT), span(2, 1, attributes=CHAT))
    asyncio.run(made.tick())
    orphan, whole = rows(store)
    assert (orphan.attributes["tracetaxa.trace.root"], orphan.root_name) == ("missing", "chat")
    assert "root span missing" in orphan.digest_texts[0]
    assert "tracetaxa.trace.root" not in whole.attributes
    assert "root span missing" not in whole.digest_texts[0]
    write(store, span(1, 1, name="invoke_agent"))
    asyncio.run(made.tick())
    late = rows(store)[0]
    assert (late.root_name, "tracetaxa.trace.root" in late.attributes) == ("invoke_agent", False)
    assert "root span missing" not in late.digest_texts[0]


def test_a_retried_request_counts_once(store: ClickHouse) -> None:
    spans = [span(1, 1), span(1, 2, parent=1, attributes=CHAT)]
    for _ in range(3):
        write(store, *spans)
    asyncio.run(assembler(store).tick())
    (row,) = rows(store)
    assert (row.span_count, row.llm_calls, row.input_tokens) == (2, 1, 40)
    with store.reader() as client:
        assert client.query("SELECT count() FROM otel_traces_labelled").result_rows == [(2,)]


def test_a_restarted_assembler_finds_its_work(store: ClickHouse) -> None:
    write(store, span(1, 1))
    asyncio.run(assembler(store).tick())
    write(store, span(2, 2))
    assert asyncio.run(assembler(store).tick()) == 1
    assert len(rows(store)) == 2


def test_arrivals_while_ticking_are_not_forgotten(store: ClickHouse) -> None:
    """A trace that stays open keeps the look-back as long as it needs."""
    made = assembler(store, idle_seconds=0, orphan_idle_seconds=NEVER)
    write(store, span(1, 1, parent=7))
    for trace in range(2, 5):
        write(store, span(trace, trace))
        asyncio.run(made.tick())
    assert len(rows(store)) == 3
    write(store, span(1, 7))
    asyncio.run(made.tick())
    assert [row.span_count for row in rows(store)] == [2, 1, 1, 1]


def test_spans_that_are_gone_are_not_waited_for(store: ClickHouse) -> None:
    write(store, span(1, 1))
    with store.reader() as client:
        client.command("TRUNCATE TABLE otel_traces")
    made = assembler(store)
    asyncio.run(made.tick())
    assert asyncio.run(made.open_traces()) == 0
    assert rows(store) == []


def test_the_loop_stops_when_told(store: ClickHouse) -> None:
    write(store, span(1, 1))

    async def go() -> None:
        stopping = asyncio.Event()
        made = assembler(store)
        task = asyncio.create_task(made.run(stopping))
        async with asyncio.timeout(10):
            while made.assembled == 0:
                await asyncio.sleep(0.01)
        stopping.set()
        await task

    asyncio.run(go())
    assert len(rows(store)) == 1
