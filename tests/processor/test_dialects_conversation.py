"""Many model calls, one conversation: each message once, each tool call once."""

from __future__ import annotations

from typing import Any

import pytest

from genai_spans import Spans, assistant, calls, returns, says, turns, user

# ------------------------------------------------------------------------------------------------- messages


def test_each_message_is_taken_once_when_every_call_repeats_the_history() -> None:
    spans = Spans()
    agent = spans.agent()
    history = [says("system", "Be brief."), user("Weather in Paris?")]
    ask = calls("get_weather", {"city": "Paris"}, "c1", text="Let me look.")
    spans.chat(agent, history, [ask])
    spans.tool(agent, "get_weather", **{"gen_ai.tool.call.id": "c1"})
    history += [ask, returns("21C", "c1")]
    spans.chat(agent, history, [assistant("It is 21C.")])
    history += [assistant("It is 21C."), user("yes")]
    spans.chat(agent, history, [assistant("Anything else?")])
    history += [assistant("Anything else?"), user("yes")]
    spans.chat(agent, history, [assistant("What?")])

    assert turns(spans.read()) == [
        ("system", "Be brief."),
        ("user", "Weather in Paris?"),
        ("assistant", "Let me look."),
        ("tool", "get_weather", '{"city":"Paris"}', "21C"),
        ("assistant", "It is 21C."),
        ("user", "yes"),
        ("assistant", "Anything else?"),
        ("user", "yes"),
        ("assistant", "What?"),
    ]


def test_a_turn_names_the_span_that_brought_it() -> None:
    spans = Spans()
    agent = spans.agent()
    ask = calls("search", {}, "c1")
    first = spans.chat(agent, [user("Find it")], [ask])
    tool = spans.tool(agent, "search", **{"gen_ai.tool.call.id": "c1"})
    second = spans.chat(agent, [user("Find it"), ask, returns("it", "c1")], [assistant("Found")])

    trace = spans.read()

    assert [turn.span_id for turn in trace.turns] == [first.span_id, tool.span_id, second.span_id]
    assert [turn.time_ns for turn in trace.turns] == [first.start_ns, tool.start_ns, second.end_ns]


def test_agents_that_drop_old_messages_lose_none_here() -> None:
    spans = Spans()
    spans.chat(None, [user("one")], [assistant("1")])
    spans.chat(None, [user("one"), assistant("1"), user("two")], [assistant("2")])
    spans.chat(None, [user("two"), assistant("2"), user("two")], [assistant("again 2")])
    spans.chat(None, [assistant("again 2"), user("three")], [assistant("3")])

    said = [text for _, text in turns(spans.read())]

    assert said == ["one", "1", "two", "2", "two", "again 2", "three", "3"]


def test_old_tool_results_cleared_from_the_history_change_nothing() -> None:
    spans = Spans()
    ask = calls("read_file", {"path": "a"}, "c1")
    spans.chat(None, [user("Read a")], [ask])
    spans.chat(None, [user("Read a"), ask, returns("long text", "c1")], [assistant("Done")])
    cleared = [user("Read a"), ask, returns("[cleared]", "c1"), assistant("Done"), user("Thanks")]
    spans.chat(None, cleared, [assistant("Welcome")])

    assert turns(spans.read()) == [
        ("user", "Read a"),
        ("tool", "read_file", '{"path":"a"}', "long text"),
        ("assistant", "Done"),
        ("user", "Thanks"),
        ("assistant", "Welcome"),
    ]


@pytest.mark.parametrize(
    "rendition",
    [
        [assistant(" It is 21C.\n")],
        [{"role": "assistant", "content": "It is 21C."}],
        [{"role": "model", "content": [{"type": "output_text", "text": "It is 21 degrees (edited)."}]}],
    ],
)
def test_answers_are_recognised_in_another_rendition(rendition: list[Any]) -> None:
    spans = Spans()
    spans.chat(None, [user("Weather?")], [assistant("It is 21C.")])
    spans.chat(None, [user("Weather?"), *rendition, user("Thanks")], [assistant("Bye")])

    said = [text for _, text in turns(spans.read())]

    assert said == ["Weather?", "It is 21C.", "Thanks", "Bye"]


def test_a_request_repeated_without_history_is_a_new_request() -> None:
    spans = Spans()
    for _ in range(2):
        agent = spans.agent()
        spans.chat(agent, [user("yes")], [assistant("ok")])

    assert turns(spans.read()) == [("user", "yes"), ("assistant", "ok")] * 2


@pytest.mark.parametrize("seconds", [0.5, 5.0], ids=["retry after a failure", "parallel calls"])
def test_the_same_input_twice_is_one_request(seconds: float) -> None:
    spans = Spans()
    first: list[Any] = [] if seconds < 1 else [assistant("a")]
    spans.chat(None, [user("Hi")], first, seconds=seconds)
    spans.chat(None, [user("Hi")], [assistant("b")])

    assert [turn for turn in turns(spans.read()) if turn[0] == "user"] == [("user", "Hi")]


def test_pipeline_steps_with_other_instructions_share_the_request() -> None:
    spans = Spans()
    spans.chat(None, [says("system", "Plan."), user("Buy milk")], [assistant("plan")])
    spans.chat(None, [says("system", "Write."), user("Buy milk")], [assistant("text")])

    assert [text for role, text in turns(spans.read()) if role == "user"] == ["Buy milk"]


def test_new_turns_without_history_follow_each_other() -> None:
    """APIs that keep the conversation on the server are given only what is new."""
    spans = Spans()
    spans.chat(None, [user("Weather?")], [calls("get_weather", {}, "c1")])
    spans.chat(None, [returns("21C", "c1")], [assistant("21C")])
    spans.chat(None, [user("Thanks")], [assistant("Bye")])

    assert turns(spans.read()) == [
        ("user", "Weather?"),
        ("tool", "get_weather", "{}", "21C"),
        ("assistant", "21C"),
        ("user", "Thanks"),
        ("assistant", "Bye"),
    ]


def test_calls_with_output_only_belong_to_the_conversation_before_them() -> None:
    spans = Spans()
    spans.chat(None, [user("Go")], [assistant("one")])
    spans.chat(None, [], [assistant("two")])
    spans.chat(None, [user("Go"), assistant("one"), user("on"), assistant("two"), user("end")], [])

    assert [text for _, text in turns(spans.read())] == ["Go", "one", "two", "on", "end"]


def test_what_was_said_before_the_trace_has_no_time() -> None:
    spans = Spans()
    chat = spans.chat(None, [user("Hi"), assistant("Hello"), user("Cancel it")], [assistant("Done")])

    times = [(turn.text, turn.time_ns) for turn in spans.read().turns]

    assert times == [("Hi", 0), ("Hello", 0), ("Cancel it", chat.start_ns), ("Done", chat.end_ns)]


def test_tools_used_before_the_trace_are_not_its_own() -> None:
    spans = Spans()
    root = spans.agent()
    earlier = [
        user("Where is it?"),
        calls("get_order", {"id": 1}, "c1"),
        returns("on its way", "c1"),
        assistant("Soon."),
    ]
    spans.chat(root, [*earlier, user("Then cancel it")], [calls("cancel_order", {"id": 1}, "c2")])
    spans.tool(root, "cancel_order", **{"gen_ai.tool.call.id": "c2"})
    trace = spans.read()
    assert (trace.tools, trace.tool_calls, trace.input) == (("cancel_order",), 1, "Then cancel it")


def test_a_sub_agents_task_is_not_what_the_user_said() -> None:
    spans = Spans()
    outer = spans.agent(seconds=20)
    ask = calls("ask_expert", {"question": "flights"}, "c1")
    spans.chat(outer, [user("Plan my trip")], [ask])
    tool = spans.tool(outer, "ask_expert", seconds=8, **{"gen_ai.tool.call.id": "c1"})
    inner = spans.agent(tool, seconds=7)
    spans.chat(inner, [user("List flights for the trip")], [assistant("Two flights")])
    spans.chat(
        outer, [user("Plan my trip"), ask, returns("Two flights", "c1")], [assistant("Here is a plan")]
    )

    assert turns(spans.read()) == [
        ("user", "Plan my trip"),
        ("tool", "ask_expert", '{"question":"flights"}', "Two flights"),
        ("assistant", "Two flights"),
        ("assistant", "Here is a plan"),
    ]


def test_content_of_agent_spans_counts_only_where_the_calls_inside_have_none() -> None:
    spans = Spans()
    content = {"gen_ai.input.messages": [user("Hi")], "gen_ai.output.messages": [assistant("Hello")]}
    bare = spans.agent(**content)
    spans.chat(bare, [], [])
    full = spans.agent(**content | {"gen_ai.input.messages": [user("Not this rendition")]})
    spans.chat(full, [user("Bye")], [assistant("See you")])

    assert [text for _, text in turns(spans.read())] == ["Hi", "Hello", "Bye", "See you"]


ASKED = "gen_ai.input.messages"
ANSWERED = "gen_ai.output.messages"


def test_an_agents_question_counts_where_the_calls_inside_have_only_answers() -> None:
    spans = Spans()
    agent = spans.agent(seconds=9, **{ASKED: [says("system", "Be brief."), user("late question")]})
    spans.chat(agent, [], [calls("look", {}, "c1")])
    spans.tool(agent, "look", **{"gen_ai.tool.call.id": "c1", "gen_ai.tool.call.result": "it"})
    spans.chat(agent, [], [assistant("here")])

    trace = spans.read()

    assert turns(trace) == [
        ("system", "Be brief."),
        ("user", "late question"),
        ("tool", "look", "{}", "it"),
        ("assistant", "here"),
    ]
    assert (trace.input, trace.output) == ("late question", "here")
    assert trace.turns[1].span_id == agent.span_id


def test_an_agents_answer_counts_where_the_calls_inside_have_only_questions() -> None:
    spans = Spans()
    agent = spans.agent(seconds=9, **{ANSWERED: [assistant("here")]})
    spans.chat(agent, [user("Where?")], [])
    spans.tool(agent, "look", **{"gen_ai.tool.call.id": "c1"})
    spans.chat(agent, [user("Where?"), calls("look", {}, "c1"), returns("it", "c1")], [])

    trace = spans.read()

    assert turns(trace) == [("user", "Where?"), ("tool", "look", "{}", "it"), ("assistant", "here")]
    assert (trace.output, trace.turns[-1].span_id) == ("here", agent.span_id)
    assert trace.turns[-1].time_ns == agent.end_ns


@pytest.mark.parametrize("direction", [ASKED, ANSWERED])
def test_messages_split_between_agent_and_calls_are_taken_once_over_many_requests(direction: str) -> None:
    spans = Spans()
    history: list[Any] = []
    for i in range(3):
        history.append(user(f"q{i}"))
        answer = [assistant(f"a{i}")]
        agent = spans.agent(seconds=1.8, **{direction: list(history) if direction == ASKED else answer})
        spans.chat(agent, *(([], answer) if direction == ASKED else (list(history), [])))
        history += answer

    assert [text for _, text in turns(spans.read())] == ["q0", "a0", "q1", "a1", "q2", "a2"]


def test_wrappers_that_repeat_both_directions_add_nothing() -> None:
    spans = Spans()
    outer = spans.agent(seconds=9, **{ASKED: [user("Q?")], ANSWERED: [assistant("A!")]})
    inner = spans.agent(outer, seconds=7, **{ASKED: [user("Q")], ANSWERED: [user("q"), assistant("A.")]})
    spans.chat(inner, [user("q")], [])

    assert turns(spans.read()) == [("user", "q"), ("assistant", "A.")]


def test_an_answer_that_was_given_before_is_given_again() -> None:
    spans = Spans()
    agent = spans.agent(seconds=9, **{ANSWERED: [user("on"), assistant("ok")]})
    spans.chat(agent, [user("go"), assistant("ok"), user("on")], [])

    assert [text for _, text in turns(spans.read())] == ["go", "ok", "on", "ok"]


@pytest.mark.parametrize("tool_between", [True, False])
@pytest.mark.parametrize("captured", [True, False], ids=["calls inside", "agent span only"])
def test_a_sub_agent_does_not_speak_for_the_agent_around_it(tool_between: bool, captured: bool) -> None:
    spans = Spans()
    task, found = [user("List flights")], [assistant("Two flights")]
    outer = spans.agent(seconds=20, **{ASKED: [user("Plan my trip")], ANSWERED: [assistant("A plan")]})
    spans.chat(outer, [], [])
    above = spans.tool(outer, "expert", seconds=8) if tool_between else outer
    inner = spans.agent(above, seconds=7, **{ASKED: task, ANSWERED: found})
    spans.chat(inner, *((task, found) if captured else ([], [])))
    spans.chat(outer, [], [])

    trace = spans.read()

    said = [turn for turn in turns(trace) if turn[0] != "tool"]
    assert said == [("user", "Plan my trip"), ("assistant", "Two flights"), ("assistant", "A plan")]
    assert (trace.input, trace.output) == ("Plan my trip", "A plan")


def test_the_directions_of_a_sub_agent_are_its_own() -> None:
    spans = Spans()
    outer = spans.agent(seconds=20, **{ASKED: [user("Plan my trip")]})
    spans.chat(outer, [], [assistant("Asking.")])
    inner = spans.agent(outer, seconds=1.8, **{ANSWERED: [assistant("Two flights")]})
    spans.chat(inner, [user("List flights")], [])
    spans.chat(outer, [], [assistant("A plan")])

    assert turns(spans.read()) == [
        ("user", "Plan my trip"),
        ("assistant", "Asking."),
        ("assistant", "Two flights"),
        ("assistant", "A plan"),
    ]


def test_parallel_agents_keep_their_own_answers() -> None:
    """Each answer comes back in the history of its own agent, and is known there."""
    spans = Spans()
    both = [spans.agent(at=1 + i, seconds=8 + i, **{ANSWERED: [assistant(f"a{i}")]}) for i in range(2)]
    for i, agent in enumerate(both):
        spans.chat(agent, [user(f"q{i}")], [], at=3 + i)
    for i in range(2):
        history = [user(f"q{i}"), assistant(f"a{i} (edited)"), user(f"more {i}")]
        spans.chat(None, history, [assistant(f"b{i}")], at=20 + i)

    said = [text for _, text in turns(spans.read())]

    assert said == ["q0", "q1", "a0", "a1", "more 0", "b0", "more 1", "b1"]


def test_an_agents_answer_follows_what_started_at_the_same_time_or_ended_later() -> None:
    spans = Spans()
    agent = spans.agent(at=1, seconds=0, **{ANSWERED: [assistant("a")]})
    spans.chat(agent, [user("q")], [], at=1, seconds=2)
    spans.chat(None, [user("q"), assistant("a"), user("more")], [assistant("b")], at=3)

    assert [text for _, text in turns(spans.read())] == ["q", "a", "more", "b"]


# ------------------------------------------------------------------------------------------------- tool calls


def test_calls_without_ids_meet_their_results_and_spans_in_order() -> None:
    spans = Spans()
    ask = {"role": "assistant", "parts": [calls("f", {"n": 1})["parts"][0], calls("f", {"n": 2})["parts"][0]]}
    spans.chat(None, [user("Go")], [ask])
    two = spans.tool(None, "f", **{"gen_ai.tool.call.arguments": {"n": 2}})
    one = spans.tool(None, "f", **{"gen_ai.tool.call.arguments": {"n": 1}})
    spans.chat(None, [user("Go"), ask, returns("r1"), returns("r2")], [assistant("Done")])

    trace = spans.read()

    tools = [(turn.arguments, turn.text, turn.span_id) for turn in trace.turns if turn.role == "tool"]
    assert tools == [('{"n":1}', "r1", one.span_id), ('{"n":2}', "r2", two.span_id)]
    assert trace.tool_calls == 2


def test_results_with_names_meet_calls_of_that_name() -> None:
    spans = Spans()
    ask = {"role": "assistant", "parts": [calls("f")["parts"][0], calls("g")["parts"][0]]}
    spans.chat(None, [user("Go")], [ask])
    spans.chat(None, [user("Go"), ask, returns("from g", name="g"), returns("from f", name="f")], [])

    assert [(turn.tool, turn.text) for turn in spans.read().turns[1:]] == [("f", "from f"), ("g", "from g")]


def test_ids_that_are_used_again_mean_the_newest_call() -> None:
    spans = Spans()
    history: list[Any] = []
    for i in range(3):
        history.append(user(f"q{i}"))
        spans.chat(None, history, [calls("f", {"i": i}, "call_1")])
        spans.tool(None, "f", **{"gen_ai.tool.call.id": "call_1", "gen_ai.tool.call.arguments": {"i": i}})
        history += [calls("f", {"i": i}, "call_1"), returns(f"r{i}", "call_1")]
        spans.chat(None, history, [assistant(f"a{i}")])
        history.append(assistant(f"a{i}"))

    tools = [turn for turn in spans.read().turns if turn.role == "tool"]

    assert [(turn.arguments, turn.text) for turn in tools] == [(f'{{"i":{i}}}', f"r{i}") for i in range(3)]
    assert len({turn.span_id for turn in tools}) == 3


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"status": "Error", "message": "boom"}, True),
        ({"error.type": "TimeoutError"}, True),
        ({}, False),
    ],
)
def test_tool_spans_without_content_still_are_turns(more: dict[str, Any], error: bool) -> None:
    spans = Spans()
    agent = spans.agent()
    spans.chat(agent, [], [])
    spans.tool(agent, "f", **more)

    trace = spans.read()

    assert [(turn.role, turn.tool, turn.error) for turn in trace.turns] == [("tool", "f", error)]
    assert not trace.content_captured
    assert (trace.tool_calls, trace.tools) == (1, ("f",))


def test_tool_spans_that_no_message_asked_for_stand_where_they_ran() -> None:
    spans = Spans()
    spans.chat(None, [user("one")], [assistant("1")])
    spans.tool(None, "lookup", **{"gen_ai.tool.call.result": "found"})
    spans.chat(None, [user("one"), assistant("1"), user("two")], [assistant("2")])
    spans.tool(None, "log")

    names = [turn.tool or turn.text for turn in spans.read().turns]

    assert names == ["one", "1", "lookup", "two", "2", "log"]


def test_a_tool_span_around_the_same_tool_on_a_server_is_one_call() -> None:
    spans = Spans()
    outer = spans.tool(None, "f", seconds=5)
    http = spans.add("POST /mcp", outer, seconds=4)
    spans.tool(http, "f")

    assert spans.read().tool_calls == 1


@pytest.mark.parametrize("mark", [{"is_error": True}, {"status": "error"}])
def test_results_may_say_themselves_that_they_failed(mark: dict[str, Any]) -> None:
    spans = Spans()
    ask = calls("f", {}, "c1")
    failed = {"role": "tool", "tool_call_id": "c1", "content": "no such order", **mark}
    spans.chat(None, [user("Go"), ask, failed], [assistant("Sorry")])

    assert [turn.error for turn in spans.read().turns if turn.role == "tool"] == [True]
