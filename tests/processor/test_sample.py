"""Which units are drawn, of which strata, and what each stands for."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import START_NS, trace_row
from tracetaxa.analyze.results.aggregate import design_of
from tracetaxa.analyze.sampling.plan import REST, SamplePlan
from tracetaxa.analyze.sampling.sample import count_strata, draw_sample
from tracetaxa.config import parse_analysis
from tracetaxa.errors import ConfigError
from tracetaxa.records import SampledTrace, Selection, TraceRow

if TYPE_CHECKING:
    from tracetaxa.store.database import ClickHouse

WINDOW = Selection(START_NS, START_NS + 10**12)


def population() -> list[TraceRow]:
    """400 traces: 20 failed, 60 with feedback (30 of it low), 40 used a tool, durations of four sizes."""
    rows = []
    for i in range(400):
        row = trace_row(
            f"t{i:03d}", start_ns=START_NS + i, duration_ms=(500.0, 5_000.0, 50_000.0, 500_000.0)[i % 4]
        )
        row = replace(
            row, attributes={"tier": ("free", "paid", "trial")[i % 3], "customer": f"c{i}"}, tools=()
        )
        if i % 20 == 0:
            row = replace(row, status="Error")
        if i < 60:
            row = replace(row, feedback={"thumbs": float(i % 2), "other": 1.0})
        if i % 10 == 3:
            row = replace(row, tools=("lookup", "refund"))
        rows.append(row)
    return rows


@pytest.fixture
def filled(store: ClickHouse) -> ClickHouse:
    asyncio.run(store.insert("traces", population()))
    return store


def draw(store: ClickHouse, plan: SamplePlan) -> tuple[dict[str, int], list[SampledTrace]]:
    async def both() -> tuple[dict[str, int], list[SampledTrace]]:
        strata = await count_strata(store, WINDOW, plan)
        return strata, await draw_sample(store, WINDOW, plan, strata)

    return asyncio.run(both())


def plan(**sample: Any) -> SamplePlan:
    return parse_analysis({"name": "topics", "sample": sample}).sample.plan()


def drawn(sample: list[SampledTrace]) -> dict[str, int]:
    return dict(Counter(trace.stratum for trace in sample))


def test_uniform(filled: ClickHouse) -> None:
    strata, sample = draw(filled, plan(size=100))
    assert (strata, drawn(sample)) == ({"": 400}, {"": 100})
    assert {trace.inclusion_probability for trace in sample} == {0.25}
    assert len({trace.row.trace_id for trace in sample}) == 100
    again = draw(filled, plan(size=100))[1]
    assert [t.row.trace_id for t in again] == [t.row.trace_id for t in sample]
    other = draw(filled, plan(size=100, seed=1))[1]
    assert {t.row.trace_id for t in other} != {t.row.trace_id for t in sample}


@pytest.mark.parametrize(
    ("sample", "strata", "taken"),
    [
        ({"strategy": "errors", "size": 100}, {"no error": 380, "error": 20}, {"no error": 80, "error": 20}),
        (
            {"strategy": "errors", "size": 20, "favour": 0.4},
            {"no error": 380, "error": 20},
            {"no error": 12, "error": 8},
        ),
        (
            {"strategy": "low_feedback", "size": 40},
            {"no feedback": 340, "good feedback": 30, "low feedback": 30},
            {"no feedback": 18, "good feedback": 2, "low feedback": 20},
        ),
        (
            {"strategy": "tools", "tools": ["refund"], "size": 50},
            {"other tools": 360, "used the tools": 40},
            {"other tools": 25, "used the tools": 25},
        ),
        (
            {"strategy": "stratified", "strata": ["tier"], "allocation": "equal", "size": 30},
            {"free": 134, "paid": 133, "trial": 133},
            {"free": 10, "paid": 10, "trial": 10},
        ),
    ],
)
def test_strategies(
    filled: ClickHouse, sample: dict[str, Any], strata: dict[str, int], taken: dict[str, int]
) -> None:
    found, rows = draw(filled, plan(**sample))
    assert (found, drawn(rows)) == (strata, taken)
    for trace in rows:
        assert trace.inclusion_probability == pytest.approx(taken[trace.stratum] / strata[trace.stratum])


def test_what_is_drawn_is_of_its_stratum_and_the_weights_make_up_for_it(filled: ClickHouse) -> None:
    strata, sample = draw(filled, plan(strategy="stratified", strata=["error", "latency"], size=60))
    assert len(strata) == 5  # every twentieth has failed, and all of those were quick
    assert sum(strata.values()) == 400
    for trace in sample:
        failed, latency = trace.stratum.split(" · ")
        assert (failed == "error") == (trace.row.status == "Error")
        assert (
            latency
            == {500.0: "under 1 s", 5e3: "1 to 10 s", 5e4: "10 to 60 s", 5e5: "over 60 s"}[
                trace.row.duration_ms
            ]
        )
    design = design_of([_labelled(trace) for trace in sample], strata)
    assert sum(design.weights) == pytest.approx(400)
    failed_weight = sum(w for w, t in zip(design.weights, sample, strict=True) if t.row.status == "Error")
    assert failed_weight == pytest.approx(20)


def test_many_strata_share_one(filled: ClickHouse) -> None:
    many = replace(plan(strategy="stratified", strata=["customer"], size=100), max_strata=5)
    strata, sample = draw(filled, many)
    assert len(strata) == 5
    assert strata[REST] == 396
    assert drawn(sample)[REST] >= 90
    assert len({trace.row.trace_id for trace in sample}) == len(sample) == 100


def test_a_small_window_is_read_whole(filled: ClickHouse) -> None:
    for sample in ({}, {"strategy": "errors"}, {"strategy": "stratified", "allocation": "equal"}):
        strata, rows = draw(filled, plan(size=1000, **sample))
        assert len(rows) == sum(strata.values()) == 400
        assert {trace.inclusion_probability for trace in rows} == {1.0}


def test_an_empty_window(store: ClickHouse) -> None:
    assert draw(store, plan(strategy="errors")) == ({}, [])


@given(
    st.dictionaries(st.sampled_from(["error", *"abcdef"]), st.integers(1, 500), max_size=7),
    st.integers(1, 600),
    st.sampled_from(["proportional", "equal"]),
    st.sampled_from([(), ("error",)]),
    st.floats(0.01, 0.99),
)
def test_allocations_add_up(
    sizes: dict[str, int], size: int, allocation: Any, favoured: tuple[str, ...], favour: float
) -> None:
    found = SamplePlan(size, allocation=allocation, favoured=favoured, favour=favour).allocate(sizes)
    assert sum(found.values()) == min(size, sum(sizes.values()))
    assert all(0 < number <= sizes[name] for name, number in found.items())
    if size >= 4 * len(sizes) and not favoured:
        assert all(found[name] >= min(2, sizes[name]) for name in sizes)


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({"strategy": "tools"}, "name the tools"),
        ({"strategy": "stratified", "strata": ["tools"]}, "name the tools"),
        ({"strategy": "stratified", "strata": []}, "needs `strata`"),
        ({"strategy": "biased"}, "strategy"),
        ({"favour": 1.0}, "favour"),
    ],
)
def test_what_makes_no_sense_is_refused(sample: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan(**sample)


def _labelled(trace: SampledTrace) -> Any:
    from tracetaxa.analyze.results.aggregate import Labelled
    from tracetaxa.records import Assignment

    return Labelled(trace, Assignment(trace.row.trace_id, "other"))
