"""Feedback in every form in which telemetry carries it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.genai_spans import SECOND, Spans, event

from tracetaxa.dialects import read_trace
from tracetaxa.records import Feedback, LogRecord, Span, SpanLink

OTHER_TRACE = "b" * 32
EVALUATION = {
    "gen_ai.evaluation.name": "helpful",
    "gen_ai.evaluation.score.value": "0.25",
    "gen_ai.evaluation.score.label": "poor",
    "gen_ai.evaluation.explanation": "It ignored the question.",
}


def linked(span: Span, *targets: tuple[str, str]) -> Span:
    links = tuple(SpanLink(trace_id, span_id, {}) for trace_id, span_id in targets)
    return Span(**{name: getattr(span, name) for name in span.__slots__} | {"links": links})


def said(given: Feedback) -> tuple[Any, ...]:
    return (given.name, given.score, given.label, given.comment, given.annotator)


def test_evaluation_events_on_spans() -> None:
    spans = Spans()
    chat = spans.chat(None, [], [], events=(event("gen_ai.evaluation.result", **EVALUATION),))

    (given,) = spans.read().feedback

    assert said(given) == ("helpful", 0.25, "poor", "It ignored the question.", "")
    assert (given.trace_id, given.span_id, given.source) == (chat.trace_id, chat.span_id, "span")


@pytest.mark.parametrize("place", ["span", "trace", "unknown span"])
def test_evaluation_events_in_logs(place: str) -> None:
    spans = Spans()
    root = spans.agent()
    chat = spans.chat(root, [], [])
    span_id = {"span": chat.span_id, "trace": "", "unknown span": "f" * 16}[place]
    record = LogRecord(chat.trace_id, span_id, 9 * SECOND, "gen_ai.evaluation.result", "", EVALUATION)

    (given,) = read_trace(spans.all, [record]).feedback

    assert said(given) == ("helpful", 0.25, "poor", "It ignored the question.", "")
    assert given.span_id == (chat.span_id if place == "span" else root.span_id)


@pytest.mark.parametrize(
    "attributes",
    [
        EVALUATION,
        {
            "openinference.span.kind": "EVALUATOR",
            "annotations.0.annotation.name": "helpful",
            "annotations.0.annotation.score": "0.25",
            "annotations.0.annotation.label": "poor",
            "annotations.0.annotation.explanation": "It ignored the question.",
        },
    ],
    ids=["gen_ai", "openinference"],
)
def test_a_linked_span_speaks_of_its_target_wherever_it_is(attributes: dict[str, str]) -> None:
    spans = Spans()
    chat = spans.chat(None, [], [])
    carrier = spans.add("evaluate", None, **attributes)

    here = read_trace([chat, linked(carrier, (chat.trace_id, chat.span_id))])
    (given,) = here.feedback
    assert said(given)[:4] == ("helpful", 0.25, "poor", "It ignored the question.")
    assert (given.span_id, here.carried) == (chat.span_id, ())

    elsewhere = read_trace([chat, linked(carrier, (OTHER_TRACE, "c" * 16))])
    (carried,) = elsewhere.carried
    assert said(carried)[:4] == ("helpful", 0.25, "poor", "It ignored the question.")
    assert (carried.trace_id, carried.span_id, elsewhere.feedback) == (OTHER_TRACE, "c" * 16, ())


def test_annotations_of_spans_traces_and_sessions() -> None:
    spans = Spans()
    chat = spans.chat(
        None, [], [],
        **{
            "session.id": "s1",
            "annotations.0.annotation.name": "correct",
            "annotations.0.annotation.label": "pass",
            "annotations.0.annotation.annotator_kind": "CODE",
            "annotations.1.annotation.name": "nothing else",
            "trace.evaluations.0.evaluation.name": "safe",
            "trace.evaluations.0.evaluation.score": "1",
            "trace.evaluations.0.evaluation.annotator_kind": "LLM",
            "session.annotations.7.annotation.name": "thumbs",
            "session.annotations.7.annotation.label": "👎",
            "session.annotations.7.annotation.annotator_kind": "HUMAN",
        },
    )  # fmt: skip

    trace = spans.read()

    assert {said(given) for given in trace.feedback} == {
        ("correct", 1.0, "pass", "", "CODE"),
        ("safe", 1.0, "", "", "LLM"),
    }
    (carried,) = trace.carried
    assert said(carried) == ("thumbs", 0.0, "👎", "", "HUMAN")
    assert (carried.trace_id, carried.session_id) == ("", "s1")
    assert chat.trace_id == trace.trace_id


def test_logfire_annotation_spans_and_placeholders() -> None:
    spans = Spans()
    chat = spans.chat(None, [], [], **{"logfire.span_type": "span"})
    spans.add("chat m", None, **{"logfire.span_type": "pending_span", "logfire.pending_parent_id": "0" * 16})
    spans.add(
        "feedback: correct", chat,
        **{
            "logfire.span_type": "annotation",
            "logfire.feedback.name": "correct",
            "correct": "false",
            "logfire.feedback.comment": "Wrong city.",
        },
    )  # fmt: skip

    trace = spans.read()

    (given,) = trace.feedback
    assert said(given) == ("correct", 0.0, "", "Wrong city.", "HUMAN")
    assert given.span_id == chat.span_id
    assert (trace.span_count, trace.llm_calls) == (2, 1)


def test_a_trace_of_placeholders_alone_is_still_read() -> None:
    spans = Spans()
    spans.chat(None, [], [], **{"logfire.span_type": "pending_span"})
    assert spans.read().span_count == 1


def test_of_several_opinions_the_mean_counts_and_what_came_beside_the_spans_counts_too() -> None:
    spans = Spans()
    for value in ("0.1", "0.9"):
        attributes = EVALUATION | {"gen_ai.evaluation.score.value": value}
        spans.chat(None, [], [], events=(event("gen_ai.evaluation.result", **attributes),))
    trace_id = spans.all[0].trace_id
    beside = [
        Feedback("f1", trace_id, "", "", "thumbs", 0.0, "down", "", "HUMAN", "api", 5 * SECOND),
        Feedback("f2", trace_id, "", "", "helpful", 0.5, "", "", "HUMAN", "api", 1 * SECOND),
    ]

    trace = read_trace(spans.all, (), beside)
    assert trace.scores == {"helpful": pytest.approx(0.5), "thumbs": 0.0}
    assert [given.score for given in trace.feedback] == [0.5, 0.1, 0.9, 0.0]


def test_a_piece_that_was_changed_counts_once() -> None:
    spans = Spans()
    spans.chat(None, [], [])
    trace_id = spans.all[0].trace_id
    first = Feedback("f1", trace_id, "", "", "thumbs", 0.0, "down", "", "HUMAN", "api", 5 * SECOND)
    second = Feedback("f1", trace_id, "", "", "thumbs", 1.0, "up", "", "HUMAN", "api", 6 * SECOND)
    assert read_trace(spans.all, (), [second, first]).scores == {"thumbs": 1.0}


@pytest.mark.parametrize(
    "attributes",
    [
        EVALUATION | {"gen_ai.evaluation.name": "tracetaxa.topics.category"},
        EVALUATION | {"gen_ai.evaluation.name": ""},
        {"gen_ai.evaluation.name": "empty"},
        {"annotations.0.annotation.name": "tracetaxa.topics", "annotations.0.annotation.score": "1"},
        {"annotations.x.annotation.name": "no number", "annotations.x.annotation.score": "1"},
        {"annotations": "text"},
        {"annotations.0": "text", "annotations.0.annotation": "text"},
        {"logfire.span_type": "annotation"},
    ],
)
def test_what_is_nobodys_feedback(attributes: dict[str, str]) -> None:
    spans = Spans()
    spans.chat(None, [], [], **attributes)
    trace = spans.read()
    assert (trace.feedback, trace.carried) == ((), ())


def test_long_and_many_judgements_are_cut() -> None:
    spans = Spans()
    attributes = {f"annotations.{i}.annotation.name": f"{i}" + "n" * 999 for i in range(400)}
    attributes |= {f"annotations.{i}.annotation.explanation": "x" * 50_000 for i in range(400)}
    spans.chat(None, [], [], **attributes)

    trace = spans.read()

    assert len(trace.feedback) == 200
    assert {(len(given.name), len(given.comment)) for given in trace.feedback} == {(200, 10_000)}
