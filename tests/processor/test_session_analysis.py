"""`unit: session` end to end: spans of many conversations in, a report on conversations out."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from otlp import START_NS, request, span
from tracetaxa.config import Config
from tracetaxa.jobs import RunRequest, run_request
from tracetaxa.records import ReportRow
from tracetaxa.report.html import render_html
from tracetaxa.report.markdown import render_markdown
from tracetaxa.report.text import render_text
from tracetaxa.service import count_open, make_assembler, make_session_assembler
from tracetaxa_exporter.clickhouse import SpanWriter

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tracetaxa.records import RunRow
    from tracetaxa.store.database import ClickHouse

SECOND = 10**9
KINDS = {
    "refund": (
        "I want my money back for the {} kettle, it is the wrong colour",
        "Please refund it to my card, not as a voucher",
        "When does the refund for the {} kettle arrive?",
    ),
    "login": (
        "I forgot my password and can't log in to my {} account",
        "The link to reset the password never came",
        "Now the {} account is locked, please unlock my login",
    ),
    "delivery": (
        "My {} parcel should have arrived on Monday, where is it?",
        "The courier says the parcel was handed to a neighbour",
        "Which neighbour has the {} parcel, and which courier was it?",
    ),
}
COLOURS = ("red", "blue", "green", "old", "new", "black", "white", "silver", "large", "small")


def message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def conversation(number: int, session: str, questions: tuple[str, ...]) -> list[Span]:
    """One trace a question; each is given the history so far, as agents are."""
    history: list[dict[str, Any]] = []
    made = []
    for turn, question in enumerate(questions):
        history.append(message("user", question))
        answer = message("assistant", f"Let me see to that, step {turn}.")
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.conversation.id": session,
            "gen_ai.usage.input_tokens": 10,
            "gen_ai.usage.output_tokens": 1,
            "gen_ai.input.messages": json.dumps(history),
            "gen_ai.output.messages": json.dumps([answer]),
        }
        trace = number * 10 + turn + 1
        start = START_NS + trace * SECOND
        made.append(span(trace, trace, attributes=attributes, start=start, duration=SECOND // 2))
        history.append(answer)
    return made


def corpus() -> dict[str, list[Span]]:
    """Session id, which begins with its kind → the spans of its three traces."""
    pairs = [(kind, colour) for kind in KINDS for colour in COLOURS]
    return {
        f"{kind}-{colour}": conversation(
            number, f"{kind}-{colour}", tuple(question.format(colour) for question in KINDS[kind])
        )
        for number, (kind, colour) in enumerate(pairs)
    }


def config(session_idle_seconds: float = 0.001) -> Config:
    return Config(
        assembly={
            "idle_seconds": 0.001,
            "orphan_idle_seconds": 0.001,
            "session_idle_seconds": session_idle_seconds,
        },
        analyses=[{"name": "talks", "unit": "session"}],
    )


def analyse(store: ClickHouse, settings: Config, *spans: Span) -> RunRow:
    SpanWriter(store.connect()).write([request(*spans)])

    async def go() -> RunRow:
        assembler, sessions = make_assembler(settings, store), make_session_assembler(settings, store)
        await assembler.tick()
        await sessions.tick()
        asked = RunRequest(
            "talks", engine="local", window_start_ns=START_NS, window_end_ns=START_NS + 86_400 * SECOND
        )
        still_open = partial(count_open, assembler, sessions)
        return await run_request(settings, store, asked, still_open=still_open)

    return asyncio.run(go())


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_conversations_are_told_apart(store: ClickHouse) -> None:
    run = analyse(store, config(), *(made for spans in corpus().values() for made in spans))
    assert (run.status, run.traces_selected, run.traces_labelled, run.still_open) == ("complete", 30, 30, 0)

    with store.reader() as client:
        labels = client.query(
            "SELECT SessionId, CategoryId, count() FROM trace_labels_current GROUP BY 1, 2"
        ).result_rows
        shown = client.query(
            "SELECT count(), uniq(SpanAttributes['tracetaxa.talks.category_id']) FROM otel_traces_labelled "
            "WHERE SpanAttributes['tracetaxa.talks.category'] != ''"
        ).result_rows
    # One category a session, on each of its three traces; and sessions of a kind are mostly together.
    assert sorted(session for session, _, _ in labels) == sorted(corpus())
    assert {count for _, _, count in labels} == {3}
    kinds: dict[str, Counter[str]] = {}
    for session, category, _ in labels:
        kinds.setdefault(session.split("-")[0], Counter())[category] += 1
    largest = {kind: counts.most_common(1)[0] for kind, counts in kinds.items()}
    assert len({category for category, _ in largest.values()}) == 3
    assert min(count for _, count in largest.values()) >= 8
    assert list(shown) == [(90, len({category for _, category, _ in labels}))]

    (report,) = asyncio.run(store.records("reading/report_by_run", ReportRow, run_id=run.run_id))
    document = json.loads(report.document)
    assert document["unit"] == "session"
    assert sum(category["traces"] for category in document["categories"]) == 30
    assert document["totals"]["input_tokens"] == 30 * 3 * 10
    text, markdown, page = render_text(document), render_markdown(document), render_html(document)
    assert "sessions     30 in the window, 30 sampled, 30 labelled" in text
    assert "- Sessions: 30 in the window" in markdown
    assert "<dt>Sessions</dt><dd>30</dd>" in page
    for rendered in (text, markdown, page):
        assert "traces in the window" not in rendered
        assert any(
            f"session {mark}{session}" in rendered for session in corpus() for mark in ("", "`", "<bdi>")
        )


def test_history_that_traces_repeat_is_told_once(store: ClickHouse) -> None:
    (spans,) = [spans for session, spans in corpus().items() if session == "login-red"]
    analyse(store, config(), *spans)
    with store.reader() as client:
        ((texts, kinds),) = client.query("SELECT DigestTexts, DigestKinds FROM sessions FINAL").result_rows
    said = [text for kind, text in zip(kinds, texts, strict=True) if kind == "user"]
    assert said == [question.format("red") for question in KINDS["login"]]


def test_open_sessions_are_counted_and_left_out(store: ClickHouse) -> None:
    spans = [made for session, spans in corpus().items() if session.startswith("refund") for made in spans]
    run = analyse(store, config(session_idle_seconds=3600), *spans)
    assert (run.traces_selected, run.still_open) == (0, 10)
