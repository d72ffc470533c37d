"""What a larger sample would buy."""

from __future__ import annotations

import random
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import trace_row
from tracetaxa.analyze.results.aggregate import Frame, Labelled, aggregate
from tracetaxa.analyze.sampling.plan import SamplePlan
from tracetaxa.analyze.statistics.estimate import Design, proportion, width_at
from tracetaxa.analyze.statistics.precision import precision, smallest_seen
from tracetaxa.records import Assignment, Category, SampledTrace, Taxonomy

TAXONOMY = Taxonomy((Category("a", "Alpha", ""), Category("b", "Beta", ""), Category("other", "Other", "")))


@given(st.integers(1, 200), st.integers(1, 400))
def test_the_smallest_kind_is_seen_with_the_chance_that_is_said(read: int, more: int) -> None:
    population = read + more
    units = smallest_seen(read, population)
    missed = comb(population - units, read) / comb(population, read)
    assert missed <= 0.05
    assert 1 <= units <= population


def test_the_rule_of_three() -> None:
    assert smallest_seen(1000, 10**7) / 10**7 == pytest.approx(3 / 1000, rel=0.01)
    assert smallest_seen(10, 10) == 1


def test_the_width_of_a_larger_sample_is_what_it_then_has() -> None:
    rng = random.Random(3)
    population = {
        "x": [rng.random() < 0.4 for _ in range(2000)],
        "y": [rng.random() < 0.1 for _ in range(8000)],
    }
    sizes = {name: float(len(units)) for name, units in population.items()}

    def drawn(counts: dict[str, int]) -> tuple[list[bool], Design]:
        hits = [hit for name, n in counts.items() for hit in rng.sample(population[name], n)]
        return hits, Design(tuple(name for name, n in counts.items() for _ in range(n)), sizes)

    expected, found = [], []
    for _ in range(100):
        hits, design = drawn({"x": 150, "y": 150})
        expected.append(width_at(hits, design, {"x": 600, "y": 600}))
        larger = proportion(*drawn({"x": 600, "y": 600}))
        found.append(larger.high - larger.low)
    assert sum(expected) == pytest.approx(sum(found), rel=0.05)


def labelled(count: int, stratum: str = "") -> list[Labelled]:
    kinds = ["a", "a", "b", "a", "other"]
    return [
        Labelled(SampledTrace(trace_row(f"t{i}"), stratum, 0.1), Assignment(f"t{i}", kinds[i % 5]))
        for i in range(count)
    ]


def of(count: int, selected: int, size: int, unit: str = "trace") -> dict[str, object] | None:
    strata = {"": selected}
    labels = labelled(count)
    results = aggregate(labels, TAXONOMY, Frame("r", "topics", 0, 1, strata))
    return precision(labels, strata, results, SamplePlan(size), unit)


def test_the_document_says_what_more_would_buy() -> None:
    found = of(100, 10_000, 100)
    assert found is not None
    assert (found["labelled"], found["sizes"], found["smallest_traces"]) == (100, [200, 400], 299)
    categories = found["categories"]
    assert isinstance(categories, list)
    assert [c["category_id"] for c in categories] == ["a", "b"]
    assert categories[0]["margin"] == pytest.approx(0.094, abs=0.003)
    twice, four = categories[0]["margins"]
    assert (twice, four) == (pytest.approx(0.067, abs=0.002), pytest.approx(0.047, abs=0.002))
    seen, known = found["sentences"]
    assert seen == "A kind with at least 299 traces (3.0%) is in a sample of this size with 95% chance."
    larger = "a sample of 200 would make it ±6.7%, one of 400 ±4.7%."
    assert known == f"The share of Alpha is known to ±9.4%; {larger}"


def test_all_is_as_much_as_there_is() -> None:
    found = of(100, 150, 100, "session")
    assert found is not None
    assert found["sizes"] == [150, 150]
    assert str(found["sentences"]).endswith("; all 150 make it exact.']")
    assert "sessions" in str(found["sentences"])


def test_nothing_is_said_where_more_can_not_help() -> None:
    assert of(100, 100, 100) is None
    assert of(0, 100, 100) is None
    assert of(60, 100, 100) is None  # all were drawn; the others got no verdict
