"""The whole `openai` engine with a model that knows the truth: what comes out is what it knows, and nothing else."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bench.loaders import available, runs
from bench.spans import spans_of

from factories import trace_row
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.analyze.model.engine import ModelEngine
from tracetaxa.analyze.untrusted.fence import neutralise
from tracetaxa.assemble.rows import ToRow
from tracetaxa.demo.traffic import plan
from tracetaxa.dialects import read_trace
from tracetaxa.llm.chat import OpenAIChat
from tracetaxa.protocols import no_progress
from tracetaxa.records import OTHER, Assignment, Brief, Spend, Taxonomy, TraceRow
from tracetaxa.testing import Oracle, ScriptedModel, flaky

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(__file__).parents[2].parent / "shared" / "data"

SUBJECTS = ("refund", "parcel", "password", "invoice", "booking", "voucher", "menu", "tyre")
WAYS = ("late", "lost", "double", "wrong", "missing")


def truth(text: str) -> tuple[str, str] | None:
    """Eight categories of five subcategories, and a tenth of traces that fit none."""
    words = text.split()
    found = next(((s, w) for s in SUBJECTS for w in WAYS if s in words and w in words), None)
    return found and (f"Troubles with {found[0]}", f"{found[1].title()} {found[0]}")


def traces(count: int, seed: int = 0) -> list[TraceRow]:
    chance = random.Random(seed)
    rows = []
    for i in range(count):
        request = f"Hello, number {i} has a {chance.choice(WAYS)} {chance.choice(SUBJECTS)} here"
        rows.append(
            trace_row(f"t{i}", request=f"What a day, number {i}!" if chance.random() < 0.1 else request)
        )
    return rows


def both_passes(
    answer: Any, rows: Sequence[TraceRow], brief: Brief, **options: Any
) -> tuple[Taxonomy, dict[str, Assignment], Spend, ScriptedModel]:
    async def go(model: ScriptedModel) -> tuple[Taxonomy, list[Assignment], Spend]:
        chat = OpenAIChat("any", base_url=model.base_url, api_key="none", backoff_seconds=0.001)
        engine = ModelEngine(chat, chat, **options)
        try:
            taxonomy = await engine.discover(rows, brief, no_progress)
            batches = engine.assign(rows, taxonomy, brief, no_progress)
            return taxonomy, [verdict async for batch in batches for verdict in batch], engine.spend
        finally:
            await engine.close()

    with ScriptedModel(answer) as model:
        taxonomy, verdicts, spend = asyncio.run(go(model))
    assert len(verdicts) == len(rows)
    found = {verdict.trace_id: verdict for verdict in verdicts}
    assert set(found) == {row.trace_id for row in rows}
    return taxonomy, found, spend, model


def named(taxonomy: Taxonomy, verdict: Assignment) -> tuple[str, str] | None:
    """As `truth` has it."""
    category, sub = taxonomy.get(verdict.category_id), taxonomy.get(verdict.subcategory_id)
    return (
        None
        if verdict.category_id == OTHER
        else (category.name if category else "?", sub.name if sub else "?")
    )


BRIEF = Brief("troubles", "What is wrong?", max_subcategories=8)
SIZES = [400, pytest.param(2000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", SIZES)
def test_the_truth_comes_out_as_it_is(count: int) -> None:
    rows = traces(count)
    taxonomy, found, spend, model = both_passes(Oracle(truth), rows, BRIEF)
    assert len(taxonomy.top) == len(SUBJECTS) + 1
    assert {row.trace_id: named(taxonomy, found[row.trace_id]) for row in rows} == {
        row.trace_id: truth(row.digest.text) for row in rows
    }
    for row in rows:
        verdict = found[row.trace_id]
        assert not verdict.abstained
        assert verdict.evidence in row.digest_texts[0]
    assert spend.calls == model.usage.calls < count / 4
    assert (spend.input_tokens, spend.output_tokens) == (model.usage.input_tokens, model.usage.output_tokens)


@pytest.mark.parametrize("count", SIZES)
def test_a_bad_day_of_the_provider_loses_nearly_nothing_and_mixes_nothing_up(count: int) -> None:
    rows = traces(count, seed=1)
    answer = flaky(Oracle(truth), garbage=0.20, rate_limited=0.05, disconnects=0.03, seed=5)
    taxonomy, found, spend, model = both_passes(answer, rows, BRIEF)
    labelled = [row for row in rows if not found[row.trace_id].abstained]
    assert len(labelled) >= 0.99 * count
    for row in labelled:
        assert named(taxonomy, found[row.trace_id]) == truth(row.digest.text)
    assert all(verdict.reason for verdict in found.values() if verdict.abstained)
    assert spend.input_tokens == model.usage.input_tokens
    answered = [request.status for request in model.requests]
    assert {0, 200, 429} <= set(answered)


def test_a_model_that_swaps_its_entries_swaps_no_labels() -> None:
    """Entries in another order, with keys of other packs, twice, or with stray blanks: all go by key."""
    oracle, chance = Oracle(truth), random.Random(2)

    def answer(messages: Any, schema: Any) -> Any:
        said = oracle(messages, schema)
        if "labels" in said:
            entries = [entry | {"key": f" {entry['key']}\n"} for entry in said["labels"]]
            chance.shuffle(entries)
            said = {"labels": [*entries, *entries[:3], entries[0] | {"key": "kabani"}]}
        return said

    rows = traces(200, seed=2)
    taxonomy, found, _, _ = both_passes(answer, rows, BRIEF)
    assert all(named(taxonomy, found[row.trace_id]) == truth(row.digest.text) for row in rows)


# ---------------------------------------------------------------------------------------- the question decides

TOPICS = {
    "cancel_pending_order": ("Orders", "Cancelling an order"),
    "return_delivered_order": ("Orders", "Returning items"),
    "exchange_delivered_order": ("Orders", "Exchanging items"),
    "modify_pending_order": ("Orders", "Changing an order"),
    "cancel_reservation": ("Flights", "Cancelling a flight"),
    "update_reservation": ("Flights", "Changing a flight"),
    "book_reservation": ("Flights", "Booking a flight"),
}
QUESTIONS = {
    "topics": "What do users ask the agent to do?",
    "failures": "Which failure modes of the agent appear?",
}


def topic(text: str) -> tuple[str, str] | None:
    return next((kind for tool, kind in TOPICS.items() if tool in text), None)


def failure(text: str) -> tuple[str, str] | None:
    """What went wrong as the digest shows it; most runs have no failure."""
    tools = [line for line in text.splitlines() if line.startswith(("tool: ", "error: "))]
    wrong = next((line for line in tools if "error" in line.lower()), "")
    if wrong:
        missing = "not found" in wrong.lower()
        return ("Failing tool calls", "Looking up what is not there" if missing else "Calls that are refused")
    if "transfer_to_human_agents" in text:
        return ("Giving up", f"Handing over {'a flight' if 'flight' in text.lower() else 'an order'}")
    return None


def shown(row: TraceRow) -> str:
    """The digest as the model sees it."""
    lines = zip(row.digest_kinds, row.digest_texts, strict=True)
    return "\n".join(f"{kind}: {neutralise(text)}" for kind, text in lines)


def reads_the_question(messages: Any, schema: Any) -> Any:
    asked = messages[0]["content"]
    (name,) = [name for name, question in QUESTIONS.items() if question in asked]
    return Oracle({"topics": topic, "failures": failure}[name])(messages, schema)


@pytest.mark.skipif(not available(DATA), reason="the real runs are not beside this checkout")
def test_another_question_finds_another_taxonomy_in_the_same_runs() -> None:
    to_row = ToRow(digest, lambda usage: None)
    rows = []
    for number, run in enumerate(runs(DATA)):
        if number % 5 == 0:
            (planned,) = plan(run.session)
            rows.append(to_row(read_trace(spans_of(planned, f"{number:032x}")), 1, 0))
    names: dict[str, set[str]] = {}
    for name, known in {"topics": topic, "failures": failure}.items():
        brief = Brief(name, QUESTIONS[name])
        taxonomy, found, _, _ = both_passes(reads_the_question, rows, brief)
        names[name] = {c.name for c in taxonomy.categories if c.category_id != OTHER}
        for row in rows:
            assert named(taxonomy, found[row.trace_id]) == known(shown(row)), row.digest.text
    assert names["topics"] == {name for kind in TOPICS.values() for name in kind}
    assert names["failures"] == {
        *("Failing tool calls", "Looking up what is not there", "Calls that are refused"),
        *("Giving up", "Handing over a flight", "Handing over an order"),
    }
