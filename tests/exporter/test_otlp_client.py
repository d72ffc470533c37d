"""What the exporter makes of a destination's answers, over both transports: the specification's tables."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from certificates import OPENSSL, Authority
from otlp import request, span
from otlp_sink import Answer, GrpcSink, HttpSink
from tracetaxa_exporter.otlp import (
    Backoff,
    ClientTls,
    Destination,
    ExportFailed,
    ExportRefused,
    Taken,
    persistently,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MESSAGE = request(span(1, 1), span(1, 2, 1)).SerializeToString()
SINKS = {"grpc": GrpcSink, "http": HttpSink}
NAMES = {code.value[0]: code for code in grpc.StatusCode}
RETRYABLE = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}


@pytest.fixture(params=SINKS)
def sink(request: pytest.FixtureRequest) -> Iterator[Any]:
    with SINKS[request.param]() as sink:
        yield sink


def protocol(sink: Any) -> str:
    return "grpc" if isinstance(sink, GrpcSink) else "http"


def export(sink: Any, message: bytes = MESSAGE, **options: Any) -> Taken:
    async def run() -> Taken:
        client = Destination(options.pop("endpoint", sink.endpoint), protocol(sink), **options).client()
        try:
            return await client.export(message)
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.mark.parametrize("compress", [True, False])
def test_the_request_arrives_as_it_is(sink: Any, compress: bool) -> None:
    taken = export(sink, compress=compress, headers={"x-api-key": "k"}, user_agent="tracetaxa/9")
    assert taken == Taken()
    assert sink.taken == [MESSAGE]
    (headers,) = sink.headers
    assert headers["x-api-key"] == "k"
    assert headers["user-agent"].startswith("tracetaxa/9")
    if protocol(sink) == "http":
        assert headers[":path"] == "/v1/traces"
        assert headers["content-type"] == "application/x-protobuf"
        assert headers.get("content-encoding") == ("gzip" if compress else None)
        export(sink, endpoint=f"{sink.endpoint}/tenant/")
        assert sink.headers[-1][":path"] == "/tenant/v1/traces"


def test_partial_success(sink: Any) -> None:
    sink.answers.append(Answer(rejected=1, message="too old\nby far"))
    assert export(sink) == Taken(1, "too old by far")
    sink.answers.append(Answer(message="a warning"))
    assert export(sink) == Taken(0, "a warning")


@pytest.mark.parametrize("code", [code for code in NAMES if code])
def test_statuses_of_grpc(code: int) -> None:
    with GrpcSink() as sink:
        name = NAMES[code].name
        sink.answers.append(Answer(code, message="because"))
        with pytest.raises(ExportFailed if name in RETRYABLE else ExportRefused, match=f"{name}: because"):
            export(sink)


def test_resource_exhausted_may_be_retried_only_when_it_says_when() -> None:
    with GrpcSink() as sink:
        sink.answers.append(Answer(8, message="full", retry_after=7.5))
        with pytest.raises(ExportFailed) as failed:
            export(sink)
        assert failed.value.retry_after_seconds == 7.5
        sink.answers.append(Answer(8, message="too large"))
        with pytest.raises(ExportRefused) as refused:
            export(sink)
        assert refused.value.fault == "size"


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (429, ""),
        (502, ""),
        (503, ""),
        (504, ""),
        (400, "data"),
        (401, "access"),
        (404, "access"),
        (413, "size"),
        (500, "other"),
        (302, "access"),
    ],
)
def test_statuses_of_http(status: int, fault: str) -> None:
    with HttpSink() as sink:
        sink.answers.append(Answer(status=status, message="because", retry_after=3))
        with pytest.raises(
            ExportRefused if fault else ExportFailed, match=f"HTTP {status}: because"
        ) as error:
            export(sink)
        found = getattr(error.value, "fault", None) or getattr(error.value, "retry_after_seconds", None)
        assert found == (fault or 3.0)


def test_nobody_there_is_no_refusal(sink: Any) -> None:
    with pytest.raises(ExportFailed):
        export(sink, endpoint="http://127.0.0.1:9", timeout_seconds=5.0)


@pytest.mark.skipif(OPENSSL is None, reason="needs openssl")
@pytest.mark.parametrize("protocol", SINKS)
def test_tls_both_ways(tmp_path: Path, protocol: str) -> None:
    authority, stranger = Authority(tmp_path, "authority"), Authority(_made(tmp_path / "other"), "stranger")
    server, known = authority.sign("server"), authority.sign("client")
    if protocol == "grpc":
        made = GrpcSink(
            grpc.ssl_server_credentials(
                [(server.key.read_bytes(), server.cert.read_bytes())],
                authority.pair.cert.read_bytes(),
                require_client_auth=True,
            )
        )
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.cert, server.key)
        context.load_verify_locations(authority.pair.cert)
        context.verify_mode = ssl.CERT_REQUIRED
        made = HttpSink(context)
    with made as sink:
        assert export(sink, tls=ClientTls(authority.pair.cert, known.cert, known.key)) == Taken()
        for tls in (ClientTls(authority.pair.cert), ClientTls(stranger.pair.cert, known.cert, known.key)):
            with pytest.raises(ExportFailed):
                export(sink, tls=tls, timeout_seconds=5.0)
        assert sink.taken == [MESSAGE]
    with pytest.raises(FileNotFoundError):
        Destination("https://127.0.0.1:1", protocol, tls=ClientTls(tmp_path / "none.pem")).client()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


# ------------------------------------------------------------------------------------------------- trying again


def test_it_is_tried_again_until_it_is_taken(sink: Any) -> None:
    async def run() -> list[float | None]:
        client = Destination(sink.endpoint, protocol(sink)).client()
        told: list[float | None] = []
        backoff = Backoff(0.001, 0.01, max_elapsed_seconds=30)
        taken = await persistently(
            lambda: client.export(MESSAGE),
            backoff,
            stopping=asyncio.Event(),
            failed=lambda error: told.append(error.retry_after_seconds),
        )
        assert taken == Taken()
        await client.close()
        return told

    sink.answers.extend([Answer(14, 503), Answer(14, 503, retry_after=1), Answer(14, 503)])
    assert asyncio.run(run()) == [None, 1.0, None]
    assert sink.taken == [MESSAGE]
    assert len(sink.headers) == 4


def test_pauses_grow_up_to_their_bound_and_obey_the_destination() -> None:
    backoff = Backoff(1.0, 10.0, 2.0)
    assert [backoff.pause(attempt, None, 1.0) for attempt in (0, 1, 2, 3, 4, 10_000)] == [1, 2, 4, 8, 10, 10]
    assert backoff.pause(3, None, 0.25) == 2
    assert backoff.pause(0, 4.0, 0.0) == 4
    assert backoff.pause(2, 0.0, 1.0) == 4
    assert backoff.pause(0, 4.0, 1.0) == pytest.approx(4.4), "spread, never shortened"
    assert backoff.pause(0, 3600.0, 0.0) == 10, "a destination can't stop us for good"


@pytest.mark.parametrize("how", ["time", "told"])
def test_it_gives_up_when_no_time_is_left_or_it_is_told(how: str) -> None:
    async def run() -> int:
        attempts = 0
        stopping = asyncio.Event()

        async def fail() -> Taken:
            nonlocal attempts
            attempts += 1
            if how == "told" and attempts == 3:
                stopping.set()
            raise ExportFailed(f"attempt {attempts}")

        backoff = Backoff(0.001, 0.001, max_elapsed_seconds=0.05 if how == "time" else 1e9)
        with pytest.raises(ExportFailed, match="attempt"):
            await persistently(fail, backoff, stopping=stopping)
        return attempts

    attempts = asyncio.run(run())
    assert attempts == 3 if how == "told" else attempts > 1


def test_a_long_pause_ends_when_told() -> None:
    async def run() -> None:
        stopping = asyncio.Event()

        async def fail() -> Taken:
            asyncio.get_running_loop().call_soon(stopping.set)
            raise ExportFailed("later", retry_after_seconds=3600)

        with pytest.raises(ExportFailed):
            await persistently(fail, Backoff(max_seconds=3600, max_elapsed_seconds=1e9), stopping=stopping)

    asyncio.run(run())


def test_an_answer_that_is_no_otlp_was_still_taken() -> None:
    class Odd(Answer):
        def body(self) -> bytes:
            return b"\xff\xff"

    with HttpSink() as sink:
        sink.answers.append(Odd())
        assert export(sink).message == "its answer is not OTLP"
        assert ExportTraceServiceRequest.FromString(sink.taken[0]).resource_spans
