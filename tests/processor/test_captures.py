"""One known conversation, as 16 instrumentations report it, becomes one known trace."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.capture_coverage import coverage, read, table
from tests.captures import CAPTURES, NAMES, ROOT, by_trace, capture, native, requests

from tracetaxa.assemble.logs import load_logs
from tracetaxa.assemble.spans import load_spans
from tracetaxa.dialects import read_session, read_trace
from tracetaxa_exporter.clickhouse import LogWriter, SpanWriter

if TYPE_CHECKING:
    from tracetaxa.records import Trace
    from tracetaxa.store.database import ClickHouse

PAGE = ROOT / "docs" / "dialects.md"
NATIVE_GOLDEN = Path(__file__).parents[1] / "data" / "native_shapes.json"
UPDATE = bool(os.environ.get("TRACETAXA_UPDATE_GOLDENS"))


@pytest.mark.parametrize("name", NAMES)
def test_goldens(name: str) -> None:
    golden = CAPTURES / name / "traces.json"
    found = json.dumps([_plain(trace) for trace in read(name)], ensure_ascii=False, indent=1) + "\n"
    if UPDATE:
        golden.write_text(found, "utf-8")
    assert json.loads(found) == json.loads(golden.read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_all_that_a_capture_holds_comes_out(name: str) -> None:
    found = coverage(name)
    assert [field for field, ok in found if not ok] == []
    assert "tokens" in dict(found)


def test_the_table_in_the_docs_is_current() -> None:
    page = PAGE.read_text("utf-8")
    current = re.sub(
        r"(<!-- coverage -->\n).*(\n<!-- end -->)", lambda m: f"{m[1]}{table()}{m[2]}", page, flags=re.DOTALL
    )
    if UPDATE:
        PAGE.write_text(current, "utf-8")
        page = current
    assert page == current


def test_switched_off_content_is_flagged() -> None:
    without = {name for name in NAMES if not all(trace.content_captured for trace in read(name))}
    assert without == {"genai-openai-default", "openai-v2-default", "otel-js-openai"}


def test_through_the_database_it_is_the_same(store: ClickHouse) -> None:
    spans, logs = SpanWriter(store.connect()), LogWriter(store.connect())
    for name in NAMES:
        traces, records = requests(name)
        assert not any(rejected.count for rejected in spans.write(traces))
        assert not any(rejected.count for rejected in logs.write(records))

    async def load(trace_ids: list[str]) -> tuple[Any, Any]:
        return await load_spans(store, trace_ids), await load_logs(store, trace_ids)

    for name in NAMES:
        expected = {trace.trace_id: trace for trace in read(name)}
        stored, told = asyncio.run(load(list(expected)))
        assert {i: read_trace(stored[i], told.get(i, ())) for i in stored} == expected


@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if len(by_trace(capture(name)[0])) > 1 and name != "openinference-smolagents"],
)
def test_the_traces_of_a_session_make_one_conversation(name: str) -> None:
    spans, logs = capture(name)
    session = read_session(spans, logs)
    said = [
        (turn.role, turn.text or turn.tool) for turn in session.turns if turn.role in ("user", "assistant")
    ]
    assert said[:4] == [
        ("user", "What is the weather in Paris?"),
        ("assistant", "It is 21 degrees and sunny in Paris."),
        ("user", "And in Rome?"),
        ("assistant", said[3][1]),
    ]
    assert said[3][1].strip() == "It is 25 degrees and clear in Rome."
    assert [turn.text for turn in session.turns if turn.role == "tool"] == ["21C sunny", "25C clear"]
    assert session.span_count == len(spans)
    assert session.llm_calls == sum(trace.llm_calls for trace in read(name))


def test_dumps_of_other_people() -> None:
    """Only hashes and what is there are kept: the dumps themselves stay where they are."""
    dumps = native()
    if not dumps:
        pytest.skip("../shared/data/otel_native_shapes is not here")
    found = {
        name: [_summary(read_trace(group)) for group in by_trace(spans).values()]
        for name, spans in dumps.items()
    }
    if UPDATE:
        NATIVE_GOLDEN.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    assert found == json.loads(NATIVE_GOLDEN.read_text("utf-8"))


def _plain(trace: Trace) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(trace)))
    return value


def _summary(trace: Trace) -> dict[str, Any]:
    text = json.dumps(_plain(trace), sort_keys=True)
    return {
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "dialects": list(trace.dialects),
        "spans": trace.span_count,
        "llm_calls": trace.llm_calls,
        "tool_calls": trace.tool_calls,
        "input_tokens": sum(call.input_tokens for call in trace.usage),
        "output_tokens": sum(call.output_tokens for call in trace.usage),
        "priced": sum(call.stated_usd is not None for call in trace.usage),
        "user": any(turn.role == "user" and turn.text for turn in trace.turns),
        "system": any(turn.role == "system" for turn in trace.turns),
        "answer": bool(trace.output),
        "tool_arguments": sum(bool(turn.arguments) for turn in trace.turns if turn.role == "tool"),
        "tool_results": sum(bool(turn.text) for turn in trace.turns if turn.role == "tool"),
        "models": len(trace.models),
    }
