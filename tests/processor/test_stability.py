"""Two half samples: what is compared, and what comes out when the categories hold and when they don't."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from factories import trace_row
from tracetaxa.analyze.model.budget import BudgetReached
from tracetaxa.analyze.results.aggregate import Labelled
from tracetaxa.analyze.results.quality import Checks, quality_card
from tracetaxa.analyze.stability import Stability, compare_halves
from tracetaxa.protocols import no_progress
from tracetaxa.records import Assignment, Brief, Category, SampledTrace, Spend, Taxonomy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tracetaxa.protocols import Progress
    from tracetaxa.records import TraceRow

OTHER = Category("other", "Other", "")
BRIEF = Brief("topics", "What?", seed=3)
KINDS = ("refund", "parcel", "login", "allergy")


class HalvesEngine:
    """Finds the kinds under other names each time; `mix` says which kind it takes a trace for."""

    name = "scripted"
    models = ("scripted",)
    prompt_fingerprints: ClassVar[dict[str, str]] = {}
    prices_known = True

    def __init__(self, mix: Callable[[int, str, int], str], fail_in_half: int = 0) -> None:
        """`mix`: number of the half, true kind and number of the trace → the kind it is taken for."""
        self.spend = Spend()
        self.halves: list[set[str]] = []
        self.asked: list[set[str]] = []
        self._mix = mix
        self._fail_in_half = fail_in_half

    async def discover(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> Taxonomy:
        self.halves.append({row.trace_id for row in traces})
        half = len(self.halves)
        if half == self._fail_in_half:
            raise BudgetReached("the budget of $1.00 does not allow another call")
        self.spend = Spend(calls=self.spend.calls + 2, cost_usd=self.spend.cost_usd + 0.25)
        progress("discover", 1, 1)
        return Taxonomy((*(Category(f"{kind}_{half}", kind, "") for kind in KINDS), OTHER))

    async def assign(
        self, traces: Sequence[TraceRow], taxonomy: Taxonomy, brief: Brief, progress: Progress
    ) -> AsyncIterator[list[Assignment]]:
        half = len(self.halves)
        self.asked.append({row.trace_id for row in traces})
        for row in traces:
            kind = self._mix(half, row.input, int(row.trace_id))
            yield [Assignment(row.trace_id, f"{kind}_{half}" if kind else "other", abstained=not kind)]

    async def close(self) -> None: ...


def labelled(count: int) -> list[Labelled]:
    rows = [trace_row(f"{i:04}", request=KINDS[i % len(KINDS)]) for i in range(count)]
    return [
        Labelled(SampledTrace(row, "", 1.0), Assignment(row.trace_id, row.input, confidence=0.9))
        for row in rows
    ]


def compare(engine: HalvesEngine, count: int = 200, size: int = 120) -> Stability:
    return asyncio.run(compare_halves(engine, labelled(count), BRIEF, size=size, progress=no_progress))


def test_the_same_kinds_in_both_halves_are_stable() -> None:
    engine = HalvesEngine(lambda half, kind, number: kind)
    found = compare(engine)
    first, second = engine.halves
    assert (len(first), len(second), len(first | second)) == (100, 100, 200)
    assert engine.asked[0] == engine.asked[1]
    assert (found.compared, len(engine.asked[0])) == (120, 120)
    assert found.category is not None
    assert (found.category.ami, found.category.ari) == pytest.approx((1.0, 1.0))
    assert found.overlap == dict.fromkeys(KINDS, 1.0)
    assert [half.categories for half in found.halves] == [4, 4]
    assert (found.spend.calls, found.spend.cost_usd) == (4, 0.5)


def test_one_kind_that_only_one_half_tells_apart() -> None:
    """The second half takes half of the parcels for refunds."""
    found = compare(
        HalvesEngine(
            lambda half, kind, n: "refund" if half == 2 and kind == "parcel" and n % 8 == 1 else kind
        )
    )
    assert found.category is not None
    assert 0.5 < found.category.ami < 0.95
    assert found.overlap["login"] == found.overlap["allergy"] == 1.0
    assert found.overlap["parcel"] == pytest.approx((1 + 0.5) / 2, abs=0.06)
    assert found.overlap["refund"] == pytest.approx((1 + 2 / 3) / 2, abs=0.06)


def test_categories_that_have_nothing_to_do_with_each_other() -> None:
    found = compare(HalvesEngine(lambda half, kind, n: KINDS[n * 7919 % 101 % 4] if half == 2 else kind), 400)
    assert found.category is not None
    assert abs(found.category.ami) < 0.1
    assert max(found.overlap.values()) < 0.75


def test_the_same_seed_compares_the_same() -> None:
    engines = [HalvesEngine(lambda half, kind, number: kind) for _ in range(2)]
    assert compare(engines[0]) == compare(engines[1])
    assert (engines[0].halves, engines[0].asked) == (engines[1].halves, engines[1].asked)


@pytest.mark.parametrize(
    ("count", "mix", "fail_in_half", "why"),
    [
        (30, lambda half, kind, n: kind, 0, "fewer than 20"),
        (200, lambda half, kind, n: kind, 2, "the budget of $1.00"),
        (200, lambda half, kind, n: "" if half == 2 else kind, 0, "a verdict on 0 traces"),
    ],
)
def test_what_can_not_be_compared_says_why(count: int, mix: Any, fail_in_half: int, why: str) -> None:
    engine = HalvesEngine(mix, fail_in_half)
    found = compare(engine, count)
    assert why in found.absent
    assert found.category is None
    assert found.spend == engine.spend  # what was spent until then is told
    card = quality_card(Checks(stability=found), labelled(count), {"": count})
    assert card["stability"] is None
    assert why in card["missing"]["stability"]
