"""The labeller against the real store: every trace once, in order, whatever ends it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from factories import START_NS, trace_row
from tracetaxa.analyze.sampling.sample import selection_parameters
from tracetaxa.assemble.assembler import RevisionRow
from tracetaxa.errors import ChildEnded
from tracetaxa.label.labeller import UNSURE, Labeller, Scope
from tracetaxa.records import Category, LabelRow, RunSampleRow, Selection, Taxonomy, TraceRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.store.database import ClickHouse

REFUNDS = Category("refunds", "Refunds", "Money back.")
LATE = Category("refunds__late", "Too late", "", "refunds")
TAXONOMY = Taxonomy((REFUNDS, LATE, Category("other", "Other", "")))


@dataclass(frozen=True)
class Guess:
    """What the classifier says, as far as the labeller reads it."""

    category_id: str
    subcategory_id: str
    confidence: float
    abstained: bool
    likely_id: str = "refunds"
    nearest_id: str = "t000"


class Predictor:
    """Refunds are traces that say refund; breaks where it is told to."""

    def __init__(self, fails: int = 0) -> None:
        self.batches: list[list[str]] = []
        self.fails = fails

    async def __call__(self, rows: Sequence[TraceRow]) -> list[Guess]:
        if self.fails:
            self.fails -= 1
            raise ChildEnded("no memory")
        self.batches.append([row.trace_id for row in rows])
        return [
            Guess("refunds", "refunds__late", 0.9, False)
            if "refund" in row.input
            else Guess("other", "", 0.3, True)
            for row in rows
        ]

    @property
    def seen(self) -> list[str]:
        return [trace_id for batch in self.batches for trace_id in batch]


def scope(began_ns: int, version: str = "c1", **changes: Any) -> Scope:
    selection = replace(Selection(START_NS, 2**63 - 1), **changes)
    return Scope("topics", "r1", 3, TAXONOMY, version, selection_parameters(selection), began_ns)


def closed(trace_id: str, **changes: Any) -> TraceRow:
    return trace_row(trace_id, **({"request": "a refund, please"} | changes))


def by_run(trace_id: str) -> LabelRow:
    return LabelRow(
        *("topics", "r1", 3, trace_id, 1, START_NS, "shop", "", "refunds", "Refunds", "", "", 0.8),
        *("llm", "", "it says so", "a refund", "aa", {}, START_NS),
    )


async def close(store: ClickHouse, *rows: TraceRow) -> None:
    """As the assembler does."""
    await store.insert("traces", list(rows))
    await store.insert("trace_revisions", [RevisionRow(r.trace_id, r.revision, r.last_seen_ns) for r in rows])


def labels(store: ClickHouse, table: str = "trace_labels") -> list[tuple[Any, ...]]:
    with store.reader() as client:
        sql = f"SELECT TraceId, Revision, CategoryId, Subcategory FROM {table} ORDER BY TraceId, Revision"
        return [tuple(row) for row in client.query(sql).result_rows]


async def label_all(labeller: Labeller) -> None:
    await labeller.tick()
    while labeller.behind:
        await labeller.tick()


def test_every_trace_once(store: ClickHouse) -> None:
    async def go() -> tuple[Predictor, list[str]]:
        predictor, unsure = Predictor(), []
        rows = [closed(f"t{i:03}", request="refund" if i % 2 else "hello") for i in range(25)]
        await close(store, *rows[:20])
        await store.insert("run_samples", [RunSampleRow("r1", f"t{i:03}", "", 0.25, 4.0) for i in range(6)])
        # It ended before it reached the sixth.
        await store.insert("trace_labels", [by_run(f"t{i:03}") for i in range(5)])
        labeller = Labeller(
            store,
            scope(time.time_ns()),
            predictor,
            lambda rows: unsure.extend(row.trace_id for row in rows),
            batch_traces=4,
        )
        await label_all(labeller)
        assert sorted(predictor.seen) == [f"t{i:03}" for i in range(5, 20)]  # a run has read the first five
        assert max(map(len, predictor.batches)) == 4
        await close(store, *rows[20:])
        await labeller.tick()
        await labeller.tick()
        return predictor, unsure

    predictor, unsure = asyncio.run(go())
    assert sorted(predictor.seen) == [f"t{i:03}" for i in range(5, 25)]
    assert sorted(unsure) == [f"t{i:03}" for i in range(6, 25, 2)]
    assert labels(store)[5] == ("t005", 1, "refunds", "Too late")
    with store.reader() as client:
        rows = client.query(
            "SELECT DISTINCT CategoryId, Category, toString(Labeller), ClassifierVersion, RunId, TaxonomyVersion, "
            "Confidence, Reason FROM trace_labels_current WHERE Labeller != 'llm' ORDER BY CategoryId"
        ).result_rows
    assert [tuple(row) for row in rows] == [
        ("other", "Other", "distilled", "c1", "r1", 3, 0.3, f"{UNSURE}: refunds?; most like trace t000"),
        ("refunds", "Refunds", "distilled", "c1", "r1", 3, 0.9, "most like trace t000"),
    ]


def test_what_waits_is_told(store: ClickHouse) -> None:
    async def go() -> None:
        await close(store, closed("a"), closed("b"), closed("c"))
        labeller = Labeller(store, scope(time.time_ns()), Predictor(), batch_traces=2)
        assert await labeller.waiting() is None  # only counting tells
        await labeller.tick()
        assert await labeller.waiting() is None
        await label_all(labeller)
        assert await labeller.waiting() == 0
        await close(store, closed("d"), closed("no agent", is_agent=False))
        assert await labeller.waiting() == 1
        await labeller.tick()
        assert await labeller.waiting() == 0
        await close(store, *(closed(f"t{i}") for i in range(3)))
        assert await labeller.waiting() is None  # more than one batch

    asyncio.run(go())


def test_a_late_span_is_labelled_again(store: ClickHouse) -> None:
    async def go() -> None:
        labeller = Labeller(store, scope(time.time_ns()), Predictor())
        await label_all(labeller)
        await close(store, closed("a", request="hello"))
        await labeller.tick()
        await close(store, closed("a", revision=2))
        await labeller.tick()
        await labeller.tick()

    asyncio.run(go())
    assert labels(store) == [("a", 1, "other", ""), ("a", 2, "refunds", "Too late")]
    assert labels(store, "trace_labels_current") == [("a", 2, "refunds", "Too late")]


def test_only_what_the_analysis_selects(store: ClickHouse) -> None:
    async def go() -> Predictor:
        predictor = Predictor()
        labeller = Labeller(store, scope(time.time_ns(), service=("shop",)), predictor)
        wrong = {
            "other service": {"service_name": "bank"},
            "no agent": {"is_agent": False},
            "before the window": {"start_ns": START_NS - 1},
        }
        await close(store, closed("1"), *(closed(f"1 {name}", **what) for name, what in wrong.items()))
        await label_all(labeller)
        await close(store, closed("2"), *(closed(f"2 {name}", **what) for name, what in wrong.items()))
        await labeller.tick()
        return predictor

    assert asyncio.run(go()).seen == ["1", "2"]


@pytest.mark.parametrize("where", ["rest", "new"])
def test_what_failed_is_done_by_the_next_tick(store: ClickHouse, where: str) -> None:
    async def go() -> Predictor:
        predictor = Predictor()
        labeller = Labeller(store, scope(time.time_ns()), predictor, batch_traces=3)
        if where == "new":
            await label_all(labeller)
        await close(store, *(closed(f"t{i}") for i in range(8)))
        predictor.fails = 2
        for _ in range(2):
            with pytest.raises(ChildEnded):
                await labeller.tick()
        await label_all(labeller)
        return predictor

    assert sorted(asyncio.run(go()).seen) == [f"t{i}" for i in range(8)]


def test_a_killed_process_leaves_nothing_out_and_does_little_again(store: ClickHouse) -> None:
    began_ns = time.time_ns() - 3600 * 10**9

    async def go() -> tuple[Predictor, Predictor]:
        first, second = Predictor(), Predictor()
        labeller = Labeller(store, scope(began_ns), first, batch_traces=5)
        # Closed long ago: the first pass is for them.
        await store.insert("traces", [closed(f"old{i:02}") for i in range(20)])
        await labeller.tick()
        await labeller.tick()
        assert first.seen == [f"old{i:02}" for i in range(10)]
        await close(store, *(closed(f"new{i}") for i in range(7)))
        # Killed here, and another process begins.
        labeller = Labeller(store, scope(began_ns), second, batch_traces=5)
        await label_all(labeller)
        third = Predictor()
        await label_all(Labeller(store, scope(began_ns), third, batch_traces=5))
        assert not [trace_id for trace_id in third.seen if trace_id.startswith("old")]
        return first, second

    first, second = asyncio.run(go())
    assert sorted(second.seen) == [*(f"new{i}" for i in range(7)), *(f"old{i:02}" for i in range(10, 20))]
    assert {row[0] for row in labels(store)} == set(first.seen) | set(second.seen)


def test_another_classifier_labels_everything_again(store: ClickHouse) -> None:
    async def go() -> Predictor:
        second = Predictor()
        await close(store, closed("a"), closed("b"))
        await label_all(Labeller(store, scope(time.time_ns()), Predictor()))
        await label_all(Labeller(store, scope(time.time_ns(), "c2"), second))
        return second

    assert sorted(asyncio.run(go()).seen) == ["a", "b"]


def test_more_than_one_batch_in_one_instant(store: ClickHouse) -> None:
    """One insert gives all its revisions one time."""

    async def go() -> Predictor:
        predictor = Predictor()
        labeller = Labeller(store, scope(time.time_ns()), predictor, batch_traces=10)
        await label_all(labeller)
        await close(store, *(closed(f"t{i:03}") for i in range(95)))
        await labeller.tick()
        await labeller.tick()
        return predictor

    assert sorted(asyncio.run(go()).seen) == [f"t{i:03}" for i in range(95)]


def test_a_label_that_no_taxonomy_knows_is_other(store: ClickHouse) -> None:
    async def wrong(rows: Sequence[TraceRow]) -> list[Guess]:
        return [Guess("made_up", "refunds__late", 0.9, False) for _ in rows]

    async def go() -> None:
        await close(store, closed("a"))
        await label_all(Labeller(store, scope(time.time_ns()), wrong))

    asyncio.run(go())
    assert labels(store) == [("a", 1, "other", "")]
