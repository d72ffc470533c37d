"""Near-duplicates: which traces are alike, who is read, and whose label is taken."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import START_NS, trace_row
from tracetaxa.analyze.job import Job
from tracetaxa.analyze.results.aggregate import Labelled, design_of
from tracetaxa.analyze.run import run_analysis
from tracetaxa.analyze.sampling.plan import SamplePlan
from tracetaxa.analyze.sampling.sample import Alike, count_strata, draw_sample
from tracetaxa.analyze.sampling.thinning import FEWEST, MOST, copy_label, thin
from tracetaxa.analyze.statistics.estimate import proportion
from tracetaxa.protocols import no_progress
from tracetaxa.records import (
    Assignment,
    Brief,
    Category,
    LabelRow,
    ReportRow,
    SampledTrace,
    Selection,
    SessionRow,
    Spend,
    Taxonomy,
    TraceRow,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tracetaxa.protocols import Progress
    from tracetaxa.store.database import ClickHouse

PING = "Are you there? Ping 4711 at 2026-11-22T10:00:00Z from 550e8400-e29b-41d4-a716-446655440000."


def sampled(rows: list[TraceRow]) -> list[SampledTrace]:
    return [SampledTrace(row, "", 0.5) for row in rows]


def said(trace_id: str, *texts: str, **changes: Any) -> TraceRow:
    kinds = ("facts", *("user", "assistant", "tool")[: len(texts) - 1])
    return trace_row(
        trace_id, digest_kinds=kinds, digest_texts=texts, digest_span_ids=("aa",) * len(texts), **changes
    )


def drawn(store: ClickHouse, alike: Alike, unit: Any = "trace") -> list[SampledTrace]:
    """All of the window."""

    async def go() -> list[SampledTrace]:
        window, plan = Selection(START_NS, START_NS + 10**9, unit=unit), SamplePlan(size=10_000)
        return await draw_sample(store, window, plan, await count_strata(store, window, plan), alike=alike)

    return asyncio.run(go())


def groups(store: ClickHouse, alike: Alike = "numbers") -> set[frozenset[str]]:
    """Those that ClickHouse takes for near-duplicates, however few."""
    found: dict[int, list[str]] = {}
    for trace in drawn(store, alike):
        found.setdefault(trace.likeness, []).append(trace.row.trace_id)
    return {frozenset(group) for group in found.values()}


def test_numbers_ids_case_and_spaces_make_no_difference_and_words_do(store: ClickHouse) -> None:
    facts = "ping, 1 model call, 3 spans, 1.2 s, status Unset"
    rows = [
        said("a", facts, PING, "Yes."),
        said(
            "b", facts.replace("1.2 s", "27.5 s"), PING.replace("4711", "12").replace("550e", "ab12"), "yes. "
        ),
        said("c", facts, PING.upper().replace("10:00:00", "11:17:32.125"), "Yes."),
        said("word", facts, PING.replace("there", "alive"), "Yes."),
        said("answer", facts, PING, "No."),
        said("failed", facts, PING, "Yes.", status="Error"),
        said("calls", facts, PING, "Yes.", llm_calls=2),
        said("tools", facts, PING, "Yes.", tools=("refund",)),
        said("liked", facts, PING, "Yes.", feedback={"thumbs": 1.0}),
        said("disliked", facts, PING, "Yes.", feedback={"thumbs": 0.0}),
    ]
    single = {frozenset({r.trace_id}) for r in rows[3:]}
    asyncio.run(store.insert("traces", rows))
    assert groups(store) == {frozenset("abc")} | single


def test_numbers_count_where_values_are_extracted(store: ClickHouse) -> None:
    rows = [
        said(i, f"ping, {i}.5 s", f"Refund {n} dollars", "Done.") for i, n in [("1", 5), ("2", 5), ("3", 80)]
    ]
    asyncio.run(store.insert("traces", rows))
    assert groups(store, "exact") == {frozenset("12"), frozenset("3")}
    assert groups(store) == {frozenset("123")}
    assert {trace.likeness for trace in drawn(store, "")} == {0}


def test_a_sample_is_thinned_in_clickhouse(store: ClickHouse) -> None:
    rows = [said(f"t{i:04}", f"ping, {i} s", f"Ping {i}", "Yes.") for i in range(700)]
    rows += [said(f"u{i:04}", "ask, 1 s", f"Question {'x' * i}", "Yes.") for i in range(20)]
    rows += [said("w1", "a", "Only", "two"), said("w2", "a", "only", "two")]
    asyncio.run(store.insert("traces", rows))
    thinned = thin(drawn(store, "numbers"))
    read = Counter(trace.row.trace_id[0] for trace in thinned.read)
    assert read == {"t": -(-700 // (1 + MOST)), "u": 20, "w": 2}
    assert thinned.saved == 722 - len(thinned.read)


def test_sessions_are_thinned_alike(store: ClickHouse) -> None:
    values = {name: getattr(trace_row(), name) for name in TraceRow.__dataclass_fields__}
    rows = [
        SessionRow(
            **(values | {"trace_id": f"s{i}", "session_id": f"s{i}", "start_ns": START_NS + i}),
            trace_ids=(f"s{i}",),
        )
        for i in range(5)
    ]
    asyncio.run(store.insert("sessions", rows))
    sample = drawn(store, "numbers", "session")
    assert {type(trace.row) for trace in sample} == {SessionRow}
    thinned = thin(sample)
    assert (len(thinned.read), thinned.saved) == (1, 4)


@given(st.lists(st.integers(1, 5), max_size=80))
def test_every_unit_is_read_or_stood_for_once(keys: list[int]) -> None:
    rows = [SampledTrace(trace_row(f"t{i}"), "", 0.5, key) for i, key in enumerate(keys)]
    thinned = thin(rows)
    copied = [trace.row.trace_id for others in thinned.copies.values() for trace in others]
    read = [trace.row.trace_id for trace in thinned.read]
    assert sorted(read + copied) == sorted(trace.row.trace_id for trace in rows)
    assert set(thinned.copies) <= set(read)
    assert all(len(others) <= MOST for others in thinned.copies.values())
    counts = Counter(keys)
    for first, others in thinned.copies.items():
        alike = {keys[int(t.row.trace_id[1:])] for t in others} | {keys[int(first[1:])]}
        assert len(alike) == 1
        assert counts[alike.pop()] >= FEWEST


def label(**changes: Any) -> Labelled:
    verdict = Assignment(
        "t1", "pings", "pings__slow", 0.9, "It pings.", "Are you there?", "aa", {"slow": "true"}
    )
    return Labelled(sampled([said("t1", "facts", PING)])[0], replace(verdict, **changes))


def test_a_label_is_taken_with_its_quote() -> None:
    near = sampled([replace(said("t2", "facts", f"hello. {PING}"), digest_span_ids=("f", "bb"))])[0]
    copied = copy_label(label(), near)
    assert copied is not None
    assert (copied.copied_from, copied.trace, copied.assignment) == (
        "t1",
        near,
        Assignment(
            "t2",
            "pings",
            "pings__slow",
            0.9,
            "near-duplicate of t1: It pings.",
            "Are you there?",
            "bb",
            {"slow": "true"},
        ),
    )
    unquoted = copy_label(label(evidence="", evidence_span_id="", reason=""), near)
    assert unquoted is not None
    assert (unquoted.assignment.reason, unquoted.assignment.evidence) == ("near-duplicate of t1", "")


@pytest.mark.parametrize("changes", [{"evidence": "Ping 4711"}, {"abstained": True}])
def test_what_backs_no_label_is_read_itself(changes: dict[str, Any]) -> None:
    near = sampled([said("t2", "facts", PING.replace("4711", "12"))])[0]
    assert copy_label(label(**changes), near) is None


# --------------------------------------------------------------------------------------------------- a run


class Reader:
    """Quotes the first ten letters of what was asked: of `Ping 1…` that is the number, too."""

    name = "openai"
    models = ("scripted",)
    prompt_fingerprints: ClassVar[dict[str, str]] = {}
    prices_known = True
    spend = Spend()

    def __init__(self) -> None:
        self.found_in: list[str] = []
        self.read: list[list[str]] = []

    async def discover(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> Taxonomy:
        self.found_in = [row.trace_id for row in traces]
        return Taxonomy(
            (Category("asks", "Asks", ""), Category("pings", "Pings", ""), Category("other", "Other", ""))
        )

    async def assign(
        self, traces: Sequence[TraceRow], taxonomy: Taxonomy, brief: Brief, progress: Progress
    ) -> AsyncIterator[list[Assignment]]:
        self.read.append([row.trace_id for row in traces])
        for row in traces:
            kind = "pings" if "Ping" in row.input else "asks"
            yield [Assignment(row.trace_id, kind, "", 0.9, "So it says.", row.input[:10], "aa")]

    async def close(self) -> None: ...


def test_a_run_reads_near_duplicates_once_and_labels_all(store: ClickHouse) -> None:
    rows = [
        said(f"t{i:02}", "ping", f"Where is the parcel {i}?", request=f"Where is the parcel {i}?")
        for i in range(30)
    ]
    rows += [said(f"u{i:02}", "ping", f"Ping {i}!", request=f"Ping {i}!") for i in range(5)]
    rows = [replace(row, start_ns=START_NS + i) for i, row in enumerate(rows)]
    job = Job(
        brief=Brief("topics", "What?"),
        selection=Selection(START_NS, START_NS + 100),
        plan=SamplePlan(size=1000),
        config="{}",
        labeller="llm",
        thin_duplicates=True,
    )
    engine = Reader()

    async def go() -> tuple[list[LabelRow], dict[str, Any]]:
        await store.insert("traces", rows)
        run = await run_analysis(
            store, engine, job, redact=lambda row: row, still_open=0, progress=no_progress
        )
        assert (run.status, run.traces_sampled, run.traces_labelled) == ("complete", 35, 35)
        labels = [
            label
            for row in rows
            for label in await store.records("reading/labels_of_trace", LabelRow, trace_id=row.trace_id)
        ]
        (report,) = await store.records("reading/report_by_run", ReportRow, run_id=run.run_id)
        return labels, json.loads(report.document)

    labels, document = asyncio.run(go())
    first, second = engine.read
    assert sorted(first) == sorted(engine.found_in)
    assert Counter(i[0] for i in first) == {"t": 3, "u": 1}
    assert Counter(i[0] for i in second) == {"u": 4}  # their number is part of the quote
    assert {label.trace_id: label.category_id for label in labels} == {
        row.trace_id: "pings" if row.trace_id[0] == "u" else "asks" for row in rows
    }
    copied = [label for label in labels if label.labeller == "distilled"]
    assert len(copied) == 27 == document["population"]["copied"]
    assert {label.classifier_version for label in copied} == {"near-duplicate"}
    assert all(label.reason.startswith("near-duplicate of t") for label in copied)
    assert {label.evidence for label in copied} == {"Where is t"}
    assert {label.labeller for label in labels if label not in copied} == {"llm"}
    assert [(c["category_id"], c["traces"]) for c in document["categories"]] == [("asks", 30), ("pings", 5)]


# --------------------------------------------------------------------------------------------- simulations


def covers(repetitions: int) -> None:
    """A window of which two thirds are near-duplicates of each other in groups of 3 to 400; the labeller reads a
    text, so near-duplicates have one label. Half of the sample is of what failed. Intervals from thinned samples
    must hold what the same labeller says of the whole window as often as those of samples that were read whole.
    """
    rng = random.Random(5)
    texts = [
        text
        for text, size in enumerate([400, 200, 100, 50, 20, 10, 5, 3] * 2 + [1] * 800)
        for _ in range(size)
    ]
    label_of = [rng.choices("abcd", [50, 30, 15, 5])[0] for _ in range(max(texts) + 1)]
    window = []
    for i, text in enumerate(texts):
        failed = rng.random() < (0.5 if label_of[text] == "d" else 0.1)
        row = said(f"t{i}", "facts", f"text number {text}", status="Error" if failed else "Unset")
        window.append(SampledTrace(row, "error" if failed else "ok", 0.1))
    text_of = {trace.row.trace_id: text for trace, text in zip(window, texts, strict=True)}
    strata = {name: [t for t in window if t.stratum == name] for name in ("error", "ok")}
    sizes = {name: float(len(units)) for name, units in strata.items()}
    truth = {kind: sum(label_of[text] == kind for text in texts) / len(texts) for kind in "abcd"}
    covered: Counter[str] = Counter()
    read = 0
    for _ in range(repetitions):
        sample = [unit for units in strata.values() for unit in rng.sample(units, 150)]
        # Near-duplicates are only those that failed alike, as in ClickHouse.
        thinned = thin(
            [replace(t, likeness=1 + 2 * text_of[t.row.trace_id] + (t.stratum == "error")) for t in sample]
        )
        labelled = []
        for trace in thinned.read:
            text = text_of[trace.row.trace_id]
            verdict = Assignment(trace.row.trace_id, label_of[text], evidence=f"text number {text}")
            labelled.append(Labelled(trace, verdict))
            copies = [copy_label(labelled[-1], near) for near in thinned.copies.get(trace.row.trace_id, ())]
            labelled += [copied for copied in copies if copied]
        assert len(labelled) == len(sample)
        read += len(thinned.read)
        design = design_of(labelled, sizes)
        for kind in truth:
            share = proportion([each.assignment.category_id == kind for each in labelled], design)
            covered[kind] += share.low <= truth[kind] <= share.high
    rates = [covered[kind] / repetitions for kind in truth]
    assert 0.93 <= sum(rates) / 4 <= 0.97
    assert min(rates) >= 0.92
    assert read / repetitions < 0.7 * 300


@pytest.mark.slow
def test_intervals_of_thinned_samples_cover_the_truth() -> None:
    covers(1000)
