"""Both passes of the `openai` engine, through the real client and a real HTTP server."""

from __future__ import annotations

import asyncio
import itertools
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from factories import TRUTH, trace_row
from tracetaxa.analyze.model import assignment
from tracetaxa.analyze.model.budget import Amount
from tracetaxa.analyze.model.engine import ModelEngine
from tracetaxa.errors import ConfigError, ModelRefused, ModelUnavailable
from tracetaxa.llm.chat import OpenAIChat
from tracetaxa.llm.prices import cost_usd
from tracetaxa.protocols import no_progress
from tracetaxa.records import OTHER, Assignment, AttributeSpec, Brief, Category, Spend, Taxonomy, TraceRow
from tracetaxa.testing import Failure, Oracle, OracleModel, ScriptedModel, data_of, flaky, pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tracetaxa.testing import Answer

BRIEF = Brief("topics", "What do users ask for?")
TAXONOMY = Taxonomy(
    (
        Category("refunds", "Refunds", "Money back."),
        Category("refunds__late_refund", "Late refund", "It has not come.", "refunds"),
        Category("refunds__chargeback_dispute", "Chargeback dispute", "Banks.", "refunds"),
        Category("deliveries", "Deliveries", "Parcels."),
        Category("deliveries__lost_parcel", "Lost parcel", "Gone.", "deliveries"),
        Category("deliveries__rude_courier", "Rude courier", "Unkind.", "deliveries"),
        Category("accounts", "Accounts", "Signing in."),
        Category(OTHER, "Other", "Nothing else."),
    )
)


def truth(digest: str) -> tuple[str, str] | None:
    return next((kind for word, kind in TRUTH.items() if word in digest), None)


def traces(count: int, **texts: str) -> list[TraceRow]:
    """Traces whose request holds one word of TRUTH each, in turn; `t7="…"` replaces the seventh's request."""
    words = list(TRUTH)
    return [
        trace_row(
            f"t{i}", request=texts.get(f"t{i}", f"Hello, number {i} has a {words[i % len(words)]} problem")
        )
        for i in range(count)
    ]


def expected(rows: Sequence[TraceRow]) -> dict[str, tuple[str, str]]:
    """Category and subcategory by trace, as TAXONOMY names them."""
    found = {}
    for row in rows:
        kind = truth(row.digest.text)
        match = [c for c in TAXONOMY.categories if kind and c.name == kind[1]]
        top = [c for c in TAXONOMY.categories if kind and c.name == kind[0]]
        found[row.trace_id] = (
            (top[0].category_id if top else OTHER),
            (match[0].category_id if match else ""),
        )
    return found


def labels(assignments: Sequence[Assignment]) -> dict[str, tuple[str, str]]:
    assert len({a.trace_id for a in assignments}) == len(assignments)
    return {a.trace_id: (a.category_id, a.subcategory_id) for a in assignments}


def engine(model: ScriptedModel, **options: Any) -> ModelEngine:
    chat = {
        "base_url": model.base_url,
        "backoff_seconds": 0.001,
        "max_attempts": options.pop("chat_attempts", 4),
    }
    return ModelEngine(OpenAIChat("gpt-6.1-sol", **chat), OpenAIChat("gpt-6-luna", **chat), **options)


price = partial(cost_usd, provider="openai")


def discover(
    model: ScriptedModel, rows: Sequence[TraceRow], brief: Brief = BRIEF, **options: Any
) -> Taxonomy:
    async def run() -> Taxonomy:
        subject = engine(model, **options)
        try:
            return await subject.discover(rows, brief, no_progress)
        finally:
            await subject.close()

    return asyncio.run(run())


def assign(
    model: ScriptedModel,
    rows: Sequence[TraceRow],
    brief: Brief = BRIEF,
    taxonomy: Taxonomy = TAXONOMY,
    kept: list[Assignment] | None = None,
    **options: Any,
) -> tuple[list[Assignment], Spend]:
    """All assignments, put into `kept` as they come."""
    result = kept if kept is not None else []

    async def run() -> Spend:
        subject = engine(model, **options)
        try:
            async for batch in subject.assign(rows, taxonomy, brief, no_progress):
                result.extend(batch)
        finally:
            await subject.close()
        return subject.spend

    return result, asyncio.run(run())


def about_labels(
    change: Callable[[list[dict[str, Any]], Mapping[str, str]], list[dict[str, Any]]],
) -> Answer:
    """The oracle, with its list of labels changed; `change` also gets the pieces of the request by key."""
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        said = oracle(messages, schema)
        return {"labels": change(said["labels"], pieces(messages))} if "labels" in said else said

    return answer


def keys_of(told: Mapping[str, str], text: str) -> list[str]:
    """Keys of the traces that hold `text`."""
    return [key for key, piece in told.items() if text in piece]


# ---------------------------------------------------------------------------------------- pass 1


def test_a_taxonomy_is_found_in_batches_merged_and_divided() -> None:
    with OracleModel(truth) as model:
        taxonomy = discover(model, traces(60), digests_per_batch=10)
    assert {c.name for c in taxonomy.top} == {"Refunds", "Deliveries", "Accounts", "Other"}
    assert {c.name for c in taxonomy.children("refunds")} == {"Late refund", "Chargeback dispute"}
    assert taxonomy.get("refunds__late_refund") is not None
    assert taxonomy.categories[-1].category_id == OTHER
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", c.category_id) for c in taxonomy.categories)
    # six batches, one merge, a review that changes nothing, one division of each category; each step has one
    # fixed prefix
    assert len(model.requests) == 6 + 1 + 1 + 3
    assert len({r.messages[0]["content"] for r in model.requests}) == 4


def test_one_level_needs_no_division() -> None:
    with OracleModel(truth) as model:
        taxonomy = discover(model, traces(20), Brief("topics", "What?", levels=1))
    assert {c.level for c in taxonomy.categories} == {1}
    assert len(model.requests) == 3


def test_the_question_and_the_rules_are_in_the_prompts_and_the_traces_are_data() -> None:
    question = "Which failure modes appear most often?"
    with OracleModel(truth) as model:
        discover(model, traces(12), Brief("failures", question))
    for request in model.requests:
        system, user = (m["content"] for m in request.messages)
        assert question in system
        assert "never an instruction" in system
        assert "problem" not in system.partition("The categories of the top level")[0]
        assert user.startswith("<<<data ")


def test_predefined_categories_are_kept_to_the_letter() -> None:
    given = Category("my_refunds", "REFUNDS", "As we define them.")
    unused = Category("fraud", "Fraud", "Stolen cards.")
    brief = Brief("topics", "What?", predefined=(given, unused))
    with OracleModel(truth) as model:
        taxonomy = discover(model, traces(30), brief)
    assert taxonomy.top[:2] == (given, unused)
    assert {c.name for c in taxonomy.top} == {"REFUNDS", "Fraud", "Deliveries", "Accounts", "Other"}
    assert {c.name for c in taxonomy.children("my_refunds")} == {"Late refund", "Chargeback dispute"}


def named(*names: str) -> Answer:
    """Merges kinds one by one into these names."""
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        if "categories" not in schema["properties"]:
            return oracle(messages, schema)
        kinds = re.findall(r"^(k\d+) ", data_of(messages), re.MULTILINE)
        return {
            "categories": [
                {"name": n, "description": "D.", "kinds": [k]} for n, k in zip(names, kinds, strict=False)
            ]
        }

    return answer


def test_catch_alls_and_repeated_and_empty_names_are_dropped() -> None:
    names = ("Refunds", "refunds!", "Other questions", "  ", "General inquiries", "Unknown charge dispute")
    with ScriptedModel(named(*names)) as model:
        taxonomy = discover(model, traces(60), Brief("topics", "What?", levels=1))
    assert [c.name for c in taxonomy.top] == ["Refunds", "Unknown charge dispute", "Other"]


def test_markup_and_markers_in_names_are_cleaned() -> None:
    with ScriptedModel(named("<b>Refunds</b>\x1b[31m", "退款", '1st "line" {end}')) as model:
        taxonomy = discover(model, traces(60), Brief("topics", "What?", levels=1))
    assert [(c.category_id, c.name) for c in taxonomy.top[:-1]] == [
        ("b_refunds_b_31m", "b Refunds /b 31m"),
        ("category", "退款"),
        ("c_1st_line_end", "1st line end"),
    ]


def test_too_many_categories_are_merged_again_and_then_the_largest_stay() -> None:
    with ScriptedModel(named("A kind", "B kind", "C kind", "D kind", "E kind", "F kind")) as model:
        taxonomy = discover(model, traces(61), Brief("topics", "What?", levels=1, max_categories=2))
    assert len(taxonomy.top) == 3
    assert len(model.requests) == 2 + 2  # two batches, the merge, and one more that did not help


def test_nothing_to_read_gives_other_alone_and_costs_nothing() -> None:
    silent = [trace_row("t1", digest_kinds=(), digest_texts=(), digest_span_ids=())]
    with OracleModel(truth) as model:
        for rows in ([], silent):
            assert [c.category_id for c in discover(model, rows).categories] == [OTHER]
        found, _ = assign(model, traces(3), taxonomy=discover(model, []))
    assert [(a.category_id, a.abstained) for a in found] == [(OTHER, True)] * 3
    assert model.requests == []


def test_a_trace_counts_for_one_kind_and_kinds_without_traces_for_nothing() -> None:
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        if "kinds" not in schema["properties"]:
            return oracle(messages, schema)
        keys = list(pieces(messages))
        everything = ["t0", "", "x", *keys, keys[0]]
        return {
            "kinds": [
                {"name": name, "description": "D.", "members": members}
                for name, members in (
                    ("Refunds / Late refund", everything),
                    ("Empty", []),
                    ("Repeated", everything),
                )
            ]
        }

    with ScriptedModel(answer) as model:
        discover(model, traces(12))
    listed = re.findall(r"\((\d+) traces\)", data_of(model.requests[-1].messages))
    assert listed == ["12"]


def test_a_batch_without_a_usable_reply_is_left_out_and_all_of_them_are_an_error() -> None:
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        return (
            "?"
            if "number 7 " in data_of(messages) and "kinds" in schema["properties"]
            else oracle(messages, schema)
        )

    with ScriptedModel(answer) as model:
        assert len(discover(model, traces(60), digests_per_batch=10).top) == 4
    with ScriptedModel(lambda messages, schema: Failure(500)) as model, pytest.raises(ModelUnavailable):
        discover(model, traces(60), chat_attempts=2)


def test_progress_counts_the_batches_that_gave_something() -> None:
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        return Failure(500) if failing in data_of(messages) else oracle(messages, schema)

    async def run(model: ScriptedModel) -> list[tuple[str, int, int]]:
        told: list[tuple[str, int, int]] = []
        subject = engine(model, digests_per_batch=10, chat_attempts=1)
        try:
            await subject.discover(traces(40), BRIEF, lambda *step: told.append(step))
        except ModelUnavailable:
            told.append(("failed", 0, 0))
        finally:
            await subject.close()
        return [step for step in told if step[0] in ("discover", "failed")]

    with ScriptedModel(answer) as model:
        failing = "number 7 "
        assert asyncio.run(run(model)) == [("discover", i, 4) for i in (1, 2, 3)]
        failing = "number "
        assert asyncio.run(run(model)) == [("failed", 0, 0)]


# ---------------------------------------------------------------------------------------- pass 2


def test_every_trace_gets_its_label_with_evidence_from_its_own_text() -> None:
    rows = traces(50)
    with OracleModel(truth) as model:
        found, spend = assign(model, rows)
    assert labels(found) == expected(rows)
    by_id = {row.trace_id: row for row in rows}
    for a in found:
        assert a.evidence in by_id[a.trace_id].digest_texts[0]
        assert len(a.evidence) >= 8
        assert a.evidence_span_id == "aa"
        assert (a.confidence, a.abstained) == (0.9, False)
    assert len(model.requests) == 7  # 50 traces in packs of 8
    assert len({r.messages[0]["content"] for r in model.requests}) == 1
    assert (spend.calls, spend.input_tokens) == (7, model.usage.input_tokens)
    assert spend.cost_usd > 0


def test_what_is_discovered_is_assigned_without_loss() -> None:
    rows = traces(100)
    with OracleModel(truth) as model:
        taxonomy = discover(model, rows)
        found, _ = assign(model, rows, taxonomy=taxonomy)
    names = {c.category_id: c.name for c in taxonomy.categories}
    assert {a.trace_id: (names[a.category_id], names[a.subcategory_id]) for a in found} == {
        row.trace_id: truth(row.digest.text) for row in rows
    }


def test_labels_go_by_key_and_not_by_order() -> None:
    rows = traces(40)
    with ScriptedModel(about_labels(lambda entries, told: entries[::-1])) as model:
        found, _ = assign(model, rows)
    assert labels(found) == expected(rows)


def test_made_up_keys_are_ignored_and_missing_ones_asked_again() -> None:
    rows = traces(40)

    def change(entries: list[dict[str, Any]], told: Mapping[str, str]) -> list[dict[str, Any]]:
        extra = [entries[0] | {"key": key} for key in ("t99", "T1", "")]
        return extra + (entries[::2] if len(entries) > 1 else entries)

    with ScriptedModel(about_labels(change)) as model:
        found, _ = assign(model, rows)
    assert labels(found) == expected(rows)


def test_a_trace_that_never_gets_a_verdict_is_an_abstention() -> None:
    rows = traces(8, t3="The quiet refund")

    def change(entries: list[dict[str, Any]], told: Mapping[str, str]) -> list[dict[str, Any]]:
        quiet = keys_of(told, "quiet")
        return [e for e in entries if e["key"] not in quiet]

    with ScriptedModel(about_labels(change)) as model:
        found, _ = assign(model, rows)
    assert labels(found) == expected(rows) | {"t3": (OTHER, "")}
    assert [a.reason for a in found if a.abstained] == [assignment.NO_VERDICT]


def test_a_label_outside_the_taxonomy_is_refused_and_hurts_its_own_trace_only() -> None:
    rows = traces(16, t3="The strange refund")

    def change(entries: list[dict[str, Any]], told: Mapping[str, str]) -> list[dict[str, Any]]:
        strange = keys_of(told, "strange")
        return [e | {"label": "pwned"} if e["key"] in strange else e for e in entries]

    with ScriptedModel(about_labels(change), response_formats=()) as model:
        found, _ = assign(model, rows)
    assert labels(found) == expected(rows) | {"t3": (OTHER, "")}
    assert [a.trace_id for a in found if a.abstained] == ["t3"]


def test_evidence_that_is_not_there_is_asked_for_once_more() -> None:
    rows = traces(8)

    def change(entries: list[dict[str, Any]], told: Mapping[str, str]) -> list[dict[str, Any]]:
        return [e | {"evidence": "the customer was very unhappy"} for e in entries]

    with ScriptedModel(about_labels(change)) as model:
        found, _ = assign(model, rows)
    assert labels(found) == expected(rows)
    assert all(a.evidence.startswith("Hello, number") for a in found)
    assert len(model.requests) == 2


def test_a_label_without_evidence_is_an_abstention() -> None:
    rows = traces(8)
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        said = oracle(messages, schema)
        for entry in next(iter(said.values())):
            if entry["key"] in keys_of(pieces(messages), "number 3"):
                entry["evidence"] = "the customer was very unhappy"
            if entry["key"] in keys_of(pieces(messages), "number 4"):
                entry["evidence"] = rows[5].digest_texts[0]  # a neighbour's words prove nothing
        return said

    with ScriptedModel(answer) as model:
        found, _ = assign(model, rows)
    assert labels(found) == expected(rows) | {"t3": (OTHER, ""), "t4": (OTHER, "")}
    assert {a.trace_id: a.reason for a in found if a.abstained} == dict.fromkeys(
        ("t3", "t4"), assignment.NO_EVIDENCE
    )


def test_other_is_a_verdict_and_needs_no_evidence() -> None:
    rows = traces(3, t1="Tell me a joke, please")
    with OracleModel(truth) as model:
        found = {a.trace_id: a for a in assign(model, rows)[0]}
    assert (found["t1"].category_id, found["t1"].abstained) == (OTHER, False)


def test_garbage_rate_limits_and_disconnects_lose_no_trace() -> None:
    rows = traces(160)
    with ScriptedModel(
        flaky(Oracle(truth), garbage=0.2, rate_limited=0.05, disconnects=0.05, seed=3)
    ) as model:
        found, spend = assign(model, rows)
    assert len(found) == len(rows)
    right = expected(rows)
    assert all(a.abstained or (a.category_id, a.subcategory_id) == right[a.trace_id] for a in found)
    assert sum(a.abstained for a in found) <= len(rows) // 100
    assert spend.input_tokens == model.usage.input_tokens


def test_typed_attributes_come_with_the_label() -> None:
    specs = (
        AttributeSpec("frustrated", "boolean"),
        AttributeSpec("amount", "number", description="What it is about, in euros."),
        AttributeSpec("tone", "enum", ("calm", "angry")),
        AttributeSpec("product", "string"),
    )
    values = {"frustrated": True, "amount": 12.0, "tone": "angry", "product": "a\x1b[1m lamp"}
    brief = Brief("topics", "What?", attributes=specs)
    with OracleModel(truth, attributes=lambda digest: values if "refund" in digest else {}) as model:
        found = {a.trace_id: a for a in assign(model, traces(3), brief)[0]}
    assert found["t0"].attributes == {
        "frustrated": "true",
        "amount": "12",
        "tone": "angry",
        "product": "a [1m lamp",
    }
    assert found["t1"].attributes == {}


@pytest.mark.parametrize(
    ("kind", "text"),
    [("user", " "), ("facts", "invoke_agent refund, 1 model call, 3 spans"), ("cut", "refund")],
)
def test_a_trace_without_content_is_not_sent(kind: str, text: str) -> None:
    rows = [trace_row("t1", digest_kinds=(kind,), digest_texts=(text,), digest_span_ids=("a",))]
    with OracleModel(truth) as model:
        taxonomy = discover(model, rows)
        (only,), _ = assign(model, rows)
        (none,), _ = assign(model, rows, taxonomy=taxonomy)
    assert [c.category_id for c in taxonomy.categories] == [OTHER]
    assert (only.abstained, only.reason) == (True, "the trace has no content to quote")
    assert none == only
    assert model.requests == []


def test_the_programs_own_line_is_no_evidence() -> None:
    facts = "invoke_agent refund-agent, 1 model call, 1 tool call, 3 spans, 0.0 s, status Unset"
    rows = [
        trace_row(
            "t1",
            digest_kinds=("facts", "user"),
            digest_texts=(facts, "My refund"),
            digest_span_ids=("a", "b"),
        )
    ]

    def answer(messages: Any, schema: Any) -> Any:
        said = Oracle(truth)(messages, schema)
        for entry in next(iter(said.values())):
            entry["evidence"] = facts
        return said

    with ScriptedModel(answer) as model:
        (only,), _ = assign(model, rows)
    assert (only.abstained, only.reason, only.evidence) == (True, assignment.NO_EVIDENCE, "")
    with OracleModel(truth) as model:
        (only,), _ = assign(model, rows)
    assert (only.evidence, only.evidence_span_id) == ("My refund", "b")
    assert all("`facts` and `cut`" in r.messages[0]["content"] for r in model.requests)


def test_the_same_input_gives_the_same_requests_and_labels() -> None:
    def run() -> tuple[Any, Any, Any]:
        with OracleModel(truth) as model:
            taxonomy = discover(model, traces(30), digests_per_batch=10)
            found, _ = assign(model, traces(30), taxonomy=taxonomy)
            return (
                taxonomy,
                sorted(found, key=lambda a: a.trace_id),
                sorted(str(r.messages) for r in model.requests),
            )

    assert run() == run()


# ---------------------------------------------------------------------------------------- limits


def test_a_refusal_ends_the_run_and_keeps_what_came_before() -> None:
    oracle = Oracle(truth)
    answered: list[int] = []

    def answer(messages: Any, schema: Any) -> Any:
        answered.append(1)
        return oracle(messages, schema) if len(answered) <= 3 else Failure(401, "Your key has been revoked.")

    kept: list[Assignment] = []
    with ScriptedModel(answer) as model, pytest.raises(ModelRefused, match="revoked"):
        assign(model, traces(80), kept=kept, max_concurrency=1)
    assert len(kept) == 24
    assert len(model.requests) == 4


def test_a_model_that_stays_silent_is_not_asked_for_ever() -> None:
    numbers = itertools.count()
    with ScriptedModel(
        lambda messages, schema: Failure(503, f"down, request {next(numbers)}" + " for maintenance" * 30)
    ) as model:
        found, _ = assign(model, traces(160), max_concurrency=2, chat_attempts=2)
    assert len(found) == 160
    assert all(a.abstained for a in found)
    (reason,) = {a.reason for a in found}  # one wording, so that they can be counted
    assert reason.startswith("the model did not answer: gpt-6-luna at 127.0.0.1")
    assert "down, request" in reason
    assert len(reason) <= 200
    assert len(model.requests) <= 2 * (5 + 1)


def test_one_failed_pack_is_not_the_end() -> None:
    rows = traces(40, t9="The slow refund")
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        return Failure(500) if "slow" in data_of(messages) else oracle(messages, schema)

    with ScriptedModel(answer) as model:
        found, _ = assign(model, rows, chat_attempts=2)
    assert {a.trace_id for a in found if a.abstained} == {"t9"}
    assert labels(found) == expected(rows) | {"t9": (OTHER, "")}


def test_the_budget_is_not_passed_and_the_rest_is_abstained() -> None:
    rows = traces(160)
    with OracleModel(truth) as model:
        _, whole = assign(model, rows, price=price)
        limit = 0.0005 + whole.cost_usd / 2
        found, spend = assign(model, rows, price=price, limit=Amount(usd=limit), max_output_tokens=1000)
    assert len(found) == 160
    assert 0 < spend.cost_usd <= limit
    reasons = {a.reason for a in found if a.abstained}
    assert reasons == {assignment.NO_BUDGET}
    right = expected(rows)
    assert all((a.category_id, a.subcategory_id) == right[a.trace_id] for a in found if not a.abstained)
    assert any(not a.abstained for a in found)


def test_a_budget_needs_prices() -> None:
    with OracleModel(truth) as model, pytest.raises(ConfigError, match=r"price of gpt-6\.1-sol"):
        engine(model, limit=Amount(usd=1.0))


def test_a_budget_too_small_for_the_taxonomy_says_so() -> None:
    with OracleModel(truth) as model, pytest.raises(ModelUnavailable, match="budget"):
        discover(model, traces(20), price=price, limit=Amount(usd=0.00001))
    assert model.requests == []


def test_an_abandoned_assignment_leaves_no_call_behind() -> None:
    async def run(model: ScriptedModel) -> int:
        subject = engine(model)
        batches = subject.assign(traces(400), TAXONOMY, BRIEF, no_progress)
        first = await anext(batches)
        await batches.aclose()  # type: ignore[attr-defined]
        await subject.close()
        assert first
        return len([t for t in asyncio.all_tasks() if t is not asyncio.current_task()])

    with OracleModel(truth) as model:
        assert asyncio.run(run(model)) == 0
    assert len(model.requests) < 50


def test_prompts_have_fingerprints() -> None:
    with OracleModel(truth) as model:
        subject = engine(model)
    assert subject.models == ("gpt-6.1-sol", "gpt-6-luna")
    assert set(subject.prompt_fingerprints) == {
        "untrusted",
        "category_rules",
        "propose",
        "merge",
        "refine",
        "divide",
        "assign",
        "quote",
    }
    assert all(re.fullmatch(r"[0-9a-f]{12}", f) for f in subject.prompt_fingerprints.values())
