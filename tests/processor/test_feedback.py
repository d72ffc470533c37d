"""Feedback: what is taken, what is refused, and what ClickHouse makes of it."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from factories import trace_row
from otlp import request, span
from tracetaxa.assemble.feedback import load_feedback, load_session_feedback, save_new_feedback
from tracetaxa.config import AssemblyConfig, Config
from tracetaxa.feedback import (
    MAX_AHEAD_NS,
    MAX_COMMENT_CHARS,
    MAX_ID_CHARS,
    MAX_ITEMS,
    MAX_NAME_CHARS,
    FeedbackInvalid,
    items_of,
    parse_feedback,
    score_of_label,
)
from tracetaxa.records import Feedback, TraceRow
from tracetaxa.service import make_assembler
from tracetaxa.store.database import statement
from tracetaxa.store.guard import Guard
from tracetaxa.store.rows import columns_of
from tracetaxa_exporter.clickhouse import SpanWriter

if TYPE_CHECKING:
    from tracetaxa.store.database import ClickHouse

SECOND = 10**9
NOW_NS = 1_795_337_071 * SECOND
"""2026-11-22T08:44:31Z"""
TRACE, OTHER_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736", "b" * 32
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def parse(**item: Any) -> Feedback:
    return parse_feedback(item, "api", NOW_NS)


# ------------------------------------------------------------------------------------------------- accepted


def test_all_that_can_be_said() -> None:
    parsed = parse(
        trace_id=TRACE.upper(),
        span_id=SPAN.upper(),
        session_id="chat 7",
        name=" helpful ",
        score=-0.5,
        label="partly",
        comment="It was late.\nBut polite.",
        annotator="llm",
        user=17,
        id="a",
        time="2026-11-22T09:44:30.000000001+01:00",
    )
    assert parsed == Feedback(
        # Stored ids must stay what they are, or nobody could change earlier feedback.
        feedback_id="1b23ba049ec4ab5febf5b6716d1e42e5",
        trace_id=TRACE,
        session_id="chat 7",
        span_id=SPAN,
        name="helpful",
        score=-0.5,
        label="partly",
        comment="It was late.\nBut polite.",
        annotator="LLM",
        source="api",
        given_at_ns=NOW_NS - SECOND + 1,
    )


def test_what_is_not_said() -> None:
    parsed = parse_feedback({"session_id": "s", "label": "odd", "score": None, "time": ""}, "import", NOW_NS)
    assert parsed == Feedback(
        parsed.feedback_id, "", "s", "", "feedback", None, "odd", "", "HUMAN", "import", NOW_NS
    )


@pytest.mark.parametrize(
    ("item", "trace_id", "span_id"),
    [
        ({"traceparent": PARENT}, TRACE, SPAN),
        ({"traceparent": PARENT.upper(), "trace_id": TRACE, "span_id": SPAN}, TRACE, SPAN),
        ({"traceparent": f"cc-{TRACE}-{SPAN}-01-and-more"}, TRACE, SPAN),
        ({"trace_id": TRACE}, TRACE, ""),
        ({"trace_id": TRACE, "span_id": SPAN}, TRACE, SPAN),
    ],
)
def test_targets(item: dict[str, str], trace_id: str, span_id: str) -> None:
    parsed = parse(**item, score=1)
    assert (parsed.trace_id, parsed.span_id) == (trace_id, span_id)


@pytest.mark.parametrize(
    ("given_score", "score"), [(True, 1.0), (False, 0.0), (3, 3.0), ("-2.5e1", -25.0), (0.0, 0.0), ("", None)]
)
def test_scores(given_score: Any, score: float | None) -> None:
    assert parse(trace_id=TRACE, score=given_score, comment="x").score == score


@pytest.mark.parametrize(
    ("label", "score"),
    [
        ("thumbs_up", 1.0),
        ("Thumbs Down", 0.0),
        (":thumbs-up:", 1.0),
        ("👍", 1.0),
        ("👍🏽", 1.0),
        ("👎️", 0.0),
        ("PASS", 1.0),
        ("fail", 0.0),
        ("yes", 1.0),
        ("no", 0.0),
        ("true", 1.0),
        ("False", 0.0),
        ("good", 1.0),
        ("bad", 0.0),
        ("positive", 1.0),
        ("negative", 0.0),
        ("not good", None),
        ("", None),
        ("5 stars", None),
    ],
)
def test_labels_that_say_yes_or_no(label: str, score: float | None) -> None:
    assert score_of_label(label) == score
    if label:
        parsed = parse(trace_id=TRACE, label=label)
        assert (parsed.score, parsed.label) == (score, label)
        assert parse(trace_id=TRACE, label=label, score=0.25).score == 0.25


def test_a_clock_that_is_a_little_ahead_counts_as_now() -> None:
    assert parse(trace_id=TRACE, score=1, time="2026-11-22T10:00:00Z").given_at_ns == NOW_NS


def test_who_says_it_again_changes_it() -> None:
    said: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": SPAN,
        "name": "n",
        "user": "u",
        "id": "i",
        "score": 1,
    }
    first = parse(**said).feedback_id
    again = {"score": 0, "label": "bad", "comment": "on reflection", "time": "2026-11-20T00:00:00Z"}
    assert parse(**said | again).feedback_id == first
    assert parse(**said | {"session_id": "s"}).feedback_id == first
    assert parse_feedback(said, "import", NOW_NS + 1).feedback_id == first
    elsewhere = {
        "trace_id": OTHER_TRACE,
        "span_id": SPAN[::-1],
        "name": "m",
        "user": "v",
        "id": "j",
        "annotator": "CODE",
    }
    others = {parse(**said | {field: value}).feedback_id for field, value in elsewhere.items()}
    assert len(others - {first}) == len(elsewhere)


def test_parts_of_an_identity_do_not_run_together() -> None:
    assert (
        parse(session_id="s", score=1, user="ab", id="c").feedback_id
        != parse(session_id="s", score=1, user="a", id="bc").feedback_id
    )


# ------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ({"score": 1}, "trace_id is missing; traceparent or session_id will do too"),
        ({"trace_id": TRACE}, "score is missing; label or comment will do too"),
        (
            {"trace_id": TRACE, "label": " ", "comment": "\n"},
            "score is missing; label or comment will do too",
        ),
        ({"trace_id": TRACE[1:], "score": 1}, "trace_id must be 32 hexadecimal digits, not all of them 0"),
        ({"trace_id": "0" * 32, "score": 1}, "trace_id must be 32 hexadecimal digits, not all of them 0"),
        ({"trace_id": "٣" * 32, "score": 1}, "trace_id must be 32 hexadecimal digits, not all of them 0"),
        ({"trace_id": 7, "score": 1}, "trace_id must be text"),
        (
            {"trace_id": TRACE, "span_id": "x" * 16},
            "span_id must be 16 hexadecimal digits, not all of them 0",
        ),
        ({"session_id": "s", "span_id": SPAN, "score": 1}, "span_id needs the trace_id of its trace"),
        ({"traceparent": PARENT, "trace_id": OTHER_TRACE}, "trace_id and traceparent name different traces"),
        ({"traceparent": PARENT, "span_id": SPAN[::-1]}, "span_id and traceparent name different spans"),
        *[
            ({"traceparent": wrong}, "traceparent must be a W3C traceparent: 00-TRACE_ID-SPAN_ID-FLAGS")
            for wrong in (TRACE, f"ff{PARENT[2:]}", f"{PARENT}-more", PARENT[:-1], PARENT.replace("-", "_"))
        ],
        (
            {"traceparent": f"00-{'0' * 32}-{SPAN}-01"},
            "traceparent must be 32 hexadecimal digits, not all of them 0",
        ),
        *[
            (
                {"trace_id": TRACE, "score": wrong},
                "score must be a finite number, true or false; words belong in label",
            )
            for wrong in (math.nan, math.inf, -math.inf, 10**400, "NaN", "1e999", "1_0", "👍", [1], {})
        ],
        ({"trace_id": TRACE, "name": ""}, "name must not be empty"),
        (
            {"trace_id": TRACE, "name": "tracetaxa.topics"},
            "name must not begin with 'tracetaxa.', which is for labels",
        ),
        ({"trace_id": TRACE, "name": "a\x1b[2Jb"}, "name must not hold control characters or line breaks"),
        ({"trace_id": TRACE, "label": "a\u2028b"}, "label must not hold control characters or line breaks"),
        ({"trace_id": TRACE, "name": "n" * (MAX_NAME_CHARS + 1)}, "name is longer than 200 characters"),
        ({"trace_id": TRACE, "label": "n" * (MAX_NAME_CHARS + 1)}, "label is longer than 200 characters"),
        ({"trace_id": TRACE, "label": True}, "label must be text"),
        (
            {"trace_id": TRACE, "comment": "c" * (MAX_COMMENT_CHARS + 1)},
            "comment is longer than 10000 characters",
        ),
        ({"trace_id": TRACE, "comment": "\ud83d"}, "comment is not valid Unicode"),
        ({"session_id": "s" * (MAX_ID_CHARS + 1)}, "session_id is longer than 1000 characters"),
        ({"trace_id": TRACE, "user": False}, "user must be text"),
        ({"trace_id": TRACE, "user": 10**5000}, "user must be text"),
        ({"trace_id": TRACE, "annotator": "ROBOT"}, "annotator must be HUMAN, LLM or CODE"),
        *[
            ({"trace_id": TRACE, "time": wrong}, "time must be RFC 3339, such as 2026-11-22T10:00:00Z")
            for wrong in (
                "2026-11-22",
                "2026-11-22T10:00:00",
                "2026-02-30T10:00:00Z",
                "20261122T100000Z",
                "now",
            )
        ],
        ({"trace_id": TRACE, "time": 1795337071}, "time must be text"),
        (
            {"trace_id": TRACE, "score": 1, "time": "0001-01-01T00:00:00+23:59"},
            "time is before 1970-01-01T00:00:00+00:00, older than what is kept",
        ),
        (
            {"trace_id": TRACE, "score": 1, "time": "9999-12-31T23:59:59-23:59"},
            "time is more than a day ahead",
        ),
        ({"trace_id": TRACE, "lable": "x"}, "field 'lable' is not known; did you mean 'label'?"),
        ([], "feedback must be an object"),
        (None, "feedback must be an object"),
        ("up", "feedback must be an object"),
    ],
)
def test_refusals_name_the_field(item: Any, sentence: str) -> None:
    with pytest.raises(FeedbackInvalid) as refused:
        parse_feedback(item, "api", NOW_NS)
    assert str(refused.value) == sentence


def test_what_would_be_dropped_at_once_is_refused() -> None:
    old = {"trace_id": TRACE, "score": 1, "time": "2026-11-22T08:44:30Z"}
    assert parse_feedback(old, "api", NOW_NS, oldest_ns=NOW_NS - SECOND).given_at_ns == NOW_NS - SECOND
    with pytest.raises(FeedbackInvalid, match=r"time is before 2026-11-22T08:44:31\+00:00"):
        parse_feedback(old, "api", NOW_NS, oldest_ns=NOW_NS)


def test_unknown_fields_are_shown_in_short() -> None:
    with pytest.raises(FeedbackInvalid, match="known fields: traceparent, trace_id") as refused:
        parse(**{"\ud800" + "x" * 10**6: 1})
    assert len(str(refused.value).encode()) < 300


@pytest.mark.parametrize(
    ("body", "items"),
    [({"score": 1}, [{"score": 1}]), ([1, 2], [1, 2]), ({"feedback": []}, []), ("x", ["x"]), (None, [None])],
)
def test_items_of_a_request(body: Any, items: list[Any]) -> None:
    assert items_of(body) == items


@pytest.mark.parametrize(
    "body", [{"feedback": {}}, {"feedback": [], "trace_id": TRACE}, [{}] * (MAX_ITEMS + 1)]
)
def test_requests_that_are_refused_whole(body: Any) -> None:
    with pytest.raises(FeedbackInvalid, match=r"^feedback "):
        items_of(body)


ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
ANY_VALUE = (
    ANY_JSON
    | st.sampled_from([TRACE, SPAN, PARENT, "👎", "LLM", "code", "2026-11-22T08:44:31.5Z", "1e3", 10**400])
    | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,12})?(Z|[+-]\d\d:\d\d)", fullmatch=True)
    | st.from_regex(r"[0-9a-f]{32}|[0-9A-F]{16}", fullmatch=True)
)
FIELDS = (
    *("traceparent", "trace_id", "span_id", "session_id", "name", "score", "label", "comment"),
    *("annotator", "user", "id", "time"),
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, ANY_VALUE))
    | st.fixed_dictionaries({"trace_id": st.just(TRACE)}, optional=dict.fromkeys(FIELDS[2:], ANY_VALUE))
    | ANY_JSON
)
@example({"session_id": "s", "time": "0001-01-01T00:00:00+23:59", "score": 1})
def test_any_json_is_feedback_or_refused(item: Any) -> None:
    try:
        parsed = parse_feedback(item, "api", NOW_NS)
    except FeedbackInvalid as refused:
        sentence = str(refused)
        assert sentence.split()[0] in {*FIELDS, "field", "feedback"}
        assert len(sentence.encode()) < 400
        return
    assert bool(parsed.trace_id) or bool(parsed.session_id)
    assert len(parsed.trace_id) in (0, 32)
    assert len(parsed.span_id) in (0, 16)
    assert parsed.score is None or math.isfinite(parsed.score)
    assert parsed.score is not None or parsed.label or parsed.comment
    assert 0 <= parsed.given_at_ns <= NOW_NS < NOW_NS + MAX_AHEAD_NS
    assert "".join([parsed.session_id, parsed.name, parsed.label, parsed.comment]).encode()
    assert parse_feedback(item, "api", NOW_NS) == parsed


# ------------------------------------------------------------------------------------------------- stored


def stored(trace_id: str = TRACE, **changes: Any) -> Feedback:
    values: dict[str, Any] = {"feedback_id": "f1", "session_id": "", "span_id": "", "score": 1.0}
    values |= {"name": "helpful", "label": "", "comment": "", "annotator": "HUMAN", "source": "api"}
    return Feedback(**values | {"trace_id": trace_id, "given_at_ns": NOW_NS} | changes)


def insert(store: ClickHouse, *rows: Feedback) -> None:
    asyncio.run(store.insert("feedback", rows))


def ask(store: ClickHouse, sql: str) -> list[tuple[Any, ...]]:
    with store.reader() as client:
        return [tuple(row) for row in client.query(sql).result_rows]


def activity(store: ClickHouse) -> int:
    return ask(store, "SELECT count() FROM trace_activity")[0][0]


def test_the_record_mirrors_the_table(store: ClickHouse) -> None:
    columns = ask(
        store,
        "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'feedback'",
    )
    assert [name for (name,) in columns] == list(columns_of(Feedback))


def test_feedback_is_read_as_it_was_written(store: ClickHouse) -> None:
    first = stored(comment="it's a \\ 'quote' 📦", label="a\tb", span_id=SPAN, session_id="s")
    second = stored(feedback_id="f0", score=None, given_at_ns=NOW_NS + 1)
    third = stored(feedback_id="f2", given_at_ns=NOW_NS + 1)
    insert(store, third, stored(OTHER_TRACE, feedback_id="f3"), second, first)
    found = asyncio.run(load_feedback(store, [TRACE, "c" * 32]))
    assert found == {TRACE: [first, second, third]}
    assert asyncio.run(load_feedback(store, [])) == {}


@pytest.mark.parametrize("at_once", [True, False])
def test_of_one_feedback_the_newest_counts(store: ClickHouse, at_once: bool) -> None:
    """Also when it comes out of order, on another day, or twice with one time: then the last."""
    day = 86_400 * SECOND
    said = [stored(score=0.0), stored(score=1.0, given_at_ns=NOW_NS + day), stored(score=0.5)]
    last = [stored(feedback_id="f2", score=0.0), stored(feedback_id="f2", score=1.0)]
    for part in [said + last] if at_once else [[row] for row in said + last]:
        insert(store, *part)
    assert asyncio.run(load_feedback(store, [TRACE])) == {TRACE: [last[1], said[1]]}


def test_only_the_newest_are_read_when_there_are_too_many(store: ClickHouse) -> None:
    rows = [stored(feedback_id=f"f{n}", given_at_ns=NOW_NS + n) for n in range(5)]
    insert(store, *rows, stored(OTHER_TRACE, feedback_id="g"))
    found = asyncio.run(load_feedback(store, [TRACE, OTHER_TRACE], max_each=2))
    assert {trace: [row.feedback_id for row in given] for trace, given in found.items()} == {
        TRACE: ["f3", "f4"],
        OTHER_TRACE: ["g"],
    }


def test_sessions_have_their_own(store: ClickHouse) -> None:
    whole = stored("", feedback_id="f2", session_id="it's one")
    insert(store, stored(session_id="it's one"), whole, stored("", feedback_id="f3", session_id="two"))
    assert asyncio.run(load_session_feedback(store, ["it's one", "none"])) == {"it's one": [whole]}


@pytest.mark.parametrize("name", ["assembly/feedback_of_traces", "assembly/known_feedback"])
def test_reading_one_trace_reads_little_of_the_table(store: ClickHouse, name: str) -> None:
    asked = {"trace_ids": [f"{7:032}"], "feedback_ids": ["7"], "max_each": 10}
    with store.reader() as client:
        client.command(
            "INSERT INTO feedback (FeedbackId, TraceId, GivenAt) "
            "SELECT toString(number), leftPad(toString(number), 32, '0'), now64(9) FROM numbers(100000)"
        )
        rows = client.query(f"EXPLAIN indexes = 1 {statement(name)}", parameters=asked).result_rows
    plan = "\n".join(row[0] for row in rows)
    read, of = next(iter(re.findall(r"Granules: (\d+)/(\d+)", plan)), (0, 0))
    assert 1 <= int(read) <= 2 < int(of), plan


# ------------------------------------------------------------------------------------------------- carried


def test_what_a_span_carries_is_stored_once(store: ClickHouse) -> None:
    carried = [stored(source="span"), stored(OTHER_TRACE, feedback_id="f2", source="span")]

    async def save() -> list[int]:
        return [await save_new_feedback(store, carried) for _ in range(3)]

    assert asyncio.run(save()) == [2, 0, 0]
    assert activity(store) == 2
    assert asyncio.run(load_feedback(store, [TRACE])) == {TRACE: [carried[0]]}


def test_newer_feedback_under_the_same_id_is_saved(store: ClickHouse) -> None:
    later, much_later = (stored(score=0.0, given_at_ns=NOW_NS + n) for n in (1, 2))

    async def save(*rows: Feedback) -> int:
        return await save_new_feedback(store, rows)

    assert asyncio.run(save(later, stored())) == 1
    assert asyncio.run(save(stored(), later)) == 0
    assert asyncio.run(save(much_later)) == 1
    assert asyncio.run(save(stored(), later, much_later)) == 0
    assert asyncio.run(load_feedback(store, [TRACE])) == {TRACE: [much_later]}


def test_carried_session_feedback_opens_no_trace(store: ClickHouse) -> None:
    rows = [stored("", feedback_id=f"f{n}", session_id="s", given_at_ns=NOW_NS + n) for n in range(1200)]
    assert asyncio.run(save_new_feedback(store, rows)) == 1200
    assert asyncio.run(save_new_feedback(store, [*rows, stored("", feedback_id="new", session_id="t")])) == 1
    assert asyncio.run(save_new_feedback(store, [])) == 0
    assert activity(store) == 0


# ------------------------------------------------------------------------------------------------- late feedback


def pending(store: ClickHouse, **seconds: int) -> list[tuple[str, bool, bool]]:
    rules = {f"{name}_ms": 1000 * seconds.get(name, 0) for name in ("idle", "orphan_idle", "max_trace")}
    rows = asyncio.run(store.rows("assembly/pending_traces", since_ns=0, max_rows=10, **rules))
    return [(row["TraceId"], row["Closed"], row["Unsure"]) for row in rows]


def test_feedback_is_an_arrival_on_its_trace(store: ClickHouse) -> None:
    asyncio.run(store.insert("traces", [trace_row(TRACE), trace_row(OTHER_TRACE)]))
    assert pending(store) == []
    insert(store, stored(), stored(feedback_id="f2"), stored("", feedback_id="f3", session_id="s"))
    assert activity(store) == 1
    # Quiet, but no root came with it: whether the trace was assembled before decides.
    assert pending(store, orphan_idle=10**6, max_trace=10**6) == [(TRACE, 0, 1)]
    assert pending(store, idle=10**6, orphan_idle=10**6, max_trace=10**6) == [(TRACE, 0, 0)]


def test_late_feedback_makes_a_revision(store: ClickHouse) -> None:
    SpanWriter(store.connect()).write([request(span(1, 1))])
    rules = AssemblyConfig(idle_seconds=0.001, orphan_idle_seconds=3600, max_trace_seconds=3600)
    assembler = make_assembler(Config(assembly=rules), store)
    trace_id = f"{1:032x}"

    async def tick_until(revision: int) -> None:
        async with asyncio.timeout(30):
            while not await store.rows("trace_row", trace_id=trace_id) or (await row()).revision < revision:
                await assembler.tick()

    async def row() -> TraceRow:
        return (await store.records("trace_row", TraceRow, trace_id=trace_id))[0]

    async def go() -> TraceRow:
        await tick_until(1)
        await store.insert("feedback", [stored(trace_id)])
        await tick_until(2)
        return await row()

    assert asyncio.run(go()).revision == 2


def test_feedback_on_a_trace_that_never_came_is_not_waited_for(store: ClickHouse) -> None:
    insert(store, stored())
    rules = AssemblyConfig(idle_seconds=0.001, orphan_idle_seconds=0.001)
    assembler = make_assembler(Config(assembly=rules), store)

    async def go() -> int:
        async with asyncio.timeout(30):
            while await assembler.open_traces():
                await assembler.tick()
        return await assembler.tick()

    assert asyncio.run(go()) == 0
    assert ask(store, "SELECT count() FROM traces") == [(0,)]
    assert asyncio.run(load_feedback(store, [TRACE])) == {TRACE: [stored()]}


def test_the_sql_endpoint_may_read_it(store: ClickHouse) -> None:
    insert(store, stored(), replace(stored(), score=0.0, given_at_ns=NOW_NS + 1))
    client = store.connect()
    sql = Guard(client, store.database).check(
        "SELECT Name, avg(Score) AS mean FROM feedback FINAL GROUP BY Name"
    )
    assert [tuple(row) for row in client.query(sql).result_rows] == [("helpful", 0.0)]
