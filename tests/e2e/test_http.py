"""OTLP/HTTP into the whole process, with TLS and a token, as an SDK for the web would send."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from certificates import OPENSSL, Authority
from tracetaxa.demo.child import wait_until_assembled

if TYPE_CHECKING:
    from pathlib import Path

    from product import Product

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


@pytest.mark.skipif(OPENSSL is None, reason="certificates are made with the openssl command")
def test_spans_over_https_with_a_token(product: Product, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "test authority")
    server = authority.sign("server")
    (tmp_path / "token").write_text(TOKEN, "utf-8")
    product.configure(
        receiver={
            "linger_ms": 5,
            "http": {
                "endpoint": "127.0.0.1:0",
                "tls": {"cert_file": str(server.cert), "key_file": str(server.key)},
            },
            "auth": {"bearer_token_file": str(tmp_path / "token")},
        }
    )
    context = ssl.create_default_context(cafile=str(authority.pair.cert))
    with product.serve() as service:
        host, _, port = service.endpoints["http"].rpartition(":")
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
        wait_until_assembled(service, 3, seconds=DEADLINE_SECONDS)
        assert product.rows("SELECT TraceId, InputTokens FROM traces FINAL ORDER BY TraceId") == [
            {"TraceId": f"{number:032x}", "InputTokens": number} for number in (1, 2, 3)
        ]
        checked = product.run("check")
        assert "grpc in plain text, http with TLS; senders need the header 'authorization'" in checked.stdout
    assert service.stop() == 0
    told = (tmp_path / "serve.log").read_text("utf-8") + checked.stdout + checked.stderr
    assert TOKEN not in told


def test_certificates_that_are_not_there_stop_the_start(product: Product, tmp_path: Path) -> None:
    missing = {"cert_file": str(tmp_path / "no.crt"), "key_file": str(tmp_path / "no.key")}
    for transport in ("grpc", "http"):
        section = {transport: {"endpoint": "127.0.0.1:0", "tls": missing}}
        done = product.configure(receiver=section).run("serve")
        assert done.returncode == 2
        assert f"receiver.{transport}.tls: can't read" in done.stderr
        assert "Traceback" not in done.stderr
