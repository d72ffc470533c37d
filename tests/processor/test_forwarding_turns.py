"""Several processes on one ClickHouse server: all take spans, one forwards, another takes over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from starlette.testclient import TestClient

from assembling import assemble
from otlp import request, span
from otlp_recorder import attributes
from otlp_sink import Answer, GrpcSink, HttpSink
from tracetaxa.config import Config
from tracetaxa.errors import ConfigError
from tracetaxa.forward.sending import Counts
from tracetaxa.forward.spool import SpoolState
from tracetaxa.forwarding import Forwarding, make_client, make_destination, make_rules, try_destination
from tracetaxa.schedule.lease import LeaseTimes
from tracetaxa.telemetry.forwarded import create_forward_instruments
from tracetaxa.telemetry.telemetry import Telemetry
from tracetaxa_exporter.clickhouse import SpanWriter, SpanWriters

if TYPE_CHECKING:
    from pathlib import Path

    from tracetaxa.store.database import ClickHouse

DEADLINE = 30.0


def config(endpoint: str, **otlp: Any) -> Config:
    return Config.model_validate({"exporter": {"otlp": {"endpoint": endpoint, "tick_seconds": 0.02, **otlp}}})


async def nothing() -> int | None:
    return None


def forwarding(store: ClickHouse, made: Config) -> Forwarding:
    assert made.exporter.otlp is not None
    times = LeaseTimes(lease_seconds=5.0, claim_seconds=0.1)
    return Forwarding(made, made.exporter.otlp, store, nothing, lease_times=times, turn_seconds=0.05)


def test_one_of_them_forwards_and_another_takes_over(store: ClickHouse) -> None:
    if store.dsn.embedded:
        pytest.skip("one process has an embedded database to itself")

    async def run() -> None:
        with GrpcSink() as sink:
            made = config(sink.endpoint)
            both = [forwarding(store, made), forwarding(store, made)]
            stops = [asyncio.Event(), asyncio.Event()]
            for one in both:
                await one.start()
            spans = SpanWriters([SpanWriter(store.connect())], keep_raw=True)
            writers = [one.spooled(spans, 1) for one in both]
            tasks = [
                asyncio.create_task(part(stop))
                for one, stop in zip(both, stops, strict=True)
                for part in (one.run, one.keep)
            ]

            async def through(first: int) -> None:
                for trace, writer in enumerate(writers, first):
                    writer.write([spans.read(request(span(trace, 1)).SerializeToString())])
                await asyncio.to_thread(assemble, store)
                async with asyncio.timeout(DEADLINE):
                    while await both[1].unforwarded():
                        await asyncio.sleep(0.02)

            await through(1)
            working = [one.counts.sent for one in both]
            assert sorted(working) == [0, 2]
            stops[working.index(2)].set()
            await through(3)
            assert [one.counts.sent for one in both] == [2, 2]
            for stop in stops:
                stop.set()
            await asyncio.gather(*tasks)
            assert sorted(sink.by_trace()) == [1, 2, 3, 4]
            assert len(sink.spans) == 4
            assert len({attributes(found)["tracetaxa.instance"] for found in sink.spans}) == 1

    asyncio.run(run())


def test_the_configuration_becomes_what_is_sent(tmp_path: Path) -> None:
    headers = tmp_path / "headers"
    headers.write_text("# secrets\n\nAuthorization: Bearer abc:def\n")
    made = Config.model_validate(
        {
            "analyses": [{"name": "topics", "label_all": True}, {"name": "tone"}],
            "label": {"spans": "all", "timeout_seconds": 3},
            "exporter": {
                "otlp": {
                    "endpoint": "http://collector:4317",
                    "headers": {"X-Tenant": "a"},
                    "headers_file": str(headers),
                    "queue": {"max_age": "2h"},
                    "max_batch_mib": 1,
                }
            },
        }
    )
    otlp = made.exporter.otlp
    assert otlp is not None
    assert make_destination(otlp).headers == {"x-tenant": "a", "authorization": "Bearer abc:def"}
    assert "abc" not in repr(made)
    rules = make_rules(made, otlp)
    assert rules.analyses == {"topics": True}
    assert (rules.spans, rules.timeout_seconds, rules.max_age_seconds, rules.max_batch_bytes) == (
        *("all", 3.0),
        *(7200, 2**20),
    )


@pytest.mark.parametrize(
    ("otlp", "told"),
    [
        ({"headers": {"x-a": "line\nbreak"}}, "the header 'x-a' has characters that no header may have"),
        ({"headers_file": "/nowhere"}, "exporter.otlp.headers_file: can't read /nowhere"),
    ],
)
def test_headers_that_can_not_be_sent_are_told(otlp: dict[str, Any], told: str) -> None:
    made = config("http://collector:4317", **otlp).exporter.otlp
    assert made is not None
    with pytest.raises(ConfigError, match=told):
        make_destination(made)


@pytest.mark.parametrize(("sink_type", "protocol"), [(GrpcSink, "grpc"), (HttpSink, "http")])
def test_check_asks_the_destination(sink_type: Any, protocol: str) -> None:
    with sink_type() as sink:
        otlp = config(sink.endpoint, protocol=protocol).exporter.otlp
        assert otlp is not None
        assert asyncio.run(try_destination(otlp)) == f"{sink.endpoint} takes OTLP over {protocol}"
        assert sink.taken == [b""]
        sink.answers.append(Answer(16, 401, message="who are you?"))
        with pytest.raises(ConfigError, match=f"does not take OTLP over {protocol}: .*who are you"):
            asyncio.run(try_destination(otlp))


def test_what_makes_no_sense_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="is not an address such as http://collector:4317"):
        config("collector:4317")
    with pytest.raises(ValidationError, match="credentials belong into `headers`"):
        config("https://user:secret@collector:4317")
    with pytest.raises(ValidationError, match="`cert_file` and `key_file` belong together"):
        config("https://collector:4317", tls={"cert_file": "a.pem"})
    otlp = config("https://collector:4317", tls={"ca_file": str(tmp_path / "none.pem")}).exporter.otlp
    assert otlp is not None
    with pytest.raises(ConfigError, match=r"exporter\.otlp\.tls: these files can't be used"):
        make_client(otlp)


def test_metrics_tell_what_is_forwarded() -> None:
    telemetry = Telemetry(None)
    spool = SpoolState(1, "refuse")
    spool.used_bytes = 77
    create_forward_instruments(telemetry.meter, Counts(5, 1, 2, 3, 4, 6), spool)
    text = TestClient(telemetry.app()).get("/metrics").text
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("exporter") == "otlp"
    }
    assert found == {
        "otelcol_exporter_sent_spans_total": 5,
        "otelcol_exporter_send_failed_spans_total": 9,
        "tracetaxa_forward_failed_attempts_total": 4,
        "tracetaxa_forward_spool_size_bytes": 77,
    }
    telemetry.close()
