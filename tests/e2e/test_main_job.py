"""Spans in, labels out: one service with a handful of traces and a model, and everything that is asked of it.

Each test asks a question of its own, so that no answer comes from the cache of another.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chats import SECONDS, send_chats, truth
from http_get import get
from product import Product, Served, served
from shapes import assert_shape
from tracetaxa.testing import Failure, Oracle, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracetaxa.testing import Answer

KEY = "sk-secret-secret-secret"
ORACLE = Oracle(truth)


@dataclass(frozen=True)
class Chats(Served):
    """A service with eight assembled chats, and the model that it asks."""

    model: ScriptedModel
    answers: list[Answer]

    @contextlib.contextmanager
    def answering(self, answer: Answer) -> Iterator[None]:
        """The model answers so within the block, and as an oracle after it."""
        self.answers.append(answer)
        try:
            yield
        finally:
            self.answers.pop()


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chats]:
    answers: list[Answer] = [ORACLE]
    with (
        ScriptedModel(lambda messages, schema: answers[-1](messages, schema)) as model,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("OPENAI_BASE_URL", model.base_url)
        environment.setenv("OPENAI_API_KEY", KEY)
        with served(Product(tmp_path_factory.mktemp("chats")).configure()) as running:
            send_chats(running.service, 8)
            yield Chats(running.product, running.service, model, answers)
        assert KEY not in (running.product.directory / "serve.log").read_text()


def test_spans_in_labels_out_while_serving(chats: Chats) -> None:
    product, service, model = chats.product, chats.service, chats.model
    before = model.usage.input_tokens
    result = product.json("analyze", "topics", "--format", "json")
    assert_shape("analyze", result)
    assert (result["status"], result["engine"], result["labelled"]) == ("complete", "openai", 8)
    assert result["input_tokens"] == model.usage.input_tokens - before > 0
    labels = product.rows(
        "SELECT Category, Subcategory, toString(Labeller) AS Labeller, count() AS n "
        "FROM trace_labels_current WHERE Analysis = 'topics' GROUP BY ALL ORDER BY Category, Subcategory"
    )
    assert labels == [
        {"Category": "Refunds", "Subcategory": "Kettle refund", "Labeller": "llm", "n": 2},
        {"Category": "Refunds", "Subcategory": "Toaster refund", "Labeller": "llm", "n": 2},
        {"Category": "Tracking", "Subcategory": "Lamp search", "Labeller": "llm", "n": 2},
        {"Category": "Tracking", "Subcategory": "Shoes search", "Labeller": "llm", "n": 2},
    ]
    view = product.rows(
        "SELECT SpanAttributes['tracetaxa.topics.category'] AS category, count() AS spans "
        "FROM otel_traces_labelled GROUP BY category ORDER BY category"
    )
    assert view == [{"category": "Refunds", "spans": 8}, {"category": "Tracking", "spans": 8}]
    document = product.json("report", result["run_id"], "--format", "json")
    assert document == product.json("report", "--analysis", "topics", "--format", "json")
    assert_shape("report", document)
    assert [c["name"] for c in document["categories"]] == ["Refunds", "Tracking"]
    assert document["categories"][0]["error_rate"] == 1.0
    api = service.endpoints["api"]
    code, page = get(api, result["report_path"])
    assert (code, "Kettle refund" in page) == (200, True)
    assert json.loads(get(api, f"/v1/runs/{result['run_id']}")[1]) == result
    assert json.loads(get(api, f"/v1/runs/{result['run_id']}/report")[1]) == document
    shown = product.json("trace", "2".zfill(32), "--format", "json")
    assert_shape(
        "trace", {**shown, "labels": [one for one in shown["labels"] if one["analysis"] == "topics"]}
    )
    assert {one["category"] for one in shown["labels"] if one["analysis"] == "topics"} == {"Refunds"}
    assert product.run("trace", "a1".zfill(32)).returncode == 1
    window = ("--from", result["window_start"], "--to", result["window_end"])
    assert product.json("analyze", "topics", *window, "--format", "json")["labelled"] == 8
    assert service.status()["unlabelled"] == 0


def test_a_quote_comes_before_the_bill(chats: Chats) -> None:
    product, model = chats.product, chats.model
    question = ("analyze", "quoted", "--instructions", "What would this cost?")
    asked, runs = len(model.requests), "SELECT count() AS n FROM analysis_runs WHERE Analysis = 'quoted'"
    quote = product.json(*question, "--dry-run", "--format", "json")
    assert_shape("quote", quote)
    shown = product.run(*question, "--dry-run")
    assert shown.returncode == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert f"${quote['expected']['cost_usd']:.2f}" in shown.stdout
    assert (len(model.requests), product.rows(runs)) == (asked, [{"n": 0}])
    done = product.run(*question)
    assert done.returncode == 0
    assert f"of about {quote['expected']['calls']} calls" in done.stderr
    spent = product.rows("SELECT CostUsd AS usd FROM analysis_runs WHERE Analysis = 'quoted'")[0]["usd"]
    assert 0 < spent <= quote["maximum"]["cost_usd"]
    window = ("--from", quote["window_start"], "--to", quote["window_end"])
    refused = product.run(*question, *window, "--window", "1h", "--dry-run")
    assert (refused.returncode, refused.stdout) == (2, "")


def test_a_wrong_api_key_fails_the_run_with_the_providers_message(chats: Chats) -> None:
    product = chats.product
    with chats.answering(
        lambda messages, schema: Failure(401, "Incorrect API key provided: sk-wrong.", code="invalid_api_key")
    ):
        done = product.run("analyze", "wrong_key", "--instructions", "Who has a key?", "--format", "json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["status"]) == (1, "failed")
    assert "Incorrect API key provided" in result["error"]
    states = product.rows("SELECT toString(Status) AS s FROM analysis_runs WHERE Analysis = 'wrong_key'")
    assert states == [{"s": "failed"}]
    report = product.run("report", result["run_id"])
    assert "Incorrect API key provided" in " ".join(report.stdout.split())
    assert "sk-secret" not in done.stdout + done.stderr + report.stdout


def test_an_interrupted_analysis_is_cancelled_and_kept(chats: Chats) -> None:
    product, asked = chats.product, threading.Event()

    def never(messages: Any, schema: Any) -> Any:
        asked.set()
        return Failure(503, retry_after="30")

    with chats.answering(never):
        command = subprocess.Popen(
            [sys.executable, "-m", "tracetaxa.cli", "analyze", "interrupted", "--instructions", "Who waits?",
             "--config", str(product.config)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert asked.wait(SECONDS)
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=SECONDS)
        assert command.returncode == 130
        states: Any = None
        deadline = time.monotonic() + SECONDS
        while states != [{"s": "cancelled"}]:
            assert time.monotonic() < deadline, states
            states = product.rows(
                "SELECT toString(Status) AS s FROM analysis_runs WHERE Analysis = 'interrupted'"
            )


def test_the_service_runs_what_the_caller_has_configured(chats: Chats) -> None:
    """Also when the file was edited after the service began."""
    product = chats.product
    try:
        product.configure(
            analyses=[{"name": "refunds", "filter": {"status": "Error"}}], llm={"max_attempts": 1}
        )
        done = product.run("analyze", "refunds", "--format", "json")
        assert json.loads(done.stdout)["selected"] == 4
        assert "other llm or privacy settings" in done.stderr
        product.configure(analyses=[{"name": "refunds", "filter": {"where": "nope = 1"}}])
        done = product.run("analyze", "refunds")
        assert (done.returncode, "filter.where" in done.stderr, "nope" in done.stderr) == (2, True, True)
        done = product.run("analyze", "mistyped", "--window", "1s")
        assert "no analysis 'mistyped' is configured" in done.stderr
    finally:
        product.configure()
