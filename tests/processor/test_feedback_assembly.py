"""Feedback reaches the trace that it is about, whichever way and whenever it comes."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from otlp import CHAT, START_NS, request, span
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.assemble.assembler import Assembler, ClosingRules
from tracetaxa.assemble.rows import ToRow
from tracetaxa.dialects import read_trace
from tracetaxa.records import Feedback, TraceRow
from tracetaxa_exporter.clickhouse import SpanWriter

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tracetaxa.store.database import ClickHouse

ASKED, JUDGED = 1, 2
"""The trace that is judged, and the one whose span says so."""


def write(store: ClickHouse, *spans: Span) -> None:
    SpanWriter(store.connect()).write([request(*spans)])


def carrier(score: str, number: int = 9) -> Span:
    made = span(
        JUDGED,
        number,
        name="evaluate",
        attributes={
            "openinference.span.kind": "EVALUATOR",
            "trace.annotations.0.annotation.name": "correct",
            "trace.annotations.0.annotation.score": score,
            "trace.annotations.0.annotation.explanation": "The parcel was lost.",
        },
    )
    made.links.add(trace_id=ASKED.to_bytes(16), span_id=(1).to_bytes(8))
    return made


def assembler(store: ClickHouse) -> Assembler:
    rules = ClosingRules(idle_seconds=0, orphan_idle_seconds=0, max_trace_seconds=10**6)
    return Assembler(store, read_trace, ToRow(partial(digest, max_tokens=400), lambda usage: None), rules)


def row(store: ClickHouse, trace: int) -> TraceRow:
    return asyncio.run(store.records("trace_row", TraceRow, trace_id=f"{trace:032x}"))[0]


def stored(store: ClickHouse) -> list[Any]:
    with store.reader() as client:
        return list(client.query("SELECT TraceId, Name, Score, Source FROM feedback FINAL").result_rows)


def test_a_span_of_another_trace_judges(store: ClickHouse) -> None:
    made = assembler(store)
    write(store, span(ASKED, 1, attributes=CHAT))
    asyncio.run(made.tick())
    assert row(store, ASKED).feedback == {}

    write(store, carrier("0.25"))
    assert asyncio.run(made.tick()) == 1  # the carrier's own trace
    assert asyncio.run(made.tick()) == 1  # and then the one that it is about
    judged = row(store, ASKED)
    assert (judged.revision, judged.feedback) == (2, {"correct": 0.25})
    assert "The parcel was lost." in judged.digest_texts[0]
    assert row(store, JUDGED).feedback == {}
    assert stored(store) == [(f"{ASKED:032x}", "correct", 0.25, "span")]


def test_it_comes_to_rest(store: ClickHouse) -> None:
    """Two traces that judge each other open each other once, and no more."""
    made = assembler(store)
    back = span(ASKED, 8, name="evaluate", attributes=dict(_attributes(carrier("1"))))
    back.links.add(trace_id=JUDGED.to_bytes(16), span_id=(9).to_bytes(8))
    write(store, span(ASKED, 1, attributes=CHAT), back, carrier("0"))
    ticks = [asyncio.run(made.tick()) for _ in range(5)]
    assert ticks == [2, 2, 0, 0, 0]
    assert (row(store, ASKED).feedback, row(store, JUDGED).feedback) == ({"correct": 0.0}, {"correct": 1.0})

    write(store, span(JUDGED, 7))  # a late span of a carrier says nothing new of its target
    assert [asyncio.run(made.tick()) for _ in range(3)] == [1, 0, 0]
    assert row(store, ASKED).revision == 2


def test_what_comes_first_waits_for_its_trace(store: ClickHouse) -> None:
    made = assembler(store)
    given = Feedback(
        "f1", f"{ASKED:032x}", "", "", "thumbs", 0.0, "down", "Too slow", "HUMAN", "api", START_NS
    )
    asyncio.run(store.insert("feedback", [given]))
    write(store, carrier("0.5"))
    for _ in range(3):
        asyncio.run(made.tick())

    write(store, span(ASKED, 1, attributes=CHAT))
    asyncio.run(made.tick())
    assert row(store, ASKED).feedback == {"correct": 0.5, "thumbs": 0.0}


def _attributes(made: Span) -> list[tuple[str, str]]:
    return [(pair.key, pair.value.string_value) for pair in made.attributes]
