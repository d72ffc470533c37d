"""Senders that keep their data until it is acknowledged, as OTLP exporters must, and remember what they were told.

Each sender makes traces of its own, delivers them one request after the other, and sends a request again until it
is answered OK. The traces straddle requests, so that whatever happens between two requests happens inside of
traces too.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otlp import CHAT, request, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

QUESTIONS = (
    "Where is my parcel?",
    "I want my money back for the kettle.",
    "How do I change my password?",
    "Which lamp fits a small desk?",
)
TRACES_PER_SESSION = 20
LOST_WAIT_SECONDS = 0.05
"""A sender that got no answer asks again after about this long."""
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Refused(Exception):
    """A request was not acknowledged.

    status: a gRPC status name, or an HTTP status as text.
    retry_after: seconds that the receiver asked to wait; None when it asked for nothing.
    lost: nobody answered, so the request may be stored all the same.
    """

    def __init__(self, status: str, *, retry_after: float | None = None, lost: bool = False) -> None:
        super().__init__(status)
        self.status = status
        self.retry_after = retry_after
        self.lost = lost


class Transport(Protocol):
    def send(self, message: bytes, timeout: float) -> None:
        """Returns when everything in `message` is acknowledged; raises Refused."""

    def close(self) -> None: ...


class GrpcTransport:
    """A connection of its own, which comes back quickly after a restart of the receiver."""

    def __init__(self, target: str) -> None:
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.max_send_message_length", -1),
        ]
        self._channel = grpc.insecure_channel(target, options=options)
        self._export = self._channel.unary_unary(
            _EXPORT, response_deserializer=ExportTraceServiceResponse.FromString
        )

    def send(self, message: bytes, timeout: float) -> None:
        try:
            answer = self._export(message, timeout=timeout)
        except grpc.RpcError as error:
            raise _refused(error) from error
        _whole(answer)

    def close(self) -> None:
        self._channel.close()


class HttpTransport:
    """OTLP/HTTP with protobuf bodies over a connection that is kept open."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._connection: http.client.HTTPConnection | None = None

    def send(self, message: bytes, timeout: float) -> None:
        headers = {"Content-Type": "application/x-protobuf"}
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._target, timeout=timeout)
            if self._connection.sock is None:  # new, or closed by the receiver after its last answer
                self._connection.connect()
            self._connection.sock.settimeout(timeout)
            self._connection.request("POST", "/v1/traces", message, headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Refused(type(error).__name__, lost=True) from error
        if answer.status != 200:
            after = answer.headers.get("Retry-After")
            raise Refused(str(answer.status), retry_after=None if after is None else float(after))
        _whole(ExportTraceServiceResponse.FromString(body))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


TRANSPORTS = {"grpc": GrpcTransport, "http": HttpTransport}


def _refused(error: grpc.RpcError) -> Refused:
    # A status that grpc made up on this side has no details.
    status = rpc_status.from_call(error)
    retry = RetryInfo()
    told = status is not None and any(detail.Unpack(retry) for detail in status.details)
    return Refused(
        error.code().name,
        retry_after=retry.retry_delay.ToNanoseconds() / 10**9 if told else None,
        lost=not told and error.code().name in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"),
    )


def _whole(answer: ExportTraceServiceResponse) -> None:
    if answer.partial_success.rejected_spans:
        raise Refused(f"rejected spans: {answer.partial_success.error_message}")


@dataclass(frozen=True, slots=True)
class Workload:
    """What one sender sends: traces of an agent whose first spans go into one request and the rest into the next.

    Senders of one campaign differ in `sender`. Same numbers, same ids.
    """

    sender: int
    traces_per_request: int = 10
    spans_per_trace: int = 6
    padding: int = 0
    """Characters added to each span."""

    def trace_id(self, number: int) -> int:
        return (self.sender + 1) << 64 | (number + 1)

    def spans(self, number: int, start_ns: int) -> list[Span]:
        """The root last: it ends when the others have ended."""
        trace = self.trace_id(number)
        said = [{"role": "user", "parts": [{"type": "text", "content": QUESTIONS[number % len(QUESTIONS)]}]}]
        attributes = CHAT | {
            "gen_ai.conversation.id": f"{self.sender}-{number // TRACES_PER_SESSION}",
            "gen_ai.input.messages": json.dumps(said),
            "padding": "x" * self.padding,
        }
        chats = [
            span(trace, k, self.spans_per_trace, start=start_ns + k * 1000, attributes=attributes)
            for k in range(1, self.spans_per_trace)
        ]
        root = span(trace, self.spans_per_trace, name="invoke_agent", start=start_ns, duration=10**9)
        return [*chats, root]

    def requests(self, stopped: Callable[[], bool]) -> Iterator[list[Span]]:
        """The spans of one request after the other; after `stopped`, those that complete the traces begun."""
        rest: list[Span] = []
        number = 0
        while not stopped():
            now_ns = time.time_ns()
            first, later = list(rest), []
            for _ in range(self.traces_per_request):
                spans = self.spans(number, now_ns)
                number += 1
                half = len(spans) // 2
                first += spans[:half]
                later += spans[half:]
            rest = later
            yield first
        if rest:
            yield rest


@dataclass(slots=True)
class Journal:
    """What a sender knows when it is done."""

    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    """Span ids by trace id, in hex."""
    requests: int = 0
    """Sent, with those that were sent again."""
    repeated: int = 0
    """Sent again after they had been acknowledged, as if the answer had been lost on the way."""
    lost: int = 0
    """Without any answer."""
    statuses: Counter[str] = field(default_factory=Counter)
    without_retry: Counter[str] = field(default_factory=Counter)
    """Answers that were no OK and did not say when to come back."""

    def spans(self) -> int:
        return sum(len(spans) for spans in self.acknowledged.values())


@dataclass
class Sender:
    """A thread that delivers a workload.

    repeat: share of requests that are sent again although they were acknowledged.
    hasty: share of attempts that give up after `hasty_seconds`, and are then made again.
    pause_seconds: after each delivered request, on average.
    """

    workload: Workload
    transport: Transport
    seed: int = 0
    repeat: float = 0.02
    hasty: float = 0.02
    hasty_seconds: float = 0.01
    pause_seconds: float = 0.0
    timeout_seconds: float = 60.0
    journal: Journal = field(default_factory=Journal)
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed}/{self.workload.sender}")
        self._stopping = threading.Event()
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sender-{self.workload.sender}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no new traces; those begun are delivered."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Waits until everything is acknowledged; gives up after `seconds`, and then raises AssertionError."""
        self._thread.join(seconds)
        self._given_up.set()
        self._thread.join(self.timeout_seconds)
        self.transport.close()
        if self.failure is not None:
            raise self.failure
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for spans in self.workload.requests(self._stopping.is_set):
                message = request(*spans).SerializeToString()
                self._deliver(message)
                for one in spans:
                    self.journal.acknowledged.setdefault(one.trace_id.hex(), set()).add(one.span_id.hex())
                if self._random.random() < self.repeat:
                    self.journal.repeated += 1
                    self._deliver(message)
                if self.pause_seconds:
                    time.sleep(self._random.uniform(0, 2 * self.pause_seconds))
        except BaseException as error:
            self.failure = error

    def _deliver(self, message: bytes) -> None:
        journal = self.journal
        while True:
            hasty = self._random.random() < self.hasty
            journal.requests += 1
            try:
                self.transport.send(message, self.hasty_seconds if hasty else self.timeout_seconds)
            except Refused as refused:
                journal.statuses[refused.status] += 1
                if refused.lost:
                    journal.lost += 1
                elif refused.retry_after is None:
                    journal.without_retry[refused.status] += 1
                if self._given_up.is_set():
                    raise AssertionError(f"not delivered in time: {refused}") from refused
                wait = LOST_WAIT_SECONDS if refused.retry_after is None else refused.retry_after
                self._given_up.wait(wait * self._random.uniform(0.5, 1.5))
            else:
                journal.statuses["OK"] += 1
                return


def total(senders: list[Sender]) -> Journal:
    """What all senders know together."""
    sums = Journal()
    for sender in senders:
        journal = sender.journal
        sums.acknowledged |= journal.acknowledged
        sums.requests += journal.requests
        sums.repeated += journal.repeated
        sums.lost += journal.lost
        sums.statuses += journal.statuses
        sums.without_retry += journal.without_retry
    return sums


def described(statuses: Counter[str]) -> str:
    return json.dumps(dict(statuses.most_common()))
