"""Asking a model about unsure traces: within its limits, redacted, and never twice for nothing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from factories import TRUTH, trace_row
from tracetaxa.config import AnalysisConfig, Config
from tracetaxa.label.labeller import Scope
from tracetaxa.label.rows import AskRow
from tracetaxa.labelling.asking import Asking
from tracetaxa.records import OTHER, Category, LabelRow, Taxonomy, TraceRow
from tracetaxa.testing import Failure, Oracle, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracetaxa.store.database import ClickHouse

REFUNDS = Category("refunds", "Refunds", "Money back.")
LATE = Category("refunds__late", "Late refund", "", "refunds")
TAXONOMY = Taxonomy((REFUNDS, LATE, Category(OTHER, "Other", "")))
SCOPE = Scope("topics", "r1", 3, TAXONOMY, "c1", {}, 0)
BRIEF = AnalysisConfig().brief()


def truth(digest: str) -> tuple[str, str] | None:
    return TRUTH["refund"] if "refund" in digest else None


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedModel]:
    with ScriptedModel(Oracle(truth)) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield model


def unsure(count: int, first: int = 0) -> list[TraceRow]:
    requests = (f"A refund for order {i}, write to ada@example.org" for i in range(first, first + count))
    return [trace_row(f"t{first + i:03}", request=text, revision=2) for i, text in enumerate(requests)]


def config(**label: Any) -> Config:
    return Config(label=label, llm={"cache_days": 0}, privacy={"redact": ["email"]})  # type: ignore[arg-type]


def labels(store: ClickHouse) -> list[LabelRow]:
    with store.reader() as client:
        ids = [row[0] for row in client.query("SELECT DISTINCT TraceId FROM trace_labels").result_rows]

    async def read() -> list[LabelRow]:
        return [
            row
            for i in sorted(ids)
            for row in await store.records("reading/labels_of_trace", LabelRow, trace_id=i)
        ]

    return asyncio.run(read())


def asked(store: ClickHouse) -> list[tuple[int, int]]:
    with store.reader() as client:
        rows = client.query("SELECT Traces, Labelled FROM label_asks ORDER BY AskedAt").result_rows
    return [tuple(row) for row in rows]


def test_labels_of_the_model_win(store: ClickHouse, model: ScriptedModel) -> None:
    async def go() -> None:
        asking = Asking(config(), store)
        asking.add("topics", unsure(3))  # before it begins: left out
        asking.begin(SCOPE, BRIEF, None)
        asking.add("topics", unsure(3))
        assert await asking.tick() == 3
        assert await asking.tick() == 0

    asyncio.run(go())
    assert asked(store) == [(3, 3)]
    for row in labels(store):
        assert (row.category, row.subcategory, row.labeller) == ("Refunds", "Late refund", "llm")
        assert (row.run_id, row.taxonomy_version, row.classifier_version, row.revision) == ("r1", 3, "c1", 2)
        assert row.evidence
        assert row.evidence_span_id == "aa"
    assert "ada@example.org" not in json.dumps([request.body for request in model.requests])


def test_no_more_than_so_many_an_hour(store: ClickHouse, model: ScriptedModel) -> None:
    async def go() -> None:
        for number in range(2):  # a process that starts anew knows what the last one asked
            asking = Asking(config(max_asked_per_hour=5, max_waiting_to_ask=8), store)
            asking.begin(SCOPE, BRIEF, None)
            asking.add("topics", unsure(4, 4 * number))
            await asking.tick()
        asking.add("topics", unsure(20, 100))
        assert len(asking._asked["topics"].waiting) == 8
        assert await asking.tick() == 0

    asyncio.run(go())
    assert asked(store) == [(4, 4), (1, 1)]


def test_no_more_than_the_budget_has_left(store: ClickHouse, model: ScriptedModel) -> None:
    async def go() -> None:
        spent = AskRow("topics", "r1", "c0", 1, 1, 100, 10, 0.75, 1_795_337_071 * 10**9)
        await store.insert(
            "label_asks", [spent, AskRow("topics", "r0", "b", 1, 1, 1, 1, 9.0, spent.asked_at_ns)]
        )
        asking = Asking(config(), store)
        asking.begin(SCOPE, BRIEF, 0.75)
        asking.add("topics", unsure(4))
        assert await asking.tick() == 0
        assert not model.requests
        asking.begin(SCOPE, BRIEF, 0.7501)  # less than one call can cost
        asking.add("topics", unsure(4))
        assert await asking.tick() == 0
        assert not model.requests
        asking.begin(SCOPE, BRIEF, 5.0)
        asking.add("topics", unsure(4))
        assert await asking.tick() == 4

    asyncio.run(go())


def test_a_model_that_refuses_is_left_alone_for_a_while(store: ClickHouse, model: ScriptedModel) -> None:
    model.answer = lambda messages, schema: Failure(401, "Incorrect API key provided", code="invalid_api_key")

    async def go() -> Asking:
        asking = Asking(config(), store)
        asking.begin(SCOPE, BRIEF, None)
        asking.add("topics", unsure(2))
        assert await asking.tick() == 0
        asking.add("topics", unsure(2))
        before = len(model.requests)
        assert await asking.tick() == 0
        assert len(model.requests) == before
        return asking

    assert "Incorrect API key" in asyncio.run(go()).trouble
    assert labels(store) == []
