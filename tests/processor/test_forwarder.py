"""From closed traces in the tables to spans at a destination: once each, as they came, with their labels."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

from assembling import assemble
from otlp import CHAT, span
from otlp_recorder import attributes
from otlp_sink import DEADLINE, Answer, GrpcSink, Recorded
from tracetaxa.forward.forwarder import Forwarder
from tracetaxa.forward.mark import MARK
from tracetaxa.forward.rules import Rules
from tracetaxa.forward.spool import SpooledWriter, SpoolKeeper, SpoolState
from tracetaxa.records import LabelRow
from tracetaxa_exporter.clickhouse import RawSpanWriter, SpanWriter, SpanWriters, WriteFailed
from tracetaxa_exporter.otlp import Backoff, Destination, ExportFailed
from tracetaxa_exporter.wire import field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tracetaxa.store.database import ClickHouse

UNKNOWN = field(3000, b"a field of next year")
QUICK = Backoff(initial_seconds=0.01, max_seconds=0.05, max_elapsed_seconds=0.2)


@pytest.fixture
def sink() -> Iterator[GrpcSink]:
    with GrpcSink() as recorder:
        yield recorder


class Pipeline:
    """A store, what writes spans into it, and a forwarder on it."""

    def __init__(self, store: ClickHouse, sink: GrpcSink, **rules: Any) -> None:
        self.store = store
        self.sink = sink
        self.state = SpoolState(rules.pop("max_mib", 100), rules.pop("when_full", "refuse"))
        self.rules = Rules(**rules)
        self.client = Destination(sink.endpoint).client()
        self.forwarder = Forwarder(store, self.client, self.rules, QUICK, self.state)

    async def start(self) -> None:
        self.mark = await self.forwarder.start()
        self.spans = SpanWriters([SpanWriter(self.store.connect())], keep_raw=True)
        raw = RawSpanWriter(
            self.store.connect(), "forward_spool", wanted=lambda span: not self.mark.is_on(span)
        )
        self.writer = SpooledWriter(self.spans, [raw], self.state)

    def send(self, *requests: bytes) -> None:
        """As the receiver does."""
        self.writer.write([self.spans.read(request) for request in requests])

    async def close_traces(self) -> None:
        await asyncio.to_thread(assemble, self.store)

    async def label(self, trace: int, category: str = "Orders", **changes: Any) -> None:
        await self.store.insert("trace_labels", [label_row(trace, category, **changes)])


@asynccontextmanager
async def pipeline(store: ClickHouse, sink: GrpcSink, **rules: Any) -> AsyncIterator[Pipeline]:
    made = Pipeline(store, sink, **rules)
    await made.start()
    try:
        yield made
    finally:
        await made.client.close()


def label_row(trace: int, category: str, **changes: Any) -> LabelRow:
    values: dict[str, Any] = {
        "analysis": "topics",
        "run_id": "r1",
        "taxonomy_version": 1,
        "trace_id": f"{trace:032x}",
        "revision": 1,
        "trace_start_ns": 1_795_337_071_000_000_000,
        "service_name": "shop",
        "session_id": "",
        "category_id": category.lower(),
        "category": category,
        "subcategory_id": "where",
        "subcategory": "Where is it?",
        "confidence": 0.875,
        "labeller": "distilled",
        "classifier_version": "c1",
        "reason": "asks for an order",
        "evidence": "Where is my order?",
        "evidence_span_id": f"{2:016x}",
        "attributes": {"frustrated": "true"},
        "labelled_at_ns": 1_795_337_099_000_000_000,
    }
    return LabelRow(**(values | changes))


def request(*spans: Span | bytes, scope: str = "lib", host: str = "a", whole: bool = True) -> bytes:
    """With unknown fields at every level, and schema URLs; not `whole`: without its own tag and length."""
    resource = Resource()
    resource.attributes.add(key="host.name").value.string_value = host
    inner = b"".join(field(2, s if isinstance(s, bytes) else s.SerializeToString() + UNKNOWN) for s in spans)
    scope_spans = ScopeSpans(scope=InstrumentationScope(name=scope), schema_url=f"https://{scope}")
    resource_spans = ResourceSpans(resource=resource, schema_url="https://resource")
    scope_field = field(2, scope_spans.SerializeToString() + UNKNOWN + inner)
    message = resource_spans.SerializeToString() + UNKNOWN + scope_field
    return field(1, message) if whole else message


LABELS = {
    "tracetaxa.topics.category": "Orders",
    "tracetaxa.topics.category_id": "orders",
    "tracetaxa.topics.subcategory": "Where is it?",
    "tracetaxa.topics.subcategory_id": "where",
    "tracetaxa.topics.confidence": 0.875,
    "tracetaxa.topics.labeller": "distilled",
    "tracetaxa.topics.taxonomy_version": 1,
    "tracetaxa.topics.run_id": "r1",
    "tracetaxa.topics.attribute.frustrated": "true",
}


def ours(found: Span) -> dict[str, Any]:
    return {k: v for k, v in attributes(found).items() if k.startswith("tracetaxa.") and k != MARK}


def test_a_closed_trace_goes_on_as_it_came_with_its_label(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        async with pipeline(store, sink, analyses={"topics": True}) as p:
            root, child = span(1, 1, name="invoke_agent"), span(1, 2, 1, attributes=CHAT)
            p.send(request(root), request(child, scope="llm", host="b"))
            assert await p.forwarder.tick() == 0, "it is open"
            await p.close_traces()
            assert await p.forwarder.tick() == 0, "it waits for its label"
            assert await p.forwarder.unforwarded() == 1
            await p.label(1)
            assert await p.forwarder.tick() == 1
            for _ in range(3):
                await p.forwarder.tick()
            assert await p.forwarder.unforwarded() == 0

            (message,) = sink.taken
            by_scope = {s.scope.name: (r, s) for r in sink.resource_spans for s in r.scope_spans}
            assert set(by_scope) == {"lib", "llm"}
            for name, host, original in (("lib", "a", root), ("llm", "b", child)):
                (got,) = by_scope[name][1].spans
                added = got.attributes[len(original.attributes) :]
                tail = b"".join(field(9, pair.SerializeToString()) for pair in added)
                as_it_came = original.SerializeToString() + UNKNOWN
                assert request(as_it_came + tail, scope=name, host=host, whole=False) in message
                assert attributes(got)[MARK] == p.mark.instance
            assert ours(by_scope["lib"][1].spans[0]) == LABELS
            assert ours(by_scope["llm"][1].spans[0]) == {}

    asyncio.run(run())


def test_labels_on_all_spans_and_none_of_what_no_analysis_labels(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        async with pipeline(store, sink, analyses={"topics": True}, spans="all") as p:
            p.send(request(span(1, 1), span(1, 2, 1, attributes=CHAT)), request(span(7, 1, name="GET /")))
            await p.close_traces()
            await p.forwarder.tick()
            assert set(sink.by_trace()) == {7}, "without agent or model spans it goes at once"
            await p.label(1)
            await p.forwarder.tick()
            assert [ours(found) for found in sink.by_trace()[1]] == [LABELS, LABELS]
            assert [ours(found) for found in sink.by_trace()[7]] == [{}]

    asyncio.run(run())


def test_what_no_label_reached_in_time_passes_and_its_label_follows_once(
    store: ClickHouse, sink: GrpcSink
) -> None:
    async def run() -> None:
        rules = {"analyses": {"topics": True}, "timeout_seconds": 0.0}
        async with pipeline(store, sink, **rules) as p:
            p.send(request(span(1, 1, attributes=CHAT), span(1, 2, 1)))
            await p.close_traces()
            await p.forwarder.tick()
            assert [ours(found) for found in sink.by_trace()[1]] == [{}, {}]
            await p.label(1)
            for _ in range(3):
                await p.forwarder.tick()
            *_, carrier = sink.by_trace()[1]
            assert len(sink.spans) == 3
            assert carrier.parent_span_id == (1).to_bytes(8)
            assert [(link.trace_id, link.span_id) for link in carrier.links] == [
                ((1).to_bytes(16), (1).to_bytes(8))
            ]
            assert ours(carrier) == LABELS
            told = attributes(carrier)
            assert told[MARK] == p.mark.instance
            assert told["openinference.span.kind"] == "EVALUATOR"
            prefix = "trace.evaluations.0.evaluation."
            assert {k.removeprefix(prefix): v for k, v in told.items() if k.startswith(prefix)} == {
                "name": "tracetaxa.topics",
                "label": "Orders",
                "score": 0.875,
                "explanation": "asks for an order",
                "annotator_kind": "CODE",
                "identifier": told[f"{prefix}identifier"],
                "metadata": (
                    '{"run_id": "r1", "taxonomy_version": 1, "classifier_version": "c1", '
                    '"evidence": "Where is my order?", "evidence_span_id": "0000000000000002"}'
                ),
            }
            (event,) = carrier.events
            assert event.name == "gen_ai.evaluation.result"
            assert event.time_unix_nano == 1_795_337_099_000_000_000
            assert attributes(event) == {
                "gen_ai.evaluation.name": "tracetaxa.topics",
                "gen_ai.evaluation.score.label": "Orders",
                "gen_ai.evaluation.score.value": 0.875,
                "gen_ai.evaluation.explanation": "asks for an order",
            }
            # The same again, of another revision and with another confidence, says nothing new.
            await p.label(1, revision=2, confidence=0.5, labelled_at_ns=1_795_337_100_000_000_000)
            await p.forwarder.tick()
            assert len(sink.spans) == 3
            # What a person says does, and what counts less than that does not.
            await p.label(1, "Returns", labeller="human", run_id="", classifier_version="")
            await p.label(1, "Weather", run_id="r2", taxonomy_version=2)
            for _ in range(3):
                await p.forwarder.tick()
            assert len(sink.spans) == 4
            assert ours(sink.spans[-1])["tracetaxa.topics.category"] == "Returns"
            assert attributes(sink.spans[-1])[f"{prefix}annotator_kind"] == "HUMAN"

    asyncio.run(run())


def test_late_spans_go_alone_with_the_label_that_there_is(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        async with pipeline(store, sink, analyses={"topics": True}) as p:
            p.send(request(span(1, 1, attributes=CHAT), span(1, 2, 1)))
            await p.close_traces()
            await p.label(1)
            await p.forwarder.tick()
            assert len(sink.spans) == 2
            late = span(1, 3, 1)
            p.send(request(late, span(1, 2, 1)))  # one of them was sent before
            p.send(request(late))
            await p.close_traces()
            for _ in range(2):
                await p.forwarder.tick()
            assert [int.from_bytes(found.span_id) for found in sink.spans] == [1, 2, 3]
            assert ours(sink.spans[-1]) == LABELS
            p.send(request(late))  # nothing of it is new
            await p.close_traces()
            await p.forwarder.tick()
            assert len(sink.spans) == 3
            assert await p.forwarder.unforwarded() == 0

    asyncio.run(run())


def test_what_comes_back_is_stored_and_not_forwarded_again(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        async with pipeline(store, sink) as p:
            p.send(request(span(1, 1), span(1, 2, 1)))
            await p.close_traces()
            await p.forwarder.tick()
            (round_trip,) = sink.taken
            p.send(round_trip)
            # Another deployment's mark is kept in front of ours, so that a circle of two ends as well.
            theirs = round_trip.replace(p.mark.instance.encode(), b"0" * 32).replace(
                (1).to_bytes(16), (5).to_bytes(16)
            )
            p.send(theirs)
            await p.close_traces()
            await p.forwarder.tick()
            assert {trace: len(spans) for trace, spans in sink.by_trace().items()} == {1: 2, 5: 2}
            marks = {attributes(found)[MARK] for found in sink.by_trace()[5]}
            assert marks == {f"{'0' * 32},{p.mark.instance}"}
            assert len(sink.taken) == 2
            p.send(sink.taken[-1])
            await p.close_traces()
            await p.forwarder.tick()
            assert len(sink.taken) == 2
            rows = await store.rows("status")
            assert rows[0]["closed_traces"] == 2

    asyncio.run(run())


def test_requests_are_bounded_and_a_trace_may_need_several(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        limit = 20_000
        async with pipeline(store, sink, max_batch_bytes=limit, consumers=3, batch_traces=7) as p:
            draw = random.Random(3)
            text = lambda size: "".join(draw.choices("abcdef", k=size))  # noqa: E731
            spans = [
                span(t, n, int(n > 1), attributes={"t": text(900)}) for t in range(1, 41) for n in (1, 2)
            ]
            spans += [span(99, n, int(n > 1), attributes={"t": text(1500)}) for n in range(1, 60)]
            spans.append(span(100, 1, attributes={"t": text(2 * limit)}))
            draw.shuffle(spans)
            for first in range(0, len(spans), 20):
                p.send(request(*spans[first : first + 20], host=str(first % 3)))
            await p.close_traces()
            while await p.forwarder.tick():
                pass
            assert sorted((s.trace_id, s.span_id) for s in sink.spans) == sorted(
                (s.trace_id, s.span_id) for s in spans
            )
            sizes = sorted(len(message) for message in sink.taken)
            assert sizes[-2] < limit < sizes[-1], "only the one span that is larger went over"
            assert len(sizes) > 10
            hosts = {attributes(r.resource)["host.name"] for r in sink.resource_spans}
            assert hosts == {"0", "1", "2"}

    asyncio.run(run())


def test_a_destination_that_is_down_gets_everything_later(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        async with pipeline(store, sink) as p:
            sink.answers.extend([Answer(14, message="out to lunch")] * 1000)
            p.send(*(request(span(t, 1)) for t in range(1, 20)))
            await p.close_traces()
            with pytest.raises(ExportFailed, match="UNAVAILABLE: out to lunch"):
                await p.forwarder.tick()
            assert p.forwarder.last_error == "forwarding to downstream: UNAVAILABLE: out to lunch"
            assert await p.forwarder.unforwarded() == 19
            sink.answers.clear()
            # A process that starts anew knows from the tables what is left.
            again = Forwarder(store, p.client, p.rules, QUICK, p.state)
            assert (await again.start()).instance == p.mark.instance
            assert await again.tick() == 19
            assert sorted(sink.by_trace()) == list(range(1, 20))
            assert await p.forwarder.unforwarded() == 0
            assert again.last_error == ""
            third = Forwarder(store, p.client, p.rules, QUICK, p.state)
            await third.start()
            assert await third.tick() == 0

    asyncio.run(run())


def test_what_is_refused_for_good_costs_no_other_span(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        async with pipeline(store, sink) as p:
            sink.max_bytes = 4000
            p.send(
                request(*(span(t, 1, attributes={"t": "x" * 300}) for t in range(1, 20))),
                request(span(50, 1), span(50, 2, 1, attributes={"t": "x" * 5000})),
            )
            await p.close_traces()
            await p.forwarder.tick()
            assert sorted(sink.by_trace()) == [*range(1, 20), 50]
            assert p.forwarder.counts.refused == 1
            assert p.forwarder.counts.sent == 20
            assert await p.forwarder.unforwarded() == 0
            rows = await store.rows("forward/delivered", destination="downstream", trace_ids=[f"{50:032x}"])
            assert sorted(rows[0]["SpanIds"]) == [(1).to_bytes(8), (2).to_bytes(8)]

    asyncio.run(run())


def test_partial_success_is_counted_and_not_sent_again(
    store: ClickHouse, sink: GrpcSink, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with pipeline(store, sink) as p:
            sink.answers.append(Answer(rejected=1, message="too old"))
            p.send(request(span(1, 1), span(1, 2, 1)))
            await p.close_traces()
            await p.forwarder.tick()
            await p.forwarder.tick()
            assert len(sink.taken) == 1
            assert (p.forwarder.counts.sent, p.forwarder.counts.rejected) == (1, 1)
            assert "left out 1 of 2 spans: too old" in caplog.text

    asyncio.run(run())


def test_a_wrong_token_keeps_everything_here(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        async with pipeline(store, sink) as p:
            sink.answers.append(Answer(16, message="who are you?"))
            p.send(request(span(1, 1)))
            await p.close_traces()
            with pytest.raises(Exception, match="UNAUTHENTICATED: who are you"):
                await p.forwarder.tick()
            assert await p.forwarder.unforwarded() == 1
            await p.forwarder.tick()
            assert list(sink.by_trace()) == [1]

    asyncio.run(run())


def test_without_a_receiver_labels_alone_are_sent(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        async with pipeline(store, sink, spooled=False) as p:
            writer = SpanWriter(store.connect())
            writer.write([request(span(1, 1, attributes=CHAT), span(1, 2, 1))])
            await p.close_traces()
            assert await p.forwarder.tick() == 0
            await p.label(1)
            assert await p.forwarder.unforwarded() == 1
            for _ in range(2):
                await p.forwarder.tick()
            (carrier,) = sink.spans
            assert ours(carrier) == LABELS
            assert await p.forwarder.unforwarded() == 0

    asyncio.run(run())


def test_labels_of_traces_that_were_never_forwarded_stay_here(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        SpanWriter(store.connect()).write([request(span(1, 1, attributes=CHAT))])
        await asyncio.to_thread(assemble, store)
        async with pipeline(store, sink) as p:
            await p.label(1)
            for _ in range(2):
                await p.forwarder.tick()
            assert sink.taken == []

    asyncio.run(run())


def test_the_spool_is_bounded_and_emptied(
    store: ClickHouse, sink: GrpcSink, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with pipeline(store, sink, max_mib=0.0001) as p:
            opened: int | None = None

            async def oldest_open() -> int | None:
                return opened

            def keeper(longest_seconds: float = 3600.0, **rules: Any) -> SpoolKeeper:
                return SpoolKeeper(
                    store,
                    Rules(**rules),
                    p.state,
                    p.forwarder.counts,
                    p.forwarder.oldest_pending,
                    oldest_open,
                    longest_seconds,
                )

            def spooled() -> int:
                with store.reader() as client:
                    return int(client.query("SELECT count() AS n FROM forward_spool").first_item["n"])

            def age() -> None:
                """As if all of it had come two hours ago."""
                with store.reader() as client:
                    client.command(
                        "INSERT INTO forward_spool (WrittenAt, TraceId, SpanId, ParentSpanId, Span, Resource, Scope) "
                        "SELECT WrittenAt - toIntervalHour(2), * EXCEPT (WrittenAt, Bytes) FROM forward_spool"
                    )
                    client.command(
                        "ALTER TABLE forward_spool DELETE WHERE WrittenAt > now() - 3600 SETTINGS mutations_sync = 2"
                    )

            p.send(request(span(1, 1)))
            await keeper().look()
            assert p.state.full
            with pytest.raises(WriteFailed, match=r"exporter\.otlp\.queue\.max_mib") as refusal:
                p.send(request(span(2, 1)))
            assert refusal.value.retryable
            assert "spans are refused" in p.forwarder.last_error
            age()
            await p.close_traces()
            await keeper(longest_seconds=10800.0).look()
            assert spooled() == 1, "what is forwarded now may have come so long ago"
            await p.forwarder.tick()
            opened = (await store.rows("server_time"))[0]["Now"] - 3 * 3600 * 10**9
            await keeper().look()
            assert spooled() == 1, "a trace that has been open for so long may have spans here"
            opened = None
            await keeper().look()
            assert spooled() == 0
            assert not p.state.full
            assert "not forwarded any more" not in caplog.text
            # What is too old goes undelivered.
            p.send(request(span(3, 1)))
            age()
            await p.close_traces()
            await keeper(10800.0, max_age_seconds=3600.0).look()
            assert spooled() == 0
            assert p.forwarder.counts.expired == 1
            assert "1 spans of 1 traces are not forwarded any more" in caplog.text

    asyncio.run(run())


def test_run_outlives_what_goes_wrong_and_ends_when_told(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        async with pipeline(store, sink) as p:
            sink.answers.extend([Answer(14), Answer(14), Answer(16, message="not yet"), Answer(14)])
            p.send(request(span(1, 1)))
            await p.close_traces()
            forwarder = Forwarder(store, p.client, p.rules, QUICK, p.state, tick_seconds=0.01)
            await forwarder.start()
            stopping = asyncio.Event()
            running = asyncio.create_task(forwarder.run(stopping))
            async with asyncio.timeout(30):
                while not sink.taken or await forwarder.unforwarded():
                    await asyncio.sleep(0.01)
                stopping.set()
                await running
            assert len(sink.spans) == 1
            assert forwarder.counts.failed_attempts == 3

    asyncio.run(run())


def test_a_label_waits_for_its_run_to_say_how_sure_it_is(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        async with pipeline(store, sink) as p:
            p.send(request(span(1, 1, attributes=CHAT)))
            await p.close_traces()
            await p.forwarder.tick()

            async def state(status: str, updated: int) -> None:
                with store.reader() as client:
                    client.command(
                        "INSERT INTO analysis_run_states (RunId, Analysis, Status, UpdatedAt) "
                        f"VALUES ('r9', 'topics', '{status}', now64(9) + {updated})"
                    )

            await state("running", 0)
            await p.label(1, run_id="r9", labeller="llm", confidence=0.99)
            await p.forwarder.tick()
            assert len(sink.spans) == 1
            await p.label(
                1, run_id="r9", labeller="llm", confidence=0.75, labelled_at_ns=1_795_337_100_000_000_000
            )
            await state("complete", 1)
            for _ in range(2):
                await p.forwarder.tick()
            (_, carrier) = sink.spans
            assert ours(carrier)["tracetaxa.topics.confidence"] == 0.75

    asyncio.run(run())


def test_after_a_long_absence_the_oldest_goes_first_and_all_of_it(store: ClickHouse, sink: GrpcSink) -> None:
    """What waits is looked at in windows of time."""

    async def run() -> None:
        async with pipeline(store, sink) as p:
            p.send(*(request(span(t, 1)) for t in range(1, 7)))
            await p.close_traces()
            with store.reader() as client:
                # As if one trace had been closed every hour, and forwarding had begun before that.
                for table, column, hours in (
                    ("trace_revisions", "WrittenAt", "toUInt32(substring(TraceId, 32))"),
                    ("forward_events", "At", "9"),
                ):
                    client.command(
                        f"INSERT INTO {table} ({column}, * EXCEPT({column})) "
                        f"SELECT {column} - toIntervalHour({hours}), * EXCEPT({column}) FROM {table}"
                    )
                    client.command(
                        f"ALTER TABLE {table} DELETE WHERE {column} > now() - 1800 SETTINGS mutations_sync = 2"
                    )
            forwarder = Forwarder(store, p.client, p.rules, QUICK, p.state)
            await forwarder.start()
            assert await forwarder.unforwarded() == 6
            assert [await forwarder.tick() for _ in range(7)] == [1] * 6 + [0]
            assert [int.from_bytes(found.trace_id) for found in sink.spans] == [6, 5, 4, 3, 2, 1]
            assert await forwarder.unforwarded() == 0

    asyncio.run(run())


def test_faults_repeat_what_they_must_and_lose_nothing(store: ClickHouse, sink: GrpcSink) -> None:
    async def run() -> None:
        draw = random.Random(5)
        kinds = [Answer(), Answer(14), Answer(8, retry_after=0.001), Answer(4), Answer(14, lost=True)]
        async with pipeline(store, sink, max_batch_bytes=3000, consumers=3, batch_traces=20) as p:
            sink.answers.extend(draw.choices(kinds, k=150))
            sent = []
            for round_ in range(3):
                spans = [span(t, round_ + 1, round_) for t in range(1, 60)]
                sent += spans
                p.send(request(*spans))
                await p.close_traces()
                async with asyncio.timeout(30):
                    while await p.forwarder.unforwarded():
                        with suppress(ExportFailed):
                            await p.forwarder.tick()
            requests = [set(ids(message)) for message in sink.taken]
            arrived = Counter(identity for found in requests for identity in found)
            assert set(arrived) == {(s.trace_id, s.span_id) for s in sent}
            again = sum(arrived.values()) - len(arrived)
            assert sink.repeats
            assert 0 < again <= sink.repeats * max(map(len, requests))
            assert p.forwarder.counts.sent == len(sent)

    asyncio.run(run())


def ids(message: bytes) -> list[tuple[bytes, bytes]]:
    return [(s.trace_id, s.span_id) for s in Recorded(taken=[message]).spans]


@pytest.mark.parametrize("in_time", [True, False])
def test_what_is_under_way_may_finish_when_the_service_stops(
    store: ClickHouse, sink: GrpcSink, in_time: bool
) -> None:
    async def run() -> None:
        async with pipeline(store, sink) as p:
            p.send(request(span(1, 1)))
            await p.close_traces()
            forwarder = Forwarder(
                store, p.client, p.rules, QUICK, p.state, shutdown_seconds=DEADLINE if in_time else 0.05
            )
            await forwarder.start()
            sink.go_on.clear()
            stopping = asyncio.Event()
            running = asyncio.create_task(forwarder.run(stopping))
            assert await asyncio.to_thread(sink.begun.wait, DEADLINE)
            stopping.set()
            if in_time:
                await asyncio.sleep(0)
                sink.go_on.set()
            async with asyncio.timeout(DEADLINE):
                await running
            assert await forwarder.unforwarded() == (0 if in_time else 1)

    asyncio.run(run())
