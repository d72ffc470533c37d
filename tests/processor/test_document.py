"""What a report states, from verdicts and a run record: an abstention is no evidence about any category."""

from __future__ import annotations

import json
from typing import Any

import pytest

from factories import START_NS, trace_row
from tracetaxa.analyze.results.aggregate import Frame, Labelled, aggregate
from tracetaxa.analyze.results.document import build_document
from tracetaxa.analyze.results.sentences import REASON_CHARS
from tracetaxa.records import Assignment, Category, RunRow, SampledTrace, Spend, Taxonomy

TAXONOMY = Taxonomy(
    (
        Category("tracking", "Order tracking", "Where an order is."),
        Category("refunds", "Refunds", "Money back."),
        Category("other", "Other", ""),
    )
)
NO_MODEL = "the model does not answer"


def verdicts(
    category_id: str, count: int, weight: float = 1.0, *, reason: str = "", abstained: bool = False
) -> list[Labelled]:
    """Labelled traces; those that abstained failed and took a minute, so that they show in any number."""
    row = trace_row(
        status="Error" if abstained else "Unset",
        duration_ms=60_000.0 if abstained else 1000.0,
        input_tokens=10_000 if abstained else 100,
    )
    assignment = Assignment("t1", category_id, reason=reason, abstained=abstained)
    return [Labelled(SampledTrace(row, "all", 1 / weight), assignment)] * count


def abstentions(count: int, reason: str = NO_MODEL, weight: float = 1.0) -> list[Labelled]:
    return verdicts("other", count, weight, reason=reason, abstained=True)


def report(
    labelled: list[Labelled], selected: int, sampled: int | None = None, **changes: Any
) -> dict[str, Any]:
    values: dict[str, Any] = {
        "run_id": "r1",
        "analysis": "topics",
        "window_start_ns": START_NS,
        "window_end_ns": START_NS + 10**12,
        "status": "complete",
        "engine": "openai",
        "models": ("gpt-5-mini",),
        "prompt_fingerprints": {},
        "traces_selected": selected,
        "traces_sampled": selected if sampled is None else sampled,
        "traces_labelled": len(labelled),
        "traces_abstained": sum(label.assignment.abstained for label in labelled),
        "still_open": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": None,
        "started_at_ns": START_NS,
        "finished_at_ns": START_NS,
        "config": "{}",
        "error": "",
        "updated_at_ns": START_NS,
    }
    run = RunRow(**(values | changes))
    strata = {"all": run.traces_selected}
    frame = Frame(run.run_id, run.analysis, run.window_start_ns, run.window_end_ns, strata)
    results = aggregate(labelled, TAXONOMY, frame)
    return build_document(run, "What do users want?", 1, results, labelled, Spend(), START_NS, strata=strata)


def shares(document: dict[str, Any]) -> dict[str, tuple[int, float]]:
    return {c["category_id"]: (c["sampled"], c["share"]) for c in document["categories"]}


def test_an_outage_half_way_says_nothing_about_categories() -> None:
    labelled = [*verdicts("tracking", 84), *verdicts("refunds", 28), *abstentions(48)]
    document = report(labelled, 160, status="partial")
    assert shares(document) == {"tracking": (84, 0.75), "refunds": (28, 0.25)}
    assert [c["traces"] for c in document["categories"]] == [120, 40]
    for category in document["categories"]:
        assert category["share_low"] < category["share"] < category["share_high"]
    assert document["population"]["labelled"] == 160
    assert document["population"]["abstained"] == 48
    said = f"48 of 160 sampled traces could not be labelled; most often: {NO_MODEL}."
    assert document["summary"].startswith(
        f"112 of 160 traces were labelled and fall into 2 categories. {said} The largest is Order tracking"
    )
    assert said in document["key_points"]
    assert "fit no category" not in " ".join(document["key_points"])


def test_totals_rest_on_the_same_traces_as_the_categories() -> None:
    labelled = [*verdicts("tracking", 10), *abstentions(10)]
    totals = report(labelled, 20)["totals"]
    assert (totals["error_rate"], totals["p50_ms"], totals["p95_ms"]) == (0.0, 1000.0, 1000.0)
    assert (totals["input_tokens"], totals["output_tokens"]) == (2000, 200)
    assert totals["cost_usd"] == pytest.approx(0.2)


def test_other_holds_what_was_found_to_fit_nothing() -> None:
    labelled = [*verdicts("tracking", 6), *verdicts("other", 2, reason="small talk"), *abstentions(2)]
    document = report(labelled, 10)
    assert shares(document) == {"tracking": (6, 0.75), "other": (2, 0.25)}
    assert "25% of traces fit no category." in document["key_points"]
    assert NO_MODEL in document["summary"]
    assert "small talk" not in document["summary"]


def test_all_were_read_when_all_were() -> None:
    document = report(verdicts("tracking", 10), 10)
    assert document["summary"].startswith("All 10 traces were read and fall into 1 category.")
    assert (document["categories"][0]["share_low"], document["categories"][0]["share_high"]) == (1.0, 1.0)
    assert not any("could not" in point for point in document["key_points"])


def test_a_sample_was_read_in_part() -> None:
    document = report(verdicts("tracking", 10, weight=5.0), 50, sampled=10)
    assert document["summary"].startswith("10 of 50 traces were read and fall into 1 category.")
    assert document["categories"][0]["traces"] == 50


def test_traces_that_were_not_reached_are_told() -> None:
    document = report(verdicts("tracking", 6), 10, status="failed", error="401: invalid key")
    said = "4 of 10 sampled traces were not labelled before the run ended."
    assert said in document["summary"]
    assert said in document["key_points"]
    assert "All 10" not in document["summary"]


def test_nothing_but_abstentions_is_no_category_and_no_number() -> None:
    labelled = [*abstentions(3, "budget reached"), *abstentions(2)]
    document = report(labelled, 5, status="partial", error="5 of 5 sampled traces could not be labelled")
    assert document["categories"] == []
    assert set(document["totals"].values()) == {None}
    assert document["summary"] == (
        "5 traces matched, and none was labelled. "
        "5 of 5 sampled traces could not be labelled; most often: budget reached."
    )


def test_a_run_that_failed_early_has_no_numbers() -> None:
    document = report([], 5, sampled=5, status="failed", error="401: invalid key")
    assert set(document["totals"].values()) == {None}
    assert document["summary"] == "5 traces matched, and none was labelled. 401: invalid key"


def test_a_reason_is_one_line_of_limited_length() -> None:
    labelled = [*verdicts("tracking", 1), *abstentions(1, "no\n  such " + "x" * 1000)]
    summary = report(labelled, 2)["summary"]
    assert "most often: no such xxx" in summary
    assert "x" * REASON_CHARS not in summary


def test_equally_frequent_reasons_give_one_text_in_any_order() -> None:
    labelled = [*verdicts("tracking", 1), *abstentions(1, "b"), *abstentions(1, "a"), *abstentions(1, "")]
    assert report(labelled, 4)["summary"] == report(labelled[::-1], 4)["summary"]
    assert "most often: a." in report(labelled, 4)["summary"]


def test_the_sample_that_was_asked_for_is_kept() -> None:
    config = json.dumps({"sample": {"size": 160, "seed": 7}, "name": "topics"})
    known = report([], 0, config=config)["sample"]
    assert (known["size"], known["seed"], known["strategy"]) == (160, 7, None)
    assert report(verdicts("tracking", 3), 9)["sample"]["strata"] == [
        {"name": "all", "selected": 9, "labelled": 3}
    ]
    assert report([], 0)["sample"]["size"] is None


def test_times_that_an_import_made_up_are_no_findings() -> None:
    row = trace_row(duration_ms=9000.0, attributes={"tracetaxa.import.times": "made up"})
    labelled = [Labelled(SampledTrace(row, "all", 1.0), Assignment("t1", "refunds"))] * 8
    document = report(labelled, 8)
    assert document["population"]["made_up_times"] == 8
    assert document["key_points"][-1] == "8 traces were imported without times: their durations mean nothing."
    assert not any("is slow" in point for point in document["key_points"])
