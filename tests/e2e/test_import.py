"""`tracetaxa import` as an outsider runs it, with and without a running service."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from otlp import START_NS
from tracetaxa.demo.child import wait_until_assembled

if TYPE_CHECKING:
    from pathlib import Path

    from product import Product

CHATS = [
    {
        "id": f"c{i}",
        "user_id": f"u{i % 2}",
        "messages": [
            {"role": "user", "content": f"Where is order {i}?"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "x", "function": {"name": "track", "arguments": f'{{"order": {i}}}'}}]},
            {"role": "tool", "tool_call_id": "x", "content": "in transit"},
            {"role": "assistant", "content": "On its way."},
        ],
    }
    for i in range(6)
]  # fmt: skip


@pytest.fixture
def chats(product: Product) -> Path:
    path = product.directory / "support.jsonl"
    path.write_text("\n".join(map(json.dumps, CHATS)), "utf-8")
    return path


def wait_for_traces(product: Product, count: int) -> None:
    """Assembled by whoever looks, where no service does it; the window that it looks at has none."""
    deadline = time.monotonic() + 60
    window = ("--from", "2026-01-01", "--to", "2026-01-02")
    while time.monotonic() < deadline:
        product.run("analyze", "topics", "--engine", "local", *window)
        if product.rows("SELECT count() AS n FROM traces FINAL") == [{"n": count}]:
            return
    raise AssertionError("the traces were not assembled")


@pytest.mark.slow
def test_without_a_service(product: Product, chats: Path) -> None:
    done = product.run("import", str(chats), "--format", "json")
    summary = json.loads(done.stdout)
    assert (done.returncode, summary) == (
        0,
        {
            "files": 1,
            "read": 6,
            "imported_traces": 6,
            "spans": 24,
            "logs": 0,
            "bad": 0,
            "refused": 0,
            "problems": [],
        },
    )
    assert "next: " in done.stderr
    assert "tracetaxa analyze --config" in done.stderr
    assert " topics --from" in done.stderr
    assert product.json("import", str(chats), "--format", "json")["imported_traces"] == 6
    wait_for_traces(product, 6)
    (row,) = product.rows(
        "SELECT TraceId, SpanCount, LlmCalls, ToolCalls, Input, Output, UserId, ServiceName FROM traces FINAL "
        "WHERE SessionId = 'support/c3'"
    )
    assert {key: row[key] for key in row if key != "TraceId"} == {
        "SpanCount": 4, "LlmCalls": 2, "ToolCalls": 1, "Input": "Where is order 3?", "Output": "On its way.",
        "UserId": "u1", "ServiceName": "support",
    }  # fmt: skip
    turns = product.json("trace", row["TraceId"], "--format", "json")["turns"]
    assert [(turn["role"], turn["text"]) for turn in turns] == [
        ("user", "Where is order 3?"),
        ("tool", "in transit"),
        ("assistant", "On its way."),
    ]


def test_into_a_running_service(product: Product, chats: Path) -> None:
    bad = product.directory / "bad.csv"
    bad.write_text(
        "session_id,input,output,time\ns1,hi,hello,\ns2,hi,hello,2020-01-01\ns3,x,y,soon\n", "utf-8"
    )
    with product.serve() as service:
        dry = product.json("import", str(chats), "--dry-run", "--format", "json")
        assert (dry["imported_traces"], product.rows("SELECT count() AS n FROM otel_traces")) == (
            6,
            [{"n": 0}],
        )
        done = product.run("import", str(chats), str(bad))
        assert done.returncode == 3
        assert done.stdout == "7 traces (26 spans) imported from 9 rows; 1 bad, 1 refused\n"
        assert f"{bad}:3: older than store.retention_days (30)" in done.stderr
        assert f"{bad}:4: 'soon' is not a time" in done.stderr
        wait_until_assembled(service, 7, seconds=60)
        product.json("import", str(chats), "--format", "json")
        wait_until_assembled(service, 7, seconds=60)
        assert product.rows("SELECT count() AS n, sum(SpanCount) AS s FROM traces FINAL") == [
            {"n": 7, "s": 26}
        ]
        trace_id = product.rows("SELECT TraceId FROM traces FINAL WHERE endsWith(SessionId, '/c1')")[0][
            "TraceId"
        ]
        feedback = product.directory / "feedback.csv"
        feedback.write_text(f"trace_id,name,score\n{trace_id},helpful,thumbs_up\nnope,helpful,1\n", "utf-8")
        given = product.json("import", "--feedback", str(feedback), "--format", "json", exit_code=3)
        assert (given["read"], given["accepted"], given["bad"]) == (2, 1, 1)
        rows = product.rows("SELECT TraceId, Name, Score, Label FROM feedback FINAL")
        assert rows == [{"TraceId": trace_id, "Name": "helpful", "Score": 1, "Label": "thumbs_up"}]


def test_feedback_without_a_service(product: Product) -> None:
    path = product.directory / "feedback.jsonl"
    path.write_text(json.dumps({"session_id": "s", "score": 0.25, "comment": "meh"}), "utf-8")
    for _ in range(2):
        assert product.json("import", "--feedback", str(path), "--format", "json")["accepted"] == 1
    assert product.rows("SELECT SessionId, Score, toString(Source) AS s FROM feedback FINAL") == [
        {"SessionId": "s", "Score": 0.25, "s": "import"}
    ]


def test_standard_input_and_otlp(product: Product) -> None:
    now = time.time_ns()
    span = {
        "traceId": "0a" * 16,
        "spanId": "0b" * 8,
        "name": "x",
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now),
    }
    record = {"timeUnixNano": str(now), "traceId": "0a" * 16, "body": {"stringValue": "hello"}}
    lines = [
        {
            "resourceSpans": [
                {"scopeSpans": [{"spans": [span, {**span, "startTimeUnixNano": str(START_NS // 2)}]}]}
            ]
        },
        {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]},
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tracetaxa.cli", "import", "-", "--format", "json", "--config", str(product.config)],
        input="\n".join(map(json.dumps, lines)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    summary: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, summary["spans"], summary["logs"], summary["refused"]) == (3, 1, 1, 1)
    assert summary["problems"][0]["file"] == "-"
    assert product.rows("SELECT count() AS n FROM otel_traces") == [{"n": 1}]
    assert product.rows("SELECT Body FROM otel_logs") == [{"Body": "hello"}]


def test_nothing_goes_in(product: Product) -> None:
    path = product.directory / "empty.jsonl"
    path.write_text("", "utf-8")
    done = product.run("import", str(path))
    assert (done.returncode, "nothing in it" in done.stderr) == (1, True)
    path.write_text('{"no": "chat"}\n', "utf-8")
    assert product.json("import", str(path), "--format", "json", exit_code=1)["bad"] == 1


def test_a_column_that_is_not_there(product: Product) -> None:
    path = product.directory / "x.csv"
    path.write_text("a,b\n1,2\n", "utf-8")
    done = product.run("import", str(path), "--column", "role=nope")
    assert (done.returncode, "there is no such column; the file has a, b" in done.stderr) == (2, True)
