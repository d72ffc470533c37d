"""The second reading of a run: what it asks, what it changes, what it leaves alone when it can't be had."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from factories import START_NS
from noisy_oracle import NoisyOracle, cases, truth
from tracetaxa.analyze.audit import AuditPlan
from tracetaxa.analyze.job import Job
from tracetaxa.analyze.model.budget import Amount
from tracetaxa.analyze.model.engine import ModelEngine
from tracetaxa.analyze.run import run_analysis
from tracetaxa.analyze.sampling.plan import SamplePlan
from tracetaxa.llm.chat import OpenAIChat
from tracetaxa.protocols import no_progress
from tracetaxa.records import Brief, ReportRow, RunRow, Selection
from tracetaxa.store.replies import StoredReplies
from tracetaxa.testing import Failure, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracetaxa.store.database import ClickHouse
    from tracetaxa.testing import Answer, Request

BRIEF = Brief("topics", "What do users ask for?")


@dataclass(frozen=True, slots=True)
class Done:
    run: RunRow
    document: dict[str, Any]
    requests: list[Request]

    @property
    def quality(self) -> dict[str, Any]:
        card: dict[str, Any] = self.document["quality"]
        return card

    @property
    def labelling(self) -> list[Request]:
        """Requests of pass 2, the second reading among them."""
        return [r for r in self.requests if "labels" in _asked(r)]


def _asked(request: Request) -> Any:
    wanted = request.body["response_format"]["json_schema"]["schema"]
    return wanted["properties"]


def _order(request: Request) -> list[str]:
    labels: list[str] = _asked(request)["labels"]["items"]["properties"]["label"]["enum"]
    return labels


def _pack(request: Request) -> set[str]:
    return set(re.findall(r"case \d+", request.messages[-1]["content"]))


def analyse(
    store: ClickHouse,
    answer: Answer,
    *,
    audit: AuditPlan | None = None,
    config: str = "{}",
    cache: bool = False,
    **changes: Any,
) -> Done:
    async def go(model: ScriptedModel) -> Done:
        chat = partial(OpenAIChat, base_url=model.base_url, api_key="none", max_attempts=1)
        engine = ModelEngine(
            chat("large"),
            chat("small"),
            cache=StoredReplies(store, 3600.0) if cache else None,
            **changes.pop("engine", {}),
        )
        job = Job(
            brief=BRIEF,
            selection=Selection(START_NS, START_NS + 10**12),
            plan=SamplePlan(size=5000),
            config=config,
            labeller="llm",
            audit=audit or AuditPlan(200),
            **changes,
        )
        try:
            run = await run_analysis(
                store, engine, job, redact=lambda row: row, still_open=0, progress=no_progress
            )
        finally:
            await engine.close()
        (report,) = await store.records("reading/report_by_run", ReportRow, run_id=run.run_id)
        return Done(run, json.loads(report.document), list(model.requests))

    with ScriptedModel(answer) as model:
        return asyncio.run(go(model))


def read(store: ClickHouse, sql: str) -> list[tuple[Any, ...]]:
    with store.reader() as client:
        return [tuple(row) for row in client.query(sql).result_rows]


@pytest.fixture
def with_cases(store: ClickHouse) -> Callable[[int], ClickHouse]:
    def fill(count: int) -> ClickHouse:
        asyncio.run(store.insert("traces", cases(count)))
        return store

    return fill


def test_a_run_with_an_audit(with_cases: Callable[[int], ClickHouse]) -> None:
    store = with_cases(240)
    done = analyse(store, NoisyOracle(), audit=AuditPlan(60, share=0.5), cache=True)
    assert (done.run.status, done.run.traces_labelled) == ("complete", 240)

    # The second reading sees the labels the other way round, in requests of its own.
    orders = Counter(tuple(_order(request)) for request in done.labelling)
    (first, _), (second, audits) = orders.most_common()
    assert second == first[::-1]
    assert audits >= 60 / 8

    # And no two traces that share a request the first time do so again, but by chance.
    packs = {order: [_pack(r) for r in done.labelling if tuple(_order(r)) == order] for order in orders}
    together = {pair for pack in packs[first] for pair in combinations(sorted(pack), 2)}
    repeated = [pair for pack in packs[second] for pair in combinations(sorted(pack), 2)]
    assert sum(pair in together for pair in repeated) < len(repeated) / 4

    # Its outcome is kept, and told as agreement.
    rows = read(store, "SELECT SubcategoryId, SecondSubcategoryId FROM run_audits WHERE NOT SecondAbstained")
    assert len(rows) == len({*read(store, "SELECT TraceId FROM run_audits")}) == 60
    agreement = done.quality["agreement"]
    assert (agreement["asked"], agreement["compared"]) == (60, 60)
    assert agreement["label"]["agreed"] == sum(a == b for a, b in rows)
    assert agreement["label"]["kappa"] == pytest.approx(cohen_kappa_score(*zip(*rows, strict=True)))
    assert (
        agreement["label"]["share_low"] < agreement["label"]["share"] < agreement["label"]["share_high"] < 1
    )
    assert agreement["category"]["share"] >= agreement["label"]["share"]
    assert 0 < sum(pair["traces"] for pair in agreement["confused"]) <= 60 - agreement["category"]["agreed"]

    # The label that counts has the calibrated confidence; the history still has the stated one.
    current = dict(read(store, "SELECT TraceId, Confidence FROM trace_labels_current"))
    history = read(
        store,
        "SELECT TraceId, arraySort((c, at) -> at, groupArray(Confidence), groupArray(LabelledAt)) "
        "FROM trace_labels GROUP BY TraceId",
    )
    assert len(current) == len(history) == 240
    assert all(len(told) == 2 and told[1] == current[trace_id] for trace_id, told in history)
    stated = {trace_id: told[0] for trace_id, told in history}
    calibration = done.quality["calibration"]
    assert calibration["stated"] == pytest.approx(fmean(stated.values()))
    assert calibration["calibrated"] == pytest.approx(fmean(current.values()))
    assert calibration["calibrated"] < calibration["stated"] - 0.05  # the oracle is too sure of itself
    assert [b["traces"] for b in calibration["bins"]] == [48] * 5
    assert sum(b["audited"] for b in calibration["bins"]) == 60
    assert all(a["calibrated"] <= b["calibrated"] for a, b in pairwise(calibration["bins"]))
    examples = [e for c in done.document["categories"] for e in c["examples"]]
    assert all(e["confidence"] == current[e["trace_id"]] for e in examples)
    assert len({round(confidence, 3) for confidence in current.values()}) > 3

    # What it cost is told, and is part of the bill.
    assert done.quality["spend"]["audit"]["calls"] == audits
    assert done.document["spend"]["calls"] == len(done.requests)
    assert done.quality["missing"] == {"stability": "not asked for (analyze --stability)"}

    # Made again, it pays for nothing, and says the same.
    again = analyse(
        store, NoisyOracle(), audit=AuditPlan(60, share=0.5), cache=True, config='{"again": true}'
    )
    assert again.requests == []
    assert again.quality["agreement"] == agreement
    assert again.quality["calibration"] == calibration
    assert again.quality["spend"]["audit"]["cached_calls"] == audits


def test_an_oracle_without_noise_agrees_with_itself(with_cases: Callable[[int], ClickHouse]) -> None:
    done = analyse(with_cases(80), NoisyOracle(noise=0.0))
    agreement = done.quality["agreement"]
    assert (agreement["compared"], agreement["label"]["share"], agreement["label"]["kappa"]) == (20, 1.0, 1.0)
    assert agreement["confused"] == []
    assert done.quality["other"] == {"share": 0.0, "share_low": 0.0, "share_high": 0.0}


def test_no_audit_when_it_is_turned_off(with_cases: Callable[[int], ClickHouse]) -> None:
    store = with_cases(40)
    done = analyse(store, NoisyOracle(), audit=AuditPlan(0))
    assert len({tuple(_order(request)) for request in done.labelling}) == 1
    assert done.quality["agreement"] is done.quality["calibration"] is None
    assert "turned off" in done.quality["missing"]["agreement"]
    assert read(store, "SELECT count() FROM run_audits") == [(0,)]
    assert read(store, "SELECT count() FROM trace_labels") == [(40,)]


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (Failure(500, "out of order"), "out of order"),
        (Failure(401, "no such key", code="invalid_api_key"), "no such key"),
        ("nonsense", "the model gave no verdict"),
    ],
)
def test_a_model_that_fails_in_the_audit_costs_the_run_nothing(
    with_cases: Callable[[int], ClickHouse], failure: Failure | str, why: str
) -> None:
    oracle, seen = NoisyOracle(), list[list[str]]()

    def answer(messages: Any, schema: Any) -> Any:
        properties = schema["properties"]
        if "labels" in properties:
            order = properties["labels"]["items"]["properties"]["label"]["enum"]
            seen.append(order)
            if order != seen[0]:
                return failure
        return oracle(messages, schema)

    store = with_cases(60)
    done = analyse(store, answer)
    assert (done.run.status, done.run.error, done.run.traces_abstained) == ("complete", "", 0)
    assert done.quality["agreement"] is None
    assert "the second reading gave 0 verdicts" in done.quality["missing"]["agreement"]
    assert why in done.quality["missing"]["agreement"]
    stated = read(store, "SELECT DISTINCT round(Confidence * 20, 6) FROM trace_labels_current")
    assert all(value == round(value) for (value,) in stated)  # as stated: in steps of 0.05


def test_a_budget_that_is_used_up_leaves_out_the_audit_first(
    with_cases: Callable[[int], ClickHouse],
) -> None:
    store, engine = with_cases(80), {"max_output_tokens": 600, "max_concurrency": 1}
    bare = analyse(store, NoisyOracle(), audit=AuditPlan(0), engine=engine)
    needed = Amount(output_tokens=bare.run.output_tokens + 600)  # and the most of one more request
    done = analyse(store, NoisyOracle(), engine={**engine, "limit": needed}, config='{"again": true}')
    assert (done.run.status, done.run.traces_abstained) == ("complete", 0)
    assert len(done.requests) == len(bare.requests) + 1
    assert "budget" in done.quality["missing"]["agreement"]
    assert done.quality["spend"]["audit"]["calls"] == 1  # what was asked in vain is told
    assert done.run.output_tokens <= needed.output_tokens  # type: ignore[operator]


def test_too_few_traces_say_nothing(with_cases: Callable[[int], ClickHouse]) -> None:
    done = analyse(with_cases(9), NoisyOracle())
    assert re.match("fewer than 10 traces", done.quality["missing"]["agreement"])
    assert len({tuple(_order(request)) for request in done.labelling}) == 1


@pytest.mark.parametrize(
    ("size", "share", "verdicts", "number"),
    [(200, 0.2, 1000, 200), (200, 0.2, 500, 100), (200, 0.2, 60, 20), (200, 0.2, 15, 15), (5, 1.0, 60, 5)],
)
def test_how_many_are_read_again(size: int, share: float, verdicts: int, number: int) -> None:
    assert AuditPlan(size, share).number(verdicts) == number


@pytest.mark.slow
def test_calibrated_confidences_are_right_in_a_whole_run(with_cases: Callable[[int], ClickHouse]) -> None:
    """2,000 traces, the audit as it is by default."""
    store = with_cases(2000)
    done = analyse(store, NoisyOracle(), thin_duplicates=False)
    assert done.quality["agreement"]["compared"] == 200
    rows = {row.trace_id: row for row in cases(2000)}
    told, right = [], []
    for trace_id, category, subcategory, confidence in read(
        store, "SELECT TraceId, Category, Subcategory, Confidence FROM trace_labels_current"
    ):
        told.append(confidence)
        right.append((category, subcategory) == truth(rows[trace_id].input))
    ranked = sorted(zip(told, right, strict=True), key=lambda pair: pair[0])
    edges = [len(ranked) * number // 15 for number in range(16)]
    error = sum(
        (high - low)
        / len(ranked)
        * abs(fmean(c for c, _ in ranked[low:high]) - fmean(ok for _, ok in ranked[low:high]))
        for low, high in pairwise(edges)
    )
    assert error <= 0.05
    assert roc_auc_score(right, told) >= 0.7
