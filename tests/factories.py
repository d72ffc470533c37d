"""Records with sensible values, for tests that care about one or two fields."""

from __future__ import annotations

from typing import Any

from tracetaxa.records import TraceRow

START_NS = 1_795_337_071_000_000_000
TRUTH = {
    "refund": ("Refunds", "Late refund"),
    "chargeback": ("Refunds", "Chargeback dispute"),
    "parcel": ("Deliveries", "Lost parcel"),
    "courier": ("Deliveries", "Rude courier"),
    "password": ("Accounts", "Forgotten password"),
    "invoice": ("Accounts", "Missing invoice"),
}
"""Word of a request → category and subcategory, for a model that knows the truth."""


def trace_row(trace_id: str = "t1", **changes: Any) -> TraceRow:
    """A closed agent trace with one user line in its digest."""
    request = changes.pop("request", "Where is my order?")
    values: dict[str, Any] = {
        "trace_id": trace_id,
        "revision": 1,
        "session_id": "",
        "user_id": "",
        "service_name": "shop",
        "root_name": "invoke_agent",
        "start_ns": START_NS,
        "end_ns": START_NS + 10**9,
        "duration_ms": 1000.0,
        "span_count": 3,
        "error_count": 0,
        "status": "Unset",
        "is_agent": True,
        "llm_calls": 1,
        "tool_calls": 1,
        "tools": ("get_order",),
        "models": ("gpt-5-mini",),
        "last_tool_before_error": "",
        "input_tokens": 100,
        "output_tokens": 10,
        "cost_usd": 0.01,
        "feedback": {},
        "input": request,
        "output": "It is on its way.",
        "attributes": {},
        "digest_kinds": ("user", "assistant"),
        "digest_texts": (request, "It is on its way."),
        "digest_span_ids": ("aa", "bb"),
        "last_seen_ns": START_NS + 2 * 10**9,
    }
    return TraceRow(**(values | changes))
