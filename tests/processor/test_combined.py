"""A report document with combined shares: what changes, what stays, and that its prose agrees with it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factories import trace_row
from tracetaxa.analyze.results.aggregate import Frame, Labelled, aggregate
from tracetaxa.analyze.results.combined import (
    Combined,
    CombinedCategory,
    Guessed,
    combine,
    combined_document,
    combined_rows,
)
from tracetaxa.analyze.results.prose import find_problem
from tracetaxa.analyze.statistics.estimate import Estimate
from tracetaxa.records import OTHER, Assignment, Category, SampledTrace, Taxonomy
from tracetaxa.report.html import render_html
from tracetaxa.report.markdown import render_markdown
from tracetaxa.report.text import render_text

REALISTIC: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "report" / "document.json").read_text("utf-8")
)
TAXONOMY = Taxonomy(
    (
        Category("refunds", "Refunds", ""),
        Category("refunds__late", "Too late", "", "refunds"),
        Category("tracking", "Tracking", ""),
        Category(OTHER, "Other", ""),
    )
)


def labelled(number: int, category: str, sub: str = "", stratum: str = "", **changes: Any) -> Labelled:
    trace = SampledTrace(trace_row(f"t{number}", **changes), stratum, 0.1)
    return Labelled(trace, Assignment(trace.row.trace_id, category, sub, 0.9))


def sample() -> list[Labelled]:
    """Of 40, 20 too late for a refund (which fail, and cost 2 dollars), 16 of tracking, 4 of nothing."""
    late = [labelled(i, "refunds", "refunds__late", status="Error", cost_usd=2.0) for i in range(20)]
    tracking = [labelled(20 + i, "tracking", cost_usd=1.0) for i in range(16)]
    return late + tracking + [labelled(36 + i, OTHER, cost_usd=None) for i in range(4)]


def guessed(late: int, tracking: int, rest: int) -> list[Guessed]:
    return [
        *[Guessed("", (("refunds", "refunds__late"),) * 3, True, 2.0)] * late,
        *[Guessed("", (("tracking", ""),) * 3, False, 1.0)] * tracking,
        *[Guessed("", ((OTHER, ""),) * 3, False, None)] * rest,
    ]


def right(of: list[Labelled]) -> list[tuple[str, str]]:
    return [(x.assignment.category_id, x.assignment.subcategory_id) for x in of]


def test_right_predictions_show_the_population() -> None:
    read = sample()
    combined = combine(read, right(read), guessed(400, 960, 600), TAXONOMY, {"": 2000})
    assert (combined.labelled, combined.predicted, combined.population) == (40, 1960, 2000)
    assert 0.9 < combined.power <= 1
    assert combined.agreement == 1
    shares = {name: found.share.value for name, found in combined.categories.items()}
    assert sum(shares[c.category_id] for c in TAXONOMY.top) == pytest.approx(1)
    assert shares["refunds"] == shares["refunds__late"] == pytest.approx(0.21, abs=0.02)
    refunds = combined.categories["refunds"]
    assert refunds.share.high - refunds.share.low < 0.2
    assert refunds.error_rate.value == pytest.approx(1)
    assert refunds.cost.value == pytest.approx(840, rel=0.1)
    assert combined.categories["tracking"].error_rate.value == 0


def test_classifiers_that_disagree_count_in_part() -> None:
    read = sample()
    both = [Guessed("", (("refunds", ""), ("tracking", "")), False, 1.0)] * 1000
    combined = combine(read, right(read), both, TAXONOMY, {"": 1040})
    assert combined.categories["refunds"].share.value == pytest.approx(0.5, abs=0.01)
    assert combined.categories["tracking"].share.value == pytest.approx(0.5, abs=0.02)


def test_predictions_of_another_stratum_do_not_mix() -> None:
    """Of the stratum `errors` nobody predicts anything: its labels speak alone."""
    errors = [labelled(i, "refunds", stratum="errors") for i in range(10)]
    others = [labelled(10 + i, "tracking" if i % 2 else "refunds", stratum="ok") for i in range(10)]
    read = errors + others
    rest = [Guessed("ok", (("tracking", ""),), False, None)] * 90
    combined = combine(read, right(read), rest, TAXONOMY, {"errors": 100, "ok": 100})
    power = combined.power
    expected = 0.5 * 1 + 0.5 * (0.5 - power * (0.5 - 0.0))
    assert combined.categories["refunds"].share.value == pytest.approx(expected)


def combined_of(document: dict[str, Any], factor: float) -> Combined:
    """Every share so many times as large."""

    def scaled(node: dict[str, Any]) -> CombinedCategory:
        share = node["share"] * factor
        rates = (node["error_rate"], node["error_rate_low"], node["error_rate_high"])
        cost = node["cost_usd"] or 0.0
        return CombinedCategory(
            Estimate(share, share * 0.9, share * 1.1),
            Estimate(*rates),
            Estimate(cost, cost * 0.9, cost * 1.1),
        )

    nodes = [n for c in document["categories"] for n in (c, *c["subcategories"])]
    return Combined(
        {n["category_id"]: scaled(n) for n in nodes}, document["population"]["selected"], 480, 5000, 0.8, 0.9
    )


def test_the_document_says_so_and_its_prose_agrees() -> None:
    before = copy.deepcopy(REALISTIC)
    made = combined_document(REALISTIC, combined_of(REALISTIC, 0.9), "c1", "")
    assert before == REALISTIC
    assert made["estimates"] == {
        "method": "prediction_powered",
        "labelled": 480,
        "predicted": 5000,
        "power": 0.8,
        "agreement": 0.9,
        "classifier_version": "c1",
    }
    assert "predictions for 5,000 other traces" in made["summary"]
    first, was = made["categories"][0], before["categories"][0]
    assert first["share"] == pytest.approx(0.9 * was["share"])
    assert first["traces"] == round(first["share"] * before["population"]["selected"])
    assert first["input_tokens"] == pytest.approx(0.9 * was["input_tokens"], rel=0.01)
    assert [c["category_id"] for c in made["categories"]][-1] == OTHER
    untouched = ("totals", "findings", "spend", "sample")
    assert [made[key] for key in untouched] == [before[key] for key in untouched]
    for sentence in made["key_points"]:
        assert not find_problem(sentence, made, (made["error"],)), sentence
    assert len(made["key_points"]) >= len(before["key_points"]) - 1
    if made["precision"]:
        assert made["precision"]["categories"] == []
        assert len(made["precision"]["sentences"]) == 1


def test_categories_come_in_the_order_of_their_new_shares() -> None:
    document = copy.deepcopy(REALISTIC)
    ids = [c["category_id"] for c in document["categories"] if c["category_id"] != OTHER]
    combined = combined_of(document, 1.0)
    shares = {name: 0.1 + 0.1 * place for place, name in enumerate(ids)}
    found = {
        name: replace(of, share=Estimate(shares.get(name, 0.01), 0.0, 1.0))
        for name, of in combined.categories.items()
    }
    made = combined_document(document, replace(combined, categories=found), "c1", "")
    order = [c["category_id"] for c in made["categories"]]
    assert [name for name in order if name != OTHER] == ids[::-1]


@pytest.mark.parametrize("render", [render_text, render_markdown, render_html])
def test_it_can_be_read(render: Any) -> None:
    made = combined_document(REALISTIC, combined_of(REALISTIC, 1.0), "c1", "")
    assert "5,000" in render(made)


def test_rows_of_report_categories() -> None:
    read = sample()
    frame = Frame("r", "topics", 0, 1, {"": 400})
    rows = [row for result in aggregate(read, TAXONOMY, frame) for row in (result.row,)]
    combined = combine(read, right(read), guessed(60, 200, 100), TAXONOMY, {"": 400})
    made = combined_rows(rows, combined)
    assert [row.category_id for row in made] == [row.category_id for row in rows]
    for row in made:
        found = combined.categories[row.category_id]
        assert (row.share, row.share_low, row.share_high) == (
            found.share.value,
            found.share.low,
            found.share.high,
        )
        assert row.traces == round(found.share.value * 400)
    assert made[-1].cost_usd is None  # nobody knows what those of `other` cost
