"""Pass 1 by a model: large corpora, reviews, what is given, what is known and what is left out; examples; sessions."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from factories import START_NS, TRUTH, trace_row
from injections import INJECTIONS
from tracetaxa.analyze.job import Job
from tracetaxa.analyze.model.engine import ModelEngine
from tracetaxa.analyze.model.kinds import Kind, settled, together
from tracetaxa.analyze.previous import previous_categories
from tracetaxa.analyze.run import run_analysis
from tracetaxa.analyze.sampling.plan import SamplePlan
from tracetaxa.config import parse_analysis
from tracetaxa.errors import ConfigError, ModelReplyInvalid
from tracetaxa.llm.chat import OpenAIChat
from tracetaxa.protocols import no_progress
from tracetaxa.records import OTHER, Assignment, Brief, Category, Selection, Taxonomy, TraceRow
from tracetaxa.testing import Oracle, OracleModel, ScriptedModel, data_of, pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.store.database import ClickHouse

BRIEF = Brief("topics", "What do users ask for?")


def truth(text: str) -> tuple[str, str] | None:
    return next((kind for word, kind in TRUTH.items() if word in text), None)


def traces(count: int) -> list[TraceRow]:
    words = list(TRUTH)
    return [
        trace_row(f"t{i}", request=f"Hello, number {i} has a {words[i % len(words)]} problem")
        for i in range(count)
    ]


def run(
    model: ScriptedModel,
    rows: Sequence[TraceRow],
    brief: Brief = BRIEF,
    *,
    assign: bool = False,
    **options: Any,
) -> tuple[Taxonomy, dict[str, Assignment]]:
    async def go() -> tuple[Taxonomy, dict[str, Assignment]]:
        chat = OpenAIChat(
            "any", base_url=model.base_url, api_key="none", backoff_seconds=0.001, max_attempts=2
        )
        engine = ModelEngine(chat, chat, **options)
        try:
            taxonomy = await engine.discover(rows, brief, no_progress)
            batches = engine.assign(rows if assign else [], taxonomy, brief, no_progress)
            return taxonomy, {v.trace_id: v async for batch in batches for v in batch}
        finally:
            await engine.close()

    return asyncio.run(go())


def steps(model: ScriptedModel) -> list[str]:
    """Which prompt each request was made with."""
    beginnings = {
        "You study": "propose",
        "You turn": "merge",
        "You review": "refine",
        "You divide": "divide",
        "You label": "assign",
        "You find": "quote",
    }
    return [beginnings[" ".join(r.messages[0]["content"].split()[:2])] for r in model.requests]


# ---------------------------------------------------------------------------------------- large corpora


def many_names(messages: Any, schema: Any) -> Any:
    """Every trace is a kind of its own, named with its number: hundreds of kinds, three categories."""
    oracle = Oracle(truth)
    if "kinds" in schema["properties"]:
        said = {}
        for key, text in pieces(messages).items():
            top, sub = truth(text) or ("", "")
            number = re.search(r"number (\d+)", text)
            said[key] = f"{top} / {sub} {'abcdefghij'[int(number[1]) % 10]}{number[1]}" if number else ""
        return {"kinds": [{"name": n, "description": "D.", "members": [key]} for key, n in said.items()]}
    said = oracle(messages, schema)
    for entry in said.get("categories", ()):
        entry["name"] = re.sub(r" [a-j]\d+$", "", entry["name"])
    if "categories" in said:  # the names without numbers are the same ones again
        groups: dict[str, Any] = {}
        for entry in said["categories"]:
            group = groups.setdefault(entry["name"], entry | {"kinds": []})
            group["kinds"] += entry["kinds"]
        said = {"categories": list(groups.values())}
    return said


def test_more_kinds_than_fit_one_request_are_merged_level_by_level() -> None:
    with ScriptedModel(many_names) as model:
        taxonomy, found = run(model, traces(480), assign=True)
    shown = [len(re.findall(r"^k\d+ ", data_of(r.messages), re.MULTILINE)) for r in model.requests]
    assert max(shown) <= 150
    assert steps(model).count("merge") == 4 + 1  # four groups of 120, and what they made
    assert steps(model).count("divide") == 3 * (2 + 1)  # two groups of 80, and what they made
    assert {c.name for c in taxonomy.top} == {"Refunds", "Deliveries", "Accounts", "Other"}
    assert {c.name for c in taxonomy.children("refunds")} == {"Late refund", "Chargeback dispute"}
    rows = {row.trace_id: row for row in traces(480)}
    names = {c.category_id: c.name for c in taxonomy.categories}
    assert all(names[v.category_id] == (truth(rows[t].digest.text) or ("",))[0] for t, v in found.items())


def test_a_small_context_makes_more_and_smaller_requests() -> None:
    with OracleModel(truth) as model:
        taxonomy, _ = run(model, traces(60), assign=True, max_data_tokens=500)
    assert {c.name for c in taxonomy.top} == {"Refunds", "Deliveries", "Accounts", "Other"}
    assert steps(model).count("propose") > 2
    for request in model.requests:
        assert len(data_of(request.messages)) / 3 <= 1000  # the text, its markers and keys


def test_merging_that_does_not_get_fewer_ends() -> None:
    def answer(messages: Any, schema: Any) -> Any:
        if "categories" not in schema["properties"]:
            return many_names(messages, schema)
        kinds = re.findall(r"^(k\d+) \(.*?\): (.*?):", data_of(messages), re.MULTILINE)
        return {"categories": [{"name": name, "description": "D.", "kinds": [key]} for key, name in kinds]}

    with ScriptedModel(answer) as model:
        taxonomy, _ = run(model, traces(400), Brief("topics", "What?", levels=1, max_categories=5))
    assert len(taxonomy.top) == 5 + 1
    assert len(model.requests) < 40


def test_a_group_that_fails_costs_its_merging_and_not_its_kinds() -> None:
    failed: list[int] = []

    def answer(messages: Any, schema: Any) -> Any:
        kinds = re.findall(r"^k\d+ ", data_of(messages), re.MULTILINE)
        if len(kinds) > 100 and len(failed) < 2:
            failed.append(1)
            return "?"
        return many_names(messages, schema)

    with ScriptedModel(answer) as model:
        taxonomy, _ = run(model, traces(480), max_concurrency=1)
    assert failed
    assert {c.name for c in taxonomy.top} == {"Refunds", "Deliveries", "Accounts", "Other"}


# ---------------------------------------------------------------------------------------- reviews


def drafts(*groupings: dict[str, list[str]]) -> Any:
    """A model that merges into these categories (first words of kinds), one grouping after the other."""
    oracle, turn = Oracle(truth), iter(groupings)

    def answer(messages: Any, schema: Any) -> Any:
        if "categories" not in schema["properties"] or "You divide" in messages[0]["content"]:
            return oracle(messages, schema)
        kinds = re.findall(r"^(k\d+) \(.*?\): (.*?):", data_of(messages), re.MULTILINE)
        return {
            "categories": [
                {
                    "name": name,
                    "description": "D.",
                    "kinds": [key for key, kind in kinds if any(part in kind for part in parts)],
                }
                for name, parts in next(turn).items()
            ]
        }

    return answer


def test_a_draft_is_reviewed_until_it_settles() -> None:
    first = {"Money back": ["Refunds"], "Everything by courier": ["Lost parcel"]}
    better = {"Money back": ["Refunds"], "Parcels": ["Deliveries"], "Accounts": ["Accounts"]}
    with ScriptedModel(drafts(first, better, better)) as model:
        taxonomy, _ = run(model, traces(60))
    assert steps(model).count("refine") == 2  # one that changes it, one that does not
    assert [c.name for c in taxonomy.top] == ["Money back", "Parcels", "Accounts", "Other"]
    review = next(r for r in model.requests if "You review" in r.messages[0]["content"])
    draft, _, left = data_of(review.messages).partition("left out:")
    assert "draft: Everything by courier" in draft
    assert "Rude courier" in left
    assert "Forgotten password" in left


def test_a_review_that_fails_or_says_nothing_leaves_the_draft() -> None:
    good = {"Money back": ["Refunds"], "Parcels": ["Deliveries"]}
    for after in ({}, None):
        groupings = [good] if after is None else [good, after, after]
        answer = drafts(*groupings)

        def failing(messages: Any, schema: Any, answer: Any = answer, fails: bool = after is None) -> Any:
            return "?" if fails and "You review" in messages[0]["content"] else answer(messages, schema)

        with ScriptedModel(failing) as model:
            taxonomy, _ = run(model, traces(60))
        assert [c.name for c in taxonomy.top] == ["Money back", "Parcels", "Other"]


def test_kinds_of_one_name_are_one() -> None:
    kinds = [
        Kind("Late refund", "A", (1, 2)),
        Kind("late Refund ", "B", (3,)),
        Kind("Other things", "C", (4,)),
        Kind("X", "", ()),
    ]
    (only,) = together(kinds)
    assert (only.name, only.description, only.members, only.leaves) == (
        "Late refund",
        "A",
        (1, 2, 3),
        (only,),
    )
    merged = together([Kind.of("Refunds", "", [kinds[0]]), Kind.of("refunds", "", [kinds[1]])])
    assert [leaf.members for leaf in merged[0].leaves] == [(1, 2), (3,)]
    assert settled([kinds[0]], [Kind("LATE REFUND", "other words", (1, 2))])
    assert not settled([Kind.of("R", "", kinds[:1])], [Kind.of("R", "", kinds[:2])])


# ---------------------------------------------------------------------------------------- given, known, left out


def test_wholly_predefined_categories_get_no_company() -> None:
    given = [{"name": "Refunds"}, {"name": "Fraud", "description": "Stolen cards."}]
    for levels in (1, 2):
        analysis = {"taxonomy": {"discover": False, "predefined": given, "levels": levels}}
        with OracleModel(truth) as model:
            taxonomy, found = run(model, traces(36), parse_analysis(analysis).brief(), assign=True)
        assert [c.name for c in taxonomy.top] == ["Refunds", "Fraud", "Other"]
        subs = {c.name for c in taxonomy.children("refunds")}
        assert subs == (set() if levels == 1 else {"Late refund", "Chargeback dispute"})
        assert sum(v.category_id == "refunds" for v in found.values()) == 12
        assert sum(v.category_id == OTHER for v in found.values()) == 24
        if levels == 1:
            assert set(steps(model)) == {"assign"}
    with pytest.raises(ConfigError, match="there must be `predefined` categories"):
        parse_analysis({"taxonomy": {"discover": False}})


def test_a_model_that_finds_nothing_leaves_the_predefined_ones() -> None:
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        return oracle(messages, schema) if "labels" in schema["properties"] else "no idea"

    with ScriptedModel(answer) as model:
        given = replace(BRIEF, predefined=(Category("refunds", "Refunds", "Money back."),))
        taxonomy, found = run(model, traces(12), given, assign=True)
    assert [c.name for c in taxonomy.categories] == ["Refunds", "Other"]
    assert sum(v.category_id == "refunds" for v in found.values()) == 4
    with ScriptedModel(answer) as model, pytest.raises(ModelReplyInvalid):
        run(model, traces(12))


def test_a_batch_that_is_too_much_for_a_model_is_halved() -> None:
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        return (
            "?" if "kinds" in schema["properties"] and len(pieces(messages)) > 6 else oracle(messages, schema)
        )

    with ScriptedModel(answer) as model:
        taxonomy, _ = run(model, traces(40))
    assert {c.name for c in taxonomy.top} == {"Refunds", "Deliveries", "Accounts", "Other"}
    used = [
        len(pieces(r.messages)) for s, r in zip(steps(model), model.requests, strict=True) if s == "propose"
    ]
    assert sum(size for size in used if size <= 6) == 40


def test_what_is_excluded_is_told_and_never_a_category() -> None:
    with OracleModel(truth) as model:
        taxonomy, _ = run(model, traces(36), replace(BRIEF, excluded=("deliveries", "Small talk")))
    assert {c.name for c in taxonomy.top} == {"Refunds", "Accounts", "Other"}
    assert all(
        "Never make a category of:\n\n- deliveries\n- Small talk" in r.messages[0]["content"]
        for r in model.requests
    )


def test_a_kind_that_was_known_keeps_its_name_and_id() -> None:
    known = (
        Category("money_back", "Refunds", "Money."),
        Category("money_back__slow", "Late refund", "Slow.", "money_back"),
        Category("gone", "Gone", "No longer there."),
    )
    with OracleModel(truth) as model:
        taxonomy, _ = run(model, traces(36), replace(BRIEF, previous=known))
    assert {c.category_id for c in taxonomy.top} == {"money_back", "deliveries", "accounts", OTHER}
    assert {c.category_id for c in taxonomy.children("money_back")} == {
        "money_back__slow",
        "money_back__chargeback_dispute",
    }
    told = {step: r.messages[0]["content"] for step, r in zip(steps(model), model.requests, strict=True)}
    assert '- "Late refund"' in told["propose"]
    assert '- "Gone": No longer there.' in told["merge"]
    assert '- "Gone"' in told["refine"]


def analyse(
    store: ClickHouse, name: str, window: int, instructions: str = BRIEF.instructions
) -> tuple[Category, ...]:
    """One run over a window; returns what a run over the next one would know."""
    start = START_NS + window * 10**12
    selection = Selection(start, start + 10**12, agent_only=False)

    async def go(model: ScriptedModel) -> tuple[Category, ...]:
        chat = OpenAIChat("any", base_url=model.base_url, api_key="none")
        engine = ModelEngine(chat, chat)
        config = json.dumps({"instructions": instructions, "unit": "trace"})
        job = Job(
            brief=replace(BRIEF, analysis=name),
            selection=selection,
            plan=SamplePlan(size=100),
            config=config,
            labeller="llm",
        )
        rows = [
            replace(row, trace_id=f"{window}-{row.trace_id}", start_ns=start + i)
            for i, row in enumerate(traces(12))
        ]
        await store.insert("traces", rows)
        finished = await run_analysis(
            store, engine, job, redact=lambda r: r, still_open=0, progress=no_progress
        )
        assert finished.status == "complete"
        await engine.close()
        following = replace(selection, start_ns=selection.end_ns, end_ns=selection.end_ns + 10**12)
        return await previous_categories(store, name, BRIEF.instructions, following, "openai")

    with OracleModel(truth) as model:
        return asyncio.run(go(model))


def test_an_earlier_window_is_known_and_the_same_one_or_another_question_is_not(store: ClickHouse) -> None:
    known = analyse(store, "topics", 0)
    assert {c.name for c in known if not c.parent_id} == {"Refunds", "Deliveries", "Accounts"}
    assert {c.parent_id for c in known} == {"", "refunds", "deliveries", "accounts"}
    first = Selection(START_NS, START_NS + 10**12)
    # A run that was killed and is made again asks the same, so that it does not pay twice.
    assert asyncio.run(previous_categories(store, "topics", BRIEF.instructions, first, "openai")) == ()
    assert (
        asyncio.run(
            previous_categories(store, "topics", "Another question?", replace(first, end_ns=2), "openai")
        )
        == ()
    )
    assert (
        asyncio.run(
            previous_categories(store, "topics", BRIEF.instructions, replace(first, end_ns=2), "local")
        )
        == ()
    )
    assert analyse(store, "failures", 1, "Another question?") == ()


def test_traces_that_speak_to_their_reader_have_no_say_unless_most_do() -> None:
    bad = [trace_row(f"bad{i}", request=f"{text} chargeback") for i, text in enumerate(INJECTIONS.values())]
    good = [t for t in traces(300) if "chargeback" not in t.input]
    with OracleModel(truth) as model:
        taxonomy, _ = run(model, [*bad, *good])
    assert "Chargeback dispute" not in {c.name for c in taxonomy.categories}
    with OracleModel(truth) as model:  # an agent whose business is labelling
        taxonomy, _ = run(model, [*bad, *good[:20]])
    assert "Chargeback dispute" in {c.name for c in taxonomy.categories}


# ---------------------------------------------------------------------------------------- examples


def test_each_category_has_an_example_that_both_passes_agree_on() -> None:
    rows = traces(60)
    with OracleModel(truth) as model:
        taxonomy, found = run(model, rows, assign=True)
    categories = [c.category_id for c in taxonomy.top if c.category_id != OTHER]
    assert [category for category, _ in taxonomy.exemplars] == categories
    requests = [r for step, r in zip(steps(model), model.requests, strict=True) if step == "assign"]
    assert [m["role"] for m in requests[0].messages] == ["system", "user"]
    shown = {json.dumps(r.messages[:-1]) for r in requests[1:]}
    assert len(shown) == 1  # the same beginning in each, so that the provider's cache hits
    system, asked, answered, data = requests[-1].messages
    assert (asked["role"], answered["role"]) == ("user", "assistant")
    texts = pieces([asked])
    entries = json.loads(answered["content"])["labels"]
    assert [e["label"].partition("__")[0] for e in entries[:3]] == categories
    for entry in entries[:3]:
        assert entry["evidence"] in texts[entry["key"]]
        assert truth(texts[entry["key"]]) == (
            taxonomy.get(entry["label"].partition("__")[0]).name,  # type: ignore[union-attr]
            taxonomy.get(entry["label"]).name,  # type: ignore[union-attr]
        )
    assert "You label" in system["content"]
    assert not set(texts) & set(pieces([data]))
    # Those that became examples are labelled once, with the others.
    assert sum(len(pieces(r.messages)) for r in requests) == len(rows) == len(found)


@pytest.mark.parametrize(("few_shot", "examples"), [(0, 0), (2, 2), (10, 3)])
def test_examples_can_be_limited_and_left_out(few_shot: int, examples: int) -> None:
    with OracleModel(truth) as model:
        run(model, traces(40), assign=True, few_shot=few_shot)
    last = model.requests[-1].messages
    assert len(last) == (4 if examples else 2)
    assert len(pieces(last[1:2])) == examples or not examples


def test_a_trace_that_pass_2_takes_for_something_else_is_no_example() -> None:
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        said = oracle(messages, schema)
        for entry in said.get("labels", ()):
            if entry["label"].startswith("deliveries"):
                entry["label"] = OTHER
        return said

    with ScriptedModel(answer) as model:
        run(model, traces(40), assign=True)
    assert {truth(text) for text in pieces(model.requests[-1].messages[1:2]).values()}.isdisjoint(
        {("Deliveries", "Lost parcel"), ("Deliveries", "Rude courier")}
    )


def test_an_example_is_short_and_keeps_its_quote() -> None:
    rows = [
        replace(
            row,
            digest_kinds=("user", "tool", "assistant"),
            digest_texts=("word " * 200, f"{'noise ' * 100}{row.input}{' noise' * 100}", "Bye."),
            digest_span_ids=("a", "b", "c"),
        )
        for row in traces(40)
    ]
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        said = oracle(messages, schema)
        told = pieces(messages)
        for entry in said.get("labels", ()):
            found = re.search(r"number \d+ has a \w+ problem", told.get(entry["key"], ""))
            entry["evidence"] = found[0] if found else entry["evidence"]
        return said

    with ScriptedModel(answer) as model:
        run(model, rows, assign=True)
    shown = pieces(model.requests[-1].messages[1:2])
    assert len(shown) == 3
    for text in shown.values():
        asked, line = text.splitlines()
        assert asked.startswith("user: word word")
        assert re.fullmatch(r"tool: ….*number \d+ has a \w+ problem.*…", line)
        assert len(text) <= 400


# ---------------------------------------------------------------------------------------- sessions


def test_sessions_are_called_sessions() -> None:
    with OracleModel(truth) as model:
        run(model, traces(40), replace(BRIEF, unit="session"), assign=True)
    for request in model.requests:
        told = request.messages[0]["content"]
        assert "session" in told
        assert not re.search(r"\btraces?\b", told)
        assert "traces)" not in data_of(request.messages)
