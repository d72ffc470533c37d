"""A collector forwards to tracetaxa, which ends and comes back meanwhile: nothing is lost, nothing counted twice.

The collectors acknowledge what they have not delivered yet, and keep it in memory: they live through all of it.
The OpenTelemetry Collector sends again whatever was not acknowledged, so tracetaxa is also killed under it. Rotel
drops the requests of a connection that breaks, and says so in its log ("Exporting failed, dropping data"): for it
tracetaxa is stopped and started, and over gRPC, since a connection of HTTP/1.1 can't say that it will close.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from campaigns import forwarders
from campaigns.checks import everything_once, missing, stored
from campaigns.served import Served, free_port
from senders import GrpcTransport, Sender, Workload, described, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from product import Product

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("TRACETAXA_CAMPAIGN_SEED", "0"))
SENDERS = 4
CHATS = 5
UP_SECONDS = 2.0
DOWN_SECONDS = 1.5
DELIVERED_SECONDS = 120.0
PROGRAMS = {
    "rotel": (forwarders.rotel, forwarders.rotel_command, (Served.stop, Served.stop)),
    "collector": (
        forwarders.collector,
        forwarders.collector_command,
        (Served.kill, Served.stop, Served.kill),
    ),
}


@pytest.mark.parametrize(
    ("name", "protocol"), [("rotel", "grpc"), ("collector", "grpc"), ("collector", "http")]
)
def test_nothing_is_lost_across_restarts(
    product: Product,
    pytestconfig: pytest.Config,
    figure: Callable[[str, object], None],
    name: str,
    protocol: str,
) -> None:
    fetch, command, ends = PROGRAMS[name]
    program = fetch(pytestconfig.cache.mkdir(f"{name}-{forwarders.VERSIONS[name]}"))
    ports = {where: f"127.0.0.1:{free_port()}" for where in ("grpc", "http", "listen")}
    receiver = {where: {"endpoint": ports[where]} for where in ("grpc", "http")}
    product.configure(receiver={**receiver, "linger_ms": 20, "retry_after_seconds": 0.2})
    arguments = command(program, ports["listen"], ports[protocol], protocol, product.directory)
    log = product.directory / f"{name}.log"
    with Served(product) as service, forwarders.running(arguments, ports["listen"], log):
        senders = [
            Sender(
                Workload(number, spans_per_trace=CHATS + 1),
                GrpcTransport(ports["listen"]),
                SEED,
                hasty=0,
                pause_seconds=0.05,
            )
            for number in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        for end in ends:
            time.sleep(UP_SECONDS)
            end(service)
            time.sleep(DOWN_SECONDS)
            service.start()
        for sender in senders:
            sender.stop()
        for sender in senders:
            sender.join(DELIVERED_SECONDS)
        sent = total(senders)
        figure("seed", SEED)
        figure("spans acknowledged by the collector", f"{sent.spans()} in {len(sent.acknowledged)} traces")
        figure("statuses of the collector", described(sent.statuses))
        deadline = time.monotonic() + DELIVERED_SECONDS
        while missing(sent.acknowledged, stored(product)[0]) and time.monotonic() < deadline:
            time.sleep(0.5)
        figure("duplicate rows not merged away yet", everything_once(product, sent.acknowledged, CHATS))
        assert service.stop() == 0
