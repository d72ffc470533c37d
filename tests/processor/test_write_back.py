"""Labels in the spans themselves: what an update writes, what it leaves alone, and what it comes back to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from assembling import assemble, read
from collector import Collector
from given_labels import NOW, label
from otlp import span
from tracetaxa.write_back import WriteBack

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracetaxa.records import LabelRow
    from tracetaxa.store.database import ClickHouse

TRACE = f"{1:032x}"
OTHER_TRACE = f"{2:032x}"
ATTRIBUTES = "SELECT SpanAttributes FROM {} WHERE TraceId = '{}' ORDER BY SpanId"


@pytest.fixture
def shop(store: ClickHouse) -> ClickHouse:
    """Two traces of three spans, one of them without its root; a run labelled both."""
    collector = Collector(store.connect())
    collector.send(span(1, 1, attributes={"a": "b"}), span(1, 2, 1), span(1, 3, 1))
    collector.send(span(2, 5, 4), span(2, 6, 5), span(2, 7, 5))
    assemble(store)
    give(store, label(TRACE), label(OTHER_TRACE, attributes={}))
    return store


def give(store: ClickHouse, *rows: LabelRow) -> None:
    asyncio.run(store.insert("trace_labels", list(rows)))


def write_back(store: ClickHouse, mode: Any = "on", **options: Any) -> WriteBack:
    """One tick of a new process."""
    made = WriteBack(store, mode, **options)
    asyncio.run(made.tick())
    return made


def attributes(store: ClickHouse, trace_id: str = TRACE, table: str = "otel_traces") -> list[dict[str, str]]:
    return [row[0] for row in read(store, ATTRIBUTES.format(table, trace_id))]


def labels_in(found: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in found.items() if name.startswith("tracetaxa.topics.")}


def test_the_root_says_what_the_labelled_view_says(shop: ClickHouse) -> None:
    write_back(shop)
    root, *others = attributes(shop)
    assert root == attributes(shop, table="otel_traces_labelled")[0]
    assert root["a"] == "b"
    assert root["tracetaxa.topics.category"] == "Deliveries"
    assert root["tracetaxa.topics.attribute.frustrated"] == "true"
    assert len(labels_in(root)) == 9
    assert [labels_in(other) for other in others] == [{}, {}]
    first, *others = attributes(shop, OTHER_TRACE)  # its root never came
    assert len(labels_in(first)) == 8
    assert [labels_in(other) for other in others] == [{}, {}]


def test_all_spans_where_that_is_asked_for(shop: ClickHouse) -> None:
    write_back(shop, root_only=False)
    for trace_id in (TRACE, OTHER_TRACE):
        assert attributes(shop, trace_id) == attributes(shop, trace_id, "otel_traces_labelled")


def test_the_labels_move_to_the_root_when_it_comes(shop: ClickHouse) -> None:
    """And to it alone where all spans had them."""
    write_back(shop)
    Collector(shop.connect()).send(span(2, 4))
    assert assemble(shop) == 1
    write_back(shop)
    found = [bool(labels_in(said)) for said in attributes(shop, OTHER_TRACE)]
    assert found == [True, False, False, False]  # by span id: the root is 4
    write_back(shop, root_only=False)
    assert [bool(labels_in(said)) for said in attributes(shop)] == [True, True, True]
    write_back(shop)
    assert [bool(labels_in(said)) for said in attributes(shop)] == [True, False, False]


def test_new_labels_replace_old_ones_and_nothing_else(shop: ClickHouse) -> None:
    collector = Collector(shop.connect())
    own = {
        "tracetaxa.topics.mine": "kept",
        "tracetaxa.elsewhere.category": "kept",
        "tracetaxa.topics.category": "?",
    }
    collector.send(span(3, 8, attributes=own))
    assemble(shop)
    third = f"{3:032x}"
    give(shop, label(third))
    write_back(shop)
    again = {"taxonomy_version": 2, "run_id": "run2", "labelled_at_ns": NOW, "category": "Returns"}
    give(shop, label(third, attributes={"angry": "no"}, **again))
    write_back(shop)
    (found,) = attributes(shop, third)
    assert (found["tracetaxa.topics.category"], found["tracetaxa.topics.run_id"]) == ("Returns", "run2")
    assert found["tracetaxa.topics.attribute.angry"] == "no"
    assert "tracetaxa.topics.attribute.frustrated" not in found
    assert found["tracetaxa.topics.mine"] == found["tracetaxa.elsewhere.category"] == "kept"
    give(shop, label(third, analysis="tone", category="Polite"))
    write_back(shop)
    (found,) = attributes(shop, third)
    assert (found["tracetaxa.topics.category"], found["tracetaxa.tone.category"]) == ("Returns", "Polite")


def test_a_label_that_is_taken_back_goes(shop: ClickHouse) -> None:
    human = {"labeller": "human", "analysis": "tone", "attributes": {}, "run_id": ""}
    give(shop, label(TRACE, **human, category="Rude"))
    write_back(shop)
    assert attributes(shop)[0]["tracetaxa.tone.category"] == "Rude"
    give(shop, label(TRACE, **human, category_id="", category="", labelled_at_ns=NOW))
    write_back(shop)
    assert not [name for name in attributes(shop)[0] if name.startswith("tracetaxa.tone.")]
    assert attributes(shop)[0]["tracetaxa.topics.category"] == "Deliveries"


def test_an_update_is_no_arrival_and_collapses_as_spans_do(shop: ClickHouse) -> None:
    tables = ("trace_activity", "otel_traces_trace_id_ts", "otel_traces", "forward_events")
    before = {table: read(shop, f"SELECT count() FROM {table}") for table in tables}
    write_back(shop)
    assert {table: read(shop, f"SELECT count() FROM {table}") for table in tables} == before
    assert assemble(shop) == 0
    with shop.reader() as client:
        client.command("OPTIMIZE TABLE otel_traces FINAL")
    assert labels_in(attributes(shop)[0])["tracetaxa.topics.category"] == "Deliveries"
    assert read(shop, "SELECT count() FROM otel_traces") == before["otel_traces"]


@pytest.mark.parametrize("merged", [False, True])
def test_a_span_that_is_sent_again_gets_its_labels_again(shop: ClickHouse, merged: bool) -> None:
    """It replaces the one with labels; the revision that it makes is what it is found by."""
    one = WriteBack(shop, "on")
    asyncio.run(one.tick())
    Collector(shop.connect()).send(span(1, 1, attributes={"a": "b"}), span(1, 4, 1))
    if merged:
        with shop.reader() as client:
            client.command("OPTIMIZE TABLE otel_traces FINAL")
        assert labels_in(attributes(shop)[0]) == {}
    assert assemble(shop) == 1
    assert asyncio.run(one.tick()) == 1
    once = "(SELECT * FROM otel_traces FINAL)"
    found = attributes(shop, table=once)
    assert found[0]["tracetaxa.topics.category"] == "Deliveries"
    assert [labels_in(other) for other in found[1:]] == [{}, {}, {}]


def test_a_new_process_goes_on_where_the_last_one_was(shop: ClickHouse) -> None:
    one = WriteBack(shop, "on")
    assert asyncio.run(one.tick()) == 2
    assert asyncio.run(one.tick()) == 0  # what it did within the overlap it knows
    assert asyncio.run(one.status())["waiting_traces"] == 0
    give(shop, label(TRACE, taxonomy_version=2, category="Returns"))
    assert asyncio.run(one.status())["waiting_traces"] == 1
    patches = "SELECT countIf(startsWith(name, 'patch-')) FROM system.parts WHERE active AND database = currentDatabase()"
    before = read(shop, patches)[0][0]
    assert write_back(shop).written == 2  # both are within the overlap; the one that is right is left alone
    assert attributes(shop)[0]["tracetaxa.topics.category"] == "Returns"
    assert read(shop, patches)[0][0] == before + 1
    with shop.reader() as client:  # the mark is an hour further: nothing is left to do
        client.command(
            "INSERT INTO label_write_backs (Through) SELECT max(Through) + INTERVAL 1 HOUR FROM label_write_backs"
        )
    assert write_back(shop).written == 0


def test_many_traces_in_small_updates_and_pages(shop: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of one insert have one time, so pages must not end on times alone."""
    monkeypatch.setattr("tracetaxa.write_back.PAGE", 7)
    collector = Collector(shop.connect())
    ids = range(100, 140)
    collector.send(*(span(i, i) for i in ids))
    assemble(shop)
    give(shop, *(label(f"{i:032x}", category=f"c{i}") for i in ids))
    assert write_back(shop, batch_traces=3).written == len(ids) + 2
    found = read(
        shop,
        "SELECT count(), uniq(SpanAttributes['tracetaxa.topics.category']) FROM otel_traces "
        "WHERE SpanAttributes['tracetaxa.topics.category'] LIKE 'c%'",
    )
    assert found == [(len(ids), len(ids))]


def test_a_backlog_does_not_hold_up_a_stop(shop: ClickHouse) -> None:
    one = WriteBack(shop, "on", batch_traces=1)
    stopping = asyncio.Event()
    update = one._update

    async def stop_in_the_first(*arguments: Any) -> None:
        await update(*arguments)
        stopping.set()

    one._update = stop_in_the_first  # type: ignore[method-assign]
    asyncio.run(one.run(stopping))
    assert one.written == 0  # the mark did not move over what was left
    assert [len(labels_in(attributes(shop, trace_id)[0])) > 0 for trace_id in (TRACE, OTHER_TRACE)] == [
        True,
        False,
    ]
    assert write_back(shop).written == 2
    assert labels_in(attributes(shop, OTHER_TRACE)[0])


# ------------------------------------------------------------------------------------------------- whether


def test_auto_waits_for_the_tables_settings(shop: ClickHouse) -> None:
    waiting = write_back(shop, "auto")
    assert "`label.write_back: on` turns them on" in waiting.absent
    assert (waiting.written, waiting.trouble) == (0, "")
    assert labels_in(attributes(shop)[0]) == {}
    with shop.reader() as client:
        client.command(
            "ALTER TABLE otel_traces MODIFY SETTING enable_block_number_column = 1, enable_block_offset_column = 1"
        )
    assert asyncio.run(waiting.tick()) == 2
    assert waiting.absent == ""
    assert asyncio.run(waiting.status())["active"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"Engine": "Distributed"}, "not written back on a cluster"),
        ({"Engine": "AggregatingMergeTree"}, "no lightweight updates for the engine AggregatingMergeTree"),
        ({"Enabled": []}, "need ClickHouse 25.8 or newer"),
        ({"Enabled": ["0"]}, "enable_lightweight_update is off"),
    ],
)
def test_where_it_can_not_be(
    shop: ClickHouse, table: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of system tables as other servers have them."""
    ask = shop.rows

    async def rows(name: str, **parameters: Any) -> list[dict[str, Any]]:
        found = await ask(name, **parameters)
        return [found[0] | table] if name == "write_back/allowed" else found

    monkeypatch.setattr(shop, "rows", rows)
    stopped = write_back(shop)
    assert problem in stopped.absent
    assert stopped.trouble == stopped.absent  # asked for, so it is an error
    assert write_back(shop, "auto").trouble == ""


def test_a_failure_is_told_and_tried_again(shop: ClickHouse) -> None:
    """Somebody took the table of marks away for a while."""
    with shop.reader() as client:
        client.command("RENAME TABLE label_write_backs TO label_write_backs_away")
    one = WriteBack(shop, "on", tick_seconds=0.01)

    async def go(until: Callable[[], bool]) -> None:
        stopping = asyncio.Event()
        task = asyncio.create_task(one.run(stopping))
        async with asyncio.timeout(30):
            while not until():
                await asyncio.sleep(0.01)
        stopping.set()
        await task

    asyncio.run(go(lambda: bool(one.last_error)))
    assert "writing labels back: " in one.last_error
    with shop.reader() as client:
        client.command("RENAME TABLE label_write_backs_away TO label_write_backs")
    asyncio.run(go(lambda: one.written > 0))
    assert one.last_error == ""
    assert attributes(shop)[0]["tracetaxa.topics.category"] == "Deliveries"
