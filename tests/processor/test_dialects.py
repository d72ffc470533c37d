"""Spans to one trace: the tree, counts, tokens, errors, identity, attributes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from genai_spans import SECOND, Spans, assistant, calls, event, returns, turns, user
from tracetaxa.dialects import read_trace
from tracetaxa.dialects.dialect import DIALECTS
from tracetaxa.records import Span, SpanEvent, Usage

# ------------------------------------------------------------------------------------- counts, tokens, tree


def test_tokens_come_from_the_innermost_spans_that_have_them() -> None:
    spans = Spans()
    tokens = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}
    total = {"gen_ai.usage.input_tokens": 20, "gen_ai.usage.output_tokens": 4, "gen_ai.request.model": "m"}
    agent = spans.agent(**total)
    wrapper = spans.chat(agent, [], [], seconds=3, **tokens)
    spans.chat(
        wrapper, [], [], **tokens, **{"gen_ai.response.model": "m-1", "gen_ai.provider.name": "openai"}
    )
    spans.chat(agent, [], [], **{"gen_ai.usage.prompt_tokens": "10", "gen_ai.usage.completion_tokens": "2"})
    spans.agent(**total)
    spans.add("embeddings e", agent, **{"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "e",
                                        "gen_ai.usage.input_tokens": 5})  # fmt: skip

    trace = spans.read()

    assert trace.usage == (
        Usage("m-1", "openai", 10, 2),
        Usage("m", "", 10, 2),
        Usage("m", "", 20, 4),
        Usage("e", "", 5, 0),
    )
    assert trace.llm_calls == 2


def test_a_model_call_that_runs_tools_inside_keeps_its_tokens() -> None:
    spans = Spans()
    outer = spans.chat(None, [], [], seconds=9, **{"gen_ai.usage.input_tokens": 7})
    tool = spans.tool(outer, "ask", seconds=5)
    spans.chat(tool, [], [], **{"gen_ai.usage.input_tokens": 3})

    trace = spans.read()

    assert (trace.llm_calls, trace.usage) == (2, (Usage("m", "", 7, 0), Usage("m", "", 3, 0)))


@pytest.mark.parametrize("value", ["", "many", "-1", "nan", "1e400", "99999999999999999999", "[1]"])
def test_nonsense_token_counts_are_unknown(value: str) -> None:
    spans = Spans()
    spans.chat(None, [], [], **{"gen_ai.usage.input_tokens": value})

    assert spans.read().usage == (Usage("m", "", 0, 0),)


def test_spans_in_any_order_and_sent_twice_are_the_same_trace() -> None:
    spans = Spans()
    agent = spans.agent(seconds=30)
    spans.chat(agent, [user("Hi")], [calls("f", {}, "c1")], **{"gen_ai.usage.input_tokens": 3})
    spans.tool(agent, "f", status="Error", message="no", **{"gen_ai.tool.call.id": "c1"})
    spans.chat(agent, [user("Hi"), calls("f", {}, "c1"), returns("no", "c1")], [assistant("Sorry")])
    expected = spans.read()

    assert read_trace([*reversed(spans.all), *spans.all]) == expected
    assert (expected.span_count, expected.llm_calls, expected.tool_calls) == (4, 2, 1)


def test_no_spans_are_an_empty_trace() -> None:
    assert read_trace([]).span_count == 0


def test_circles_of_parents_are_opened() -> None:
    def span(span_id: str, parent: str, **attributes: str) -> Span:
        return Span("t", span_id, parent, "chat m", "Client", "s", 1, 1, "Unset", attributes=attributes)

    tokens = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": "5"}
    trace = read_trace([span("a", "b", **tokens), span("b", "a"), span("c", "c", **tokens), span("d", "a")])

    assert trace.span_count == 4
    assert sum(usage.input_tokens for usage in trace.usage) == 10


@pytest.mark.parametrize(
    ("root_status", "child_status", "expected"),
    [
        ("Ok", "Error", "Ok"),
        ("Error", "Unset", "Error"),
        ("STATUS_CODE_ERROR", "Unset", "Error"),
        ("", "Error", "Unset"),
    ],
)
def test_the_roots_status_is_the_traces(root_status: str, child_status: str, expected: str) -> None:
    spans = Spans()
    root = spans.add("GET /", status=root_status)
    spans.add("work", root, status=child_status)

    assert spans.read().status == expected


def test_without_a_root_the_worst_status_and_the_earliest_span_speak() -> None:
    spans = Spans()
    lost = Span("a" * 32, "f" * 16, "", "lost", "Server", "gone", 0, 1, "Ok")
    spans.add("second", lost, at=2, status="Error")
    spans.add("first", lost, at=1, status="Ok")

    trace = spans.read()

    assert (trace.status, trace.root_name, trace.service_name) == ("Error", "first", "shop")


def test_errors_have_the_most_telling_message() -> None:
    spans = Spans()
    root = spans.add("run", status="Error", message="gave up", seconds=9)
    raised = event("exception", exception__type="ValueError", exception__message="bad id")
    spans.add("a", root, status="Error", events=(raised,))
    spans.add("b", root, status="Error", **{"error.type": "timeout"})
    spans.add("GET", root, status="Error", **{"http.response.status_code": 503})
    spans.add("c", root, status="Error")

    trace = spans.read()

    assert [error.message for error in trace.errors] == ["gave up", "bad id", "timeout", "HTTP 503", ""]
    assert trace.error_count == 5


@pytest.mark.parametrize(
    ("failing", "expected"), [("tool", "pay"), ("chat", "pay"), ("first chat", ""), ("nothing", "")]
)
def test_last_tool_before_error(failing: str, expected: str) -> None:
    def status(name: str) -> str:
        return "Error" if name == failing else "Unset"

    spans = Spans()
    root = spans.add("run", seconds=20, status="Error" if failing != "nothing" else "Ok")
    spans.chat(root, [], [], status=status("first chat"))
    spans.tool(root, "search")
    spans.tool(root, "pay", status=status("tool"))
    spans.chat(root, [], [], status=status("chat"))
    spans.tool(root, "log") if failing == "tool" else None

    assert spans.read().last_tool_before_error == expected


# ------------------------------------------------------------------------------------- identity, attributes


def test_session_and_user_are_looked_up_in_the_order_of_the_conventions() -> None:
    spans = Spans()
    root = spans.add("POST /chat", **{"session.id": "http-session", "user.id": "u1", "thread.id": "23"})
    spans.chat(root, [], [], **{"langfuse.session.id": "lf", "gen_ai.conversation.id": "conv-1"})
    plain = Spans()
    plain.add("POST /chat", **{"session.id": "http-session", "thread.id": "23"})
    java = Spans()
    java.add("GET /", **{"thread.id": "23"})

    assert (spans.read().session_id, spans.read().user_id) == ("conv-1", "u1")
    assert plain.read().session_id == "http-session"
    assert java.read().session_id == ""


def test_evaluation_events_are_feedback_but_our_own_labels_are_not() -> None:
    def score(name: str, value: str) -> SpanEvent:
        key = "gen_ai__evaluation__"
        return event("gen_ai.evaluation.result", **{f"{key}name": name, f"{key}score__value": value})

    spans = Spans()
    events = (
        score("helpful", "0.5"),
        score("helpful", "1"),
        score("odd", "NaN"),
        score("tracetaxa.topics", "0.9"),
    )
    spans.add("work", events=events)

    assert spans.read().scores == {"helpful": 0.75}


def test_attributes_are_short_and_hold_no_content() -> None:
    spans = Spans()
    resource = {
        "service.name": "shop",
        "service.version": "1.2",
        "deployment.environment.name": "prod",
        "telemetry.sdk.name": "opentelemetry",
        "process.pid": "1",
    }
    root = spans.agent(
        **{
            "user.tier": "gold",
            "service.version": "1.3",
            "long": "x" * 201,
            "gen_ai.agent.name": "planner",
            "gen_ai.input.messages": [user("secret")],
            "gen_ai.system_instructions": "secret",
            "gen_ai.tool.call.arguments": "secret",
            "tracetaxa.topics.category": "Refunds",
        }
    )
    spans.all = [replace(root, resource=resource)]

    found = spans.read().attributes

    assert found == {
        "gen_ai.agent.name": "planner",
        "service.version": "1.3",
        "deployment.environment.name": "prod",
        "user.tier": "gold",
        "gen_ai.operation.name": "invoke_agent",
    }


def test_at_most_sixty_four_attributes_and_the_release_is_among_them() -> None:
    spans = Spans()
    spans.add("run", resource={"service.version": "1.2"}, **{f"key.{i}": str(i) for i in range(100)})

    found = spans.read().attributes

    assert len(found) == 64
    assert found["service.version"] == "1.2"


# ------------------------------------------------------------------------------------------------- dialects


def test_traffic_without_genai_attributes_is_no_agent() -> None:
    spans = Spans()
    root = spans.add(
        "GET /orders", seconds=3, status="Error", **{"http.route": "/orders", "enduser.id": "u9"}
    )
    spans.add("SELECT orders", root, status="Error", message="deadlock", **{"db.system.name": "postgresql"})

    trace = spans.read()

    assert (trace.is_agent, trace.llm_calls, trace.tool_calls, trace.turns) == (False, 0, 0, ())
    assert (trace.error_count, trace.user_id, trace.content_captured) == (2, "u9", True)
    assert (trace.start_ns, trace.end_ns) == (1 * SECOND, 4 * SECOND)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_reads_a_bare_span(dialect: Any) -> None:
    """What any dialect promises for spans that match but hold nothing it needs."""
    reading = dialect().read(Spans().add("bare"))

    assert (reading.input, reading.output, reading.feedback) == ((), (), ())


def test_a_span_that_a_dialect_trips_over_still_counts() -> None:
    spans = Spans()
    span = spans.chat(None, [user("Hi")], [])
    broken = Span(
        **{name: getattr(span, name) for name in span.__slots__}
        | {"events": (SpanEvent(0, "gen_ai.choice", None),), "span_id": "b"}  # type: ignore[arg-type]
    )

    trace = read_trace([span, broken])

    assert (trace.span_count, turns(trace)) == (2, [("user", "Hi")])
