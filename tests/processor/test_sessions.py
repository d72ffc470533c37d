"""Traces in ClickHouse become rows of `sessions`: when a session closes, what it holds, what opens it again."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from factories import trace_row
from otlp import START_NS, request, span
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.assemble.assembler import Assembler, ClosingRules
from tracetaxa.assemble.bare import UNREADABLE
from tracetaxa.assemble.rows import ToRow
from tracetaxa.assemble.sessions import TRACES_LEFT_OUT, Limits, SessionAssembler
from tracetaxa.assemble.spans import SPANS_LEFT_OUT
from tracetaxa.dialects import read_session, read_trace
from tracetaxa.records import Feedback, SessionRow
from tracetaxa.store.database import statement
from tracetaxa.store.rows import to_records
from tracetaxa_exporter.clickhouse import SpanWriter

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tracetaxa.records import Usage
    from tracetaxa.store.database import ClickHouse

SECOND = 10**9
HOUR = 3600.0


def price(usage: Usage) -> float | None:
    return 0.5


def short_digest(trace: Any) -> Any:
    return digest(trace, max_tokens=400)


def sessions(store: ClickHouse, **changes: Any) -> SessionAssembler:
    return SessionAssembler(
        store, read_trace, ToRow(short_digest, price), **({"idle_seconds": 0.0} | changes)
    )


def assemble_traces(store: ClickHouse) -> None:
    at_once = ClosingRules(idle_seconds=0.0, orphan_idle_seconds=0.0, max_trace_seconds=10**6)
    asyncio.run(Assembler(store, read_trace, ToRow(short_digest, price), at_once).tick())


def chat(trace: int, session: str, said: str = "", number: int = 0, **changes: Any) -> Span:
    """A trace of one model call, which starts `trace` minutes after the first."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 40,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.input.messages": json.dumps(
            [{"role": "user", "parts": [{"type": "text", "content": said or f"question {trace}"}]}]
        ),
        "gen_ai.output.messages": json.dumps(
            [{"role": "assistant", "parts": [{"type": "text", "content": f"answer {trace}"}]}]
        ),
    }
    if session:
        attributes["gen_ai.conversation.id"] = session
    start = changes.pop("start", START_NS + trace * 60 * SECOND)
    return span(trace, number or trace, attributes=attributes, start=start, duration=SECOND, **changes)


def store_traces(store: ClickHouse, *spans: Span) -> None:
    SpanWriter(store.connect()).write([request(*spans)])
    assemble_traces(store)


def rows(store: ClickHouse) -> dict[str, SessionRow]:
    with store.reader() as client:
        found = client.query("SELECT * FROM sessions FINAL", query_formats={"DateTime64*": "int"})
        made = to_records(SessionRow, found.column_names, found.result_rows)
    return {row.session_id: row for row in made}


def trace_ids(*numbers: int) -> tuple[str, ...]:
    return tuple(number.to_bytes(16).hex() for number in numbers)


def test_a_quiet_session_is_one_row(store: ClickHouse) -> None:
    store_traces(store, chat(3, "s1"), chat(5, "s2"), chat(6, ""))
    store_traces(store, chat(1, "s1"), chat(2, "s1", status=2))
    assert asyncio.run(sessions(store).tick()) == 2
    found = rows(store)
    assert set(found) == {"s1", "s2"}
    one = found["s1"]
    assert one.trace_ids == trace_ids(1, 2, 3)
    assert (one.trace_id, one.revision, one.service_name, one.is_agent) == (one.trace_ids[0], 1, "shop", True)
    assert (one.span_count, one.llm_calls, one.error_count) == (3, 3, 1)
    assert (one.input_tokens, one.output_tokens, one.cost_usd) == (120, 12, 1.5)
    assert one.start_ns == START_NS + 60 * SECOND
    assert one.end_ns == START_NS + (180 + 1) * SECOND
    assert one.duration_ms == 121_000.0
    assert (one.input, one.output) == ("question 1", "answer 3")
    assert TRACES_LEFT_OUT not in one.attributes
    assert (found["s2"].trace_ids, found["s2"].span_count) == (trace_ids(5), 1)


def test_the_digest_is_of_all_traces_in_order(store: ClickHouse) -> None:
    store_traces(store, chat(2, "s1"))
    store_traces(store, chat(1, "s1"))
    asyncio.run(sessions(store).tick())
    row = rows(store)["s1"]
    assert row.digest.trace_id == row.trace_id
    said = [text for text in row.digest_texts if text.startswith(("question", "answer"))]
    assert said == ["question 1", "answer 1", "question 2", "answer 2"]
    assert {"0000000000000001", "0000000000000002"} <= set(row.digest_span_ids)


@pytest.mark.parametrize(("idle_seconds", "closes"), [(0.0, True), (HOUR, False)])
def test_when_a_session_closes(store: ClickHouse, idle_seconds: float, closes: bool) -> None:
    store_traces(store, chat(1, "s1"))
    made = sessions(store, idle_seconds=idle_seconds)
    assert asyncio.run(made.open_sessions()) == 1
    assert asyncio.run(made.tick()) == closes
    assert set(rows(store)) == ({"s1"} if closes else set())
    assert asyncio.run(made.open_sessions()) == (not closes)


def test_a_session_is_quiet_since_its_newest_span_arrived(store: ClickHouse) -> None:
    """Not since its traces were written: they may have waited for somebody to assemble them."""

    async def go() -> dict[str, int]:
        now = (await store.rows("server_time"))[0]["Now"]
        arrived = {"old": [7200], "new": [60], "again": [7200, 60]}
        made = [
            trace_row(f"{name}{i}", session_id=name, last_seen_ns=now - seconds * SECOND)
            for name, ages in arrived.items()
            for i, seconds in enumerate(ages)
        ]
        await store.insert("traces", made)
        found = await store.rows("assembly/pending_sessions", since_ns=0, idle_ms=3_600_000, max_rows=10)
        return {row["SessionId"]: row["Closed"] for row in found}

    assert asyncio.run(go()) == {"old": 1, "new": 0, "again": 0}


def test_a_later_trace_opens_the_session_again(store: ClickHouse) -> None:
    made = sessions(store)
    store_traces(store, chat(2, "s1"))
    assert asyncio.run(made.tick()) == 1
    assert asyncio.run(made.tick()) == 0
    store_traces(store, chat(3, "s1"))
    assert asyncio.run(made.open_sessions()) == 1
    assert asyncio.run(made.tick()) == 1
    row = rows(store)["s1"]
    assert (row.revision, row.trace_ids) == (2, trace_ids(2, 3))
    # One that began before all others becomes the first.
    store_traces(store, chat(1, "s1"))
    asyncio.run(made.tick())
    row = rows(store)["s1"]
    assert (row.revision, row.trace_id, row.trace_ids) == (3, trace_ids(1)[0], trace_ids(1, 2, 3))


def test_a_late_span_of_a_trace_makes_a_revision(store: ClickHouse) -> None:
    made = sessions(store)
    store_traces(store, chat(1, "s1"), chat(2, "s1"))
    asyncio.run(made.tick())
    store_traces(store, span(1, 77, parent=1, start=START_NS + 61 * SECOND, name="late"))
    assert asyncio.run(made.tick()) == 1
    row = rows(store)["s1"]
    assert (row.revision, row.span_count, row.trace_ids) == (2, 3, trace_ids(1, 2))


def test_a_restarted_assembler_finds_its_work(store: ClickHouse) -> None:
    store_traces(store, chat(1, "s1"))
    asyncio.run(sessions(store).tick())
    store_traces(store, chat(2, "s1"), chat(3, "s2"))
    assert asyncio.run(sessions(store).tick()) == 2
    assert asyncio.run(sessions(store).tick()) == 0
    assert {name: row.revision for name, row in rows(store).items()} == {"s1": 2, "s2": 1}


def test_of_a_large_session_the_newest_traces_are_kept(store: ClickHouse) -> None:
    store_traces(store, *(chat(i, "s1") for i in range(1, 6)))
    asyncio.run(sessions(store, limits=Limits(traces=2)).tick())
    row = rows(store)["s1"]
    assert (row.trace_ids, row.span_count) == (trace_ids(4, 5), 2)
    assert row.attributes[TRACES_LEFT_OUT] == "3"


def test_of_a_session_with_many_spans_the_newest_traces_are_kept(store: ClickHouse) -> None:
    children = [span(2, 20 + i, parent=2, start=START_NS + (120 + i) * SECOND) for i in range(5)]
    store_traces(store, chat(1, "s1"), chat(2, "s1"), chat(3, "s1"), *children)
    asyncio.run(sessions(store, limits=Limits(spans=7)).tick())
    assert rows(store)["s1"].trace_ids == trace_ids(2, 3)
    store_traces(store, chat(4, "s1"))
    asyncio.run(sessions(store, limits=Limits(spans=7)).tick())
    row = rows(store)["s1"]
    assert (row.trace_ids, row.attributes[TRACES_LEFT_OUT]) == (trace_ids(3, 4), "2")
    store_traces(store, chat(5, "s1"))
    asyncio.run(sessions(store, limits=Limits(spans=0)).tick())
    assert rows(store)["s1"].trace_ids == trace_ids(5)


def test_many_sessions_in_portions(store: ClickHouse) -> None:
    store_traces(store, *(chat(i, f"s{i % 7}") for i in range(1, 29)))
    assert asyncio.run(sessions(store, limits=Limits(traces=9, spans=10), batch_sessions=3).tick()) == 7
    found = rows(store)
    assert sorted(len(row.trace_ids) for row in found.values()) == [4] * 7
    assert sorted(i for row in found.values() for i in row.trace_ids) == sorted(trace_ids(*range(1, 29)))


def test_a_session_whose_spans_are_gone_is_not_waited_for(store: ClickHouse) -> None:
    store_traces(store, chat(1, "s1"))
    with store.reader() as client:
        client.command("TRUNCATE TABLE otel_traces")
    made = sessions(store)
    assert asyncio.run(made.tick()) == 1
    assert asyncio.run(made.open_sessions()) == 0
    assert rows(store) == {}
    store_traces(store, chat(2, "s1"))
    assert asyncio.run(made.tick()) == 1
    assert rows(store)["s1"].trace_ids == trace_ids(2)


@pytest.mark.parametrize(
    "session", ["it's", 'a\\b"c', "two\nlines\tand {x:String}", "☃ 漢字", "0", "x" * 1000]
)
def test_any_text_is_a_session_id(store: ClickHouse, session: str) -> None:
    store_traces(store, chat(1, session), chat(2, session))
    asyncio.run(sessions(store).tick())
    (row,) = rows(store).values()
    assert (row.session_id, row.trace_ids) == (session, trace_ids(1, 2))


def test_an_id_without_end_is_no_session(store: ClickHouse) -> None:
    store_traces(store, chat(1, "x" * 1001), chat(2, "s2"))
    assert asyncio.run(sessions(store).tick()) == 1
    assert set(rows(store)) == {"s2"}


def given(session: str, name: str, score: float, **changes: Any) -> Feedback:
    values: dict[str, Any] = {
        "feedback_id": f"{session}/{name}",
        "trace_id": "",
        "session_id": session,
        "span_id": "",
        "name": name,
        "score": score,
        "label": "",
        "comment": "",
        "annotator": "HUMAN",
        "source": "api",
        "given_at_ns": START_NS,
    }
    return Feedback(**(values | changes))


def test_feedback_on_a_closed_session_makes_a_revision(store: ClickHouse) -> None:
    made = sessions(store)
    store_traces(store, chat(1, "s1"), chat(2, "s2"))
    asyncio.run(made.tick())
    asyncio.run(store.insert("feedback", [given("s1", "csat", 0.25), given("nobody", "csat", 1.0)]))
    asyncio.run(made.tick())
    assert {name: row.revision for name, row in rows(store).items()} == {"s1": 2, "s2": 1}
    assert rows(store)["s1"].feedback == {"csat": 0.25}
    assert asyncio.run(made.open_sessions()) == 0


def test_all_feedback_on_a_session_and_its_traces_is_read(store: ClickHouse) -> None:
    read: dict[str, list[str]] = {}

    def reading(spans: Any, logs: Any, feedback: Any) -> Any:
        read[spans[0].attributes["gen_ai.conversation.id"]] = sorted(found.name for found in feedback)
        return read_session(spans, logs, feedback)

    on_traces = [given("", f"on {i}", 0.0, trace_id=trace_ids(i)[0]) for i in (1, 2, 3, 4)]
    on_sessions = [given(session, f"on {session}", 0.0) for session in ("s1", "s2", "s3")]
    asyncio.run(store.insert("feedback", on_traces + on_sessions))
    store_traces(store, chat(1, "s1"), chat(2, "s1"), chat(3, "s2"))
    asyncio.run(SessionAssembler(store, reading, ToRow(short_digest, price), idle_seconds=0.0).tick())
    assert read == {"s1": ["on 1", "on 2", "on s1"], "s2": ["on 3", "on s2"]}


def test_feedback_on_a_trace_is_feedback_on_its_session(store: ClickHouse) -> None:
    asyncio.run(store.insert("feedback", [given("", "thumbs", 0.0, trace_id=trace_ids(2)[0])]))
    store_traces(store, chat(1, "s1"), chat(2, "s1"), chat(3, "s2"))
    asyncio.run(sessions(store).tick())
    assert {name: row.feedback for name, row in rows(store).items()} == {"s1": {"thumbs": 0.0}, "s2": {}}


def test_feedback_does_not_close_an_open_session(store: ClickHouse) -> None:
    made = sessions(store, idle_seconds=HOUR)
    store_traces(store, chat(1, "s1"))
    asyncio.run(made.tick())
    asyncio.run(store.insert("feedback", [given("s1", "csat", 0.25)]))
    for _ in range(3):
        assert asyncio.run(made.tick()) == 0
    assert asyncio.run(made.open_sessions()) == 1


def test_traces_from_before_there_were_sessions_are_found(store: ClickHouse) -> None:
    asyncio.run(store.insert("traces", [trace_row(f"t{i}", session_id=f"s{i % 2}") for i in range(4)]))
    with store.reader() as client:
        client.command("TRUNCATE TABLE session_activity")
        client.command(statement("migrations/0022_session_activity_of_traces"))
        found = client.query("SELECT SessionId FROM session_activity ORDER BY SessionId").result_rows
    assert list(found) == [("s0",), ("s1",)]


def test_the_loop_stops_when_told(store: ClickHouse) -> None:
    store_traces(store, chat(1, "s1"))

    async def go() -> str:
        stopping = asyncio.Event()
        made = sessions(store, tick_seconds=0.01)
        task = asyncio.create_task(made.run(stopping))
        async with asyncio.timeout(10):
            while await made.open_sessions():
                await asyncio.sleep(0.01)
        stopping.set()
        await task
        return made.last_error

    assert asyncio.run(go()) == ""
    assert set(rows(store)) == {"s1"}


def test_the_loop_outlives_what_goes_wrong(store: ClickHouse) -> None:
    store_traces(store, chat(1, "s1"))
    failures = [RuntimeError("a bug")]

    def read_once_broken(*given: Any) -> Any:
        if failures:
            raise failures.pop()
        return read_session(*given)

    async def go() -> None:
        stopping = asyncio.Event()
        to_row = ToRow(short_digest, price)
        made = SessionAssembler(store, read_once_broken, to_row, idle_seconds=0.0, tick_seconds=0.05)
        task = asyncio.create_task(made.run(stopping))
        said = set()
        async with asyncio.timeout(10):
            while await made.open_sessions() or made.last_error:
                said.add(made.last_error)
                await asyncio.sleep(0.005)
        stopping.set()
        await task
        assert "assembly of sessions: unexpected RuntimeError: a bug" in said

    asyncio.run(go())
    assert set(rows(store)) == {"s1"}


def test_a_session_that_breaks_reading_does_no_harm_to_others(store: ClickHouse) -> None:
    def broken(spans: Any, *others: Any) -> Any:
        if any("question 2" in span.attributes.get("gen_ai.input.messages", "") for span in spans):
            raise RecursionError
        return read_session(spans, *others)

    store_traces(store, chat(1, "s1"), chat(2, "s2"), chat(3, "s3"))
    made = SessionAssembler(store, broken, ToRow(short_digest, price), idle_seconds=0.0, max_attempts=2)
    asyncio.run(made.tick())
    assert set(rows(store)) == {"s1", "s3"}
    assert (made.trouble, asyncio.run(made.open_sessions())) == ("unexpected RecursionError: ", 1)
    asyncio.run(made.tick())
    assert rows(store)["s2"].attributes == {UNREADABLE: "RecursionError"}
    assert (rows(store)["s2"].trace_ids, rows(store)["s2"].is_agent) == (trace_ids(2), False)
    assert asyncio.run(made.open_sessions()) == 0


def test_a_session_of_one_large_trace_says_what_it_leaves_out(store: ClickHouse) -> None:
    store_traces(store, *(chat(1, "s1", number=n, start=START_NS + n) for n in range(1, 10)))
    asyncio.run(sessions(store, limits=Limits(spans=4)).tick())
    row = rows(store)["s1"]
    assert (row.span_count, row.attributes[SPANS_LEFT_OUT]) == (4, "5")


def test_a_start_looks_back_a_bounded_time(store: ClickHouse) -> None:
    """As far as what was open when the newest session was written may have been added."""

    async def go() -> list[str]:
        now = (await store.rows("server_time"))[0]["Now"]
        ages = {
            "done": [3 * 3600.0],
            "left": [2.9 * 3600],
            "open": [3.4 * 3600, 3.3 * 3600],
            "old": [9 * 3600.0],
        }
        with store.reader() as client:
            client.insert(
                "session_activity",
                [[now - round(age * SECOND)] * 2 + [name] for name, all_of in ages.items() for age in all_of],
                column_names=["SeenAt", "LastSeen", "SessionId"],
            )
            client.insert(
                "sessions",
                [
                    ["t", 1, name, now, now - round(age * SECOND)]
                    for name, (age, *_) in ages.items()
                    if name in ("done", "old")
                ],
                column_names=["TraceId", "Revision", "SessionId", "End", "LastSeen"],
            )
        made = sessions(store, idle_seconds=1800.0)
        return [row["SessionId"] for row in await made._pending(10)]

    assert asyncio.run(go()) == ["open", "left"]
