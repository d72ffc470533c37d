"""CSV and JSON rows: columns by name or by choice, conversations out of scattered rows, bad rows by line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imported import run, turns
from tracetaxa.errors import ConfigError

MESSAGES = """thread_id,role,content,created_at,channel
a,user,"Hello, I have a
question",2026-11-20T10:00:00Z,web
b,user,Hi,2026-11-20T10:00:01Z,app
a,bot,Ask!,2026-11-20T10:00:02Z,web
b,bot,Hello,2026-11-20T10:00:03Z,app
"""


def csv(text: str, **options: Any) -> Any:
    return run(text, "chats.csv", **options)


@pytest.mark.parametrize(
    "change", [("", ""), ("\n", "\r\n"), (",", ";"), (",", "\t"), ("thread_id", "\ufeffthread_id")]
)
def test_rows_of_messages(change: tuple[str, str]) -> None:
    text = MESSAGES.replace("Hello, I", "Hello I").replace(*change) if change[0] else MESSAGES
    sink, summary = csv(text)
    first, second = sink.traces()
    assert [role for role, _ in turns(first)] == ["user", "assistant"]
    assert first.input.startswith("Hello")
    assert "\n" in first.input
    assert turns(second) == [("user", "Hi"), ("assistant", "Hello")]
    assert (first.session_id, first.attributes["metadata.channel"]) == ("shop/a", "web")
    assert first.end_ns - first.start_ns == 2 * 10**9
    assert (summary.read, summary.imported_traces, summary.bad) == (2, 2, 0)


def test_rows_come_in_the_order_of_their_times() -> None:
    header, *rows = MESSAGES.replace("Hello, I have a\nquestion", "Hello").splitlines()
    sink, _ = csv("\n".join([header, *reversed(rows)]))
    assert {trace.input: trace.output for trace in sink.traces()} == {"Hello": "Ask!", "Hi": "Hello"}


def test_chosen_columns() -> None:
    text = "who,what,which,said by\nann,hi,1,customer\nbot,hello,1,agent\n"
    sink, _ = csv(text, columns={"conversation": "which", "content": "what", "role": "said by"})
    (trace,) = sink.traces()
    assert turns(trace) == [("user", "hi"), ("assistant", "hello")]
    with pytest.raises(ConfigError, match=r"content=nope: there is no such column; the file has who, what"):
        csv(text, columns={"content": "nope"})


def test_rows_of_exchanges() -> None:
    text = "prompt,response,model,prompt_tokens,completion_tokens,user_id\nWhat?,That.,gpt-5,5,2,ann\nWhy?,,gpt-5,,,\n"
    sink, summary = csv(text)
    first, second = sink.traces()
    assert turns(first) == [("user", "What?"), ("assistant", "That.")]
    assert (first.usage[0].input_tokens, first.usage[0].output_tokens, first.models, first.user_id) == (
        5,
        2,
        ("gpt-5",),
        "ann",
    )
    assert turns(second) == [("user", "Why?")]
    sink, summary = csv("session_id,input,output\ns,a,b\nt,c,d\ns,e,f\n")
    assert [turns(trace) for trace in sink.traces()] == [
        [("user", "a"), ("assistant", "b"), ("user", "e"), ("assistant", "f")],
        [("user", "c"), ("assistant", "d")],
    ]
    assert summary.imported_traces == 2


def test_tools_in_tables() -> None:
    calls = json.dumps([{"id": "1", "function": {"name": "track", "arguments": "{}"}}]).replace('"', '""')
    text = f'chat_id,role,content,tool_calls,tool_call_id\n1,user,x,,\n1,assistant,,"{calls}",\n1,tool,gone,,1\n1,assistant,y,,\n'
    (trace,) = csv(text)[0].traces()
    assert turns(trace) == [("user", "x"), ("tool", "track", "{}", "gone"), ("assistant", "y")]


def test_bad_rows() -> None:
    text = (
        "thread_id,role,content,time\na,user,hi,\na,bot,hello,never\n,user,lost,\na,ghost,boo,\na,user,more,,extra\n"
        "a,bot,bye,\n"
    )
    sink, summary = csv(text)
    assert turns(sink.traces()[0]) == [("user", "hi"), ("assistant", "bye")]
    assert [(p.line, p.reason) for p in summary.problems] == [
        (3, "'never' is not a time such as 2026-11-22T10:00:00Z"),
        (4, "thread_id is empty"),
        (5, "unknown role 'ghost'"),
        (6, "it has 5 cells, the header 4"),
    ]
    sink, summary = csv(MESSAGES.encode().replace(b"Hi,", b"H\xef,"))
    assert (summary.imported_traces, summary.problems[0].line) == (2, 4)
    assert "not UTF-8" in summary.problems[0].reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a,b\n1,2\n", "no columns for role and content"), ("role,content\nuser,hi\n", "no column for the conversation"),
     ("", "nothing in it"), ("just some text\n", "no columns")],
)  # fmt: skip
def test_tables_that_can_not_be_read(text: str, reason: str) -> None:
    sink, summary = csv(text)
    assert (sink.requests, summary.went_in) == ([], False)
    assert reason in summary.problems[0].reason


@pytest.mark.parametrize("document", [False, True])
def test_json_rows_of_messages(document: bool) -> None:
    rows = [
        {"conversation_id": "a", "role": "user", "content": "one"},
        {"conversation_id": "b", "role": "user", "content": "two"},
        {"conversation_id": "a", "role": "assistant", "content": "three"},
        {"conversation_id": "b", "role": "assistant", "content": [{"type": "text", "text": "four"}]},
        {"role": "user", "content": "lost"},
    ]
    text = json.dumps(rows) if document else "\n".join(map(json.dumps, rows))
    sink, summary = run(text, "rows.json")
    assert [turns(trace) for trace in sink.traces()] == [
        [("user", "one"), ("assistant", "three")],
        [("user", "two"), ("assistant", "four")],
    ]
    assert (summary.bad, summary.problems[0].reason) == (1, "conversation_id is empty")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.text(alphabet='ab,";\n\r\t\0é\ud800 ', max_size=8), max_size=5), max_size=6),
    st.sampled_from(["thread_id,role,content\n", "input,output\n", "", '"']),
)
def test_no_table_raises(rows: list[list[str]], header: str) -> None:
    text = header + "\n".join(",".join(row) for row in rows)
    sink, summary = run(text.encode("utf-8", "surrogatepass"), "x.csv", form="csv")
    assert summary.bad <= summary.read
    assert summary.imported_traces == len(sink.traces())


def test_ids_of_one_file_are_not_those_of_another() -> None:
    from tracetaxa.imports.identity import session_id

    assert session_id("teamA", "1") == "teamA/1"
    assert session_id("teamA", "123456789") == "teamA/123456789"
    assert session_id("teamA", "thread-88") == "thread-88"
    assert session_id("teamA", "") == ""


def test_a_quote_that_is_never_closed_is_told() -> None:
    text = 'conversation_id,role,content\n1,user,hello\n1,assistant,"unterminated\n2,user,x\n2,assistant,y\n'
    sink, summary = csv(text)
    assert summary.bad == 1
    assert ("not CSV" in summary.problems[0].reason, summary.problems[0].line) == (True, 3)
    assert [trace.input for trace in sink.traces()] == ["hello"]


def test_names_of_columns_are_found_whatever_their_case() -> None:
    text = "Ticket,Who,What\n1,user,hi\n1,bot,hello\n"
    columns = {"conversation": "ticket", "role": "who", "content": "WHAT"}
    sink, _ = csv(text, columns=columns)
    assert [trace.output for trace in sink.traces()] == ["hello"]
