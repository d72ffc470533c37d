"""Large traces, traces that can't be read, and several assemblers on one store."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from clickhouse_connect.driver.binding import format_bind_value

from otlp import CHAT, START_NS, log_request, request, span
from otlp import log as event
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.assemble.assembler import Assembler, ClosingRules
from tracetaxa.assemble.bare import UNREADABLE
from tracetaxa.assemble.ids import in_parts
from tracetaxa.assemble.logs import load_logs
from tracetaxa.assemble.rows import ToRow
from tracetaxa.assemble.sizes import ReadLimits, Size, portions
from tracetaxa.assemble.spans import SPANS_LEFT_OUT
from tracetaxa.dialects import read_trace
from tracetaxa.records import TraceRow
from tracetaxa_exporter.clickhouse import LogWriter, SpanWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tracetaxa.records import Trace
    from tracetaxa.store.database import ClickHouse

AT_ONCE = ClosingRules(idle_seconds=0, orphan_idle_seconds=0, max_trace_seconds=10**6)
DAY_NS = 86_400 * 10**9
FIELD_LIMIT = 128 * 1024
"""Of a server, `http_max_field_value_size`."""


def assembler(store: Any, read: Callable[..., Trace] = read_trace, **changes: Any) -> Assembler:
    to_row = ToRow(partial(digest, max_tokens=400), lambda usage: 0.5)
    return Assembler(store, read, to_row, AT_ONCE, **changes)


def write(store: ClickHouse, *spans: Span) -> None:
    SpanWriter(store.connect()).write([request(*spans)])


def rows(store: ClickHouse) -> dict[int, TraceRow]:
    with store.reader() as client:
        ids = [r[0] for r in client.query("SELECT DISTINCT TraceId FROM traces FINAL").result_rows]
    found = [asyncio.run(store.records("trace_row", TraceRow, trace_id=i)) for i in ids]
    assert [len(of_one) for of_one in found] == [1] * len(ids)
    return {int(row.trace_id, 16): row for (row,) in found}


# ------------------------------------------------------------------------------------------------- large traces


def test_a_large_trace_says_what_it_leaves_out(store: ClickHouse) -> None:
    write(store, *(span(1, n, parent=n > 1) for n in range(1, 13)))
    write(store, *(span(1, n, parent=n > 1) for n in range(1, 4)))
    write(store, *(span(t, 100 * t + n) for t in (2, 3, 4) for n in range(3)))
    assert asyncio.run(assembler(store, limits=ReadLimits(spans=7)).tick()) == 4
    found = rows(store)
    # Repetitions of a span count for the limit: three of the seven.
    assert (found[1].span_count, found[1].attributes[SPANS_LEFT_OUT]) == (4, "8")
    assert found[1].root_name == "chat"
    assert [found[t].span_count for t in (2, 3, 4)] == [3, 3, 3]
    assert not any(SPANS_LEFT_OUT in found[t].attributes for t in (2, 3, 4))


def test_large_by_bytes(store: ClickHouse) -> None:
    write(store, *(span(1, n, attributes={"text": "x" * 10_000}) for n in range(1, 9)))
    asyncio.run(assembler(store, limits=ReadLimits(bytes=45_000)).tick())
    row = rows(store)[1]
    assert (row.span_count, row.attributes[SPANS_LEFT_OUT]) == (4, "4")


def test_one_span_is_read_however_large(store: ClickHouse) -> None:
    write(store, *(span(1, n, attributes=CHAT) for n in (1, 2)))
    asyncio.run(assembler(store, limits=ReadLimits(spans=0, bytes=0)).tick())
    assert (rows(store)[1].span_count, rows(store)[1].input) == (1, "Where is my order?")


def test_events_are_bounded_too(store: ClickHouse) -> None:
    write(store, span(1, 1), span(2, 1))
    LogWriter(store.connect()).write(
        [
            log_request(
                *(event(trace, 1, body="x" * 1000, time=START_NS + n) for trace in (1, 2) for n in range(9))
            )
        ]
    )
    ids = [f"{1:032x}", f"{2:032x}"]
    by_count = asyncio.run(load_logs(store, ids, max_events=4))
    by_bytes = asyncio.run(load_logs(store, ids, max_bytes=3500))
    assert [[record.time_ns - START_NS for record in by_count[i]] for i in ids] == [[0, 1, 2, 3]] * 2
    assert [len(by_bytes[i]) for i in ids] == [3, 3]


class Item:
    def __init__(self, spans: int, size_bytes: int) -> None:
        self.size = Size(spans, size_bytes)


def test_portions_keep_the_limits() -> None:
    sizes = [(3, 1), (4, 1), (1, 9), (9, 1), (1, 1), (1, 99), (2, 2)]
    made = [Item(*size) for size in sizes]
    found = list(portions(made, ReadLimits(spans=8, bytes=10)))
    assert [[sizes[made.index(item)] for item in portion] for portion in found] == [
        [(3, 1), (4, 1)],
        [(1, 9)],
        [(9, 1)],
        [(1, 1)],
        [(1, 99)],
        [(2, 2)],
    ]


@pytest.mark.parametrize("identity", ["a" * 32, "\\'" * 500, "ü" * 500, "\t\n" * 500, "'"])
def test_lists_of_ids_fit_in_one_field_of_a_form(identity: str) -> None:
    ids = [identity] * 5000
    parts = list(in_parts(ids))
    assert [name for part in parts for name in part] == ids
    assert max(len(format_bind_value(part).encode()) for part in parts) <= FIELD_LIMIT
    assert list(in_parts([])) == []


# ------------------------------------------------------------------------------------------------- unreadable


def poisoned(spans: Sequence[Any], *others: Any) -> Trace:
    if any("poison" in span.attributes for span in spans):
        raise RecursionError("too deep")
    return read_trace(spans, *others)


def test_a_trace_that_breaks_reading_does_no_harm_to_others(
    store: ClickHouse, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        store, span(2, 20, name="deep", attributes=CHAT | {"poison": "1"}), *(span(t, t) for t in (1, 3, 4))
    )
    made = assembler(store, poisoned, max_attempts=3)
    with caplog.at_level(logging.ERROR):
        asyncio.run(made.tick())
        assert set(rows(store)) == {1, 3, 4}
        assert made.trouble == "unexpected RecursionError: too deep"
        asyncio.run(made.tick())
        assert asyncio.run(made.open_traces()) == 1
        assert not caplog.records
        asyncio.run(made.tick())
        assert asyncio.run(made.tick()) == 0
        assert asyncio.run(made.open_traces()) == 0
    row = rows(store)[2]
    assert (row.root_name, row.span_count, row.is_agent, row.input) == ("deep", 1, False, "")
    assert row.attributes == {UNREADABLE: "RecursionError"}
    (told,) = caplog.records
    assert f"{2:032x}" in told.getMessage()
    assert made.trouble == ""
    # What comes later is a new try, and a fixed version reads it.
    write(store, span(2, 21))
    assert asyncio.run(assembler(store).tick()) == 1
    assert (rows(store)[2].revision, rows(store)[2].is_agent) == (2, True)
    assert UNREADABLE not in rows(store)[2].attributes


def test_what_can_not_be_kept_at_all_is_left(store: ClickHouse, caplog: pytest.LogCaptureFixture) -> None:
    def broken(spans: Sequence[Any], *others: Any) -> Trace:
        if spans[0].name == "deep":
            raise ValueError
        return read_trace(spans, *others)

    write(store, span(1, 1), span(2, 2, name="deep"))
    made = assembler(store, broken, max_attempts=1)
    asyncio.run(made.tick())
    assert set(rows(store)) == {1}
    assert asyncio.run(made.open_traces()) == 0
    assert asyncio.run(assembler(store, broken).open_traces()) == 0
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 2


# ------------------------------------------------------------------------------------------------- several assemblers


class Held:
    """The store, where an insert into `traces` waits for something else to happen first."""

    def __init__(self, store: ClickHouse, first: Callable[[], Any]) -> None:
        self._store = store
        self._first = first

    async def insert(self, table: str, records: Sequence[Any]) -> None:
        if table == "traces":
            await self._first()
        await self._store.insert(table, records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("merged", [False, True])
def test_a_slow_assembler_can_not_undo_what_a_quick_one_wrote(store: ClickHouse, merged: bool) -> None:
    quick = assembler(store)

    async def overtaken() -> None:
        await asyncio.to_thread(write, store, span(1, 2, parent=1, start=START_NS - 3 * DAY_NS))
        await quick.tick()

    write(store, span(1, 1))
    slow = assembler(Held(store, overtaken))
    asyncio.run(slow.tick())
    if merged:
        with store.reader() as client:
            client.command("OPTIMIZE TABLE traces FINAL")
    # Both wrote revision 1, and the slow one, which had not seen the second span, wrote last.
    asyncio.run(quick.tick())
    row = rows(store)[1]
    assert (row.revision, row.span_count) == (2, 2)
    assert asyncio.run(quick.tick()) == asyncio.run(assembler(store).tick()) == 0


def test_two_assemblers_at_once(store: ClickHouse) -> None:
    """Whatever they do twice, each trace is one row with all its spans, and revisions only grow."""
    both = [assembler(store, batch_traces=3), assembler(store, batch_traces=5)]
    newest: dict[int, int] = {}

    async def go() -> None:
        for number in range(1, 7):
            spans = [
                span(t, 100 * t + number, parent=number > 1 and 100 * t + 1, start=START_NS - number * DAY_NS)
                for t in range(1, 9)
                if (t + number) % 3 or number == 1
            ]
            await asyncio.gather(asyncio.to_thread(write, store, *spans), *(made.tick() for made in both))
            found = await asyncio.to_thread(rows, store)
            assert all(row.revision >= newest.get(t, 0) for t, row in found.items())
            newest.update({t: row.revision for t, row in found.items()})
        while any(await asyncio.gather(*(made.tick() for made in both))):
            pass

    asyncio.run(go())
    sent = {t: 1 + sum((t + number) % 3 > 0 for number in range(2, 7)) for t in range(1, 9)}
    assert {t: row.span_count for t, row in rows(store).items()} == sent
    assert all(row.start_ns < row.end_ns - DAY_NS for row in rows(store).values())
