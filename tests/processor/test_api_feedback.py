"""Feedback over HTTP: the real application on a real port, stored in the real engine."""

from __future__ import annotations

import asyncio
import calendar
import contextlib
import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tracetaxa.api import MAX_BODY_BYTES, create_api
from tracetaxa.config import Config, StoreConfig
from tracetaxa.feedback import MAX_ITEMS
from tracetaxa.schedule.runs import Runs
from tracetaxa.store.database import ClickHouse
from tracetaxa.store.dsn import parse_dsn
from tracetaxa.web import WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECONDS = 30
RETENTION_DAYS = 3650
TOKEN = "a-token-of-32-characters-or-more"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Api:
    endpoint: str
    headers: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection(self.endpoint, timeout=SECONDS)
        with contextlib.closing(connection):
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, self.headers | names)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())

    def give(self, value: Any, **headers: str) -> Reply:
        return self.send("POST", "/v1/feedback", json.dumps(value).encode(), **(JSON | headers))

    def stored(self, **question: str) -> list[dict[str, Any]]:
        reply = self.send("GET", f"/v1/feedback?{urlencode(question)}")
        assert reply.status == 200, reply.body
        return reply.json["feedback"]


@contextlib.contextmanager
def serving(store: ClickHouse, token: str | None = None) -> Iterator[Api]:
    async def status() -> dict[str, Any]:
        return {}

    async def still_open(unit: str) -> int:
        return 0

    config = Config(store=StoreConfig(retention_days=RETENTION_DAYS))
    endpoints: list[str] = []
    started, stopping = threading.Event(), threading.Event()

    async def serve() -> None:
        web = WebServer(
            create_api(config, store, status, Runs(config, store, still_open), token),
            "127.0.0.1:0",
            "api.endpoint",
        )
        endpoints.append(await web.start())
        started.set()
        await asyncio.to_thread(stopping.wait)
        await web.shutdown()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(SECONDS)
        yield Api(endpoints[0], {"Authorization": f"Bearer {token}"} if token else {})
    finally:
        stopping.set()
        thread.join(SECONDS)


@pytest.fixture
def api(store: ClickHouse) -> Iterator[Api]:
    with serving(store) as running:
        yield running


def test_given_and_read_back(api: Api) -> None:
    before_ns = time.time_ns()
    reply = api.give({"trace_id": TRACE.upper(), "label": "👎", "comment": "wrong order", "user": "u1"})
    after_ns = time.time_ns()
    (feedback_id,) = reply.json["feedback_ids"]
    assert (reply.status, reply.json) == (200, {"accepted": 1, "feedback_ids": [feedback_id], "refused": []})
    (given,) = api.stored(trace_id=TRACE)
    given_at = given.pop("given_at")
    assert given == {
        "feedback_id": feedback_id,
        "trace_id": TRACE,
        "session_id": "",
        "span_id": "",
        "name": "feedback",
        "score": 0.0,
        "label": "👎",
        "comment": "wrong order",
        "annotator": "HUMAN",
        "source": "api",
    }
    assert before_ns <= nanoseconds(given_at) <= after_ns


def nanoseconds(rfc3339: str) -> int:
    whole, _, fraction = rfc3339.removesuffix("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 10**9 + int(fraction.ljust(9, "0"))


def test_the_same_person_changes_their_mind(api: Api) -> None:
    said = {"trace_id": TRACE, "name": "helpful", "user": "u1"}
    first = api.give(said | {"score": True}).json["feedback_ids"]
    assert api.give(said | {"score": False, "user": "u2"}).json["feedback_ids"] != first
    assert api.give(said | {"score": False, "comment": "no"}).json["feedback_ids"] == first
    assert sorted((g["score"], g["comment"]) for g in api.stored(trace_id=TRACE)) == [(0.0, ""), (0.0, "no")]


def test_targets(api: Api) -> None:
    many = [
        {"traceparent": f"00-{TRACE}-{SPAN}-01", "score": 0.5},
        {"trace_id": TRACE, "session_id": "chat 'x' / 1", "score": 0.25},
        {"session_id": "chat 'x' / 1", "score": 0.125},
    ]
    assert api.give({"feedback": many}).json["accepted"] == 3
    on_trace = {(g["span_id"], g["session_id"], g["score"]) for g in api.stored(trace_id=TRACE.upper())}
    assert on_trace == {(SPAN, "", 0.5), ("", "chat 'x' / 1", 0.25)}
    (on_session,) = api.stored(session_id="chat 'x' / 1")
    assert (on_session["trace_id"], on_session["score"]) == ("", 0.125)
    assert api.stored(trace_id="c" * 32) == api.stored(session_id="none") == []


def test_a_time_of_its_own(api: Api) -> None:
    moment = "2026-01-02T03:04:05.123456789Z"
    said = {"session_id": "s", "score": 1, "time": moment}
    assert api.give([said, said | {"time": "2026-01-01T00:00:00Z", "score": 0}]).json["accepted"] == 2
    assert [(g["given_at"], g["score"]) for g in api.stored(session_id="s")] == [(moment, 1.0)]


@pytest.mark.parametrize(
    ("items", "status", "accepted", "refused"),
    [
        ([{"trace_id": TRACE, "score": 1}, {"trace_id": TRACE}], 207, 1, {1: "score is missing"}),
        ([7, {"trace_id": "x", "score": 1}], 400, 0, {0: "must be an object", 1: "trace_id must be"}),
        ([], 200, 0, {}),
        (
            [{"session_id": "s", "score": 1, "time": "2001-01-01T00:00:00Z"}],
            400,
            0,
            {0: "older than what is kept"},
        ),
    ],
)
def test_each_item_stands_for_itself(
    api: Api, items: list[Any], status: int, accepted: int, refused: dict[int, str]
) -> None:
    reply = api.give(items)
    assert (reply.status, reply.json["accepted"]) == (status, accepted)
    assert {r["index"] for r in reply.json["refused"]} == set(refused)
    assert all(refused[r["index"]] in r["error"] for r in reply.json["refused"])
    assert [i for i, feedback_id in enumerate(reply.json["feedback_ids"]) if feedback_id is None] == [
        *refused
    ]
    assert len(api.stored(trace_id=TRACE)) == accepted


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "not JSON"),
        (b'{"trace_id": ', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b" " * (MAX_BODY_BYTES + 1), "larger than"),
        (json.dumps([{}] * (MAX_ITEMS + 1)).encode(), "at most 1000"),
        (b'{"feedback": {}}', "feedback must be a list"),
    ],
)
def test_requests_that_can_never_be_stored(api: Api, body: bytes, error: str) -> None:
    reply = api.send("POST", "/v1/feedback", body, **JSON)
    assert reply.status == 400
    assert error in reply.json["error"]


@pytest.mark.parametrize("query", ["", "?trace_id=", f"?trace_id={TRACE}&session_id=s"])
def test_one_question_at_a_time(api: Api, query: str) -> None:
    reply = api.send("GET", f"/v1/feedback{query}")
    assert (reply.status, reply.json) == (400, {"error": "ask with one of trace_id and session_id"})


def test_pages_elsewhere_cannot_give_feedback(api: Api) -> None:
    """A browser sends only simple content types unasked, and its question about others is not answered."""
    body = json.dumps({"trace_id": TRACE, "score": 1}).encode()
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert api.send("POST", "/v1/feedback", body, Content_Type=content_type).status == 400
    asked = api.send(
        "OPTIONS", "/v1/feedback", Origin="https://evil.example", Access_Control_Request_Method="POST"
    )
    assert asked.status == 405
    assert not [name for name in asked.headers if name.lower().startswith("access-control")]
    assert api.give({"trace_id": TRACE, "score": 1}, Host="evil.example").status == 403
    assert api.stored(trace_id=TRACE) == []


def test_with_a_token(store: ClickHouse) -> None:
    said = {"trace_id": TRACE, "score": 1}
    with serving(store, TOKEN) as api:
        assert api.give(said, Authorization="Bearer wrong").status == 401
        assert Api(api.endpoint).send("GET", f"/v1/feedback?trace_id={TRACE}").status == 401
        assert api.stored(trace_id=TRACE) == []
        assert api.give(said, Host="anywhere.example").status == 200
        assert len(api.stored(trace_id=TRACE)) == 1


def test_without_a_database_nothing_is_acknowledged() -> None:
    """The sender keeps what was not stored: 503 is worth a retry."""
    nobody = ClickHouse(parse_dsn("clickhouse://127.0.0.1:1"), "otel")
    try:
        with serving(nobody) as api:
            reply = api.give({"trace_id": TRACE, "score": 1})
    finally:
        nobody.close()
    assert reply.status == 503
    assert "does not answer now" in reply.json["error"]
