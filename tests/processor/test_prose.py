"""Prose against its table: what is right passes, what was changed by a digit does not."""

from __future__ import annotations

import logging
import random
import re
from typing import Any

import pytest

from factories import START_NS, trace_row
from tracetaxa.analyze.findings.findings import find
from tracetaxa.analyze.findings.shapes import shapes_of
from tracetaxa.analyze.findings.traits import Told
from tracetaxa.analyze.results.aggregate import Frame, Labelled, aggregate
from tracetaxa.analyze.results.document import build_document
from tracetaxa.analyze.results.prose import find_problem, sound
from tracetaxa.analyze.sampling.plan import SamplePlan
from tracetaxa.analyze.statistics.precision import precision
from tracetaxa.records import Assignment, Category, RunRow, SampledTrace, Spend, Taxonomy

NAMES = ("Order 66", "Refunds 95%", "3.5 times", "Where is it?", "12", "Ends in 5 s", "(a|b)*", "Login")
TAXONOMY = Taxonomy(
    (
        *(Category(f"c{i}", name, f"{name} and more.") for i, name in enumerate(NAMES)),
        *(
            Category(f"c{i}__{j}", f"{name} / {j}", "", f"c{i}")
            for i, name in enumerate(NAMES)
            for j in range(2)
        ),
        Category("other", "Other", ""),
    )
)
REASON = "the reply named 17 labels, 3% of them known"


def generated(seed: int, slip: str = "") -> dict[str, Any]:
    """A report over random verdicts: some windows are small, some samples biased, some runs ended early.

    With a `slip`, whoever writes the findings puts it after each of them.
    """
    rng = random.Random(seed)
    count = rng.choice([3, 12, 60, 300])
    strata = {"error": count, "ok": count * rng.choice([1, 3, 100])}
    labelled = []
    for i in range(count):
        kind = rng.choices([*range(len(NAMES)), -1], [8, 5, 3, 2, 2, 1, 1, 1, 1])[0]
        abstained = rng.random() < 0.05
        category = "other" if kind < 0 or abstained else f"c{kind}"
        sub = f"{category}__{rng.randrange(2)}" if category != "other" and rng.random() < 0.8 else ""
        failed = rng.random() < 0.1 + 0.4 * (kind == 1)
        row = trace_row(
            f"{i:032x}",
            request="x" * rng.choice([5, 60, 900]) + (" 12345" if kind == 2 else ""),
            status="Error" if failed else "Unset",
            duration_ms=rng.lognormvariate(8 + (kind == 3), 1.5),
            attributes={"release": f"{1 + (kind == 1)}.{rng.randrange(2)}"},
            tools=("refund",) if kind == 1 else ("search",),
            cost_usd=rng.choice([0.01, 0.2, None]),
        )
        stratum = "error" if i % 2 else "ok"
        verdict = Assignment(
            row.trace_id, category, sub, rng.random(), REASON if abstained else "", abstained=abstained
        )
        labelled.append(Labelled(SampledTrace(row, stratum, 0.5), verdict))
    selected = sum(strata.values())
    run = RunRow(
        "r", "topics", START_NS, START_NS + 1, "complete", "openai", (), {}, selected, count + rng.choice([0, 7]),
        count, sum(x.assignment.abstained for x in labelled), rng.choice([0, 4]), 0, 0, None, 0, 0, "{}", "", 0,
    )  # fmt: skip
    results = aggregate(labelled, TAXONOMY, Frame("r", "topics", 0, 1, strata))
    findings = find(labelled, strata, TAXONOMY, Told(shapes_of([x.trace for x in labelled])))
    for finding in findings["associations"] if findings else ():
        finding["sentence"] += slip
    return build_document(
        run, "What?", 1, results, labelled, Spend(), START_NS, strata=strata,
        findings=findings,
        precision=precision(labelled, strata, results, SamplePlan(count)),
    )  # fmt: skip


def sentences(document: dict[str, Any]) -> list[str]:
    said = [*document["key_points"], *(f["sentence"] for f in document["findings"]["associations"])]
    return [*said, document["summary"], *(document["precision"] or {"sentences": []})["sentences"]]


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return [generated(seed) for seed in range(40)]


def test_everything_that_is_written_is_borne_out(
    documents: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        again = [generated(seed) for seed in range(30, 40)]
    assert not caplog.records, caplog.text
    assert again == documents[30:40]
    for document in documents:
        for sentence in sentences(document):
            if sentence != document["summary"]:  # checked sentence by sentence before they were joined
                assert find_problem(sentence, document, (REASON,)) == "", sentence
    assert sum(len(d["findings"]["associations"]) for d in documents) > 20
    assert all(d["summary"] and d["key_points"] for d in documents)


def test_a_changed_digit_is_found(documents: list[dict[str, Any]]) -> None:
    """Every number of every sentence is changed once; what stands in a name can't be told apart and is left."""
    rng = random.Random(1)
    changed = caught = 0
    for document in documents:
        for sentence in sentences(document):
            if sentence == document["summary"]:
                continue
            bare = sentence
            for name in sorted(
                [*NAMES, "release", "1.0", "1.1", "2.0", "2.1", REASON, "95% interval", "95% chance"], key=len
            ):
                bare = bare.replace(name, "\0" * len(name))
            places = [
                match
                for match in re.finditer(r"\d+(?=%|\.\d| times| s\b| ms\b)", bare)
                if "\0" not in match[0]
            ]
            for match in places:
                number = int(match[0])
                wrong = (
                    sentence[: match.start()]
                    + str(number + rng.choice([11, 23, 37]))
                    + sentence[match.end() :]
                )
                changed += 1
                caught += find_problem(wrong, document, (REASON,)) != ""
    assert changed > 300
    # A wrong share may by chance be another one of the same category, or of the window.
    assert caught / changed > 0.97


def small() -> dict[str, Any]:
    return generated(3)


@pytest.mark.parametrize(
    "sentence",
    [
        "Login has 99.7% of traces.",
        "It takes 1,234.5 s.",
        "They fail 44.4 times as often.",
        "98,765 traces were read.",
        "See trace 0af7651916cd43dd8448eb211c80319c.",
        "They fail 1.2 times as often as others (17.3 to 99.1).",
    ],
)
def test_what_is_made_up_is_left_out_and_logged(sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    document = small()
    good = document["key_points"][0]
    with caplog.at_level(logging.ERROR):
        assert sound([good, sentence], document) == [good]
    assert sentence in caplog.text


def test_a_finding_that_is_wrong_is_not_saved() -> None:
    seed = next(seed for seed in range(40) if generated(seed)["findings"]["associations"])
    right, wrong = generated(seed), generated(seed, " It costs 123,456 times as much.")
    assert wrong["findings"]["associations"] == []
    assert wrong["findings"]["found"] == right["findings"]["found"]
    assert "123,456" not in str(wrong["key_points"])
    assert wrong["summary"] == right["summary"]


def test_a_trace_of_the_report_may_be_named() -> None:
    document = small()
    trace_id = document["categories"][0]["examples"][0]["trace_id"]
    assert find_problem(f"See trace {trace_id}.", document) == ""


def test_a_share_belongs_to_the_category_that_is_named(documents: list[dict[str, Any]]) -> None:
    """Apart from those that by chance are some other number of the category: small samples have many."""
    refused = []
    for document in documents:
        if len(document["categories"]) > 2:
            first, second = document["categories"][:2]
            share = f"{second['share']:.1%}"
            assert find_problem(f"{second['name']} has {share} of traces.", document) == ""
            refused.append(find_problem(f"{first['name']} has {share} of traces.", document) != "")
    assert len(refused) > 20
    assert sum(refused) / len(refused) > 0.7
