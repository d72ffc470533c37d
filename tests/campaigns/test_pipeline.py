"""50,000 spans through Rotel → tracetaxa → Rotel → a destination: every span once, as it was, labels on the right traces.

In the second variant tracetaxa is killed in the middle, with everything of the first half stored and part of it
forwarded: nothing is lost, and what is repeated is what was under way. The first Rotel has nothing under way then, since
it drops requests whose connection breaks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from campaigns import forwarders
from campaigns.served import Served, free_port
from otlp import CHAT, request, span
from otlp_receiver import Sender
from otlp_recorder import attributes
from otlp_sink import GrpcSink
from tracetaxa.demo.child import child_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from product import Product

pytestmark = pytest.mark.slow

TRACES = 5000
SPANS = 10
KINDS = 7
AT_ONCE = 50
"""Traces in a request."""
DEADLINE = 240.0
TAXONOMY = """
import asyncio, sys, time
from pathlib import Path
from tracetaxa.access import open_store
from tracetaxa.config import load
from tracetaxa.records import TaxonomyRow

store = open_store(load(Path(sys.argv[1])), "test")
rows = [
    TaxonomyRow("topics", 1, "r1", f"kind_{n}", "", 1, f"Kind {n}", "", "new", (), time.time_ns())
    for n in range(int(sys.argv[2]))
]
asyncio.run(store.insert("taxonomies", rows))
store.close()
"""


def kind(trace: int) -> str:
    return f"Kind {trace % KINDS}"


def spans_of(trace: int, began_ns: int) -> list[Span]:
    return [
        span(
            trace,
            trace * 100 + number,
            trace * 100 if number else 0,
            start=began_ns + number * 10**6,
            name="chat" if number else "invoke_agent",
            attributes={**CHAT, "n": number, "padding": "x" * 200},
        )
        for number in range(SPANS)
    ]


class Labels:
    """Labels, by the API, each trace that is closed and has none yet."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self.given: set[int] = set()

    def give(self, service: Served) -> None:
        closed = {int(row["TraceId"], 16) for row in self._product.rows("SELECT TraceId FROM traces FINAL")}
        new = sorted(closed - self.given)
        for first in range(0, len(new), 500):
            items = [
                {"trace_id": f"{trace:032x}", "analysis": "topics", "category": kind(trace)}
                for trace in new[first : first + 500]
            ]
            asked = urllib.request.Request(
                f"http://{service.endpoints['api']}/v1/labels",
                json.dumps({"labels": items}).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(asked, timeout=60) as answer:
                assert json.load(answer)["accepted"] == len(items)
            self.given |= set(new[first : first + 500])


@pytest.mark.parametrize("killed", [False, True], ids=["steady", "killed"])
def test_every_span_goes_through_the_pipeline(
    product: Product, pytestconfig: pytest.Config, figure: Callable[[str, object], None], killed: bool
) -> None:
    program = forwarders.rotel(pytestconfig.cache.mkdir(f"rotel-{forwarders.VERSIONS['rotel']}"))
    ports = {where: f"127.0.0.1:{free_port()}" for where in ("grpc", "http", "before", "after")}
    product.configure(
        receiver={"linger_ms": 20, **{where: {"endpoint": ports[where]} for where in ("grpc", "http")}},
        assembly={"idle_seconds": 1, "orphan_idle_seconds": 1, "tick_seconds": 0.2},
        analyses=[{"name": "topics", "label_all": True}],
        label={"timeout_seconds": 30},
        exporter={"otlp": {"endpoint": f"http://{ports['after']}"}},
    )
    subprocess.run(
        [sys.executable, "-c", TAXONOMY, str(product.config), str(KINDS)], env=child_environment(), check=True
    )
    began_ns = time.time_ns() - 10**9
    with GrpcSink() as sink:
        directory, to = product.directory, sink.endpoint.removeprefix("http://")
        after = forwarders.rotel_command(program, ports["after"], to, "grpc", directory)
        before = forwarders.rotel_command(program, ports["before"], ports["grpc"], "grpc", directory)
        with (
            forwarders.running(after, ports["after"], directory / "after.log"),
            forwarders.running(before, ports["before"], directory / "before.log"),
            Served(product) as service,
        ):
            sender, labels = Sender(ports["before"]), Labels(product)
            began = time.monotonic()
            halves = (range(1, TRACES // 2 + 1), range(TRACES // 2 + 1, TRACES + 1))
            for half in halves:
                for first in range(half.start, half.stop, AT_ONCE):
                    traces = range(first, min(first + AT_ONCE, half.stop))
                    sender.send(request(*(s for trace in traces for s in spans_of(trace, began_ns))))
                    if first % 500 == 1:
                        labels.give(service)
                deadline = time.monotonic() + DEADLINE
                while product.rows("SELECT uniqExact(SpanId) AS n FROM otel_traces")[0]["n"] < (
                    (half.stop - 1) * SPANS
                ):
                    labels.give(service)
                    assert time.monotonic() < deadline, "the spans were not stored"
                if killed and half is halves[0]:
                    while not sink.spans:
                        labels.give(service)
                        assert time.monotonic() < deadline, "nothing was forwarded"
                    figure("spans that had arrived at the kill", len(sink.spans))
                    waiting = service.status()
                    figure(
                        "traces open, unforwarded at the kill",
                        f"{waiting['open_traces']}, {waiting['unforwarded']}",
                    )
                    service.kill()
                    service.start()
            figure("seconds until all is stored", f"{time.monotonic() - began:.1f}")
            deadline = time.monotonic() + DEADLINE
            while len({(s.trace_id, s.span_id) for s in sink.spans}) < TRACES * SPANS:
                labels.give(service)
                assert time.monotonic() < deadline, "the spans did not arrive"
                time.sleep(0.2)
            figure("seconds until all has arrived", f"{time.monotonic() - began:.1f}")
            # Labels that a trace did not wait for follow.
            while service.status()["unforwarded"] or len(labelled(sink)) < TRACES:
                labels.give(service)
                assert time.monotonic() < deadline, "the labels did not arrive"
                time.sleep(0.2)
            figure("memory of the service, MiB", f"{service.rss_mib('VmHWM'):.0f}")
            sender.channel.close()
            assert service.stop() == 0
    arrived = [s for s in sink.spans if not s.name.startswith("tracetaxa.")]
    figure("carrier spans", len(sink.spans) - len(arrived))
    figure("spans that arrived twice", len(arrived) - TRACES * SPANS)
    assert len(arrived) == TRACES * SPANS or killed
    sent = {s.span_id: s for trace in range(1, TRACES + 1) for s in spans_of(trace, began_ns)}
    for got in arrived:
        kept = [pair for pair in got.attributes if not pair.key.startswith("tracetaxa.")]
        assert len(kept) < len(got.attributes)
        del got.attributes[:]
        got.attributes.extend(kept)
        got.flags = sent[got.span_id].flags
        assert got == sent[got.span_id]


def labelled(sink: GrpcSink) -> dict[int, Any]:
    """Traces with a label, on their root span or on a carrier; asserts that it is the right one."""
    found = {}
    for got in sink.spans:
        category = attributes(got).get("tracetaxa.topics.category")
        if category is not None:
            trace = int.from_bytes(got.trace_id)
            assert category == kind(trace)
            found[trace] = category
    return found
