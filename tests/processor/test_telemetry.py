"""Metrics and events: what is counted, how many series that can be, and what reaches Prometheus and OTLP."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from factories import START_NS, trace_row
from given_labels import IDS, TREE, label, taxonomy
from signals_recorder import SignalsRecorder
from tracetaxa.access import read_headers
from tracetaxa.config import Config
from tracetaxa.config.serving import MetricsConfig, MetricsOtlpConfig
from tracetaxa.errors import ConfigError
from tracetaxa.receive.export import Counts
from tracetaxa.service import check_exposure
from tracetaxa.telemetry.events import NewCategories
from tracetaxa.telemetry.figures import REST, Figures, LabelCount, bounded, load_labels
from tracetaxa.telemetry.instruments import create_instruments
from tracetaxa.telemetry.refresh import Refresh
from tracetaxa.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from pathlib import Path

    from tracetaxa.store.database import ClickHouse

COUNTS = st.lists(
    st.builds(
        LabelCount,
        st.sampled_from(["topics", "tone"]),
        st.sampled_from([f"c{i}" for i in range(9)]),
        st.sampled_from(["A", "B", "\x1b[31m\n", "x" * 300]),
        st.sampled_from(["human", "llm", "distilled"]),
        st.integers(1, 50),
    ),
    max_size=40,
)


@given(COUNTS, st.integers(1, 5))
def test_series_are_bounded_and_nothing_is_lost(counts: list[LabelCount], most: int) -> None:
    found = bounded(counts, most)
    of_category = Counter[tuple[str, str]]()
    for count in counts:
        of_category[count.analysis, count.category_id] += count.traces
    for analysis in ("topics", "tone"):
        given_ids = {key for key in of_category if key[0] == analysis}
        told = {count.category_id for count in found if count.analysis == analysis}
        assert len(told - {REST}) == min(most, len(given_ids))
        assert (REST in told) == (len(given_ids) > most)
        total = sum(count.traces for count in counts if count.analysis == analysis)
        assert sum(count.traces for count in found if count.analysis == analysis) == total
        least = min((of_category[analysis, i] for i in told - {REST}), default=0)
        assert all(of_category[key] <= least for key in given_ids if key[1] not in told)
    series = Counter((c.analysis, c.category_id, c.labeller) for c in found)
    assert not series or max(series.values()) == 1
    assert all(len(c.category) <= 100 and c.category.isprintable() for c in found)
    shares = Figures(labels=found).shares()
    for analysis in {count.analysis for count in counts}:
        assert sum(share for key, share in shares.items() if key[0] == analysis) == pytest.approx(1)


def test_what_is_counted_is_what_counts(store: ClickHouse) -> None:
    """As trace_labels_current has it, of traces that started within the window."""
    rows = [
        label(IDS[0], category_id="refunds", category="Refunds"),
        label(IDS[0], labeller="human"),  # taken back below
        label(IDS[0], labeller="human", category_id="", labelled_at_ns=START_NS + 1),
        label(IDS[1], labeller="distilled"),
        label(IDS[1], labeller="human", category_id="other", category="Other"),
        label(IDS[2], labeller="distilled", taxonomy_version=2, category="Parcels"),
        label(IDS[2]),
        label(IDS[3], trace_start_ns=START_NS - 1),
        label(IDS[3], analysis="tone", labeller="human", category_id=""),
    ]
    asyncio.run(store.insert("trace_labels", rows))
    found = asyncio.run(load_labels(store, START_NS))
    with store.reader() as client:
        current = client.query(
            "SELECT toString(CategoryId), any(toString(Category)), toString(Labeller), count() FROM trace_labels_current "
            "WHERE TraceStart >= fromUnixTimestamp64Nano({since:Int64}) GROUP BY 1, 3 ORDER BY 1",
            parameters={"since": START_NS},
        ).result_rows
    assert [(c.category_id, c.category, c.labeller, c.traces) for c in found] == [
        tuple(row) for row in current
    ]
    assert found == [
        LabelCount("topics", "deliveries", "Parcels", "distilled", 1),
        LabelCount("topics", "other", "Other", "human", 1),
        LabelCount("topics", "refunds", "Refunds", "llm", 1),
    ]


def refresh(store: ClickHouse, emitted: list[Any], began_ns: int) -> Refresh:
    async def open_traces() -> int:
        return 3

    async def waiting() -> int:
        return 7

    return Refresh(
        store,
        NewCategories(store, began_ns, lambda *event: emitted.append(event)),
        window_seconds=3600,
        refresh_seconds=1,
        max_categories=2,
        open_traces=open_traces,
        write_back_waiting=waiting,
    )


def test_new_categories_are_told_once_and_the_first_taxonomy_is_no_news(
    store: ClickHouse, caplog: pytest.LogCaptureFixture
) -> None:
    emitted: list[Any] = []
    one = refresh(store, emitted, START_NS)

    def save(version: int, tree: dict[str, tuple[str, str]]) -> None:
        asyncio.run(store.insert("taxonomies", taxonomy(version, tree)))

    save(1, TREE)
    with caplog.at_level(logging.INFO, "tracetaxa.telemetry.events"):
        assert asyncio.run(one.tick()) == 0
        save(2, {"returns": ("Returns\x1b[31m", "")})
        assert asyncio.run(one.tick()) == 1
        assert asyncio.run(one.tick()) == 0
        assert asyncio.run(refresh(store, emitted, START_NS + 1).tick()) == 0  # of before it began
    ((name, text, attributes, at),) = emitted
    assert (name, text, at) == ("tracetaxa.category.new", "new category in topics: Returns␛[31m", START_NS)
    assert attributes["tracetaxa.category_id"] == "returns"
    assert attributes["tracetaxa.taxonomy_version"] == 2
    (line,) = caplog.messages
    assert line.startswith('tracetaxa.category.new {"tracetaxa.analysis": "topics"')


@pytest.fixture
def figures(store: ClickHouse) -> Figures:
    """Of three labelled traces that started just now, and one that is not labelled."""
    now = time.time_ns()
    rows = [
        label(IDS[0], trace_start_ns=now, category_id="a", category='A "quoted"\nname'),
        label(IDS[1], trace_start_ns=now, category_id="a", category='A "quoted"\nname'),
        label(IDS[2], trace_start_ns=now, category_id="b", category="B"),
    ]
    traces = [trace_row(trace_id, start_ns=now) for trace_id in IDS]
    one = refresh(store, [], now)

    async def go() -> None:
        await store.insert("trace_labels", rows)
        await store.insert("traces", traces)
        await one.tick()

    asyncio.run(go())
    return one.figures


def scraped(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_gets_all_of_it(figures: Figures) -> None:
    telemetry = Telemetry(None)
    counts = {"spans": Counts(accepted=5, refused=2, failed=1), "log records": Counts(accepted=9)}
    create_instruments(telemetry.meter, lambda: figures, lambda: counts)
    client = TestClient(telemetry.app())
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = scraped(answer.text)
    name = 'A "quoted" name'
    assert found["tracetaxa_label_traces", "topics", name, "a", "llm"] == 2
    assert found["tracetaxa_label_share", "topics", name, "a"] == pytest.approx(2 / 3)
    assert found["tracetaxa_window_traces",] == 4
    assert found["tracetaxa_open_traces",] == 3
    assert found["tracetaxa_write_back_waiting_traces",] == 7
    assert found["otelcol_receiver_accepted_spans_total", "otlp"] == 5
    assert found["otelcol_receiver_refused_spans_total", "otlp"] == 2
    assert found["otelcol_receiver_failed_spans_total", "otlp"] == 1
    assert found["otelcol_receiver_accepted_log_records_total", "otlp"] == 9
    assert any(key[0] == "target_info" and "tracetaxa" in key for key in found)
    again = scraped(client.get("/metrics").text)
    assert again["tracetaxa_open_traces",] == 3
    open_metrics = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert open_metrics.text.endswith("# EOF\n")
    telemetry.close()
    telemetry.close()


def test_otlp_gets_the_same_and_the_events(figures: Figures, tmp_path: Path) -> None:
    secret = tmp_path / "headers"
    secret.write_text("# a comment\nX-Api-Key: s3cret\n\n")
    with SignalsRecorder() as recorder:
        otlp = MetricsOtlpConfig(endpoint=f"http://{recorder.endpoint}", interval_seconds=3600)
        telemetry = Telemetry(otlp, read_headers(secret, "a key"))
        create_instruments(telemetry.meter, lambda: figures, lambda: {"spans": Counts(accepted=5)})
        telemetry.emit("tracetaxa.category.new", "new category", {"tracetaxa.category_id": "x"}, START_NS)
        telemetry.close()  # sends what is left
        assert recorder.metrics["tracetaxa.label.traces"] == [1, 2]
        assert recorder.metrics["otelcol_receiver_accepted_spans"] == [5]
        (event,) = recorder.events
        assert (event.event_name, event.time_unix_nano) == ("tracetaxa.category.new", START_NS)
        assert event.body.string_value == "new category"
        assert recorder.keys == {"s3cret"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [(b"no colon", "line 1 of .* is not"), (b"a: b\nc: \x01", "line 2"), (b"\xff", "it is not UTF-8"), (None, "No such")],
)  # fmt: skip
def test_headers_that_can_not_be_read(tmp_path: Path, text: bytes | None, problem: str) -> None:
    path = tmp_path / "headers"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(ConfigError, match=problem):
        read_headers(path, "a key")


def test_figures_are_for_those_who_may_ask() -> None:
    """Names of categories come from what users said."""
    everywhere = Config(metrics=MetricsConfig(endpoint="0.0.0.0:8888"))
    with pytest.raises(ConfigError, match=r"metrics\.endpoint 0\.0\.0\.0:8888 is reachable from elsewhere"):
        check_exposure(everywhere, None)
    check_exposure(everywhere, "a-token-of-32-characters-or-more")
    check_exposure(Config(metrics=MetricsConfig(endpoint="0.0.0.0:8888", enabled=False)), None)
