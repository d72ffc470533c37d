"""`unit: session` as an outsider meets it: through the service that owns the database, and without one."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from otlp import CHAT, request, span
from tracetaxa.demo.child import wait_until_assembled

if TYPE_CHECKING:
    from product import Product

ASSEMBLED_SECONDS = 60
ANALYZE = ("analyze", "talks", "--engine", "local", "--format", "json")


def send(endpoint: str, sessions: int, turns: int) -> None:
    """Traces of `sessions` conversations, and one that belongs to none."""
    with grpc.insecure_channel(endpoint) as channel:
        export = TraceServiceStub(channel).Export
        for number in range(sessions * turns):
            session, turn = divmod(number, turns)
            said = [{"role": "user", "parts": [{"type": "text", "content": f"question {turn} of {session}"}]}]
            attributes = CHAT | {
                "gen_ai.conversation.id": f"talk-{session}",
                "gen_ai.input.messages": json.dumps(said),
            }
            start = time.time_ns() - (60 - number) * 10**9
            export(request(span(number + 1, number + 1, start=start, attributes=attributes)), timeout=20)
        lone = {name: value for name, value in CHAT.items() if name != "gen_ai.conversation.id"}
        export(request(span(99, 99, start=time.time_ns() - 60 * 10**9, attributes=lone)), timeout=20)


def until_sessions(product: Product, count: int) -> None:
    deadline = time.monotonic() + ASSEMBLED_SECONDS
    while product.rows("SELECT count() AS n FROM sessions FINAL") != [{"n": count}]:
        assert time.monotonic() < deadline


def sizes(product: Product) -> list[dict[str, Any]]:
    return product.rows("SELECT SessionId, length(TraceIds) AS n FROM sessions FINAL ORDER BY SessionId")


@pytest.mark.slow
def test_sessions_are_analysed_with_and_without_a_service(product: Product) -> None:
    quick = {"idle_seconds": 0.2, "orphan_idle_seconds": 0.2, "tick_seconds": 0.1}
    analyses = [{"name": "talks", "unit": "session"}]
    product.configure(assembly=quick | {"session_idle_seconds": 1.0}, analyses=analyses)
    with product.serve() as service:
        send(service.endpoints["grpc"], sessions=3, turns=2)
        wait_until_assembled(service, 7, seconds=ASSEMBLED_SECONDS)
        until_sessions(product, 3)
        assert sizes(product) == [{"SessionId": f"talk-{i}", "n": 2} for i in range(3)]
        there = product.json(*ANALYZE)
        assert (there["status"], there["selected"], there["labelled"], there["still_open"]) == (
            "complete",
            3,
            3,
            0,
        )
    # The next one finds the sessions open: what it counts are sessions, and they can't be seen yet.
    product.configure(assembly=quick | {"session_idle_seconds": 3600.0}, analyses=analyses)
    with product.serve() as service:
        send(service.endpoints["grpc"], sessions=4, turns=1)
        wait_until_assembled(service, 7, seconds=ASSEMBLED_SECONDS)
    here = product.json(*ANALYZE, "--seed", "1")
    assert (here["selected"], here["still_open"]) == (3, 4)
    report = json.loads(product.run("report", here["run_id"], "--format", "json").stdout)
    assert (report["unit"], report["population"]["selected"]) == ("session", 3)
