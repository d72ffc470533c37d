"""What must be true at the end of every campaign, asked as readers ask: over SQL, of what people look at."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from product import Product

ASSEMBLED_SECONDS = 180
_STORED = "SELECT TraceId, arraySort(groupUniqArray(SpanId)) AS spans, count() AS rows FROM otel_traces WHERE {} GROUP BY TraceId"
_PANELS = """
SELECT
    (SELECT count() FROM otel_traces_labelled) AS labelled_view_spans,
    (SELECT count() FROM otel_traces FINAL) AS spans,
    (SELECT count() FROM traces FINAL) AS traces,
    (SELECT uniqExact(TraceId) FROM traces) AS trace_ids,
    (SELECT sum(SpanCount) FROM traces FINAL) AS spans_of_traces,
    (SELECT sum(LlmCalls) FROM traces FINAL) AS llm_calls,
    (SELECT sum(InputTokens) FROM traces FINAL) AS input_tokens
"""
_LABELS = "SELECT count() AS labels, uniqExact(TraceId) AS traces FROM trace_labels_current"
_BY_SERVICE = "SELECT ServiceName, count() AS n FROM otel_traces_labelled GROUP BY ServiceName"
_COUNTS = "SELECT TraceId, SpanCount FROM traces FINAL WHERE {}"
_ALL = "1"


def stored(product: Product, where: str = _ALL) -> tuple[dict[str, set[str]], int]:
    """Span ids by trace id, and how many rows of the span table are duplicates."""
    rows = product.rows(_STORED.format(where))
    spans = {row["TraceId"]: set(row["spans"]) for row in rows}
    return spans, sum(row["rows"] for row in rows) - sum(len(found) for found in spans.values())


def missing(acknowledged: Mapping[str, set[str]], found: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    """(trace id, span id) of what was acknowledged and is not there."""
    return {
        (trace, span) for trace, spans in acknowledged.items() for span in spans - found.get(trace, set())
    }


def wait_assembled(product: Product, wanted: Mapping[str, int], where: str = _ALL) -> dict[str, int]:
    """Waits until SpanCount by trace id is what is wanted, or until it is too late; returns what it then is."""
    deadline = time.monotonic() + ASSEMBLED_SECONDS
    while True:
        found = {row["TraceId"]: row["SpanCount"] for row in product.rows(_COUNTS.format(where))}
        if found == wanted or time.monotonic() > deadline:
            return found
        time.sleep(1)


def differences(found: Mapping[str, int], wanted: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """(found, wanted) where they are not the same; 0 is no row."""
    traces = found.keys() | wanted.keys()
    both = {trace: (found.get(trace, 0), wanted.get(trace, 0)) for trace in sorted(traces)}
    return {trace: pair for trace, pair in both.items() if pair[0] != pair[1]}


def panels(product: Product) -> dict[str, Any]:
    (row,) = product.rows(_PANELS)
    return row


def everything_once(product: Product, acknowledged: Mapping[str, set[str]], llm_calls_a_trace: int) -> int:
    """Asserts that what was acknowledged is there and is counted once wherever it is counted; says how many
    duplicate rows the span table held when it was first asked.
    """
    found, duplicates = stored(product)
    assert missing(acknowledged, found) == set()
    assert found == acknowledged
    wanted = {trace: len(spans) for trace, spans in acknowledged.items()}
    assert differences(wait_assembled(product, wanted), wanted) == {}
    traces, spans = len(acknowledged), sum(len(spans) for spans in acknowledged.values())
    assert panels(product) == {
        "labelled_view_spans": spans,
        "spans": spans,
        "traces": traces,
        "trace_ids": traces,
        "spans_of_traces": spans,
        "llm_calls": traces * llm_calls_a_trace,
        "input_tokens": traces * llm_calls_a_trace * 40,
    }
    assert product.rows(_BY_SERVICE) == [{"ServiceName": "shop", "n": spans}]
    return duplicates


def labels_once(product: Product) -> None:
    """Asserts that an analysis counts and labels each trace once, whatever happened to its spans."""
    before = panels(product)
    run = product.json("analyze", "topics", "--engine", "local", "--format", "json")
    (counted,) = product.rows(_LABELS)
    assert run["still_open"] == 0
    assert (run["status"], run["selected"]) == ("complete", before["traces"])
    assert run["labelled"] + run["abstained"] == run["sampled"]
    assert counted == {"labels": run["labelled"], "traces": run["labelled"]}
    assert panels(product) == before
