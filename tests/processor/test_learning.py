"""What is learned from a finished run, stored, put to use, and told in its report: with the real store and child."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from factories import START_NS, trace_row
from tracetaxa.analyze.job import Job
from tracetaxa.analyze.run import run_analysis
from tracetaxa.assemble.assembler import RevisionRow
from tracetaxa.config import AnalysisConfig, Config, parse_analysis
from tracetaxa.errors import ChildEnded, StoreUnavailable
from tracetaxa.label.rows import ClassifierChoiceRow, ClassifierRow
from tracetaxa.labelling.labelling import Labelling
from tracetaxa.labelling.learning import Learning, asks_the_same
from tracetaxa.labelling.lesson import NO_FOLD, load_labels
from tracetaxa.protocols import no_progress
from tracetaxa.records import Assignment, Category, LabelRow, ReportRow, RunRow, Selection, Spend, Taxonomy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tracetaxa.protocols import Progress
    from tracetaxa.records import Brief, TraceRow
    from tracetaxa.store.database import ClickHouse

KINDS = {
    "refunds": "money back to my card for the blue kettle",
    "tracking": "where the courier left my parcel and its tracking number",
    "accounts": "password reset and a locked login email",
}
TAXONOMY = Taxonomy(
    (
        *(Category(name, name.title(), text) for name, text in KINDS.items()),
        Category("refunds__late", "Too late", "", "refunds"),
        Category("other", "Other", ""),
    )
)
WINDOW = (START_NS, START_NS + 10**12)


def kind_of(row: TraceRow) -> str:
    return next((name for name, text in KINDS.items() if text.split()[-1] in row.input), "")


class Knowing:
    """An engine that knows the truth, but says nothing of what is unreadable."""

    name = "local"
    models = ("scripted",)
    prompt_fingerprints: dict[str, str] = {}  # noqa: RUF012
    prices_known = True
    spend = Spend()

    async def discover(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> Taxonomy:
        return TAXONOMY

    async def assign(
        self, traces: Sequence[TraceRow], taxonomy: Taxonomy, brief: Brief, progress: Progress
    ) -> AsyncIterator[list[Assignment]]:
        yield [
            Assignment(row.trace_id, kind, "refunds__late" if kind == "refunds" else "", 0.9, "", row.input)
            if (kind := kind_of(row))
            else Assignment(row.trace_id, "other", reason="unreadable", abstained=True)
            for row in traces
        ]

    async def close(self) -> None: ...


def analysis(**changes: Any) -> AnalysisConfig:
    return parse_analysis({"name": "topics", "label_all": True, "sample": {"size": 60}} | changes)


def config(**changes: Any) -> Config:
    return Config(analyses=(analysis(**changes),), label={"estimate_traces": 200, "folds": 3})  # type: ignore[arg-type]


def traces(count: int = 180, first: int = 0) -> list[TraceRow]:
    """A third of each kind; those of the first fail."""
    names = list(KINDS)
    return [
        trace_row(
            f"t{i:04}",
            start_ns=START_NS + i,
            request=f"Hello no {i}, please: {KINDS[names[i % 3]]}",
            status="Error" if i % 3 == 0 else "Unset",
        )
        for i in range(first, first + count)
    ]


async def close(store: ClickHouse, rows: Sequence[TraceRow]) -> None:
    await store.insert("traces", rows)
    await store.insert("trace_revisions", [RevisionRow(r.trace_id, r.revision, r.last_seen_ns) for r in rows])


async def finish(store: ClickHouse, made: AnalysisConfig | None = None, end_ns: int = WINDOW[1]) -> RunRow:
    made = made or analysis()
    job = Job(
        brief=made.brief(),
        selection=Selection(WINDOW[0], end_ns),
        plan=made.sample.plan(),
        config=json.dumps(made.model_dump(mode="json", exclude={"label_all"}) | {"engine": "local"}),
        labeller="local",
    )
    return await run_analysis(
        store, Knowing(), job, redact=lambda row: row, still_open=0, progress=no_progress
    )


async def learn(store: ClickHouse, **changes: Any) -> Learning:
    """One tick, and the child ended."""
    learning = Learning(config(**changes), store)
    await learning.tick()
    return learning


def read(store: ClickHouse, sql: str) -> list[tuple[Any, ...]]:
    with store.reader() as client:
        return [tuple(row) for row in client.query(sql).result_rows]


class Failing:
    """The store, but its next insert into one table fails."""

    def __init__(self, store: ClickHouse, table: str) -> None:
        self._store = store
        self._table = table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def insert(self, table: str, records: Sequence[Any]) -> None:
        if table == self._table:
            self._table = ""
            raise StoreUnavailable("not now")
        await self._store.insert(table, records)


def test_a_run_is_learned_from_once_whatever_interrupts_it(store: ClickHouse) -> None:
    async def go() -> RunRow:
        await close(store, traces())
        run = await finish(store)
        before = (await store.records("reading/report_by_run", ReportRow, run_id=run.run_id))[0]
        with pytest.raises(StoreUnavailable):
            await learn(Failing(store, "report_categories"))  # type: ignore[arg-type]
        assert read(store, "SELECT Learned, Estimated FROM classifiers FINAL") == [(60, False)]
        assert await (await learn(store)).tick() == 0
        after = (await store.records("reading/report_by_run", ReportRow, run_id=run.run_id))[0]
        document, was = json.loads(after.document), json.loads(before.document)
        assert after.created_at_ns == before.created_at_ns + 1
        assert document["estimates"] == {
            "method": "prediction_powered",
            "labelled": 60,
            "predicted": 120,
            "power": pytest.approx(0.66, abs=0.2),
            "agreement": pytest.approx(1, abs=0.1),
            "classifier_version": read(store, "SELECT ClassifierVersion FROM classifiers FINAL")[0][0],
        }
        assert set(document) - {"estimates"} == set(was)
        old = {c["category_id"]: c for c in was["categories"]}
        for category in document["categories"]:
            before_it = old[category["category_id"]]
            assert category["share"] == pytest.approx(1 / 3, abs=0.02)
            assert category["share_high"] - category["share_low"] < (
                before_it["share_high"] - before_it["share_low"]
            )
            assert category["examples"] == before_it["examples"]
            assert category["error_rate"] == pytest.approx(
                float(category["category_id"] == "refunds"), abs=0.02
            )
            assert category["cost_usd"] == pytest.approx(0.6, abs=0.05)
        return run

    run = asyncio.run(go())
    assert read(store, "SELECT count() FROM classifier_choices") == [(1,)]
    assert read(store, "SELECT RunId, Error, Estimated FROM classifiers FINAL") == [(run.run_id, "", True)]
    told = read(
        store, "SELECT CategoryId, Traces, round(Share, 1) FROM report_categories FINAL WHERE Level = 1"
    )
    assert sum(row[1] for row in told) == 180
    assert {row[0] for row in told} == set(KINDS)


def test_too_few_labels_are_told_and_not_tried_again(store: ClickHouse) -> None:
    async def go() -> None:
        await close(store, traces(6))
        await finish(store)
        assert await (await learn(store)).tick() == 0
        assert await Labelling(config(), store).unlabelled() == 0

    asyncio.run(go())
    ((error, archive),) = read(store, "SELECT Error, Archive FROM classifiers FINAL")
    assert ("sample.size" in error, archive) == (True, "")
    assert read(store, "SELECT count() FROM classifier_choices") == [(0,)]


def test_the_newest_choice_labels(store: ClickHouse) -> None:
    """A run's classifier is a choice; so is going back to an older one, for what closes from then on."""

    async def label(labelling: Labelling) -> None:
        await labelling.tick()
        while await labelling.unlabelled():
            await labelling.tick()

    async def go() -> tuple[str, str]:
        await close(store, traces(120))
        await finish(store)
        labelling = Labelling(config(), store)
        assert await labelling.unlabelled() == 60
        await learn(store)
        assert await labelling.unlabelled() == 60
        await label(labelling)
        assert len(read(store, "SELECT TraceId FROM trace_labels_current")) == 120
        with pytest.raises(ChildEnded):  # which is no reason to stop
            await labelling._child.call(os._exit, 9)
        await close(store, traces(60, first=120))
        await finish(store, end_ns=WINDOW[1] + 1)
        await learn(store)
        await label(labelling)
        sql = "SELECT ClassifierVersion FROM classifiers FINAL ORDER BY CreatedAt DESC"
        newest, oldest = (version for (version,) in read(store, sql))
        await store.insert("classifier_choices", [ClassifierChoiceRow("topics", oldest, "Ada")])
        await labelling.tick()
        await close(store, traces(3, first=500))
        await labelling.tick()
        await labelling._child.close()
        return newest, oldest

    newest, oldest = asyncio.run(go())
    sql = "SELECT DISTINCT ClassifierVersion, TaxonomyVersion FROM trace_labels_current WHERE Labeller = 'distilled'"
    assert read(store, f"{sql} AND TraceId >= 't0500'") == [(oldest, 1)]
    assert read(store, f"{sql} AND TraceId < 't0500'") == [(newest, 2)]


def test_a_classifier_that_cannot_be_read_is_learned_again(
    store: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade that changed what it reads of a trace."""
    monkeypatch.setattr("tracetaxa.labelling.labelling.UNREADABLE_SECONDS", 0.0)

    async def go() -> None:
        await close(store, traces(90))
        await finish(store)
        learning = await learn(store)
        (row,) = await store.records(
            "labelling/classifier_in_use",
            ClassifierRow,
            analysis="topics",
            classifier_version=read(store, "SELECT ClassifierVersion FROM classifiers FINAL")[0][0],
        )
        await store.insert("classifiers", [replace(row, archive="bm90aGluZw==", used_at_ns=time.time_ns())])
        labelling = Labelling(config(), store, relearn=learning.again)
        await labelling.tick()
        assert "topics: " in labelling.trouble
        assert await learning.tick() == 1
        while await labelling.unlabelled():
            await labelling.tick()
            assert labelling.trouble == ""
        await labelling._child.close()

    asyncio.run(go())
    assert len(read(store, "SELECT TraceId FROM trace_labels_current")) == 90


def test_people_are_learned_from_before_the_model(store: ClickHouse) -> None:
    async def go() -> None:
        rows = traces(100)
        unreadable = trace_row("u1", start_ns=START_NS, request="???")
        await close(store, [*rows, unreadable])
        run = await finish(store, analysis(sample={"size": 101}))
        more = trace_row("outside", start_ns=START_NS - 1, request="a kettle")
        await close(store, [more])
        await store.insert(
            "trace_labels",
            [
                _by_person("t0000", "tracking"),
                _by_person("outside", "refunds", "refunds__late"),
                _by_person("t0001", "gone"),  # of a taxonomy that is no more
                _by_person("t0003", ""),  # taken back
            ],
        )
        found = await load_labels(store, run)
        assert found is not None
        assert (len(found.labelled), found.sizes) == (101, {"": 101.0})
        lesson, told = found.lesson(5, seed=0)
        assert [found.labelled[i].trace.row.trace_id for i in told] == [row.trace_id for row in rows]
        assert len(lesson.traces) == len(lesson.labels) == len(lesson.folds) == len(lesson.weights) == 101
        said = {label.trace_id: (label.category_id, label.subcategory_id) for label in lesson.labels}
        assert said["t0000"] == ("tracking", "")
        assert said["outside"] == ("refunds", "refunds__late")
        assert said["t0001"] == ("tracking", "")
        assert said["t0003"] == ("refunds", "refunds__late")
        assert "u1" not in said
        assert lesson.folds[-1] == NO_FOLD
        assert {lesson.folds.count(fold) for fold in range(5)} == {20}
        # The run's own label stays what the estimates compare with.
        assert found.labelled[0].assignment.category_id == "refunds"

    asyncio.run(go())


def _by_person(trace_id: str, category_id: str, subcategory_id: str = "") -> LabelRow:
    now = time.time_ns()
    return LabelRow(
        *("topics", "", 1, trace_id, 1, START_NS, "shop", "", category_id, "", subcategory_id, "", 1.0),
        *("human", "", "", "", "", {}, now),
    )


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"sample": {"size": 5, "seed": 3}}, True),
        ({"instructions": "Which failures?"}, False),
        ({"filter": {"service": "shop"}}, False),
        ({"agent_only": False}, False),
    ],
)
def test_a_run_with_another_question_is_not_learned_from(changes: dict[str, Any], same: bool) -> None:
    made = analysis(**changes)
    told = json.dumps(made.model_dump(mode="json", exclude={"label_all"}) | {"engine": "local", "models": []})
    assert asks_the_same(_run(told), analysis()) is same


def test_a_run_of_an_older_version_is_taken_as_configured() -> None:
    assert asks_the_same(_run("not json"), analysis())


def _run(told: str) -> RunRow:
    return RunRow(
        *("r", "topics", 0, 1, "complete", "local", (), {}, 0, 0, 0, 0, 0, 0, 0, None, 0, 0),
        *(told, "", 0),
    )
