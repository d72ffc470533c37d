"""The 586 real agent runs of ../shared/data, over OTLP, assembled, analysed by both engines."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bench.loaders import available, real_traffic, runs

from product import Product
from tracetaxa.demo.child import wait_until_assembled
from tracetaxa.demo.emit import send
from tracetaxa.demo.traffic import Answered, Said
from tracetaxa.testing import OracleModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.loaders import Run

    from tracetaxa.demo.child import Service
    from tracetaxa.demo.emit import Sent

DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not available(DATA), reason="the real runs are not beside this checkout")


class Replayed:
    """A running service that has taken and assembled all runs."""

    def __init__(self, product: Product, service: Service, sent: Sent, planned: Mapping[str, Run]) -> None:
        self.product = product
        self.service = service
        self.sent = sent
        self.runs = {sent.keys[key]: run for key, run in planned.items()}


@pytest.fixture(scope="module")
def oracle() -> Iterator[OracleModel]:
    """Tells domains apart, and runs with errors from runs without, by what the digest says."""

    def truth(digest: str) -> tuple[str, str]:
        kind = "Airline" if "reservation" in digest or "flight" in digest else "Retail"
        return kind, f"{kind} with errors" if "Error:" in digest else f"{kind} without errors"

    with OracleModel(truth) as model:
        yield model


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, oracle: OracleModel) -> Iterator[Replayed]:
    product = Product(tmp_path_factory.mktemp("real")).configure(
        assembly={"idle_seconds": 2, "tick_seconds": 0.2}, llm={"base_url": oracle.base_url}
    )
    with product.serve() as service:
        sent = send(real_traffic(DATA), service.endpoints["grpc"], end_ns=time.time_ns())
        wait_until_assembled(service, len(sent.keys), seconds=180)
        yield Replayed(product, service, sent, {run.key: run for run in runs(DATA)})


def test_spans_in_are_spans_stored_and_spans_in_the_view(replayed: Replayed) -> None:
    expected = sum(run.expected.spans for run in replayed.runs.values())
    assert len(replayed.runs) == 586
    assert replayed.sent.spans == expected
    for table in ("otel_traces", "otel_traces_labelled"):
        (row,) = replayed.product.rows(
            f"SELECT count() AS all, uniqExact(TraceId, SpanId) AS spans FROM {table}"
        )
        assert row == {"all": expected, "spans": expected}


def test_every_trace_is_one_right_row(replayed: Replayed) -> None:
    rows = replayed.product.rows(
        "SELECT TraceId, SpanCount, ErrorCount, LlmCalls, ToolCalls, Tools, InputTokens, OutputTokens, SessionId, "
        "IsAgent, Feedback['reward'] AS reward, Input, Output FROM traces FINAL"
    )
    assert len(rows) == len({row["TraceId"] for row in rows}) == 586
    for row in rows:
        run = replayed.runs[row["TraceId"]]
        script = run.session.turns[0].script
        answers = [step for step in script if isinstance(step, Answered)]
        assert row["IsAgent"]
        assert row["SpanCount"] == run.expected.spans
        assert row["ErrorCount"] == run.expected.errors
        assert row["LlmCalls"] == run.expected.llm_calls
        assert row["ToolCalls"] == run.expected.tool_calls
        assert set(row["Tools"]) == {call.tool for answer in answers for call in answer.calls}
        assert row["InputTokens"] == run.expected.input_tokens
        assert row["OutputTokens"] == run.expected.output_tokens
        assert row["SessionId"] == run.session.session_id
        assert row["reward"] == run.session.turns[0].feedback["reward"]
        assert row["Input"] == next(step.text for step in script if isinstance(step, Said))
        assert row["Output"] == next((a.text for a in reversed(answers) if a.text), "")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "openai"])
def test_both_engines_label_every_trace(replayed: Replayed, oracle: OracleModel, engine: str) -> None:
    product = replayed.product
    before = oracle.usage.input_tokens
    result = product.json(
        "analyze", f"runs_{engine}", "--window", "30h", "--engine", engine, "--format", "json"
    )
    assert (result["status"], result["engine"], result["error"]) == ("complete", engine, None)
    assert result["selected"] == result["sampled"] == result["labelled"] == 586
    assert result["still_open"] == 0
    assert result["input_tokens"] == (oracle.usage.input_tokens - before if engine == "openai" else 0)
    attribute = f"SpanAttributes['tracetaxa.runs_{engine}.category']"
    (view,) = product.rows(
        f"SELECT count() AS all, countIf({attribute} != '') AS labelled FROM otel_traces_labelled"
    )
    assert view == {"all": replayed.sent.spans, "labelled": replayed.sent.spans}
    labels = product.rows(
        f"SELECT TraceId, Category FROM trace_labels_current WHERE Analysis = 'runs_{engine}'"
    )
    by_category = Counter(row["Category"] for row in labels)
    document = product.json("report", result["run_id"], "--format", "json")
    assert {c["name"]: c["traces"] for c in document["categories"]} == dict(by_category)
    assert sum(c["share"] for c in document["categories"]) == pytest.approx(1)
    saved = product.rows(f"SELECT count() AS n FROM report_categories WHERE RunId = '{result['run_id']}'")
    assert saved[0]["n"] == sum(1 + len(c["subcategories"]) for c in document["categories"])
    check_evidence(product, engine)
    if engine == "openai":
        truth = {trace_id: run.session.turns[0].truth[0] for trace_id, run in replayed.runs.items()}
        wrong = [row for row in labels if truth[row["TraceId"]] != row["Category"].lower()]
        assert len(wrong) <= 3  # an airline talk that names neither flight nor reservation


def check_evidence(product: Product, engine: str) -> None:
    """Every quote stands in the digest of its trace, in a line of the span that it names."""
    rows: list[dict[str, Any]] = product.rows(
        "SELECT l.TraceId AS id, Evidence, EvidenceSpanId, DigestTexts, DigestSpanIds FROM trace_labels_current AS l "
        f"INNER JOIN (SELECT * FROM traces FINAL) AS t ON l.TraceId = t.TraceId WHERE Analysis = 'runs_{engine}'"
    )
    assert len(rows) == 586
    quoted = [row for row in rows if row["Evidence"]]
    assert len(quoted) > 500
    for row in quoted:
        lines = zip(row["DigestTexts"], row["DigestSpanIds"], strict=True)
        assert any(row["Evidence"] in text and row["EvidenceSpanId"] == span for text, span in lines), row[
            "id"
        ]
