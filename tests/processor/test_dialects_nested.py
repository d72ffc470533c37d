"""Who speaks to whom where spans are inside each other."""

from __future__ import annotations

from tests.genai_spans import Spans, assistant, turns, user


def test_what_a_sub_agent_answers_is_told_once_as_the_result_of_its_tool() -> None:
    spans = Spans()
    main = spans.agent(at=1, seconds=30)
    spans.chat(main, [user("Plan a trip.")], [], at=2)
    tool = spans.tool(main, "research", at=4, seconds=10, gen_ai__tool__call__result="Rome in May")
    researcher = spans.agent(tool, at=5, seconds=8)
    spans.chat(researcher, [user("research Rome please")], [assistant("Rome in May")], at=6)
    spans.chat(main, [user("Plan a trip.")], [assistant("Here is your plan.")], at=20)

    assert turns(spans.read()) == [
        ("user", "Plan a trip."),
        ("tool", "research", "", "Rome in May"),
        ("assistant", "Here is your plan."),
    ]


def test_a_model_call_around_its_tools_answers_after_them() -> None:
    spans = Spans()
    chat = spans.chat(None, [user("Weather?")], [assistant("21C.")], at=1, seconds=10)
    spans.tool(chat, "weather", at=3, gen_ai__tool__call__result="21C sunny")

    assert turns(spans.read()) == [
        ("user", "Weather?"),
        ("tool", "weather", "", "21C sunny"),
        ("assistant", "21C."),
    ]
