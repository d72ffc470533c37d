"""OTLP over HTTP into ClickHouse: real server, real clients, real engine."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import time
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from otlp_receiver import DEADLINE, Service, Store, accepts_connections, count, request, serving
from tracetaxa.receive import Credential, Room
from tracetaxa_exporter.clickhouse import LogWriter, SpanWriter, WriteFailed, create_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clickhouse_connect.driver.client import Client

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
TRACES = "/v1/traces"
ALLOWED = {200, 400, 401, 404, 405, 413, 415, 429, 503}


@pytest.fixture
def reader(client: Client) -> Client:
    create_tables(client, 30)
    return client


@pytest.fixture
def store(reader: Client, connect: Callable[[], Client]) -> Store:
    return Store(SpanWriter(connect()))


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def reason(self) -> str:
        """The message of the google.rpc.Status in the body."""
        if self.headers["content-type"] == PROTOBUF:
            return Status.FromString(self.body).message
        return str(json.loads(self.body)["message"])


def connected(service: Service) -> http.client.HTTPConnection:
    host, _, port = service.http_target.rpartition(":")
    return http.client.HTTPConnection(host, int(port), timeout=DEADLINE)


def ask(
    connection: http.client.HTTPConnection,
    body: Any,
    content_type: str = PROTOBUF,
    path: str = TRACES,
    method: str = "POST",
    **headers: str,
) -> Answer:
    """`body` is sent in chunks when it is an iterator."""
    named = {"content-type": content_type} | {k.replace("_", "-"): v for k, v in headers.items()}
    connection.request(method, path, body, named)
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


def post(service: Service, body: Any, content_type: str = PROTOBUF, **options: Any) -> Answer:
    connection = connected(service)
    try:
        return ask(connection, body, content_type, **options)
    finally:
        connection.close()


def protobuf(*numbers: int, name: str = "chat") -> bytes:
    return request(*numbers, name=name).SerializeToString()


def as_json(message: ExportTraceServiceRequest) -> dict[str, Any]:
    """As OTLP has it: ids in hex."""
    value: dict[str, Any] = json_format.MessageToDict(message, use_integers_for_enums=True)
    for span in spans_of(value):
        for key in ("traceId", "spanId"):
            span[key] = base64.b64decode(span[key]).hex()
    return value


def spans_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    spans: list[dict[str, Any]] = value["resourceSpans"][0]["scopeSpans"][0]["spans"]
    return spans


def pieces(body: bytes, size: int = 7) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


# ------------------------------------------------------------------------------------------------- storing


@pytest.mark.parametrize(
    ("content_type", "encoding", "chunked"),
    [
        (PROTOBUF, "", False),
        (PROTOBUF, "gzip", True),
        ("Application/X-Protobuf", "GZIP", False),
        (JSON, "identity", True),
        ("application/json; charset=utf-8", "gzip", False),
    ],
)
def test_acknowledged_means_stored(
    store: Store, reader: Client, content_type: str, encoding: str, chunked: bool
) -> None:
    in_protobuf = "protobuf" in content_type.lower()
    body = protobuf(1, 2) if in_protobuf else json.dumps(as_json(request(1, 2))).encode()
    if encoding.lower() == "gzip":
        body = gzip.compress(body)
    with serving(store) as (service, _):
        answer = post(
            service, pieces(body) if chunked else body, content_type, content_encoding=encoding or "identity"
        )
        assert answer.status == 200
        assert count(reader) == 2
        assert service.traces.counts.accepted == 2
        assert (service.room.used_bytes, service.room.requests) == (0, 0)
    if in_protobuf:
        assert ExportTraceServiceResponse.FromString(answer.body) == ExportTraceServiceResponse()
        assert answer.headers["content-type"] == PROTOBUF
    else:
        assert answer.body == b"{}"
        assert answer.headers["content-type"] == JSON


def test_json_as_sdks_write_it(store: Store, reader: Client) -> None:
    start = time.time_ns() - 10**9
    body = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
                "schemaUrl": "",
                "unheardOf": {"a": [1]},
                "scopeSpans": [
                    {
                        "scope": {"name": "js", "version": "1"},
                        "spans": [
                            {
                                "traceId": "5B8EFFF798038103D269B633813FC60C",
                                "spanId": "eee19b7ec3c1b174",
                                "parentSpanId": "",
                                "name": "chat",
                                "kind": 3,
                                "startTimeUnixNano": str(start),
                                "endTimeUnixNano": start + 10**6,
                                "attributes": [
                                    {"key": "string", "value": {"intValue": "42"}},
                                    {"key": "number", "value": {"intValue": 42}},
                                    {"key": "double", "value": {"doubleValue": 0.5}},
                                    {"key": "bool", "value": {"boolValue": False}},
                                    {"key": "bytes", "value": {"bytesValue": "3q0="}},
                                    {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}},
                                ],
                                "status": {"code": 2, "message": "broken"},
                                "events": [{"name": "said", "timeUnixNano": start, "attributes": []}],
                                "links": [{"traceId": "0" * 31 + "a", "spanId": "0" * 15 + "b"}],
                                "flags": 257,
                            }
                        ],
                    }
                ],
            }
        ]
    }
    with serving(store) as (service, _):
        assert post(service, json.dumps(body), JSON).status == 200
    row = reader.query(
        "SELECT TraceId, SpanId, ParentSpanId, SpanKind, ServiceName, SpanAttributes, StatusCode, Duration, "
        "`Events.Name`, `Links.TraceId`, `Links.SpanId` FROM otel_traces"
    ).first_item
    assert row == {
        "TraceId": "5b8efff798038103d269b633813fc60c",
        "SpanId": "eee19b7ec3c1b174",
        "ParentSpanId": "",
        "SpanKind": "Client",
        "ServiceName": "shop",
        "SpanAttributes": {
            "string": "42",
            "number": "42",
            "double": "0.5",
            "bool": "false",
            "bytes": "3q0=",
            "list": "[1]",
        },
        "StatusCode": "Error",
        "Duration": 10**6,
        "Events.Name": ["said"],
        "Links.TraceId": ["0" * 31 + "a"],
        "Links.SpanId": ["0" * 15 + "b"],
    }


def test_log_records_go_to_their_table(reader: Client, connect: Callable[[], Client]) -> None:
    record = LogRecord(time_unix_nano=time.time_ns(), event_name="gen_ai.evaluation.result")
    body = ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[record])])]
    ).SerializeToString()
    with serving(logs=Store(LogWriter(connect()))) as (service, _):
        assert post(service, body, path="/v1/logs").status == 200
        assert service.logs.counts.accepted == 1
    assert count(reader, "otel_logs") == 1


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_bad_spans_are_reported_and_their_neighbours_stored(
    store: Store, reader: Client, content_type: str
) -> None:
    message = request(1, 2, 3)
    message.resource_spans[0].scope_spans[0].spans[1].trace_id = b"short"
    value = as_json(request(1, 2, 3))
    spans_of(value)[1]["traceId"] = "no hex"
    body = message.SerializeToString() if content_type == PROTOBUF else json.dumps(value)
    with serving(store) as (service, _):
        answer = post(service, body, content_type)
    assert answer.status == 200
    assert count(reader) == 2
    if content_type == PROTOBUF:
        partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
        assert (partial.rejected_spans, "trace id" in partial.error_message) == (1, True)
    else:
        partial = json.loads(answer.body)["partialSuccess"]
        assert (partial["rejectedSpans"], "trace id" in partial["errorMessage"]) == ("1", True)


def test_requests_share_a_connection_and_an_empty_one_writes_nothing(store: Store, reader: Client) -> None:
    with serving(store) as (service, _):
        connection = connected(service)
        for body, content_type in (
            (b"", PROTOBUF),
            (b"{}", JSON),
            (protobuf(1), PROTOBUF),
            (protobuf(2), PROTOBUF),
        ):
            assert ask(connection, body, content_type).status == 200
            assert connection.sock is not None
        connection.close()
    assert count(reader) == 2
    assert store.writes == 2


def test_several_gzip_members_are_one_body(store: Store, reader: Client) -> None:
    body = protobuf(1, 2, 3)
    with serving(store) as (service, _):
        members = gzip.compress(body[:50]) + gzip.compress(body[50:])
        assert post(service, pieces(members), content_encoding="gzip").status == 200
    assert count(reader) == 3


# ------------------------------------------------------------------------------------------------- text


def test_strings_that_are_not_utf8_cost_only_themselves(store: Store, reader: Client) -> None:
    body = protobuf(1, 2, name="MARK").replace(b"MARK", b"\xed\xa0a\xff", 1)
    with serving(store) as (service, sender):
        partial = ExportTraceServiceResponse.FromString(post(service, body).body).partial_success
        assert (partial.rejected_spans, "UTF-8" in partial.error_message) == (0, True)
        assert "UTF-8" in sender.send(body).partial_success.error_message
        assert service.traces.counts.repaired_requests == 2
        assert service.traces.counts.malformed_requests == 0
    names = reader.query("SELECT SpanName FROM otel_traces FINAL ORDER BY SpanId").result_columns[0]
    assert names == ["??a?", "MARK"]


@pytest.mark.parametrize("bad", [b'"\\ud83d cut"', b'"\xff cut"'], ids=["lone surrogate", "not utf-8"])
def test_json_with_half_a_character_costs_only_that(store: Store, reader: Client, bad: bytes) -> None:
    body = json.dumps(as_json(request(1, 2))).encode().replace(b'"chat"', bad, 1)
    body = body.replace(b'"chat"', b'"\\ud83d\\ude00"')
    with serving(store) as (service, _):
        answer = post(service, body, JSON)
        assert answer.status == 200
        assert "UTF-8" in json.loads(answer.body)["partialSuccess"]["errorMessage"]
        assert service.traces.counts.repaired_requests == 1
    names = reader.query("SELECT SpanName FROM otel_traces ORDER BY SpanId").result_columns[0]
    assert names[0] in ("? cut", "\ufffd cut")
    assert names[1] == "\U0001f600"


@pytest.mark.parametrize("attribute", [{"intValue": 1e21}, {"intValue": "many"}, {"stringValue": 7}, 5])
def test_json_span_that_is_not_otlp_costs_only_itself(store: Store, reader: Client, attribute: Any) -> None:
    value = as_json(request(1, 2, 3, 4))
    spans_of(value)[1]["attributes"] = [{"key": "size", "value": attribute}]
    spans_of(value)[2]["traceId"] = "short"
    with serving(store) as (service, _):
        answer = post(service, json.dumps(value), JSON)
        assert answer.status == 200
        partial = json.loads(answer.body)["partialSuccess"]
        assert partial["rejectedSpans"] == "2"
        assert "left out spans that are not OTLP" in partial["errorMessage"]
        assert "trace id" in partial["errorMessage"]
        assert (service.traces.counts.accepted, service.traces.counts.failed) == (2, 2)
        del spans_of(value)[2:], spans_of(value)[0]
        alone = json.loads(post(service, json.dumps(value), JSON).body)["partialSuccess"]
        assert alone["rejectedSpans"] == "1"
        assert "not OTLP" in service.traces.last_error
        assert post(service, protobuf(9)).status == 200
        assert service.traces.last_error == ""
    assert reader.query("SELECT SpanId FROM otel_traces ORDER BY SpanId").result_columns[0] == [
        f"{number:016x}" for number in (1, 4, 9)
    ]


# ------------------------------------------------------------------------------------------------- refusing

DEEP = b'{"resourceSpans":' * 20_000


@pytest.mark.parametrize(
    ("status", "body", "options"),
    [
        (400, b"\xff\xff\xff\xff", {}),
        (400, protobuf(1)[:-3], {}),
        (400, protobuf(1, name="MARK").replace(b"MARK", b"\xff\xff\xff\xff") + b"\x02\x00", {}),
        (400, protobuf(1, name="MARK").replace(b"MARK", b"\xff\xff\xff\xff") + b"\x0a\x7f", {}),
        (400, b"{}", {}),
        (400, b"", {"content_type": JSON}),
        (400, b"[]", {"content_type": JSON}),
        (400, b"{", {"content_type": JSON}),
        (400, b'{"resourceSpans": 7}', {"content_type": JSON}),
        (400, b'{"resourceSpans": [null]}', {"content_type": JSON}),
        (400, DEEP, {"content_type": JSON}),
        (400, b'{"resourceSpans":' * 900 + b"1" + b"}" * 900, {"content_type": JSON}),
        (400, b"1" * 10_000, {"content_type": JSON}),
        (400, protobuf(1), {"content_type": JSON}),
        (400, protobuf(1), {"content_encoding": "gzip"}),
        (400, b"", {"content_encoding": "gzip"}),
        (400, gzip.compress(protobuf(1))[:-4], {"content_encoding": "gzip"}),
        (400, gzip.compress(protobuf(1)) + b"rest", {"content_encoding": "gzip"}),
        (404, protobuf(1), {"path": "/"}),
        (404, protobuf(1), {"path": "/v1/traces/"}),
        (404, b"", {"path": "/v1/metrics"}),
        (405, None, {"method": "GET"}),
        (405, None, {"method": "OPTIONS"}),
        (405, protobuf(1), {"method": "PUT"}),
        (415, protobuf(1), {"content_type": "text/plain"}),
        (415, protobuf(1), {"content_type": ""}),
        (415, protobuf(1), {"content_encoding": "zstd"}),
        (415, protobuf(1), {"content_encoding": "gzip, gzip"}),
    ],
    # Spans carry the time, and the names of tests must be the same in every worker.
    ids=lambda value: type(value).__name__ if isinstance(value, bytes) else None,
)
def test_what_is_no_request_must_not_be_sent_again(status: int, body: Any, options: dict[str, Any]) -> None:
    store = Store()
    with serving(store) as (service, _):
        answer = post(service, body, **options)
        assert answer.status == status
        assert answer.reason
        assert "retry-after" not in answer.headers
        assert answer.headers["content-type"] == options.get("content_type", PROTOBUF) or status == 415
        assert service.room.used_bytes == 0
        assert service.traces.counts.malformed_requests <= 1
        assert post(service, protobuf(1)).status == 200
    assert store.writes == 1


def test_metrics_are_told_where_they_do_not_belong() -> None:
    with serving() as (service, _):
        assert "takes traces and logs, not metrics" in post(service, b"", path="/v1/metrics").reason


def test_too_large_is_told_before_and_after_decompression(store: Store, reader: Client) -> None:
    large = protobuf(1, name="a" * 2**21)
    bomb = zlib.compressobj(wbits=31)
    nulls = bytes(2**20)
    body = b"".join(bomb.compress(nulls) for _ in range(256)) + bomb.flush()
    assert len(body) < 2**20
    with serving(store, http={"max_body_mib": 1}) as (service, _):
        for sent, encoding in (
            (large, ""),
            (pieces(large, 2**16), ""),
            (gzip.compress(large), "gzip"),
            (body, "gzip"),
        ):
            answer = post(service, sent, content_encoding=encoding)
            assert answer.status == 413
            assert "1 MiB" in answer.reason
            assert "retry-after" not in answer.headers
        assert service.room.used_bytes == 0
        assert post(service, protobuf(2, name="a" * 2**19)).status == 200
    assert count(reader) == 1


def test_one_who_waits_for_permission_is_refused_without_sending(store: Store) -> None:
    with (
        serving(store, http={"max_body_mib": 1}) as (service, _),
        socket.create_connection(address(service)) as sender,
    ):
        sender.settimeout(DEADLINE)
        sender.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
        )
        assert sender.recv(12) == b"HTTP/1.1 413"


def test_credential_is_needed(store: Store, reader: Client) -> None:
    credential = Credential("authorization", b"a-very-secret-token", bearer=True)
    with serving(store, http={"credential": credential}) as (service, _):
        for given in (
            "",
            "Bearer",
            "Bearer ",
            "Bearer wrong",
            "a-very-secret-token",
            "Bearer a-very-secret-token2",
        ):
            # Larger than what the network holds, so that the answer comes while the sender still writes.
            answer = post(service, bytes(2**23), authorization=given)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "secret" not in answer.reason
        assert post(service, b"", path="/", method="GET").status == 401
        assert post(service, protobuf(1), authorization="bearer a-very-secret-token").status == 200
    assert count(reader) == 1
    assert "secret" not in repr(credential)


def test_no_room_means_later(store: Store, reader: Client) -> None:
    limits = {"room": Room(0.0001), "linger_ms": 0}
    with serving(store, commit=limits, http={"retry_after_seconds": 1.5}) as (service, sender):
        store.go_on.clear()
        first = sender.future(request(1, 2))
        assert store.begun.wait(DEADLINE)
        for body in (protobuf(3), pieces(protobuf(3))):
            answer = post(service, body)
            assert (answer.status, answer.headers["retry-after"]) == (429, "2")
        assert service.room.turned_away == 2
        store.go_on.set()
        first.result()
        assert post(service, protobuf(3)).status == 200
        assert count(reader) == 3


def test_too_many_requests_at_once_mean_later(store: Store) -> None:
    with serving(store, commit={"room": Room(max_requests=1), "linger_ms": 0}) as (service, sender):
        store.go_on.clear()
        first = sender.future(request(1))
        assert store.begun.wait(DEADLINE)
        answer = post(service, protobuf(2))
        assert answer.status == 503
        assert answer.headers["retry-after"]
        assert "too many requests" in sender.refused(request(2)).details()
        store.go_on.set()
        first.result()
        assert post(service, protobuf(2)).status == 200


@pytest.mark.parametrize(
    "failure",
    [WriteFailed("connection refused", retryable=True), KeyError("a bug")],
    ids=["store away", "unforeseen"],
)
def test_failing_store_means_later(failure: Exception) -> None:
    store = Store()
    with serving(store) as (service, _):
        store.failure = failure
        answer = post(service, protobuf(1))
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert str(failure) not in answer.reason
        store.failure = None
        assert post(service, protobuf(1)).status == 200


def test_bug_in_the_service_means_later() -> None:
    with serving() as (service, _):

        async def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        service.traces.export = broken  # type: ignore[method-assign, assignment]
        answer = post(service, protobuf(1))
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0


# ------------------------------------------------------------------------------------------------- slow ones


def address(service: Service) -> tuple[str, int]:
    host, _, port = service.http_target.rpartition(":")
    return host, int(port)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/traces HT", b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n"])
def test_slow_headers_are_cut_off(sent: bytes) -> None:
    with (
        serving(limits={"header_seconds": 0.1}) as (service, _),
        socket.create_connection(address(service)) as sender,
    ):
        sender.settimeout(DEADLINE)
        sender.sendall(sent)
        assert sender.recv(1) == b""


def test_slow_headers_after_a_request_are_cut_off(store: Store) -> None:
    with serving(store, limits={"header_seconds": 0.1, "idle_seconds": DEADLINE}) as (service, _):
        connection = connected(service)
        assert ask(connection, protobuf(1)).status == 200
        connection.sock.sendall(b"POST /v1")
        assert connection.sock.recv(1) == b""
        connection.close()


def test_slow_body_is_cut_off(store: Store) -> None:
    with (
        serving(store, http={"read_seconds": 0.1}) as (service, _),
        socket.create_connection(address(service)) as sender,
    ):
        sender.settimeout(DEADLINE)
        sender.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: 100\r\n\r\nsome"
        )
        answer = b""
        while data := sender.recv(4096):
            answer += data
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after" in answer.lower()
        assert (service.room.used_bytes, service.room.requests) == (0, 0)
    assert store.writes == 0


def test_connections_beyond_the_limit_are_closed(store: Store) -> None:
    with serving(store, limits={"max_connections": 1}) as (service, _):
        connection = connected(service)
        assert ask(connection, protobuf(1)).status == 200
        with socket.create_connection(address(service)) as second:
            second.settimeout(DEADLINE)
            assert second.recv(1) == b""
        assert ask(connection, protobuf(2)).status == 200
        connection.close()


def test_sender_that_leaves_in_the_middle_leaves_nothing(store: Store) -> None:
    with serving(store) as (service, _):
        with socket.create_connection(address(service)) as sender:
            sender.sendall(
                b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
                b"Content-Length: 100\r\n\r\nsome"
            )
            wait_for(lambda: service.room.used_bytes == 4)
        wait_for(lambda: (service.room.used_bytes, service.room.requests) == (0, 0))
    assert store.writes == 0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_shutdown_answers_what_is_under_way(store: Store, reader: Client) -> None:
    import asyncio

    with serving(store, commit={"linger_ms": 0}) as (service, _):
        store.go_on.clear()
        connection = connected(service)
        connection.request("POST", TRACES, protobuf(1, 2), {"content-type": PROTOBUF})
        assert store.begun.wait(DEADLINE)
        stopping = asyncio.run_coroutine_threadsafe(service.web.shutdown(), service.loop)
        wait_for(lambda: not accepts_connections(*address(service)))
        store.go_on.set()
        assert connection.getresponse().status == 200
        connection.close()
        stopping.result(DEADLINE)
    assert count(reader) == 2


# ------------------------------------------------------------------------------------------------- anything


def mutated(body: bytes) -> st.SearchStrategy[bytes]:
    def change(edits: list[tuple[int, int]]) -> bytes:
        changed = bytearray(body)
        for at, byte in edits:
            changed[at % len(changed)] = byte
        return bytes(changed)

    places = st.tuples(st.integers(0, len(body) - 1), st.integers(0, 255))
    return st.lists(places, min_size=1, max_size=8).map(change)


VALID_JSON = json.dumps(as_json(request(7, 8))).encode()
BODIES = st.one_of(
    st.binary(max_size=200),
    mutated(protobuf(7, 8)),
    mutated(VALID_JSON),
    st.integers(0, len(VALID_JSON)).map(lambda end: VALID_JSON[:end]),
    mutated(gzip.compress(protobuf(7, 8))),
)


def test_whatever_comes_good_requests_are_stored(reader: Client, store: Store) -> None:
    good = 0
    with serving(store) as (service, _):

        @given(
            body=BODIES,
            content_type=st.sampled_from([PROTOBUF, JSON, "text/plain"]),
            encoding=st.sampled_from(["", "gzip", "br"]),
            chunked=st.booleans(),
        )
        @settings(max_examples=75, deadline=None, suppress_health_check=list(HealthCheck))
        def sent(body: bytes, content_type: str, encoding: str, chunked: bool) -> None:
            nonlocal good
            answer = post(
                service,
                pieces(body, 40) if chunked and body else body,
                content_type,
                content_encoding=encoding,
            )
            assert answer.status in ALLOWED - {503, 429}
            good += 1
            assert post(service, protobuf(10**6 + good)).status == 200

        sent()
        assert (service.room.used_bytes, service.room.requests) == (0, 0)
    stored = reader.query(
        f"SELECT uniqExact(SpanId) AS n FROM otel_traces WHERE SpanName = 'chat' AND SpanId > '{10**6:016x}'"
        f" AND SpanId <= '{10**6 + good:016x}'"
    ).first_item["n"]
    assert stored == good
