"""kill -9 at random moments, under load: what was acknowledged is there, and is counted once.

TRACETAXA_KILL_ROUNDS: how many kills (30). TRACETAXA_CAMPAIGN_SEED: of the moments and of the senders (0).
"""

from __future__ import annotations

import os
import random
import time
from itertools import cycle
from statistics import median
from typing import TYPE_CHECKING

import pytest

from campaigns.checks import everything_once, labels_once
from campaigns.served import Served, free_port
from senders import TRANSPORTS, Sender, Workload, described, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from product import Product

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("TRACETAXA_KILL_ROUNDS", "30"))
SEED = int(os.environ.get("TRACETAXA_CAMPAIGN_SEED", "0"))
SENDERS = 6
RESTART_SECONDS = 5.0
"""A promise to people who run tracetaxa: after a crash it takes data again within this time. What other
processes of the machine take away does not count."""
DELIVERED_SECONDS = 60.0
CHATS = 5
REQUESTS_A_TRACE = 2


def test_nothing_acknowledged_is_lost_or_counted_twice(
    product: Product, figure: Callable[[str, object], None]
) -> None:
    chance = random.Random(SEED)
    targets = {protocol: f"127.0.0.1:{free_port()}" for protocol in TRANSPORTS}
    product.configure(
        receiver={
            **{protocol: {"endpoint": target} for protocol, target in targets.items()},
            "linger_ms": 20,
            "retry_after_seconds": 0.1,
        },
        assembly={
            "idle_seconds": 0.5,
            "orphan_idle_seconds": 1,
            "session_idle_seconds": 2,
            "tick_seconds": 0.2,
        },
    )
    senders = [
        Sender(
            Workload(number, spans_per_trace=CHATS + 1),
            TRANSPORTS[protocol](targets[protocol]),
            SEED,
            pause_seconds=0.02,
        )
        for number, protocol in zip(range(SENDERS), cycle(TRANSPORTS), strict=False)
    ]
    restarts: list[float] = []
    alone: list[float] = []
    with Served(product) as service:
        for sender in senders:
            sender.start()
        for number in range(ROUNDS):
            time.sleep(chance.uniform(0, 2))
            service.kill()
            if number % 5 == 4:  # once more, while it starts
                service.spawn()
                time.sleep(chance.uniform(0, 2))
                service.kill()
            restarts.append(service.start())
            alone.append(service.alone)
        for sender in senders:
            sender.stop()
        for sender in senders:
            sender.join(DELIVERED_SECONDS)
        sent = total(senders)
        figure("seed", SEED)
        figure("kills", ROUNDS + ROUNDS // 5)
        figure("restart seconds, median and most", f"{median(restarts):.2f} {max(restarts):.2f}")
        figure("without waiting for a core", f"{median(alone):.2f} {max(alone):.2f}")
        figure("spans acknowledged", f"{sent.spans()} in {len(sent.acknowledged)} traces")
        figure(
            "requests", f"{sent.requests}, {sent.lost} without an answer, {sent.repeated} sent again after OK"
        )
        figure("statuses", described(sent.statuses))
        duplicates = everything_once(product, sent.acknowledged, CHATS)
        figure("duplicate rows not merged away yet", duplicates)
        (arrived,) = product.rows("SELECT count() AS n FROM trace_activity")
        twice = arrived["n"] - REQUESTS_A_TRACE * len(sent.acknowledged)
        figure("parts of traces stored twice, counted twice", f"{twice}, 0")
        labels_once(product)
        assert sent.lost > ROUNDS
        assert twice > 0
        assert service.stop() == 0
    assert sent.without_retry == {}
    assert max(alone) < RESTART_SECONDS
