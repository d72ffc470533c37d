"""Damaged requests by the ten thousand: the right codes, a process that lives, neighbours that are stored.

TRACETAXA_FUZZ_REQUESTS: how many in all (20000). TRACETAXA_CAMPAIGN_SEED: of the damage (0).
"""

from __future__ import annotations

import http.client
import json
import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from campaigns.checks import differences, missing, stored, wait_assembled
from campaigns.mutate import KINDS, corpus, json_mutant, mutant
from campaigns.served import Served
from captures import CAPTURES
from senders import TRANSPORTS, Sender, Workload, described, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from product import Product

pytestmark = pytest.mark.slow

REQUESTS = int(os.environ.get("TRACETAXA_FUZZ_REQUESTS", "20000"))
SEED = int(os.environ.get("TRACETAXA_CAMPAIGN_SEED", "0"))
FUZZERS = 12
ASK_SECONDS = 60.0
ASSEMBLED_SECONDS = 180.0
DELIVERED_SECONDS = 60.0
SHOWN_TRACES = 8
MEMORY_MIB = 1500
"""The most that the process may take, database included; requests of 20 MiB and 63 MiB are among them."""
CHATS = 2
MINE = "startsWith(TraceId, '0000000000')"
"""The good senders' traces."""
GRPC_CODES = {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
HTTP_CODES = {"200", "400", "413", "415", "429", "503"}
SERVICES = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
UNREADABLE = """
SELECT
    (SELECT count() FROM (SELECT * FROM otel_traces FINAL)) AS spans,
    (SELECT count() FROM (SELECT * FROM otel_logs)) AS logs,
    (SELECT uniqExact(TraceId) FROM otel_traces) AS traces_sent,
    (SELECT count() FROM traces FINAL) AS traces_assembled
"""


class GrpcFuzzer:
    """Sends bytes as they are; answers are status names."""

    def __init__(self, target: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        channel = grpc.insecure_channel(target, options=options)
        self._calls = {signal: channel.unary_unary(path) for signal, path in SERVICES.items()}

    def ask(self, signal: str, message: bytes, compression: grpc.Compression | None = None) -> str:
        try:
            self._calls[signal](message, timeout=ASK_SECONDS, compression=compression)
        except grpc.RpcError as error:
            name = str(error.code().name)
            return f"{name} without RetryInfo" if name == "UNAVAILABLE" and not _says_when(error) else name
        return "OK"


def _says_when(error: grpc.RpcError) -> bool:
    status = rpc_status.from_call(error)
    return status is not None and any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details)


class HttpFuzzer:
    """The same over HTTP; answers are numbers. With a chance, headers sometimes lie about the body."""

    TYPES = (
        "application/x-protobuf",
        "application/json",
        "application/json; charset=latin-1",
        "text/plain",
        "",
    )
    ENCODINGS = ("", "gzip", "deflate", "zstd", "gzip, gzip")

    def __init__(self, target: str, chance: random.Random | None = None) -> None:
        self._connection = http.client.HTTPConnection(target, timeout=ASK_SECONDS)
        self._chance = chance

    def ask(self, signal: str, message: bytes, in_json: bool = False) -> str:
        headers = {"Content-Type": self.TYPES[in_json]}
        if self._chance is not None and self._chance.random() < 0.1:
            headers["Content-Type"] = self._chance.choice(self.TYPES)
            if encoding := self._chance.choice(self.ENCODINGS):
                headers["Content-Encoding"] = encoding
        try:
            self._connection.request("POST", f"/v1/{signal}", message, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (BrokenPipeError, ConnectionResetError, http.client.BadStatusLine):
            # Too large: the answer may come, and the connection go, before all is sent.
            self._connection.close()
            return "413"
        if answer.status in (429, 503):
            assert float(answer.headers["Retry-After"]) > 0
        return str(answer.status)


def test_damaged_requests(product: Product, figure: Callable[[str, object], None]) -> None:
    any_port = {"endpoint": "127.0.0.1:0"}
    product.configure(receiver={"grpc": any_port, "http": any_port, "linger_ms": 20})
    requests = {
        signal: corpus(
            [kind.FromString(path.read_bytes()) for path in sorted(CAPTURES.glob(f"*/*_{signal}.pb"))]
        )
        for signal, kind in KINDS.items()
    }
    statuses: Counter[str] = Counter()
    again: list[tuple[str, str, bytes, bool]] = []

    def fuzz(worker: int, endpoints: dict[str, str]) -> Counter[str]:
        chance = random.Random(f"{SEED}/{worker}")
        targets = {"grpc": GrpcFuzzer(endpoints["grpc"]), "http": HttpFuzzer(endpoints["http"], chance)}
        found: Counter[str] = Counter()
        for number in range(worker, REQUESTS, FUZZERS):
            protocol = list(targets)[number % len(targets)]
            signal = chance.choices(("traces", "logs"), (3, 1))[0]
            in_json = protocol == "http" and chance.random() < 0.4
            if in_json:
                message = json_mutant(requests[signal], chance, KINDS[signal])
                status = targets["http"].ask(signal, message, in_json)
            else:
                message = mutant(requests[signal], chance, KINDS[signal])
                status = targets[protocol].ask(signal, message)
            found[f"{protocol}{' JSON' * in_json} {status}"] += 1
            if status in ("UNAVAILABLE", "503", "429"):
                again.append((protocol, signal, message, in_json))
        return found

    with Served(product) as service:
        good = [
            Sender(
                Workload(number, 2, CHATS + 1),
                TRANSPORTS[protocol](service.endpoints[protocol]),
                SEED,
                hasty=0,
                pause_seconds=0.05,
            )
            for number, protocol in enumerate(TRANSPORTS)
        ]
        for sender in good:
            sender.start()
        fuzzer = GrpcFuzzer(service.endpoints["grpc"])
        assert fuzzer.ask("traces", requests["traces"][0]) == "OK"
        before = service.rss_mib()
        with ThreadPoolExecutor(FUZZERS) as pool:
            for found in pool.map(partial(fuzz, endpoints=dict(service.endpoints)), range(FUZZERS)):
                statuses += found
        for size_mib in (20, 63, 65, 200):
            zeros = b"\x1a" + b"\xff\xff\xff\x7f" + bytes(size_mib * 2**20)
            for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
                statuses[f"grpc {fuzzer.ask('traces', zeros, compression)}"] += 1
        peak = service.rss_mib("VmHWM")
        for sender in good:
            sender.stop()
        for sender in good:
            sender.join(DELIVERED_SECONDS)
        sent = total(good)
        figure("seed", SEED)
        figure("damaged requests", statuses.total())
        figure("statuses", described(statuses))
        figure("RSS before and most, MiB", f"{before:.0f}, {peak:.0f}")
        figure("good spans acknowledged", f"{sent.spans()} in {len(sent.acknowledged)} traces")
        figure("statuses of good requests", described(sent.statuses))

        # Who is told to send again must not be told so for ever.
        honest = HttpFuzzer(service.endpoints["http"])
        for protocol, signal, message, in_json in again:
            status = (
                honest.ask(signal, message, in_json) if protocol == "http" else fuzzer.ask(signal, message)
            )
            assert status not in ("UNAVAILABLE", "503", "429"), message
        found, _ = stored(product, MINE)
        assert missing(sent.acknowledged, found) == set()
        wanted = {trace: len(spans) for trace, spans in sent.acknowledged.items()}
        assert differences(wait_assembled(product, wanted, MINE), wanted) == {}

        deadline = time.monotonic() + ASSEMBLED_SECONDS
        while service.status()["open_traces"]:
            assert time.monotonic() < deadline, service.status()
            time.sleep(0.5)
        (readable,) = product.rows(UNREADABLE)
        figure("stored and read back", json.dumps(readable))
        assert readable["traces_assembled"] == readable["traces_sent"]
        ids = product.rows(
            f"SELECT TraceId FROM traces FINAL WHERE NOT {MINE} ORDER BY cityHash64(TraceId) LIMIT {SHOWN_TRACES}"
        )
        for row in ids:
            shown = product.run("trace", row["TraceId"])
            assert (shown.returncode, row["TraceId"] in shown.stdout) == (0, True), shown.stderr
        assert service.stop() == 0
    allowed = {f"{what} {code}" for what in ("http", "http JSON") for code in HTTP_CODES}
    assert set(statuses) <= allowed | {f"grpc {code}" for code in GRPC_CODES}
    assert set(sent.statuses) <= {"OK", "UNAVAILABLE", "503"}
    assert peak < MEMORY_MIB
    log = service.log.read_text()
    assert "Traceback" not in log, service.log_end(60)
