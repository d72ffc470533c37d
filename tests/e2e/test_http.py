"""A receiver with TLS and a token: OTLP/HTTP as an SDK for the web would send it, `check` and `import`."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from certificates import OPENSSL, Authority
from product import Product, Served, served
from tracetaxa.demo.child import wait_until_assembled

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="certificates are made with the openssl command")

TOKEN = "a-token-of-21-letters"
DEADLINE_SECONDS = 60


def trace(number: int) -> dict[str, Any]:
    now = time.time_ns()
    span = {
        "traceId": f"{number:032x}",
        "spanId": f"{number:016x}",
        "name": "chat gpt-5-mini",
        "kind": 3,
        "startTimeUnixNano": str(now - 10**9),
        "endTimeUnixNano": str(now),
        "attributes": [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": number}},
        ],
    }
    return {"resourceSpans": [{"scopeSpans": [{"scope": {"name": "js"}, "spans": [span]}]}]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """HTTP with TLS, gRPC in plain text, a token for both."""
    directory = tmp_path_factory.mktemp("guarded")
    server = Authority(directory, "test authority").sign("server")
    (directory / "token").write_text(TOKEN, "utf-8")
    product = Product(directory).configure(
        receiver={
            "linger_ms": 5,
            "http": {
                "endpoint": "127.0.0.1:0",
                "tls": {"cert_file": str(server.cert), "key_file": str(server.key)},
            },
            "auth": {"bearer_token_file": str(directory / "token")},
        }
    )
    with served(product) as running:
        yield running
    assert TOKEN not in (directory / "serve.log").read_text("utf-8")


def test_spans_over_https_with_a_token(guarded: Served) -> None:
    context = ssl.create_default_context(cafile=str(guarded.product.directory / "ca.pem"))
    host, _, port = guarded.service.endpoints["http"].rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=DEADLINE_SECONDS, context=context)

    def send(number: int, token: str) -> int:
        body = gzip.compress(json.dumps(trace(number)).encode())
        chunks = (body[at : at + 100] for at in range(0, len(body), 100))
        headers = {
            "content-type": "application/json",
            "content-encoding": "gzip",
            "authorization": f"Bearer {token}",
        }
        connection.request("POST", "/v1/traces", chunks, headers)
        response = connection.getresponse()
        response.read()
        return response.status

    assert [send(number, TOKEN) for number in (1, 2, 3)] == [200, 200, 200]
    assert send(4, "another-token-than-that") == 401
    connection.close()
    wait_until_assembled(guarded.service, 3, seconds=DEADLINE_SECONDS)
    assert guarded.product.rows(
        "SELECT TraceId, InputTokens FROM traces FINAL WHERE ServiceName = '' ORDER BY TraceId"
    ) == [{"TraceId": f"{number:032x}", "InputTokens": number} for number in (1, 2, 3)]


def test_check_tells_what_senders_need(guarded: Served) -> None:
    checked = guarded.product.run("check")
    assert "grpc in plain text, http with TLS; senders need the header 'authorization'" in checked.stdout
    assert TOKEN not in checked.stdout + checked.stderr


def test_an_import_brings_the_token(guarded: Served) -> None:
    chats = guarded.product.directory / "support.jsonl"
    said = [{"role": "user", "content": "Where is order 1?"}, {"role": "assistant", "content": "On its way."}]
    chats.write_text(json.dumps({"id": "c1", "messages": said}), "utf-8")
    assert guarded.product.json("import", str(chats), "--format", "json")["imported_traces"] == 1
    deadline = time.monotonic() + DEADLINE_SECONDS
    while guarded.product.rows("SELECT count() AS n FROM traces FINAL WHERE ServiceName = 'support'") != [
        {"n": 1}
    ]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
