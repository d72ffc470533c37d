"""The loaders against the sources, counted here in another way. Skipped without ../shared/data."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bench.loaders import Run, available, count, real_traffic, runs

from tracetaxa.demo.traffic import HOUR_NS, PlannedTrace, plan

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not available(DATA), reason="the real runs of ../shared/data are not here")


@pytest.fixture(scope="module")
def loaded() -> list[Run]:
    return list(runs(DATA))


@pytest.fixture(scope="module")
def planned(loaded: list[Run]) -> dict[str, PlannedTrace]:
    return {run.key: trace for run in loaded for trace in plan(run.session)}


def read(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def source_runs() -> Iterator[tuple[str, float, list[dict[str, Any]]]]:
    """(key, reward, messages) as the files say."""
    for run in read(DATA / "taubench_airline_gpt4o" / "gpt-4o-airline.json.gz"):
        yield f"task{run['task_id']}-trial{run['trial']}", run["reward"], run["traj"]
    for name in ("tau_dataset_full", "tau_dataset_failed_104_105"):
        for run in read(DATA / "agentrx_tau_retail" / f"{name}.json.gz"):
            yield f"agentrx-{run['task_id']}", run["reward"], run["traj"]
    for path in sorted((DATA / "tau2_retail_airline").glob("*.json.gz")):
        for run in read(path)["simulations"]:
            yield run["id"], run["reward_info"]["reward"], run["messages"]


def operations(trace: PlannedTrace) -> Counter[str]:
    return Counter(str(span.attributes["gen_ai.operation.name"]) for span in trace.spans)


def test_every_run_is_one_trace(loaded: list[Run], planned: dict[str, PlannedTrace]) -> None:
    assert len(loaded) == len(planned) == count(DATA) == 586
    assert {run.key for run in loaded} == {key for key, _, _ in source_runs()}
    assert {t.spans[0].attributes["gen_ai.conversation.id"] for t in planned.values()} == set(planned)


def test_spans_are_the_messages_of_the_source(planned: dict[str, PlannedTrace]) -> None:
    for key, reward, messages in source_runs():
        trace = planned[key]
        roles = Counter(message["role"] for message in messages)
        assert operations(trace) == +Counter(
            invoke_agent=1, chat=roles["assistant"], execute_tool=roles["tool"]
        )
        (event,) = trace.spans[0].events
        assert event.attributes["gen_ai.evaluation.score.value"] == reward


def test_tool_calls_have_their_own_results(planned: dict[str, PlannedTrace]) -> None:
    for key, _, messages in source_runs():
        called = [
            (call.get("function", call)["name"], call["id"])
            for message in messages
            for call in message.get("tool_calls") or ()
        ]
        results = [message for message in messages if message["role"] == "tool"]
        spans = [s for s in planned[key].spans if s.name.startswith("execute_tool")]
        assert [
            (s.attributes["gen_ai.tool.name"], s.attributes["gen_ai.tool.call.id"]) for s in spans
        ] == called
        assert [s.attributes["gen_ai.tool.call.result"] for s in spans] == [r["content"] for r in results]
        # tau2 has a flag (one of its files has none at all); the others mark failures in the text.
        tau2 = not any("tool_call_id" in result for result in results)
        failed = [bool(r.get("error")) if tau2 else r["content"].startswith("Error:") for r in results]
        assert [bool(s.error) for s in spans] == failed


def test_totals_are_those_of_the_sources(loaded: list[Run], planned: dict[str, PlannedTrace]) -> None:
    expected = Counter[str]()
    for run in loaded:
        trace = planned[run.key]
        found = operations(trace)
        assert run.expected.spans == len(trace.spans)
        assert run.expected.llm_calls == found["chat"]
        assert run.expected.tool_calls == found["execute_tool"]
        assert run.expected.errors == sum(bool(span.error) for span in trace.spans)
        for direction in ("input", "output"):
            attribute = f"gen_ai.usage.{direction}_tokens"
            tokens = sum(int(str(span.attributes.get(attribute, 0))) for span in trace.spans)
            assert tokens == getattr(run.expected, f"{direction}_tokens")
        expected.update(
            tool_errors=run.expected.tool_errors, ends=run.expected.errors - run.expected.tool_errors
        )
    # As the data sets' READMEs count: 73 + 35 + 116 tool errors, 9 + 1 runs that the agent's failure ends.
    assert expected == {"tool_errors": 224, "ends": 10}
    assert sum(run.expected.spans for run in loaded) == 12_098


def test_tokens_are_the_agents_and_not_the_simulated_customers(loaded: list[Run]) -> None:
    by_key = {run.key: run.expected for run in loaded}
    for key, _, messages in source_runs():
        usages = [m["usage"] for m in messages if m["role"] == "assistant" and m.get("usage")]
        assert by_key[key].input_tokens == sum(usage["prompt_tokens"] for usage in usages)
        assert by_key[key].output_tokens == sum(usage["completion_tokens"] for usage in usages)


def test_a_model_call_gets_the_history_so_far(planned: dict[str, PlannedTrace]) -> None:
    for key, _, messages in source_runs():
        spoken = [m for m in messages if m["role"] != "system"]
        before = [index for index, message in enumerate(spoken) if message["role"] == "assistant"]
        chats = [s for s in planned[key].spans if s.name.startswith("chat")]
        for index, span in zip(before, chats, strict=True):
            history = json.loads(str(span.attributes["gen_ai.input.messages"]))
            assert [m["role"] for m in history] == [m["role"] for m in spoken[:index]]
            (output,) = json.loads(str(span.attributes["gen_ai.output.messages"]))
            text = [part["content"] for part in output["parts"] if part["type"] == "text"]
            assert text == [spoken[index]["content"]] * bool(spoken[index]["content"])


def test_order_and_inner_times_are_kept(loaded: list[Run], planned: dict[str, PlannedTrace]) -> None:
    clocked = [run for run in loaded if run.started is not None]
    assert len(clocked) == 170
    assert all(a.started <= b.started for a, b in pairwise(clocked) if a.started and b.started)
    starts = [planned[run.key].start_ns for run in loaded]
    assert starts == sorted(starts)
    hours = real_traffic(DATA).hours
    for trace in planned.values():
        root, *children = trace.spans
        assert -hours * HOUR_NS <= trace.start_ns
        assert trace.start_ns + root.duration_ns < 0
        assert all(s.start_ns >= 0 and s.duration_ns >= 0 for s in children)
        assert all(s.start_ns + s.duration_ns <= root.duration_ns for s in children)
        assert all(a.start_ns <= b.start_ns for a, b in pairwise(children))


def test_labels_are_the_truth_and_are_not_sent(loaded: list[Run], planned: dict[str, PlannedTrace]) -> None:
    truths = Counter(run.session.turns[0].truth for run in loaded)
    assert Counter(level1 for level1, _ in truths.elements()) == {"airline": 290, "retail": 296}
    assert truths[("airline", "no_change_expected")] == 64 + 29
    for run in loaded:
        _, level2 = run.session.turns[0].truth
        if "+" in level2:
            assert level2 not in str(planned[run.key].spans)


def test_traffic_starts_over_at_each_call() -> None:
    traffic = real_traffic(DATA)
    first, again = next(traffic.traces()), next(traffic.traces())
    assert first == again
    assert first.truth == ("airline", "book_reservation")
