"""A whole run against the real store with an engine that is scripted: what is kept, and what is said."""

from __future__ import annotations

import asyncio
import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from factories import START_NS, trace_row
from tracetaxa.analyze.job import Job
from tracetaxa.analyze.model.budget import BudgetReached
from tracetaxa.analyze.run import run_analysis
from tracetaxa.analyze.sampling.plan import SamplePlan
from tracetaxa.errors import ModelRefused
from tracetaxa.protocols import no_progress
from tracetaxa.records import (
    ABANDONED,
    Assignment,
    AttributeSpec,
    Brief,
    Category,
    LabelRow,
    ReportRow,
    RunRow,
    Selection,
    SessionRow,
    Spend,
    Taxonomy,
    TaxonomyRow,
    TraceRow,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tracetaxa.protocols import Progress
    from tracetaxa.store.database import ClickHouse

OTHER = Category("other", "Other", "")
TRACKING = Category("tracking", "Order tracking", "Where an order is.")
REFUNDS = Category("refunds", "Refunds", "Money back.")
LATE = Category("refunds__late", "Too late", "Outside the window.", "refunds")
PACK = 25


class ScriptedEngine:
    """Refunds are traces whose request says refund; breaks where it is told to."""

    name = "local"
    models = ("scripted",)
    prompt_fingerprints: ClassVar[dict[str, str]] = {"assign": "abc"}
    prices_known = True

    def __init__(self, fail_after: int | None = None, fail_with: BaseException | None = None) -> None:
        self.spend = Spend(calls=2, input_tokens=1000, output_tokens=100, cost_usd=0.5)
        self._fail_after = fail_after
        self._fail_with = fail_with or ModelRefused("401: invalid key")
        self.seen: list[TraceRow] = []

    async def discover(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> Taxonomy:
        return Taxonomy((TRACKING, REFUNDS, LATE, OTHER))

    async def assign(
        self, traces: Sequence[TraceRow], taxonomy: Taxonomy, brief: Brief, progress: Progress
    ) -> AsyncIterator[list[Assignment]]:
        read = traces[: self._fail_after]
        for start in range(0, len(read), PACK):
            pack = read[start : start + PACK]
            self.seen.extend(pack)
            yield [self._verdict(row) for row in pack]
        if len(read) < len(traces):
            raise self._fail_with

    def _verdict(self, row: TraceRow) -> Assignment:
        if "refund" in row.input:
            return Assignment(
                row.trace_id, "refunds", "refunds__late", 0.9, "", row.input, "aa", {"angry": "true"}
            )
        if "nonsense" in row.input:
            return Assignment(row.trace_id, "made_up", "refunds__late", 0.9)
        return Assignment(row.trace_id, "tracking", "refunds__late", 0.8, "", row.input, "aa")

    async def close(self) -> None: ...


def job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "brief": Brief("topics", "What do users want?"),
        "selection": Selection(START_NS, START_NS + 10**12),
        "config": "{}",
        "labeller": "local",
    }
    plan = SamplePlan(size=changes.pop("sample_size", 1000), seed=changes.pop("seed", 0))
    return Job(**({"plan": plan} | values | changes))


def traces(count: int = 10) -> list[TraceRow]:
    return [
        trace_row(
            f"t{i:03}",
            start_ns=START_NS + i,
            request=f"refund number {i}" if i % 5 == 0 else f"where is order {i}",
            status="Error" if i % 5 == 0 else "Unset",
        )
        for i in range(count)
    ]


def analyse(store: ClickHouse, rows: list[TraceRow], engine: ScriptedEngine, **changes: Any) -> RunRow:
    async def go() -> RunRow:
        await store.insert("traces", rows)
        redact = changes.pop("redact", lambda row: row)
        open_now = changes.pop("still_open", 0)
        return await run_analysis(
            store, engine, job(**changes), redact=redact, still_open=open_now, progress=no_progress
        )

    return asyncio.run(go())


def read(store: ClickHouse, sql: str) -> list[tuple[Any, ...]]:
    with store.reader() as client:
        return [tuple(row) for row in client.query(sql).result_rows]


def test_a_complete_run(store: ClickHouse) -> None:
    run = analyse(store, traces(), ScriptedEngine(), still_open=2)
    assert (run.status, run.error) == ("complete", "")
    assert (run.traces_selected, run.traces_sampled, run.traces_labelled, run.traces_abstained) == (
        10,
        10,
        10,
        0,
    )
    assert (run.input_tokens, run.output_tokens, run.cost_usd, run.still_open) == (1000, 100, 0.5, 2)
    assert read(
        store, "SELECT Category, Subcategory, count() FROM trace_labels_current GROUP BY 1, 2 ORDER BY 3"
    ) == [
        ("Refunds", "Too late", 2),
        ("Order tracking", "", 8),  # a subcategory of another category is dropped
    ]
    shares = read(
        store,
        "SELECT CategoryId, ParentId, Traces, Share, ErrorRate FROM report_categories ORDER BY CategoryId",
    )
    assert shares == [
        ("refunds", "", 2, 0.2, 1.0),
        ("refunds__late", "refunds", 2, 0.2, 1.0),
        ("tracking", "", 8, 0.8, 0.0),
    ]
    assert read(store, "SELECT count(), sum(Weight) FROM run_samples") == [(10, 10.0)]
    assert read(store, "SELECT Status, count() OVER () FROM analysis_runs") == [("complete", 1)]


def test_the_report_document(store: ClickHouse) -> None:
    run = analyse(store, traces(), ScriptedEngine())
    (report,) = asyncio.run(store.records("reading/report_by_run", ReportRow, run_id=run.run_id))
    document = json.loads(report.document)
    assert [c["category_id"] for c in document["categories"]] == ["tracking", "refunds"]
    refunds = document["categories"][1]
    assert refunds["subcategories"][0]["name"] == "Too late"
    assert refunds["attributes"] == {"angry": {"true": 1.0}}
    assert refunds["tools"] == [{"name": "get_order", "share": 1.0}]
    assert refunds["examples"][0]["evidence"] == refunds["examples"][0]["input"]
    assert "All 10 traces were read and fall into 2 categories." in document["summary"]
    assert "Errors are most frequent" not in document["summary"]  # two refunds are too few to say so
    assert report.summary == document["summary"]


def test_a_sample_speaks_for_the_window(store: ClickHouse) -> None:
    run = analyse(store, traces(200), ScriptedEngine(), sample_size=50)
    assert (run.traces_selected, run.traces_sampled) == (200, 50)
    rows = asyncio.run(store.rows("reading/run_by_id", run_id=run.run_id))
    assert rows[0]["TracesSelected"] == 200
    (weights,) = read(store, "SELECT min(Weight), max(Weight), count() FROM run_samples")
    assert weights == (4.0, 4.0, 50)
    (total,) = read(
        store,
        "SELECT sum(Traces), min(ShareLow < Share AND Share < ShareHigh) FROM report_categories WHERE Level = 1",
    )
    assert total == (200, 1)


def test_the_same_seed_takes_the_same_sample(store: ClickHouse) -> None:
    engines = [ScriptedEngine() for _ in range(3)]
    analyse(store, traces(100), engines[0], sample_size=20, seed=1)
    analyse(store, [], engines[1], sample_size=20, seed=1, config='{"other": 1}')
    analyse(store, [], engines[2], sample_size=20, seed=2)
    ids = [{row.trace_id for row in engine.seen} for engine in engines]
    assert ids[0] == ids[1] != ids[2]


def test_a_finished_run_is_not_made_twice(store: ClickHouse) -> None:
    first = analyse(store, traces(), ScriptedEngine())
    again = ScriptedEngine()
    assert analyse(store, [], again).run_id == first.run_id
    assert again.seen == []
    more = analyse(store, [trace_row("late", start_ns=START_NS + 5)], ScriptedEngine())
    assert (more.run_id != first.run_id, more.traces_labelled) == (True, 11)


def test_a_failed_run_keeps_what_was_done(store: ClickHouse) -> None:
    run = analyse(store, traces(), ScriptedEngine(fail_after=4))
    assert (run.status, run.error, run.traces_labelled) == ("failed", "401: invalid key", 4)
    assert read(store, "SELECT count() FROM trace_labels") == [(4,)]
    assert read(store, "SELECT Status FROM analysis_runs") == [("failed",)]
    (report,) = asyncio.run(store.records("reading/report_by_run", ReportRow, run_id=run.run_id))
    assert json.loads(report.document)["population"]["labelled"] == 4
    retry = analyse(store, [], ScriptedEngine())
    assert (retry.status, retry.run_id != run.run_id) == ("complete", True)


def test_a_cancelled_run_says_so(store: ClickHouse) -> None:
    with pytest.raises(asyncio.CancelledError):
        analyse(store, traces(), ScriptedEngine(fail_after=3, fail_with=asyncio.CancelledError()))
    assert read(store, "SELECT Status, TracesLabelled FROM analysis_runs") == [("cancelled", 3)]


def test_a_run_that_breaks_is_failed_too(store: ClickHouse) -> None:
    run = analyse(store, traces(), ScriptedEngine(fail_after=2, fail_with=RuntimeError("a bug")))
    assert (run.status, run.error, run.traces_labelled) == ("failed", "unexpected RuntimeError: a bug", 2)


def test_a_budget_that_is_reached_makes_a_partial_run(store: ClickHouse) -> None:
    run = analyse(store, traces(), ScriptedEngine(fail_after=2, fail_with=BudgetReached("the budget of $1")))
    assert (run.status, run.error, run.traces_labelled) == ("partial", "the budget of $1", 2)


def test_runs_of_a_killed_owner_are_failed(store: ClickHouse) -> None:
    run = analyse(store, traces(), ScriptedEngine())

    async def restart() -> None:
        left = replace(run, run_id="left", status="running", updated_at_ns=run.updated_at_ns - 10**9)
        await store.insert("analysis_run_states", [left])
        await store.command("schedule/fail_abandoned_runs", error=ABANDONED, lease_ms=0)

    asyncio.run(restart())
    found = read(
        store, "SELECT RunId, toString(Status), Error != '' FROM analysis_runs ORDER BY RunId = 'left'"
    )
    assert found == [(run.run_id, "complete", False), ("left", "failed", True)]


def test_labels_outside_the_taxonomy_never_get_through(store: ClickHouse) -> None:
    rows = [replace(row, input="nonsense") for row in traces(10)]
    run = analyse(store, rows, ScriptedEngine())
    assert (run.status, run.traces_abstained) == ("partial", 10)
    assert "made_up" in run.error
    assert read(store, "SELECT DISTINCT CategoryId, SubcategoryId FROM trace_labels") == [("other", "")]


def test_an_attribute_can_leave_traces_out(store: ClickHouse) -> None:
    """They are labelled, and counted apart: shares of categories and of what is left out add up to one."""
    angry = AttributeSpec("angry", "boolean", keep=("true",))
    brief = Brief("topics", "What do users want?", attributes=(angry,))
    run = analyse(store, traces(200), ScriptedEngine(), brief=brief, sample_size=100)
    assert (run.status, run.traces_labelled) == ("complete", 100)
    assert len(read(store, "SELECT DISTINCT Category FROM trace_labels")) == 2
    (report,) = asyncio.run(store.records("reading/report_by_run", ReportRow, run_id=run.run_id))
    document = json.loads(report.document)
    assert [c["category_id"] for c in document["categories"]] == ["refunds"]
    (left_out,) = document["left_out"]
    refunds = document["categories"][0]
    assert (left_out["attribute"], left_out["kept"]) == ("angry", ["true"])
    assert left_out["share"] + refunds["share"] == pytest.approx(1)
    assert left_out["traces"] + refunds["traces"] == 200
    assert left_out["sampled"] + refunds["sampled"] == 100
    assert left_out["share_low"] < left_out["share"] < left_out["share_high"]
    assert any("are left out of the categories: angry is not true" in point for point in report.key_points)


def test_an_empty_window_is_a_report(store: ClickHouse) -> None:
    run = analyse(store, [], ScriptedEngine())
    assert (run.status, run.traces_selected) == ("complete", 0)
    (report,) = asyncio.run(store.records("reading/report_by_run", ReportRow, run_id=run.run_id))
    assert json.loads(report.document)["categories"] == []
    assert "nothing to report" in report.summary


def test_everything_downstream_is_redacted(store: ClickHouse) -> None:
    engine = ScriptedEngine()
    run = analyse(store, traces(), engine, redact=lambda row: replace(row, input="refund [hidden]"))
    assert {row.input for row in engine.seen} == {"refund [hidden]"}
    (report,) = asyncio.run(store.records("reading/report_by_run", ReportRow, run_id=run.run_id))
    assert "where is order" not in report.document


@pytest.mark.parametrize(
    ("filters", "selected"),
    [
        ({}, 9),
        ({"agent_only": False}, 10),
        ({"service": ("shop",)}, 8),
        ({"status": ("Error",)}, 2),
        ({"tool": ("refund",)}, 1),
        ({"feedback_below": 0.5}, 1),
        ({"service": ("shop", "else")}, 9),
        ({"status": ("Ok", "Error")}, 2),
        ({"tool": ("get_order", "refund")}, 9),
        ({"feedback_above": 0.5}, 1),
        ({"feedback": ("csat",)}, 1),
        ({"feedback": ("csat",), "feedback_below": 0.5}, 0),
        ({"feedback": ("nps", "thumbs"), "feedback_below": 0.5}, 1),
        ({"min_ms": 1000}, 9),
        ({"min_ms": 1000.5}, 1),
        ({"max_ms": 1000}, 0),
        ({"min_ms": 500, "max_ms": 2000}, 8),
        ({"attributes": {"tier": ("gold",)}}, 1),
        ({"attributes": {"tier": ("gold", "")}}, 9),
        ({"attributes": {"tier": ("gold",), "release": ("2",)}}, 0),
        ({"where": "LlmCalls > 5"}, 1),
        ({"start_ns": START_NS + 5}, 4),
        ({"end_ns": START_NS + 5}, 5),
    ],
)
def test_selection(store: ClickHouse, filters: dict[str, Any], selected: int) -> None:
    rows = traces(10)
    rows[1] = replace(rows[1], service_name="else")
    rows[2] = replace(rows[2], tools=("refund",))
    rows[3] = replace(rows[3], feedback={"thumbs": 0.0, "csat": 1.0})
    rows[4] = replace(rows[4], attributes={"tier": "gold"})
    rows[6] = replace(rows[6], is_agent=False)
    rows[7] = replace(rows[7], llm_calls=9)
    rows[8] = replace(rows[8], duration_ms=2000.0)
    selection = replace(job().selection, **filters)
    run = analyse(store, rows, ScriptedEngine(), selection=selection)
    assert run.traces_selected == selected


def test_taxonomy_versions_count_up_and_keep_ids(store: ClickHouse) -> None:
    analyse(store, traces(), ScriptedEngine())
    analyse(store, [], ScriptedEngine(), seed=5)
    events = read(store, "SELECT TaxonomyVersion, CategoryId, toString(Event) FROM taxonomies ORDER BY 1, 2")
    assert {event for version, _, event in events if version == 1} == {"new"}
    assert {event for version, _, event in events if version == 2} == {"kept"}
    assert len(asyncio.run(store.records("analysis/last_taxonomy", TaxonomyRow, analysis="topics"))) == 4
    assert len(asyncio.run(store.records("analysis/last_taxonomy", TaxonomyRow, analysis="else"))) == 0


def test_record_types_are_read_back(store: ClickHouse) -> None:
    run = analyse(store, traces(), ScriptedEngine())
    assert asyncio.run(store.records("reading/run_by_id", RunRow, run_id=run.run_id)) == [run]
    labels = asyncio.run(store.records("reading/labels_of_trace", LabelRow, trace_id="t000"))
    assert (labels[0].evidence, labels[0].evidence_span_id) == ("refund number 0", "aa")
    with store.reader() as client:
        assert client.query("SELECT count() FROM report_categories").result_rows == [(3,)]


# ------------------------------------------------------------------------------------------------- sessions

BY_SESSION = Selection(START_NS, START_NS + 10**12, unit="session")


def sessions(count: int, traces_each: int = 3) -> tuple[list[SessionRow], list[TraceRow]]:
    """Every fifth session asks for a refund; its traces are a second apart, in services of their own."""
    rows: list[SessionRow] = []
    members: list[TraceRow] = []
    for i in range(count):
        ids = tuple(f"s{i:03}-{n}" for n in range(traces_each))
        members += [
            trace_row(
                trace_id, session_id=f"s{i:03}", start_ns=START_NS + i + n * 10**9, service_name=f"shop{n}"
            )
            for n, trace_id in enumerate(ids)
        ]
        refund = i % 5 == 0
        whole = trace_row(
            ids[0],
            session_id=f"s{i:03}",
            start_ns=START_NS + i,
            revision=4,
            request=f"refund number {i}" if refund else f"where is order {i}",
            status="Error" if refund else "Unset",
        )
        values = {field.name: getattr(whole, field.name) for field in fields(TraceRow)}
        rows.append(SessionRow(**values, trace_ids=ids))
    return rows, members


def analyse_sessions(store: ClickHouse, count: int, engine: ScriptedEngine, **changes: Any) -> RunRow:
    rows, members = sessions(count)
    asyncio.run(store.insert("sessions", rows))
    return analyse(store, members, engine, **({"selection": BY_SESSION} | changes))


def test_a_verdict_on_a_session_labels_every_trace_of_it(store: ClickHouse) -> None:
    run = analyse_sessions(store, 10, ScriptedEngine())
    assert (run.status, run.traces_selected, run.traces_sampled, run.traces_labelled) == (
        "complete",
        10,
        10,
        10,
    )
    assert read(
        store, "SELECT Category, count(), uniq(SessionId) FROM trace_labels_current GROUP BY 1 ORDER BY 1"
    ) == [
        ("Order tracking", 24, 8),
        ("Refunds", 6, 2),
    ]
    labels = asyncio.run(store.records("reading/labels_of_trace", LabelRow, trace_id="s005-2"))
    (label,) = labels
    assert (label.session_id, label.category_id, label.subcategory_id) == ("s005", "refunds", "refunds__late")
    assert (label.evidence, label.evidence_span_id, label.revision) == ("refund number 5", "aa", 4)
    # Start and service are those of the trace itself, so that panels find it where it was.
    assert (label.trace_start_ns, label.service_name) == (START_NS + 5 + 2 * 10**9, "shop2")


def test_a_report_on_sessions_counts_each_once(store: ClickHouse) -> None:
    run = analyse_sessions(store, 10, ScriptedEngine(), still_open=2)
    assert read(
        store,
        "SELECT CategoryId, Traces, Sampled, Share, ErrorRate FROM report_categories WHERE Level = 1 ORDER BY 1",
    ) == [
        ("refunds", 2, 2, 0.2, 1.0),
        ("tracking", 8, 8, 0.8, 0.0),
    ]
    (report,) = asyncio.run(store.records("reading/report_by_run", ReportRow, run_id=run.run_id))
    document = json.loads(report.document)
    assert document["unit"] == "session"
    assert document["population"]["selected"] == 10
    assert document["categories"][0]["examples"][0]["session_id"].startswith("s00")
    prose = " ".join([document["summary"], *document["key_points"]])
    assert "All 10 sessions were read and fall into 2 categories." in prose
    assert "2 sessions were still open and are not counted." in prose
    assert "traces" not in prose


def test_sessions_are_sampled_with_weights(store: ClickHouse) -> None:
    engines = [ScriptedEngine(), ScriptedEngine()]
    run = analyse_sessions(store, 60, engines[0], sample_size=20)
    assert (run.traces_selected, run.traces_sampled) == (60, 20)
    assert read(store, "SELECT count(), uniq(TraceId), min(Weight), max(Weight) FROM run_samples") == [
        (20, 20, 3.0, 3.0)
    ]
    assert read(store, "SELECT count() FROM trace_labels_current") == [(60,)]
    assert all(isinstance(row, SessionRow) for row in engines[0].seen)
    analyse_sessions(store, 60, engines[1], sample_size=20, config='{"again": 1}')
    assert [row.trace_id for row in engines[1].seen] == [row.trace_id for row in engines[0].seen]


def test_filters_are_on_the_session(store: ClickHouse) -> None:
    counts = {
        filters: analyse_sessions(
            store, 10, ScriptedEngine(), selection=replace(BY_SESSION, **dict([filters]))
        ).traces_selected
        for filters in [
            ("status", ("Error",)),
            ("where", "length(TraceIds) > 3"),
            ("where", "has(TraceIds, 's007-2')"),
            ("end_ns", START_NS + 5),
        ]
    }
    assert list(counts.values()) == [2, 0, 1, 5]


def test_a_trace_that_is_gone_gets_no_label(store: ClickHouse) -> None:
    rows, members = sessions(2)
    asyncio.run(store.insert("sessions", rows))
    run = analyse(store, members[:-1], ScriptedEngine(), selection=BY_SESSION)
    assert (run.status, run.traces_labelled) == ("complete", 2)
    assert read(store, "SELECT count() FROM trace_labels") == [(5,)]


def test_a_cut_run_on_sessions_says_sessions(store: ClickHouse) -> None:
    rows = [replace(row, input="nonsense") for row in sessions(10)[0]]
    asyncio.run(store.insert("sessions", rows))
    run = analyse(store, [], ScriptedEngine(), selection=BY_SESSION)
    assert run.error.startswith("10 of 10 sampled sessions could not be labelled")
    empty = analyse(store, [], ScriptedEngine(), selection=replace(BY_SESSION, service=("none",)))
    (report,) = asyncio.run(store.records("reading/report_by_run", ReportRow, run_id=empty.run_id))
    assert report.summary.startswith("No closed session matched")
