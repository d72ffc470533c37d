"""One trace, in the terminal and as JSON."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tracetaxa.records import Feedback, SpanError, SpanLine, Trace, Turn, Usage
from tracetaxa.report.trace import TraceView, render_trace_text, trace_document

GOLDEN = Path(__file__).parents[1] / "data" / "report" / "trace.txt"
START = 1_763_647_531_000_000_007


def at(seconds: float) -> int:
    return START + round(seconds * 1e9)


TRACE = Trace(
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    session_id="chat-88",
    user_id="",
    service_name="shop-assistant",
    root_name="invoke_agent shop",
    root_span_id="00f067aa0ba902b7",
    start_ns=START,
    end_ns=at(31.204),
    span_count=1402,
    error_count=1,
    status="Error",
    is_agent=True,
    llm_calls=3,
    tool_calls=1,
    tools=("lookup_order",),
    last_tool_before_error="lookup_order",
    usage=(Usage("gpt-5-mini", "openai", 12_345, 678), Usage("", "", 10, 2)),
    feedback=(
        Feedback(
            "f1",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "",
            "",
            "thumbs",
            -1.0,
            "down",
            "It never\x1b[2J found my order",
            "HUMAN",
            "api",
            START,
        ),
        Feedback(
            "f2",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "",
            "aa03",
            "tone",
            None,
            "polite",
            "",
            "LLM",
            "span",
            START,
        ),
    ),
    carried=(),
    attributes={"deployment.environment.name": "prod", "release": "2026.11.3 \x1b[31m"},
    turns=(
        Turn("system", "You are the assistant of a shop. " * 20, "aa01", at(0)),
        Turn(
            "user", "I need my refund for order 88213.\n\nIt never arrived. 返品したい 🥲", "aa01", at(0.01)
        ),
        Turn(
            "tool",
            "upstream request timeout \x1b[2J\u202e" + "x" * 900,
            "aa02",
            at(1.2),
            tool="lookup_order",
            arguments='{"order": 88213}',
            error=True,
        ),
        Turn("assistant", "I'm sorry, I can't reach the order system right now.", "aa03", at(31)),
    ),
    errors=(SpanError("aa02", "execute_tool lookup_order", "upstream request timeout after 30000 ms"),),
    content_captured=True,
    dialects=("openinference", "genai"),
    instrumentations=("openinference.instrumentation.openai 0.1.66",),
)
SPANS = [
    SpanLine(
        "4bf92f3577b34da6a3ce929d0e0e4736",
        0,
        "00f067aa0ba902b7",
        "invoke_agent shop",
        "shop-assistant",
        "agent",
        ("genai",),
        START,
        at(31.204),
        "Error",
        "",
        None,
        None,
    ),
    SpanLine(
        "4bf92f3577b34da6a3ce929d0e0e4736",
        1,
        "aa01",
        "chat gpt-5-mini",
        "shop-assistant",
        "model",
        ("genai",),
        at(0.01),
        at(1.1),
        "Unset",
        "gpt-5-mini",
        12_345,
        678,
    ),
    SpanLine(
        "4bf92f3577b34da6a3ce929d0e0e4736",
        1,
        "aa02",
        "execute_tool lookup_order",
        "shop-assistant",
        "tool",
        ("genai",),
        at(1.2),
        at(31.1),
        "Error",
        "",
        None,
        None,
    ),
    SpanLine(
        "4bf92f3577b34da6a3ce929d0e0e4736",
        2,
        "aa04",
        "GET \x1b[2J/orders",
        "orders",
        "other",
        (),
        at(1.21),
        at(31),
        "Error",
        "",
        None,
        None,
    ),
]
LABELS = [
    {
        "analysis": "failures",
        "category": "Refund lookups time out",
        "subcategory": "Agent retries until the budget ends",
        "confidence": 0.94,
        "labeller": "llm",
        "evidence": "upstream request timeout after 30000 ms",
        "evidence_span_id": "00f067aa0ba902b9",
        "run_id": "9f2c41d07be8a35166d0c1e2",
        "taxonomy_version": 3,
    },
    {
        "analysis": "tone",
        "category": "Angry",
        "subcategory": "",
        "confidence": 1.0,
        "labeller": "human",
        "classifier_version": "ada",
        "reason": "asks for a person\n\x1b[31mtwice",
        "evidence": "",
        "run_id": "",
        "taxonomy_version": 2,
    },
    {
        "analysis": "topics",
        "category": "Other",
        "subcategory": "",
        "confidence": 0.31,
        "labeller": "distilled",
        "evidence": "",
    },
]
VIEW = TraceView(TRACE, SPANS, LABELS, 0.01234)


def test_golden() -> None:
    rendered = render_trace_text(VIEW)
    if os.environ.get("TRACETAXA_UPDATE_GOLDENS"):
        GOLDEN.write_text(rendered)
    assert rendered == GOLDEN.read_text()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_lines_fit_and_nothing_escapes(width: int) -> None:
    rendered = render_trace_text(VIEW, width=width)
    assert all(cell_len(line) <= width for line in rendered.split("\n"))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", rendered)


def test_color_brings_escapes_and_no_other_change() -> None:
    bare = re.sub(r"\x1b\[[0-9;]*m", "", colored := render_trace_text(VIEW, color=True))
    assert colored != bare
    assert [line.rstrip() for line in bare.split("\n")] == render_trace_text(VIEW).split("\n")


def test_a_trace_without_content_says_so() -> None:
    bare = replace(TRACE, turns=(), errors=(), content_captured=False)
    rendered = render_trace_text(TraceView(bare))
    assert "The spans carry no message content." in rendered
    assert "LABELS" not in rendered
    assert "ERRORS" not in rendered


def test_many_errors_are_counted_not_listed() -> None:
    rendered = render_trace_text(TraceView(replace(TRACE, errors=TRACE.errors * 1500)))
    assert "and 1,480 more" in rendered
    assert rendered.count("execute_tool lookup_order") == 20


def test_document_is_json_with_the_content_whole() -> None:
    document = json.loads(json.dumps(trace_document(VIEW)))
    assert document["start"] == "2025-11-20T14:05:31.000000007Z"
    assert document["duration_ms"] == pytest.approx(31_204)
    assert (document["input_tokens"], document["output_tokens"]) == (12_355, 680)
    assert document["turns"][2]["text"] == TRACE.turns[2].text
    assert document["turns"][2]["time"] == "2025-11-20T14:05:32.200000007Z"
    assert document["labels"] == LABELS
    assert document["usage"][0] == {
        "model": "gpt-5-mini", "provider": "openai", "calls": 1, "input_tokens": 12_345, "output_tokens": 678,
    }  # fmt: skip
    assert document["feedback"] == {"thumbs": -1.0}
    assert document["feedback_given"][0]["comment"] == TRACE.feedback[0].comment
    assert document["spans"][2]["duration_ms"] == pytest.approx(29_900)
    assert document["cost_usd"] == VIEW.cost_usd
    assert set(document) >= set(Trace.__dataclass_fields__) - {"start_ns", "end_ns", "carried"}


def test_a_long_trace_is_shown_in_part_and_says_so() -> None:
    view = TraceView(replace(TRACE, turns=TRACE.turns * 100, errors=()), SPANS * 250)
    rendered, full = render_trace_text(view), render_trace_text(view, limit=0)
    assert rendered.count("\n") < 2000 < full.count("\n")
    assert "and 200 more turns; --limit 0 shows all" in rendered
    assert "and 800 more spans; --limit 0 shows all" in rendered
    assert "more spans" not in full


@settings(max_examples=50, deadline=None)
@given(st.text(), st.sampled_from(["user", "assistant", "tool", "system"]))
def test_any_turn_fits(text: str, role: str) -> None:
    turn = Turn(role, text, text, tool=text, arguments=text)  # type: ignore[arg-type]
    trace = replace(TRACE, turns=(turn,), attributes={text: text}, service_name=text)
    assert all(cell_len(line) <= 80 for line in render_trace_text(TraceView(trace, SPANS)).split("\n"))
