"""A ClickHouse server that fails in every way we know: everything arrives once, and memory stays bounded.

TRACETAXA_FAULT_SECONDS: how long each fault lasts (3). TRACETAXA_CAMPAIGN_SEED: of senders and faults (0).
"""

from __future__ import annotations

import asyncio
import os
import time
from itertools import cycle
from typing import TYPE_CHECKING

import pytest

from campaigns.checks import everything_once
from campaigns.fault_proxy import (
    Fault,
    FaultProxy,
    error,
    error_after,
    half_answer,
    http_error,
    reset_after,
    reset_before,
    slow,
    stall,
)
from campaigns.served import Served
from clickhouse_http import PASSWORD, ClickHouseServer
from senders import TRANSPORTS, Sender, Workload, described, total
from tracetaxa.errors import StoreUnavailable
from tracetaxa.store.database import ClickHouse
from tracetaxa.store.dsn import parse_dsn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from product import Product

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("TRACETAXA_FAULT_SECONDS", "3"))
SEED = int(os.environ.get("TRACETAXA_CAMPAIGN_SEED", "0"))
CALM_SECONDS = 1.0
SENDERS = 6
DELIVERED_SECONDS = 60.0
CHATS = 5
HEAVY_SENDERS = 20
IN_FLIGHT_MIB = 8
MEMORY_FACTOR = 8
"""A request that waits is there as bytes, as objects, and for a moment as rows and as a block of columns."""

STATUSES = {"OK", "UNAVAILABLE", "503", "429"}
"""What senders may be told, over gRPC and HTTP."""

FAULTS = [
    Fault("refused"),
    Fault("reset before the request is read", reset_before),
    Fault("reset after it was done", reset_after, inserts_only=True),
    Fault("half an answer after it was done", half_answer, inserts_only=True),
    Fault("500", http_error(500, "Internal Server Error")),
    Fault("502", http_error(502, "Bad Gateway")),
    Fault("503", http_error(503, "Service Unavailable")),
    Fault("504", http_error(504, "Gateway Timeout")),
    Fault("429", http_error(429, "Too Many Requests")),
    Fault("slow", slow),
    Fault("too many parts", error(252, "TOO_MANY_PARTS", "Too many parts (300)"), inserts_only=True),
    Fault("memory limit", error(241, "MEMORY_LIMIT_EXCEEDED", "(total) memory limit exceeded")),
    Fault(
        "read-only user", error(164, "READONLY", "Cannot execute query in readonly mode"), inserts_only=True
    ),
    Fault(
        "read-only table", error(242, "TABLE_IS_READ_ONLY", "Table is in readonly mode"), inserts_only=True
    ),
    Fault("disk full", error(243, "NOT_ENOUGH_SPACE", "Cannot reserve 1.00 MiB"), inserts_only=True),
    Fault("too many queries", error(202, "TOO_MANY_SIMULTANEOUS_QUERIES", "Too many simultaneous queries")),
    Fault(
        "timeout after it was done",
        error_after(159, "TIMEOUT_EXCEEDED", "Timeout exceeded"),
        inserts_only=True,
    ),
    Fault("broken in itself", error(49, "LOGICAL_ERROR", "Something that nobody expected")),
]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[FaultProxy]:
    with ClickHouseServer(tmp_path / "clickhouse") as server, FaultProxy(server.port, SEED) as proxy:
        yield proxy


def configured(product: Product, proxy: FaultProxy, **receiver: object) -> Product:
    any_port = {"endpoint": "127.0.0.1:0"}
    return product.configure(
        store={"dsn": f"clickhouse://default:{PASSWORD}@127.0.0.1:{proxy.port}"},
        receiver={
            "grpc": any_port,
            "http": any_port,
            "linger_ms": 20,
            "retry_after_seconds": 0.2,
            **receiver,
        },
    )


def test_everything_arrives_once(
    product: Product, proxy: FaultProxy, figure: Callable[[str, object], None]
) -> None:
    configured(product, proxy)
    with Served(product) as service:
        senders = [
            Sender(
                Workload(number, spans_per_trace=CHATS + 1),
                TRANSPORTS[protocol](service.endpoints[protocol]),
                SEED,
                hasty=0,
                pause_seconds=0.1,
            )
            for number, protocol in zip(range(SENDERS), cycle(TRANSPORTS), strict=False)
        ]
        for sender in senders:
            sender.start()
        time.sleep(CALM_SECONDS)
        for fault in FAULTS:
            proxy.begin(fault)
            time.sleep(SECONDS)
            proxy.end()
            time.sleep(CALM_SECONDS)
        for sender in senders:
            sender.stop()
        for sender in senders:
            sender.join(DELIVERED_SECONDS)
        sent = total(senders)
        figure("seed", SEED)
        figure("faults", described(proxy.happened))
        figure("spans acknowledged", f"{sent.spans()} in {len(sent.acknowledged)} traces")
        figure("requests", f"{sent.requests}, {sent.repeated} sent again after OK")
        figure("statuses", described(sent.statuses))
        figure("duplicate rows not merged away yet", everything_once(product, sent.acknowledged, CHATS))
        assert service.status()["last_error"] is None
        assert service.stop() == 0
    assert set(sent.statuses) <= STATUSES
    assert sent.without_retry == {}
    assert sent.lost == 0
    assert {fault.name for fault in FAULTS} == set(proxy.happened)
    log = service.log.read_text()
    assert "spans are stored again" in log
    assert PASSWORD not in log


def test_memory_is_bounded_while_the_store_is_silent(
    product: Product, proxy: FaultProxy, figure: Callable[[str, object], None]
) -> None:
    """Senders offer many times what may wait; those for whom there is no room are told at once."""
    configured(product, proxy, max_in_flight_mib=IN_FLIGHT_MIB)
    with Served(product) as service:
        senders = [
            Sender(
                Workload(number, spans_per_trace=CHATS + 1, padding=40_000),
                TRANSPORTS[protocol](service.endpoints[protocol]),
                SEED,
                hasty=0,
            )
            for number, protocol in zip(range(HEAVY_SENDERS), cycle(TRANSPORTS), strict=False)
        ]
        for sender in senders:
            sender.start()
        wait_until(lambda: sum(sender.journal.statuses["OK"] for sender in senders) >= 2 * HEAVY_SENDERS)
        before = service.rss_mib()
        busy = service.rss_mib("VmHWM")
        proxy.begin(Fault("stall", stall, share=1, inserts_only=True))
        service.forget_peak()
        refused = not_stored(senders)
        time.sleep(3 * SECONDS)
        peak = service.rss_mib("VmHWM")
        refused = not_stored(senders) - refused
        for sender in senders:
            sender.stop()
        proxy.end()
        for sender in senders:
            sender.join(DELIVERED_SECONDS)
        sent = total(senders)
        figure("seed", SEED)
        figure("may wait, MiB", IN_FLIGHT_MIB)
        figure("refused while silent", refused)
        figure("RSS before, most before, most while silent, MiB", f"{before:.0f}, {busy:.0f}, {peak:.0f}")
        figure("spans acknowledged", f"{sent.spans()} in {len(sent.acknowledged)} traces")
        figure("statuses", described(sent.statuses))
        everything_once(product, sent.acknowledged, CHATS)
        assert service.stop() == 0
    assert refused > HEAVY_SENDERS
    assert set(sent.statuses) <= STATUSES
    assert sent.without_retry == {}
    assert peak < busy + MEMORY_FACTOR * IN_FLIGHT_MIB


def not_stored(senders: list[Sender]) -> int:
    return sum(sender.journal.requests - sender.journal.statuses["OK"] for sender in senders)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DELIVERED_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_answer_that_is_cut_off_is_no_answer(proxy: FaultProxy) -> None:
    """Python's http.client takes the end of the connection for the end of the headers: the status is 200, the
    body is empty, and what asks for rows is told that there are none. The assembler then takes traces for
    gone, and never writes them.
    """
    store = ClickHouse.open(parse_dsn(f"clickhouse://default:{PASSWORD}@127.0.0.1:{proxy.port}"), "otel")
    try:
        assert asyncio.run(store.rows("server_time"))
        proxy.begin(Fault("cut", half_answer, share=1))
        with pytest.raises(StoreUnavailable):
            asyncio.run(store.rows("server_time"))
    finally:
        proxy.end()
        store.close()
